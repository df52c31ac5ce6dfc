package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A running fleet, as a person starts it: the real binaries, the shipped fleet
// file, a data folder of its own. Everything is asked over the public surface.
type running struct {
	bin, data, readyFile string
	portBase             int
	up                   *exec.Cmd
	ended                chan struct{}
	said                 bytes.Buffer
	ready
}

// ready is the ready file, as the README promises it.
type ready struct {
	Instances map[string]string `json:"instances"`
	Personas  map[string]string `json:"personas"`
	PIDs      struct {
		Up        int            `json:"up"`
		Instances map[string]int `json:"instances"`
		Plugins   map[string]int `json:"plugins"`
	} `json:"pids"`
}

const (
	// patience is for what must happen; how soon is logged, and measured by
	// make bench: test machines are too noisy to fail on it.
	patience = 2 * time.Minute
	pause    = 25 * time.Millisecond
)

// newFleet builds the binaries and prepares a fleet; start starts it.
func newFleet(t *testing.T) *running {
	t.Helper()
	f := &running{bin: filepath.Join(t.TempDir(), "bin"), data: filepath.Join(t.TempDir(), "data")}
	f.readyFile = filepath.Join(t.TempDir(), "ready.json")
	for name, pkg := range map[string]string{
		"meridian": "./cmd/meridian", "meridian-facade-filedrop": "./adapters/filedrop/cmd",
		"meridian-plugin-data-quality": "./plugins/data-quality/cmd", "meridian-plugin-territory-assignment": "./plugins/territory-assignment/cmd",
	} {
		command(t, "go", "build", "-o", filepath.Join(f.bin, name), pkg)
	}
	command(t, "go", "run", "./plugins/wire/lock", f.bin)
	f.portBase = freePorts(t, 4)
	t.Cleanup(func() { f.stop(t) })
	return f
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = "../.."
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// freePorts finds n ports in a row that nobody listens on.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		base := l.Addr().(*net.TCPAddr).Port
		free := []net.Listener{l}
		for i := 1; i < n; i++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+i))
			if err != nil {
				break
			}
			free = append(free, l)
		}
		for _, l := range free {
			l.Close()
		}
		if len(free) == n {
			return base
		}
	}
	t.Fatalf("no %d free ports in a row", n)
	return 0
}

// start runs meridian up and waits until it says it is ready.
func (f *running) start(t *testing.T) {
	t.Helper()
	f.said.Reset()
	f.up = exec.Command(filepath.Join(f.bin, "meridian"), "up", "--fleet", "../../deploy/examples/demo.yaml",
		"--data", f.data, "--port-base", strconv.Itoa(f.portBase), "--ready-file", f.readyFile)
	f.up.Stdout, f.up.Stderr = &f.said, &f.said
	// A test that dies takes its fleet along; the kernel ties that to the
	// thread that started it.
	f.up.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	f.ended = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer close(f.ended)
		err := f.up.Start()
		started <- err
		if err == nil {
			_ = f.up.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for {
		text, err := os.ReadFile(f.readyFile)
		if err == nil {
			var r ready
			if err := json.Unmarshal(text, &r); err != nil {
				t.Fatalf("ready file: %v\n%s", err, text)
			}
			// A killed fleet leaves its file; the new one removes it at its start.
			if r.PIDs.Up == f.up.Process.Pid {
				f.ready = r
				break
			}
		}
		select {
		case <-f.ended:
			t.Fatalf("meridian up ended:\n%s", f.said.String())
		case <-time.After(pause):
		}
		if time.Since(start) > 2*patience {
			t.Fatalf("not ready after %s", time.Since(start))
		}
	}
	t.Logf("ready after %s", time.Since(start).Round(100*time.Millisecond))
}

// stop ends the fleet as Ctrl-C does.
func (f *running) stop(t *testing.T) {
	t.Helper()
	if f.up == nil {
		return
	}
	start := time.Now()
	_ = f.up.Process.Signal(os.Interrupt)
	select {
	case <-f.ended:
	case <-time.After(patience):
		_ = f.up.Process.Kill()
		t.Errorf("meridian up does not stop")
	}
	t.Logf("stopped after %s", time.Since(start).Round(100*time.Millisecond))
	f.up = nil
	if t.Failed() {
		f.dumpLogs(t)
	}
}

func (f *running) dumpLogs(t *testing.T) {
	logs, _ := filepath.Glob(filepath.Join(f.data, "*", "*.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err == nil && len(text) > 0 {
			t.Logf("%s, its end:\n%s", path, text[max(0, len(text)-2000):])
		}
	}
}

// killAll kills every process of the fleet at once, as a power cut does.
func (f *running) killAll(t *testing.T) {
	t.Helper()
	pids := append([]int{f.PIDs.Up}, below(f.PIDs.Up)...)
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	<-f.ended
	f.up = nil
	f.gone(t, pids)
}

// gone waits until none of the processes is left.
func (f *running) gone(t *testing.T, pids []int) {
	t.Helper()
	eventually(t, "every process of the fleet has ended", func() error {
		for _, pid := range pids {
			if state(pid) != "" && state(pid) != "Z" {
				return fmt.Errorf("process %d (%s) is still there", pid, cmdline(pid))
			}
		}
		return nil
	})
}

// below lists the descendants of a process.
func below(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		rest := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		parent, _ := strconv.Atoi(rest[1])
		children[parent] = append(children[parent], id)
	}
	var all []int
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		all = append(all, queue[0])
		queue = append(queue, children[queue[0]]...)
	}
	return all
}

// state is the state letter of a process, "" if there is none.
func state(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))[0]
}

func cmdline(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.ReplaceAll(string(text), "\x00", " ")
}

// eventually asks until the answer is nil.
func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	start := time.Now()
	for {
		err := ask()
		if err == nil {
			t.Logf("%s after %s", what, time.Since(start).Round(time.Millisecond))
			return
		}
		if time.Since(start) > patience {
			t.Fatalf("%s: not after %s: %v", what, patience, err)
		}
		time.Sleep(pause) // between looks at a condition, not instead of one
	}
}

// answer is what the REST surface answered.
type answer struct {
	Status  int
	Header  http.Header
	Body    []byte
	Record  record          `json:"record"`
	Records []record        `json:"records"`
	Results json.RawMessage `json:"results"`
	Count   int             `json:"count"`
	Kind    string          `json:"kind"`
	Field   string          `json:"field"`
	Home    string          `json:"home"`
}

type record struct {
	ID         string         `json:"id"`
	Version    int            `json:"version"`
	Home       string         `json:"home"`
	Fields     map[string]any `json:"fields"`
	Withheld   []string       `json:"withheld"`
	Governance map[string]any `json:"governance"`
}

// call speaks to the instance that the persona's name ends with.
func (f *running) call(t *testing.T, persona, method, path string, body any, header ...string) answer {
	t.Helper()
	a, err := f.try(persona, method, path, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// try is call for moments when nobody may be listening.
func (f *running) try(persona, method, path string, body any, header ...string) (answer, error) {
	_, home, _ := strings.Cut(persona, "@")
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return answer{}, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, f.Instances[home]+path, bytes.NewReader(text))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+f.Personas[persona])
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	a := answer{Status: res.StatusCode, Header: res.Header}
	if a.Body, err = io.ReadAll(res.Body); err != nil {
		return a, err
	}
	return a, json.Unmarshal(a.Body, &a)
}

func (f *running) get(t *testing.T, persona, path string) answer {
	t.Helper()
	return f.call(t, persona, http.MethodGet, path, nil)
}

// count counts what a persona sees of an entity.
func (f *running) count(t *testing.T, persona, entity, filter string) int {
	t.Helper()
	a := f.get(t, persona, "/api/v1/"+entity+":count?filter="+url.QueryEscape(filter))
	if a.Status != http.StatusOK {
		t.Fatalf("count as %s: %d %s", persona, a.Status, a.Body)
	}
	return a.Count
}

// list is the first page of what a persona sees.
func (f *running) list(t *testing.T, persona, entity, filter string) []record {
	t.Helper()
	a := f.get(t, persona, "/api/v1/"+entity+"?limit=1000&filter="+url.QueryEscape(filter))
	if a.Status != http.StatusOK {
		t.Fatalf("list as %s: %d %s", persona, a.Status, a.Body)
	}
	return a.Records
}
