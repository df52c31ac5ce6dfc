package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"meridian/instance/crm"
	"meridian/instance/store/schema"
	"meridian/policy"
)

type policyEditCmd struct {
	remote
	Dir  string   `arg:"" help:"Folder of the bundle; if it is not there, the bundle in force is written into it."`
	File []string `placeholder:"FILE" help:"Open these files only, as territory.rego,rules_test.rego."`
	New  bool     `help:"The files are not there yet: begin them, a rule's with its test beside it."`

	Editor string `env:"VISUAL,EDITOR" placeholder:"COMMAND" help:"Your editor, with its arguments. ($$VISUAL, $$EDITOR)"`
}

// Help shows the verb at work.
func (policyEditCmd) Help() string {
	return `Opens your editor ($VISUAL, or $EDITOR) on a bundle. When you leave it, the files are set in their one
form, tested and checked strictly, here and without an instance. What is wrong is shown by file and
line, and you are asked: edit again, keep the files as they are, or discard what you did.

  meridian policy edit my-rules --as officer.a@amer
  meridian policy edit my-rules --file territory.rego,rules_test.rego
  meridian policy edit my-rules --file insider.rego --new

Where nobody can be asked it ends with exit code 1, and the files are kept. Nothing is in force before
it was proposed and approved.`
}

// errNotInOrder fails the verb after it showed what is wrong.
var errNotInOrder = errors.New("the rules are not in order yet")

// Run edits until the bundle is in order, or whoever edits has had enough.
func (p policyEditCmd) Run(ctx context.Context, out output) error {
	return p.edit(ctx, out, asked())
}

// asked is who can be asked, nil for nobody: input that is not a terminal.
func asked() *bufio.Reader {
	info, err := os.Stdin.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	if null, err := os.Stat(os.DevNull); err == nil && os.SameFile(info, null) {
		return nil
	}
	return bufio.NewReader(os.Stdin)
}

func (p policyEditCmd) edit(ctx context.Context, out output, in *bufio.Reader) error {
	if err := p.ready(); err != nil {
		return err
	}
	made, err := p.begin(ctx)
	if err != nil {
		return err
	}
	before, err := readFiles(p.Dir)
	if err != nil {
		return err
	}
	undo := func() error {
		if made {
			return os.RemoveAll(p.Dir)
		}
		return restore(p.Dir, before)
	}
	paths, err := p.files(before)
	if err != nil {
		return errors.Join(err, undo())
	}
	uninterrupted := context.WithoutCancel(ctx) // Ctrl-C is the editor's, and a look takes seconds
	for {
		if err := p.open(uninterrupted, out, paths); err != nil {
			return err
		}
		v, err := p.look(uninterrupted, before)
		if err != nil {
			return err
		}
		if p.JSON {
			in = nil
			if err := printJSON(out.Stdout, v); err != nil {
				return err
			}
		} else {
			v.print(out)
		}
		if v.Ready {
			if !p.JSON {
				p.next(out, v)
			}
			return nil
		}
		if in == nil {
			return errNotInOrder
		}
		switch choice(ctx, out, in) {
		case "keep":
			fmt.Fprintf(out.Stdout, "%s is kept as it is; go on with meridian policy edit %s\n", p.Dir, p.Dir)
			return errNotInOrder
		case "discard":
			fmt.Fprintf(out.Stdout, "%s is as it was\n", p.Dir)
			return undo()
		}
	}
}

// ready refuses an editor that is not there, before anything is written.
func (p policyEditCmd) ready() error {
	words := strings.Fields(p.Editor)
	if len(words) == 0 {
		return crm.FieldErrorf("editor", "no editor is named: export EDITOR=nano, or whichever you use, or say --editor. "+
			"Or write the files in %s with anything you like, then see meridian policy fmt, test and check", p.Dir)
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return crm.FieldErrorf("editor", "%s is not on this machine; name one that is: export EDITOR=nano, or --editor", words[0])
	}
	return nil
}

// begin writes the bundle in force into the folder, if it is not there.
func (p policyEditCmd) begin(ctx context.Context) (made bool, err error) {
	if _, err := os.Stat(p.Dir); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	c, err := p.dial()
	if err != nil {
		return false, err
	}
	_, err = writeBundle(ctx, c, p.Dir, "")
	return err == nil, err
}

// files are the paths to open; those that are new are begun.
func (p policyEditCmd) files(there map[string]string) (paths []string, err error) {
	names := p.File
	if len(names) == 0 {
		if p.New {
			return nil, crm.FieldErrorf("new", "name the file to begin: --file insider.rego --new")
		}
		names = slices.Sorted(maps.Keys(there))
	}
	for _, name := range names {
		_, is := there[name]
		switch {
		case p.New && is:
			return nil, crm.FieldErrorf("file", "%s is in %s already; leave --new out to edit it", name, p.Dir)
		case p.New:
			begun, err := beginFile(p.Dir, name)
			if err != nil {
				return nil, err
			}
			paths = append(paths, begun...)
			continue
		case !is:
			return nil, crm.FieldErrorf("file", "%s has no %s; it has %s. With --new the file is begun", p.Dir, name, strings.Join(slices.Sorted(maps.Keys(there)), " "))
		}
		paths = append(paths, filepath.Join(p.Dir, filepath.FromSlash(name)))
	}
	return paths, nil
}

// beginFile writes a file's first lines, and for rules also those of their
// test.
func beginFile(dir, name string) (paths []string, err error) {
	stem, isRego := strings.CutSuffix(name, ".rego")
	if !isRego || !filepath.IsLocal(name) {
		return nil, crm.FieldErrorf("file", "%s: a bundle's file is named like insider.rego", name)
	}
	heads := map[string]string{}
	if stem, isTest := strings.CutSuffix(stem, "_test"); isTest {
		heads[name] = testHead(stem)
	} else {
		heads[name], heads[stem+"_test.rego"] = "package meridian.rules\n", testHead(stem)
	}
	for _, name := range slices.Sorted(maps.Keys(heads)) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if err := writeFile(path, heads[name]); err != nil {
				return nil, err
			}
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func testHead(stem string) string {
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '/' {
			return '_'
		}
		return r
	}, stem)
	return "package meridian." + name + "_test\n\nimport data.meridian.rules\nimport data.meridian.rules_test as cases\n"
}

// open waits for the editor. Like git, it lets the shell read the command, so
// that it may have arguments: code --wait.
func (p policyEditCmd) open(ctx context.Context, out output, paths []string) error {
	c := exec.CommandContext(ctx, "sh", append([]string{"-c", p.Editor + ` "$@"`, p.Editor}, paths...)...) //nolint:gosec // the user's own editor
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, out.Stdout, out.Stderr
	if p.JSON {
		c.Stdout = out.Stderr
	}
	if err := c.Run(); err != nil {
		return crm.FieldErrorf("editor", "%s ended with %v: what it saved in %s is kept and was not checked; edit it again, or run meridian policy check --dir %s", p.Editor, err, p.Dir, p.Dir)
	}
	return nil
}

// verdict is what is known of a folder after an edit.
type verdict struct {
	Dir      string   `json:"dir"`
	Ready    bool     `json:"ready"`
	Changed  []string `json:"changed"`   // files, against those before the edit
	Set      []string `json:"formatted"` // of them, those that were set in form
	Tests    int      `json:"tests"`     // that pass
	Problems []string `json:"problems"`
}

// look sets the files in form, and tests and checks the bundle.
func (p policyEditCmd) look(ctx context.Context, before map[string]string) (v verdict, err error) {
	v = verdict{Dir: p.Dir, Changed: []string{}, Set: []string{}, Problems: []string{}}
	files, err := readFiles(p.Dir)
	if err == nil {
		v.Set, err = setFiles(p.Dir, files)
	}
	if err == nil {
		files, err = readFiles(p.Dir) // as they are set
	}
	for path := range before {
		if now, is := files[path]; !is || now != before[path] {
			v.Changed = append(v.Changed, path)
		}
	}
	for path := range files {
		if _, was := before[path]; !was {
			v.Changed = append(v.Changed, path)
		}
	}
	slices.Sort(v.Changed)
	if err == nil {
		v.Problems, v.Tests, err = problemsOf(ctx, files)
	}
	if e := crm.Public(err); err != nil && e.Kind == crm.Invalid {
		v.Problems, err = policy.Problems(err), nil
	}
	v.Ready = len(v.Problems) == 0
	return v, err
}

// problemsOf holds files to all that needs no records.
func problemsOf(ctx context.Context, files map[string]string) (problems []string, tests int, err error) {
	b, err := policy.NewBundle(files)
	if err != nil {
		return nil, 0, err
	}
	if problems = policy.Check(ctx, b, schema.Common()...); len(problems) > 0 {
		return problems, 0, nil
	}
	results, unseen, err := policy.Cover(ctx, b)
	if err != nil {
		return nil, 0, err
	}
	problems = []string{}
	for _, t := range results {
		if t.Passed {
			tests++
			continue
		}
		problems = append(problems, t.Message+" ("+t.Name+")")
	}
	for _, rule := range unseen {
		problems = append(problems, rule+" holds in no test: write one that needs it")
	}
	return problems, tests, nil
}

func (v verdict) print(out output) {
	for _, path := range v.Set {
		fmt.Fprintf(out.Stdout, "set in form: %s\n", path)
	}
	if v.Ready {
		return
	}
	fmt.Fprintf(out.Stdout, "\n%s is not in order (%d):\n", v.Dir, len(v.Problems))
	for _, problem := range v.Problems {
		fmt.Fprintf(out.Stdout, "  %s\n", printable(problem))
	}
}

// choice asks what to do with files that are not in order. No answer, or
// Ctrl-C, keeps them.
func choice(ctx context.Context, out output, in *bufio.Reader) string {
	choices := []string{"edit", "keep", "discard"}
	for {
		fmt.Fprint(out.Stdout, "\n[e]dit again, [k]eep the files as they are, [d]iscard what you did? ")
		line, err := answered(ctx, in)
		answer := strings.ToLower(strings.TrimSpace(line))
		for _, c := range choices {
			if answer != "" && strings.HasPrefix(c, answer) {
				return c
			}
		}
		if err != nil {
			fmt.Fprintln(out.Stdout)
			return "keep"
		}
	}
}

// answered is the next line, unless ctx ends before there is one. Then the
// verb ends too, and with it who reads.
func answered(ctx context.Context, in *bufio.Reader) (line string, err error) {
	type answer struct {
		line string
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		line, err := in.ReadString('\n')
		read <- answer{line, err}
	}()
	select {
	case a := <-read:
		return a.line, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// next says how it goes on.
func (p policyEditCmd) next(out output, v verdict) {
	if len(v.Changed) == 0 {
		fmt.Fprintf(out.Stdout, "%s is in order, and nothing was changed\n", p.Dir)
		return
	}
	as := ""
	if p.As != "" {
		as = " --as " + string(p.As)
	}
	fmt.Fprintf(out.Stdout, "%s is in order: %d tests pass; changed: %s\nnext:\n", p.Dir, v.Tests, strings.Join(v.Changed, " "))
	for _, step := range [][2]string{
		{"diff " + p.Dir, "rule by rule, against the bundle in force"},
		{"impact " + p.Dir, "who would gain and lose what"},
		{"propose " + p.Dir + ` --note "why"`, "ask a second officer"},
	} {
		fmt.Fprintf(out.Stdout, "  meridian policy %s%s   # %s\n", step[0], as, step[1])
	}
}

// restore makes a folder's bundle what it was.
func restore(dir string, files map[string]string) error {
	now, err := bundleFiles(dir)
	if err != nil {
		return err
	}
	for name, kind := range now {
		if _, was := files[name]; !was || !kind.IsRegular() { // nothing is written through a link
			if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
				return err
			}
		}
	}
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if there, err := os.ReadFile(path); err == nil && string(there) == text {
			continue
		}
		if err := writeFile(path, text); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file of a bundle, and its folder.
func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a folder of rules, to be read
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}
