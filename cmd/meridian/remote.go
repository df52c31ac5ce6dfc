package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"meridian/cmd/meridian/fleet"
	"meridian/instance/api"
	"meridian/instance/crm"
	"meridian/proto/gen/meridian/exchange/v1/exchangev1connect"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
	"meridian/proto/gen/meridian/feed/v1/feedv1connect"
	"meridian/proto/gen/meridian/fleet/v1/fleetv1connect"
	"meridian/proto/gen/meridian/plugin/v1/pluginv1connect"
	"meridian/proto/gen/meridian/policy/v1/policyv1connect"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/gen/meridian/record/v1/recordv1connect"
	"meridian/proto/gen/meridian/schema/v1/schemav1connect"
)

// remote is how a verb finds an instance and who asks: flags of every verb
// that is a client of the public API.
type remote struct {
	As       crm.SubjectID `short:"u" env:"MERIDIAN_AS" placeholder:"PERSONA@INSTANCE" help:"Who asks, as rep.west@amer. The token is made with the keys in --data. ($$MERIDIAN_AS)"`
	Instance string        `short:"i" env:"MERIDIAN_INSTANCE" placeholder:"NAME" help:"Instance of the fleet in --data; the one in --as if absent."`
	Data     string        `env:"MERIDIAN_DATA" default:"./.meridian" help:"Data folder of a fleet on this machine."`
	URL      string        `env:"MERIDIAN_URL" placeholder:"URL" help:"Address of an instance elsewhere."`
	Token    string        `env:"MERIDIAN_TOKEN" placeholder:"JWT" help:"Token to send, if not made from --as. Better in $$MERIDIAN_TOKEN than on the command line."`
	JSON     bool          `help:"Print JSON for programs."`
}

// tokenLife is enough for the longest call; a watch is opened again.
const tokenLife = 12 * time.Hour

// dial finds the instance and the token. It does not connect yet.
func (r remote) dial() (*clients, error) {
	if r.As == "" && r.Token == "" {
		return nil, crm.Errorf(crm.Invalid, "say who asks: --as rep.west@amer, or --token and --url")
	}
	name := r.Instance
	if r.As != "" && name == "" && r.URL == "" {
		_, home, err := fleet.SplitSubject(r.As)
		if err != nil {
			return nil, err
		}
		name = home
	}
	base := r.URL
	if base == "" {
		if name == "" {
			return nil, crm.Errorf(crm.Invalid, "say where: --instance amer, or --url http://127.0.0.1:7001")
		}
		at, err := endpoint(r.Data, name)
		if err != nil {
			return nil, err
		}
		base = at
	}
	token := r.Token
	if token == "" {
		made, err := issueToken(r.Data, r.As, tokenLife)
		if err != nil {
			return nil, err
		}
		token = made
	}
	return newClients(base, token), nil
}

// clients speak to one instance as one subject.
type clients struct {
	base     string
	token    bearer
	http     *http.Client
	records  recordv1connect.RecordServiceClient
	schema   schemav1connect.SchemaServiceClient
	feed     feedv1connect.FeedServiceClient
	policy   policyv1connect.PolicyServiceClient
	audit    policyv1connect.AuditServiceClient
	bundles  policyv1connect.BundleServiceClient
	impact   policyv1connect.ImpactServiceClient
	facts    policyv1connect.FactServiceClient
	glass    policyv1connect.EmergencyServiceClient
	exchange exchangev1connect.ExchangeServiceClient
	plugins  pluginv1connect.CatalogServiceClient
	loads    facadev1connect.LoadServiceClient
	instance fleetv1connect.InstanceServiceClient
}

func newClients(base, token string) *clients {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // records go to the instance and nowhere else
	c := &clients{base: strings.TrimRight(base, "/"), token: bearer(token), http: &http.Client{Transport: transport}}
	opts := connect.WithInterceptors(c.token)
	c.records = recordv1connect.NewRecordServiceClient(c.http, c.base, opts)
	c.schema = schemav1connect.NewSchemaServiceClient(c.http, c.base, opts)
	c.feed = feedv1connect.NewFeedServiceClient(c.http, c.base, opts)
	c.policy = policyv1connect.NewPolicyServiceClient(c.http, c.base, opts)
	c.bundles = policyv1connect.NewBundleServiceClient(c.http, c.base, opts)
	c.audit = policyv1connect.NewAuditServiceClient(c.http, c.base, opts)
	c.impact = policyv1connect.NewImpactServiceClient(c.http, c.base, opts)
	c.facts = policyv1connect.NewFactServiceClient(c.http, c.base, opts)
	c.exchange = exchangev1connect.NewExchangeServiceClient(c.http, c.base, opts)
	c.glass = policyv1connect.NewEmergencyServiceClient(c.http, c.base, opts)
	c.plugins = pluginv1connect.NewCatalogServiceClient(c.http, c.base, opts)
	c.loads = facadev1connect.NewLoadServiceClient(c.http, c.base, opts)
	c.instance = fleetv1connect.NewInstanceServiceClient(c.http, c.base, opts)
	return c
}

// bearer puts the token and a fresh execution ID on every call, and turns
// answers into errors that know their kind.
type bearer string

func (b bearer) header(h http.Header) {
	h.Set("Authorization", "Bearer "+string(b))
	var id [24]byte
	_, _ = rand.Read(id[:]) // crypto/rand does not fail
	h.Set("Traceparent", "00-"+hex.EncodeToString(id[:16])+"-"+hex.EncodeToString(id[16:])+"-01")
}

// WrapUnary implements connect.Interceptor.
func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		b.header(req.Header())
		return next(ctx, req)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		b.header(conn.RequestHeader())
		return conn
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// Exit codes beyond those of every command, by what the caller can do.
const (
	exitNotFound    = 3
	exitDenied      = 4
	exitConflict    = 5
	exitUnavailable = 6
)

// exitCodeHelp ends the help of the command line.
const exitCodeHelp = `Exit codes: 0 done, 1 failed, 2 wrong usage or invalid input, 3 not found or hidden, 4 denied or no valid token, 5 conflict, stale version or not the home of the record, 6 unavailable.`

// explainError is err for people, and the exit code for scripts.
func explainError(err error) (text string, code int) {
	e, execution := errorOf(err)
	if e == nil {
		return err.Error(), exitFailed
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s", indented(e.Error()))
	for _, r := range e.Reasons {
		if r == e.Msg {
			continue
		}
		fmt.Fprintf(&b, "\n  because: %s", indented(r))
	}
	if e.Home != "" {
		fmt.Fprintf(&b, "\n  write it at: %s", e.Home)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, "\n  try again in: %s", e.RetryAfter)
	}
	if execution != "" {
		fmt.Fprintf(&b, "\n  execution: %s", execution)
	}
	return b.String(), exitCodeOf(e.Kind)
}

func exitCodeOf(k crm.Kind) int {
	switch k {
	case crm.Invalid:
		return exitUsage
	case crm.NotFound:
		return exitNotFound
	case crm.Denied, crm.Unauthenticated:
		return exitDenied
	case crm.Conflict, crm.Stale, crm.NotHome, crm.PreconditionRequired:
		return exitConflict
	case crm.Unavailable:
		return exitUnavailable
	}
	return exitFailed
}

// errorOf is the classified error in err's chain, nil without one.
func errorOf(err error) (*crm.Error, string) {
	if r, ok := errors.AsType[*rowError](err); ok {
		return api.ErrorOfDetail(r.detail), r.detail.GetExecutionId()
	}
	if e, ok := errors.AsType[*crm.Error](err); ok {
		return e, ""
	}
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		return api.ErrorOf(ce)
	}
	return nil, ""
}

// rowError is the error of one row of a batch.
type rowError struct{ detail *recordv1.ErrorDetail }

func (e *rowError) Error() string { return e.detail.GetMessage() }

// one is the only row of a batch of one.
func one(results []*recordv1.Result) (*recordv1.Record, error) {
	if len(results) != 1 {
		return nil, fmt.Errorf("the instance answered %d rows for one", len(results))
	}
	if d := results[0].GetError(); d != nil {
		return nil, &rowError{d}
	}
	return results[0].GetRecord(), nil
}
