package api

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"time"

	"meridian/instance/access"
	"meridian/instance/crm"
)

// recordJSON is a record in REST. Fields lists every field that the caller may
// see, null where it is empty; withheld names the groups that they may not, and
// masked those of which they see what each field's mask leaves.
type recordJSON struct {
	ID         crm.RecordID         `json:"id"`
	Version    int64                `json:"version"`
	Home       string               `json:"home"`
	Fields     map[string]crm.Value `json:"fields"`
	Withheld   []string             `json:"withheld"`
	Masked     []string             `json:"masked"`
	Governance governanceJSON       `json:"governance"`
}

type governanceJSON struct {
	Territory    string       `json:"territory"`
	Segment      string       `json:"segment"`
	Department   string       `json:"department"`
	Owner        string       `json:"owner"`
	Account      crm.RecordID `json:"account"`
	Sensitivity  int          `json:"sensitivity"`
	Jurisdiction string       `json:"jurisdiction"`
	Pinned       bool         `json:"pinned"`
	Created      time.Time    `json:"created"`
	Updated      time.Time    `json:"updated"`
}

// recordBody is the answer about one record.
type recordBody struct {
	Record recordJSON `json:"record"`
}

func restRecord(d crm.Definition, r crm.Record) recordJSON {
	hidden := make(map[string]bool, len(r.Withheld))
	for _, g := range r.Withheld {
		hidden[g] = true
	}
	fields := make(map[string]crm.Value, len(d.Fields))
	for _, f := range d.Fields {
		if !hidden[f.Group] && (f.Mask != crm.MaskHide || !slices.Contains(r.Masked, f.Group)) {
			fields[f.Name] = r.Fields[f.Name]
		}
	}
	return recordJSON{
		ID: r.ID, Version: r.Version, Home: r.Home, Fields: fields, Withheld: nonNil(r.Withheld), Masked: nonNil(r.Masked),
		Governance: governanceJSON{
			Territory: r.Territory, Segment: r.Segment, Department: r.Department, Owner: r.Owner, Account: r.Account,
			Sensitivity: r.Sensitivity, Jurisdiction: r.Jurisdiction, Pinned: r.Pinned, Created: r.Created, Updated: r.Updated,
		},
	}
}

// nonNil is s, never null.
func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func (c *call) list() error {
	q, err := c.query("filter", "sort", "limit", "cursor")
	if err != nil {
		return err
	}
	limit, err := number(q, "limit", 1000)
	if err != nil {
		return err
	}
	page, next, err := c.Door.List(c.ctx(), c.caller, access.ListRequest{
		Entity: c.def.Entity, Filter: q["filter"], Sort: q["sort"], Limit: pageSize(int(limit)), Cursor: q["cursor"],
	})
	if err != nil {
		return err
	}
	return c.page(page, next)
}

// page answers a page of records.
func (c *call) page(page []crm.Record, next string) error {
	out := struct {
		Records    []recordJSON `json:"records"`
		NextCursor string       `json:"next_cursor"`
	}{make([]recordJSON, len(page)), next}
	for i, r := range page {
		out.Records[i] = restRecord(c.def, r)
	}
	return c.answer(http.StatusOK, out)
}

func (c *call) count() error {
	q, err := c.query("filter")
	if err != nil {
		return err
	}
	n, err := c.Door.Count(c.ctx(), c.caller, c.def.Entity, q["filter"])
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, struct {
		Count int64 `json:"count"`
		Exact bool  `json:"exact"`
	}{n, true})
}

func (c *call) get() error {
	if _, err := c.query(); err != nil {
		return c.refuse(err)
	}
	rows, err := c.Door.Get(c.ctx(), c.caller, c.def.Entity, []crm.RecordID{c.id})
	if err != nil {
		return err
	}
	return c.one(http.StatusOK, rows)
}

// one answers with the only row of a batch of one.
func (c *call) one(status int, rows []access.Result) error {
	if len(rows) != 1 {
		return crm.Errorf(crm.Internal, "%d rows answered for one", len(rows))
	}
	if rows[0].Err != nil {
		return rows[0].Err
	}
	r := rows[0].Record
	c.w.Header().Set("ETag", etag(r.Version))
	if status == http.StatusCreated {
		c.w.Header().Set("Location", restPrefix+c.def.Entity+"/"+string(r.ID))
	}
	return c.answer(status, recordBody{restRecord(c.def, r)})
}

type versionJSON struct {
	Record      recordJSON `json:"record"`
	Op          crm.Op     `json:"op"`
	At          time.Time  `json:"at"`
	Actor       string     `json:"actor"`
	ExecutionID string     `json:"execution_id"`
	Steps       []crm.Step `json:"steps"`
}

func (c *call) history() error {
	q, err := c.query("limit", "before")
	if err != nil {
		return c.refuse(err)
	}
	limit, err := number(q, "limit", 1000)
	if err != nil {
		return c.refuse(err)
	}
	before, err := number(q, "before", math.MaxInt64)
	if err != nil {
		return c.refuse(err)
	}
	versions, err := c.Door.History(c.ctx(), c.caller, c.def.Entity, c.id, pageSize(int(limit)), before)
	if err != nil {
		return err
	}
	out := struct {
		Versions []versionJSON `json:"versions"`
	}{make([]versionJSON, len(versions))}
	for i, v := range versions {
		out.Versions[i] = versionJSON{restRecord(c.def, v.Record), v.Op, v.At, v.Actor, v.Execution, nonNil(v.Steps)}
	}
	return c.answer(http.StatusOK, out)
}

type reasonJSON struct {
	Ground string `json:"ground"`
	FactID string `json:"fact_id,omitempty"`
	Text   string `json:"text"`
}

func (c *call) explain() error {
	q, err := c.query("action", "subject")
	if err != nil {
		return c.unlessUnexplained(c.ctx(), c.def.Entity, c.id, err)
	}
	e, err := c.explained(c.ctx(), c.def.Entity, c.id, crm.Action(q["action"]), crm.SubjectID(q["subject"]))
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, struct {
		Allowed  bool          `json:"allowed"`
		Action   crm.Action    `json:"action"`
		Subject  crm.SubjectID `json:"subject"`
		Opens    []reasonJSON  `json:"opens"`
		Closes   []reasonJSON  `json:"closes"`
		Revealed []string      `json:"revealed"`
		Masked   []string      `json:"masked"`
		Withheld []string      `json:"withheld"`
		Bundle   string        `json:"bundle"`
	}{e.Allowed, e.Action, e.Subject, reasons(e.Opens), reasons(e.Closes), nonNil(e.Revealed), nonNil(e.Masked), nonNil(e.Withheld), e.Bundle})
}

func reasons(in []access.Reason) []reasonJSON {
	out := make([]reasonJSON, len(in))
	for i, r := range in {
		out[i] = reasonJSON{Ground: r.Ground, FactID: r.Fact, Text: r.Text}
	}
	return out
}

// eventJSON is the data of one server-sent event.
type eventJSON struct {
	Event       string       `json:"event"`
	ID          crm.RecordID `json:"id,omitempty"`
	Record      *recordJSON  `json:"record,omitempty"`
	At          time.Time    `json:"at"`
	ExecutionID string       `json:"execution_id,omitempty"`
}

// watchSSE streams a watch as server-sent events. Nothing is sent before the
// watch is set, so that what is wrong with it is answered with its status.
func (c *call) watchSSE() error {
	q, err := c.query("filter")
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		return httpError(http.StatusMethodNotAllowed, "watch with GET")
	}
	out := newEventStream(c.w)
	err = c.server.watch(c.ctx(), c.r.Header, c.def.Entity, q["filter"], func(e Event) error {
		data := eventJSON{Event: e.Type, ID: e.ID, At: e.At, ExecutionID: e.Execution}
		if e.Record != nil {
			r := restRecord(c.def, *e.Record)
			data.Record = &r
		}
		return out.event(e.Type, data)
	})
	if err != nil && out.begun {
		// The status is out; the stream itself says why it ends.
		c.logInternal(c.ctx(), err)
		return out.event("error", problemOf(c.ctx(), err))
	}
	return err
}

// eventStream writes server-sent events. Ids count the events of one stream: a
// watch begins now, it cannot be resumed, and who reconnects lists again.
type eventStream struct {
	*sender
	begun bool
	n     int64
}

func newEventStream(w http.ResponseWriter) *eventStream { return &eventStream{sender: newSender(w)} }

func (s *eventStream) event(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if !s.begun {
		h := s.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // proxies must pass events on as they come
		s.w.WriteHeader(http.StatusOK)
		s.begun = true
	}
	s.n++
	return s.send(sse(name, s.n, data))
}
