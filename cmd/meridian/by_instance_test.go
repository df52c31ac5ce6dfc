package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// TestOneDocument: what several instances answer is one JSON document, also
// when one of them refuses; what one answers is its answer.
func TestOneDocument(t *testing.T) {
	many := answers{instances: []string{"amer", "emea"}}
	if err := many.add("amer", &policyv1.Activation{Sequence: 4}); err != nil {
		t.Fatal(err)
	}
	many.fail("emea", crm.Errorf(crm.Denied, "not here"))
	only := answers{}
	if err := only.add("amer", &policyv1.Activation{Sequence: 5}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a    answers
		want string
	}{{many, `{"amer":"4","emea":"not here"}`}, {only, `{"sequence":"5"}`}, {answers{instances: []string{"amer"}}, ``}} {
		var out bytes.Buffer
		if err := c.a.print(&out); err != nil {
			t.Fatal(err)
		}
		if c.want == "" {
			if out.Len() > 0 {
				t.Errorf("no answers are %s", out.String())
			}
			continue
		}
		var got map[string]any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil { // refuses a second document
			t.Fatalf("%v: %s", err, out.String())
		}
		short := map[string]any{}
		for key, v := range got {
			of, _ := v.(map[string]any)
			switch {
			case of["sequence"] != nil:
				short[key] = of["sequence"]
			case of["error"] != nil:
				short[key] = of["error"]
			case key == "sequence":
				short[key] = v
			}
		}
		if text, err := json.Marshal(short); err != nil || string(text) != c.want {
			t.Errorf("%s, %v; want %s", text, err, c.want)
		}
	}
}
