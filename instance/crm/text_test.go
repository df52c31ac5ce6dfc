package crm_test

import (
	"strings"
	"testing"

	"meridian/instance/crm"
)

func TestCheckLine(t *testing.T) {
	for text, ok := range map[string]bool{
		"":                                true,
		"covers Nevada: Müller, 東京 🙂":     true,
		strings.Repeat("ü", 10):           false,
		strings.Repeat("🙂", 20):           false,
		"one\ntwo":                        false,
		"one\rtwo":                        false,
		"a\tb":                            false,
		"\x1b[2J":                         false,
		"\u009b2J":                        false,
		"\u2028":                          false,
		"\u202egnp.exe":                   false,
		"\xff":                            false,
		"no\u00a0break, soft\u00adhyphen": true,
	} {
		longest := 40
		if strings.Count(text, "ü")+strings.Count(text, "🙂") > 2 {
			longest = 9
		}
		err := crm.CheckLine("reason", text, longest)
		if (err == nil) != ok || err != nil && (crm.KindOf(err) != crm.Invalid || crm.Public(err).Field != "reason") {
			t.Errorf("%q: %v, want that it is well: %v", text, err, ok)
		}
		if said := crm.Printable(text); longest == 40 && crm.CheckLine("", said, longest) != nil {
			t.Errorf("%q is printed as %q", text, said)
		}
	}
}
