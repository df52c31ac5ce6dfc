package store

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// ImportWrite is a foreign record as its home let it leave under one contract,
// or the end of its stay.
type ImportWrite struct {
	Op       crm.Op // upsert or snapshot: hold it; delete, retract or erase: it goes
	Entity   string
	ID       crm.RecordID
	Version  int64
	Contract string
	Epoch    int64 // of the origin; with Exposure it orders what came under one contract
	Exposure int64
	Governed crm.Governed         // Withheld: the groups that did not come
	Fields   map[string]crm.Value // of the groups that came; what is missing is null
	Exec     string
}

// Import applies what other instances sent, in order, with one error (or nil)
// per row; rows fail independently. What is not newer than what came before
// under the same contract is passed over without an error. A record stays while
// one contract holds it and shows the groups that any of them brought; when the
// last lets go, row and history are gone and a value-free holding proves it. The
// outbox tells watchers; nothing here is ever published again, because its home
// is elsewhere.
func (t *Tx) Import(ctx context.Context, rows []ImportWrite) ([]error, error) {
	errs := make([]error, len(rows))
	left := make([]int, len(rows))
	for i := range left {
		left[i] = i
	}
	for len(left) > 0 {
		// A wave holds one entity, and each of its records once.
		entity, seen := rows[left[0]].Entity, map[crm.RecordID]bool{}
		var wave, later []int
		for _, i := range left {
			if r := rows[i]; r.Entity != entity || seen[r.ID] {
				later = append(later, i)
			} else {
				wave = append(wave, i)
			}
			seen[rows[i].ID] = true
		}
		left = later
		if err := t.importWave(ctx, entity, rows, wave, errs); err != nil {
			return nil, err
		}
	}
	return errs, nil
}

// holding is what one contract holds of one record.
type holding struct {
	epoch, exposure int64
	version         int64
	groups          []string
	held            bool
}

// arrival is one accepted row: what its contract holds now, and what becomes
// of the record.
type arrival struct {
	at     int
	holds  holding
	keep   bool      // the record stays
	isNew  bool      // and was not here before
	narrow bool      // and shows fewer groups than before
	missed bool      // and what came between was not seen
	texts  []*string // the values of the table's columns, as text
}

func (t *Tx) importWave(ctx context.Context, entity string, rows []ImportWrite, wave []int, errs []error) error {
	tab, err := t.s.table(entity)
	if err != nil {
		for _, i := range wave {
			errs[i] = err
		}
		return nil
	}
	var ids []string
	for _, i := range wave {
		if isID(string(rows[i].ID)) {
			ids = append(ids, string(rows[i].ID))
		}
	}
	holdings, live, err := t.lockForImport(ctx, tab, ids)
	if err != nil {
		return pgErr(err, "import %s", entity)
	}
	var arrivals []arrival
	for _, i := range wave {
		r := rows[i]
		mine, known := holdings[r.ID][r.Contract]
		if known && !newer(r, mine) {
			continue
		}
		rec, here := live[r.ID]
		if here && rec.Home == t.s.instance {
			errs[i] = crm.Errorf(crm.Conflict, "record %s is at home here; no other instance may send it", r.ID)
			continue
		}
		a, err := tab.arrive(r, holdings[r.ID], rec, here)
		if err != nil {
			errs[i] = err
			continue
		}
		a.at = i
		// Exposures are dense. One that never came may have been a retraction: what
		// was known before it goes.
		a.missed = a.keep && here && known && mine.epoch == r.Epoch && r.Exposure > mine.exposure+1
		arrivals = append(arrivals, a)
	}
	if len(arrivals) == 0 {
		return nil
	}
	err = halving(ctx, t.tx, arrivals, func(as []arrival) error { return t.storeArrivals(ctx, tab, rows, as) },
		func(a arrival, err error) { errs[a.at] = tab.rowErr(err) })
	if err != nil {
		return pgErr(err, "import %s", entity)
	}
	t.changed = true
	if entity != accountEntity {
		return nil
	}
	var kept []string // accounts that records written here may follow
	for _, a := range arrivals {
		if a.keep && !a.isNew && errs[a.at] == nil && placed(live[rows[a.at].ID].Governed) != placed(rows[a.at].Governed) {
			kept = append(kept, string(rows[a.at].ID))
		}
	}
	return t.followAccounts(ctx, kept, "", rows[wave[0]].Exec)
}

// newer orders what came under one contract: by epoch of the origin, then by
// exposure, which rises with every version, mask change and retraction.
func newer(r ImportWrite, h holding) bool {
	if r.Epoch != h.epoch {
		return r.Epoch > h.epoch
	}
	return r.Exposure > h.exposure
}

// lockForImport serialises the import of a record over all its contracts, and
// reads what they hold of it and the record itself.
func (t *Tx) lockForImport(ctx context.Context, tab *table, ids []string) (map[crm.RecordID]map[string]holding, map[crm.RecordID]crm.Record, error) {
	holdings, live := map[crm.RecordID]map[string]holding{}, map[crm.RecordID]crm.Record{}
	b := &pgx.Batch{}
	b.Queue("select pg_advisory_xact_lock(hashtextextended(x.id, 0)) from (select distinct id from unnest($1::text[]) id order by id) x", ids)
	b.Queue("select record_id::text, contract, epoch, exposure, version, groups, held from meridian.holding where record_id = any($1::uuid[])", ids).
		Query(func(rows pgx.Rows) error {
			var id, contract string
			var h holding
			_, err := pgx.ForEachRow(rows, []any{&id, &contract, &h.epoch, &h.exposure, &h.version, &h.groups, &h.held}, func() error {
				of := holdings[crm.RecordID(id)]
				if of == nil {
					of = map[string]holding{}
					holdings[crm.RecordID(id)] = of
				}
				of[contract] = h
				h.groups = nil
				return nil
			})
			return err
		})
	b.Queue("select "+tab.selected("r.")+" from "+tab.live+" r where r.id = any($1::uuid[]) order by r.id for update of r", ids).
		Query(func(rows pgx.Rows) (err error) {
			live, err = collect(rows, tab.scanner())
			return err
		})
	return holdings, live, t.s.door(t.tx, arrivals).SendBatch(ctx, b).Close()
}

// arrive works out what becomes of a record when r arrives beside what other
// contracts hold of it. The groups shown are the union of what is held; a group
// that several brought has the values of the newest version.
func (t *table) arrive(r ImportWrite, holdings map[string]holding, rec crm.Record, here bool) (arrival, error) {
	a := arrival{holds: holding{epoch: r.Epoch, exposure: r.Exposure, version: r.Version, groups: []string{}}, isNew: !here}
	switch r.Op {
	case crm.OpUpsert, crm.OpSnapshot:
		a.holds.held = true
		for _, g := range t.groups {
			if !slices.Contains(r.Governed.Withheld, g) {
				a.holds.groups = append(a.holds.groups, g)
			}
		}
	case crm.OpDelete, crm.OpRetract, crm.OpErase:
	default:
		return a, crm.FieldErrorf("op", "%s is not an operation on a record held here", r.Op)
	}
	var others []string
	a.keep = a.holds.held
	for contract, h := range holdings {
		if contract != r.Contract && h.held {
			a.keep = true
			others = append(others, h.groups...)
		}
	}
	if !a.keep {
		return a, nil
	}
	g, version := r.Governed, r.Version
	ahead := here && (!a.holds.held || rec.Version > r.Version) // the record is further than r
	if ahead {
		g, version = rec.Governed, rec.Version
	}
	fields := map[string]crm.Value{}
	for _, f := range t.def.Fields {
		came, had := slices.Contains(a.holds.groups, f.Group), slices.Contains(others, f.Group)
		switch {
		case came && !(had && ahead):
			fields[f.Name] = r.Fields[f.Name]
		case had:
			fields[f.Name] = rec.Fields[f.Name]
		}
	}
	g.Withheld = nil
	for _, group := range t.groups {
		if !slices.Contains(a.holds.groups, group) && !slices.Contains(others, group) {
			g.Withheld = append(g.Withheld, group)
			a.narrow = a.narrow || here && !slices.Contains(rec.Governed.Withheld, group)
		}
	}
	if t.def.Entity == accountEntity {
		g.Account = r.ID
	} else if g.Account == "" {
		g.Account = crm.NoAccount
	}
	if here {
		g.Created = rec.Created
	}
	if a.keep && g.Home == "" {
		return a, crm.FieldErrorf("home", "a record from elsewhere names its home")
	}
	g.Updated = time.Time{} // the database's clock says when it arrived
	var err error
	a.texts, err = t.texts(r.ID, version, g, fields)
	return a, err
}
