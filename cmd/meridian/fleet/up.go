// Package fleet runs a whole fleet on one machine: the servers, one supervised
// process per instance, one facade process per instance that takes files, and
// the sample data of the first night.
//
// Everything a run does before the fleet is ready is idempotent, so that a run
// that was killed at any point is simply run again. Children never outlive the
// run: they die with it, and those that do not are ended by the next.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"meridian/instance/crm"
	"meridian/instance/embedded"
	"meridian/instance/identity"
)

// Options say what to run and where.
type Options struct {
	Fleet     string // fleet file
	Data      string // data folder
	PortBase  int    // port of the first instance
	ReadyFile string // written once all is loaded and exchanged, if named
	Fresh     bool   // start over
	Binaries  string // folder of meridian, its plugins and facades; that of this program if empty

	Stdout, Stderr io.Writer
}

// How long the parts may take to end. Facades, instances, PostgreSQL go one
// after the other, within the 20 s that the whole may take.
const (
	facadeGrace   = 3 * time.Second
	instanceGrace = 9 * time.Second
	tokenRefresh  = 12 * time.Hour // half of a token's longest life
)

// run is one run of a fleet.
type run struct {
	Options
	screen
	began    time.Time
	file     *File
	folder   Folder
	book     *embedded.Book
	issuer   *identity.Issuer
	postgres *embedded.Postgres // as it was started; see keepPostgres
	brokers  []string
	nodes    []*node // the instances, in the file's order
	facades  []*child
}

// Up runs a fleet until ctx ends.
func Up(ctx context.Context, o Options) (err error) {
	f, err := ReadFile(o.Fleet)
	if err != nil {
		return err
	}
	if o.Binaries == "" {
		program, err := os.Executable()
		if err != nil {
			return err
		}
		o.Binaries = filepath.Dir(program)
	}
	if o.Binaries, err = filepath.Abs(o.Binaries); err != nil {
		return err
	}
	folder, release, err := openFolder(o.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	r := &run{Options: o, screen: newScreen(o.Stdout, o.Stderr), began: time.Now(), file: f, folder: folder}
	if err := r.clear(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.unready()) }()
	defer context.AfterFunc(ctx, func() { r.say("\nStopping.") })()
	if err = r.up(ctx); ctx.Err() != nil {
		return nil // asked to stop: what that broke off is no failure
	}
	return err
}

// clear removes what a killed run left behind, or everything with Fresh.
func (r *run) clear(ctx context.Context) (err error) {
	if err := r.unready(); err != nil {
		return err
	}
	if r.book, err = embedded.OpenBook(r.folder.file("children.json")); err != nil {
		return err
	}
	if err := r.book.EndLeftovers(ctx); err != nil {
		return err
	}
	if !r.Fresh && !r.folder.halfEmpty() {
		return nil
	}
	return r.folder.empty()
}

// up starts everything, sees the first night through, announces the fleet and
// waits for the end. Parts are stopped in the reverse of their order.
func (r *run) up(ctx context.Context) error {
	if err := r.portsFree(); err != nil {
		return err
	}
	stopServers, err := r.startServers(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := stopServers(); err != nil {
			r.warn("%v", err)
		}
	}()
	if err := r.configure(); err != nil {
		return err
	}
	stopInstances := r.startInstances()
	defer stopInstances()
	if err := r.waitServing(ctx); err != nil {
		return err
	}
	stopFacades := r.startFacades()
	defer stopFacades()
	if err := r.firstNight(ctx); err != nil {
		return err
	}
	if err := r.waitExchanged(ctx); err != nil {
		return err
	}
	state, err := r.announce(ctx)
	if err != nil {
		return err
	}
	return r.watch(ctx, state)
}

// listen is the public address of the n-th instance.
func (r *run) listen(n int) string { return "127.0.0.1:" + strconv.Itoa(r.PortBase+n) }

// portsFree finds out early what an instance would only say in its log.
func (r *run) portsFree() error {
	for n, i := range r.file.Instances {
		l, err := net.Listen("tcp", r.listen(n))
		if err != nil {
			return crm.Errorf(crm.Conflict, "%s cannot listen on %s: %v: choose other ports with --port-base", i.Name, r.listen(n), err)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// configure writes what the instances and facades read: databases, secrets,
// configurations, addresses.
func (r *run) configure() error {
	var err error
	if r.issuer, err = identity.NewIssuer(KeysIn(string(r.folder))); err != nil {
		return err
	}
	public := endpoints{Instances: map[string]string{}}
	for n, i := range r.file.Instances {
		listen := r.listen(n)
		node := &node{Instance: i, run: r, url: "http://" + listen}
		r.nodes = append(r.nodes, node)
		public.Instances[i.Name] = node.url
		if err := node.configure(listen); err != nil {
			return fmt.Errorf("prepare %s: %w", i.Name, err)
		}
	}
	return writeJSON(r.folder.file(mark), public)
}

// configure writes one instance's folder. Passwords are made once; everything
// else follows the fleet file at every start.
func (n *node) configure(listen string) error {
	r := n.run
	if err := os.MkdirAll(r.folder.file(n.Name), 0o700); err != nil {
		return err
	}
	if err := n.ensureDatabase(context.Background()); err != nil {
		return err
	}
	config := r.file.config(n.Instance, listen, r.brokers, r.folder, r.Binaries)
	var err error
	if config.Policy.Officers, err = r.officers(n.Instance); err != nil {
		return err
	}
	if err := writeYAML(n.configPath(), config); err != nil {
		return err
	}
	if len(n.Feeds) == 0 {
		return nil
	}
	if err := n.renewLoaderToken(); err != nil {
		return err
	}
	return writeYAML(n.facadePath(), n.filedrop())
}

func writeYAML(path string, v any) error {
	text, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return write(path, text)
}
