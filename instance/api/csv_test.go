package api

import (
	"bytes"
	"strings"
	"testing"

	"meridian/instance/crm"
)

// TestNoCellIsAFormula: neither fields nor governance begin as formulas do.
func TestNoCellIsAFormula(t *testing.T) {
	t.Parallel()
	def := crm.Definition{Entity: "note", Fields: []crm.Field{{Name: "text", Type: crm.TypeString}}}
	rec := crm.Record{Fields: map[string]crm.Value{"text": crm.String("=1")}}
	rec.Owner, rec.Department, rec.Territory, rec.Segment = "=cmd", "@SUM(1)", "+1", "-1"
	var b bytes.Buffer
	if err := (&call{def: def}).csv()(&b, []crm.Record{rec}); err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(b.String(), "\n")
	for cell := range strings.SplitSeq(strings.TrimSpace(line), ",") {
		if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
			t.Errorf("a spreadsheet evaluates %q of %q", cell, line)
		}
	}
}
