package api_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

// wordsOfPeople are names of fields in which people write.
var wordsOfPeople = []protoreflect.Name{"reason", "note", "ticket", "document", "title", "comment", "remark", "justification"}

// TestNobodyWritesTooMuch: every field of every request in which people write
// has a bound, is one line, and is refused by name before anything else is looked at.
func TestNobodyWritesTooMuch(t *testing.T) {
	t.Parallel()
	w := open(t)
	conn := w.dial()
	ctx := w.as(t.Context(), "nobody.at.all@amer") // who could not do any of it
	tried := map[protoreflect.Name]int{}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			if !strings.HasPrefix(string(file.Package()), "meridian.") || file.Package() == "meridian.plugin.v1" && service.Name() != "CatalogService" {
				continue
			}
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				for _, path := range fieldsOfPeople(m.Input(), nil) {
					last := path[len(path)-1]
					tried[last.Name()]++
					for _, wrote := range []string{strings.Repeat("ü", 2001), "all is well\nERROR: it is not", "\x1b[2J"} {
						err := offered(ctx, t, conn, m, filled(path, wrote))
						st := status.Convert(err)
						var d *recordv1.ErrorDetail
						if len(st.Details()) == 1 {
							d, _ = st.Details()[0].(*recordv1.ErrorDetail)
						}
						if st.Code() != codes.InvalidArgument || d.GetKind() != string(crm.Invalid) || d.GetField() != string(last.Name()) {
							t.Errorf("%s with %.10q in %s: %v, field %q", m.FullName(), wrote, last.FullName(), st, d.GetField())
						}
					}
				}
			}
		}
		return true
	})
	for word, n := range map[protoreflect.Name]int{"reason": 14, "note": 2, "ticket": 1, "document": 1} {
		if tried[word] < n {
			t.Errorf("found %d fields called %s, want %d; does the test still see them?", tried[word], word, n)
		}
	}
	officer := w.as(t.Context(), "officer.a@amer")
	facts := policyv1.NewFactServiceClient(conn)
	add := &policyv1.EditFactsRequest{Reason: "a new one", Edits: []*policyv1.FactEdit{
		{Do: "add", Kind: "territory", Id: "X-1", Under: "US", Name: "here\r\nand there", Level: "state"},
	}}
	if _, err := facts.EditFacts(officer, add); fieldOf(err) != "edits[0].name" {
		t.Errorf("a name of two lines: %v", err)
	}
	add.Edits[0].Name, add.Reason = "Müller-Land", strings.Repeat("ü", crm.LongestText)
	if _, err := facts.EditFacts(officer, add); err != nil {
		t.Errorf("a reason of the greatest length: %v", err)
	}
}

// fieldsOfPeople are the paths to fields in which people write.
func fieldsOfPeople(m protoreflect.MessageDescriptor, above []protoreflect.FieldDescriptor) (out [][]protoreflect.FieldDescriptor) {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		path := append(slices.Clone(above), f)
		switch {
		case f.Kind() == protoreflect.StringKind && slices.Contains(wordsOfPeople, f.Name()):
			out = append(out, path)
		case f.Message() != nil && !f.IsMap() && len(above) < 3:
			out = append(out, fieldsOfPeople(f.Message(), path)...)
		}
	}
	return out
}

// filled is a request with one field at the end of a path.
func filled(path []protoreflect.FieldDescriptor, wrote string) proto.Message {
	m := dynamicpb.NewMessage(path[0].ContainingMessage())
	at := protoreflect.Message(m)
	for _, f := range path[:len(path)-1] {
		if f.IsList() {
			at = at.Mutable(f).List().AppendMutable().Message()
		} else {
			at = at.Mutable(f).Message()
		}
	}
	at.Set(path[len(path)-1], protoreflect.ValueOfString(wrote))
	return m
}

// offered sends one request, in whatever way its method takes it, and answers the error.
func offered(ctx context.Context, t *testing.T, c *grpc.ClientConn, m protoreflect.MethodDescriptor, in proto.Message) error {
	t.Helper()
	method := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	out := dynamicpb.NewMessage(m.Output())
	if !m.IsStreamingClient() && !m.IsStreamingServer() {
		return c.Invoke(ctx, method, in, out)
	}
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: m.IsStreamingServer(), ClientStreams: m.IsStreamingClient()}, method)
	must(t, err)
	must(t, s.SendMsg(in))
	must(t, s.CloseSend())
	return s.RecvMsg(out)
}

func fieldOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if d, ok := d.(*recordv1.ErrorDetail); ok {
			return d.GetField()
		}
	}
	return ""
}
