package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/values"
)

// table prints rows under headings; an empty one says so.
type table struct {
	headings []string
	rows     [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer, none string) {
	if len(t.rows) == 0 {
		fmt.Fprintln(w, none)
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells []string) {
		for i, c := range cells {
			cells[i] = printable(c)
		}
		fmt.Fprintln(tw, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	line(t.headings)
	for _, r := range t.rows {
		line(r)
	}
	_ = tw.Flush()
}

// printable keeps a value of a record on its line and its escape sequences
// out of the terminal.
func printable(s string) string { return crm.Printable(s) }

// indented is a text of others whose further lines cannot pass for ours.
func indented(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = printable(l)
	}
	return strings.Join(lines, "\n    ")
}

// printJSON prints v, indented and ended with a line break.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// protoJSON is a message as JSON, with the names of the contract. The library
// varies its blanks on purpose, so they are set again.
func protoJSON(m proto.Message) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, raw, "", "  ")
	return out.Bytes(), err
}

// printProto prints a message as JSON.
func printProto(w io.Writer, m proto.Message) error {
	text, err := protoJSON(m)
	if err == nil {
		_, err = fmt.Fprintf(w, "%s\n", text)
	}
	return err
}

// recordView is a record for programs, as REST shows it.
type recordView struct {
	ID       string               `json:"id"`
	Version  int64                `json:"version"`
	Home     string               `json:"home"`
	Fields   map[string]crm.Value `json:"fields"`
	Withheld []string             `json:"withheld"`
	Masked   []string             `json:"masked"`
}

func viewOf(r *recordv1.Record) (recordView, error) {
	v := recordView{ID: r.GetId(), Version: r.GetVersion(), Home: r.GetGovernance().GetHome(), Fields: map[string]crm.Value{}, Withheld: r.GetWithheld(), Masked: r.GetMasked()}
	if v.Withheld == nil {
		v.Withheld = []string{}
	}
	if v.Masked == nil {
		v.Masked = []string{}
	}
	for name, value := range r.GetFields() {
		plain, err := values.FromProto(value)
		if err != nil {
			return v, fmt.Errorf("field %s: %w", name, err)
		}
		v.Fields[name] = plain
	}
	return v, nil
}

func viewsOf(rs []*recordv1.Record) ([]recordView, error) {
	out := make([]recordView, len(rs))
	for i, r := range rs {
		v, err := viewOf(r)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

// versionView is a past version for programs, as REST shows it.
type versionView struct {
	Record      recordView       `json:"record"`
	Op          string           `json:"op"`
	At          time.Time        `json:"at"`
	Actor       string           `json:"actor"`
	ExecutionID string           `json:"execution_id"`
	Steps       []*recordv1.Step `json:"steps"`
}

func printVersions(out output, versions []*recordv1.PastVersion) error {
	views := make([]versionView, len(versions))
	for i, v := range versions {
		rec, err := viewOf(v.GetRecord())
		if err != nil {
			return err
		}
		views[i] = versionView{rec, v.GetOp(), v.GetAt().AsTime(), v.GetActor(), v.GetExecutionId(), v.GetSteps()}
		if views[i].Steps == nil {
			views[i].Steps = []*recordv1.Step{}
		}
	}
	return printJSON(out.Stdout, map[string]any{"versions": views})
}

// text is a value for people.
func text(v *recordv1.Value) string {
	if l := v.GetList(); l != nil {
		return strings.Join(l.GetValues(), ", ")
	}
	plain, err := values.FromProto(v)
	if err != nil {
		return "?"
	}
	return plain.Text()
}

// day shows a time; for ever and never are words.
func day(t *timestamppb.Timestamp) string {
	switch {
	case t == nil:
		return ""
	case !t.AsTime().Before(crm.Forever):
		return "for ever"
	}
	return t.AsTime().UTC().Format(time.DateTime)
}

// clipped shortens a cell of a table.
func clipped(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
