package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is a mapping as it is written. Base names a mapping in the same
// folder, whose keys hold where this one has none.
type document struct {
	Base       string                       `yaml:"base"`
	Mapping    string                       `yaml:"mapping"`
	Version    int                          `yaml:"version"`
	Owner      string                       `yaml:"owner"`
	Expires    string                       `yaml:"expires"`
	Entity     string                       `yaml:"entity"`
	Source     sourceDoc                    `yaml:"source"`
	Keep       []ruleDoc                    `yaml:"keep"`
	Tables     map[string]map[string]string `yaml:"tables"`
	Ignore     []string                     `yaml:"ignore"`
	Fields     []fieldDoc                   `yaml:"fields"`
	References []fieldDoc                   `yaml:"references"`
	Examples   []exampleDoc                 `yaml:"examples"`
}

type sourceDoc struct {
	Format    string     `yaml:"format"`
	Charset   string     `yaml:"charset"`
	Delimiter string     `yaml:"delimiter"`
	Columns   []string   `yaml:"columns"`
	Optional  []string   `yaml:"optional"`
	Header    *bool      `yaml:"header"`
	Nulls     []string   `yaml:"nulls"`
	Decimal   string     `yaml:"decimal"`
	Group     string     `yaml:"group"`
	Date      string     `yaml:"date"`
	Timestamp string     `yaml:"timestamp"`
	Zone      string     `yaml:"zone"`
	Yes       []string   `yaml:"yes"`
	No        []string   `yaml:"no"`
	Damaged   string     `yaml:"damaged"`
	Control   controlDoc `yaml:"control"`
}

type controlDoc struct {
	Checksum string      `yaml:"checksum"`
	Count    string      `yaml:"count"`
	Trailer  *trailerDoc `yaml:"trailer"`
}

type trailerDoc struct {
	Marker string `yaml:"marker"`
	Count  int    `yaml:"count"`
}

type ruleDoc struct {
	Column string   `yaml:"column"`
	Lookup string   `yaml:"lookup"`
	Miss   string   `yaml:"miss"`
	Within []string `yaml:"within"`
	Except []string `yaml:"except"`
	In     []string `yaml:"in"`
	NotIn  []string `yaml:"not_in"`
}

type fieldDoc struct {
	To       string   `yaml:"to"`
	From     string   `yaml:"from"`
	Value    *string  `yaml:"value"`
	Do       []string `yaml:"do"`
	Lookup   string   `yaml:"lookup"`
	Miss     string   `yaml:"miss"`
	As       string   `yaml:"as"`
	Required bool     `yaml:"required"`
	Empty    string   `yaml:"empty"`
}

type exampleDoc struct {
	Name       string             `yaml:"name"`
	In         map[string]string  `yaml:"in"`
	Filtered   bool               `yaml:"filtered"`
	Reject     string             `yaml:"reject"`
	Field      string             `yaml:"field"`
	Row        map[string]*string `yaml:"row"`
	References map[string]string  `yaml:"references"`
}

// Error is a fault of a mapping file.
type Error struct {
	File string
	Line int
	Key  string // as fields[2].lookup
	Msg  string
}

func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Key, e.Msg)
}

// source is a document with the places of its keys.
type source struct {
	file string
	root *yaml.Node        // the mapping node, with the keys of the base added
	from map[string]string // which file a key of the root is in
	doc  document
}

// parseDocument decodes a mapping; base reads another one of its folder.
func parseDocument(file string, content []byte, base func(name string) ([]byte, error)) (*source, error) {
	s := &source{file: file, from: map[string]string{}}
	if err := s.strict(content, &s.doc); err != nil {
		return nil, err
	}
	var err error
	if s.root, err = s.node(content); err != nil || s.doc.Base == "" {
		return s, err
	}
	content, err = base(s.doc.Base)
	if err != nil {
		return nil, s.fault(err.Error(), "base")
	}
	b, err := parseDocument(s.doc.Base, content, func(string) ([]byte, error) {
		return nil, errors.New("a base has no base")
	})
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(b.root.Content); i += 2 {
		key := b.root.Content[i].Value
		if _, own := s.key(key); !own {
			s.root.Content = append(s.root.Content, b.root.Content[i], b.root.Content[i+1])
			s.from[key] = b.file
		}
	}
	s.doc = document{}
	if err := s.root.Decode(&s.doc); err != nil { // each file was decoded strictly before
		return nil, s.yamlError(err)
	}
	return s, nil
}

// key finds the value of a key at the top.
func (s *source) key(name string) (*yaml.Node, bool) {
	for i := 0; i+1 < len(s.root.Content); i += 2 {
		if s.root.Content[i].Value == name {
			return s.root.Content[i+1], true
		}
	}
	return nil, false
}

// strict decodes one document, no more, whose keys are all known.
func (s *source) strict(content []byte, into *document) error {
	dec := yaml.NewDecoder(bytes.NewReader(content))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		return s.yamlError(err)
	}
	if err := dec.Decode(&document{}); !errors.Is(err, io.EOF) {
		return &Error{File: s.file, Line: bytes.Count(content, []byte("\n")), Msg: "the file holds more than one mapping"}
	}
	return nil
}

func (s *source) node(content []byte) (*yaml.Node, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, s.yamlError(err)
	}
	return document.Content[0], nil // strict saw a mapping
}

var (
	yamlLine    = regexp.MustCompile(`line (\d+): `)
	yamlUnknown = regexp.MustCompile(`field (\S+) not found in type \S+`)
	yamlInto    = regexp.MustCompile(` into (?:\S*mapping\.)?(\S+)$`)
)

// yamlError puts the library's complaint in our words.
func (s *source) yamlError(err error) error {
	if errors.Is(err, io.EOF) {
		return &Error{File: s.file, Line: 1, Msg: "the file is empty"}
	}
	text := err.Error()
	if te, ok := errors.AsType[*yaml.TypeError](err); ok {
		text = te.Errors[0]
	}
	e := &Error{File: s.file, Line: 1, Msg: strings.TrimPrefix(text, "yaml: ")}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		_, _ = fmt.Sscan(m[1], &e.Line) // digits by the pattern
		e.Msg = strings.TrimPrefix(strings.Replace(text, m[0], "", 1), "yaml: ")
	}
	if m := yamlUnknown.FindStringSubmatch(text); m != nil {
		e.Key, e.Msg = m[1], "there is no such key"
	} else {
		e.Msg = yamlInto.ReplaceAllString(e.Msg, " as $1")
	}
	return e
}

// fault is an error at a key: names and list positions from the root down.
func (s *source) fault(msg string, path ...any) error {
	line, key := s.place(path...)
	file := s.file
	if top, ok := path[0].(string); ok && s.from[top] != "" {
		file = s.from[top]
	}
	return &Error{File: file, Line: line, Key: key, Msg: msg}
}

// place finds the line of a key, or of its nearest parent if it is absent.
func (s *source) place(path ...any) (line int, key string) {
	line = 1
	n := s.root
	for _, step := range path {
		var next *yaml.Node
		switch step := step.(type) {
		case string:
			if key != "" {
				key += "."
			}
			key += step
			for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					line, next = n.Content[i].Line, n.Content[i+1]
				}
			}
		case int:
			key += fmt.Sprintf("[%d]", step)
			if n != nil && n.Kind == yaml.SequenceNode && step < len(n.Content) {
				next = n.Content[step]
				line = next.Line
			}
		}
		n = next
	}
	return line, key
}
