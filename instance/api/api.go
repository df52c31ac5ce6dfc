// Package api is how an instance speaks to the outside: Connect, gRPC and
// gRPC-Web for every service, REST and server-sent events under /api/v1,
// OpenAPI from the live schema, health, reflection and metrics, on one port.
//
// It decodes, calls access (or the part that answers), and encodes. It holds
// no rules: who may see what is the door's to say, and a hidden record gets
// here as not_found. What it must keep: nothing is read of a call before its
// token is verified; one table maps errors on every road; a cause that is not
// classified never leaves; no customer value reaches logs, metrics or URLs it
// writes. It must not know of SQL, Kafka or plugins; its sibling packages it
// knows as the interfaces of contract.go only.
package api

import (
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"meridian/proto/gen/meridian/exchange/v1/exchangev1connect"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
	"meridian/proto/gen/meridian/feed/v1/feedv1connect"
	"meridian/proto/gen/meridian/fleet/v1/fleetv1connect"
	"meridian/proto/gen/meridian/plugin/v1/pluginv1connect"
	"meridian/proto/gen/meridian/policy/v1/policyv1connect"
	"meridian/proto/gen/meridian/record/v1/recordv1connect"
	"meridian/proto/gen/meridian/schema/v1/schemav1connect"
)

const (
	maxMessage = 32 << 20 // one RPC message; loads send the largest
	maxBody    = 8 << 20  // one REST body
	maxBatch   = 1000     // records of one call
)

// server answers for one instance.
type server struct {
	Config
	metrics *metrics
	places  *places // for questions that take long
	exports *places // for exports
	mux     *http.ServeMux
	paths   []string // the registry: every path that is mounted, see mount
}

// New makes the handler of an instance's one port.
func New(c Config) http.Handler {
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	s := newServer(c)
	return withExecution(s.observe(s.recoverHTTP(s.mux)))
}

// newServer mounts every path there is.
func newServer(c Config) *server {
	s := &server{Config: c, metrics: newMetrics(c.Registry), places: newPlaces(c.Conns, 4), exports: newPlaces(c.Conns, 8), mux: http.NewServeMux()}
	s.mountRPC()
	s.mountREST()
	s.mountPages()
	return s
}

// mount is the only way onto the mux. The paths served under pattern enter the
// registry; the leak matrix fails for one that it does not try.
func (s *server) mount(pattern string, h http.Handler, paths ...string) {
	s.mux.Handle(pattern, h)
	s.paths = append(s.paths, paths...)
}

// services are the RPC services, as reflection and health name them.
func services() []string {
	return []string{
		recordv1connect.RecordServiceName, schemav1connect.SchemaServiceName, feedv1connect.FeedServiceName,
		exchangev1connect.ExchangeServiceName, policyv1connect.PolicyServiceName, policyv1connect.AuditServiceName, policyv1connect.ImpactServiceName,
		policyv1connect.BundleServiceName, policyv1connect.FactServiceName, policyv1connect.EmergencyServiceName, pluginv1connect.CatalogServiceName,
		facadev1connect.LoadServiceName, fleetv1connect.InstanceServiceName,
	}
}

// procedures are the paths of an RPC service that is served here.
func procedures(service string) []string {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if err != nil || !ok {
		return []string{"/" + service + "/"} // not one of ours that anybody may have
	}
	var out []string
	for i := range sd.Methods().Len() {
		out = append(out, "/"+service+"/"+string(sd.Methods().Get(i).Name()))
	}
	return out
}

func (s *server) mountRPC() {
	open := connect.WithHandlerOptions(
		connect.WithReadMaxBytes(maxMessage),
		connect.WithInterceptors(interceptor{s}),
	)
	guarded := connect.WithHandlerOptions(open, connect.WithRequestGate(s.gate))
	mount := func(prefix string, h http.Handler) {
		known := procedures(strings.Trim(prefix, "/"))
		s.mount(prefix, procedure(known, h), known...)
	}
	mount(recordv1connect.NewRecordServiceHandler(records{s}, guarded))
	mount(schemav1connect.NewSchemaServiceHandler(schemas{s}, guarded))
	mount(feedv1connect.NewFeedServiceHandler(feeds{s}, guarded))
	mount(exchangev1connect.NewExchangeServiceHandler(exchanges{s}, guarded))
	mount(policyv1connect.NewPolicyServiceHandler(policies{s}, guarded))
	mount(policyv1connect.NewAuditServiceHandler(audits{s}, guarded))
	mount(policyv1connect.NewImpactServiceHandler(impacts{s}, guarded))
	mount(policyv1connect.NewBundleServiceHandler(bundles{s}, guarded))
	mount(policyv1connect.NewFactServiceHandler(facts{s}, guarded))
	mount(policyv1connect.NewEmergencyServiceHandler(emergencies{s}, guarded))
	mount(pluginv1connect.NewCatalogServiceHandler(catalog{s}, guarded))
	mount(facadev1connect.NewLoadServiceHandler(loads{s}, guarded))
	mount(fleetv1connect.NewInstanceServiceHandler(fleet{s}, guarded))
	mount(newHealthHandler(s, open))
	reflector := grpcreflect.NewStaticReflector(append(services(), healthService)...)
	mount(grpcreflect.NewHandlerV1(reflector, open))
	mount(grpcreflect.NewHandlerV1Alpha(reflector, open))
}
