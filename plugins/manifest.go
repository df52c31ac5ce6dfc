package plugins

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
)

// SlotAssignment is the capability to place records: only the plugin bound to
// it may set governance.
const SlotAssignment = "assignment"

// Manifest is what a plugin declares, and so all it is given.
type Manifest struct {
	Name         string // lower-case-with-hyphens
	Version      string // semantic version
	Description  string
	Hooks        []Hook
	Slots        []string // slots it can be bound to
	ConfigSchema string   // JSON schema of its configuration, "" for none
}

// Hook is one step the plugin wants to take.
type Hook struct {
	Step          string // unique within the plugin
	Entity        string
	Operations    []crm.Op // create, update, delete
	Stage         Stage
	Reads         []string      // fields it is shown; on update it runs only if one of them changes
	Sets          []string      // transform: fields it may set
	Governs       []string      // slot "assignment": governance columns it may set
	Before, After []string      // steps ("plugin/step") it runs before or after; of absent plugins without effect
	Deadline      time.Duration // the host's default if zero
	FailureOpen   bool          // an observer: a failure of it is recorded and does not refuse the write
}

// governable are the governance columns a hook may ask to set.
var governable = []string{"territory", "segment", "department", "sensitivity", "jurisdiction"}

var (
	pluginName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	semver     = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
)

// Hook finds a hook by step.
func (m Manifest) Hook(step string) (Hook, bool) {
	i := slices.IndexFunc(m.Hooks, func(h Hook) bool { return h.Step == step })
	if i < 0 {
		return Hook{}, false
	}
	return m.Hooks[i], true
}

// Validate reports the first rule the manifest breaks, whatever is installed
// beside it.
func (m Manifest) Validate() error {
	bad := func(format string, args ...any) error {
		return crm.Errorf(crm.Invalid, "plugin "+m.Name+": "+format, args...)
	}
	switch {
	case !pluginName.MatchString(m.Name):
		return crm.Errorf(crm.Invalid, "plugin name %q: use lower-case-with-hyphens", m.Name)
	case !semver.MatchString(m.Version):
		return bad("version %q is not a semantic version such as 1.2.0", m.Version)
	case len(m.Hooks) == 0:
		return bad("it declares no hook")
	}
	seen := map[string]bool{}
	for _, h := range m.Hooks {
		if !pluginName.MatchString(h.Step) {
			return bad("step name %q: use lower-case-with-hyphens", h.Step)
		}
		if seen[h.Step] {
			return bad("step %s is declared twice", h.Step)
		}
		seen[h.Step] = true
		if msg := h.fault(m); msg != "" {
			return bad("step %s: %s", h.Step, msg)
		}
	}
	return nil
}

// fault is the first rule the hook breaks, "" for none.
func (h Hook) fault(m Manifest) string {
	for _, op := range h.Operations {
		if op != crm.OpCreate && op != crm.OpUpdate && op != crm.OpDelete {
			return "operation " + string(op) + " is not create, update or delete"
		}
	}
	for _, g := range h.Governs {
		if !slices.Contains(governable, g) {
			return "governance column " + g + " cannot be set by a plugin"
		}
	}
	for _, ref := range slices.Concat(h.Before, h.After) {
		if strings.Count(ref, "/") != 1 {
			return "before and after name plugin/step, not " + ref
		}
		if ref == m.Name+"/"+h.Step {
			return "it cannot run before or after itself"
		}
	}
	switch {
	case h.Entity == "":
		return "it names no entity"
	case len(h.Operations) == 0:
		return "it names no operation"
	case h.Stage != Transform && h.Stage != Validate:
		return "stage is transform or validate"
	case h.Stage == Validate && len(h.Sets)+len(h.Governs) > 0:
		return "a validator sets nothing; make it a transform"
	case h.Stage == Validate && len(h.Before)+len(h.After) > 0:
		return "validators run in parallel; before and after are for transforms"
	case h.FailureOpen && h.Stage != Validate:
		return "only a validator may fail open; a record must never miss a transform"
	case len(h.Governs) > 0 && !slices.Contains(m.Slots, SlotAssignment):
		return "it sets governance; declare the slot " + SlotAssignment
	case h.Deadline < 0 || h.Deadline > time.Minute:
		return "a deadline is between 0 and a minute"
	}
	return ""
}
