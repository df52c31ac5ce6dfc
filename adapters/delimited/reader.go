// Package delimited reads delimited text (RFC 4180) the way a load needs it:
// every record with its number, line, byte range and original bytes, nothing
// guessed, nothing replaced.
//
// A record that cannot be read is a Fault that says where and why; the caller
// decides whether that costs the record or the file. Memory is bounded by the
// longest allowed record, whatever the size of the file. The package knows
// nothing of mappings or entities.
package delimited

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// MaxRecord is the longest record that is read: a quote left open must not
// swallow the rest of a file into memory.
const MaxRecord = 1 << 20

// Codes of faults.
const (
	CodeCharset = "charset" // a byte that is no character
	CodeQuote   = "quote"   // a quote out of place, or never closed
	CodeColumns = "columns" // too many or too few columns
	CodeLength  = "length"  // a record beyond MaxRecord
)

// Fault says what is wrong with a record. It never quotes the record.
type Fault struct {
	Code   string
	Record int64 // 1-based number, as in Record
	Line   int64 // 1-based line the fault is in or the record starts at
	Offset int64 // byte offset in the file
	Msg    string
	Fatal  bool // what follows cannot be told apart either
}

func (f *Fault) Error() string {
	return fmt.Sprintf("line %d, byte %d (record %d): %s", f.Line, f.Offset, f.Record, f.Msg)
}

// Format says how records are written.
type Format struct {
	Delimiter byte
	Charset   Charset
}

// Record is one record. Fields and Raw are valid until the next call of Next.
type Record struct {
	Number int64  // 1-based, without blank lines
	Line   int64  // line it starts at, counted from where reading began
	Offset int64  // of its first byte
	End    int64  // of the byte after its line end
	Raw    []byte // original bytes with the line end
	Fields []string
	Fault  *Fault // set if Fields could not be read
}

// Reader reads records one after the other.
type Reader struct {
	in     *bufio.Reader
	format Format
	number int64
	line   int64
	offset int64
	raw    []byte
	fields []string
}

// NewReader reads from in, whose first byte stands at offset in the file and
// follows record number. At offset 0 a byte order mark is skipped.
func NewReader(in io.Reader, f Format, number, offset int64) *Reader {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10), format: f, number: number, offset: offset, line: 1}
	if offset == 0 && f.Charset.table == nil && !f.Charset.ascii {
		if head, err := r.in.Peek(3); err == nil && bytes.Equal(head, []byte("\xef\xbb\xbf")) {
			_, _ = r.in.Discard(3) // peeked: it cannot fail
			r.offset = 3
		}
	}
	return r
}

// Uncount makes the record just read count as none, as a header does.
func (r *Reader) Uncount() { r.number-- }

// Next reads a record; io.EOF ends the file. A fatal fault is the error, any
// other is in the record.
func (r *Reader) Next() (Record, error) {
	for {
		rec, err := r.next()
		if err != nil || len(bytes.TrimRight(rec.Raw, "\r\n")) > 0 {
			return rec, err
		}
		r.number-- // a blank line is no record
	}
}

func (r *Reader) next() (Record, error) {
	rec := Record{Number: r.number + 1, Line: r.line, Offset: r.offset}
	r.raw = r.raw[:0]
	var s scanner
	s.delimiter = r.format.Delimiter
	for {
		part, err := r.in.ReadSlice('\n')
		s.scan(part, len(r.raw))
		r.raw = append(r.raw, part...)
		switch {
		case len(r.raw) > MaxRecord:
			return Record{}, r.fatal(rec, CodeLength, fmt.Sprintf("the record is longer than %d bytes; a quote may be left open", MaxRecord))
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			if len(r.raw) == 0 {
				return Record{}, io.EOF
			}
			if s.state == inQuotes {
				return Record{}, r.fatal(rec, CodeQuote, "the file ends inside quotes; it may be truncated")
			}
		case err != nil:
			return Record{}, fmt.Errorf("read record %d: %w", rec.Number, err)
		default:
			r.line++
			if s.state == inQuotes {
				continue // a line end inside quotes is data
			}
		}
		break
	}
	r.number++
	r.offset += int64(len(r.raw))
	rec.Raw, rec.End = r.raw, r.offset
	r.split(&rec, s)
	return rec, nil
}

func (r *Reader) fatal(rec Record, code, msg string) *Fault {
	return &Fault{Code: code, Record: rec.Number, Line: rec.Line, Offset: rec.Offset, Msg: msg, Fatal: true}
}

// split decodes the record and takes its fields apart.
func (r *Reader) split(rec *Record, s scanner) {
	content := bytes.TrimSuffix(bytes.TrimSuffix(rec.Raw, []byte("\n")), []byte("\r"))
	fault := func(code string, at int, msg string) {
		line := rec.Line + int64(bytes.Count(rec.Raw[:at], []byte("\n")))
		rec.Fault = &Fault{Code: code, Record: rec.Number, Line: line, Offset: rec.Offset + int64(at), Msg: msg}
	}
	if s.misplaced > 0 {
		fault(CodeQuote, s.misplaced-1, "a quote is out of place; quote the whole field and double the quotes in it")
		return
	}
	text, bad := r.format.Charset.decode(content)
	if bad >= 0 {
		fault(CodeCharset, bad, fmt.Sprintf("byte 0x%02x is no character of %s", content[bad], r.format.Charset.Name()))
		return
	}
	rec.Fields = fields(r.fields[:0], text, r.format.Delimiter, s.quoted)
	r.fields = rec.Fields
}

// fields takes a well-formed record apart.
func fields(into []string, text string, delimiter byte, quoted bool) []string {
	for quoted {
		var field string
		if strings.HasPrefix(text, `"`) {
			end := 1
			for end < len(text) && (text[end] != '"' || (end+1 < len(text) && text[end+1] == '"')) {
				if text[end] == '"' {
					end++
				}
				end++
			}
			field, text = strings.ReplaceAll(text[1:end], `""`, `"`), text[end+1:]
		} else if i := strings.IndexByte(text, delimiter); i >= 0 {
			field, text = text[:i], text[i:]
		} else {
			field, text = text, ""
		}
		into = append(into, field)
		if text == "" {
			return into
		}
		text = text[1:] // the delimiter
	}
	for {
		i := strings.IndexByte(text, delimiter)
		if i < 0 {
			return append(into, text)
		}
		into = append(into, text[:i])
		text = text[i+1:]
	}
}

// scanner finds where a record ends and whether its quotes stand where they
// may.
type scanner struct {
	delimiter byte
	state     state
	quoted    bool
	misplaced int // 1-based place of the first misplaced quote
}

type state int

const (
	fieldStart state = iota
	inField
	inQuotes
	afterQuote // a quote inside quotes: the end of the field, or the first of two
)

// scan goes on with a part of the record that begins at place base.
func (s *scanner) scan(part []byte, base int) {
	for i, b := range part {
		switch {
		case s.state == inQuotes:
			if b == '"' {
				s.state = afterQuote
			}
		case b == '"' && s.state == fieldStart:
			s.state, s.quoted = inQuotes, true
		case b == '"' && s.state == afterQuote:
			s.state = inQuotes
		case b == s.delimiter:
			s.state = fieldStart
		case s.state == afterQuote && b != '\r' && b != '\n', b == '"':
			if s.misplaced == 0 {
				s.misplaced = base + i + 1
			}
			s.state = inField
		case s.state == fieldStart:
			s.state = inField
		}
	}
}
