package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"meridian/instance/crm"
)

// evaluateAtMost bounds the evaluation of rules for one question. A rule that
// takes longer does not decide.
const evaluateAtMost = 2 * time.Second

// Alarm is a question to which the bundle in force has no answer, although it
// was activated. Access is denied meanwhile. It names no subject and no value.
type Alarm struct {
	Bundle, Ground, Entity string // the ground and the entity are empty for service-level permissions
	Action                 crm.Action
}

// maxAlarms bounds the different alarms that are told.
const maxAlarms = 1000

// alarms tells each alarm once and every failed question as well.
type alarms struct {
	mu    sync.Mutex
	told  map[Alarm]bool
	tell  func(Alarm)
	count func()
}

// OnAlarm has tell told of every new alarm of the engine, and count of every
// question that failed. It is called before the engine is asked anything.
func (e *Engine) OnAlarm(tell func(Alarm), count func()) {
	e.alarms.mu.Lock()
	defer e.alarms.mu.Unlock()
	e.alarms.tell, e.alarms.count, e.alarms.told = tell, count, map[Alarm]bool{}
}

// failed makes the error of a question without an answer, and raises the alarm
// unless whoever asked gave up.
func (e *Engine) failed(asked context.Context, a crm.Action, entity string, err error) error {
	wrong := crm.Errorf(crm.Internal, "policy %.12s, %s %s: %w", e.Digest(), a, entity, err)
	if asked.Err() != nil {
		return wrong
	}
	alarm := Alarm{Bundle: e.Digest(), Entity: entity, Action: a}
	if g, ok := errors.AsType[*groundError](err); ok {
		alarm.Ground = g.ground
	}
	e.alarms.mu.Lock()
	tell, count := e.alarms.tell, e.alarms.count
	isNew := tell != nil && !e.alarms.told[alarm] && len(e.alarms.told) < maxAlarms
	if isNew {
		e.alarms.told[alarm] = true
	}
	e.alarms.mu.Unlock()
	if count != nil {
		count()
	}
	if isNew {
		tell(alarm)
	}
	return wrong
}

// groundError is what went wrong with one ground.
type groundError struct {
	ground string
	err    error
}

func (g *groundError) Error() string { return fmt.Sprintf("ground %s: %v", g.ground, g.err) }
func (g *groundError) Unwrap() error { return g.err }
