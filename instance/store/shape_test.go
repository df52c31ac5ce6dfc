package store

import "testing"

func TestShapeOfAPage(t *testing.T) {
	for name, c := range map[string]struct {
		e    estimate
		byID bool
		want shape
	}{
		"an empty table":                     {estimate{rows: 1}, true, unionOfFew},
		"a guest":                            {estimate{rows: 1e5, visible: 0.001}, true, unionOfFew},
		"a rep, rows apart or not yet known": {estimate{rows: 1e5, visible: 0.05}, true, windowFirst},
		"a rep of a leaf among many rows":    {estimate{rows: 1e6, visible: 0.006}, true, unionOfGrounds},
		"a rep, rows together":               {estimate{rows: 1e5, visible: 0.05, together: true}, true, unionOfGrounds},
		"a manager":                          {estimate{rows: 1e5, visible: 0.2}, true, oneScan},
		"a manager, rows together":           {estimate{rows: 1e5, visible: 0.2, together: true}, true, oneScan},
		"a manager, sorted by a field":       {estimate{rows: 1e5, visible: 0.15}, false, unionOfGrounds},
		"a director, sorted by a field":      {estimate{rows: 1e5, visible: 0.9}, false, oneScan},
		"an estimate that failed":            {estimate{visible: 1}, true, oneScan},
	} {
		if got := c.e.forPage(c.byID); got != c.want {
			t.Errorf("%s: shape %d, want %d", name, got, c.want)
		}
	}
}
