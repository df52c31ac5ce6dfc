package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"meridian/instance/crm"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// retryEvery is how long nothing is asked of an instance that did not answer.
const retryEvery = 500 * time.Millisecond

// undo rolls back what was activated up to an instance, the last one first. It
// goes on after Ctrl-C, which is why it may be called; a second one ends it.
func (s *staging) undo(ctx context.Context, last int) {
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var silent []int
	for i := last; i >= 0; i-- {
		if s.stages[i].Activation == 0 && s.stages[i].State != notKnown {
			continue
		}
		s.say("%s: rolling back; Ctrl-C ends that", s.stages[i].Instance)
		if !s.goBack(ctx, i) {
			silent = append(silent, i)
		}
	}
	end, cancel := context.WithTimeout(ctx, undoWithin)
	defer cancel()
	for _, i := range silent { // when all that answer are back
		s.say("%s: has not answered; asking again for %s. Ctrl-C ends that", s.stages[i].Instance, undoWithin)
		for !s.goBack(end, i) && end.Err() == nil {
			select {
			case <-end.Done():
			case <-time.After(retryEvery):
			}
		}
	}
}

// goBack rolls one instance back, or finds that it need not be. It is false
// while the instance does not say what is in force.
func (s *staging) goBack(ctx context.Context, i int) bool {
	at, stage := s.stands[i], &s.stages[i]
	life, err := at.life(ctx)
	if err != nil || len(life.GetActivations()) == 0 {
		return s.doubt(stage, at, err)
	}
	now := life.GetActivations()[0]
	next := at.place.After + 1 // which the activation is, if it took force
	switch {
	case now.GetSequence() == at.place.After && life.GetNow().AsTime().Before(stage.until):
		return s.doubt(stage, at, fmt.Errorf("it may still do it until %s", stage.until.UTC().Format(time.TimeOnly)))
	case now.GetSequence() == at.place.After:
		stage.State, stage.Activation, stage.Bundle, stage.Detail = "not activated", 0, "", ""
		return true
	case now.GetSequence() != next || now.GetDigest() != s.digest:
		stage.State, stage.Detail = "replaced meanwhile", fmt.Sprintf("%s by %s: %s", now.GetKind(), now.GetBy(), clipped(now.GetReason(), 50))
		if now.GetKind() == "rollback" && now.GetSequence() == next+1 && now.GetDigest() == at.place.Base && now.GetReason() == whyBack {
			stage.State, stage.Detail = "rolled back", "" // by what was sent before, and had no answer
		}
		stage.Activation, stage.Bundle = now.GetSequence(), now.GetDigest()
		return true
	}
	stage.Activation, stage.Bundle = next, s.digest
	base := at.place.Base
	at.place.After, at.place.Base = next, s.digest
	done, err := within(ctx, answerWithin+activateWithin, stage.Instance, func(ctx context.Context) (*policyv1.Activation, error) {
		return s.back(ctx, at, base, whyBack)
	})
	if e, _ := errorOf(err); err != nil && (e == nil || e.Kind == crm.Unavailable || e.Kind == crm.Stale) {
		return s.doubt(stage, at, err)
	}
	if err != nil {
		stage.State, stage.Detail = "NOT ROLLED BACK", brief(err)
		return true
	}
	stage.State, stage.Activation, stage.Bundle, stage.Detail = "rolled back", done.GetSequence(), done.GetDigest(), ""
	return true
}

const whyBack = "an instance failed while the bundle was staged"

// doubt notes what is not known of an instance, and what to do about it.
func (s *staging) doubt(stage *stage, at stand, err error) bool {
	why := "it does not say what is in force"
	if err != nil {
		why = brief(err)
	}
	look := fmt.Sprintf("%s. When it answers: meridian policy history --as %s, and meridian policy rollback --reason ... if bundle %.12s is in force", why, s.at(stage.Instance).As, s.digest)
	if stage.Activation > 0 {
		stage.State, stage.Detail = "NOT ROLLED BACK", look
	} else {
		stage.State, stage.Detail = notKnown, fmt.Sprintf("%s; after %s by its clock it does not begin any more", look, stage.until.UTC().Format("15:04:05 MST"))
	}
	return false
}
