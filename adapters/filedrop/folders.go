package filedrop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"meridian/adapters/mapping"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
)

const (
	inbox   = "inbox"
	work    = "work"
	archive = "archive"
	refused = "refused"
)

// Markers say that a file is all there, and how to tell.
const (
	checksumSuffix = ".sha256"  // as sha256sum writes it
	controlSuffix  = ".control" // records=4427
)

// folders is a drop folder.
type folders string

func (f folders) in(parts ...string) string {
	return filepath.Join(append([]string{string(f)}, parts...)...)
}

func (f folders) make() error {
	for _, dir := range []string{inbox, work, archive, refused} {
		if err := os.MkdirAll(f.in(dir), 0o700); err != nil {
			return fmt.Errorf("make drop folder: %w", err)
		}
	}
	return nil
}

// own makes this process the folder's only owner, until it ends or releases
// it, and repairs what a crash left between two renames.
func (f folders) own() (release func(), err error) {
	file, err := os.OpenFile(f.in(".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock drop folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("another filedrop watches %s: %w", f, err) // I-drop-3
	}
	if err := f.repair(); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}

// repair completes claims that a crash interrupted: a file whose markers are
// still in the inbox, a folder whose file is.
func (f folders) repair() error {
	entries, err := os.ReadDir(f.in(work))
	if err != nil {
		return fmt.Errorf("read work folder: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			os.Remove(f.in(work, e.Name())) // succeeds if it is empty
		}
	}
	claims, err := f.claims()
	for _, c := range claims {
		err = errors.Join(err, f.fetch(c))
	}
	return err
}

// waiting lists the data files in the inbox by name. Hidden and partial files
// are somebody else's business.
func (f folders) waiting() ([]string, error) {
	entries, err := os.ReadDir(f.in(inbox))
	if err != nil {
		return nil, fmt.Errorf("read inbox: %w", err)
	}
	var files []string
	for _, e := range entries {
		name := e.Name()
		partial := strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".part") || strings.HasSuffix(name, ".tmp")
		marker := strings.HasSuffix(name, checksumSuffix) || strings.HasSuffix(name, controlSuffix)
		if e.Type().IsRegular() && !partial && !marker {
			files = append(files, name)
		}
	}
	return files, nil
}

// missing names the first marker that a file in the inbox still needs.
func (f folders) missing(file string, c mapping.Control) string {
	for _, m := range []struct {
		required bool
		suffix   string
	}{{c.Count, controlSuffix}, {c.Checksum, checksumSuffix}} {
		if m.required {
			if _, err := os.Stat(f.in(inbox, file+m.suffix)); err != nil {
				return file + m.suffix
			}
		}
	}
	return ""
}

// claim is a file that this process has taken.
type claim struct {
	dir  string // its own folder in work
	file string
}

const stamp = "20060102T150405.000000Z"

// claim takes a file and its markers out of the inbox. The file goes first:
// whoever is killed here finds the markers where they were.
func (f folders) claim(file string) (claim, error) {
	c := claim{dir: f.in(work, time.Now().UTC().Format(stamp)+"-"+file), file: file}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return claim{}, fmt.Errorf("claim %s: %w", file, err)
	}
	if err := os.Rename(f.in(inbox, file), c.path()); err != nil {
		os.Remove(c.dir)
		return claim{}, fmt.Errorf("claim %s: %w", file, err)
	}
	return c, f.fetch(c)
}

// fetch moves the markers of a claimed file after it.
func (f folders) fetch(c claim) error {
	for _, suffix := range []string{checksumSuffix, controlSuffix} {
		if _, err := os.Stat(c.path() + suffix); err == nil {
			continue
		}
		err := os.Rename(f.in(inbox, c.file+suffix), c.path()+suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("claim %s: %w", c.file, err)
		}
	}
	return nil
}

// claims lists what was claimed and not ended, the oldest first.
func (f folders) claims() ([]claim, error) {
	entries, err := os.ReadDir(f.in(work))
	if err != nil {
		return nil, fmt.Errorf("read work folder: %w", err)
	}
	var cs []claim
	for _, e := range entries { // in the order of names, which begin with the time
		if !e.IsDir() || len(e.Name()) <= len(stamp)+1 {
			continue
		}
		c := claim{dir: f.in(work, e.Name()), file: e.Name()[len(stamp)+1:]}
		if _, err := os.Stat(c.path()); err == nil {
			cs = append(cs, c)
		}
	}
	return cs, nil
}

// end moves a claim out of the work folder in one step (I-drop-2).
func (f folders) end(c claim, where string) (string, error) {
	to := f.in(where, filepath.Base(c.dir))
	if err := os.Rename(c.dir, to); err != nil {
		return "", fmt.Errorf("put %s into %s: %w", c.file, where, err)
	}
	return to, nil
}

func (c claim) path() string { return filepath.Join(c.dir, c.file) }

// keep writes a file beside the claimed one.
func (c claim) keep(name string, content []byte) error {
	if err := os.WriteFile(filepath.Join(c.dir, name), content, 0o600); err != nil {
		return fmt.Errorf("keep %s of %s: %w", name, c.file, err)
	}
	return nil
}

func loadJSON(l *facadev1.Load) []byte { return []byte(protojson.Format(l) + "\n") }
