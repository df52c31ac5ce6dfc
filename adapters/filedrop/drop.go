// Package filedrop is the facade for systems that drop delimited files into a
// folder, as overnight extracts do.
//
// A file is taken when its marker says that it is all there, claimed by a
// rename into a folder of its own, and verified from end to end (checksum,
// control counts, charset, quotes, columns) before a single record is loaded:
// I-drop-1: a file that does not verify loads nothing. I-drop-2: a claimed file
// leaves the work folder in one rename, loaded or refused, so a crash at any
// point repeats harmless steps. I-drop-3: one process owns a drop folder.
//
//	<folder>/inbox     files and their markers arrive here
//	<folder>/work      claimed: one folder per file
//	<folder>/archive   loaded: the file, its markers, result.json, its rejects
//	<folder>/refused   never loaded, or halted: the same with reason.txt
//
// What lies in these folders is customer data: they are open to their owner
// alone. The package reaches an instance through adapters.Runner only.
package filedrop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"meridian/adapters"
	"meridian/instance/crm"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
)

// Drop watches one drop folder.
type Drop struct {
	config  Config
	feeds   []feed
	folders folders
	loads   facadev1connect.LoadServiceClient
	log     *slog.Logger
	awaited map[string]bool // files whose missing marker was mentioned
}

var _ adapters.Facade = (*Drop)(nil)

// New reads the mappings and makes the folders.
func New(c Config, log *slog.Logger) (*Drop, error) {
	feeds, err := c.feeds()
	if err != nil {
		return nil, err
	}
	d := &Drop{
		config: c, feeds: feeds, folders: folders(c.Folder), loads: adapters.NewClient(c.Service, c.TokenFile),
		log: log.With("facade", c.Name), awaited: map[string]bool{},
	}
	return d, d.folders.make()
}

const longestPause = 30 * time.Second

// Run takes files until ctx ends; a load under way stops at a batch boundary
// and is resumed by the next Run.
func (d *Drop) Run(ctx context.Context) error {
	release, err := d.folders.own()
	if err != nil {
		return err
	}
	defer release()
	d.log.InfoContext(ctx, "watching", "folder", d.config.Folder, "feeds", len(d.feeds))
	pause := d.config.Poll
	for {
		err := d.sweep(ctx)
		switch {
		case ctx.Err() != nil:
			d.log.InfoContext(ctx, "stopped at a batch boundary")
			return nil
		case err != nil:
			pause = min(max(2*pause, time.Second), longestPause)
			d.log.WarnContext(ctx, "a file waits", "again_in", pause, "error", err)
		default:
			pause = d.config.Poll
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// Once takes every file that is ready now and returns. An error means that a
// file could neither be loaded nor refused; it stays claimed.
func (d *Drop) Once(ctx context.Context) error {
	release, err := d.folders.own()
	if err != nil {
		return err
	}
	defer release()
	return d.sweep(ctx)
}

// sweep takes every file that is ready: claimed ones of an earlier run first,
// then feed by feed. It stops at a file that can neither be loaded nor refused
// now, because what comes after may refer to it.
func (d *Drop) sweep(ctx context.Context) error {
	claims, err := d.folders.claims()
	if err != nil {
		return err
	}
	slices.SortStableFunc(claims, func(a, b claim) int { return d.order(a.file) - d.order(b.file) })
	for _, c := range claims {
		if err := d.take(ctx, c); err != nil {
			return err
		}
	}
	for {
		c, ok, err := d.next(ctx)
		if err != nil || !ok {
			return err
		}
		if err := d.take(ctx, c); err != nil {
			return err
		}
	}
}

// order is the place of a file's feed in the configuration.
func (d *Drop) order(file string) int {
	return slices.IndexFunc(d.feeds, func(f feed) bool { return f.takes(file) })
}

// next claims the next ready file of the first feed that has one.
func (d *Drop) next(ctx context.Context) (claim, bool, error) {
	files, err := d.folders.waiting()
	if err != nil || ctx.Err() != nil {
		return claim{}, false, errors.Join(err, ctx.Err())
	}
	for i, f := range d.feeds {
		for _, file := range files {
			if d.order(file) != i {
				continue
			}
			if missing := d.folders.missing(file, f.mapping.Source.Control); missing != "" {
				if !d.awaited[file] {
					d.awaited[file] = true
					d.log.InfoContext(ctx, "waiting for a marker", "feed", f.name, "file", file, "marker", missing)
				}
				continue
			}
			delete(d.awaited, file)
			c, err := d.folders.claim(file)
			return c, err == nil, err
		}
	}
	return claim{}, false, nil
}

// take verifies and loads a claimed file, and puts it where it ends.
func (d *Drop) take(ctx context.Context, c claim) error {
	i := d.order(c.file)
	if i < 0 {
		return d.refuse(ctx, c, nil, errors.New("no feed of the configuration takes a file of this name"))
	}
	f := d.feeds[i]
	a, err := readMarkers(c.path(), f.mapping.Source.Control)
	var x extract
	if err == nil {
		x, err = verify(ctx, f.mapping, c.path(), a)
	}
	if err != nil {
		if crm.KindOf(err) != crm.Invalid {
			return err
		}
		return d.refuse(ctx, c, nil, err)
	}
	l, err := d.runner().Run(ctx, x, f.name, x.begin(f.name, c.file, false))
	if halted, ok := errors.AsType[*adapters.HaltedError](err); ok {
		return d.refuse(ctx, c, halted.Load, err)
	}
	if err != nil {
		return err
	}
	if err := writeRejects(ctx, d.loads, l, x, c.path()); err != nil {
		return fmt.Errorf("write rejects of %s: %w", c.file, err)
	}
	if err := c.keep("result.json", loadJSON(l)); err != nil {
		return err
	}
	to, err := d.folders.end(c, archive)
	if err != nil {
		return err
	}
	d.log.InfoContext(ctx, "archived", "feed", f.name, "file", c.file, "load", l.GetId(), "state", l.GetState(), "to", filepath.Base(to))
	return nil
}

// refuse puts a file aside with the reason.
func (d *Drop) refuse(ctx context.Context, c claim, l *facadev1.Load, reason error) error {
	if l != nil {
		if err := c.keep("result.json", loadJSON(l)); err != nil {
			return err
		}
	}
	if err := c.keep("reason.txt", []byte(reason.Error()+"\n")); err != nil {
		return err
	}
	to, err := d.folders.end(c, refused)
	if err != nil {
		return err
	}
	d.log.ErrorContext(ctx, "file refused", "file", c.file, "loaded", l.GetBalance().GetRead(), "to", filepath.Base(to), "error", reason)
	return nil
}

func (d *Drop) runner() *adapters.Runner {
	return &adapters.Runner{Loads: d.loads, Batch: d.config.Batch, Log: d.log}
}

// takes says whether a file of this name is the feed's.
func (f feed) takes(file string) bool {
	ok, _ := filepath.Match(f.files, file) // the pattern was checked
	return ok
}
