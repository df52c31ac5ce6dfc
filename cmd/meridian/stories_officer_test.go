package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// tellOfficers is the life of a policy as officers live it, one script after
// the other: each leaves the policy in force that it found.
func tellOfficers(t *testing.T, f *running) {
	for _, script := range []string{"wall", "shadow", "refusals", "hostile"} {
		t.Run(script, func(t *testing.T) { testscript.Run(t, officersScript(f, script)) })
	}
}

// officersScript is a script with the commands that officers' scripts need.
func officersScript(f *running, name string) testscript.Params {
	return testscript.Params{
		Files: []string{filepath.Join("testdata", "officers", name+".txtar")},
		Setup: func(env *testscript.Env) error {
			env.Setenv("MERIDIAN_DATA", f.data)
			env.Setenv("PATH", f.bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			l := &load{fleet: f}
			env.Values[&loads] = l
			env.Defer(func() { l.end() })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"named":      named,
			"eventually": ask,
			"load":       underLoad,
			"grow":       grow,
			"freeze":     f.signal(syscall.SIGSTOP),
			"thaw":       f.signal(syscall.SIGCONT),
		},
	}
}

// signal signals the process of an instance: freeze emea, thaw emea.
func (f *running) signal(sig syscall.Signal) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 || f.PIDs.Instances[args[0]] == 0 {
			ts.Fatalf("usage: freeze|thaw INSTANCE")
		}
		pid := f.PIDs.Instances[args[0]]
		ts.Check(syscall.Kill(pid, sig))
		if sig == syscall.SIGSTOP {
			ts.Defer(func() { _ = syscall.Kill(pid, syscall.SIGCONT) }) // also when the script fails
		}
	}
}

// tellStill runs a script about instances that stand still.
func tellStill(t *testing.T, f *running) { testscript.Run(t, officersScript(f, "still")) }

// named keeps what a pattern finds in the last output: named ID 'proposal (\w+)'.
func named(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: named NAME PATTERN")
	}
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("the last output holds no %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// ask asks until the answer matches: eventually PATTERN meridian ARGS... With !
// it asks until the verb fails and says so.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] eventually PATTERN COMMAND...")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	path := filepath.Join(strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator))[0], args[1])
	for deadline := time.Now().Add(patience); ; time.Sleep(pause) { // between looks at a condition
		c := exec.Command(path, args[2:]...)
		c.Env = append(os.Environ(), "MERIDIAN_DATA="+ts.Getenv("MERIDIAN_DATA"))
		out, err := c.CombinedOutput()
		if (err != nil) == neg && want.Match(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not after %s: %s", patience, out)
		}
	}
}

// grow adds text to a file until it has so many bytes: grow FILE BYTES.
func grow(ts *testscript.TestScript, neg bool, args []string) {
	var size int
	if neg || len(args) != 2 || json.Unmarshal([]byte(args[1]), &size) != nil {
		ts.Fatalf("usage: grow FILE BYTES")
	}
	text := ts.ReadFile(args[0])
	for len(text) < size {
		text += "# " + strings.Repeat("data ", 200) + "\n"
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// loads is where a script keeps its load.
var loads int

// load is many colleagues who read while something is done.
type load struct {
	fleet   *running
	stop    chan struct{}
	readers sync.WaitGroup
	mu      sync.Mutex
	asked   int
	failed  []string
}

// underLoad begins a load, or ends it and fails if any request failed.
func underLoad(ts *testscript.TestScript, neg bool, args []string) {
	l := ts.Value(&loads).(*load)
	switch {
	case neg || len(args) != 1 || (args[0] == "begin") == (l.stop != nil):
		ts.Fatalf("usage: load begin, then load end")
	case args[0] == "begin":
		l.begin()
	default:
		asked := l.end()
		ts.Logf("%d requests, %d failed", asked, len(l.failed))
		if len(l.failed) > 0 {
			ts.Fatalf("%d of %d requests failed: %s", len(l.failed), asked, strings.Join(l.failed[:min(3, len(l.failed))], "\n"))
		}
	}
}

// begin returns once every reader was answered, so that what follows is done
// under load.
func (l *load) begin() {
	l.stop = make(chan struct{})
	var warm sync.WaitGroup
	for i := range 8 {
		for _, persona := range []string{"rep.west@amer", "rep.east@amer", "manager.us@amer"} {
			path := []string{"/api/v1/account?limit=20", "/api/v1/account:count", "/api/v1/opportunity?limit=20", "/api/v1/contact?limit=5"}[i%4]
			warm.Add(1)
			l.readers.Go(func() { l.read(persona, path, warm.Done) })
		}
	}
	warm.Wait()
}

// read reads until the load ends.
func (l *load) read(persona, path string, first func()) {
	for n := 0; ; n++ {
		a, err := l.fleet.try(persona, http.MethodGet, path, nil)
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("%s %s: %d %s", persona, path, a.Status, a.Body)
		}
		l.mu.Lock()
		if l.asked++; err != nil {
			l.failed = append(l.failed, err.Error())
		}
		l.mu.Unlock()
		if n == 0 {
			first()
		}
		select {
		case <-l.stop:
			return
		default:
		}
	}
}

// end waits for the last answers, and says how many there were.
func (l *load) end() int {
	if l.stop != nil {
		close(l.stop)
		l.readers.Wait()
		l.stop = nil
	}
	return l.asked
}
