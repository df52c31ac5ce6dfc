package access_test

import (
	"slices"
	"testing"
	"time"

	"meridian/instance/crm/signed"
	"meridian/instance/store"
)

// TestForecastNamesDenials: a denial opens again by time alone, and who will see
// what then is told beforehand.
func TestForecastNamesDenials(t *testing.T) {
	t.Parallel()
	o := newOfficers(t)
	west := o.account("CA", "Energy")
	if _, err := o.deny("a", signed.Denial{Account: west.ID, For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	turns, _, err := o.door.Forecast(t.Context(), o.called("a"), 1)
	if err != nil || len(turns) != 1 {
		t.Fatalf("%+v, %v", turns, err)
	}
	if at := slices.IndexFunc(turns[0].Events, func(e store.Expiry) bool { return e.Kind == "denial" && !e.Begins }); at < 0 {
		t.Errorf("events %+v", turns[0].Events)
	}
	if e := accounts(turns[0].Impacts, "rep.west@amer"); e.Gained != 1 || e.Lost != 0 {
		t.Errorf("when the denial is over the representative sees %+v", turns[0].Impacts)
	}
}
