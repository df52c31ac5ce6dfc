package wire

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"meridian/instance/crm"
)

// kinds is the one table of error kinds and gRPC codes between a host and its
// plugins. A plugin speaks of its configuration and of batches, so the kinds
// about records do not occur.
var kinds = []struct {
	kind crm.Kind
	code codes.Code
}{
	{crm.Invalid, codes.InvalidArgument},
	{crm.Unavailable, codes.Unavailable},
	{crm.Internal, codes.Internal},
}

// toStatus is what a plugin answers for err.
func toStatus(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	for _, k := range kinds {
		if k.kind == crm.KindOf(err) {
			return status.Error(k.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}

// fromStatus is what the host makes of a plugin's answer: everything that is
// not a statement of the plugin itself is Unavailable.
func fromStatus(err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	switch s.Code() {
	case codes.DeadlineExceeded:
		return crm.Errorf(crm.Unavailable, "no answer in time: %w", context.DeadlineExceeded)
	case codes.Canceled:
		return crm.Errorf(crm.Unavailable, "call ended: %w", context.Canceled)
	}
	for _, k := range kinds {
		if k.code == s.Code() {
			return &crm.Error{Kind: k.kind, Msg: s.Message(), Err: err}
		}
	}
	return &crm.Error{Kind: crm.Unavailable, Msg: s.Message(), Err: err}
}
