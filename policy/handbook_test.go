package policy_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"meridian/instance/store/schema"
	"meridian/policy"
)

// block is a piece of the handbook: what it is, and its text.
var block = regexp.MustCompile("(?ms)^```(rego|text) ?(\\w*) ?(\\S*)\n(.*?)^```$")

// TestHandbook runs the officers' handbook: what it quotes is in the bundle, its
// examples pass everything that a proposal is held to, section by section, and
// what it says is refused is refused in the words it says.
func TestHandbook(t *testing.T) {
	text, err := os.ReadFile("../docs/officers-handbook.md")
	if err != nil {
		t.Fatal(err)
	}
	shipped := policy.Embedded().Modules()
	seen := map[string]int{}
	for _, section := range strings.Split(string(text), "\n##") {
		title, _, _ := strings.Cut(strings.TrimLeft(section, "# "), "\n")
		files := policy.Embedded().Modules()
		refused, examples := "", 0
		for _, m := range block.FindAllStringSubmatch(section, -1) {
			lang, what, file, body := m[1], m[2], m[3], m[4]
			seen[lang+" "+what]++
			switch {
			case lang == "text" && refused == "":
				t.Errorf("%s: a message without a rule: %s", title, body)
			case lang == "text":
				holdRefused(t, refused, strings.TrimSpace(body))
				refused = ""
			case what == "from" && !strings.Contains(shipped[file], body):
				t.Errorf("%s: %s does not say any more:\n%s", title, file, body)
			case what == "from":
			case what == "refused":
				refused = body
			case what == "example" && file == "grounds.rego":
				files[file] = strings.Replace(files[file], "grounds := {\n", "grounds := {\n"+body, 1)
				examples++
			case what == "example" && shipped[file] == "":
				files[file] = body
				examples++
			default:
				t.Errorf("%s: nobody knows what to do with %s %s %s", title, lang, what, file)
			}
		}
		if examples > 0 {
			t.Run(title, func(t *testing.T) { holdExample(t, files) })
		}
	}
	for _, kind := range []string{"rego from", "rego example", "rego refused", "text "} {
		if seen[kind] == 0 {
			t.Errorf("the handbook has no %q block: is it read at all?", kind)
		}
	}
}

// holdExample holds a bundle to what needs no database.
func holdExample(t *testing.T, files map[string]string) {
	b, err := policy.NewBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	if paths, err := policy.Unformatted(b); err != nil || len(paths) > 0 {
		t.Errorf("not formatted: %v, %v", paths, err)
	}
	for _, p := range policy.Check(t.Context(), b, schema.Common()...) {
		t.Errorf("check: %s", p)
	}
	results, unseen, err := policy.Cover(t.Context(), b)
	if err != nil || len(unseen) > 0 {
		t.Errorf("not covered: %v, %v", unseen, err)
	}
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s: %s", r.Name, r.Message)
		}
	}
}

// holdRefused expects a rule to be refused in certain words.
func holdRefused(t *testing.T, rule, words string) {
	t.Helper()
	files := policy.Embedded().Modules()
	files["refused.rego"] = "package meridian.rules\n\n" + rule
	b, err := policy.NewBundle(files)
	if err != nil {
		t.Fatal(err)
	}
	if problems := strings.Join(policy.Check(t.Context(), b), "\n"); !strings.Contains(problems, words) {
		t.Errorf("%s\nis refused with %q, and the handbook says %q", rule, problems, words)
	}
}
