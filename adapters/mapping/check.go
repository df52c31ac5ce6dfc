package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"meridian/adapters/delimited"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
)

// Parse checks a mapping that has no base. Errors name file, line and key.
func Parse(file string, content []byte) (*Mapping, error) {
	return parse(file, content, func(string) ([]byte, error) { return nil, errors.New("there is no folder to find it in") })
}

func parse(file string, content []byte, base func(string) ([]byte, error)) (*Mapping, error) {
	s, err := parseDocument(file, content, base)
	if err != nil {
		return nil, err
	}
	m := &Mapping{Name: s.doc.Mapping, Version: s.doc.Version, Owner: s.doc.Owner, Entity: s.doc.Entity, file: file}
	if s.from["examples"] != "" {
		m.file = s.from["examples"]
	}
	for _, check := range []func(*Mapping) error{s.head, s.source, s.rules, s.fields, s.references, s.coverage, s.examples} {
		if err := check(m); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (s *source) head(m *Mapping) (err error) {
	switch {
	case m.Name == "":
		return s.fault("name the mapping", "mapping")
	case m.Version < 1:
		return s.fault("count the mapping's versions from 1; a new one loads the same file again", "version")
	case m.Owner == "":
		return s.fault("say who answers for this mapping", "owner")
	case m.Entity == "":
		return s.fault("name the entity the records become", "entity")
	case s.doc.Expires == "":
		return s.fault("say when this mapping must be retired or renewed, as 2027-12-31", "expires")
	}
	if m.Expires, err = time.Parse(time.DateOnly, s.doc.Expires); err != nil {
		return s.fault("give a date such as 2027-12-31", "expires")
	}
	return nil
}

func (s *source) source(m *Mapping) (err error) {
	d := s.doc.Source
	src := Source{Columns: d.Columns, Optional: d.Optional, Header: d.Header == nil || *d.Header, Damaged: Damage(d.Damaged)}
	if d.Format != "csv" {
		return s.fault("csv is the one format there is", "source", "format")
	}
	if src.Format.Charset, err = delimited.CharsetNamed(d.Charset); err != nil {
		return s.fault(err.Error(), "source", "charset")
	}
	if len(d.Delimiter) != 1 || strings.ContainsAny(d.Delimiter, "\"\r\n") || d.Delimiter[0] >= 0x80 {
		return s.fault(`give one ASCII character, such as "," or ";" or "\t"`, "source", "delimiter")
	}
	src.Format.Delimiter = d.Delimiter[0]
	if len(d.Columns) == 0 {
		return s.fault("name the columns", "source", "columns")
	}
	for i, c := range d.Columns {
		if c == "" || slices.Contains(d.Columns[:i], c) {
			return s.fault("a column has a name, once", "source", "columns", i)
		}
	}
	for i, c := range d.Optional {
		if c == "" || slices.Contains(d.Columns, c) || slices.Contains(d.Optional[:i], c) {
			return s.fault("a column has a name, once", "source", "optional", i)
		}
	}
	if len(d.Optional) > 0 && !src.Header {
		return s.fault("only a header can tell whether an optional column is there", "source", "optional")
	}
	switch src.Damaged {
	case "":
		src.Damaged = DamageRefusesFile
	case DamageRefusesFile, DamageRejectsRecord:
	default:
		return s.fault("say refuse (the file) or reject (the record)", "source", "damaged")
	}
	if src.locale, err = s.locale(d); err != nil {
		return err
	}
	src.Control, err = s.control(d.Control)
	m.Source = src
	return err
}

func (s *source) control(d controlDoc) (c Control, err error) {
	for _, k := range []struct {
		key, value string
		to         *bool
	}{{"checksum", d.Checksum, &c.Checksum}, {"count", d.Count, &c.Count}} {
		switch k.value {
		case "required":
			*k.to = true
		case "", "optional":
		default:
			return c, s.fault("say required or optional", "source", "control", k.key)
		}
	}
	if !c.Checksum && !c.Count {
		return c, s.fault("require a checksum or a count file: it also says that the file is all there", "source", "control")
	}
	if t := d.Trailer; t != nil {
		if t.Marker == "" || t.Count < 2 {
			return c, s.fault("give the marker in the first column and the number (from 2) of the column that counts", "source", "control", "trailer")
		}
		c.Trailer = &Trailer{Marker: t.Marker, Count: t.Count - 1}
	}
	return c, nil
}

func (s *source) rules(m *Mapping) error {
	for i, d := range s.doc.Keep {
		if !slices.Contains(m.Columns(), d.Column) {
			return s.fault(fmt.Sprintf("the source has no column %q", d.Column), "keep", i, "column")
		}
		r := rule{column: d.Column, in: d.In, notIn: d.NotIn}
		var err error
		if r.lookup, err = s.lookup(d.Lookup, d.Miss, "keep", i); err != nil {
			return err
		}
		if len(d.Within) > 0 || len(d.Except) > 0 {
			if d.Lookup != "country" {
				return s.fault("within and except need lookup: country", "keep", i)
			}
			if r.countries, err = s.countries(d, i); err != nil {
				return err
			}
		}
		if r.countries == nil && len(r.in) == 0 && len(r.notIn) == 0 {
			return s.fault("say what to keep: within, except, in or not_in", "keep", i)
		}
		m.keep = append(m.keep, r)
	}
	return nil
}

// countries are those inside the territories within and outside those except.
func (s *source) countries(d ruleDoc, i int) (map[string]bool, error) {
	parent, country := map[string]string{}, map[string]bool{}
	for _, n := range trees.Territories() {
		parent[n.ID] = n.Parent
		if n.Level == "country" {
			country[n.ID] = true
		}
	}
	for key, ids := range map[string][]string{"within": d.Within, "except": d.Except} {
		for j, id := range ids {
			if _, ok := parent[id]; !ok {
				return nil, s.fault(fmt.Sprintf("there is no territory %q", id), "keep", i, key, j)
			}
		}
	}
	within := d.Within
	if len(within) == 0 {
		within = []string{trees.World}
	}
	kept := map[string]bool{}
	for c := range country {
		inside, outside := false, false
		for id := c; id != ""; id = parent[id] {
			inside = inside || slices.Contains(within, id)
			outside = outside || slices.Contains(d.Except, id)
		}
		if inside && !outside {
			kept[c] = true
		}
	}
	return kept, nil
}

// lookup finds a table: built in, or of this mapping.
func (s *source) lookup(name, miss string, path ...any) (*lookup, error) {
	if name == "" {
		if miss != "" {
			return nil, s.fault("miss needs a lookup", append(path, "miss")...)
		}
		return nil, nil
	}
	l := &lookup{miss: miss}
	switch table, own := s.doc.Tables[name]; {
	case own:
		l.find = func(v string) (string, bool) { to, ok := table[v]; return to, ok }
	case name == "country":
		l.find = trees.CountryCode
	case name == "us_state":
		l.find = trees.StateCode
	default:
		return nil, s.fault(fmt.Sprintf("there is no table %q; built in are country and us_state", name), append(path, "lookup")...)
	}
	switch miss {
	case "":
		l.miss = missRejects
	case missRejects, missNull, missKeeps:
	default:
		return nil, s.fault("say reject, null or keep", append(path, "miss")...)
	}
	return l, nil
}

func (s *source) fields(m *Mapping) (err error) {
	if len(s.doc.Fields) == 0 {
		return s.fault("make at least one field", "fields")
	}
	m.fields, err = s.list(m, "fields", s.doc.Fields)
	return err
}

func (s *source) references(m *Mapping) (err error) {
	for i, d := range s.doc.References {
		if d.As != "" || d.Value != nil {
			return s.fault("a reference is the key of another record: from a column, of no type", "references", i)
		}
	}
	m.references, err = s.list(m, "references", s.doc.References)
	return err
}

func (s *source) list(m *Mapping, key string, docs []fieldDoc) ([]field, error) {
	var fs []field
	for i, d := range docs {
		f := field{to: d.To, from: d.From, constant: d.Value, as: crm.Type(d.As), required: d.Required, keepEmpty: d.Empty == "keep"}
		switch {
		case d.To == "":
			return nil, s.fault("name the field", key, i, "to")
		case slices.ContainsFunc(slices.Concat(m.fields, fs), func(g field) bool { return g.to == d.To }):
			return nil, s.fault(fmt.Sprintf("%s is made twice", d.To), key, i, "to")
		case (d.From == "") == (d.Value == nil):
			return nil, s.fault("say from which column, or which value: one of both", key, i)
		case d.From != "" && !slices.Contains(m.Columns(), d.From):
			return nil, s.fault(fmt.Sprintf("the source has no column %q", d.From), key, i, "from")
		case d.Empty != "" && d.Empty != "keep" && d.Empty != "clear":
			return nil, s.fault("say clear (an empty value clears the field) or keep", key, i, "empty")
		case d.Required && d.From != "" && slices.Contains(m.Source.Optional, d.From):
			return nil, s.fault("a required field needs a column that every file has", key, i, "required")
		}
		if f.as == "" {
			f.as = crm.TypeString
		}
		if !slices.Contains([]crm.Type{crm.TypeString, crm.TypeInteger, crm.TypeDecimal, crm.TypeBoolean, crm.TypeDate, crm.TypeTimestamp}, f.as) {
			return nil, s.fault("say string, integer, decimal, boolean, date or timestamp", key, i, "as")
		}
		for j, name := range d.Do {
			do, ok := transform(name)
			if !ok {
				return nil, s.fault(fmt.Sprintf("there is no %q; there are %s", name, strings.Join(transformNames(), ", ")), key, i, "do", j)
			}
			f.do = append(f.do, do)
		}
		var err error
		if f.lookup, err = s.lookup(d.Lookup, d.Miss, key, i); err != nil {
			return nil, err
		}
		fs = append(fs, f)
	}
	return fs, nil
}

// coverage demands that every column is used or ignored on purpose, so that a
// column nobody thought of is noticed when the mapping is written.
func (s *source) coverage(m *Mapping) error {
	used := func(c string) bool {
		from := func(f field) bool { return f.from == c }
		return slices.ContainsFunc(m.fields, from) || slices.ContainsFunc(m.references, from) ||
			slices.ContainsFunc(m.keep, func(r rule) bool { return r.column == c })
	}
	for i, c := range s.doc.Ignore {
		if !slices.Contains(m.Columns(), c) || used(c) {
			return s.fault(fmt.Sprintf("%q is no column of the source that is left unused", c), "ignore", i)
		}
	}
	for _, c := range m.Columns() {
		if !used(c) && !slices.Contains(s.doc.Ignore, c) {
			return s.fault(fmt.Sprintf("column %q is not used; map it or ignore it", c), "source", "columns")
		}
	}
	return nil
}

func (s *source) examples(m *Mapping) error {
	for i, d := range s.doc.Examples {
		e := Example{Name: d.Name, Columns: d.In, Filtered: d.Filtered, Reject: d.Reject, Field: d.Field, Row: d.Row, References: d.References}
		if e.Name == "" {
			e.Name = fmt.Sprintf("examples[%d]", i)
		}
		for c := range d.In {
			if !slices.Contains(m.Columns(), c) {
				return s.fault(fmt.Sprintf("the source has no column %q", c), "examples", i, "in", c)
			}
		}
		if b := []bool{d.Filtered, d.Reject != "", d.Row != nil}; len(slices.DeleteFunc(b, func(x bool) bool { return !x })) != 1 {
			return s.fault("say what becomes of it: filtered, reject or row", "examples", i)
		}
		e.Line, _ = s.place("examples", i)
		m.Examples = append(m.Examples, e)
	}
	return nil
}
