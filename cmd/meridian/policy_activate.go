package main

import (
	"context"
	"errors"
	"fmt"
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
	Instances []string      `help:"Over these instances, one after the other: amer,emea,apac."`
	Bake      time.Duration `default:"0s" help:"How long each instance is watched before the next; on trouble those done are rolled back."`
}

// stage is what became of one instance.
type stage struct {
	Instance   string `json:"instance"`
	Activation int64  `json:"activation,omitempty"`
	Bundle     string `json:"bundle,omitempty"`
	State      string `json:"state"`
	Detail     string `json:"detail,omitempty"`
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
	stages := make([]stage, len(stands))
	var failure error
	for i, at := range stands {
		stages[i] = stage{Instance: at.place.Instance, State: "not begun"}
		if failure != nil {
			continue
		}
		if failure = a.one(ctx, at, &stages[i]); failure != nil {
			a.undo(ctx, stands[:i+1], stages)
		}
	}
	if a.JSON {
		err = printJSON(out.Stdout, stages)
	} else {
		t := table{headings: []string{"INSTANCE", "ACTIVATION", "BUNDLE", "STATE", "DETAIL"}}
		for _, s := range stages {
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

// one activates at one instance and watches it.
func (a policyActivateCmd) one(ctx context.Context, at stand, s *stage) error {
	before, err := pulse(ctx, at, time.Now().Add(-max(a.Bake, time.Minute)))
	if err != nil {
		s.State, s.Detail = "failed", brief(err)
		return err
	}
	resp, err := at.bundles.Activate(ctx, &policyv1.ActivateRequest{Id: a.ID, Reason: a.Reason})
	if err != nil {
		s.State, s.Detail = "refused", "see below"
		return err
	}
	s.Activation, s.Bundle, s.State = resp.GetActivation().GetSequence(), resp.GetActivation().GetDigest(), "in force"
	if a.Bake == 0 {
		return nil
	}
	since := resp.GetActivation().GetAt().AsTime()
	end := time.Now().Add(a.Bake)
	tick := time.NewTicker(min(time.Second, a.Bake))
	defer tick.Stop()
	for {
		unwell, err := a.watch(ctx, at, s, since, before)
		over := time.Since(end)
		if err == nil && over > settling {
			err = unwell
		}
		if err != nil {
			s.State, s.Detail = "failed", brief(err)
			return fmt.Errorf("%s: %w", s.Instance, err)
		}
		if unwell == nil && over >= 0 {
			s.State = "baked " + a.Bake.String()
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
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
func (policyActivateCmd) watch(ctx context.Context, at stand, s *stage, since time.Time, before refusals) (unwell, err error) {
	health, err := at.instance.Describe(ctx, &fleetv1.DescribeRequest{})
	if err != nil {
		return nil, err
	}
	for _, p := range health.GetParts() {
		if !p.GetOk() {
			unwell = crm.Errorf(crm.Unavailable, "%s: %s", p.GetName(), p.GetDetail())
		}
	}
	if health.GetBundle() != s.Bundle {
		return unwell, crm.Errorf(crm.Conflict, "in force is %.12s, not %.12s", health.GetBundle(), s.Bundle)
	}
	now, err := pulse(ctx, at, since)
	if err != nil {
		return unwell, err
	}
	share := func(r refusals) float64 { return float64(r.refused) / float64(max(r.all, 1)) }
	s.Detail = fmt.Sprintf("%d of %d decisions were refusals, before %d of %d", now.refused, now.all, before.refused, before.all)
	if now.all >= tellingDecisions && share(now) > share(before)+risingShare {
		return unwell, crm.Errorf(crm.Conflict, "too many refusals: %s", s.Detail)
	}
	return unwell, nil
}

// undo rolls back what was activated, the last one first.
func (a policyActivateCmd) undo(ctx context.Context, stands []stand, stages []stage) {
	for i := len(stands) - 1; i >= 0; i-- {
		s := &stages[i]
		if s.Activation == 0 {
			continue
		}
		at := stands[i]
		base := at.place.Base
		at.place.After, at.place.Base = s.Activation, s.Bundle
		done, err := a.back(ctx, at, base, "an instance failed while the bundle was staged")
		if e, _ := errorOf(err); e != nil && e.Kind == crm.Stale && a.left(ctx, at, s) {
			continue
		}
		if err != nil {
			s.State, s.Detail = "NOT ROLLED BACK", brief(err)
			continue
		}
		s.State, s.Activation, s.Bundle, s.Detail = "rolled back", done.GetSequence(), done.GetDigest(), ""
	}
}

// left says whether somebody else has taken the bundle out of force meanwhile,
// and notes what is in force since.
func (policyActivateCmd) left(ctx context.Context, at stand, s *stage) bool {
	life, err := at.bundles.GetLife(ctx, &policyv1.GetLifeRequest{Limit: 1})
	if err != nil || len(life.GetActivations()) == 0 || life.GetActivations()[0].GetDigest() == s.Bundle {
		return false
	}
	now := life.GetActivations()[0]
	s.State, s.Detail = "replaced meanwhile", fmt.Sprintf("%s by %s: %s", now.GetKind(), now.GetBy(), clipped(now.GetReason(), 50))
	s.Activation, s.Bundle = now.GetSequence(), now.GetDigest()
	return true
}
