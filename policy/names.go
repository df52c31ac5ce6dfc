package policy

// Grounds are the names of the bundle's grounds, those that open first.
func (e *Engine) Grounds() []string {
	names := make([]string, len(e.grounds))
	for i, g := range e.grounds {
		names[i] = g.name
	}
	return names
}
