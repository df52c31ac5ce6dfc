// Package policy decides every access: it compiles the Rego bundle that
// compliance officers write, turns its rules into SQL filters by a strict
// translator, and evaluates the same rules on known rows to explain a decision.
//
// Rego holds rules only, as pure functions over one record row and at most one
// fact row; PostgreSQL holds the facts, and only this package quantifies them.
// Whatever the translator does not know is an error, and a bundle with such an
// error cannot be activated. A Filter can be made here and nowhere else, and
// its zero value shows nothing. The package must not know of connections,
// tokens or record fields' values.
package policy
