package access_test

import (
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// TestImpactRecordsAreThoseCounted: the records told one by one are those that
// lists gain, lose and show otherwise, and as many as the comparison counts.
func TestImpactRecordsAreThoseCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.crowd()
	told := 0
	for name, b := range candidates(t) {
		personas, _ := w.impact(b.Modules())
		for id, p := range personas {
			for _, e := range p.Entities {
				var sum store.Shift
				groups := map[string]store.GroupShift{}
				seen := map[crm.RecordID]bool{}
				later := int64(0)
				err := w.door.ImpactRecords(t.Context(), w.called("officer.a@amer"), access.ImpactRecordsRequest{
					Candidate: access.Candidate{Files: b.Modules()}, Subject: id, Entity: e.Entity,
				}, func(records []store.Differing) error {
					for _, r := range records {
						if seen[r.ID] {
							t.Errorf("%s, %s: %s twice", name, id, r.ID)
						}
						seen[r.ID] = true
						switch {
						case r.Later:
							later++
							continue
						case r.Gained:
							sum.Gained++
						case r.Lost:
							sum.Lost++
						default:
							sum.Changed++
						}
						for _, g := range []string{"core", "commercial", "personal"} {
							x := groups[g]
							switch {
							case slices.Contains(r.Shown, g):
								x.Gained++
							case slices.Contains(r.Hidden, g):
								x.Lost++
							case slices.Contains(r.Masked, g):
								x.Masked++
							default:
								continue
							}
							groups[g] = x
						}
					}
					told += len(records)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if diff := gocmp.Diff(e.Difference, store.Difference{Shift: sum, Groups: groups}, cmpopts.IgnoreFields(store.Difference{}, "Territories", "Segments", "Sample", "Stamp")); diff != "" {
					t.Errorf("%s, %s: counted (-) and told (+):\n%s", name, id, diff)
				}
				if later != e.Later {
					t.Errorf("%s: %d are counted later and %d told", name, e.Later, later)
				}
				for _, some := range [][]crm.RecordID{e.Sample.Gained, e.Sample.Lost, e.Sample.Changed} {
					for _, id := range some {
						if !seen[id] {
							t.Errorf("%s: %s is in the sample and was not told", name, id)
						}
					}
				}
			}
		}
	}
	if told < 50 {
		t.Errorf("%d records told: it proves little", told)
	}
}

// TestImpactRecordsRefuse: who may not compare policies learns nothing, and
// mistakes are named.
func TestImpactRecordsRefuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.crowd()
	for name, c := range map[string]struct {
		by   crm.SubjectID
		r    access.ImpactRecordsRequest
		want crm.Kind
	}{
		"a rep":          {"rep@amer", access.ImpactRecordsRequest{Subject: "rep@amer", Entity: "account"}, crm.Denied},
		"nobody":         {"officer.a@amer", access.ImpactRecordsRequest{Entity: "account"}, crm.Invalid},
		"unknown entity": {"officer.a@amer", access.ImpactRecordsRequest{Subject: "rep@amer", Entity: "planet"}, crm.NotFound},
		"unknown action": {"officer.a@amer", access.ImpactRecordsRequest{Subject: "rep@amer", Entity: "account", Action: "eat"}, crm.Invalid},
		"unknown person": {"officer.a@amer", access.ImpactRecordsRequest{Subject: "x@amer", Entity: "account"}, crm.Invalid},
	} {
		c.r.Candidate = access.Candidate{Files: candidates(t)["everybody sees everything"].Modules()}
		err := w.door.ImpactRecords(t.Context(), w.called(c.by), c.r, func([]store.Differing) error {
			t.Errorf("%s: told something", name)
			return nil
		})
		if crm.KindOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
