package plugins_test

import (
	"context"
	"fmt"

	"meridian/instance/crm"
	"meridian/plugins"
)

// A plugin that keeps test companies out. Its main is one line:
//
//	func main() { wire.Serve(newNoTests) }
func ExampleNew() {
	newNoTests := func() plugins.Plugin {
		return plugins.New(plugins.Manifest{
			Name: "no-tests", Version: "1.0.0",
			Hooks: []plugins.Hook{{
				Step: "check-name", Entity: "account", Operations: []crm.Op{crm.OpCreate}, Stage: plugins.Validate, Reads: []string{"name"},
			}},
		}, map[string]plugins.Func{"check-name": func(_ context.Context, r plugins.Record, _ crm.Op) plugins.Opinion {
			if r.Text("name") == "Test" {
				return plugins.Refuse(plugins.Finding{Field: "name", Code: "name.test", Message: "give the company's real name"})
			}
			return plugins.Opinion{Verdict: plugins.Allow}
		}})
	}
	results, err := newNoTests().Invoke(context.Background(), plugins.Batch{
		Entity: "account", Op: crm.OpCreate, Stage: plugins.Validate, Steps: []string{"check-name"},
		Records: []plugins.Record{{Fields: map[string]crm.Value{"name": crm.String("Test")}}, {Fields: map[string]crm.Value{"name": crm.String("Acme")}}},
	})
	if err != nil {
		panic(err)
	}
	for _, r := range results {
		fmt.Println(r.Verdicts[0].Verdict, r.Verdicts[0].Findings)
	}
	// Output:
	// veto [{name name.test give the company's real name}]
	// allow []
}
