package fleet

import (
	"context"
	"errors"
	"time"

	"meridian/instance/embedded"
)

// startServers starts PostgreSQL and Kafka. stop ends both.
func (r *run) startServers(ctx context.Context) (stop func() error, err error) {
	began := time.Now()
	r.postgres, err = r.startPostgres(ctx)
	if err != nil {
		return nil, err
	}
	stopPostgres := r.keepPostgres(r.postgres)
	r.step("PostgreSQL", began)
	began = time.Now()
	kafka, err := r.startKafka()
	if err != nil {
		return nil, errors.Join(err, stopPostgres())
	}
	r.brokers = kafka.Brokers()
	r.step("Kafka", began)
	return func() error {
		kafka.Stop()
		return stopPostgres()
	}, nil
}

func (r *run) startPostgres(ctx context.Context) (*embedded.Postgres, error) {
	p, err := embedded.StartPostgres(ctx, r.folder.file("postgres"), embedded.PostgresOptions{})
	if err != nil {
		return nil, err
	}
	if err := r.book.Note("postgres", p.PID()); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// keepPostgres starts the server again when it ends by itself. Its URL stays,
// so that the instances reconnect and need no word of it.
func (r *run) keepPostgres(p *embedded.Postgres) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() {
		for {
			select {
			case <-ctx.Done():
				stopped <- errors.Join(p.Stop(), r.book.Forget("postgres"))
				return
			case <-p.Done():
			}
			r.warn("PostgreSQL ended (%s); starting it again now", reason(p.Err()))
			err := poll(ctx, time.Second, func() (bool, error) {
				next, err := r.startPostgres(ctx)
				if err != nil {
					r.warn("%v", err)
					return false, nil
				}
				p = next
				return true, nil
			})
			if err != nil { // asked to stop while there was no server
				stopped <- nil
				return
			}
		}
	}()
	return func() error { cancel(); return <-stopped }
}

// startKafka prefers the port of the last run, so that a broker's address in a
// log or a tool stays good.
func (r *run) startKafka() (*embedded.Kafka, error) {
	dir := r.folder.file("kafka")
	k, err := embedded.StartKafka(dir, r.folder.brokerPort())
	if err != nil {
		if k, err = embedded.StartKafka(dir, 0); err != nil {
			return nil, err
		}
	}
	if err := r.folder.keepBrokerPort(k.Brokers()[0]); err != nil {
		k.Stop()
		return nil, err
	}
	return k, nil
}

// ensureDatabase makes the instance's database with two roles: one owns it and
// brings it up to date, the other serves. Each has its own secret.
func (n *node) ensureDatabase(ctx context.Context) error {
	r := n.run
	owner, err := r.folder.password(n.Name, "database")
	if err != nil {
		return err
	}
	if err := r.postgres.EnsureDatabase(ctx, n.Name, n.Name, owner); err != nil {
		return err
	}
	if err := write(r.folder.secret(n.Name, "database.owner.url"), []byte(r.postgres.URL(n.Name, n.Name, owner)+"\n")); err != nil {
		return err
	}
	app, name := "", n.Name+"_app"
	if app, err = r.folder.password(n.Name, "database.app"); err != nil {
		return err
	}
	if err := r.postgres.EnsureApp(ctx, n.Name, name, app); err != nil {
		return err
	}
	if err := write(r.folder.secret(n.Name, "database.url"), []byte(r.postgres.URL(n.Name, name, app)+"\n")); err != nil {
		return err
	}
	return n.ensureReaders(ctx)
}

// ensureReaders makes the logins of BI tools. Where a tool finds its views is in
// bi.<role>.url.
func (n *node) ensureReaders(ctx context.Context) error {
	r := n.run
	for _, b := range n.BI {
		password, err := r.folder.password(n.Name, "bi."+b.Role)
		if err != nil {
			return err
		}
		if err := r.postgres.EnsureReader(ctx, n.Name, b.Role, password); err != nil {
			return err
		}
		if err := write(r.folder.secret(n.Name, "bi."+b.Role+".url"), []byte(r.postgres.URL(n.Name, b.Role, password)+"\n")); err != nil {
			return err
		}
	}
	return nil
}
