package fleet

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"meridian/instance/crm"
	"meridian/instance/embedded"
)

// Folder is the data folder: everything a fleet on this machine keeps.
//
//	lock, children.json    who works here, and its processes
//	fleet.json             where the instances are served (for other verbs)
//	progress.json          what of the first start is done
//	officers/              officers' key pairs: elsewhere officers keep their own
//	keys/                  the embedded issuer's signing key and jwks.json
//	postgres/, kafka/      the servers
//	<instance>/            instance.yaml, filedrop.yaml, secrets (0600), drop/, logs
type Folder string

// mark is the file that says a folder is ours, so that --fresh never empties
// another.
const mark = "fleet.json"

// KeysIn is the issuer's folder within a data folder.
func KeysIn(data string) string { return filepath.Join(data, "keys") }

// Endpoint is where an instance of the fleet in a data folder is served.
func Endpoint(data, name string) (string, error) {
	all, err := Endpoints(data)
	if err != nil {
		return "", err
	}
	if at, ok := all[name]; ok {
		return at, nil
	}
	return "", crm.Errorf(crm.NotFound, "the fleet in %s has no instance %q", data, name)
}

// Endpoints are where the instances of the fleet in a data folder are served,
// by name.
func Endpoints(data string) (map[string]string, error) {
	endpoints, err := Folder(data).endpoints()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, crm.Errorf(crm.Unavailable, "there is no fleet in %s: start one with meridian up, or name its folder with --data", data)
	}
	return endpoints.Instances, err
}

// endpoints are the public addresses of the fleet.
type endpoints struct {
	Instances map[string]string `json:"instances"`
}

func (d Folder) endpoints() (endpoints, error) {
	var e endpoints
	text, err := os.ReadFile(d.file(mark))
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(text, &e)
}

func (d Folder) file(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

func (d Folder) secret(instance, name string) string { return d.file(instance, name) }
func (d Folder) jwks() string                        { return d.file("keys", "jwks.json") }
func (d Folder) drop(instance string) string         { return d.file(instance, "drop") }

// openFolder makes the folder and takes it for this process alone.
func openFolder(path string) (d Folder, release func() error, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", nil, err
	}
	// Others may pass through, because a root caller's PostgreSQL runs as an
	// ordinary user; what is secret is 0600 or in folders of 0700.
	if err := os.MkdirAll(abs, 0o711); err != nil {
		return "", nil, fmt.Errorf("make the data folder: %w", err)
	}
	release, err = embedded.LockFolder(abs)
	return Folder(abs), release, err
}

// emptying is the file that stands while a folder is emptied: a run that was
// killed meanwhile must not take half a fleet for a whole one.
const emptying = "emptying"

// halfEmpty says whether an earlier run was killed while it started over.
func (d Folder) halfEmpty() bool {
	_, err := os.Stat(d.file(emptying))
	return err == nil
}

// empty removes what an earlier fleet left, but the lock that we hold.
func (d Folder) empty() error {
	content, err := os.ReadDir(string(d))
	if err != nil {
		return err
	}
	ours := d.halfEmpty()
	for _, e := range content {
		ours = ours || e.Name() == mark || e.Name() == "children.json"
	}
	if !ours && len(content) > 1 {
		return crm.Errorf(crm.Conflict, "--fresh would empty %s, which holds no fleet: name another folder with --data", d)
	}
	if err := write(d.file(emptying), nil); err != nil {
		return fmt.Errorf("start over: %w", err)
	}
	if err := embedded.RemovePostgres(d.file("postgres")); err != nil {
		return fmt.Errorf("start over: %w", err)
	}
	for _, e := range content {
		if e.Name() == "lock" || e.Name() == emptying {
			continue
		}
		if err := os.RemoveAll(d.file(e.Name())); err != nil {
			return fmt.Errorf("start over: %w", err)
		}
	}
	return os.Remove(d.file(emptying))
}

// password is a secret that is made once and kept: of an instance, for whom.
func (d Folder) password(instance, of string) (string, error) {
	path := d.secret(instance, of+".password")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		fresh := rand.Text()
		return fresh, write(path, []byte(fresh))
	}
	return strings.TrimSpace(string(text)), err
}

// brokerPort is the port the broker had the last time, 0 for none.
func (d Folder) brokerPort() int {
	var port int
	text, err := os.ReadFile(d.file("kafka.port"))
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscan(string(text), &port); err != nil {
		return 0
	}
	return port
}

func (d Folder) keepBrokerPort(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("the broker's address %q: %w", address, err)
	}
	return write(d.file("kafka.port"), []byte(port+"\n"))
}

// write replaces a file that only we may read, whole or not at all.
func write(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return write(path, append(text, '\n'))
}

// progress is what of a fleet's first start is done. The rest is done again:
// every step is idempotent.
type progress struct {
	Loaded    bool `json:"loaded"`    // every sample file is loaded
	Agreed    bool `json:"agreed"`    // the agreements are made; from now on they are the officers'
	Exchanged bool `json:"exchanged"` // every instance held once what the others let it have
}

func (d Folder) progress() (progress, error) {
	var p progress
	text, err := os.ReadFile(d.file("progress.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(text, &p)
}
