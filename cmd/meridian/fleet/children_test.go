package fleet

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"meridian/instance/crm"
	"meridian/instance/embedded"
)

func quietRun(t *testing.T) *run {
	t.Helper()
	book, err := embedded.OpenBook(filepath.Join(t.TempDir(), "children.json"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	return &run{screen: newScreen(&out, &out), book: book}
}

func TestAChildThatDoesNotStayUpIsGivenUpWithItsLastWords(t *testing.T) {
	r := quietRun(t)
	c := &child{name: "amer", log: filepath.Join(t.TempDir(), "serve.log"), args: []string{"sh", "-c", "echo the database is not there; exit 1"}}
	stop := r.keep(time.Second, c)
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := poll(ctx, 10*time.Millisecond, func() (bool, error) { return false, c.hopelessly() })
	if crm.KindOf(err) != crm.Unavailable || !strings.Contains(err.Error(), "the database is not there") {
		t.Errorf("error = %v, want one with the end of the log", err)
	}
}

// TestALargeLogIsTurnedOver while its writer goes on: at most twice the size is
// kept, and nobody has to open it again.
func TestALargeLogIsTurnedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "serve.log")
	if err := turnOver(path, 10); err != nil {
		t.Errorf("no log yet: %v", err)
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the test is over
	for i, want := range []struct{ now, old string }{{"", "first line\n\n"}, {"b\n", "first line\n\n"}, {"", "b\nthird line\n"}} {
		if _, err := log.WriteString([]string{"first line\n\n", "b\n", "third line\n"}[i]); err != nil {
			t.Fatal(err)
		}
		if err := turnOver(path, 10); err != nil {
			t.Fatal(err)
		}
		now, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		old, err := os.ReadFile(path + ".1")
		if err != nil || string(now) != want.now || string(old) != want.old {
			t.Errorf("after write %d: %q and before it %q (%v), want %+v", i+1, now, old, err, want)
		}
	}
}

func TestStopEndsTheChildrenAndStrikesThemOut(t *testing.T) {
	r := quietRun(t)
	var children []*child
	for _, name := range []string{"amer", "emea"} {
		children = append(children, &child{name: name, log: filepath.Join(t.TempDir(), "log"), args: []string{"sleep", "600"}})
	}
	stop := r.keep(5*time.Second, children...)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := poll(ctx, 5*time.Millisecond, func() (bool, error) {
		a, _ := children[0].running()
		b, _ := children[1].running()
		return a != 0 && b != 0, nil
	}); err != nil {
		t.Fatal(err)
	}
	stop()
	for _, c := range children {
		if pid, _ := c.running(); pid != 0 {
			t.Errorf("%s still runs as %d", c.name, pid)
		}
	}
}

func TestPortInUseIsSaidBeforeAnythingStarts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // the test is over
	port := l.Addr().(*net.TCPAddr).Port
	r := &run{Options: Options{PortBase: port}, file: &File{Instances: []Instance{{Name: "amer"}}}}
	if err := r.portsFree(); crm.KindOf(err) != crm.Conflict || !strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Errorf("error = %v, want a conflict that names the port", err)
	}
}
