package crm

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what the caller can do about an error. It is the same word in the
// Go code, in problem documents ("kind") and in the gRPC error detail.
type Kind string

// The kinds. Everything that is not classified is Internal and its text is
// never shown to a caller.
const (
	Internal             Kind = "internal"              // nothing; report the execution ID
	Invalid              Kind = "invalid"               // correct the named field and retry
	Unauthenticated      Kind = "unauthenticated"       // get a valid token
	Denied               Kind = "denied"                // the caller may not do this anywhere near here
	NotFound             Kind = "not_found"             // absent, or hidden: the caller cannot tell which
	Conflict             Kind = "conflict"              // the state forbids it: duplicate key, already ended
	Stale                Kind = "stale"                 // read again and retry with the current version
	NotHome              Kind = "not_home"              // write at the instance named in Home
	PreconditionRequired Kind = "precondition_required" // say which version you are changing
	Unavailable          Kind = "unavailable"           // retry after RetryAfter
)

// Error is the one error type that crosses package borders with a meaning.
type Error struct {
	Kind       Kind
	Msg        string        // for people; names the operand and the remedy, never hidden data
	Field      string        // the field at fault, if one is
	Reasons    []string      // policy reasons or plugin messages, shown to the caller
	Home       string        // the instance that may write, for NotHome
	RetryAfter time.Duration // for Unavailable
	Err        error         // the cause; logged, never shown
}

func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Msg
	}
	return e.Msg
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of kind k; %w keeps the cause.
func Errorf(k Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: k, Msg: err.Error(), Err: errors.Unwrap(err)}
}

// NotHomeError refuses a write of a record whose home is another instance.
func NotHomeError(home string) *Error {
	return &Error{Kind: NotHome, Msg: "the record is written at its home, " + home, Home: home}
}

// FieldErrorf makes an Invalid error about one field.
func FieldErrorf(field, format string, args ...any) *Error {
	e := Errorf(Invalid, format, args...)
	e.Field = field
	return e
}

// KindOf is the kind of the first *Error in err's chain, Internal without one.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Public is what a caller may see of err: the *Error itself, or a blank
// Internal one, so that an unclassified cause never leaks.
func Public(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok && e.Kind != Internal {
		return e
	}
	return &Error{Kind: Internal, Msg: "internal error; report the execution ID", Err: err}
}
