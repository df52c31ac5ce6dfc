// Package wire runs a plugin in a process of its own: Serve in the plugin's
// main, Start in the host. It speaks gRPC over a private unix socket with
// mutual TLS, by hashicorp/go-plugin, which no other package imports.
//
// A process is started only if its binary has the digest the caller names, is
// given nothing of the host's environment, and never outlives the host.
package wire

import (
	"context"
	"math"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginv1 "meridian/proto/gen/meridian/plugin/v1"

	"meridian/plugins"
)

// What host and plugin agree on before they talk. The protocol version rises
// when meridian.plugin.v1 gives way to a v2.
const (
	cookieKey       = "MERIDIAN_PLUGIN"
	cookieValue     = "2b1d5f64-plugin-of-an-instance"
	protocolVersion = 1
	dispensed       = "plugin"

	// lifelineEnv names the descriptor of a pipe whose other end only the host
	// holds: it breaks when the host is gone, however that went.
	lifelineEnv = "MERIDIAN_PLUGIN_LIFELINE"
)

func handshake() goplugin.HandshakeConfig {
	return goplugin.HandshakeConfig{MagicCookieKey: cookieKey, MagicCookieValue: cookieValue, ProtocolVersion: protocolVersion}
}

func versions(b *bridge) map[int]goplugin.PluginSet {
	return map[int]goplugin.PluginSet{protocolVersion: {dispensed: b}}
}

// bridge is how go-plugin makes the two ends: serving impl in the plugin,
// a remote in the host.
type bridge struct {
	goplugin.NetRPCUnsupportedPlugin
	impl plugins.Plugin
}

var _ goplugin.GRPCPlugin = (*bridge)(nil)

func (b *bridge) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	pluginv1.RegisterPluginServiceServer(s, &server{impl: b.impl})
	return nil
}

func (b *bridge) GRPCClient(ended context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &remote{client: pluginv1.NewPluginServiceClient(conn), ended: ended.Done()}, nil
}

// newServer lifts gRPC's 4 MiB limit on requests: the host bounds a batch by
// records, and one of them may hold a long text.
func newServer(opts []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(math.MaxInt32))...)
}

// server answers the host in the plugin's process.
type server struct {
	pluginv1.UnimplementedPluginServiceServer
	impl plugins.Plugin
}

func (s *server) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	return &pluginv1.DescribeResponse{Manifest: fromManifest(s.impl.Manifest())}, nil
}

func (s *server) Configure(ctx context.Context, r *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	if err := s.impl.Configure(ctx, r.GetInstance(), []byte(r.GetConfig())); err != nil {
		return nil, toStatus(err)
	}
	return &pluginv1.ConfigureResponse{}, nil
}

func (s *server) Invoke(ctx context.Context, r *pluginv1.InvokeRequest) (*pluginv1.InvokeResponse, error) {
	batch, err := toBatch(r)
	if err != nil {
		return nil, toStatus(err)
	}
	results, err := s.impl.Invoke(ctx, batch)
	if err != nil {
		return nil, toStatus(err)
	}
	return fromResults(results), nil
}

// remote is a plugin in another process, as the host sees it.
type remote struct {
	client   pluginv1.PluginServiceClient
	ended    <-chan struct{}
	manifest plugins.Manifest
}

func (r *remote) Manifest() plugins.Manifest { return r.manifest }

func (r *remote) describe(ctx context.Context) error {
	resp, err := r.client.Describe(ctx, &pluginv1.DescribeRequest{})
	if err != nil {
		return fromStatus(err)
	}
	r.manifest = toManifest(resp.GetManifest())
	return nil
}

func (r *remote) Configure(ctx context.Context, instance string, config []byte) error {
	_, err := r.client.Configure(ctx, &pluginv1.ConfigureRequest{Instance: instance, Config: string(config)})
	return fromStatus(err)
}

func (r *remote) Invoke(ctx context.Context, b plugins.Batch) ([]plugins.Result, error) {
	resp, err := r.client.Invoke(ctx, fromBatch(b))
	if err != nil {
		return nil, fromStatus(err)
	}
	return toResults(resp)
}
