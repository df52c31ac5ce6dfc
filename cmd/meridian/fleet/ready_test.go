package fleet

import "testing"

func TestTheReadyFileLosesNoProcess(t *testing.T) {
	was := pids{Up: 1, Instances: map[string]int{"amer": 2}, Plugins: map[string]int{"data-quality@amer": 3}}
	for name, c := range map[string]struct {
		now  pids
		want bool
	}{
		"nothing changed":      {was, true},
		"a plugin restarted":   {pids{1, map[string]int{"amer": 2}, map[string]int{"data-quality@amer": 9}}, true},
		"a plugin more":        {pids{1, map[string]int{"amer": 2}, map[string]int{"data-quality@amer": 3, "credit@amer": 4}}, true},
		"a plugin is away":     {pids{1, map[string]int{"amer": 2}, nil}, false},
		"an instance restarts": {pids{1, map[string]int{"amer": 0}, map[string]int{"data-quality@amer": 3}}, false},
	} {
		if got := c.now.covers(was); got != c.want {
			t.Errorf("%s: covers is %v", name, got)
		}
	}
}
