package api

import (
	"context"
	"slices"
	"sync"
	"time"

	"meridian/instance/crm"
	"meridian/proto/gen/meridian/policy/v1/policyv1connect"
)

// heavy are the questions that look at everybody, at everything or at what was:
// each keeps a connection to the database for long. Exports, whichever way they
// are asked for, have places of their own: they are everybody's, and whoever
// reads theirs slowly keeps no officer from asking.
var heavy = []string{
	policyv1connect.ImpactServiceImpactProcedure, policyv1connect.ImpactServiceImpactRecordsProcedure, policyv1connect.ImpactServiceReplayProcedure,
	policyv1connect.ImpactServicePastSubjectProcedure, policyv1connect.ImpactServicePastRecordProcedure,
	policyv1connect.FactServiceForecastProcedure, policyv1connect.FactServiceReorganiseProcedure,
	policyv1connect.BundleServiceExamineProcedure, policyv1connect.BundleServiceProposeProcedure,
	policyv1connect.PolicyServiceTestBundleProcedure, policyv1connect.PolicyServiceCheckBundleProcedure,
	policyv1connect.PolicyServiceExplainRecordProcedure, policyv1connect.PolicyServiceExplainSubjectProcedure,
	policyv1connect.AuditServiceVerifyProcedure,
}

const (
	heavyConns   = 16 // of the database, where nobody says how many there are
	heavyPatient = 8 * time.Second
	heavyAgain   = 10 * time.Second
)

// places bound the heavy questions under way: a quarter of the connections, and
// half of those to one caller, so that reads and writes of everybody find one.
type places struct {
	all, each int

	mu    sync.Mutex
	taken int
	of    map[crm.SubjectID]int
	left  chan struct{} // closed when somebody leaves
}

func newPlaces(conns, part int) *places {
	if conns <= 0 {
		conns = heavyConns
	}
	all := max(1, conns/part)
	return &places{all: all, each: max(1, all/2), of: map[crm.SubjectID]int{}, left: make(chan struct{})}
}

// take waits a little for a place. leave gives it back; the end of the call does,
// however it ends.
func (p *places) take(ctx context.Context, who crm.SubjectID) (leave func(), err error) {
	patience := time.NewTimer(heavyPatient)
	defer patience.Stop()
	for {
		left, full := p.try(who)
		if full == "" {
			return func() { p.leave(who) }, nil
		}
		select {
		case <-left:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-patience.C:
			return nil, &crm.Error{Kind: crm.Unavailable, Msg: full, RetryAfter: heavyAgain}
		}
	}
}

// try takes a place, or says why there is none and what to wait for.
func (p *places) try(who crm.SubjectID) (left <-chan struct{}, full string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.of[who] >= p.each:
		return p.left, "you are asking another question that takes long; wait for its answer, or end it"
	case p.taken >= p.all:
		return p.left, "as many questions that take long are being answered as this instance answers at a time; try again in a moment"
	}
	p.taken++
	p.of[who]++
	return nil, ""
}

func (p *places) leave(who crm.SubjectID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.of[who]--; p.of[who] == 0 {
		delete(p.of, who)
	}
	close(p.left)
	p.left = make(chan struct{})
}

// seated runs a call that needs a place if it is heavy.
func (s *server) seated(ctx context.Context, procedure string, call func() error) error {
	if !slices.Contains(heavy, procedure) {
		return call()
	}
	return s.seat(ctx, s.places, call)
}

// seat runs a heavy call in a place of its own.
func (s *server) seat(ctx context.Context, among *places, call func() error) error {
	leave, err := among.take(ctx, callerOf(ctx).Subject)
	if err != nil {
		return err
	}
	defer leave()
	s.metrics.heavy.Inc()
	defer s.metrics.heavy.Dec()
	return call()
}
