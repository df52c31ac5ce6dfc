package policy

// Statements that meet many rows. A plan that is kept for all values cannot
// know how long a list is; PostgreSQL then searches it from one end to the
// other for every row, and two thousand territories cost more than the row.

// longList is from where on a hash is worth making.
const longList = 8

// ForMany says that the statement meets many rows: long lists are hashed once
// and looked up. For a single row the hash costs more than the search.
func (a *Args) ForMany() *Args {
	a.statement().many = true
	return a
}

// among is the part of a test that says "is one of the list".
type among struct{ list *param }

func (m among) sql(a *Args) string {
	p := a.param(m.list)
	if a.statement().many && m.long() {
		return " in (select unnest(" + p + "))"
	}
	return " = any(" + p + ")"
}

func (m among) long() bool {
	switch l := m.list.value.(type) {
	case []string:
		return len(l) > longList
	case []int64:
		return len(l) > longList
	}
	return false
}
