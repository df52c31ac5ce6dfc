// Package adaptertest is the conformance kit of facades: what every facade
// must do, whatever legacy system it stands in front of.
//
// A facade's test gives a Setup and calls Run. The suite only knows the
// contract; how records get into the legacy system is the Setup's.
package adaptertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"meridian/adapters"
	"meridian/instance/crm"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
)

// Filtered is the name of records that the facade's mapping must filter.
const Filtered = "filtered"

// Setup opens facades under test. Their mapping makes entity account of each
// record: id becomes source_id, name becomes name; an empty id is a reject, a
// record named Filtered is filtered.
type Setup struct {
	// Open opens a facade on a legacy system that holds these records (id,
	// name), in this order, and says which stream reads them.
	Open func(t testing.TB, records iter.Seq2[string, string]) (f adapters.Facade, stream string)
	// Text opens a facade on a file of text in UTF-8 with a header, the columns
	// id and name, and "," between them; nil where the source is no text.
	Text func(t testing.TB, content []byte) (f adapters.Facade, stream string)
}

// Run runs the suite.
func Run(t *testing.T, s Setup) {
	t.Run("Spec", s.spec)
	t.Run("Check", s.check)
	t.Run("Discover", s.discover)
	t.Run("OnlyWhatIsDeclared", s.declared)
	t.Run("UnknownStream", s.unknownStream)
	t.Run("ReadsEverythingInOrder", s.reads)
	t.Run("ReadsNothing", s.empty)
	t.Run("ResumesAnywhere", s.resumes)
	t.Run("SpecialCharacters", s.special)
	t.Run("DuplicateKeys", s.duplicates)
	t.Run("StopsWhenToldTo", s.stops)
	t.Run("ReadsSideBySide", s.sideBySide)
	t.Run("BigSourceSmallMemory", s.big)
	t.Run("Text", s.text)
}

type record struct{ id, name string }

func (s Setup) open(t testing.TB, records ...record) (adapters.Facade, string) {
	return s.Open(t, func(yield func(string, string) bool) {
		for _, r := range records {
			if !yield(r.id, r.name) {
				return
			}
		}
	})
}

// numbered makes n records: r1, r2, ...
func numbered(n int) []record {
	rs := make([]record, n)
	for i := range rs {
		rs[i] = record{fmt.Sprintf("r%d", i+1), fmt.Sprintf("Name %d", i+1)}
	}
	return rs
}

// outcome is what a read made of a source.
type outcome struct {
	lines     []string // "1 r1 Name 1" for a row, "2 !code" for a reject
	positions []*facadev1.Position
	at        []int // how many lines there were at each position
}

func read(t testing.TB, f adapters.Facade, stream string, from *facadev1.Position) (outcome, error) {
	t.Helper()
	var o outcome
	last := from.GetRecord()
	emit := func(item *facadev1.ReadResponse) error {
		switch it := item.GetItem().(type) {
		case *facadev1.ReadResponse_Row:
			if it.Row.GetEntity() != "account" || it.Row.GetNumber() <= last {
				t.Errorf("row %d of entity %q after record %d", it.Row.GetNumber(), it.Row.GetEntity(), last)
			}
			last = it.Row.GetNumber()
			o.lines = append(o.lines, fmt.Sprintf("%d %s %s", last, it.Row.GetFields()["source_id"].GetString_(), it.Row.GetFields()["name"].GetString_()))
		case *facadev1.ReadResponse_Reject:
			if it.Reject.GetNumber() <= last || it.Reject.GetCode() == "" || it.Reject.GetMessage() == "" || len(it.Reject.GetOriginal()) == 0 {
				t.Errorf("reject %v after record %d: it needs number, code, message and the original bytes", it.Reject, last)
			}
			last = it.Reject.GetNumber()
			o.lines = append(o.lines, fmt.Sprintf("%d !%s", last, it.Reject.GetCode()))
		case *facadev1.ReadResponse_Position:
			if it.Position.GetRecord() < last {
				t.Errorf("position %d after record %d", it.Position.GetRecord(), last)
			}
			last = it.Position.GetRecord()
			o.positions = append(o.positions, it.Position)
			o.at = append(o.at, len(o.lines))
		}
		return nil
	}
	err := f.Read(t.Context(), stream, from, emit)
	if err == nil && (len(o.positions) == 0 || o.at[len(o.at)-1] != len(o.lines)) {
		t.Error("the read does not end with a position")
	}
	return o, err
}

func mustRead(t testing.TB, f adapters.Facade, stream string, from *facadev1.Position) outcome {
	t.Helper()
	o, err := read(t, f, stream, from)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (s Setup) spec(t *testing.T) {
	f, _ := s.open(t)
	spec, err := f.Spec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if spec.GetName() == "" || spec.GetVersion() == "" || spec.GetOwner() == "" {
		t.Errorf("name, version and owner are needed: %v", spec)
	}
	if !spec.GetExpires().AsTime().After(time.Now()) {
		t.Errorf("a facade is throw-away: it expires some day, not %v", spec.GetExpires().AsTime())
	}
	if !json.Valid([]byte(spec.GetConfigSchema())) {
		t.Error("the schema of the configuration is no JSON")
	}
	for _, c := range spec.GetCapabilities() {
		if !slices.Contains([]string{"read", "write", "probe", "deletes", "incremental"}, c) {
			t.Errorf("unknown capability %q", c)
		}
	}
}

func (s Setup) check(t *testing.T) {
	f, _ := s.open(t)
	if problems, err := f.Check(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("problems %q, error %v", problems, err)
	}
}

func (s Setup) discover(t *testing.T) {
	f, stream := s.open(t, numbered(1)...)
	first, err := f.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(first, second, func(a, b *facadev1.Stream) bool { return proto.Equal(a, b) }) {
		t.Errorf("two discoveries differ:\n%v\n%v", first, second)
	}
	found := false
	for _, st := range first {
		found = found || st.GetName() == stream
		if st.GetName() == "" || st.GetEntity() == "" || len(st.GetColumns()) == 0 {
			t.Errorf("a stream has a name, an entity and columns: %v", st)
		}
	}
	if !found {
		t.Errorf("stream %q is not among the discovered", stream)
	}
}

func (s Setup) declared(t *testing.T) {
	f, stream := s.open(t)
	spec, err := f.Spec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(spec.GetCapabilities(), adapters.CanWrite) {
		if _, err := f.Write(t.Context(), stream, nil); connect.CodeOf(err) != connect.CodeUnimplemented {
			t.Errorf("write is not declared, and answers %v", err)
		}
	}
	if !slices.Contains(spec.GetCapabilities(), adapters.CanProbe) {
		if _, err := f.Probe(t.Context(), stream, "r1"); connect.CodeOf(err) != connect.CodeUnimplemented {
			t.Errorf("probe is not declared, and answers %v", err)
		}
	}
}

func (s Setup) unknownStream(t *testing.T) {
	f, _ := s.open(t)
	if _, err := read(t, f, "no-such-stream", nil); crm.KindOf(err) != crm.NotFound {
		t.Errorf("got %v, want not_found", err)
	}
}

func (s Setup) reads(t *testing.T) {
	f, stream := s.open(t, record{"a", "One"}, record{"", "no id"}, record{"b", Filtered}, record{"c", "Three"})
	o := mustRead(t, f, stream, nil)
	want := []string{"1 a One", "2 !required", "4 c Three"}
	if !slices.Equal(o.lines, want) {
		t.Errorf("got %q, want %q", o.lines, want)
	}
	if n := o.positions[len(o.positions)-1].GetRecord(); n != 4 {
		t.Errorf("the last position is %d; every record counts, filtered ones too", n)
	}
}

func (s Setup) empty(t *testing.T) {
	f, stream := s.open(t)
	o := mustRead(t, f, stream, nil)
	if len(o.lines) != 0 || o.positions[len(o.positions)-1].GetRecord() != 0 {
		t.Errorf("read %q up to %v of nothing", o.lines, o.positions)
	}
}

func (s Setup) resumes(t *testing.T) {
	f, stream := s.open(t, numbered(555)...)
	all := mustRead(t, f, stream, nil)
	if len(all.lines) != 555 || len(all.positions) < 2 {
		t.Fatalf("%d lines and %d positions", len(all.lines), len(all.positions))
	}
	for i, from := range all.positions {
		rest := mustRead(t, f, stream, from)
		if !slices.Equal(rest.lines, all.lines[all.at[i]:]) {
			t.Fatalf("the rest after record %d is not what followed it", from.GetRecord())
		}
	}
}

func (s Setup) special(t *testing.T) {
	names := []string{
		`quote " and "" two`, "comma, semicolon; pipe |", "Ærøskøbing Þórr ẞ", "東京都", "مرحبا", "🏦 bank", "e\u0301 combined", "a\u00a0b",
		"back\\slash", "two\nlines", "tab\there", "'single' `tick`", "$1 {x} %s <b>&amp;", "NULL", "-- drop table", strings.Repeat("long ", 5000) + "end",
	}
	var rs []record
	var want []string
	for i, n := range names {
		rs = append(rs, record{fmt.Sprintf("r%d", i+1), n})
		want = append(want, fmt.Sprintf("%d r%d %s", i+1, i+1, n))
	}
	f, stream := s.open(t, rs...)
	if o := mustRead(t, f, stream, nil); !slices.Equal(o.lines, want) {
		t.Errorf("got %q\nwant %q", o.lines, want)
	}
}

func (s Setup) duplicates(t *testing.T) {
	f, stream := s.open(t, record{"a", "old"}, record{"b", "B"}, record{"a", "new"})
	want := []string{"1 a old", "2 b B", "3 a new"}
	if o := mustRead(t, f, stream, nil); !slices.Equal(o.lines, want) {
		t.Errorf("got %q, want %q: which of two wins is the instance's to say", o.lines, want)
	}
}

func (s Setup) stops(t *testing.T) {
	f, stream := s.open(t, numbered(5000)...)
	enough := errors.New("enough")
	n := 0
	err := f.Read(t.Context(), stream, nil, func(*facadev1.ReadResponse) error {
		n++
		return enough
	})
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("emit failed at once; Read answered %v after %d items", err, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n = 0
	err = f.Read(ctx, stream, nil, func(*facadev1.ReadResponse) error {
		if n++; n == 10 {
			cancel()
		}
		return nil
	})
	if err == nil || n > 1000 {
		t.Errorf("cancelled at item 10; Read answered %v after %d items", err, n)
	}
}

func (s Setup) sideBySide(t *testing.T) {
	f, stream := s.open(t, numbered(500)...)
	want := mustRead(t, f, stream, nil)
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			if o := mustRead(t, f, stream, nil); !slices.Equal(o.lines, want.lines) {
				t.Error("another reader changes what is read")
			}
		})
	}
}

// big reads 25 MB and watches the heap: a facade streams.
func (s Setup) big(t *testing.T) {
	if testing.Short() {
		t.Skip("not checked: big sources, in short mode")
	}
	const n, bound = 5_000, 12 << 20
	name := strings.Repeat("x", 5_000)
	f, stream := s.Open(t, func(yield func(string, string) bool) {
		for i := range n {
			if !yield(fmt.Sprintf("r%d", i+1), name) {
				return
			}
		}
	})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most, rows := heap(), uint64(0), 0
	err := f.Read(t.Context(), stream, nil, func(item *facadev1.ReadResponse) error {
		if item.GetRow() != nil {
			if rows++; rows%1_000 == 0 {
				most = max(most, heap())
			}
		}
		return nil
	})
	if err != nil || rows != n {
		t.Fatalf("%d rows, error %v", rows, err)
	}
	if most > before+bound {
		t.Errorf("the heap grew from %d to %d MB while reading", before>>20, most>>20)
	}
}

func (s Setup) text(t *testing.T) {
	if s.Text == nil {
		t.Skip("not checked: the source is no text")
	}
	two := []string{"1 a One", "2 b Two"}
	for _, tt := range []struct{ name, content string }{
		{"LF", "id,name\na,One\nb,Two\n"},
		{"CRLF", "id,name\r\na,One\r\nb,Two\r\n"},
		{"NoFinalLineEnd", "id,name\na,One\nb,Two"},
		{"ByteOrderMark", "\ufeffid,name\na,One\nb,Two\n"},
		{"BlankLines", "\nid,name\n\na,One\n\r\nb,Two\n\n"},
		{"ColumnsInAnotherOrder", "name,id\nOne,a\nTwo,b\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, stream := s.Text(t, []byte(tt.content))
			o := mustRead(t, f, stream, nil)
			if !slices.Equal(o.lines, two) {
				t.Errorf("got %q, want %q", o.lines, two)
			}
			for i, from := range o.positions {
				if rest := mustRead(t, f, stream, from); !slices.Equal(rest.lines, two[o.at[i]:]) {
					t.Errorf("after record %d: %q", from.GetRecord(), rest.lines)
				}
			}
		})
	}
	for _, tt := range []struct{ name, content string }{
		{"InvalidByte", "id,name\na,One\nb,M\xfcller\n"},
		{"NUL", "id,name\na,One\nb,T\x00o\n"},
		{"AColumnTooMany", "id,name\na,One\nb,Two,three\n"},
		{"AColumnTooFew", "id,name\na,One\nb\n"},
		{"OpenQuote", "id,name\na,One\nb,\"Two\n"},
		{"AnotherHeader", "id,title\na,One\n"},
		{"Empty", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, stream := s.Text(t, []byte(tt.content))
			o, err := read(t, f, stream, nil)
			rejected := len(o.lines) == 2 && strings.HasPrefix(o.lines[1], "2 !")
			if crm.KindOf(err) != crm.Invalid && !rejected {
				t.Errorf("read %q, error %v: want a refusal of kind invalid, or a reject", o.lines, err)
			}
			if err != nil && bytes.ContainsRune([]byte(err.Error()), '\x00') {
				t.Error("the error quotes the record")
			}
		})
	}
}
