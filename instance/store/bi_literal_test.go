package store_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"meridian/instance/embedded/embeddedtest"
	"meridian/instance/store"
)

// TestLiteralsSayWhatWasBound: a statement with literals answers what it would
// with parameters, whatever the values hold and however the server reads
// backslashes.
func TestLiteralsSayWhatWasBound(t *testing.T) {
	t.Parallel()
	w := &world{t: t, url: embeddedtest.Database(t)}
	conn := w.connect(w.url)
	text := rapid.OneOf(
		rapid.StringOf(rapid.RuneFrom([]rune("ab'\"\\${},;-- 1é雪😀\n\t"))),
		rapid.SampledFrom([]string{"", "'", `\'`, `\`, "$1::text", "'; drop table x; --", "NULL", "null", `{"a"}`}))
	rapid.Check(t, func(t *rapid.T) {
		one, other := text.Draw(t, "text"), text.Draw(t, "other")
		list := rapid.SliceOfN(text, 0, 12).Draw(t, "list")
		number, yes := rapid.Int64().Draw(t, "number"), rapid.Bool().Draw(t, "yes")
		at := time.UnixMicro(rapid.Int64Range(-1e15, 4e15).Draw(t, "time")).UTC()
		const columns = `select $1::text, $2::text[], $3::bigint, $4::boolean, $5::timestamptz, '$6 and ''$1''' as "$2", $6::text, $6::text, $7::integer is null`
		sql, err := store.Inlined(columns, []any{one, list, number, yes, at, other, nil})
		if err != nil {
			t.Fatal(err)
		}
		for _, standard := range []string{"on", "off"} {
			if _, err := conn.Exec(w.t.Context(), "set standard_conforming_strings = "+standard+"; set escape_string_warning = off; set timezone = 'UTC'"); err != nil {
				t.Fatal(err)
			}
			var a, quoted, b, c string
			var l []string
			var n int64
			var y, null bool
			var when time.Time
			if err := conn.QueryRow(w.t.Context(), sql).Scan(&a, &l, &n, &y, &when, &quoted, &b, &c, &null); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			if a != one || !slices.Equal(l, list) || n != number || y != yes || !when.Equal(at) || quoted != "$6 and '$1'" || b != other || c != other || !null {
				t.Fatalf("%q %q %d %v %v %q %q from %s", a, l, n, y, when, quoted, b, sql)
			}
		}
	})
	for sql, values := range map[string][]any{"$2": {"a"}, "$0": {"a"}, "$": {"a"}, "$1": {struct{}{}}, "'": nil} {
		if got, err := store.Inlined(sql, values); err == nil {
			t.Errorf("%s became %s, want an error", sql, got)
		}
	}
}
