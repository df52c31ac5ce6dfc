package main

import (
	"encoding/json"
	"io"

	"google.golang.org/protobuf/proto"
)

// answers are what instances answered. For programs they are one document: what
// the only instance answered, or with --instances an object by instance.
type answers struct {
	instances []string // those that --instances names
	only      proto.Message
	by        map[string]any
}

// add keeps an answer until all are there.
func (a *answers) add(instance string, m proto.Message) error {
	if len(a.instances) == 0 {
		a.only = m
		return nil
	}
	raw, err := protoJSON(m)
	if err == nil {
		a.keep(instance, json.RawMessage(raw))
	}
	return err
}

// fail keeps why an instance did not do as it was told.
func (a *answers) fail(instance string, err error) {
	a.keep(instance, map[string]string{"error": brief(err)})
}

func (a *answers) keep(instance string, v any) {
	if a.by == nil {
		a.by = map[string]any{}
	}
	a.by[instance] = v
}

// print prints what there is: also the half of it when the rest failed.
func (a *answers) print(w io.Writer) error {
	switch {
	case a.only != nil:
		return printProto(w, a.only)
	case len(a.by) > 0 && len(a.instances) > 0:
		return printJSON(w, a.by)
	}
	return nil
}
