package access_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
	"meridian/policy"
)

// shadowing runs a shadow of a bundle until the test ends, and answers when it
// is noticed.
func (o *officers) shadowing(b *policy.Bundle) {
	o.t.Helper()
	err := o.store.Tx(o.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := tx.AddBundle(ctx, store.Bundle{Digest: b.Digest(), Files: b.Modules()}); err != nil {
			return err
		}
		return tx.StartShadow(ctx, b.Digest(), subject("a"))
	})
	if err != nil {
		o.t.Fatal(err)
	}
	o.shade()
	o.until(func() bool {
		if _, err := o.door.Count(o.t.Context(), caller("banker@amer"), "product", ""); err != nil {
			o.t.Fatal(err)
		}
		return len(o.shadowed()) > 0
	})
	// What waits from then is out of the way once a request behind it is compared.
	issued := int64(0)
	o.until(func() bool {
		d := o.shadowed()["analyst@amer count"]
		if d.Reads == 0 && d.Dropped == issued {
			issued++
			if _, err := o.door.Count(o.t.Context(), caller("analyst@amer"), "product", ""); err != nil {
				o.t.Fatal(err)
			}
		}
		return d.Reads > 0
	})
}

// shade compares until the test, or stop, ends it.
func (o *officers) shade() (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(o.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- o.door.Shade(ctx) }()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-ended; err != nil {
				o.t.Error(err)
			}
		}
	}
	o.t.Cleanup(stop)
	return stop
}

func (o *officers) shadowed() map[string]store.ShadowDifference {
	o.t.Helper()
	_, ds, err := o.door.Shadowed(o.t.Context(), o.called("b"))
	if err != nil {
		o.t.Fatal(err)
	}
	found := map[string]store.ShadowDifference{}
	for _, d := range ds {
		found[string(d.Subject)+" "+d.Action] = d
	}
	return found
}

// settled waits until n requests of a path were compared or dropped.
func (o *officers) settled(path string, n int64) (d store.ShadowDifference) {
	o.t.Helper()
	o.until(func() bool {
		d = o.shadowed()[path]
		return d.Reads+d.Dropped >= n
	})
	return d
}

// TestShadowComparesEveryPath: what the shadow says of each way of reading is
// what activating it changes.
func TestShadowComparesEveryPath(t *testing.T) {
	t.Parallel()
	for name, b := range candidates(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOfficers(t)
			o.alter(subject("a"), func(s *store.SubjectFact) { s.Departments = nil }) // who speaks about legal is not of it
			recs := o.crowd()
			o.shadowing(b)
			type answer struct {
				ids []string
				err error
			}
			was := map[string]answer{}
			readers := []crm.SubjectID{"rep.west@amer", "lawyer@amer"}
			for _, who := range readers {
				for path, read := range o.ways(recs[0]) {
					ids, err := read(who)
					was[string(who)+" "+path] = answer{ids, err}
				}
			}
			said := map[string]store.ShadowDifference{}
			for key := range was {
				said[key] = o.settled(key, 1)
			}
			o.put(b)
			for _, who := range readers {
				for path, read := range o.ways(recs[0]) {
					key := string(who) + " " + path
					d := said[key]
					if d.Dropped > 0 || d.Failed > 0 || d.Open > 0 {
						t.Fatalf("%s: %+v", key, d)
					}
					was, wasErr := was[key].ids, was[key].err
					is, isErr := read(who)
					gone := func(a, b []string) (n int64) {
						for _, x := range a {
							id, _, _ := strings.Cut(x, " ")
							if !slices.ContainsFunc(b, func(y string) bool { return strings.HasPrefix(y, id) }) {
								n++
							}
						}
						return n
					}
					differ := !slices.Equal(was, is) || (wasErr == nil) != (isErr == nil)
					refused := wasErr == nil && crm.KindOf(isErr) == crm.Denied && isErr != nil
					if (d.Differed == 1) != differ || (d.Refused == 1) != refused {
						t.Errorf("%s %s: it says %+v; in force %v (%v), then %v (%v)", who, path, d, was, wasErr, is, isErr)
					}
					if named := slices.Contains([]string{"get", "list", "search", "export", "watch"}, path); named && !refused && (d.Lost != gone(was, is) || d.Gained != gone(is, was)) {
						t.Errorf("%s %s: lost %d, gained %d; in force %v, then %v", who, path, d.Lost, d.Gained, was, is)
					}
					if d.Gained+d.Lost > 0 && !refused && (len(d.Grounds) == 0 || len(d.Sample) == 0) {
						t.Errorf("%s %s does not say why: %+v", who, path, d)
					}
				}
			}
		})
	}
}

// ways are the paths that a shadow compares, each with what it answers: ids
// with the groups that are not shown, or numbers as text.
func (w *world) ways(rec crm.Record) map[string]func(crm.SubjectID) ([]string, error) {
	ctx, d := w.t.Context(), w.door
	ids := func(rs []crm.Record, _ string, err error) (out []string, _ error) {
		for _, r := range rs {
			out = append(out, fmt.Sprint(r.ID, " ", r.Withheld, r.Masked))
		}
		return out, err
	}
	return map[string]func(crm.SubjectID) ([]string, error){
		"get": func(who crm.SubjectID) (out []string, _ error) {
			rs, err := d.Get(ctx, caller(who), "account", []crm.RecordID{rec.ID})
			if err == nil && rs[0].Err == nil {
				return ids([]crm.Record{rs[0].Record}, "", nil)
			}
			return out, err
		},
		"list": func(who crm.SubjectID) ([]string, error) {
			return ids(d.List(ctx, caller(who), access.ListRequest{Entity: "account", Filter: "annual_revenue > 10"}))
		},
		"search": func(who crm.SubjectID) ([]string, error) {
			out, err := ids(d.Search(ctx, caller(who), access.SearchRequest{Entity: "account", Query: "company"}))
			slices.Sort(out)
			return out, err
		},
		"count": func(who crm.SubjectID) ([]string, error) {
			n, err := d.Count(ctx, caller(who), "account", "state = 'CA'")
			return []string{fmt.Sprint(n)}, err
		},
		"aggregate": func(who crm.SubjectID) ([]string, error) {
			_, tallies, more, err := d.Aggregate(ctx, caller(who), access.AggregateRequest{Entity: "account", By: []string{"state"}, Measures: []string{"count", "sum(annual_revenue)"}})
			out := []string{fmt.Sprint(more)}
			for _, x := range tallies {
				line := ""
				for _, v := range slices.Concat(x.Keys, x.Values) {
					line += v.Text() + " "
				}
				out = append(out, line)
			}
			return out, err
		},
		"watch": func(who crm.SubjectID) (out []string, _ error) {
			seen, _, err := d.Visible(ctx, caller(who), "account", "")
			for _, id := range seen {
				out = append(out, string(id))
			}
			slices.Sort(out)
			return out, err
		},
		"history": func(who crm.SubjectID) (out []string, _ error) {
			vs, err := d.History(ctx, caller(who), "account", rec.ID, 0, 0)
			for _, v := range vs {
				out = append(out, fmt.Sprint(v.Version, v.Withheld, v.Masked))
			}
			if crm.KindOf(err) == crm.NotFound {
				return nil, nil
			}
			return out, err
		},
		"export": func(who crm.SubjectID) (out []string, _ error) {
			err := d.Export(ctx, caller(who), access.ExportRequest{Entity: "account"}, func(rs []crm.Record, _ string) error {
				more, _ := ids(rs, "", nil)
				out = append(out, more...)
				return nil
			})
			return out, err
		},
	}
}

// TestShadowComparesWrites: of a write it is told whether the shadow would have
// let its author do it.
func TestShadowComparesWrites(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	mine, theirs := o.account("CA", "Energy"), o.account("NY", "Energy")
	o.shadowing(closedToReps(t))
	rep := crm.SubjectID("rep.west@amer")
	mine = o.ok(o.door.Update(t.Context(), o.world.called(rep), access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{
		{ID: mine.ID, Version: mine.Version, Fields: o.fields("account", "name", "Another")}}}))
	created := o.create(rep, "account", o.accountFields("CA", "Energy"))
	if err := o.refusal(o.update(rep, theirs, "name", "Theirs")); err.Kind != crm.NotFound {
		t.Fatal(err)
	}
	o.judge(rep, crm.Grant{Entity: "account", Record: mine.ID, Kind: crm.GrantShare, Key: "d:legal"})
	o.ok(o.door.Delete(t.Context(), o.world.called(rep), access.DeleteRequest{Entity: "account", Rows: []access.DeleteRow{{ID: created.ID, Version: created.Version}}}))
	o.ok(o.door.Update(t.Context(), o.world.called("manager.us@amer"), access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{
		{ID: mine.ID, Version: mine.Version, Fields: o.fields("account", "name", "Managed")}}}))
	for path, want := range map[string]store.ShadowDifference{
		"rep.west@amer update":   {Reads: 2, Differed: 1, Lost: 1},
		"rep.west@amer create":   {Reads: 1},
		"rep.west@amer share":    {Reads: 1, Differed: 1, Lost: 1},
		"rep.west@amer delete":   {Reads: 1, Differed: 1, Lost: 1},
		"manager.us@amer update": {Reads: 1},
	} {
		got := o.settled(path, want.Reads)
		if got.Reads != want.Reads || got.Differed != want.Differed || got.Lost != want.Lost || got.Gained+got.Groups+got.Failed+got.Open+got.Dropped > 0 {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
		if want.Lost > 0 && got.Grounds[store.ShadowGround{Ground: "territory", Change: store.GroundOpensNoMore}] != 1 {
			t.Errorf("%s does not say why: %+v", path, got)
		}
	}
}

// TestShadowThatCannotAnswer: a shadow whose bundle does not compile, or has no
// answer about somebody, fails by itself: requests are answered as ever, and
// nobody is alarmed about the bundle in force.
func TestShadowThatCannotAnswer(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]*policy.Bundle{
		"does not compile": amended(t, "territory.rego", "steward_reveals(_, _, _, _) := true", "steward_reveals(_, _, _, _) := nobody_knows(1)"),
		"has no answer about somebody": amended(t, "territory.rego", "cleared(ask, record) if record.sensitivity <= ask.subject.clearance",
			"cleared(ask, record) if record.sensitivity <= ask.subject.clearance\n\n"+
				"cleared(ask, record) if {\n\tcount(ask.subject.territories) > 6\n\trecord.sensitivity == record.territory\n}"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOfficers(t)
			rec := o.account("CA", "Energy")
			o.shadowing(b)
			if rs, err := o.get("rep.west@amer", rec); err != nil || rs[0].Err != nil {
				t.Fatalf("%+v, %v", rs, err)
			}
			if d := o.settled("rep.west@amer get", 1); d.Failed != 1 || d.Differed+d.Gained+d.Lost > 0 {
				t.Errorf("%+v", d)
			}
			if n := o.door.PolicyFaults(); n != 0 {
				t.Errorf("%d faults of the bundle in force", n)
			}
		})
	}
}
