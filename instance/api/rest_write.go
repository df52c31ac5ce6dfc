package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"meridian/instance/access"
	"meridian/instance/crm"
)

// maxKey bounds an idempotency key.
const maxKey = 200

// body reads the request's body as one JSON object.
func (c *call) body() (object, error) {
	if !sendsJSON(c.r.Header.Get("Content-Type")) {
		return object{}, httpError(http.StatusUnsupportedMediaType, "send Content-Type: application/json")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return object{}, httpError(http.StatusRequestEntityTooLarge, "the body is over %d MiB; send smaller batches", maxBody>>20)
		}
		return object{}, crm.Errorf(crm.Invalid, "the body could not be read to its end")
	}
	return parseObject(raw, "the body")
}

// sendsJSON is lenient where it is safe: curl -d and simple clients name the
// form type or none, and the body is read strictly as JSON anyway.
func sendsJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || media == "application/x-www-form-urlencoded" || strings.HasSuffix(media, "+json"))
}

func (c *call) idempotencyKey() (string, error) {
	values := c.r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if len(values) > 1 || key == "" || len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return "", crm.FieldErrorf("Idempotency-Key", "send one key of 1 to %d printable ASCII characters", maxKey)
	}
	return key, nil
}

// newRow reads one record to create.
func (c *call) newRow(o object, where string) (access.NewRow, error) {
	if err := o.only(where, "fields", "territory", "segment", "department", "sensitivity"); err != nil {
		return access.NewRow{}, err
	}
	var row access.NewRow
	raw, ok := o.values["fields"]
	if !ok {
		return row, crm.FieldErrorf("fields", "%s has no fields", where)
	}
	var err error
	if row.Fields, err = parseFields(c.def, raw); err != nil {
		return row, err
	}
	return row, errors.Join(
		o.read("territory", &row.Territory), o.read("segment", &row.Segment),
		o.read("department", &row.Department), readSensitivity(o, &row.Sensitivity))
}

func readSensitivity(o object, to *int) error {
	if err := o.read("sensitivity", to); err != nil {
		return err
	}
	return sensitivity(int64(*to))
}

// create takes {"fields":{}} or {"records":[{"fields":{}}]}.
func (c *call) create() error {
	if _, err := c.query(); err != nil {
		return err
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	o, err := c.body()
	if err != nil {
		return err
	}
	if _, many := o.values["records"]; many {
		return c.createMany(o, key)
	}
	row, err := c.newRow(o, "the body")
	if err != nil {
		return err
	}
	rows, err := c.Door.Create(c.ctx(), c.caller, access.CreateRequest{Entity: c.def.Entity, Rows: []access.NewRow{row}, IdempotencyKey: key})
	if err != nil {
		return err
	}
	return c.one(http.StatusCreated, rows)
}

func (c *call) createMany(o object, key string) error {
	if err := o.only("a body with records", "records", "atomic"); err != nil {
		return err
	}
	var raws []json.RawMessage
	var atomic bool
	if err := errors.Join(o.read("records", &raws), o.read("atomic", &atomic)); err != nil {
		return err
	}
	b := newBatch[access.NewRow](len(raws), atomic)
	for i, raw := range raws {
		entry, err := parseObject(raw, "a record")
		var row access.NewRow
		if err == nil {
			row, err = c.newRow(entry, "a record")
		}
		b.add(i, row, err)
	}
	results, err := b.run(func(rows []access.NewRow) ([]access.Result, error) {
		return c.Door.Create(c.ctx(), c.caller, access.CreateRequest{Entity: c.def.Entity, Rows: rows, Atomic: atomic, IdempotencyKey: key})
	})
	if err != nil {
		return err
	}
	out := struct {
		Results []any `json:"results"`
	}{make([]any, len(results))}
	for i, r := range results {
		if r.Err != nil {
			c.logInternal(c.ctx(), r.Err)
			out.Results[i] = struct {
				Error Problem `json:"error"`
			}{problemOf(c.ctx(), r.Err)}
			continue
		}
		out.Results[i] = recordBody{restRecord(c.def, r.Record)}
	}
	return c.answer(http.StatusOK, out)
}

// refuseChange is err, unless the caller may not know of the record or it is
// written elsewhere.
func (c *call) refuseChange(err error) error {
	return c.unlessElsewhere(c.ctx(), c.def.Entity, c.id, err)
}

// update changes the named fields at the version of If-Match; null clears.
func (c *call) update() error {
	row, key, err := c.updateRow()
	if err != nil {
		return c.refuseChange(err)
	}
	rows, err := c.Door.Update(c.ctx(), c.caller, access.UpdateRequest{Entity: c.def.Entity, Rows: []access.UpdateRow{row}, IdempotencyKey: key})
	if err != nil {
		return err
	}
	return c.one(http.StatusOK, rows)
}

func (c *call) updateRow() (row access.UpdateRow, key string, err error) {
	row.ID = c.id
	if _, err = c.query(); err != nil {
		return row, "", err
	}
	if row.Version, err = ifMatch(c.r.Header); err != nil {
		return row, "", err
	}
	if key, err = c.idempotencyKey(); err != nil {
		return row, "", err
	}
	o, err := c.body()
	if err != nil {
		return row, "", err
	}
	if err := o.only("the body", "fields", "territory", "segment", "unpin"); err != nil {
		return row, "", err
	}
	if len(o.keys) == 0 {
		return row, "", crm.FieldErrorf("fields", "the body changes nothing")
	}
	if raw, ok := o.values["fields"]; ok {
		if row.Fields, err = parseFields(c.def, raw); err != nil {
			return row, "", err
		}
	}
	err = errors.Join(o.read("territory", &row.Territory), o.read("segment", &row.Segment), o.read("unpin", &row.Unpin))
	return row, key, err
}

// delete deletes the record at the version of If-Match and answers with its
// last state.
func (c *call) delete() error {
	_, err := c.query()
	if err != nil {
		return c.refuseChange(err)
	}
	version, err := ifMatch(c.r.Header)
	if err != nil {
		return c.refuseChange(err)
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return c.refuseChange(err)
	}
	rows, err := c.Door.Delete(c.ctx(), c.caller, access.DeleteRequest{
		Entity: c.def.Entity, Rows: []access.DeleteRow{{ID: c.id, Version: version}}, IdempotencyKey: key,
	})
	if err != nil {
		return err
	}
	return c.one(http.StatusOK, rows)
}
