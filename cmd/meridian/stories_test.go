package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFleet is the README's promise, as its users live it: one fleet of four
// instances, then one story after the other on it. Order matters only where a
// story says so.
func TestFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a whole fleet")
	}
	f := newFleet(t)
	f.start(t)
	for _, story := range []struct {
		name string
		tell func(*testing.T, *running)
	}{
		{"the night's load is complete", tellLoaded},
		{"a territory is all there is", tellTerritory},
		{"officers change the policy", tellOfficers},
		{"an instance stands still while a policy is staged", tellStill},
		{"the README's five minutes", tellReadme},
		{"a segment worldwide, without what stays at home", tellSegment},
		{"what belongs to an account follows it", tellChildren},
		{"one execution ID from instance to instance", tellExecution},
		{"an agreement ended is gone everywhere", tellAgreementEnded},
		{"an agreement expires by time alone", tellAgreementExpires},
		{"a broken e-mail is refused by name", tellBrokenEmail},
		{"a company that changes its sector is given back", tellMovesSector},
		{"what is to be given back waits for its destination", tellRetractionWaits},
		{"a write away from home", tellNotHome},
		{"a killed plugin lets nothing through", tellPluginKilled},
		{"an instance killed during exchange", tellInstanceKilled},
		{"files that must not be taken", tellBadFiles},
		{"persona scripts", tellScripts},
		{"a second up says so", tellSecondUp},
		{"everything killed during a load", tellEverythingKilled}, // restarts the fleet: last but one
		{"Ctrl-C leaves nothing behind", tellStops},
	} {
		if !t.Run(story.name, func(t *testing.T) { story.tell(t, f) }) {
			f.dumpLogs(t)
		}
	}
}

func tellLoaded(t *testing.T, f *running) {
	for persona, want := range map[string]int{"amer": 1190, "emea": 1064, "apac": 2173} {
		for _, l := range f.loads(t, persona) {
			if l.Feed == "companies" && (l.State != "complete" || l.Balance.n("inserted") != want || l.Balance.n("read") != 4427) {
				t.Errorf("companies at %s: %s %v, want %d of 4427 inserted", persona, l.State, l.Balance, want)
			}
		}
	}
}

func tellTerritory(t *testing.T, f *running) {
	californian := f.list(t, "rep.west@amer", "account", "state = 'CA'")
	if len(californian) != 172 {
		t.Errorf("rep.west sees %d Californian accounts, want 172", len(californian))
	}
	if n := f.count(t, "rep.west@amer", "account", "state = 'NY'"); n != 0 {
		t.Errorf("rep.west counts %d accounts of New York", n)
	}
	for _, r := range f.list(t, "rep.west@amer", "account", "") {
		if r.Governance["territory"] == "US-NY" {
			t.Errorf("rep.west lists %s of New York", r.ID)
		}
	}
	if a, b := f.count(t, "manager.us@amer", "account", "state = 'CA'"), f.count(t, "manager.us@amer", "account", "state = 'NY'"); a != 172 || b == 0 {
		t.Errorf("manager.us counts %d of California and %d of New York", a, b)
	}
	hidden := f.list(t, "manager.us@amer", "account", "state = 'NY'")[0]
	absent := "01a20000-0000-7000-8000-000000000000"
	w := f.watch(t, "rep.west@amer", "account")
	for _, path := range []string{"", "/history", "/explain"} {
		a, b := f.get(t, "rep.west@amer", "/api/v1/account/"+hidden.ID+path), f.get(t, "rep.west@amer", "/api/v1/account/"+absent+path)
		if a.Status != http.StatusNotFound || sameBut(a.Body, hidden.ID) != sameBut(b.Body, absent) {
			t.Errorf("hidden%s answers %d %s\nabsent %d %s", path, a.Status, a.Body, b.Status, b.Body)
		}
	}
	for _, method := range []string{http.MethodPatch, http.MethodDelete} {
		a := f.call(t, "rep.west@amer", method, "/api/v1/account/"+hidden.ID, map[string]any{"fields": map[string]any{"nonsense": 1}})
		if a.Status != http.StatusNotFound {
			t.Errorf("%s of a hidden record answers %d before any other check: %s", method, a.Status, a.Body)
		}
	}
	f.update(t, "manager.us@amer", hidden, map[string]any{"city": "Albany"})
	seen := californian[0]
	f.update(t, "rep.west@amer", seen, map[string]any{"city": "Sacramento"})
	w.expect(t, "upsert", seen.ID)
	w.silent(t, hidden.ID)
}

func tellSegment(t *testing.T, f *running) {
	if n := f.count(t, "banker@finserv", "account", ""); n != 539 {
		t.Errorf("banker counts %d, want 539", n)
	}
	rs := f.list(t, "banker@finserv", "account", "")
	if len(rs) != 539 {
		t.Errorf("banker lists %d, want 539", len(rs))
	}
	for _, r := range rs {
		_, revenue := r.Fields["annual_revenue"]
		_, email := r.Fields["email"]
		if r.Fields["sector"] != "Financials" || !slices.Equal(r.Withheld, []string{"commercial", "personal"}) || revenue || email {
			t.Fatalf("banker sees %v, withheld %v", r.Fields, r.Withheld)
		}
	}
}

func tellAgreementEnded(t *testing.T, f *running) {
	shared := f.list(t, "rep.dach@emea", "account", "country = 'US'")
	if len(shared) != 3 {
		t.Fatalf("rep.dach sees %d American accounts, want 3", len(shared))
	}
	if n := f.count(t, "rep.uk@emea", "account", "country = 'US'"); n != 0 {
		t.Errorf("rep.uk sees %d American accounts; the agreement is with another department", n)
	}
	w := f.watch(t, "rep.dach@emea", "account")
	end := shared[0]
	var list struct {
		Agreements []struct{ ID, Account string }
	}
	f.rpc(t, "officer.a@amer", "policy.v1.PolicyService/ListAgreements", map[string]any{}, &list)
	for _, a := range list.Agreements {
		if a.Account == end.ID {
			f.rpc(t, "officer.a@amer", "policy.v1.PolicyService/EndAgreement", map[string]any{"id": a.ID, "reason": "story"}, nil)
		}
	}
	w.expect(t, "gone", end.ID)
	f.isGone(t, "rep.dach@emea", end.ID)
	if n := f.count(t, "rep.dach@emea", "account", "country = 'US'"); n != 2 {
		t.Errorf("rep.dach still sees %d American accounts, want 2", n)
	}
}

func tellAgreementExpires(t *testing.T, f *running) {
	account := f.list(t, "rep.west@amer", "account", "sector = 'Energy'")[0]
	w := f.watch(t, "rep.dach@emea", "account")
	expiry := time.Now().Add(4 * time.Second)
	f.rpc(t, "officer.a@amer", "policy.v1.PolicyService/CreateAgreement", map[string]any{"agreement": map[string]any{
		"account": account.ID, "department": "emea/dach-sales", "effect": "open", "to": expiry.UTC().Format(time.RFC3339Nano), "reason": "story",
	}}, nil)
	w.expect(t, "upsert", account.ID)
	if a := f.get(t, "rep.dach@emea", "/api/v1/account/"+account.ID); a.Status != http.StatusOK {
		t.Fatalf("rep.dach gets %d while the agreement is in force", a.Status)
	}
	w.expect(t, "gone", account.ID)
	t.Logf("gone %s after its end", time.Since(expiry).Round(time.Millisecond))
	if time.Now().Before(expiry) {
		t.Errorf("gone before its end")
	}
	f.isGone(t, "rep.dach@emea", account.ID)
}

func tellBrokenEmail(t *testing.T, f *running) {
	fields := map[string]any{"source_id": "STORY-1", "name": "Story One", "country": "United States", "state": "California", "sector": "Energy", "email": "nobody at nowhere"}
	a := f.call(t, "rep.west@amer", http.MethodPost, "/api/v1/account", map[string]any{"fields": fields})
	if a.Status != http.StatusBadRequest || a.Kind != "invalid" || a.Field != "email" {
		t.Errorf("a broken e-mail answers %d %s", a.Status, a.Body)
	}
	fields["email"] = "office@story.example"
	a = f.call(t, "rep.west@amer", http.MethodPost, "/api/v1/account", map[string]any{"fields": fields})
	if a.Status != http.StatusCreated || a.Record.Fields["country"] != "US" || a.Record.Fields["state"] != "CA" || a.Record.Governance["territory"] != "US-CA" {
		t.Errorf("created: %d %s", a.Status, a.Body)
	}
}

func tellMovesSector(t *testing.T, f *running) {
	bank := f.list(t, "rep.west@amer", "account", "sector = 'Financials'")[0]
	w := f.watch(t, "banker@finserv", "account")
	bank = f.update(t, "rep.west@amer", bank, map[string]any{"city": "Story City"})
	if e := w.expect(t, "upsert", bank.ID); e.rec.Fields["city"] != "Story City" {
		t.Errorf("banker's watch shows %v", e.rec.Fields)
	}
	moved := f.update(t, "rep.west@amer", bank, map[string]any{"sector": "Energy", "industry_group": "Energy", "industry": "Oil, Gas & Consumable Fuels"})
	if s := fmt.Sprint(moved.Governance["segment"]); !strings.HasPrefix(s, "Energy/Energy") {
		t.Errorf("its segment is %s", s)
	}
	w.expect(t, "gone", bank.ID)
	f.isGone(t, "banker@finserv", bank.ID)
	if n := f.count(t, "banker@finserv", "account", ""); n != 538 {
		t.Errorf("banker counts %d, want 538", n)
	}
}

func tellRetractionWaits(t *testing.T, f *running) {
	waits := func() (seconds float64, err error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.Instances["amer"]+"/metrics", http.NoBody)
		if err != nil {
			return 0, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		page, err := io.ReadAll(res.Body)
		if err != nil {
			return 0, err
		}
		_, text, found := strings.Cut(string(page), "\nmeridian_exchange_retraction_unacknowledged_seconds ")
		if !found {
			return 0, fmt.Errorf("the metric is not there")
		}
		text, _, _ = strings.Cut(text, "\n")
		return strconv.ParseFloat(text, 64)
	}
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(f.PIDs.Instances["finserv"], s); err != nil {
			t.Fatal(err)
		}
	}
	bank := f.list(t, "rep.west@amer", "account", "sector = 'Financials'")[0]
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	moved := f.update(t, "rep.west@amer", bank, map[string]any{"sector": "Energy", "industry_group": "Energy", "industry": "Oil, Gas & Consumable Fuels"})
	eventually(t, "amer says that a retraction waits", func() error {
		if seconds, err := waits(); err != nil || seconds <= 0 {
			return fmt.Errorf("it waits for %v s, %w", seconds, err)
		}
		return nil
	})
	signal(syscall.SIGCONT)
	eventually(t, "finserv acknowledges it", func() error {
		if seconds, err := waits(); err != nil || seconds != 0 {
			return fmt.Errorf("it waits for %v s, %w", seconds, err)
		}
		return nil
	})
	if a := f.call(t, "banker@finserv", http.MethodGet, "/api/v1/account/"+bank.ID, nil); a.Status != http.StatusNotFound {
		t.Errorf("acknowledged, and finserv answers %d %s", a.Status, a.Body)
	}
	f.update(t, "rep.west@amer", moved, map[string]any{"sector": "Financials", "industry_group": bank.Fields["industry_group"], "industry": bank.Fields["industry"]})
	eventually(t, "finserv holds it again", func() error {
		if a, err := f.try("banker@finserv", http.MethodGet, "/api/v1/account/"+bank.ID, nil); err != nil || a.Status != http.StatusOK {
			return fmt.Errorf("%d, %w", a.Status, err)
		}
		return nil
	})
}

func tellNotHome(t *testing.T, f *running) {
	shared := f.list(t, "rep.dach@emea", "account", "country = 'US'")[0]
	// A rep reads what arrived; the write is refused because it is not home,
	// or because reading is all the relationship opens: never done.
	a := f.call(t, "rep.dach@emea", http.MethodPatch, "/api/v1/account/"+shared.ID, map[string]any{"fields": map[string]any{"city": "Bern"}},
		"If-Match", fmt.Sprint(shared.Version))
	if a.Status != http.StatusConflict || a.Kind != "not_home" || a.Home != "amer" {
		t.Errorf("a write away from home answers %d %s", a.Status, a.Body)
	}
}

func tellPluginKilled(t *testing.T, f *running) {
	bad := func(n int) map[string]any {
		return map[string]any{"fields": map[string]any{"source_id": fmt.Sprintf("KILL-%d", n), "name": "Unchecked", "country": "US", "state": "CA", "sector": "Energy", "email": "broken"}}
	}
	good := map[string]any{"fields": map[string]any{"source_id": "KILL-OK", "name": "Checked", "country": "US", "state": "CA", "sector": "Energy", "email": "ok@story.example"}}
	kill := func(plugin string) {
		if err := syscall.Kill(f.PIDs.Plugins[plugin], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	kill("data-quality@amer")
	seen := map[int]int{}
	n := 0
	eventually(t, "writes work again", func() error {
		n++
		a := f.call(t, "rep.west@amer", http.MethodPost, "/api/v1/account", bad(n))
		seen[a.Status]++
		if a.Status == http.StatusServiceUnavailable && (a.Kind != "unavailable" || a.Header.Get("Retry-After") == "") {
			t.Errorf("unavailable answers %s without Retry-After", a.Body)
		}
		if a.Status != http.StatusServiceUnavailable && a.Status != http.StatusBadRequest {
			t.Fatalf("an unchecked write got through: %d %s", a.Status, a.Body)
		}
		if a = f.call(t, "rep.west@amer", http.MethodPost, "/api/v1/account", good); a.Status != http.StatusCreated {
			return fmt.Errorf("%d %s", a.Status, a.Body)
		}
		return nil
	})
	t.Logf("answers to the broken writes: %v", seen)
	kill("territory-assignment@amer")
	eventually(t, "writes are placed again", func() error {
		n++
		placed := map[string]any{"fields": map[string]any{"source_id": fmt.Sprintf("KILL-PLACED-%d", n), "name": "Placed", "country": "US", "state": "CA", "sector": "Energy"}}
		a := f.call(t, "rep.west@amer", http.MethodPost, "/api/v1/account", placed)
		switch {
		case a.Status == http.StatusServiceUnavailable:
			return fmt.Errorf("%s", a.Body)
		case a.Status != http.StatusCreated || a.Record.Governance["territory"] != "US-CA":
			t.Fatalf("written without its place: %d %s", a.Status, a.Body)
		}
		return nil
	})
	if n := f.count(t, "manager.us@amer", "account", "name = 'Unchecked'"); n != 0 {
		t.Errorf("%d unchecked records were written", n)
	}
}

func tellInstanceKilled(t *testing.T, f *running) {
	insurers := f.list(t, "rep.japan@apac", "account", "sector = 'Financials'")
	if len(insurers) > 20 {
		insurers = insurers[:20]
	}
	want := map[string]string{}
	for i, r := range insurers {
		if i == len(insurers)/2 {
			if err := syscall.Kill(f.PIDs.Instances["finserv"], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		city := fmt.Sprintf("Osaka %d", i)
		f.update(t, "rep.japan@apac", r, map[string]any{"city": city})
		want[r.ID] = city
	}
	eventually(t, "finserv holds what apac has", func() error {
		for id, city := range want {
			a, err := f.try("banker@finserv", http.MethodGet, "/api/v1/account/"+id, nil)
			if err != nil {
				return err
			}
			if a.Record.Fields["city"] != city {
				return fmt.Errorf("%s has city %v, want %s", id, a.Record.Fields["city"], city)
			}
		}
		return nil
	})
}

func tellBadFiles(t *testing.T, f *running) {
	before := f.count(t, "manager.us@amer", "account", "")
	header := "source_id,name,sector,industry_group,industry,country,state,city,postal_code,website,size_band,isin\n"
	row := "BAD-%d,Bad File %d,Energy,,,US,CA,,,,,\n"
	good := header + fmt.Sprintf(row, 1, 1) + fmt.Sprintf(row, 2, 2)
	for name, c := range map[string]struct{ text, control, sum, reason string }{
		"truncated":             {text: good[:len(good)-20], control: "records=2", reason: ""},
		"a wrong control count": {text: good, control: "records=3", reason: "3"},
		"a wrong checksum":      {text: good, sum: strings.Repeat("0", 64), reason: "checksum"},
		"an invalid byte":       {text: strings.Replace(good, "Bad File 2", "Bad \xff File", 1), reason: "utf-8"},
		"a column too many":     {text: good + "BAD-3,Bad,Energy,,,US,CA,,,,,,surplus\n", reason: "column"},
	} {
		t.Run(name, func(t *testing.T) {
			why := f.drop(t, "amer", strings.ReplaceAll(name, " ", "-"), c.text, c.control, c.sum)
			if !strings.Contains(strings.ToLower(why), c.reason) {
				t.Errorf("the reason does not tell of %q: %s", c.reason, why)
			}
			t.Logf("refused: %s", strings.TrimSpace(why))
		})
	}
	if after := f.count(t, "manager.us@amer", "account", ""); after != before {
		t.Errorf("%d accounts before, %d after files that were refused", before, after)
	}
}

func tellSecondUp(t *testing.T, f *running) {
	c := exec.Command(filepath.Join(f.bin, "meridian"), "up", "--fleet", "../../deploy/examples/demo.yaml", "--data", f.data, "--port-base", "1")
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "already") {
		t.Errorf("a second up on the same folder says: %v %s", err, out)
	}
}

func tellEverythingKilled(t *testing.T, f *running) {
	rows := 20_000
	if n, err := strconv.Atoi(os.Getenv("MERIDIAN_NIGHT_ROWS")); err == nil {
		rows = n
	}
	before := f.count(t, "manager.us@amer", "account", "")
	f.deliver(t, "amer", "companies-night.csv", rows)
	eventually(t, "the load is under way", func() error {
		if l := f.load(t, "amer", "companies-night.csv"); l.Balance.n("inserted") < rows/10 {
			return fmt.Errorf("%v", l)
		}
		return nil
	})
	f.killAll(t)
	f.start(t)
	eventually(t, "the load resumed and is complete", func() error {
		l := f.load(t, "amer", "companies-night.csv")
		if l.State != "complete" {
			return fmt.Errorf("%+v", l)
		}
		b := l.Balance
		if b.n("read") != rows || b.n("read") != b.n("inserted")+b.n("updated")+b.n("unchanged")+b.n("rejected")+b.n("filtered") || b.n("inserted") != rows {
			t.Errorf("the balance does not close: %v", b)
		}
		return nil
	})
	if after := f.count(t, "manager.us@amer", "account", ""); after != before+rows {
		t.Errorf("%d accounts, want %d: something is lost or there twice", after, before+rows)
	}
	// A tenth of the new companies is financial, so finserv's share grows too.
	eventually(t, "finserv holds amer's financial companies", func() error {
		a, b := f.count(t, "manager.us@amer", "account", "sector = 'Financials'"), f.count(t, "banker@finserv", "account", "country = 'US'")
		if a != b {
			return fmt.Errorf("amer has %d, finserv holds %d", a, b)
		}
		return nil
	})
}

func tellStops(t *testing.T, f *running) {
	pids := append([]int{f.PIDs.Up}, below(f.PIDs.Up)...)
	start := time.Now()
	f.stop(t)
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("stopping took %s, promised within 20 s", d)
	}
	f.gone(t, pids)
	if _, err := os.Stat(f.readyFile); !os.IsNotExist(err) {
		t.Errorf("the ready file is still there: %v", err)
	}
}

// update changes fields at the record's version and returns what it became.
func (f *running) update(t *testing.T, persona string, r record, fields map[string]any) record {
	t.Helper()
	a := f.call(t, persona, http.MethodPatch, "/api/v1/account/"+r.ID, map[string]any{"fields": fields}, "If-Match", fmt.Sprintf("%q", fmt.Sprint(r.Version)))
	if a.Status != http.StatusOK {
		t.Fatalf("update as %s: %d %s", persona, a.Status, a.Body)
	}
	return a.Record
}

// isGone asks on every path.
func (f *running) isGone(t *testing.T, persona, id string) {
	t.Helper()
	for _, path := range []string{"", "/history", "/explain"} {
		if a := f.get(t, persona, "/api/v1/account/"+id+path); a.Status != http.StatusNotFound {
			t.Errorf("%s still gets %s: %d %s", persona, path, a.Status, a.Body)
		}
	}
	for _, r := range f.list(t, persona, "account", "") {
		if r.ID == id {
			t.Errorf("%s still lists %s", persona, id)
		}
	}
}

// rpc calls a Connect method with JSON.
func (f *running) rpc(t *testing.T, persona, method string, in, out any) {
	t.Helper()
	a := f.call(t, persona, http.MethodPost, "/meridian."+method, in)
	if a.Status != http.StatusOK {
		t.Fatalf("%s as %s: %d %s", method, persona, a.Status, a.Body)
	}
	if out != nil {
		if err := json.Unmarshal(a.Body, out); err != nil {
			t.Fatal(err)
		}
	}
}

// sameBut is a body without the parts that may differ: the id and the
// execution ID.
func sameBut(body []byte, id string) string {
	var m map[string]any
	if json.Unmarshal(body, &m) != nil {
		return string(body)
	}
	delete(m, "execution_id")
	text, _ := json.Marshal(m)
	return strings.ReplaceAll(string(text), id, "ID")
}
