package store

import (
	"context"

	"meridian/instance/crm"
)

// Shapes are all forms of a statement over a filter, for tests that they agree.
var Shapes = []shape{oneScan, unionOfGrounds, windowFirst, unionOfFew}

// ListAs is List in a given shape.
func (s *Store) ListAs(ctx context.Context, r Read, shape shape) (Page, error) {
	t, err := s.table(r.Entity)
	if err != nil {
		return Page{}, err
	}
	return s.listAs(ctx, t, r, shape)
}

// MaskedSQL is what the store computes for a masked field in a column.
func MaskedSQL(f crm.Field, sql string) string {
	return column{name: f.Name, sql: quoted(f.Name), pg: pgTypes[f.Type], field: f}.maskedSQL(sql)
}
