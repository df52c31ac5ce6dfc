package pluginhost

import (
	"strconv"

	"meridian/instance/access"
	"meridian/instance/crm"
)

// governable reports whether a governance column can hold the value.
func governable(column, val string) bool {
	switch column {
	case "sensitivity":
		n, err := strconv.Atoi(val)
		return err == nil && n >= 0 && n <= 9
	case "jurisdiction":
		return val == crm.Unassigned || len(val) == 2
	}
	return val != ""
}

// govern sets a governance column and reports whether it changed. A person's
// pin holds territory and segment where the person named one; the law that
// protects a record cannot be pinned.
func govern(d *access.Draft, column, val string) bool {
	g := &d.Governed
	var at *string
	switch column {
	case "territory":
		at = &g.Territory
	case "segment":
		at = &g.Segment
	case "department":
		at = &g.Department
	case "jurisdiction":
		at = &g.Jurisdiction
	case "sensitivity":
		n, _ := strconv.Atoi(val) // governable has checked it
		changed := g.Sensitivity != n
		g.Sensitivity = n
		return changed
	}
	pinned := g.Pinned && (column == "territory" || column == "segment") && *at != "" && *at != crm.Unassigned
	if pinned || *at == val {
		return false
	}
	*at = val
	return true
}
