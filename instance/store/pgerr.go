package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"meridian/instance/crm"
)

// pgErr gives a driver's error its kind and adds the operand. Errors that
// already have a kind, and nil, pass. The text of the database never reaches a
// caller: it may quote values.
func pgErr(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*crm.Error](err); ok {
		return e
	}
	what := fmt.Sprintf(format, args...)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return &crm.Error{Kind: crm.NotFound, Msg: "not found", Err: fmt.Errorf("%s: %w", what, err)}
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		if _, isConnect := errors.AsType[*pgconn.ConnectError](err); isConnect || isNetwork(err) {
			return unavailable(what, err)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	cause := fmt.Errorf("%s: %s (%s) %s", what, pe.Message, pe.Code, pe.ConstraintName)
	switch pe.Code[:2] {
	case "08", "57", "53", "40": // connection, shutdown, resources, serialization and deadlock
		return unavailable(what, cause)
	case "22": // a value its type cannot hold
		return &crm.Error{Kind: crm.Invalid, Msg: "a value is out of the range of its field's type", Err: cause}
	case "23":
		if pe.Code == "23505" {
			return &crm.Error{Kind: crm.Conflict, Msg: "another record has this value; it must be unique", Err: cause}
		}
		return &crm.Error{Kind: crm.Invalid, Msg: "what was given cannot be kept: " + ruleSays(pe), Err: cause}
	}
	return cause
}

// ruleSays is a rule of the database in words: those that people may break are
// named as a sentence, such as agreement_ends_after_it_begins.
func ruleSays(pe *pgconn.PgError) string {
	if pe.Code != "23514" || strings.HasSuffix(pe.ConstraintName, "_check") {
		return "a value is missing, or does not fit the others"
	}
	return "it must hold: " + strings.ReplaceAll(pe.ConstraintName, "_", " ")
}

func unavailable(what string, err error) *crm.Error {
	return &crm.Error{Kind: crm.Unavailable, Msg: "the database is busy or away; try again", RetryAfter: time.Second, Err: fmt.Errorf("%s: %w", what, err)}
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, net.ErrClosed)
}
