package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"meridian/instance/api"
	"meridian/instance/crm"
	"meridian/instance/feed"
	"meridian/instance/pluginhost"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
	fleetv1 "meridian/proto/gen/meridian/fleet/v1"
	pluginv1 "meridian/proto/gen/meridian/plugin/v1"
)

// scrapeLimit is how long a metric may ask the database.
const scrapeLimit = 2 * time.Second

// watch gives the API the feed's events as its own.
func watch(f *feed.Feed) api.Watch {
	return func(ctx context.Context, caller crm.Caller, entity, filter string, emit func(api.Event) error) error {
		return f.Watch(ctx, caller, entity, filter, func(e feed.Event) error {
			return emit(api.Event(e))
		})
	}
}

// catalog gives the API the host's plugins in the words of plugin.v1.
type catalog struct{ host *pluginhost.Host }

func (c catalog) Status() []*pluginv1.PluginStatus {
	var out []*pluginv1.PluginStatus
	for _, p := range c.host.Status() {
		out = append(out, &pluginv1.PluginStatus{
			Name: p.Name, Version: p.Version, Digest: p.Digest, State: p.State, Pid: int32(p.PID), Restarts: p.Restarts,
			Steps: p.Steps, Slots: p.Slots, LastError: p.LastError, Mode: p.Mode,
		})
	}
	return out
}

// describe tells the state of the parts that can fail alone.
func (i *Instance) describe(ctx context.Context) *fleetv1.DescribeResponse {
	out := &fleetv1.DescribeResponse{Instance: i.config.Instance, Version: i.version}
	part := func(name string, err error, detail string) {
		p := &fleetv1.Part{Name: name, Ok: err == nil, Detail: detail}
		if err != nil {
			p.Detail = err.Error()
		}
		out.Parts = append(out.Parts, p)
	}
	engine, err := i.door.InForce(ctx)
	unproven, stopped, provenErr := i.door.Unproven(ctx)
	switch {
	case provenErr == nil && stopped:
		part("policy", fmt.Errorf("activation %d (%s by %s) of bundle %.12s has no proof: %s. Nothing is decided by it: officers go back with meridian policy rollback, or activate a proposal that two of them signed",
			unproven[0].Seq, unproven[0].Kind, cmp.Or(string(unproven[0].By), "the product"), unproven[0].Digest, unproven[0].Why), "")
	case err != nil:
		i.log.WarnContext(ctx, "policy in force", "error", err)
		part("policy", fmt.Errorf("cannot be loaded"), "")
	default:
		out.Bundle = engine.Digest()
		detail := out.Bundle[:12]
		for _, u := range unproven { // of what followed them something has a proof: they decide nothing any more
			detail += fmt.Sprintf("; activation %d had no proof: %s", u.Seq, u.Why)
		}
		part("policy", nil, detail)
	}
	// The driver's text may name hosts and users; an operator finds it in the log.
	if err := i.store.Ping(ctx); err != nil {
		i.log.WarnContext(ctx, "database does not answer", "error", err)
		part("database", fmt.Errorf("does not answer"), "")
	} else {
		part("database", nil, "answers")
		i.describeRoles(ctx, part)
		i.describeBI(ctx, part)
		i.describeGlass(ctx, part)
	}
	if i.host != nil {
		for _, p := range i.host.Status() {
			var err error
			if p.State != "ready" {
				err = fmt.Errorf("%s: %s", p.State, p.LastError)
			}
			part("plugin "+p.Name, err, p.Version)
		}
	}
	if i.exchange != nil {
		status, err := i.exchange.Status(ctx)
		if err != nil {
			i.log.WarnContext(ctx, "exchange status", "error", err)
			err = fmt.Errorf("does not answer")
		}
		part("exchange", err, exchangeDetail(status))
	}
	return out
}

// exchangeDetail is what the exchange has still to do, and others have to give
// back.
func exchangeDetail(s *exchangev1.GetStatusResponse) string {
	var owed int64
	for _, stream := range s.GetStreams() {
		owed += stream.GetUnacknowledgedRetractions()
	}
	detail := fmt.Sprintf("%d streams, %d changes to relay", len(s.GetStreams()), s.GetRelayBacklog())
	if owed > 0 {
		detail += fmt.Sprintf(", %d retractions not acknowledged", owed)
	}
	return detail
}

// describeRoles tells whether the database roles have what they need, and no
// more. A right too many is a warning: the instance serves.
func (i *Instance) describeRoles(ctx context.Context, part func(name string, err error, detail string)) {
	roles, err := i.store.DatabaseRoles(ctx)
	switch {
	case err != nil:
		i.log.WarnContext(ctx, "database roles", "error", err)
		part("database roles", fmt.Errorf("cannot be looked at"), "")
	case len(roles.Missing) > 0:
		part("database roles", errors.New(roles.String()), "")
	default:
		part("database roles", nil, roles.String())
	}
}

// describeGlass tells how much broken glass waits for an officer.
func (i *Instance) describeGlass(ctx context.Context, part func(name string, err error, detail string)) {
	waiting, overdue, err := i.store.EmergenciesWaiting(ctx)
	if err != nil {
		i.log.WarnContext(ctx, "broken glass", "error", err)
		part("break-glass", fmt.Errorf("cannot be looked at"), "")
		return
	}
	detail := fmt.Sprintf("%d wait for review", waiting)
	if overdue > 0 {
		detail += fmt.Sprintf(", %d of them for more than a week", overdue)
	}
	part("break-glass", nil, detail)
}

// metrics is the registry of this instance. Labels are bounded: no record, no
// subject, no value.
func (i *Instance) metrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "meridian_instance_info",
			Help:        "1; the labels name the instance and its build.",
			ConstLabels: prometheus.Labels{"instance": i.config.Instance, "version": i.version},
		}, func() float64 { return 1 }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "meridian_policy_faults_total",
			Help: "Questions that a rule of the policy in force had no answer to; they were denied. The log names the rule.",
		}, func() float64 { return float64(i.door.PolicyFaults()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "meridian_policy_unproven",
			Help: "1 while nothing proves that officers put the policy in force: nobody is answered. meridian policy history says why.",
		}, func() float64 {
			if i.door.PolicyUnproven() > 0 {
				return 1
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "meridian_breakglass_total",
			Help: "Times that somebody broke the glass to read a record. The log names who; officers review each (meridian breakglass list).",
		}, func() float64 { return float64(i.door.GlassBroken()) }),
	)
	if i.exchange != nil {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "meridian_exchange_retraction_unacknowledged_seconds",
			Help: "How long the oldest retraction waits for its destination to acknowledge it; 0 when none does, NaN when nobody can say. meridian exchange ledger --unacknowledged names them.",
		}, i.retractionAge))
	}
	return r
}

// retractionAge asks the database, which a scrape does not wait for long.
func (i *Instance) retractionAge() float64 {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	age, err := i.exchange.UnacknowledgedRetraction(ctx)
	if err != nil {
		i.log.WarnContext(ctx, "how long retractions wait cannot be told", "error", err)
		return math.NaN()
	}
	return age.Seconds()
}
