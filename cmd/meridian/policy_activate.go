package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	fleetv1 "meridian/proto/gen/meridian/fleet/v1"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

type policyActivateCmd struct {
	officer
	ID        string        `arg:"" help:"The proposal, by the beginning of its id."`
	Reason    string        `help:"Why now; the proposal's note if absent."`
	Instances []string      `help:"Over these instances, one after the other: amer,emea,apac. With --json one array of stages."`
	Bake      time.Duration `default:"0s" help:"How long each instance is watched before the next; on trouble those done are rolled back."`
}

// Help says what happens when it does not go well.
func (policyActivateCmd) Help() string {
	return `Over several instances it goes one by one: all must answer before the first is touched, and all are watched
while one bakes. When one fails or stops answering, or you press Ctrl-C, those that are done are rolled back;
a second Ctrl-C ends at once. An instance that stood still does not activate later what it was asked to: the
request ends after 20 seconds by its own clock. Where that is not known for certain the command says where to look.

  meridian policy activate 3f2a91c0 --as officer.a@amer
  meridian policy activate 3f2a91c0 --instances amer,emea,apac --bake 10s --as officer.a@amer`
}

// How long an instance may take: to answer a question, to carry out an
// activation, and to be rolled back with everything that is asked about it.
const (
	answerWithin   = 5 * time.Second
	activateWithin = 20 * time.Second
	undoWithin     = time.Minute
)

// within runs one call to an instance. One that does not answer in time is
// said to be silent: it may stand still, and carry out later what it was asked.
func within[T any](ctx context.Context, limit time.Duration, instance string, call func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := call(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = crm.Errorf(crm.Unavailable, "%s has not answered for %s", instance, limit)
	}
	return answer, err
}

// stage is what became of one instance.
type stage struct {
	Instance   string `json:"instance"`
	Activation int64  `json:"activation,omitempty"`
	Bundle     string `json:"bundle,omitempty"`
	State      string `json:"state"`
	Detail     string `json:"detail,omitempty"`

	until time.Time // of a request without an answer: it is carried out no later, by the instance's clock
}

// staging is an activation under way.
type staging struct {
	policyActivateCmd
	stands []stand
	stages []stage
	digest string    // of the bundle that is proposed
	log    io.Writer // says what is waited for
}

// Run activates, instance by instance. When one fails, those done go back.
func (a policyActivateCmd) Run(ctx context.Context, out output) error {
	stands, err := a.stands(ctx, a.Instances)
	if err != nil {
		return err
	}
	if len(stands) > 1 || a.Bake > 0 {
		if _, err := a.private(); err != nil { // before anything changes: going back needs a signature
			return err
		}
	}
	s := staging{policyActivateCmd: a, stands: stands, stages: make([]stage, len(stands)), log: out.Stderr}
	p, err := within(ctx, answerWithin, stands[0].place.Instance, func(ctx context.Context) (*policyv1.GetProposalResponse, error) {
		return stands[0].bundles.GetProposal(ctx, &policyv1.GetProposalRequest{Id: a.ID})
	})
	if err != nil {
		return err
	}
	s.digest = p.GetProposal().GetAbout()
	var failure error
	for i, at := range stands {
		s.stages[i] = stage{Instance: at.place.Instance, State: "not begun"}
	}
	for i := range stands {
		if failure = s.one(ctx, i); failure != nil {
			if ctx.Err() != nil { // not the context's error: that one ends in silence, and this did not
				failure = crm.Errorf(crm.Unavailable, "interrupted while %s was activated", s.stages[i].Instance)
			}
			s.undo(ctx, i)
			break
		}
	}
	if a.JSON {
		err = printJSON(out.Stdout, s.stages)
	} else {
		t := table{headings: []string{"INSTANCE", "ACTIVATION", "BUNDLE", "STATE", "DETAIL"}}
		for _, s := range s.stages {
			number := ""
			if s.Activation > 0 {
				number = fmt.Sprint(s.Activation)
			}
			t.add(s.Instance, number, fmt.Sprintf("%.12s", s.Bundle), s.State, s.Detail)
		}
		t.print(out.Stdout, "")
	}
	return errors.Join(err, failure)
}

// say tells what is waited for, beside the results.
func (s *staging) say(format string, args ...any) { fmt.Fprintf(s.log, format+"\n", args...) }

// one activates at one instance and watches it, and the others with it.
func (s *staging) one(ctx context.Context, i int) error {
	at, stage := s.stands[i], &s.stages[i]
	before, err := within(ctx, answerWithin, stage.Instance, func(ctx context.Context) (refusals, error) {
		return pulse(ctx, at, time.Now().Add(-max(s.Bake, time.Minute)))
	})
	if err != nil {
		stage.State, stage.Detail = "failed", brief(err)
		return err
	}
	stage.until = time.Now().Add(at.ahead + activateWithin)
	s.say("%s: activating, for %s at most", stage.Instance, activateWithin)
	resp, err := within(ctx, activateWithin+answerWithin, stage.Instance, func(ctx context.Context) (*policyv1.ActivateResponse, error) {
		return at.bundles.Activate(ctx, &policyv1.ActivateRequest{Id: s.ID, Reason: s.Reason, NotAfter: timestamppb.New(stage.until)})
	})
	if err != nil {
		stage.State, stage.Detail = "refused", "see below"
		if e, _ := errorOf(err); ctx.Err() != nil || e == nil || e.Kind == crm.Unavailable || e.Kind == crm.Internal {
			stage.State, stage.Detail = notKnown, brief(err)
		}
		return err
	}
	stage.Activation, stage.Bundle, stage.State = resp.GetActivation().GetSequence(), resp.GetActivation().GetDigest(), "in force"
	if s.Bake == 0 {
		return nil
	}
	s.say("%s: in force since activation %d; watching all for %s", stage.Instance, stage.Activation, s.Bake)
	return s.bake(ctx, i, resp.GetActivation().GetAt().AsTime(), before)
}

// notKnown is the state of an instance that did not say what it did.
const notKnown = "NOT KNOWN"

// bake watches an instance under its new bundle, and that the others answer.
func (s *staging) bake(ctx context.Context, i int, since time.Time, before refusals) error {
	stage := &s.stages[i]
	end := time.Now().Add(s.Bake)
	tick := time.NewTicker(min(time.Second, s.Bake))
	defer tick.Stop()
	for {
		unwell, err := s.watch(ctx, s.stands[i], stage, since, before)
		if err == nil {
			err = s.others(ctx, i)
		}
		over := time.Since(end)
		if err == nil && over > settling {
			err = unwell
		}
		if err != nil {
			stage.State, stage.Detail = "failed", brief(err)
			if strings.HasPrefix(brief(err), stage.Instance) {
				return err
			}
			return fmt.Errorf("%s: %w", stage.Instance, err)
		}
		if unwell == nil && over >= 0 {
			stage.State = "baked " + s.Bake.String()
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// others fails when another instance does not answer, or one that is done has
// another bundle in force: what is staged is for all of them.
func (s *staging) others(ctx context.Context, but int) error {
	failed := make(chan error, len(s.stands))
	for i, at := range s.stands {
		if i == but {
			failed <- nil
			continue
		}
		go func() {
			life, err := at.life(ctx)
			if done := s.stages[i]; err == nil && i < but && life.GetActivations()[0].GetDigest() != done.Bundle {
				err = crm.Errorf(crm.Conflict, "%s has bundle %.12s in force meanwhile, not %.12s", done.Instance, life.GetActivations()[0].GetDigest(), done.Bundle)
			}
			failed <- err
		}()
	}
	var err error
	for range s.stands {
		err = errors.Join(err, <-failed)
	}
	return err
}

// brief is an error for a line of a table.
func brief(err error) string {
	if e, _ := errorOf(err); e != nil {
		return printable(e.Error())
	}
	return printable(err.Error())
}

// refusals is how many of the decisions since a time were refusals.
type refusals struct{ refused, all int64 }

func pulse(ctx context.Context, at stand, since time.Time) (refusals, error) {
	p, err := at.bundles.GetPulse(ctx, &policyv1.GetPulseRequest{Since: timestamppb.New(since)})
	return refusals{p.GetRefused(), p.GetAllowed() + p.GetRefused()}, err
}

// Refusals are trouble when there are so many that they tell something, and
// their share rose by so much.
const (
	tellingDecisions = 20
	risingShare      = 0.2
)

// settling is how long a part may take, after the bake, to follow the new
// policy: BI views are made anew, streams look at everything again.
const settling = 20 * time.Second

// watch looks at an instance under its new bundle: what is unwell may settle,
// an error may not.
func (s *staging) watch(ctx context.Context, at stand, done *stage, since time.Time, before refusals) (unwell, err error) {
	health, err := within(ctx, answerWithin, done.Instance, func(ctx context.Context) (*fleetv1.DescribeResponse, error) {
		return at.instance.Describe(ctx, &fleetv1.DescribeRequest{})
	})
	if err != nil {
		return nil, err
	}
	for _, p := range health.GetParts() {
		if !p.GetOk() {
			unwell = crm.Errorf(crm.Unavailable, "%s: %s", p.GetName(), p.GetDetail())
		}
	}
	if health.GetBundle() != done.Bundle {
		return unwell, crm.Errorf(crm.Conflict, "in force is %.12s, not %.12s", health.GetBundle(), done.Bundle)
	}
	now, err := within(ctx, answerWithin, done.Instance, func(ctx context.Context) (refusals, error) { return pulse(ctx, at, since) })
	if err != nil {
		return unwell, err
	}
	share := func(r refusals) float64 { return float64(r.refused) / float64(max(r.all, 1)) }
	done.Detail = fmt.Sprintf("%d of %d decisions were refusals, before %d of %d", now.refused, now.all, before.refused, before.all)
	if now.all >= tellingDecisions && share(now) > share(before)+risingShare {
		return unwell, crm.Errorf(crm.Conflict, "too many refusals: %s", done.Detail)
	}
	return unwell, nil
}
