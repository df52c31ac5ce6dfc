package pluginhost_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/pluginhost"
	"meridian/instance/store/schema"
	"meridian/plugins"
	dataquality "meridian/plugins/data-quality"
	territoryassignment "meridian/plugins/territory-assignment"
	"meridian/plugins/wire"
)

// binaries are the plugins that this test binary turns into when a host starts
// it under their name.
var binaries = map[string]func() plugins.Plugin{
	dataquality.Name:         dataquality.New,
	territoryassignment.Name: territoryassignment.New,
	"probe":                  newProbe,
}

// hostEnv makes this test binary a host in the folder it names.
const hostEnv = "MERIDIAN_TEST_HOST"

func TestMain(m *testing.M) {
	if wire.Started() {
		wire.Serve(binaries[strings.TrimPrefix(filepath.Base(os.Args[0]), wire.BinaryPrefix)])
		return
	}
	if dir := os.Getenv(hostEnv); dir != "" {
		beHost(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// newProbe is a plugin that does what the record tells it to.
func newProbe() plugins.Plugin {
	return plugins.New(plugins.Manifest{
		Name: "probe", Version: "0.1.0",
		Hooks: []plugins.Hook{{
			Step: "act", Entity: "account", Operations: []crm.Op{crm.OpCreate, crm.OpUpdate, crm.OpDelete}, Stage: plugins.Transform,
			Reads: []string{"city"}, Sets: []string{"city"},
		}},
	}, map[string]plugins.Func{"act": func(_ context.Context, r plugins.Record, _ crm.Op) plugins.Opinion {
		switch act := r.Text("city"); act {
		case "die":
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "hang":
			select {}
		case "panic":
			panic("the probe was told to")
		case "forget":
			return plugins.Opinion{}
		case "refuse":
			return plugins.Refuse(plugins.Finding{Field: "city", Code: "probe", Message: "told to refuse"})
		case "print":
			fmt.Println("1|1|tcp|127.0.0.1:1|grpc") // as if it were a handshake
			fmt.Print(strings.Repeat("garbage ", 100_000))
		}
		return plugins.Opinion{Verdict: plugins.Allow}
	}})
}

// definitions are the shipped entities, so that the shipped plugins are proven
// to fit them, and an account with one more field.
func definitions() []crm.Definition {
	defs := schema.Common()
	for i, d := range defs {
		if d.Entity == "account" {
			defs[i].Fields = append(slices.Clip(d.Fields), crm.Field{Name: "x__size", Type: crm.TypeInteger, Group: "core"})
		}
	}
	return defs
}

// install links this binary as each plugin into a folder with their lock.
func install(t *testing.T, names ...string) pluginhost.Config {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := pluginhost.Config{Instance: "testland", Dir: dir, Definitions: definitions(), Log: slog.New(slog.DiscardHandler)}
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(dir, wire.BinaryPrefix+name)); err != nil {
			t.Fatal(err)
		}
		cfg.Plugins = append(cfg.Plugins, pluginhost.Ref{Name: name})
	}
	if _, err := wire.WriteLock(dir); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func start(t *testing.T, cfg pluginhost.Config) *pluginhost.Host {
	t.Helper()
	h, err := pluginhost.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// builtin is a host of plugins in this process.
func builtin(t *testing.T, ps ...plugins.Plugin) (*pluginhost.Host, error) {
	t.Helper()
	cfg := pluginhost.Config{Definitions: definitions()}
	for _, p := range ps {
		cfg.Plugins = append(cfg.Plugins, pluginhost.Ref{Name: p.Manifest().Name, Builtin: func() plugins.Plugin { return p }})
	}
	h, err := pluginhost.New(cfg)
	if err != nil {
		return nil, err
	}
	t.Cleanup(h.Close)
	return h, h.Start(t.Context())
}

// create is the draft of a new account; fields come in pairs.
func create(pairs ...string) *access.Draft {
	d := &access.Draft{Entity: "account", Op: crm.OpCreate, ID: crm.NewRecordID(), Fields: map[string]crm.Value{}, Governed: crm.Governed{
		Territory: crm.Unassigned, Segment: crm.Unassigned, Jurisdiction: crm.Unassigned,
	}}
	for i := 0; i < len(pairs); i += 2 {
		d.Fields[pairs[i]] = crm.String(pairs[i+1])
		d.Changed = append(d.Changed, pairs[i])
	}
	return d
}

// update is the draft that changes fields of the account that before became.
func update(before *access.Draft, pairs ...string) *access.Draft {
	d := create(pairs...)
	d.Op, d.ID, d.Before, d.Governed = crm.OpUpdate, before.ID, before.Fields, before.Governed
	for f, v := range before.Fields {
		if _, given := d.Fields[f]; !given {
			d.Fields[f] = v
		}
	}
	return d
}

func run(t *testing.T, h *pluginhost.Host, drafts ...*access.Draft) {
	t.Helper()
	h.Run(t.Context(), "0123456789abcdef0123456789abcdef", drafts)
}

func status(t *testing.T, h *pluginhost.Host, name string) pluginhost.Status {
	t.Helper()
	for _, s := range h.Status() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no plugin %s", name)
	return pluginhost.Status{}
}

// eventually polls a condition, since processes end in their own time.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(within)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// running reports whether a process exists and is no zombie.
func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !os.IsNotExist(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
