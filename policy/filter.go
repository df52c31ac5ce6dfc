package policy

// Filter is what a subject's action may reach in one entity, as SQL over the
// record alias r. The zero value shows nothing.
type Filter struct {
	digest string
	stamp  int64
}

// Stamp is the access stamp the filter was made under.
func (f Filter) Stamp() int64 { return f.stamp }

// Digest names the bundle the filter was made from.
func (f Filter) Digest() string { return f.digest }

// Where is the boolean SQL that rows must satisfy.
func (f Filter) Where(a *Args) string { return "false" }

// Reveals is the boolean SQL that says on which of the rows that satisfy Where
// the field group may be shown. It is "false" for an unknown group.
func (f Filter) Reveals(group string, a *Args) string { return "false" }

// Branches are the grounds of Where one by one, for a UNION of index-driven
// branches: a row is reached when it satisfies one of include and not exclude.
func (f Filter) Branches(a *Args) (include []string, exclude string) { return nil, "true" }
