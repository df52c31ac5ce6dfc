// Package mapping says in one file how the records of a legacy source become
// records of an entity: the source's format, what to keep, how each field is
// made, what it refers to, and examples that prove it.
//
// A mapping is data, strict (an unknown key is an error that names file, line
// and key) and pure: the same record gives the same row everywhere, so a
// repeated load changes nothing. Nothing is guessed: charset, number and date
// locale and null tokens are declared, and what does not fit is a reject with
// a reason that never quotes the record. The package reads no files but the
// mapping and speaks to nobody.
package mapping

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"meridian/adapters/delimited"
)

// Mapping is a checked mapping.
type Mapping struct {
	Name     string
	Version  int
	Owner    string
	Expires  time.Time // a facade is throw-away: when this must be retired or renewed
	Entity   string
	Source   Source
	Examples []Example

	keep       []rule
	fields     []field
	references []field
	file       string // where the examples are
}

// Source is how the legacy system writes its records.
type Source struct {
	Format   delimited.Format
	Columns  []string // that every file has, in any order if it has a header
	Optional []string // that a file may lack
	Header   bool     // the first record names the columns
	Damaged  Damage
	Control  Control
	locale   locale
}

// Damage says what a record costs that cannot be read at all.
type Damage string

// What damage costs.
const (
	DamageRefusesFile   Damage = "refuse" // nothing of the file is loaded
	DamageRejectsRecord Damage = "reject" // the record alone is rejected
)

// Control is how a file proves that it is whole.
type Control struct {
	Checksum bool // a <file>.sha256 must come with it
	Count    bool // a <file>.control with its number of records must come with it
	Trailer  *Trailer
}

// Trailer is a last record that counts the others.
type Trailer struct {
	Marker string // in its first column
	Count  int    // 0-based column of the count
}

// Example is one record and what must become of it.
type Example struct {
	Name       string
	Columns    map[string]string
	Filtered   bool
	Reject     string // code
	Field      string // of the reject
	Row        map[string]*string
	References map[string]string
	Line       int
}

// Read reads and checks a mapping file, with the base beside it that it may
// name.
func Read(path string) (*Mapping, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(filepath.Base(path), content, func(name string) ([]byte, error) {
		if name != filepath.Base(name) {
			return nil, errors.New("a base lies in the same folder")
		}
		return os.ReadFile(filepath.Join(filepath.Dir(path), name))
	})
}

// Columns are all columns a file may have.
func (m *Mapping) Columns() []string {
	return append(append([]string(nil), m.Source.Columns...), m.Source.Optional...)
}
