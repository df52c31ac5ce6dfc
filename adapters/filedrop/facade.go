package filedrop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/adapters"
	"meridian/adapters/mapping"
	"meridian/instance/crm"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// configSchema describes the configuration file for tools.
const configSchema = `{"type":"object","additionalProperties":false,"required":["name","service","token_file","folder","feeds"],"properties":{
"name":{"type":"string"},"service":{"type":"string","format":"uri"},"token_file":{"type":"string"},"folder":{"type":"string"},"poll":{"type":"string"},
"batch":{"type":"integer","minimum":1,"maximum":900},"socket":{"type":"string"},"feeds":{"type":"array","minItems":1,"items":{"type":"object",
"additionalProperties":false,"required":["name","files","mapping"],"properties":{"name":{"type":"string"},"files":{"type":"string"},"mapping":{"type":"string"}}}}}}`

// Spec is the facade's own description; it expires with the first mapping.
func (d *Drop) Spec(context.Context) (*facadev1.SpecResponse, error) {
	spec := &facadev1.SpecResponse{Name: d.config.Name, Version: "1", Capabilities: []string{adapters.CanRead}, ConfigSchema: configSchema}
	expires := d.feeds[0].mapping.Expires
	for _, f := range d.feeds {
		if !f.mapping.Expires.After(expires) {
			expires, spec.Owner = f.mapping.Expires, f.mapping.Owner
		}
	}
	spec.Expires = timestamppb.New(expires)
	return spec, nil
}

// Check tries folders, token and the examples of the mappings.
func (d *Drop) Check(context.Context) ([]string, error) {
	var problems []string
	note := func(err error) {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	_, err := d.folders.waiting()
	note(err)
	probe, err := os.CreateTemp(d.folders.in(work), ".check-*")
	note(err)
	if err == nil {
		probe.Close()
		os.Remove(probe.Name())
	}
	_, err = os.ReadFile(d.config.TokenFile)
	note(err)
	for _, f := range d.feeds {
		for _, err := range f.mapping.CheckExamples() {
			note(err)
		}
	}
	return problems, nil
}

// Discover lists the feeds in the order in which they are taken.
func (d *Drop) Discover(context.Context) ([]*facadev1.Stream, error) {
	var streams []*facadev1.Stream
	for _, f := range d.feeds {
		streams = append(streams, &facadev1.Stream{Name: f.name, Entity: f.mapping.Entity, Columns: f.mapping.Columns()})
	}
	return streams, nil
}

// Read reads a feed's file: the stream is "companies" for the file that is
// next, or "companies/companies-2026-11-23.csv" for that one. Files are looked
// for among the claimed ones first, then in the inbox.
func (d *Drop) Read(ctx context.Context, stream string, from *facadev1.Position, emit func(*facadev1.ReadResponse) error) error {
	name, file, _ := strings.Cut(stream, "/")
	for _, f := range d.feeds {
		if f.name != name {
			continue
		}
		path, err := d.find(f, file)
		if err != nil {
			return err
		}
		return read(ctx, f.mapping, path, from, emit)
	}
	return crm.Errorf(crm.NotFound, "no feed %q", name)
}

func (d *Drop) find(f feed, file string) (string, error) {
	wanted := func(name string) bool { return f.takes(name) && (file == "" || name == file) }
	claims, err := d.folders.claims()
	if err != nil {
		return "", err
	}
	for _, c := range claims {
		if wanted(c.file) {
			return c.path(), nil
		}
	}
	files, err := d.folders.waiting()
	if err != nil {
		return "", err
	}
	for _, name := range files {
		if wanted(name) && d.folders.missing(name, f.mapping.Source.Control) == "" {
			return d.folders.in(inbox, name), nil
		}
	}
	return "", crm.Errorf(crm.NotFound, "no file of feed %s is ready", f.name)
}

// Read reads the one file that was verified, whatever the stream is called.
func (x extract) Read(ctx context.Context, _ string, from *facadev1.Position, emit func(*facadev1.ReadResponse) error) error {
	return read(ctx, x.mapping, x.path, from, emit)
}

// read emits the records of one file from a position on.
func read(ctx context.Context, m *mapping.Mapping, path string, from *facadev1.Position, emit func(*facadev1.ReadResponse) error) error {
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open extract: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("open extract: %w", err)
	}
	r, err := open(ctx, m, in, from.GetRecord(), from.GetOffset())
	if err != nil {
		return err
	}
	at := &facadev1.Position{Record: from.GetRecord(), Offset: from.GetOffset()}
	mark := func() error {
		progress := &facadev1.Progress{Done: at.GetOffset(), Total: info.Size(), Unit: "bytes"}
		if err := emit(&facadev1.ReadResponse{Item: &facadev1.ReadResponse_Progress{Progress: progress}}); err != nil {
			return err
		}
		return emit(&facadev1.ReadResponse{Item: &facadev1.ReadResponse_Position{Position: &facadev1.Position{Record: at.GetRecord(), Offset: at.GetOffset()}}})
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		rec, err := r.next()
		if errors.Is(err, io.EOF) {
			return mark()
		}
		if err != nil {
			return err
		}
		var row *facadev1.Row
		var rej *facadev1.Reject
		switch {
		case rec.Fault == nil:
			row, rej = r.bound.Map(rec.Number, rec.Fields)
		case m.Source.Damaged == mapping.DamageRefusesFile:
			return refusal("%s", rec.Fault) // changed since it was verified
		default:
			rej = &facadev1.Reject{Number: rec.Number, Code: rec.Fault.Code, Message: rec.Fault.Msg}
		}
		switch {
		case row != nil:
			err = emit(&facadev1.ReadResponse{Item: &facadev1.ReadResponse_Row{Row: row}})
		case rej != nil:
			rej.Original = append([]byte(nil), rec.Raw...)
			err = emit(&facadev1.ReadResponse{Item: &facadev1.ReadResponse_Reject{Reject: rej}})
		}
		if err != nil {
			return err
		}
		at.Record, at.Offset = rec.Number, rec.End
		if rec.Number%adapters.PositionEvery == 0 {
			if err := mark(); err != nil {
				return err
			}
		}
	}
}

// Write is not what dropped files can do.
func (d *Drop) Write(context.Context, string, []*facadev1.Row) ([]*recordv1.ErrorDetail, error) {
	return nil, adapters.Unimplemented("write")
}

// Probe is not what dropped files can do.
func (d *Drop) Probe(context.Context, string, string) (bool, error) {
	return false, adapters.Unimplemented("probe")
}
