package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
)

// Shadow is a bundle that is tried on live reads beside the one in force.
type Shadow struct {
	ID        int64
	Digest    string
	By        crm.SubjectID
	At        time.Time
	StoppedAt *time.Time // nil while it runs
}

// ShadowDifference sums up what a shadow would have answered otherwise to one
// subject's requests of one kind, reads or writes.
type ShadowDifference struct {
	Subject        crm.SubjectID
	Action, Entity string
	Reads          int64 // that were compared
	Differed       int64
	Gained, Lost   int64 // records, over all reads; of a count those underneath
	Groups         int64 // records seen with other field groups
	Refused        int64 // requests the shadow would have refused whole
	Open           int64 // refused writes of which it cannot say
	Failed         int64 // requests the shadow had no answer to
	Dropped        int64 // requests that were not compared: there were too many
	Sample         []crm.RecordID
	Grounds        map[ShadowGround]int64 // records, of those looked into
}

// ShadowGround is a ground that decides otherwise, and how.
type ShadowGround struct{ Ground, Change string }

// How a ground decides otherwise under a shadow.
const (
	GroundOpens        = "opens"
	GroundCloses       = "closes"
	GroundOpensNoMore  = "opens no longer"
	GroundClosesNoMore = "closes no longer"
)

const shadowSQL = "select id, digest, started_by, started_at, stopped_at from meridian.shadow"

// Shadow is the shadow that runs, or else the last one that did; false if there
// never was one.
func (s *Store) Shadow(ctx context.Context) (Shadow, bool, error) {
	rows, err := s.pool.Query(ctx, shadowSQL+" order by stopped_at is null desc, id desc limit 1")
	if err != nil {
		return Shadow{}, false, pgErr(err, "read the shadow")
	}
	w, err := pgx.CollectExactlyOneRow(rows, scanShadow)
	if errors.Is(err, pgx.ErrNoRows) {
		return w, false, nil
	}
	return w, err == nil, pgErr(err, "read the shadow")
}

func scanShadow(row pgx.CollectableRow) (w Shadow, err error) {
	err = row.Scan(&w.ID, &w.Digest, &w.By, &w.At, &w.StoppedAt)
	return w, err
}

// StartShadow begins to try a kept bundle. One at a time.
func (t *Tx) StartShadow(ctx context.Context, digest string, by crm.SubjectID) error {
	tag, err := t.tx.Exec(ctx, `insert into meridian.shadow (digest, started_by) select $1, $2
		where not exists (select from meridian.shadow where stopped_at is null)`, digest, string(by))
	if err == nil && tag.RowsAffected() == 0 {
		return crm.Errorf(crm.Conflict, "a shadow runs already; stop it first")
	}
	return pgErr(err, "start a shadow")
}

// StopShadow ends the shadow that runs.
func (t *Tx) StopShadow(ctx context.Context, by crm.SubjectID) error {
	tag, err := t.tx.Exec(ctx, "update meridian.shadow set stopped_at = clock_timestamp(), stopped_by = $1 where stopped_at is null", string(by))
	if err == nil && tag.RowsAffected() == 0 {
		return crm.Errorf(crm.Conflict, "no shadow runs")
	}
	return pgErr(err, "stop a shadow")
}

// shadowSampled is how many records of a difference are remembered.
const shadowSampled = 20

// AddShadowDifferences adds up what was found since the last call.
func (s *Store) AddShadowDifferences(ctx context.Context, shadow int64, found []ShadowDifference) error {
	batch := &pgx.Batch{}
	for _, d := range found {
		batch.Queue(`
			insert into meridian.shadow_difference as d (shadow, subject, action, entity, reads, differed, gained, lost, groups, failed, dropped, refused, open, sample)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, ($14::uuid[])[:$15])
			on conflict (shadow, subject, action, entity) do update set
			  reads = d.reads + excluded.reads, differed = d.differed + excluded.differed, gained = d.gained + excluded.gained,
			  lost = d.lost + excluded.lost, groups = d.groups + excluded.groups, failed = d.failed + excluded.failed,
			  dropped = d.dropped + excluded.dropped, refused = d.refused + excluded.refused, open = d.open + excluded.open,
			  sample = array(select distinct id from unnest(d.sample || excluded.sample) id order by id limit $15)`,
			shadow, string(d.Subject), d.Action, d.Entity, d.Reads, d.Differed, d.Gained, d.Lost, d.Groups, d.Failed, d.Dropped,
			d.Refused, d.Open, idTexts(d.Sample), shadowSampled)
		for g, n := range d.Grounds {
			batch.Queue(`
				insert into meridian.shadow_ground as g (shadow, subject, action, entity, ground, change, records) values ($1, $2, $3, $4, $5, $6, $7)
				on conflict (shadow, subject, action, entity, ground, change) do update set records = g.records + excluded.records`,
				shadow, string(d.Subject), d.Action, d.Entity, g.Ground, g.Change, n)
		}
	}
	return pgErr(s.pool.SendBatch(ctx, batch).Close(), "add up differences of a shadow")
}

// ShadowDifferences are what a shadow has found, the most different first.
func (s *Store) ShadowDifferences(ctx context.Context, shadow int64) ([]ShadowDifference, error) {
	rows, err := s.pool.Query(ctx, `select d.subject, d.action, d.entity, d.reads, d.differed, d.gained, d.lost, d.groups, d.failed, d.dropped, d.refused, d.open, d.sample::text[],
		  coalesce((select jsonb_agg(jsonb_build_object('Ground', g.ground, 'Change', g.change, 'Records', g.records)) from meridian.shadow_ground g
		    where (g.shadow, g.subject, g.action, g.entity) = (d.shadow, d.subject, d.action, d.entity)), '[]')
		from meridian.shadow_difference d where d.shadow = $1 order by d.differed desc, d.reads desc, d.subject, d.action, d.entity limit 1000`, shadow)
	if err != nil {
		return nil, pgErr(err, "list differences of a shadow")
	}
	ds, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d ShadowDifference, err error) {
		var sample []string
		var grounds []struct {
			ShadowGround
			Records int64
		}
		err = row.Scan(&d.Subject, &d.Action, &d.Entity, &d.Reads, &d.Differed, &d.Gained, &d.Lost, &d.Groups, &d.Failed, &d.Dropped, &d.Refused, &d.Open, &sample, &grounds)
		d.Sample, d.Grounds = parsedIDs(sample), map[ShadowGround]int64{}
		for _, g := range grounds {
			d.Grounds[g.ShadowGround] = g.Records
		}
		return d, err
	})
	return ds, pgErr(err, "list differences of a shadow")
}

// Pulse counts the decisions of everybody since a time, for who watches an
// activation.
func (s *Store) Pulse(ctx context.Context, since time.Time) (allowed, refused int64, err error) {
	err = s.pool.QueryRow(ctx, `select count(*) filter (where allowed), count(*) filter (where not allowed)
		from meridian.decision_log where at >= $1`, since).Scan(&allowed, &refused)
	return allowed, refused, pgErr(err, "count decisions")
}
