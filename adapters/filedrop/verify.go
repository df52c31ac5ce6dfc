package filedrop

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"meridian/adapters/delimited"
	"meridian/adapters/mapping"
	"meridian/instance/crm"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
)

// announced is what the sender says of a file.
type announced struct {
	sha256  string // "" if nothing
	records int64  // -1 if nothing
}

// readMarkers reads the markers beside a file.
func readMarkers(path string, required mapping.Control) (a announced, err error) {
	if a.sha256, err = readChecksum(path+checksumSuffix, required.Checksum); err == nil {
		a.records, err = readControl(path+controlSuffix, required.Count)
	}
	return a, err
}

// extract is a file that was verified from end to end.
type extract struct {
	mapping   *mapping.Mapping
	path      string
	announced announced
	sha256    string
	size      int64
	records   int64
}

// begin asks for the load of an extract.
func (x extract) begin(feed, file string, dryRun bool) *facadev1.BeginRequest {
	return &facadev1.BeginRequest{
		Feed: feed, Entity: x.mapping.Entity, File: file, Sha256: x.sha256, Mapping: x.mapping.Name,
		MappingVersion: int32(x.mapping.Version), ControlCount: x.announced.records, DryRun: dryRun,
	}
}

// refusal is why a file is not loaded at all.
func refusal(format string, args ...any) error { return crm.Errorf(crm.Invalid, format, args...) }

// verify reads the whole file once and loads nothing (I-drop-1): checksum and
// control counts must be right and every record readable with the right number
// of columns. A refusal is a *crm.Error of kind invalid.
func verify(ctx context.Context, m *mapping.Mapping, path string, a announced) (extract, error) {
	x := extract{mapping: m, path: path, announced: a}
	in, err := os.Open(path)
	if err != nil {
		return x, fmt.Errorf("open extract: %w", err)
	}
	defer in.Close()
	// The checksum first: a truncated file is better called truncated than
	// blamed for its last line.
	sum := sha256.New()
	if x.size, err = io.Copy(sum, heeding(ctx, in)); err != nil {
		return x, fmt.Errorf("read extract: %w", err)
	}
	x.sha256 = hex.EncodeToString(sum.Sum(nil))
	if a.sha256 != "" && a.sha256 != x.sha256 {
		return x, refusal("the checksum is wrong: the sender announced %s, the content of %d bytes has %s; the file is truncated or changed, send it again", a.sha256, x.size, x.sha256)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return x, fmt.Errorf("read extract: %w", err)
	}
	return x.count(ctx, in)
}

// count reads every record.
func (x extract) count(ctx context.Context, in *os.File) (extract, error) {
	r, err := open(ctx, x.mapping, in, 0, 0)
	if err != nil {
		return x, err
	}
	for {
		rec, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return x, err
		}
		if rec.Fault != nil && x.mapping.Source.Damaged == mapping.DamageRefusesFile {
			return x, refusal("%s; nothing was loaded", rec.Fault)
		}
		x.records++
	}
	if x.mapping.Source.Control.Trailer != nil && r.trailer < 0 {
		return x, refusal("the trailer is missing; the file may be truncated; nothing was loaded")
	}
	if r.trailer >= 0 && r.trailer != x.records {
		return x, refusal("the trailer counts %d records, the file has %d; nothing was loaded", r.trailer, x.records)
	}
	if n := x.announced.records; n >= 0 && n != x.records {
		return x, refusal("the sender announced %d records, the file has %d; nothing was loaded", n, x.records)
	}
	return x, nil
}

// reader reads the records of a file under a mapping: no header, no trailer.
type reader struct {
	*delimited.Reader
	bound   *mapping.Bound
	source  mapping.Source
	header  []byte // original bytes, nil without one
	trailer int64  // its count, -1 until it was read
}

// open reads the header; reading goes on from the position after it, or the
// given one.
func open(ctx context.Context, m *mapping.Mapping, in *os.File, number, offset int64) (*reader, error) {
	r := &reader{Reader: delimited.NewReader(heeding(ctx, in), m.Source.Format, 0, 0), source: m.Source, trailer: -1}
	columns := m.Source.Columns
	if m.Source.Header {
		rec, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil, refusal("the file is empty; even one without records has a header")
		case err != nil:
			return nil, fault(err)
		case rec.Fault != nil:
			return nil, refusal("header: %s; nothing was loaded", rec.Fault)
		}
		r.Uncount()
		columns = append([]string(nil), rec.Fields...)
		r.header = append([]byte(nil), rec.Raw...)
	}
	var err error
	if r.bound, err = m.Bind(columns); err != nil {
		return nil, refusal("header: %w; nothing was loaded", err)
	}
	if offset > 0 {
		if _, err := in.Seek(offset, io.SeekStart); err != nil {
			return nil, fmt.Errorf("resume at byte %d: %w", offset, err)
		}
		r.Reader = delimited.NewReader(heeding(ctx, in), m.Source.Format, number, offset)
	}
	return r, nil
}

// next gives the next record, with a fault if it has the wrong columns; io.EOF
// after the last one.
func (r *reader) next() (delimited.Record, error) {
	rec, err := r.Next()
	if err != nil {
		return rec, fault(err)
	}
	if t := r.source.Control.Trailer; t != nil && rec.Fault == nil && rec.Fields[0] == t.Marker {
		return r.end(rec, t)
	}
	if n := len(rec.Fields); rec.Fault == nil && n != r.bound.Width() {
		rec.Fault = &delimited.Fault{
			Code: delimited.CodeColumns, Record: rec.Number, Line: rec.Line, Offset: rec.Offset,
			Msg: fmt.Sprintf("the record has %d columns, the file has %d", n, r.bound.Width()),
		}
	}
	return rec, nil
}

// end reads the trailer, which must be the last record.
func (r *reader) end(rec delimited.Record, t *mapping.Trailer) (delimited.Record, error) {
	if len(rec.Fields) <= t.Count {
		return rec, refusal("line %d: the trailer has no column %d", rec.Line, t.Count+1)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(rec.Fields[t.Count]), 10, 64)
	if err != nil || n < 0 {
		return rec, refusal("line %d: the trailer does not count the records", rec.Line)
	}
	r.trailer = n
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		return rec, refusal("line %d: records follow the trailer", rec.Line)
	}
	return rec, io.EOF
}

// fault makes a fatal fault of the file a refusal.
func fault(err error) error {
	if f, ok := errors.AsType[*delimited.Fault](err); ok {
		return refusal("%s; nothing was loaded", f)
	}
	return err
}

// readChecksum reads what sha256sum wrote: 64 hex digits, then perhaps a name.
func readChecksum(path string, required bool) (string, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !required {
		return "", nil
	}
	if err != nil {
		return "", marker(err, checksumSuffix)
	}
	words := strings.Fields(string(content))
	if len(words) > 0 {
		digest := strings.ToLower(words[0])
		if b, err := hex.DecodeString(digest); err == nil && len(b) == sha256.Size {
			return digest, nil
		}
	}
	return "", refusal("the %s marker holds no SHA-256 in hex", checksumSuffix)
}

// readControl reads records=4427; other keys are the sender's own.
func readControl(path string, required bool) (int64, error) {
	in, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) && !required {
		return -1, nil
	}
	if err != nil {
		return -1, marker(err, controlSuffix)
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok && strings.TrimSpace(key) == "records" {
			if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil && n >= 0 {
				return n, nil
			}
		}
	}
	return -1, refusal("the %s marker does not say records=<number>", controlSuffix)
}

// marker explains a marker that cannot be read. One that is gone will not come
// back: the file was claimed with it.
func marker(err error, suffix string) error {
	if errors.Is(err, os.ErrNotExist) {
		return refusal("the %s marker that the mapping requires is missing", suffix)
	}
	return fmt.Errorf("read marker: %w", err)
}

// heeding reads from in until ctx ends.
func heeding(ctx context.Context, in io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return in.Read(p)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
