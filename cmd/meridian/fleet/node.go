package fleet

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	"meridian/instance/crm"
	"meridian/proto/gen/meridian/exchange/v1/exchangev1connect"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
	"meridian/proto/gen/meridian/plugin/v1/pluginv1connect"
	"meridian/proto/gen/meridian/policy/v1/policyv1connect"
	"meridian/proto/gen/meridian/record/v1/recordv1connect"
)

// node is one instance of a running fleet.
type node struct {
	Instance
	run   *run
	url   string
	child *child
}

func (n *node) configPath() string { return n.run.folder.file(n.Name, "instance.yaml") }
func (n *node) facadePath() string { return n.run.folder.file(n.Name, "filedrop.yaml") }
func (n *node) tokenPath() string  { return n.run.folder.secret(n.Name, "loader.token") }

// facadeConfig is the configuration of a filedrop process, as
// adapters/filedrop reads it.
type facadeConfig struct {
	Name      string       `yaml:"name"`
	Service   string       `yaml:"service"`
	TokenFile string       `yaml:"token_file"`
	Folder    string       `yaml:"folder"`
	Feeds     []facadeFeed `yaml:"feeds"`
}

type facadeFeed struct {
	Name    string `yaml:"name"`
	Files   string `yaml:"files"`
	Mapping string `yaml:"mapping"`
}

func (n *node) filedrop() facadeConfig {
	c := facadeConfig{
		Name: "filedrop@" + n.Name, Service: n.url, TokenFile: n.tokenPath(), Folder: n.run.folder.drop(n.Name),
	}
	for _, f := range n.Feeds {
		c.Feeds = append(c.Feeds, facadeFeed{Name: f.Name, Files: f.Name + "*.csv", Mapping: n.run.file.path(f.Mapping)})
	}
	return c
}

// loader is the identity of the facades: it upserts and reads nothing.
const loader = "loader"

func (n *node) renewLoaderToken() error {
	token, err := n.run.issuer.Issue(fullName(loader, n.Name), n.Name, 2*tokenRefresh)
	if err != nil {
		return err
	}
	return write(n.tokenPath(), []byte(token+"\n"))
}

// as is an HTTP client that calls the instance as one of its subjects.
func (n *node) as(short string) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: bearer{n, fullName(short, n.Name)}}
}

// bearer signs every call with a token that lives a minute.
type bearer struct {
	node    *node
	subject crm.SubjectID
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.node.run.issuer.Issue(b.subject, b.node.Name, time.Minute)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return http.DefaultTransport.RoundTrip(r)
}

func (n *node) loads() facadev1connect.LoadServiceClient {
	return facadev1connect.NewLoadServiceClient(n.as("ops"), n.url)
}

func (n *node) exchange() exchangev1connect.ExchangeServiceClient {
	return exchangev1connect.NewExchangeServiceClient(n.as("ops"), n.url)
}

func (n *node) plugins() pluginv1connect.CatalogServiceClient {
	return pluginv1connect.NewCatalogServiceClient(n.as("ops"), n.url)
}

func (n *node) policy(officer string) policyv1connect.PolicyServiceClient {
	return policyv1connect.NewPolicyServiceClient(n.as(officer), n.url)
}

func (n *node) records(persona string) recordv1connect.RecordServiceClient {
	return recordv1connect.NewRecordServiceClient(n.as(persona), n.url)
}

// serving says whether the instance is ready for calls.
func (n *node) serving(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// binary is the path of one of our programs.
func (r *run) binary(name string) string { return filepath.Join(r.Binaries, name) }

// unavailable says whether a call failed because the instance is away for the
// moment, as while it is restarted.
func unavailable(err error) bool {
	code := connect.CodeOf(err)
	return code == connect.CodeUnavailable || code == connect.CodeDeadlineExceeded
}

func at(n *node, what string, err error) error { return fmt.Errorf("%s: %s: %w", n.Name, what, err) }
