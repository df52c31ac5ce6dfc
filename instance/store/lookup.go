package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Load reads records unmasked and unfiltered: pre-images, for access only.
func (s *Store) Load(ctx context.Context, entity string, ids []crm.RecordID) (map[crm.RecordID]crm.Record, error) {
	return s.load(ctx, s.pool, entity, ids)
}

// Load reads as Store.Load does, inside the transaction.
func (t *Tx) Load(ctx context.Context, entity string, ids []crm.RecordID) (map[crm.RecordID]crm.Record, error) {
	return t.s.load(ctx, t.tx, entity, ids)
}

func (s *Store) load(ctx context.Context, q queries, entity string, ids []crm.RecordID) (map[crm.RecordID]crm.Record, error) {
	t, err := s.table(entity)
	if err != nil {
		return nil, err
	}
	rows, err := s.door(q, preImages).Query(ctx, "select "+t.selected("r.")+" from "+t.live+" r where r.id = any($1::uuid[])", texts(ids))
	if err != nil {
		return nil, pgErr(err, "load %s", entity)
	}
	recs, err := collect(rows, t.scanner())
	return recs, pgErr(err, "load %s", entity)
}

// Versions are the current versions of those of ids that are there.
func (t *Tx) Versions(ctx context.Context, entity string, ids []crm.RecordID) (map[crm.RecordID]int64, error) {
	out := make(map[crm.RecordID]int64, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	tab, err := t.s.table(entity)
	if err != nil {
		return nil, err
	}
	rows, err := t.s.door(t.tx, preImages).Query(ctx, "select r.id::text, r.version from "+tab.live+" r where r.id = any($1::uuid[])", texts(ids))
	if err != nil {
		return nil, pgErr(err, "versions of %s", entity)
	}
	var id crm.RecordID
	var version int64
	_, err = pgx.ForEachRow(rows, []any{&id, &version}, func() error {
		out[id] = version
		return nil
	})
	return out, pgErr(err, "versions of %s", entity)
}

func collect(rows pgx.Rows, row *row) (map[crm.RecordID]crm.Record, error) {
	defer rows.Close()
	recs := map[crm.RecordID]crm.Record{}
	for rows.Next() {
		if err := row.scan(rows); err != nil {
			return nil, err
		}
		rec := row.record(nil)
		recs[rec.ID] = rec
	}
	return recs, rows.Err()
}

// FindByKey finds this instance's own live records by the entity's key.
func (s *Store) FindByKey(ctx context.Context, entity string, keys []string) (map[string]crm.RecordID, error) {
	t, err := s.table(entity)
	if err != nil {
		return nil, err
	}
	if t.def.Key == "" {
		return nil, crm.FieldErrorf("entity", "%s has no key to find records by", entity)
	}
	key := quoted(t.def.Key)
	rows, err := s.door(s.pool, ownKeys).Query(ctx, "select r."+key+", r.id::text from "+t.live+" r where r."+key+" = any($1::text[]) and r.home = "+literal(s.instance), keys) // a constant, for the partial index
	if err != nil {
		return nil, pgErr(err, "find %s by key", entity)
	}
	found := make(map[string]crm.RecordID, len(keys))
	var k, id string
	_, err = pgx.ForEachRow(rows, []any{&k, &id}, func() error {
		found[k] = crm.RecordID(id)
		return nil
	})
	return found, pgErr(err, "find %s by key", entity)
}
