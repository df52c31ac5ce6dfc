package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"meridian/cmd/meridian/fleet/sample"
	"meridian/instance"
	"meridian/instance/crm"
)

// File is a fleet file: the instances that run together, what is declared at
// each, what they may exchange and the sample data they begin with.
type File struct {
	Name       string              `yaml:"name"`
	Sample     Sample              `yaml:"sample"`
	Everywhere Declared            `yaml:"everywhere"`
	Instances  []Instance          `yaml:"instances"`
	Contracts  []instance.Contract `yaml:"contracts"`
	Agreements []Agreement         `yaml:"agreements"`

	dir string // folder of the file; its paths are relative to it
}

// Sample says which companies the sample data is about and what it is seeded
// with.
type Sample struct {
	Seed      uint64 `yaml:"seed"`
	Companies string `yaml:"companies"`
}

// Declared is what an instance is told of its people and plugins.
type Declared struct {
	Plugins       []instance.Plugin       `yaml:"plugins,omitempty"`
	Departments   []instance.Department   `yaml:"departments,omitempty"`
	Subjects      []Subject               `yaml:"subjects,omitempty"`
	Relationships []instance.Relationship `yaml:"relationships,omitempty"`
	BI            []instance.BI           `yaml:"bi,omitempty"` // subjects by their short names
}

// Subject is a persona: a subject with a line about it.
type Subject struct {
	instance.Subject `yaml:",inline"`
	About            string `yaml:"about"`
}

// Instance is one instance of the fleet.
type Instance struct {
	Name     string `yaml:"name"`
	Title    string `yaml:"title"`
	Declared `yaml:",inline"`
	Feeds    []Feed `yaml:"feeds,omitempty"`
}

// Feed is one kind of file that the instance's filedrop takes.
type Feed struct {
	Name    string `yaml:"name"`
	Mapping string `yaml:"mapping"`
}

// Agreement opens accounts, named by their source id, to a department.
type Agreement struct {
	At         string   `yaml:"at"`
	By         string   `yaml:"by"`
	Department string   `yaml:"department"`
	Accounts   []string `yaml:"accounts"`
	Groups     []string `yaml:"groups,omitempty"`
	Days       int      `yaml:"days"`
	Reason     string   `yaml:"reason"`
}

// ReadFile reads and checks a fleet file.
func ReadFile(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the fleet file: %w", err)
	}
	f := File{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("fleet file %s: %w", path, err)
	}
	if f.dir, err = filepath.Abs(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("fleet file %s: %w", path, err)
	}
	return &f, nil
}

// validate reports what the instances' own configurations would not.
func (f *File) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(f.Instances) == 0 {
		bad("instances: name at least one")
	}
	names := map[string]bool{}
	for _, i := range f.Instances {
		if names[i.Name] {
			bad("instances: %s is named twice", i.Name)
		}
		names[i.Name] = true
		for _, feed := range i.Feeds {
			if !slices.Contains(sample.Feeds(), feed.Name) {
				bad("instances: %s: there is no sample data for a feed %q", i.Name, feed.Name)
			}
		}
	}
	for _, k := range f.Contracts {
		if !names[k.Source] || !names[k.Destination] {
			bad("contracts: %s goes from %q to %q; both must be instances of the fleet", k.ID, k.Source, k.Destination)
		}
	}
	for n, a := range f.Agreements {
		if !names[a.At] || a.By == "" || a.Department == "" || len(a.Accounts) == 0 || a.Days <= 0 {
			bad("agreements[%d]: say at which instance, by whom, for which department, which accounts and for how many days", n)
		}
	}
	return errors.Join(errs...)
}

// path resolves a path of the file.
func (f *File) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(f.dir, p)
}

// personas are the subjects of an instance under their full names.
func (f *File) personas(i Instance) []Subject {
	var all []Subject
	for _, s := range append(append([]Subject{}, i.Subjects...), f.Everywhere.Subjects...) {
		s.ID = fullName(string(s.ID), i.Name)
		all = append(all, s)
	}
	return all
}

func fullName(short, instance string) crm.SubjectID { return crm.SubjectID(short + "@" + instance) }

// SplitSubject takes rep.west@amer apart.
func SplitSubject(s crm.SubjectID) (short, instance string, err error) {
	short, instance, ok := strings.Cut(string(s), "@")
	if !ok || short == "" || instance == "" || strings.Contains(instance, "@") {
		return "", "", crm.FieldErrorf("as", "%q names no persona: say who and where, as rep.west@amer", s)
	}
	return short, instance, nil
}

// config is the instance's own configuration within the fleet.
func (f *File) config(i Instance, listen string, brokers []string, d Folder, bin string) instance.Config {
	c := instance.Config{
		Instance: i.Name,
		Listen:   listen,
		Database: instance.Database{URLFile: d.secret(i.Name, "database.url"), OwnerURLFile: d.secret(i.Name, "database.owner.url")},
		Kafka:    instance.Kafka{Brokers: brokers},
		Identity: instance.Identity{JWKSFile: d.jwks()},
		Plugins: instance.Plugins{
			Dir: bin, Lock: filepath.Join(bin, "plugins.lock.json"),
			Use: append(append([]instance.Plugin{}, f.Everywhere.Plugins...), i.Plugins...),
		},
		Departments:   append(append([]instance.Department{}, f.Everywhere.Departments...), i.Departments...),
		Relationships: append(append([]instance.Relationship{}, f.Everywhere.Relationships...), i.Relationships...),
	}
	for _, s := range f.personas(i) {
		c.Subjects = append(c.Subjects, s.Subject)
	}
	for _, b := range i.BI {
		b.Subject = fullName(string(b.Subject), i.Name)
		c.BI = append(c.BI, b)
	}
	for _, k := range f.Contracts {
		if k.Source == i.Name || k.Destination == i.Name {
			c.Contracts = append(c.Contracts, k)
		}
	}
	return c
}
