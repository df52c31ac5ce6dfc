package filedrop

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	facadev1 "meridian/proto/gen/meridian/facade/v1"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
)

const (
	rejectsSuffix = ".rejects"     // original lines under the original header: correct them and drop the file again
	reasonsSuffix = ".rejects.csv" // a line per reject: where and why
)

// writeRejects writes the rejects of a load beside its file: those of this
// facade and those of the instance alike, with the bytes as they came. It
// reads the file once more, so that it depends on nothing that a crash of an
// earlier run could have lost.
func writeRejects(ctx context.Context, loads facadev1connect.LoadServiceClient, l *facadev1.Load, x extract, path string) error {
	if l.GetBalance().GetRejected() == 0 {
		return nil
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := open(ctx, x.mapping, in, 0, 0)
	if err != nil {
		return err
	}
	lines, err := createRejects(path, r.header)
	if err != nil {
		return err
	}
	defer lines.close()
	rejects := pages{loads: loads, load: l.GetId()}
	rej, err := rejects.next(ctx)
	for rej != nil && err == nil {
		rec, rerr := r.next()
		if rerr != nil {
			return fmt.Errorf("find record %d: %w", rej.GetNumber(), rerr)
		}
		if rec.Number < rej.GetNumber() {
			continue
		}
		if err := lines.add(rej, rec.Raw, rec.Line, rec.Offset); err != nil {
			return err
		}
		rej, err = rejects.next(ctx)
	}
	if err != nil {
		return fmt.Errorf("list rejects: %w", err)
	}
	return lines.finish(x)
}

// pages reads the rejects of a load page by page, in the order of the file.
type pages struct {
	loads facadev1connect.LoadServiceClient
	load  string
	after int64
	page  []*facadev1.Reject
	done  bool
}

// next gives the next reject, nil after the last.
func (p *pages) next(ctx context.Context) (*facadev1.Reject, error) {
	if len(p.page) == 0 && !p.done {
		resp, err := p.loads.ListRejects(ctx, &facadev1.ListRejectsRequest{LoadId: p.load, After: p.after, Limit: 1000})
		if err != nil {
			return nil, err
		}
		p.page, p.done = resp.GetRejects(), len(resp.GetRejects()) == 0
	}
	if p.done {
		return nil, nil
	}
	rej := p.page[0]
	p.page, p.after = p.page[1:], rej.GetNumber()
	return rej, nil
}

// rejectFiles are the two files under way.
type rejectFiles struct {
	originals, reasons *os.File
	lines              *bufio.Writer
	table              *csv.Writer
	n                  int64
}

func createRejects(path string, header []byte) (*rejectFiles, error) {
	const flags = os.O_CREATE | os.O_TRUNC | os.O_WRONLY
	originals, err := os.OpenFile(path+rejectsSuffix, flags, 0o600)
	if err != nil {
		return nil, err
	}
	reasons, err := os.OpenFile(path+reasonsSuffix, flags, 0o600)
	if err != nil {
		originals.Close()
		return nil, err
	}
	f := &rejectFiles{originals: originals, reasons: reasons, lines: bufio.NewWriter(originals), table: csv.NewWriter(reasons)}
	_, err = f.lines.Write(header)
	if err == nil {
		err = f.table.Write([]string{"record", "line", "offset", "code", "field", "message"})
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *rejectFiles) add(rej *facadev1.Reject, raw []byte, line, offset int64) error {
	f.n++
	if _, err := f.lines.Write(raw); err != nil {
		return err
	}
	if raw[len(raw)-1] != '\n' { // the last line of the file had no end
		if err := f.lines.WriteByte('\n'); err != nil {
			return err
		}
	}
	return f.table.Write([]string{
		strconv.FormatInt(rej.GetNumber(), 10), strconv.FormatInt(line, 10), strconv.FormatInt(offset, 10), rej.GetCode(), rej.GetField(), rej.GetMessage(),
	})
}

// finish closes the files; where the format has a trailer, a new one counts
// the rejects.
func (f *rejectFiles) finish(x extract) error {
	if t := x.mapping.Source.Control.Trailer; t != nil {
		trailer := t.Marker
		for i := 1; i < t.Count; i++ {
			trailer += string(x.mapping.Source.Format.Delimiter)
		}
		trailer += string(x.mapping.Source.Format.Delimiter) + strconv.FormatInt(f.n, 10) + "\n"
		if _, err := io.WriteString(f.lines, trailer); err != nil {
			return err
		}
	}
	f.table.Flush()
	return errors.Join(f.table.Error(), f.lines.Flush(), f.originals.Close(), f.reasons.Close())
}

func (f *rejectFiles) close() {
	f.originals.Close()
	f.reasons.Close()
}
