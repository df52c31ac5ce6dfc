package api_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"meridian/instance/api"
	"meridian/instance/crm"
	"meridian/instance/store"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
	"meridian/proto/gen/meridian/policy/v1/policyv1connect"
	recordv1 "meridian/proto/gen/meridian/record/v1"
	"meridian/proto/gen/meridian/record/v1/recordv1connect"
)

// TestHeavyQuestionsLeaveRoom: as many as ask what takes long, reads of others go
// on; who asks too much is told to come again; and who goes away leaves a place.
func TestHeavyQuestionsLeaveRoom(t *testing.T) {
	t.Parallel()
	const connections, places, each = 8, 4, 2 // of the pool; of heavy questions; of one caller
	const askers = 12
	stuck, goOn := make(chan struct{}, 100), make(chan struct{})
	f := facts()
	for i := range askers {
		f.Subjects = append(f.Subjects, store.SubjectFact{ID: asker(i), Kind: crm.KindPerson, Roles: []string{"officer"}})
	}
	w := openWith(t, recipe{facts: f, conns: 4 * places, trace: func(ctx context.Context, sql string) {
		if !strings.Contains(sql, "'walls off '") { // a forecast's; it has its connection by now
			return
		}
		stuck <- struct{}{}
		select {
		case <-goOn:
		case <-ctx.Done():
		}
	}})
	if askers <= connections {
		t.Fatal("they could not take every connection")
	}
	id := w.create("loader@amer", "K1", "US-CA")
	soon, end := context.WithTimeout(t.Context(), 40*time.Second) // nobody waits for ever if places have no bound
	defer end()
	forecast := func(ctx context.Context, as crm.SubjectID, done chan<- error) {
		client := policyv1connect.NewFactServiceClient(w.http, w.url, bearer(w.token(as)))
		go func() {
			_, err := client.Forecast(ctx, &policyv1.ForecastRequest{})
			done <- err
		}()
	}
	busy := func(what string, err error) {
		t.Helper()
		var ce *connect.Error
		if !errors.As(err, &ce) || ce.Code() != connect.CodeUnavailable {
			t.Errorf("%s: %v, want unavailable", what, err)
			return
		}
		if e, _ := api.ErrorOf(ce); e == nil || e.Kind != crm.Unavailable || e.RetryAfter <= 0 || e.Msg == "" {
			t.Errorf("%s: %+v does not say when to come again", what, e)
		}
	}

	arrive := func(n int) {
		t.Helper()
		for range n {
			select {
			case <-stuck:
			case <-soon.Done():
				t.Fatal("fewer questions reached the database than there are places")
			}
		}
	}

	// One caller alone takes no more than a half.
	ctx, leave := context.WithCancel(soon)
	own := make(chan error, each+1)
	for range each + 1 {
		forecast(ctx, asker(0), own)
	}
	arrive(each)
	busy("one more of one caller", <-own)

	// The others take the rest, and no more.
	others := make(chan error, askers)
	for i := 1; i < askers; i++ {
		forecast(soon, asker(i), others)
	}
	arrive(places - each)
	for range askers - 1 - (places - each) {
		busy("when all places are taken", <-others)
	}
	select {
	case <-stuck:
		t.Error("more heavy questions than places reached the database")
	default:
	}
	reader := recordv1connect.NewRecordServiceClient(w.http, w.url, bearer(w.token("rep.west@amer")))
	for range 3 * connections {
		if _, err := reader.Get(soon, &recordv1.GetRequest{Entity: "account", Ids: []string{id}}); err != nil {
			t.Fatalf("a read while all places are taken: %v", err)
		}
	}
	for path, want := range map[string]string{"/api/v1/account:export": "", "/api/v1/account/" + id: ""} {
		a := w.ask("rep.west@amer", "GET", path, "")
		if kind, _ := a.body["kind"].(string); kind != want || want != "" && a.Header.Get("Retry-After") == "" {
			t.Errorf("%s is answered %d %v", path, a.StatusCode, a.body)
		}
	}

	// Who goes away leaves a place to the next, who gets their answer.
	leave()
	for range each {
		if err := <-own; connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("who left: %v", err)
		}
	}
	forecast(soon, asker(0), others)
	arrive(1)
	close(goOn)
	for range places - each + 1 {
		if err := <-others; err != nil {
			t.Errorf("who had a place: %v", err)
		}
	}
	if a := w.ask("rep.west@amer", "GET", "/api/v1/account:export", ""); a.StatusCode != 200 {
		t.Errorf("an export afterwards: %d %v", a.StatusCode, a.body)
	}
}

func asker(i int) crm.SubjectID { return crm.SubjectID(fmt.Sprintf("asker.%d@amer", i)) }
