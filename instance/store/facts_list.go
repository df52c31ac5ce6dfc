package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// Fact is one row of a table that configuration and officers share: what it
// says, when that holds, and who recorded it.
type Fact struct {
	Of string // territory, segment, department, subject, assignment or relationship

	ID      string          `json:"id"` // of a node or a subject
	Parent  string          `json:"parent"`
	Name    string          `json:"name"`
	Level   string          `json:"level"`
	Type    crm.SubjectKind `json:"kind"`
	Roles   []string        `json:"roles"`
	Clears  int             `json:"clearance"`
	Subject crm.SubjectID   `json:"subject"` // of an assignment
	Tree    string          `json:"tree"`
	Node    string          `json:"node"`
	Works   string          `json:"department"` // of a relationship
	On      string          `json:"on_department"`
	Actions []string        `json:"actions"`

	From, To     time.Time // when it holds in the business
	Since, Until time.Time // when it was believed; Until is Forever for what is believed now
	Origin       string    // declared, or the officer who says so
	By           string    // who recorded this row
	Reason       string
}

// Declared says that the configuration says so.
func (f Fact) Declared() bool { return f.Origin == declared }

func listFacts(ctx context.Context, q queries, table factTable, where string, args ...any) ([]Fact, error) {
	rows, err := q.Query(ctx, fmt.Sprintf(`
		select to_jsonb(f) - '{valid_from,valid_to,recorded_from,recorded_to,origin,recorded_by,reason}'::text[],
		  f.valid_from, f.valid_to, f.recorded_from, nullif(f.recorded_to, 'infinity'), f.origin, f.recorded_by, f.reason
		from fact.%s f where %s order by %s, f.recorded_from, f.valid_from`, table.name, where, of("f", table.key)), args...)
	if err != nil {
		return nil, pgErr(err, "list facts of %s", table.name)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Fact, error) {
		var f Fact
		var values []byte
		var until *time.Time
		if err := row.Scan(&values, &f.From, &f.To, &f.Since, &until, &f.Origin, &f.By, &f.Reason); err != nil {
			return f, err
		}
		if f.Until = crm.Forever; until != nil {
			f.Until = until.UTC()
		}
		f.From, f.To, f.Since = f.From.UTC(), f.To.UTC(), f.Since.UTC()
		err := json.Unmarshal(values, &f)
		f.Of = table.name
		return f, err
	})
	return out, pgErr(err, "list facts of %s", table.name)
}

func factTableOf(kind string) (factTable, error) {
	for _, t := range factTables {
		if t.name == kind {
			return t, nil
		}
	}
	return factTable{}, crm.FieldErrorf("kind", "say territory, segment, department, subject, assignment or relationship, not %q", kind)
}

// Facts lists the facts of a kind in force at a moment, now if at is nil.
func (s *Store) Facts(ctx context.Context, kind string, at *policy.Moment) ([]Fact, error) {
	table, err := factTableOf(kind)
	if err != nil {
		return nil, err
	}
	if at == nil {
		return listFacts(ctx, s.pool, table, `f.recorded_to = 'infinity' and f.valid_from <= statement_timestamp() and statement_timestamp() < f.valid_to`)
	}
	return listFacts(ctx, s.pool, table, `f.recorded_from <= $2 and $2 < f.recorded_to and f.valid_from <= $1 and $1 < f.valid_to`, at.Valid, at.Recorded)
}

// FactHistory lists everything that was ever recorded of one fact, or of a node
// or a subject with its assignments.
func (s *Store) FactHistory(ctx context.Context, kind, id string) ([]Fact, error) {
	table, err := factTableOf(kind)
	if err != nil {
		return nil, err
	}
	where, args := "f."+table.key[0]+" = $1", []any{id}
	out, err := listFacts(ctx, s.pool, table, where, args...)
	if err != nil || kind == "assignment" || kind == "relationship" {
		return out, err
	}
	if where = "f.tree = $2 and f.node = $1"; kind == "subject" {
		where = "f.subject = $1"
	} else {
		args = append(args, kind)
	}
	more, err := listFacts(ctx, s.pool, assignmentFacts, where, args...)
	return append(out, more...), err
}
