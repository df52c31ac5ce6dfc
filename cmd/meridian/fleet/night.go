package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/cmd/meridian/fleet/sample"
	"meridian/instance/crm"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// stalled is how long a load may stand still before we give up.
const stalled = 2 * time.Minute

// firstNight brings the sample data and makes the agreements, once in the life
// of a data folder. A night that broke off is gone on with.
func (r *run) firstNight(ctx context.Context) error {
	done, err := r.folder.progress()
	if err != nil {
		return err
	}
	if !done.Loaded {
		if err := r.load(ctx); err != nil {
			return err
		}
		done.Loaded = true
		if err := writeJSON(r.folder.file("progress.json"), done); err != nil {
			return err
		}
	}
	if !done.Agreed {
		if err := r.agree(ctx); err != nil {
			return err
		}
		done.Agreed = true
		if err := writeJSON(r.folder.file("progress.json"), done); err != nil {
			return err
		}
	}
	return nil
}

// delivery is one file for one instance.
type delivery struct {
	node   *node
	file   sample.File
	sha256 string
	load   *facadev1.Load // as last seen; nil before it began
}

func (d *delivery) name() string { return d.file.Feed + ".csv" }

func (d *delivery) finished() bool {
	return d.load != nil && (d.load.State == "complete" || d.load.State == "complete_with_rejects")
}

// load drops every file at every instance that has a feed for it and waits
// until all are loaded.
func (r *run) load(ctx context.Context) error {
	began := time.Now()
	deliveries, err := r.deliveries()
	if err != nil {
		return err
	}
	if err := r.refresh(ctx, deliveries); err != nil {
		return err
	}
	for _, d := range deliveries {
		if d.load == nil {
			if err := r.drop(d); err != nil {
				return at(d.node, "drop "+d.name(), err)
			}
		}
	}
	if err := r.waitLoaded(ctx, deliveries); err != nil {
		return err
	}
	rows, rejected := 0, int64(0)
	for _, d := range deliveries {
		rows += d.file.Rows
		rejected += d.load.Balance.GetRejected()
	}
	r.step(fmt.Sprintf("%d files, %d rows read", len(deliveries), rows), began)
	if rejected > 0 {
		r.warn("%d sample rows were rejected: see meridian load status and meridian load rejects", rejected)
	}
	return nil
}

func (r *run) deliveries() ([]*delivery, error) {
	var feeds []string
	for _, n := range r.nodes {
		for _, f := range n.Feeds {
			feeds = append(feeds, f.Name)
		}
	}
	companies, err := os.Open(r.file.path(r.file.Sample.Companies))
	if err != nil {
		return nil, fmt.Errorf("read the companies: %w", err)
	}
	defer companies.Close() // read only
	files, err := sample.Generate(r.file.Sample.Seed, companies, feeds)
	if err != nil {
		return nil, err
	}
	var all []*delivery
	for _, f := range files {
		sum := sha256.Sum256(f.Content)
		for _, n := range r.nodes {
			if slices.ContainsFunc(n.Feeds, func(x Feed) bool { return x.Name == f.Feed }) {
				all = append(all, &delivery{node: n, file: f, sha256: hex.EncodeToString(sum[:])})
			}
		}
	}
	return all, nil
}

// drop brings a file as a careful sender does: the content and the control
// count first, the checksum last, each under its name only once it is whole.
// Without the checksum nothing is touched, so a drop that broke off is simply
// made again.
func (r *run) drop(d *delivery) error {
	inbox := filepath.Join(r.folder.drop(d.node.Name), "inbox")
	if err := os.MkdirAll(inbox, 0o700); err != nil {
		return err
	}
	marker := filepath.Join(inbox, d.name()+".sha256")
	if _, err := os.Stat(marker); !errors.Is(err, fs.ErrNotExist) {
		return err // dropped before and not taken yet
	}
	for _, part := range []struct {
		suffix  string
		content []byte
	}{
		{"", d.file.Content},
		{".control", fmt.Appendf(nil, "records=%d\n", d.file.Rows)},
		{".sha256", fmt.Appendf(nil, "%s  %s\n", d.sha256, d.name())},
	} {
		outside := filepath.Join(filepath.Dir(inbox), "."+d.name()+part.suffix)
		if err := os.WriteFile(outside, part.content, 0o600); err != nil {
			return err
		}
		if err := os.Rename(outside, filepath.Join(inbox, d.name()+part.suffix)); err != nil {
			return err
		}
	}
	return nil
}

// refresh looks up what became of each delivery.
func (r *run) refresh(ctx context.Context, deliveries []*delivery) error {
	loads := map[*node][]*facadev1.Load{}
	for _, n := range r.nodes {
		if len(n.Feeds) == 0 {
			continue
		}
		resp, err := n.loads().ListLoads(ctx, &facadev1.ListLoadsRequest{Limit: 500})
		if unavailable(err) {
			return nil // it is being restarted: what we know stays good
		}
		if err != nil {
			return at(n, "list loads", err)
		}
		loads[n] = resp.Loads
	}
	for _, d := range deliveries {
		for _, l := range loads[d.node] {
			if l.Feed == d.file.Feed && l.Sha256 == d.sha256 && !l.DryRun {
				d.load = l
				break // the newest comes first
			}
		}
	}
	return nil
}

func (r *run) waitLoaded(ctx context.Context, deliveries []*delivery) error {
	total := 0
	for _, d := range deliveries {
		total += d.file.Rows
	}
	began, first, moved := time.Now(), int64(-1), time.Now()
	last := int64(-1)
	return poll(ctx, 250*time.Millisecond, func() (bool, error) {
		if err := r.refresh(ctx, deliveries); err != nil {
			return false, err
		}
		done, finished := int64(0), 0
		for _, d := range deliveries {
			if err := r.refused(d); err != nil {
				return false, err
			}
			if d.finished() {
				finished++
			}
			done += d.load.GetBalance().GetRead()
		}
		if first < 0 {
			first = done
		}
		if done != last {
			last, moved = done, time.Now()
		}
		if finished == len(deliveries) {
			return true, nil
		}
		r.progress("  ..  loading %d of %d rows%s", done, total, left(done-first, int64(total)-done, time.Since(began)))
		if time.Since(moved) > stalled {
			return false, crm.Errorf(crm.Unavailable, "the load stands still at %d of %d rows: see the logs filedrop.log and serve.log in %s", done, total, r.folder)
		}
		for _, f := range r.facades {
			if err := f.hopelessly(); err != nil {
				return false, err
			}
		}
		return false, nil
	})
}

// left is the time that the rest takes at the pace so far.
func left(done, rest int64, spent time.Duration) string {
	if done <= 0 || spent < time.Second {
		return ""
	}
	return fmt.Sprintf(", about %s left", (time.Duration(float64(spent) * float64(rest) / float64(done))).Round(time.Second))
}

// refused is why a delivery will never be loaded, if it will not.
func (r *run) refused(d *delivery) error {
	if d.load.GetState() == "halted" {
		return crm.Errorf(crm.Conflict, "%s: the load of %s halted: %s", d.node.Name, d.name(), d.load.Error)
	}
	reasons, err := filepath.Glob(filepath.Join(r.folder.drop(d.node.Name), "refused", "*-"+d.name(), "reason.txt"))
	if err != nil || d.finished() {
		return err
	}
	for _, path := range reasons {
		// A refusal of an earlier run was answered by dropping again.
		if info, err := os.Stat(path); err != nil || info.ModTime().Before(r.began) {
			continue
		}
		why, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return crm.Errorf(crm.Conflict, "%s: %s was refused: %s", d.node.Name, d.name(), why)
	}
	return nil
}

// agree makes the fleet file's agreements as the officer it names.
func (r *run) agree(ctx context.Context) error {
	began := time.Now()
	made := 0
	for _, a := range r.file.Agreements {
		n := r.node(a.At)
		client := n.policy(a.By)
		resp, err := client.ListAgreements(ctx, &policyv1.ListAgreementsRequest{All: true})
		if err != nil {
			return at(n, "list agreements", err)
		}
		for _, key := range a.Accounts {
			// The document's name tells what a run that broke off has made.
			document := fmt.Sprintf("fleet %s, %s, %s", r.file.Name, a.Department, key)
			if slices.ContainsFunc(resp.Agreements, func(x *policyv1.Agreement) bool { return x.Document == document }) {
				continue
			}
			now := time.Now()
			_, err := client.CreateAgreement(ctx, &policyv1.CreateAgreementRequest{Agreement: &policyv1.Agreement{
				Account: "source_id:" + key, Department: a.Department, Effect: string(crm.EffectOpen), Groups: a.Groups,
				From: timestamppb.New(now), To: timestamppb.New(now.AddDate(0, 0, a.Days)), Document: document, Reason: a.Reason,
			}})
			if err != nil {
				return at(n, "agree on "+key, err)
			}
			made++
		}
	}
	if made > 0 {
		r.step(fmt.Sprintf("%d agreements", made), began)
	}
	return nil
}

func (r *run) node(name string) *node {
	return r.nodes[slices.IndexFunc(r.nodes, func(n *node) bool { return n.Name == name })]
}
