package policy

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"meridian/instance/crm"
)

// personasFile is where a bundle keeps the people it is tried with.
const personasFile = "personas.json"

// Persona is a subject that travels with a bundle: its filters must compile,
// and are compared with the rules on live records.
type Persona struct {
	Name    string
	Subject crm.Subject
}

// Personas are the bundle's, by name.
func (b *Bundle) Personas() []Persona { return slices.Clone(b.personas) }

// personasForm is what the file looks like.
const personasForm = `{"<name>": {"kind": "person", "roles": ["rep"], ...}, ...}`

// parsePersonas reads {"<name>": <subject>, ...}.
func parsePersonas(text string) ([]Persona, error) {
	lineAt := func(offset int64) int {
		return 1 + strings.Count(text[:min(max(offset, 0), int64(len(text)))], "\n")
	}
	var whole any
	if err := json.Unmarshal([]byte(text), &whole); err != nil {
		at := int64(len(text))
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			at = e.Offset
		}
		return nil, atLine(personasFile, lineAt(at), "is not JSON here (%v): look at the commas, quotes and brackets of this line and the one before; the file is %s", err, personasForm)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, atLine(personasFile, 1, "the file is %s", personasForm)
	}
	subjects := map[string]crm.Subject{}
	for d.More() {
		key, err := d.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return nil, atLine(personasFile, lineAt(d.InputOffset()), "the file is %s", personasForm)
		}
		begins := d.InputOffset()
		if _, twice := subjects[name]; twice {
			return nil, atLine(personasFile, lineAt(begins), "there are two personas %q; give one another name", name)
		}
		var s crm.Subject
		if err := d.Decode(&s); err != nil {
			field, says := personaFault(err)
			at := begins
			if i := strings.Index(text[begins:], `"`+field+`"`); field != "" && i >= 0 {
				at += int64(i)
			}
			return nil, atLine(personasFile, lineAt(at), "%s: %s", name, says)
		}
		if s.Kind != crm.KindPerson && s.Kind != crm.KindService && s.Kind != crm.KindInstance {
			return nil, atLine(personasFile, lineAt(begins), "%s: kind is person, service or instance, not %q", name, s.Kind)
		}
		if s.ID == "" {
			s.ID = crm.SubjectID(name)
		}
		if s.Kind == crm.KindInstance { // its contract is in force
			s.To = crm.Forever
		}
		subjects[name] = s
	}
	if _, err := d.Token(); err != nil && !errors.Is(err, io.EOF) {
		return nil, atLine(personasFile, lineAt(d.InputOffset()), "the file is %s", personasForm)
	}
	var out []Persona
	for _, name := range slices.Sorted(maps.Keys(subjects)) {
		out = append(out, Persona{name, subjects[name]})
	}
	return out, nil
}

// personaFault is what is wrong with a persona, and with which of its parts.
func personaFault(err error) (field, says string) {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		parts := strings.Split(e.Field, ".")
		field = parts[len(parts)-1]
		form, ok := map[reflect.Kind]string{
			reflect.Int: "a whole number, as 3", reflect.Bool: "true or false", reflect.String: `a text, as "x"`, reflect.Slice: `a list, as ["x"]`,
		}[e.Type.Kind()]
		if !ok || field == "" {
			return field, "is not of the form " + personasForm
		}
		return field, field + " is " + form
	}
	const unknown = "json: unknown field "
	if quoted, ok := strings.CutPrefix(err.Error(), unknown); ok {
		if field, err := strconv.Unquote(quoted); err == nil {
			known := subjectFields()
			return field, "has no " + field + meant(field, slices.Values(known)) + " A persona has " + strings.Join(known, " ")
		}
	}
	return "", err.Error()
}

// subjectFields are the parts of a persona, by the names of the file.
func subjectFields() (names []string) {
	for f := range reflect.TypeFor[crm.Subject]().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			names = append(names, name)
		}
	}
	return names
}
