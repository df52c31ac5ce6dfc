package access_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/store"
)

// TestMaskedIsSeenButNotWrittenNorShared: who sees a group masked filters by
// the mask, and neither overwrites nor shares what is behind it.
func TestMaskedIsSeenButNotWrittenNorShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, analyst := t.Context(), caller("analyst@amer")
	rec := w.ok(w.door.Create(ctx, caller("rep.west@amer"), access.CreateRequest{Entity: "account", Rows: []access.NewRow{{
		Department: "west-sales", Territory: "US-CA", Segment: "all",
		Fields: w.fields("account", "source_id", "M1", "name", "Masked", "annual_revenue", "42000", "email", "a@example.com"),
	}}}))
	got := w.ok(w.door.Get(ctx, analyst, "account", []crm.RecordID{rec.ID}))
	if got.Fields["annual_revenue"].Text() != "10000" || !slices.Equal(got.Masked, []string{"commercial"}) || !slices.Equal(got.Withheld, []string{"personal"}) {
		t.Fatalf("the analyst sees %+v", got)
	}
	for filter, want := range map[string]int64{"annual_revenue = 42000": 0, "annual_revenue = 10000": 1, "annual_revenue > 10000": 0, "annual_revenue is null": 0} {
		if n, err := w.door.Count(ctx, analyst, "account", filter); err != nil || n != want {
			t.Errorf("%s: %d records, %v", filter, n, err)
		}
	}
	for _, value := range []string{"42000", "10000", "7"} {
		rs, err := w.door.Update(ctx, analyst, access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{
			{ID: rec.ID, Version: rec.Version, Fields: w.fields("account", "annual_revenue", value)}}})
		if err != nil || crm.KindOf(rs[0].Err) != crm.Denied {
			t.Errorf("writing %s over a masked value: %v %v", value, rs, err)
		}
	}
	w.ok(w.door.Update(ctx, analyst, access.UpdateRequest{Entity: "account", Rows: []access.UpdateRow{
		{ID: rec.ID, Version: rec.Version, Fields: w.fields("account", "name", "Renamed")}}}))
	whole := w.ok(w.door.Get(ctx, caller("rep.west@amer"), "account", []crm.RecordID{rec.ID}))
	if whole.Fields["annual_revenue"].Text() != "42000" {
		t.Errorf("after another's update it is %s", whole.Fields["annual_revenue"].Text())
	}
	_, err := w.door.Judge(ctx, analyst, crm.Grant{Entity: "account", Record: rec.ID, Kind: crm.GrantShare, Key: "d:legal", Groups: []string{"core", "commercial"}, Reason: "r"})
	if crm.KindOf(err) != crm.Denied {
		t.Errorf("sharing a masked group: %v", err)
	}
}

func TestSearchAndAggregateAreDecidedAndLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- w.door.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var wests []crm.RecordID
	for range 3 {
		wests = append(wests, w.account("CA", "Energy").ID)
	}
	w.account("NY", "Energy")
	west := caller("rep.west@amer")
	west.Execution = fmt.Sprintf("%032d", 7)
	found, _, err := w.door.Search(t.Context(), west, access.SearchRequest{Entity: "account", Query: "CA"})
	if err != nil || len(found) != 3 {
		t.Errorf("searching finds %d, %v", len(found), err)
	}
	_, tallies, more, err := w.door.Aggregate(t.Context(), west, access.AggregateRequest{Entity: "account", By: []string{"state"}})
	if err != nil || more || len(tallies) != 1 || tallies[0].Values[0].Int() != 3 {
		t.Errorf("aggregating answers %v, %v", tallies, err)
	}
	var logged []store.Decision
	w.until(func() bool {
		logged, err = w.store.Decisions(t.Context(), west.Execution)
		return err == nil && len(logged) == 2
	})
	slices.Sort(wests)
	slices.Sort(logged[0].Records)
	if logged[0].Action != "search" || !slices.Equal(logged[0].Records, wests) || logged[1].Action != "aggregate" || *logged[1].Found != 1 {
		t.Errorf("logged is %+v", logged)
	}
}

// TestExportIsDecidedBatchByBatch: each batch is logged before it leaves, and
// what is revoked after one is not in the next.
func TestExportIsDecidedBatchByBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const all = 2100
	for n := 0; n < all; n += 700 {
		rows := make([]access.NewRow, 700)
		for i := range rows {
			rows[i] = access.NewRow{Fields: w.fields("account", "source_id", fmt.Sprint("E", n+i), "name", "Company", "country", "US", "state", "CA"), Territory: "US-CA", Segment: "all"}
		}
		rs, err := w.door.Create(t.Context(), caller("manager.us@amer"), access.CreateRequest{Entity: "account", Rows: rows, Atomic: true})
		if err != nil || rs[0].Err != nil {
			t.Fatal(err, rs)
		}
	}
	west := caller("rep.west@amer")
	export := func(r access.ExportRequest, each func(n int, records []crm.Record, next string) error) (sizes []int, err error) {
		r.Entity = "account"
		err = w.door.Export(t.Context(), west, r, func(records []crm.Record, next string) error {
			sizes = append(sizes, len(records))
			logged, err := w.store.Decisions(t.Context(), west.Execution)
			if err != nil || len(logged) != len(sizes) || len(logged[len(logged)-1].Records) != len(records) || logged[0].Action != "export" {
				t.Errorf("batch %d leaves with %d decisions logged: %v", len(sizes), len(logged), err)
			}
			return each(len(sizes), records, next)
		})
		return sizes, err
	}
	seen, cursor := map[crm.RecordID]bool{}, ""
	west.Execution = fmt.Sprintf("%032d", 1)
	sizes, err := export(access.ExportRequest{}, func(n int, records []crm.Record, next string) error {
		for i, r := range records {
			if seen[r.ID] || i > 0 && records[i-1].ID >= r.ID {
				t.Errorf("%s comes twice or out of order", r.ID)
			}
			seen[r.ID] = true
		}
		if n == 2 {
			cursor = next
		}
		return nil
	})
	if err != nil || !slices.Equal(sizes, []int{1000, 1000, 100}) || len(seen) != all {
		t.Errorf("batches of %v, %d records, %v", sizes, len(seen), err)
	}
	west.Execution = fmt.Sprintf("%032d", 2)
	if sizes, err = export(access.ExportRequest{Cursor: cursor}, func(int, []crm.Record, string) error { return nil }); err != nil || !slices.Equal(sizes, []int{100}) {
		t.Errorf("from the cursor it goes on with %v, %v", sizes, err)
	}
	west.Execution = fmt.Sprintf("%032d", 3)
	gone := errors.New("the reader left")
	if _, err = export(access.ExportRequest{}, func(int, []crm.Record, string) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("a reader who leaves: %v", err)
	}
	west.Execution = fmt.Sprintf("%032d", 4)
	sizes, err = export(access.ExportRequest{}, func(n int, _ []crm.Record, _ string) error {
		if n == 1 {
			w.alter("rep.west@amer", func(s *store.SubjectFact) { s.Territories = []string{"US-NE"} })
		}
		return nil
	})
	if err != nil || !slices.Equal(sizes, []int{1000, 0}) {
		t.Errorf("revoked after the first batch: %v, %v", sizes, err)
	}
}
