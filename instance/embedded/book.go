package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
)

// Book records the children of this process on disc, so that the next run
// finds those that outlived a killed one. A process is known by its id and
// the moment it began: ids are used again.
type Book struct {
	path string

	mu       sync.Mutex
	children map[string]entry
}

type entry struct {
	PID   int    `json:"pid"`
	Began string `json:"began"`
}

// OpenBook opens the book at path with what an earlier run left in it.
func OpenBook(path string) (*Book, error) {
	b := &Book{path: path, children: map[string]entry{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the book of children: %w", err)
	}
	if err := json.Unmarshal(text, &b.children); err != nil {
		// Half written by a run that was killed: nobody is known by it.
		b.children = map[string]entry{}
	}
	return b, nil
}

// EndLeftovers ends the recorded processes that still run and empties the book.
func (b *Book) EndLeftovers(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		alive := b.alive()
		for _, e := range alive {
			if err := syscall.Kill(e.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end process %d of an earlier run: %w", e.PID, err)
			}
		}
		for deadline := time.Now().Add(8 * time.Second); len(b.alive()) > 0 && time.Now().Before(deadline); {
			if err := ctx.Err(); err != nil {
				return err
			}
			wait(ctx, 20*time.Millisecond)
		}
	}
	if alive := b.alive(); len(alive) > 0 {
		return fmt.Errorf("process %d of an earlier run does not end", alive[0].PID)
	}
	b.children = map[string]entry{}
	return b.save()
}

func (b *Book) alive() []entry {
	var alive []entry
	for _, e := range b.children {
		if began := processBegan(e.PID); began != "" && began == e.Began {
			alive = append(alive, e)
		}
	}
	return alive
}

// Note records a child that started.
func (b *Book) Note(name string, pid int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.children[name] = entry{pid, processBegan(pid)}
	return b.save()
}

// Forget strikes out a child that ended.
func (b *Book) Forget(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.children, name)
	return b.save()
}

func (b *Book) save() error {
	text, err := json.Marshal(b.children)
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.path+".new", text, 0o600); err != nil {
		return fmt.Errorf("write the book of children: %w", err)
	}
	return os.Rename(b.path+".new", b.path)
}
