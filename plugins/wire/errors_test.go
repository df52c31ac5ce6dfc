package wire

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"meridian/instance/crm"
)

func TestKindsBothWays(t *testing.T) {
	for _, k := range kinds {
		err := toStatus(crm.Errorf(k.kind, "said so"))
		if status.Code(err) != k.code {
			t.Errorf("%s becomes %v, want %v", k.kind, status.Code(err), k.code)
		}
		if back := fromStatus(err); crm.KindOf(back) != k.kind || back.Error() != "said so" {
			t.Errorf("%v comes back as %s %q", k.code, crm.KindOf(back), back)
		}
	}
	for err, want := range map[error]crm.Kind{
		toStatus(errors.New("x")):                 crm.Internal,
		toStatus(context.DeadlineExceeded):        crm.Unavailable,
		toStatus(context.Canceled):                crm.Unavailable,
		toStatus(crm.Errorf(crm.NotHome, "x")):    crm.Internal,
		status.Error(codes.Unimplemented, "old"):  crm.Unavailable,
		status.Error(codes.ResourceExhausted, ""): crm.Unavailable,
		errors.New("no status at all"):            crm.Unavailable,
	} {
		if got := crm.KindOf(fromStatus(err)); got != want {
			t.Errorf("%v is %s, want %s", err, got, want)
		}
	}
	if fromStatus(nil) != nil {
		t.Error("no error became one")
	}
}
