// Package plugins is the contract between an instance and what it plugs in,
// and the SDK to write such a plugin in Go.
//
// A plugin declares hooks in its Manifest and answers batches of records with
// verdicts. What it declares is all it is given: it sees only the fields it
// reads and can set only the fields it names. There is one contract for a
// plugin built into the process and for one in a process of its own
// (plugins/wire); plugintest holds what both must do. The package knows
// nothing of hosts, storage or policy.
package plugins

import (
	"context"

	"meridian/instance/crm"
)

// Plugin is one plugin, in process or behind plugins/wire. Methods are safe
// for concurrent use, except that Configure comes once, before any Invoke.
type Plugin interface {
	// Manifest is the same at every call.
	Manifest() Manifest
	// Configure hands over the instance's name and the configuration (JSON,
	// empty for none). An error refuses the installation.
	Configure(ctx context.Context, instance string, config []byte) error
	// Invoke runs steps of one stage on a batch: one result per record, in
	// order, each with one verdict per step. Any split of a batch gives the
	// same results. An error is a failure of the whole batch, never consent.
	Invoke(ctx context.Context, b Batch) ([]Result, error)
}

// Stage is when a step runs.
type Stage string

// Transforms run first and in order and may set fields; validators run last,
// in parallel, and may only judge.
const (
	Transform Stage = "transform"
	Validate  Stage = "validate"
)

// Batch is a call: the named steps, all of one entity, operation and stage,
// on some records.
type Batch struct {
	Entity  string
	Op      crm.Op // create, update or delete
	Stage   Stage
	Steps   []string // in the order to run
	Records []Record
}

// Record is what the steps of a batch see of one write.
type Record struct {
	Execution string               // execution ID of the write
	Fields    map[string]crm.Value // declared fields only; an absent one is null
	Changed   []string             // declared fields this write changes
}

// Result answers for one record: one verdict per step of the batch, in order.
type Result struct{ Verdicts []StepVerdict }

// StepVerdict is what one step says about one record.
type StepVerdict struct {
	Step     string
	Verdict  Verdict
	Set      map[string]crm.Value // transform: fields to set, null clears
	Govern   map[string]string    // slot "assignment": governance to set
	Findings []Finding            // what is wrong, on a veto or a failure
}

// Verdict is the outcome of a step. The zero Verdict approves nothing: a step
// that forgets to answer has failed.
type Verdict int

// The verdicts.
const (
	Unset Verdict = iota
	Allow
	Veto
	NoOpinion
	Failed
)

var verdictNames = [...]string{"unset", "allow", "veto", "no_opinion", "failed"}

// String is the word that the ledger of a write keeps.
func (v Verdict) String() string {
	if v < Unset || v > Failed {
		return "unset"
	}
	return verdictNames[v]
}

// Finding names the field at fault, a code for programs, and a message for
// people that says the remedy.
type Finding struct{ Field, Code, Message string }
