package fleet

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// screen is what a person reads while the fleet starts. It is safe for the
// supervisors' goroutines.
type screen struct{ *screenState }

type screenState struct {
	mu       sync.Mutex
	out, err io.Writer
	terminal bool      // progress may overwrite its line
	open     bool      // a progress line stands without its end
	last     time.Time // of a progress line that cannot be overwritten
}

func newScreen(out, err io.Writer) screen {
	s := &screenState{out: out, err: err}
	if f, ok := out.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			s.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return screen{s}
}

func (s screen) say(format string, args ...any) { s.line(s.out, fmt.Sprintf(format, args...)) }

func (s screen) warn(format string, args ...any) {
	s.line(s.err, "meridian: "+fmt.Sprintf(format, args...))
}

func (s screen) step(what string, began time.Time) {
	s.say("  ok  %-44s %6.1fs", what, time.Since(began).Seconds())
}

// A person who cannot be written to is gone: the fleet goes on.
func (s screen) line(w io.Writer, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open {
		_, _ = fmt.Fprintln(s.out)
		s.open = false
	}
	_, _ = fmt.Fprintln(w, text)
}

// progress shows a line that the next one replaces on a terminal; elsewhere a
// line every few seconds is enough.
func (s screen) progress(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if s.terminal {
		_, _ = fmt.Fprintf(s.out, "\r\033[K%s", text)
		s.open = true
		return
	}
	if time.Since(s.last) >= 5*time.Second {
		s.last = time.Now()
		_, _ = fmt.Fprintln(s.out, text)
	}
}
