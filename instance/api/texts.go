package api

import (
	"fmt"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"meridian/instance/crm"
)

// texts are the fields of requests in which people write, and how much: by name
// wherever they stand, or by full name. Names that officers give to what they
// add count too; everybody sees those from then on.
var texts = map[string]int{
	"reason":   crm.LongestText,
	"note":     crm.LongestText,
	"ticket":   crm.LongestTitle,
	"document": crm.LongestTitle,

	"meridian.policy.v1.FactEdit.id":          crm.LongestTitle,
	"meridian.policy.v1.FactEdit.name":        crm.LongestTitle,
	"meridian.policy.v1.FactEdit.level":       crm.LongestTitle,
	"meridian.policy.v1.FactEdit.under":       crm.LongestTitle,
	"meridian.policy.v1.FactEdit.on":          crm.LongestTitle,
	"meridian.policy.v1.FactEdit.subject":     crm.LongestTitle,
	"meridian.policy.v1.FactEdit.roles":       crm.LongestTitle,
	"meridian.policy.v1.Agreement.department": crm.LongestTitle,
	"meridian.policy.v1.Grant.with":           crm.LongestTitle,
}

// bound is how much may be written into a field; 0 if it is none of texts.
func bound(f protoreflect.FieldDescriptor) int {
	if f.Kind() != protoreflect.StringKind || f.IsMap() {
		return 0
	}
	if n, ok := texts[string(f.FullName())]; ok {
		return n
	}
	return texts[string(f.Name())]
}

// written remembers which messages people write into, themselves or below: what
// is sent in masses is none of them, and is not looked at.
var written sync.Map // of protoreflect.FullName

func writes(m protoreflect.MessageDescriptor) bool {
	if known, ok := written.Load(m.FullName()); ok {
		return known.(bool)
	}
	found := false
	seen := map[protoreflect.FullName]bool{}
	var look func(protoreflect.MessageDescriptor)
	look = func(m protoreflect.MessageDescriptor) {
		if found || seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			found = found || bound(f) > 0
			if !f.IsMap() && f.Message() != nil {
				look(f.Message())
			}
		}
	}
	look(m)
	written.Store(m.FullName(), found)
	return found
}

// checkTexts refuses a request in which somebody wrote too much, or what is not
// one line. It looks at nothing else, and so tells nothing.
func checkTexts(request any) error {
	m, ok := request.(proto.Message)
	if !ok || !writes(m.ProtoReflect().Descriptor()) {
		return nil
	}
	return checkMessage("", m.ProtoReflect())
}

func checkMessage(path string, m protoreflect.Message) (err error) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := path + string(f.Name())
		switch longest := bound(f); {
		case longest > 0 && f.IsList():
			for i := range v.List().Len() {
				if err == nil {
					err = crm.CheckLine(name, v.List().Get(i).String(), longest)
				}
			}
		case longest > 0:
			err = crm.CheckLine(name, v.String(), longest)
		case f.Message() == nil || f.IsMap() || !writes(f.Message()):
		case f.IsList():
			for i := range v.List().Len() {
				if err == nil {
					err = checkMessage(fmt.Sprintf("%s[%d].", name, i), v.List().Get(i).Message())
				}
			}
		default:
			err = checkMessage(path, v.Message()) // as the door names fields of what a request is about
		}
		return err == nil
	})
	return err
}

// checked is the stream of a call whose requests are looked at as they come.
type checked struct{ connect.StreamingHandlerConn }

func (c checked) Receive(m any) error {
	if err := c.StreamingHandlerConn.Receive(m); err != nil {
		return err
	}
	return checkTexts(m)
}
