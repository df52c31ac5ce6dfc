package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	"meridian/instance/access"
	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

func (s records) Export(ctx context.Context, req *recordv1.ExportRequest, stream *connect.ServerStream[recordv1.ExportResponse]) error {
	call, _ := connect.CallInfoForHandlerContext(ctx)
	return s.export(ctx, call.RequestHeader(), access.ExportRequest{Entity: req.Entity, Filter: req.Filter, Cursor: req.Cursor},
		func(records []crm.Record, next string) error {
			return stream.Send(&recordv1.ExportResponse{Records: protoRecords(records), NextCursor: next})
		})
}

// export runs an export until its end, its caller leaves, the server shuts
// down or the token that began it is no longer valid.
func (s *server) export(ctx context.Context, h http.Header, r access.ExportRequest, send func([]crm.Record, string) error) error {
	ctx, cancel := streaming(ctx)
	defer cancel()
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	return s.seat(ctx, s.exports, func() error {
		return s.Door.Export(ctx, callerOf(ctx), r, func(records []crm.Record, next string) error {
			if err := s.still(h); err != nil {
				return err
			}
			return send(records, next)
		})
	})
}

// export streams NDJSON, a record a line as REST shows it, or CSV. What is
// wrong before the first batch is answered with its status; an export that
// fails later is broken off, so that nobody takes a part for the whole.
func (c *call) export() error {
	q, err := c.query("filter", "format")
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		return httpError(http.StatusMethodNotAllowed, "export with GET")
	}
	var write func(*bytes.Buffer, []crm.Record) error
	contentType := ""
	switch q["format"] {
	case "", "ndjson":
		contentType, write = "application/x-ndjson", c.ndjson
	case "csv":
		contentType, write = "text/csv; charset=utf-8", c.csv()
	default:
		return crm.FieldErrorf("format", "is ndjson or csv")
	}
	out, begun := newSender(c.w), false
	err = c.server.export(c.ctx(), c.r.Header, access.ExportRequest{Entity: c.def.Entity, Filter: q["filter"]}, func(records []crm.Record, _ string) error {
		var b bytes.Buffer
		if err := write(&b, records); err != nil {
			return err
		}
		if !begun {
			begun = true
			h := c.w.Header()
			h.Set("Content-Type", contentType)
			h.Set("Cache-Control", "no-store")
			c.w.WriteHeader(http.StatusOK)
		}
		return out.send(b.Bytes())
	})
	if err != nil && begun {
		c.logInternal(c.ctx(), err)
		panic(http.ErrAbortHandler)
	}
	return err
}

func (c *call) ndjson(b *bytes.Buffer, records []crm.Record) error {
	lines := json.NewEncoder(b)
	for _, r := range records {
		if err := lines.Encode(restRecord(c.def, r)); err != nil {
			return err
		}
	}
	return nil
}

// csv writes a heading and then a line per record: for spreadsheets, so a text
// that one would take for a formula has an apostrophe before it.
func (c *call) csv() func(*bytes.Buffer, []crm.Record) error {
	heading := []string{"id", "version", "home", "territory", "segment", "department", "owner"}
	for _, f := range c.def.Fields {
		heading = append(heading, f.Name)
	}
	heading = append(heading, "withheld", "masked")
	return func(b *bytes.Buffer, records []crm.Record) error {
		w := csv.NewWriter(b)
		if heading != nil {
			if err := w.Write(heading); err != nil {
				return err
			}
			heading = nil
		}
		for _, r := range records {
			cells := []string{string(r.ID), strconv.FormatInt(r.Version, 10), plain(r.Home), plain(r.Territory), plain(r.Segment), plain(r.Department), plain(r.Owner)}
			for _, f := range c.def.Fields {
				cells = append(cells, cell(r.Fields[f.Name]))
			}
			if err := w.Write(append(cells, strings.Join(r.Withheld, " "), strings.Join(r.Masked, " "))); err != nil {
				return err
			}
		}
		w.Flush()
		return w.Error()
	}
}

// cell is a value in a spreadsheet.
func cell(v crm.Value) string {
	text := v.Text()
	switch v.Type() {
	case crm.TypeList:
		text = strings.Join(v.List(), ", ")
	case crm.TypeString:
	default:
		return text
	}
	return plain(text)
}

// plain is a text that no spreadsheet takes for a formula.
func plain(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
