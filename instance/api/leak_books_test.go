package api_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// marked is any text of the matrix's records.
var marked = regexp.MustCompile(`mk\d\d[0-9a-f]{10}`)

// holdValues are the books that are there to hold values: what a sender sent
// and was refused, what is on its way to a destination or was parked there, and
// what a name of a file says.
var holdValues = []string{"meridian.load", "meridian.load_reject", "meridian.exchange_envelope", "meridian.exchange_parked"}

// books looks for values in what is not there to hold any (I10): the log, the
// decision log, the outbox, kept answers, facts, every other table of the
// instance's own. Whoever reads those need not see records.
func (m *matrix) books(t *testing.T) {
	t.Helper()
	everybody := &scenario{ground: "all grounds"}
	if key := m.scenarios[0].targets["account"].key; !marked.MatchString(key) {
		t.Errorf("%s is not found by its pattern", key)
	}
	for line := range strings.Lines(m.log.String()) {
		if mark := marked.FindString(line); mark != "" {
			m.leak(everybody, "every entity", "the log", "%s: %s", mark, line)
			break
		}
	}
	rows, err := m.db.Query(t.Context(), `select table_schema || '.' || table_name from information_schema.tables
		where table_schema in ('meridian', 'fact') and table_type = 'BASE TABLE' order by 1`)
	must(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	if len(tables) < 15 {
		t.Errorf("saw only %d tables: %v", len(tables), tables)
	}
	read := int64(0)
	for _, table := range tables {
		name := pgx.Identifier(strings.Split(table, ".")).Sanitize()
		var all int64
		var found *string
		err := m.db.QueryRow(t.Context(), fmt.Sprintf(`select count(*), min(t::text) filter (where t::text ~ $1) from %s t`, name), marked.String()).Scan(&all, &found)
		must(t, err)
		read += all
		if found != nil && !slices.Contains(holdValues, table) {
			m.leak(everybody, "every entity", table, "%s: %s", marked.FindString(*found), *found)
		}
	}
	t.Logf("%d rows in %d tables hold no value", read, len(tables))
}
