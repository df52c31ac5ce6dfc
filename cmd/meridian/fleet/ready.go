package fleet

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"meridian/instance/crm"
	"meridian/instance/identity"
	pluginv1 "meridian/proto/gen/meridian/plugin/v1"
)

// ready is the ready file: what a program needs to use a fleet.
type ready struct {
	Instances map[string]string        `json:"instances"` // name -> URL
	Personas  map[crm.SubjectID]string `json:"personas"`  // subject -> token
	PIDs      pids                     `json:"pids"`
}

type pids struct {
	Up        int            `json:"up"`
	Instances map[string]int `json:"instances"`
	Plugins   map[string]int `json:"plugins"` // data-quality@amer
}

// announce says that the fleet is ready: to programs by the ready file, to
// people on the screen.
func (r *run) announce(ctx context.Context) (ready, error) {
	var state ready
	var x examples
	// An instance that is away for a moment is asked again: it must not end
	// the others.
	patient, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	err := poll(patient, 200*time.Millisecond, func() (bool, error) {
		var err error
		if state, err = r.ready(patient); err == nil {
			x, err = r.examples(patient)
		}
		if unavailable(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return state, err
	}
	if err := r.writeReady(state); err != nil {
		return state, err
	}
	r.banner(state, x)
	return state, nil
}

// ready asks who runs where. Tokens are made here, each good for a day.
func (r *run) ready(ctx context.Context) (ready, error) {
	s := ready{Instances: map[string]string{}, Personas: map[crm.SubjectID]string{}}
	for _, n := range r.nodes {
		s.Instances[n.Name] = n.url
		for _, p := range r.file.personas(n.Instance) {
			token, err := r.issuer.Issue(p.ID, n.Name, identity.MaxLife)
			if err != nil {
				return s, err
			}
			s.Personas[p.ID] = token
		}
	}
	var err error
	s.PIDs, err = r.pids(ctx)
	return s, err
}

func (r *run) pids(ctx context.Context) (pids, error) {
	p := pids{Up: os.Getpid(), Instances: map[string]int{}, Plugins: map[string]int{}}
	for _, n := range r.nodes {
		p.Instances[n.Name], _ = n.child.running()
		resp, err := n.plugins().ListPlugins(ctx, &pluginv1.ListPluginsRequest{})
		if err != nil {
			return p, at(n, "list plugins", err)
		}
		for _, s := range resp.Plugins {
			if s.Pid != 0 {
				p.Plugins[s.Name+"@"+n.Name] = int(s.Pid)
			}
		}
	}
	return p, nil
}

// covers tells whether p has a process for everything that old has one for: who
// reads the file while a plugin restarts must find it all the same.
func (p pids) covers(old pids) bool {
	for name := range old.Instances {
		if p.Instances[name] == 0 {
			return false
		}
	}
	for name := range old.Plugins {
		if p.Plugins[name] == 0 {
			return false
		}
	}
	return true
}

// writeReady puts the ready file in its place, whole.
func (r *run) writeReady(s ready) error {
	if r.ReadyFile == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(r.ReadyFile), 0o755); err != nil {
		return err
	}
	return writeJSON(r.ReadyFile, s)
}

// unready removes the ready file: at the start one that a killed run left, at
// the end our own.
func (r *run) unready() error {
	if r.ReadyFile == "" {
		return nil
	}
	if err := os.Remove(r.ReadyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// watch waits for the end. Meanwhile it renews the facades' tokens and keeps
// the process ids of the ready file true when something was started again.
func (r *run) watch(ctx context.Context, state ready) error {
	renewed, announced := time.Now(), time.Now()
	return poll(ctx, 2*time.Second, func() (bool, error) {
		if time.Since(renewed) > tokenRefresh {
			renewed = time.Now()
			for _, n := range r.nodes {
				if len(n.Feeds) == 0 {
					continue
				}
				if err := n.renewLoaderToken(); err != nil {
					return false, err
				}
			}
		}
		now, err := r.pids(ctx)
		if err != nil || !now.covers(state.PIDs) { // a part is away: the file is made true when it is back
			return false, nil
		}
		if reflect.DeepEqual(now, state.PIDs) && time.Since(announced) < tokenRefresh {
			return false, nil
		}
		next, err := r.ready(ctx)
		if err != nil || !next.PIDs.covers(state.PIDs) {
			return false, nil
		}
		state, announced = next, time.Now()
		return false, r.writeReady(state)
	})
}
