// Package schema holds the entities that every instance shares, as YAML, and
// reads definitions in that form.
//
// It is data: an instance adds fields and entities of its own in the same
// form. The package must not know how definitions become tables.
package schema

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"

	"go.yaml.in/yaml/v3"

	"meridian/instance/crm"
)

//go:embed *.yaml
var files embed.FS

// Common are the shipped entities, by name. They are part of the build, so a
// fault in them panics.
func Common() []crm.Definition {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		panic(err)
	}
	var ds []crm.Definition
	for _, name := range names {
		body, err := files.ReadFile(name)
		if err != nil {
			panic(err)
		}
		d, err := Parse(body)
		if err != nil {
			panic(fmt.Errorf("%s: %w", name, err))
		}
		ds = append(ds, d)
	}
	return ds
}

// Parse reads one definition. An unknown key is an error, so that a misspelt
// one is found.
func Parse(body []byte) (crm.Definition, error) {
	var f file
	dec := yaml.NewDecoder(bytes.NewReader(body))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return crm.Definition{}, crm.Errorf(crm.Invalid, "definition: %w", err)
	}
	d := crm.Definition{Entity: f.Entity, Label: f.Label, Plural: f.Plural, Governed: f.Governed, Key: f.Key}
	for _, x := range f.Fields {
		d.Fields = append(d.Fields, crm.Field(x))
	}
	return d, d.Validate()
}

type file struct {
	Entity   string         `yaml:"entity"`
	Label    string         `yaml:"label"`
	Plural   string         `yaml:"plural"`
	Governed crm.Governance `yaml:"governed"`
	Key      string         `yaml:"key"`
	Fields   []field        `yaml:"fields"`
}

// field has crm.Field's fields in crm.Field's order, with their YAML names.
type field struct {
	Name           string   `yaml:"name"`
	Label          string   `yaml:"label"`
	Type           crm.Type `yaml:"type"`
	Required       bool     `yaml:"required"`
	Unique         bool     `yaml:"unique"`
	Indexed        bool     `yaml:"indexed"`
	Enum           []string `yaml:"enum"`
	Reference      string   `yaml:"reference"`
	Group          string   `yaml:"group"`
	Classification string   `yaml:"classification"`
	Mask           crm.Mask `yaml:"mask"`
}
