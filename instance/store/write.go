package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"meridian/instance/crm"
)

// Write stores a batch in this transaction: rows, history, tombstones, outbox,
// and the governance of the records that follow a written account. Rows fail
// independently, an atomic batch as a whole; either way the transaction goes
// on. An error of Write itself leaves it unusable.
func (t *Tx) Write(ctx context.Context, b WriteBatch) ([]Written, error) {
	tab, err := t.s.table(b.Entity)
	if err != nil {
		return nil, err
	}
	w := &writer{Tx: t, t: tab, b: b, out: make([]Written, len(b.Rows))}
	if !b.Atomic {
		return w.out, w.run(ctx)
	}
	if _, err := t.tx.Exec(ctx, "savepoint batch"); err != nil {
		return nil, pgErr(err, "write %s", b.Entity)
	}
	if err := w.run(ctx); err != nil {
		return nil, err
	}
	end := "release savepoint batch"
	if bad := slices.IndexFunc(w.out, func(x Written) bool { return x.Err != nil }); bad >= 0 {
		for i := range w.out {
			if w.out[i].Err == nil {
				w.out[i] = Written{Err: crm.Errorf(crm.Conflict, "not written: row %d of the atomic batch failed", bad+1)}
			}
		}
		end = "rollback to savepoint batch; release savepoint batch"
	}
	_, err = t.tx.Exec(ctx, end)
	return w.out, pgErr(err, "write %s", b.Entity)
}

// writer carries one batch through its steps.
type writer struct {
	*Tx
	t   *table
	b   WriteBatch
	out []Written
}

// image is one row on its way: what it was, locked, and what it becomes.
type image struct {
	at       int // index in the batch
	pre      crm.Record
	governed crm.Governed
	texts    []*string // the values of the table's columns, as text
}

// run writes the rows in waves, each with an id at most once, so that two
// changes of one record in a batch meet as two requests would.
func (w *writer) run(ctx context.Context) error {
	left := make([]int, len(w.b.Rows))
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		seen := map[crm.RecordID]bool{}
		var wave, later []int
		for _, i := range left {
			if id := w.b.Rows[i].ID; seen[id] {
				later = append(later, i)
			} else {
				seen[id] = true
				wave = append(wave, i)
			}
		}
		left = later
		if err := w.wave(ctx, wave); err != nil {
			return err
		}
	}
	return nil
}

// wave locks what the rows change, checks it, and stores what they become.
// Accounts are locked before the records that follow them, and rows in the
// order of their ids, so that two batches do not deadlock.
func (w *writer) wave(ctx context.Context, wave []int) error {
	accounts, err := w.lockAccounts(ctx, wave)
	if err != nil {
		return err
	}
	pre, err := w.lockRows(ctx, wave)
	if err != nil {
		return err
	}
	var ready []image
	for _, i := range wave {
		img, err := w.become(i, pre[w.b.Rows[i].ID], accounts)
		if err != nil {
			w.out[i].Err = err
			continue
		}
		ready = append(ready, img)
	}
	for len(ready) > 0 {
		n := w.alike(ready)
		err := halving(ctx, w.tx, ready[:n], func(images []image) error { return w.attempt(ctx, images) },
			func(img image, err error) { w.out[img.at].Err = w.t.rowErr(err) })
		if err != nil {
			return pgErr(err, "write %s", w.b.Entity)
		}
		ready = ready[n:]
	}
	return w.follow(ctx, wave, pre)
}

// alike is the number of first images that one statement can store: the same
// operation under the same filter.
func (w *writer) alike(images []image) int {
	first := w.b.Rows[images[0].at]
	for i, img := range images {
		if r := w.b.Rows[img.at]; r.Op != first.Op || !reflect.DeepEqual(r.Post, first.Post) {
			return i
		}
	}
	return len(images)
}

// become makes the row's post-image, or says why it may not be written. A row
// the writer may not see answers before anything else about it is looked at.
func (w *writer) become(i int, pre *locked, accounts map[crm.RecordID]crm.Governed) (image, error) {
	r := w.b.Rows[i]
	img := image{at: i, governed: r.Governed}
	img.governed.Created, img.governed.Updated = time.Time{}, time.Time{} // the database's clock says
	fields := r.Set
	if r.Op != crm.OpCreate {
		if err := pre.refuses(r, w.s.instance); err != nil {
			return img, err
		}
		img.pre = pre.rec
		if r.Op == crm.OpDelete {
			return img, nil
		}
		fields = make(map[string]crm.Value, len(pre.rec.Fields))
		for name, v := range pre.rec.Fields {
			fields[name] = v
		}
		for name, v := range r.Set {
			fields[name] = v
		}
		img.governed.Home, img.governed.Withheld, img.governed.Created = pre.rec.Home, pre.rec.Governed.Withheld, pre.rec.Created
	} else if r.Governed.Home != w.s.instance {
		return img, &crm.Error{Kind: crm.NotHome, Msg: "records are created at their home", Home: r.Governed.Home}
	}
	for name := range r.Set {
		if _, ok := w.t.def.Field(name); !ok {
			return img, crm.FieldErrorf(name, "%s has no such field", w.b.Entity)
		}
	}
	if err := w.govern(&img, r, fields, accounts); err != nil {
		return img, err
	}
	var err error
	img.texts, err = w.t.texts(r.ID, img.pre.Version+1, img.governed, fields)
	return img, err
}

// govern sets the account of a record, and copies the account's governance to
// a record that follows it.
func (w *writer) govern(img *image, r Write, fields map[string]crm.Value, accounts map[crm.RecordID]crm.Governed) error {
	switch {
	case w.b.Entity == accountEntity:
		img.governed.Account = r.ID
	case w.t.rooted && fields[accountField].IsNull():
		img.governed.Account = crm.NoAccount
	case w.t.rooted:
		img.governed.Account = crm.RecordID(fields[accountField].Text())
	case img.governed.Account == "":
		img.governed.Account = crm.NoAccount
	}
	if !w.t.follows || img.governed.Account == crm.NoAccount {
		return nil
	}
	a, ok := accounts[img.governed.Account]
	if !ok && img.governed.Account == img.pre.Account {
		a, ok = img.pre.Governed, true // the account is gone or was not asked for: the record stays as it is
	}
	if !ok {
		return crm.FieldErrorf(accountField, "names no account; give the id of one that exists")
	}
	g := &img.governed
	g.Territory, g.Segment, g.Jurisdiction, g.Sensitivity = a.Territory, a.Segment, a.Jurisdiction, a.Sensitivity
	return nil
}

// texts is a row as the statements take it: one text per column.
func (t *table) texts(id crm.RecordID, version int64, g crm.Governed, fields map[string]crm.Value) ([]*string, error) {
	out := make([]*string, 0, len(t.columns))
	for _, s := range []string{string(id), g.Home, g.Territory, g.Segment, g.Department, g.Owner, string(g.Account), strconv.Itoa(g.Sensitivity),
		g.Jurisdiction, strconv.FormatInt(version, 10), strconv.FormatBool(g.Pinned), arrayLiteral(g.Withheld)} {
		out = append(out, &s)
	}
	out = append(out, timestampText(g.Created), timestampText(g.Updated))
	for _, c := range t.columns[len(governance):] {
		s, err := c.text(fields[c.name])
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// halving applies attempt to items behind a savepoint. If PostgreSQL refuses a
// value, the halves are tried, down to the item at fault: a few bad items among
// many cost a few statements more.
func halving[T any](ctx context.Context, tx pgx.Tx, items []T, attempt func([]T) error, failed func(T, error)) error {
	err := attempt(items)
	if err == nil {
		return nil
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || !ofTheRow(pe) {
		return err
	}
	if _, err := tx.Exec(ctx, "rollback to savepoint rows; release savepoint rows"); err != nil {
		return err
	}
	if len(items) == 1 {
		failed(items[0], err)
		return nil
	}
	half := len(items) / 2
	if err := halving(ctx, tx, items[:half], attempt, failed); err != nil {
		return err
	}
	return halving(ctx, tx, items[half:], attempt, failed)
}

// ofTheRow says whether the database refused a value, not the service.
func ofTheRow(e *pgconn.PgError) bool {
	return e.Code[:2] == "22" || e.Code[:2] == "23" || e.Code == "54000"
}

// rowErr is the refusal of one row, with the field if the rule names one.
func (t *table) rowErr(err error) error {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return pgErr(err, "write %s", t.def.Entity)
	}
	if field, ok := t.uniques[pe.ConstraintName]; ok {
		return &crm.Error{Kind: crm.Conflict, Field: field, Msg: "another record here has this value; it must be unique", Err: err}
	}
	return pgErr(err, "write %s", t.def.Entity)
}

// stored is what the database decided about one row.
type stored struct {
	version          int64
	created, updated time.Time
}

// attempt sends savepoint, statement and release in one round trip.
func (w *writer) attempt(ctx context.Context, images []image) error {
	done := make(map[crm.RecordID]stored, len(images))
	first := w.b.Rows[images[0].at]
	sql, args, err := w.statement(first, images)
	if err != nil {
		return err
	}
	batch := &pgx.Batch{}
	batch.Queue("savepoint rows")
	w.s.pass(batch, changes, func() {
		batch.Queue(sql, args...).Query(func(rows pgx.Rows) error {
			var id string
			var x stored
			_, err := pgx.ForEachRow(rows, []any{&id, &x.version, &x.created, &x.updated}, func() error {
				done[crm.RecordID(id)] = x
				return nil
			})
			return err
		})
	})
	batch.Queue("release savepoint rows")
	if err := w.tx.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	for _, img := range images {
		w.settle(img, done)
	}
	if len(done) > 0 {
		w.changed = true
	}
	return nil
}

// settle fills the outcome of one row. A row the statement left out was
// refused by the policy's filter on its post-image: nothing else in the
// statement's condition can fail, since the row is locked and was checked.
func (w *writer) settle(img image, done map[crm.RecordID]stored) {
	r := w.b.Rows[img.at]
	x, ok := done[r.ID]
	switch {
	case ok && x.version == 0:
		w.out[img.at].Err = crm.Errorf(crm.Conflict, "the id belonged to a record that is gone; ids are never used again")
		return
	case !ok:
		w.out[img.at].Err = crm.Errorf(crm.Denied, "you may not %s a record that is placed there; choose a territory, segment and department of yours", r.Op)
		return
	}
	rec := crm.Record{Entity: w.b.Entity, ID: r.ID, Version: x.version, Governed: img.governed, Fields: map[string]crm.Value{}}
	if r.Op == crm.OpDelete {
		rec = img.pre
		rec.Version = x.version
	}
	rec.Created, rec.Updated = x.created.UTC(), x.updated.UTC()
	if r.Op != crm.OpDelete {
		for _, f := range w.t.def.Fields {
			rec.Fields[f.Name] = img.pre.Fields[f.Name]
			if v, ok := r.Set[f.Name]; ok {
				rec.Fields[f.Name] = v
			}
		}
	}
	w.out[img.at].Record = rec
}

// stepsText is what the history keeps of the plugins that took part.
func stepsText(steps []crm.Step) (*string, error) {
	if len(steps) == 0 {
		return nil, nil
	}
	body, err := json.Marshal(steps)
	if err != nil {
		return nil, fmt.Errorf("steps: %w", err)
	}
	s := string(body)
	return &s, nil
}
