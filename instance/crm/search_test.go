package crm_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meridian/instance/crm"
)

func TestParseSearch(t *testing.T) {
	term := func(words string) crm.Term { return crm.Term{Words: strings.Fields(words)} }
	begins := func(words string) crm.Term { return crm.Term{Words: strings.Fields(words), Prefix: true} }
	for text, want := range map[string]crm.Search{
		"apple":                     {All: []crm.Term{begins("apple")}},
		" apple  inc ":              {All: []crm.Term{term("apple"), begins("inc")}},
		`"apple inc" cal`:           {All: []crm.Term{term("apple inc"), begins("cal")}},
		`cal "apple inc"`:           {All: []crm.Term{term("cal"), term("apple inc")}},
		"apple -bank":               {All: []crm.Term{term("apple")}, None: []crm.Term{term("bank")}},
		`-"big bank" apple`:         {All: []crm.Term{begins("apple")}, None: []crm.Term{term("big bank")}},
		"info@apple.example":        {All: []crm.Term{begins("info apple example")}},
		"o'brien & sons":            {All: []crm.Term{term("o'brien"), begins("sons")}},
		"Müller-Thurgau ':*|!&(<->": {All: []crm.Term{term("Müller Thurgau")}},
	} {
		got, err := crm.ParseSearch(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	for text, says := range map[string]string{
		"": "nothing to look for", " - & ": "nothing to look for", "-apple": "nothing to look for", `"apple`: "never closed",
		strings.Repeat("a ", 17): "more than 16", strings.Repeat("a", 1025): "at most 1024", "a\x00": "UTF-8", "\xff": "UTF-8",
	} {
		_, err := crm.ParseSearch(text)
		if e := crm.Public(err); e.Kind != crm.Invalid || e.Field != "query" || !strings.Contains(e.Msg, says) {
			t.Errorf("%.20q: got %v, want an invalid query that says %q", text, err, says)
		}
	}
}
