package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Sample picks about n records of an entity for a policy to be tried on: half
// of them, if there are as many, those that a judgement or an agreement is
// about. It answers ids alone.
func (s *Store) Sample(ctx context.Context, entity string, n int) ([]crm.RecordID, error) {
	t, err := s.table(entity)
	if err != nil {
		return nil, err
	}
	var rows float64
	if err := s.pool.QueryRow(ctx, "select greatest(reltuples, 1)::float8 from pg_class where oid = to_regclass($1)", t.live).Scan(&rows); err != nil {
		return nil, pgErr(err, "size of %s", entity)
	}
	percent := min(100, 5000*float64(n)/rows) // blocks, not rows, are drawn: many more than are taken
	drawn, err := s.door(s.pool, idsToJudge).Query(ctx, fmt.Sprintf(`
		with judged as (
		  select record as id from fact."grant" where recorded_to = 'infinity' and entity = $1
		  union
		  select account from fact.agreement where recorded_to = 'infinity' and $1 = 'account' and account is not null)
		(select r.id::text from judged join %[1]s r on r.id = judged.id order by random() limit $2 / 2)
		union
		(select r.id::text from %[1]s r tablesample system (%[2]f) order by random() limit $2 - $2 / 2)`, t.live, percent), entity, n)
	if err != nil {
		return nil, pgErr(err, "sample %s", entity)
	}
	ids, err := pgx.CollectRows(drawn, pgx.RowTo[crm.RecordID])
	return ids, pgErr(err, "sample %s", entity)
}
