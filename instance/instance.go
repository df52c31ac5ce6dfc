// Package instance is one running CRM: the only place where the parts meet.
//
// Open builds them bottom up, Run serves until its context ends, Close takes
// them down in reverse. Everything is wired by hand, top to bottom, so that a
// reader sees the whole instance in one file. It holds no rules.
package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"meridian/instance/access"
	"meridian/instance/api"
	"meridian/instance/exchange"
	"meridian/instance/feed"
	"meridian/instance/identity"
	"meridian/instance/load"
	"meridian/instance/pluginhost"
	"meridian/instance/store"
	"meridian/instance/store/schema"
	"meridian/policy"
)

const (
	drain      = 7 * time.Second // how long running requests may take after a stop
	tidyEvery  = store.OutboxKept
	headerTime = 10 * time.Second // how long a client may take to send its headers
)

// Instance is one CRM with its parts.
type Instance struct {
	config   Config
	version  string
	log      *slog.Logger
	store    *store.Store
	host     *pluginhost.Host // nil without plugins
	door     *access.Door
	feed     *feed.Feed
	exchange *exchange.Exchange // nil without brokers
	readers  []store.BIReader   // logins of BI tools
	handler  http.Handler
}

// Open connects to the database, brings schema and declared facts up to date,
// compiles the policy, and starts the plugins. On an error nothing is left
// running.
func Open(ctx context.Context, c Config, version string, log *slog.Logger) (_ *Instance, err error) {
	i := &Instance{config: c, version: version, log: log}
	defer func() {
		if err != nil {
			i.Close()
		}
	}()

	url, owner, err := c.Database.URLs()
	if err != nil {
		return nil, err
	}
	key, err := c.Audit.Key()
	if err != nil {
		return nil, err
	}
	i.store, err = store.Open(ctx, store.Config{URL: url, OwnerURL: owner, MaxConns: c.Database.MaxConns, Instance: c.Instance, AuditKey: key, Log: log})
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if err := i.store.Install(ctx, schema.Common()); err != nil {
		return nil, fmt.Errorf("install the schema: %w", err)
	}
	if i.readers, err = c.readers(); err != nil {
		return nil, err
	}
	if err := i.store.PrepareBI(ctx, i.readers); err != nil {
		return nil, fmt.Errorf("prepare the views of BI tools: %w", err)
	}
	if err := i.store.Reconcile(ctx, c.Facts()); err != nil {
		return nil, fmt.Errorf("reconcile the declared facts: %w", err)
	}
	if err := i.tellOverridden(ctx); err != nil {
		return nil, fmt.Errorf("compare the declared facts: %w", err)
	}
	officers, err := i.trustOfficers(ctx)
	if err != nil {
		return nil, err
	}
	engine, err := i.adopt(ctx, policy.Embedded())
	if err != nil {
		return nil, err
	}
	var hooks access.Hooks
	if len(c.Plugins.Use) > 0 {
		if i.host, err = i.startPlugins(ctx); err != nil {
			return nil, err
		}
		hooks = i.host
	}
	i.door = access.New(access.Config{Instance: c.Instance, Store: i.store, Engine: engine, Hooks: hooks, Log: log,
		Officers: officers, Delivered: c.Policy.Delivered})
	if _, err := i.door.InForce(ctx); err != nil { // it serves all the same: officers have to get in
		log.ErrorContext(ctx, "nobody is answered under the policy in force", "error", err)
	}
	i.feed = feed.New(i.store, i.door, log)
	if len(c.Kafka.Brokers) > 0 {
		i.exchange = exchange.New(exchange.Config{Instance: c.Instance, Store: i.store, Door: i.door, Brokers: c.Kafka.Brokers, Log: log})
	}
	verifier, err := identity.NewVerifier(c.Identity.JWKSFile, c.Instance)
	if err != nil {
		return nil, fmt.Errorf("read the keys whose tokens are believed: %w", err)
	}
	i.handler = api.New(i.api(verifier))
	return i, nil
}

// trustOfficers makes the operator's keys those that are configured.
func (i *Instance) trustOfficers(ctx context.Context) ([]store.TrustedKey, error) {
	keys := make([]store.TrustedKey, len(i.config.Policy.Officers))
	for n, o := range i.config.Policy.Officers {
		var err error
		if keys[n], err = o.Key(); err != nil {
			return nil, err
		}
		if keys[n].Department == "" {
			keys[n].Department = i.config.departmentOf(o.Subject)
		}
	}
	if err := i.store.TrustKeys(ctx, keys); err != nil {
		return nil, fmt.Errorf("trust the officers' keys: %w", err)
	}
	return keys, nil
}

// adopt compiles the bundle that this build ships and offers it to the
// database, where it takes force unless officers chose otherwise.
func (i *Instance) adopt(ctx context.Context, b *policy.Bundle) (*policy.Engine, error) {
	engine, err := policy.New(ctx, b, i.store.Definitions()...)
	if err != nil {
		return nil, fmt.Errorf("compile the shipped policy: %w", err)
	}
	became, err := i.store.Adopt(ctx, store.Bundle{Digest: b.Digest(), Files: b.Modules(), Version: i.version})
	if err != nil {
		return nil, fmt.Errorf("adopt the shipped policy: %w", err)
	}
	level := slog.LevelInfo
	if became == store.AdoptedOffered {
		level = slog.LevelWarn // the officers' policy stays; somebody should look at the new one
	}
	i.log.Log(ctx, level, "shipped policy", "bundle", b.Digest(), "became", string(became))
	return engine, nil
}

// api hands the parts to the API as it wants them.
func (i *Instance) api(verifier *identity.Verifier) api.Config {
	c := api.Config{
		Instance: i.config.Instance,
		Version:  i.version,
		Door:     i.door,
		Verifier: verifier,
		Watch:    watch(i.feed),
		Loads:    load.New(i.door, i.store, i.log),
		Describe: i.describe,
		Registry: i.metrics(),
		Log:      i.log,
		Conns:    i.config.Database.MaxConns,
	}
	// A nil pointer in an interface is not nil: parts that do not run stay out.
	if i.exchange != nil {
		c.Exchange = i.exchange
	}
	if i.host != nil {
		c.Plugins = catalog{i.host}
	}
	return c
}

func (i *Instance) startPlugins(ctx context.Context) (*pluginhost.Host, error) {
	use := i.config.Plugins
	refs := make([]pluginhost.Ref, len(use.Use))
	for n, p := range use.Use {
		config, err := json.Marshal(p.Config)
		if err != nil {
			return nil, fmt.Errorf("plugins.use: %s: %w", p.Name, err)
		}
		if p.Config == nil {
			config = nil
		}
		refs[n] = pluginhost.Ref{Name: p.Name, Config: config}
	}
	host, err := pluginhost.New(pluginhost.Config{
		Instance: i.config.Instance, Dir: use.Dir, Lock: use.Lock, Plugins: refs, Slots: use.Slots,
		Definitions: i.store.Definitions(), Log: i.log,
	})
	if err != nil {
		return nil, fmt.Errorf("plugins: %w", err)
	}
	if err := host.Start(ctx); err != nil {
		return nil, fmt.Errorf("start the plugins: %w", err)
	}
	return host, nil
}

// Run serves the public port and runs every part until ctx ends, then lets
// running requests finish. A part that fails for good ends the instance: its
// supervisor starts it again.
func (i *Instance) Run(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", i.config.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", i.config.Listen, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	server := api.NewServer(i.handler, i.log)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		if err := server.Shutdown(stop); err != nil {
			return server.Close()
		}
		return nil
	})
	group.Go(func() error { return i.door.Run(ctx) })
	group.Go(func() error { return i.door.Seal(ctx) })
	group.Go(func() error { return i.door.Shade(ctx) })
	group.Go(func() error { return i.door.Keep(ctx) })
	group.Go(func() error { return i.door.KeepBI(ctx, i.readers) })
	group.Go(func() error { return i.feed.Run(ctx) })
	if i.exchange != nil {
		group.Go(func() error { return i.exchange.Run(ctx) })
	}
	group.Go(func() error { return i.tidy(ctx) })
	i.log.Info("instance serves", "address", listener.Addr().String(), "version", i.version)
	err = group.Wait()
	i.log.Info("instance stopped")
	return err
}

// tidy forgets what nobody asks for any more: idempotency keys of two days ago,
// decisions behind their retention, and changes that everybody has read.
func (i *Instance) tidy(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	read := "" // the head of the feed at the last tick
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			var err error
			if read, err = i.store.TrimOutbox(ctx, read); err != nil && ctx.Err() == nil {
				i.log.WarnContext(ctx, "changes that were read stay in the outbox, trying again later", "error", err)
			}
			if err := i.store.ForgetKeys(ctx); err != nil && ctx.Err() == nil {
				i.log.WarnContext(ctx, "idempotency keys are not forgotten, trying again later", "error", err)
			}
			if err := i.door.Retain(ctx, time.Duration(i.config.Audit.RetentionDays)*24*time.Hour); err != nil && ctx.Err() == nil {
				i.log.WarnContext(ctx, "old decisions are not removed, trying again later", "error", err)
			}
		}
	}
}

// Close ends the plugins and the connections. It may be called after a failed
// Open.
func (i *Instance) Close() {
	if i.host != nil {
		i.host.Close()
	}
	if i.store != nil {
		i.store.Close()
	}
}
