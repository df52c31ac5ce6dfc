package delimited_test

import (
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"meridian/adapters/delimited"
)

func format(t testing.TB, charset string) delimited.Format {
	t.Helper()
	c, err := delimited.CharsetNamed(charset)
	if err != nil {
		t.Fatal(err)
	}
	return delimited.Format{Delimiter: ',', Charset: c}
}

// read gives all fields, with the code of a fault in place of a faulty record.
func read(t testing.TB, f delimited.Format, content string) (records [][]string, err error) {
	t.Helper()
	r := delimited.NewReader(strings.NewReader(content), f, 0, 0)
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		fields := slices.Clone(rec.Fields)
		if rec.Fault != nil {
			fields = []string{"!" + rec.Fault.Code}
		}
		if got := content[rec.Offset:rec.End]; got != string(rec.Raw) {
			t.Errorf("record %d: bytes %d to %d are %q, the record says %q", rec.Number, rec.Offset, rec.End, got, rec.Raw)
		}
		records = append(records, fields)
	}
}

func TestRecords(t *testing.T) {
	for _, tt := range []struct {
		name, charset, content string
		want                   [][]string
	}{
		{"plain", "utf-8", "a,b\nc,d\n", [][]string{{"a", "b"}, {"c", "d"}}},
		{"crlf, no final line end", "utf-8", "a,b\r\nc,d", [][]string{{"a", "b"}, {"c", "d"}}},
		{"empty fields", "utf-8", ",\n\"\",\n", [][]string{{"", ""}, {"", ""}}},
		{"quotes, delimiter and line end inside", "utf-8", "\"a,1\",\"b \"\"x\"\"\"\r\n\"two\r\nlines\",d\n", [][]string{{"a,1", `b "x"`}, {"two\r\nlines", "d"}}},
		{"blank lines are no records", "utf-8", "a\n\n\r\nb\n\n", [][]string{{"a"}, {"b"}}},
		{"byte order mark", "utf-8", "\ufeffa\nb\n", [][]string{{"a"}, {"b"}}},
		{"text beyond ASCII", "utf-8", "Müller,東京\n", [][]string{{"Müller", "東京"}}},
		{"latin-1", "iso-8859-1", "M\xfcller,\xa3\n", [][]string{{"Müller", "£"}}},
		{"windows-1252", "windows-1252", "\x93quoted\x94,\x80\n", [][]string{{"“quoted”", "€"}}},
		{"a byte that is no UTF-8 costs the record", "utf-8", "a\nM\xfcller\nb\n", [][]string{{"a"}, {"!charset"}, {"b"}}},
		{"a cut character costs the record", "utf-8", "\xe6\x9d\n", [][]string{{"!charset"}}},
		{"windows-1252 declared as latin-1 is noticed", "iso-8859-1", "\x93x\x94\n", [][]string{{"!charset"}}},
		{"an undefined byte of windows-1252", "windows-1252", "\x81\n", [][]string{{"!charset"}}},
		{"beyond ASCII in ASCII", "us-ascii", "Müller\n", [][]string{{"!charset"}}},
		{"NUL is no text", "utf-8", "a\x00b\n", [][]string{{"!charset"}}},
		{"a quote inside a field", "utf-8", "5\" pipe,b\nc\n", [][]string{{"!quote"}, {"c"}}},
		{"text after the closing quote", "utf-8", "\"a\"b,c\nd\n", [][]string{{"!quote"}, {"d"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := read(t, format(t, tt.charset), tt.content)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFaultsSayWhere(t *testing.T) {
	r := delimited.NewReader(strings.NewReader("head\n\"two\nlines\"\nM\xfcller\n"), format(t, "utf-8"), 0, 0)
	var fault *delimited.Fault
	for fault == nil {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		fault = rec.Fault
	}
	want := "line 4, byte 18 (record 3): byte 0xfc is no character of utf-8"
	if fault.Error() != want {
		t.Errorf("got %q, want %q", fault, want)
	}
}

func TestAnOpenQuoteEndsTheFile(t *testing.T) {
	_, err := read(t, format(t, "utf-8"), "a\n\"b\nc\nd\n")
	fault, ok := errors.AsType[*delimited.Fault](err)
	if !ok || !fault.Fatal || fault.Code != delimited.CodeQuote || fault.Line != 2 {
		t.Errorf("got %v, want a fatal fault at line 2", err)
	}
}

func TestAnEndlessRecordDoesNotFillTheMemory(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("a\n\""), strings.NewReader(strings.Repeat("x\n", delimited.MaxRecord)))
	r := delimited.NewReader(endless, format(t, "utf-8"), 0, 0)
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	_, err := r.Next()
	fault, ok := errors.AsType[*delimited.Fault](err)
	if !ok || !fault.Fatal || fault.Code != delimited.CodeLength {
		t.Errorf("got %v, want a fatal fault of length", err)
	}
}

func TestUnknownCharset(t *testing.T) {
	if _, err := delimited.CharsetNamed("utf-16"); err == nil || !strings.Contains(err.Error(), "windows-1252") {
		t.Errorf("got %v, want an error that lists what there is", err)
	}
}

// What encoding/csv writes comes back whole, and reading on from the end of
// any record gives the same rest.
func TestReadsWhatOthersWrite(t *testing.T) {
	field := rapid.StringOf(rapid.RuneFrom([]rune("ab,;\" \n\tüß東€'|")))
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 4).Draw(t, "width")
		want := rapid.SliceOfN(rapid.SliceOfN(field, width, width), 1, 12).Draw(t, "records")
		for _, rec := range want {
			if rec[0] == "" || rec[0][0] == '\n' {
				rec[0] = "x" + rec[0] // a single empty field would be a blank line
			}
		}
		var b strings.Builder
		w := csv.NewWriter(&b)
		w.UseCRLF = false
		if err := w.WriteAll(want); err != nil {
			t.Fatal(err)
		}
		content := b.String()
		f := delimited.Format{Delimiter: ','}
		from := func(number, offset int64) (got [][]string, ends []int64) {
			r := delimited.NewReader(strings.NewReader(content[offset:]), f, number, offset)
			for {
				rec, err := r.Next()
				if errors.Is(err, io.EOF) {
					return got, ends
				}
				if err != nil || rec.Fault != nil {
					t.Fatalf("record %d: %v %v", rec.Number, err, rec.Fault)
				}
				got = append(got, slices.Clone(rec.Fields))
				ends = append(ends, rec.End)
			}
		}
		got, ends := from(0, 0)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		for i, end := range ends {
			rest, _ := from(int64(i+1), end)
			if len(rest) != len(want)-i-1 || (len(rest) > 0 && !slices.Equal(rest[0], want[i+1])) {
				t.Fatalf("from record %d on: %q", i+1, rest)
			}
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add("a,b\n\"c\"\"\",d\r\n")
	f.Add("\"\n")
	f.Fuzz(func(t *testing.T, content string) {
		r := delimited.NewReader(strings.NewReader(content), delimited.Format{Delimiter: ','}, 0, 0)
		end := int64(0)
		for number := int64(1); ; number++ {
			rec, err := r.Next()
			if err != nil {
				return
			}
			if rec.Number != number || rec.Offset < end || rec.End <= rec.Offset {
				t.Fatalf("record %d spans %d to %d after %d", rec.Number, rec.Offset, rec.End, end)
			}
			end = rec.End
		}
	})
}
