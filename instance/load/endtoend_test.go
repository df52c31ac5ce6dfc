package load_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"meridian/adapters"
	"meridian/adapters/filedrop"
	"meridian/instance/api"
	"meridian/instance/identity"
	facadev1 "meridian/proto/gen/meridian/facade/v1"
	"meridian/proto/gen/meridian/facade/v1/facadev1connect"
)

// facadeVariable makes this test binary be a facade process.
const facadeVariable = "MERIDIAN_TEST_FACADE"

func beFacade(config string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := filedrop.ReadConfig(config)
	if err == nil {
		var drop *filedrop.Drop
		if drop, err = filedrop.New(c, slog.New(slog.NewJSONHandler(os.Stderr, nil))); err == nil {
			err = drop.Run(ctx)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const companyMapping = `mapping: companies
version: 1
owner: test@example
expires: 2099-12-31
entity: account
source:
  format: csv
  charset: iso-8859-1
  delimiter: ";"
  columns: [id, name, country, revenue]
  decimal: ","
  control: {checksum: required, count: optional}
keep:
  - {column: country, lookup: country, within: ["019"]}
fields:
  - {to: source_id, from: id, do: [trim], required: true}
  - {to: name, from: name}
  - {to: country, from: country, lookup: country}
  - {to: annual_revenue, from: revenue, as: decimal}
`

// site is a world behind its real API, and a drop folder beside it.
type site struct {
	*world
	url string
	dir string // configuration, mapping, token and drop folder

	mu     sync.Mutex
	before func(*http.Request) error // called before the instance sees an Apply; an error is the answer
	after  func()                    // called when it has answered, before the answer leaves
}

func newSite(t testing.TB) *site {
	t.Helper()
	return newWorld(t).site(t)
}

// site puts an API before the world and a drop folder beside it.
func (w *world) site(t testing.TB) *site {
	t.Helper()
	s := &site{world: w, dir: t.TempDir()}
	issuer, err := identity.NewIssuer(filepath.Join(s.dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := identity.NewVerifier(filepath.Join(s.dir, "keys", "jwks.json"), "amer")
	if err != nil {
		t.Fatal(err)
	}
	token, err := issuer.Issue(loader.Subject, "amer", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	h := api.New(api.Config{Instance: "amer", Door: s.door, Verifier: verifier, Loads: s.Service, Log: slog.New(slog.DiscardHandler)})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before, after := s.hooks()
		if r.URL.Path != facadev1connect.LoadServiceApplyProcedure {
			h.ServeHTTP(w, r)
			return
		}
		if err := before(r); err != nil {
			_ = connect.NewErrorWriter().Write(w, r, err) // the facade may be gone
			return
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		after()
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	s.write("token", token+"\n")
	s.write("companies.yaml", companyMapping)
	s.write("filedrop.yaml", fmt.Sprintf(`name: filedrop@amer
service: %s
token_file: token
folder: drop
poll: 10ms
batch: 100
feeds:
  - {name: companies, files: "companies*.csv", mapping: companies.yaml}
`, srv.URL))
	return s
}

func (s *site) hooks() (before func(*http.Request) error, after func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, after = s.before, s.after
	if before == nil {
		before = func(*http.Request) error { return nil }
	}
	if after == nil {
		after = func() {}
	}
	return before, after
}

// hook calls before and after around every Apply.
func (s *site) hook(before, after func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = after
	s.before = func(*http.Request) error {
		if before != nil {
			before()
		}
		return nil
	}
}

// intercept asks f before every Apply; its error is the answer.
func (s *site) intercept(f func(*http.Request) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = f, nil
}

func (s *site) write(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// drop drops a file and its marker as a sender should: the marker last.
func (s *site) drop(name, content string) {
	s.t.Helper()
	sum := sha256.Sum256([]byte(content))
	s.write("drop/inbox/"+name, content)
	s.write("drop/inbox/"+name+".sha256", hex.EncodeToString(sum[:])+"  "+name+"\n")
}

// once takes what is ready, in this process.
func (s *site) once() {
	s.t.Helper()
	c, err := filedrop.ReadConfig(filepath.Join(s.dir, "filedrop.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	drop, err := filedrop.New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := drop.Once(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// ended gives the content of a file in the one folder below archive or
// refused, "" if there is none yet.
func (s *site) ended(where, file string) string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "drop", where, "*", file))
	if err != nil {
		s.t.Fatal(err)
	}
	if len(found) == 0 {
		return ""
	}
	content, err := os.ReadFile(found[len(found)-1])
	if err != nil {
		s.t.Fatal(err)
	}
	return string(content)
}

func (s *site) loads() []*facadev1.Load {
	s.t.Helper()
	resp, err := s.ListLoads(s.t.Context(), ops, &facadev1.ListLoadsRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.GetLoads()
}

// until waits for a condition.
func (s *site) until(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// process is a facade in a process of its own.
type process struct {
	*exec.Cmd
	log  bytes.Buffer
	done chan error
}

func (s *site) start() *process {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(exe), done: make(chan error, 1)}
	p.Env = append(os.Environ(), facadeVariable+"="+filepath.Join(s.dir, "filedrop.yaml"))
	p.Stderr = &p.log
	if err := p.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { p.done <- p.Wait() }()
	s.t.Cleanup(func() { _ = p.Process.Kill() })
	return p
}

// stop ends the process as an operator does.
func (s *site) stop(p *process) {
	s.t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case err := <-p.done:
		if err != nil {
			s.t.Errorf("the facade ended with %v\n%s", err, p.log.String())
		}
	case <-time.After(20 * time.Second):
		s.t.Fatalf("the facade does not end\n%s", p.log.String())
	}
}

// companies makes a file of n American companies.
func companies(n int) string {
	var b strings.Builder
	b.WriteString("id;name;country;revenue\n")
	for i := range n {
		fmt.Fprintf(&b, "C%d;Company %d;US;%d,50\n", i+1, i+1, i)
	}
	return b.String()
}

func TestDroppedFileIsLoadedOnce(t *testing.T) {
	s := newSite(t)
	s.drop("companies.csv", companies(250)+"X;Elsewhere;DE;1\n")
	s.once()
	s.drop("companies-copy.csv", companies(250)+"X;Elsewhere;DE;1\n") // the same content under another name
	s.once()
	loads := s.loads()
	if len(loads) != 1 || loads[0].GetState() != "complete" {
		t.Fatalf("loads %v", loads)
	}
	balance(t, loads[0].GetBalance(), 251, 250, 0, 0, 0, 1)
	if n := s.number(`select count(*) from history.account`); n != 250 {
		t.Errorf("%d versions of 250 accounts", n)
	}
	for _, file := range []string{"companies.csv", "companies.csv.sha256", "companies-copy.csv", "result.json"} {
		if s.ended("archive", file) == "" {
			t.Errorf("%s is not archived", file)
		}
	}
}

// A file that is not whole loads nothing, and says why.
func TestFaultyFilesLoadNothing(t *testing.T) {
	good := companies(120)
	w := newWorld(t)
	for _, tt := range []struct {
		name, content, want string
		control             string
		announced           string // content the checksum is of, if another
	}{
		{name: "truncated", content: good[:len(good)/2], announced: good, want: "the checksum is wrong"},
		{name: "wrong control count", content: good, control: "records=121\n", want: "the sender announced 121 records, the file has 120"},
		{name: "control file without a count", content: good, control: "hello\n", want: "does not say records="},
		{name: "invalid byte", content: good + "C;M\x93ller;US;1\n", want: "line 122, byte 2941 (record 121): byte 0x93 is no character of iso-8859-1"},
		{name: "NUL", content: good + "C;M\x00ller;US;1\n", want: "byte 0x00 is no character"},
		{name: "a column too many", content: good + "C;Name;US;1;2\n", want: "line 122, byte 2938 (record 121): the record has 5 columns, the file has 4"},
		{name: "a column too few", content: good + "C;Name;US\n", want: "the record has 3 columns"},
		{name: "an open quote", content: good + "C;\"Name;US;1\n", want: "the file ends inside quotes"},
		{name: "another header", content: strings.Replace(good, "revenue", "turnover", 1), want: "header: column 4 is one that mapping companies does not know"},
		{name: "empty", content: "", want: "the file is empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := w.site(t)
			if tt.control != "" {
				s.write("drop/inbox/companies.csv.control", tt.control)
			}
			s.drop("companies.csv", tt.content)
			if tt.announced != "" {
				s.drop("other", tt.announced)
				if err := os.Rename(filepath.Join(s.dir, "drop/inbox/other.sha256"), filepath.Join(s.dir, "drop/inbox/companies.csv.sha256")); err != nil {
					t.Fatal(err)
				}
			}
			s.once()
			if got := s.ended("refused", "reason.txt"); !strings.Contains(got, tt.want) {
				t.Errorf("the reason is %q, want %q", got, tt.want)
			}
			if got := s.ended("refused", "companies.csv"); got != tt.content {
				t.Error("the refused file is not as it came")
			}
			if n := s.number(`select (select count(*) from record.account) + (select count(*) from meridian.load)`); n != 0 {
				t.Errorf("%d accounts and loads were left behind", n)
			}
		})
	}
}

func TestAFileWithoutItsMarkerIsLeftAlone(t *testing.T) {
	s := newSite(t)
	s.write("drop/inbox/companies.csv", companies(3))
	s.once()
	if _, err := os.Stat(filepath.Join(s.dir, "drop/inbox/companies.csv")); err != nil || len(s.loads()) > 0 {
		t.Errorf("the file was taken: %v", err)
	}
}

func TestRejectFiles(t *testing.T) {
	s := newSite(t)
	s.drop("companies.csv", "id;name;country;revenue\r\n"+
		"A;Caf\xe9;US;1,5\r\n"+
		"B;\"M\xfcller; \"\"B\"\"\";Atlantis;2\r\n"+ // refused by the mapping
		"C;;BR;3\r\n"+ // refused by the instance: a name is required
		"D;D;CA;1.5") // another locale, and no final line end
	s.once()
	balance(t, s.loads()[0].GetBalance(), 4, 1, 0, 0, 3, 0)
	want := "id;name;country;revenue\r\n" + "B;\"M\xfcller; \"\"B\"\"\";Atlantis;2\r\n" + "C;;BR;3\r\n" + "D;D;CA;1.5\n"
	if got := s.ended("archive", "companies.csv.rejects"); got != want {
		t.Errorf("rejects are %q, want the original bytes %q", got, want)
	}
	reasons := strings.Split(s.ended("archive", "companies.csv.rejects.csv"), "\n")
	for i, want := range []string{"record,line,offset,code,field,message", "2,3,40,lookup,country,", "3,4,70,invalid,name,", "4,5,79,number,annual_revenue,", ""} {
		if i >= len(reasons) || !strings.HasPrefix(reasons[i], want) {
			t.Errorf("line %d of the reasons is %q, want %q...", i+1, reasons[min(i, len(reasons)-1)], want)
		}
	}

	// Corrected and dropped again, under their own header.
	fixed := strings.NewReplacer("Atlantis", "US", "C;;", "C;C;", "1.5", "1,5").Replace(want)
	s.drop("companies-fixed.csv", fixed)
	s.once()
	balance(t, s.loads()[0].GetBalance(), 3, 3, 0, 0, 0, 0)
	if n := s.number(`select count(*) from record.account where name in ('Café', 'Müller; "B"', 'C', 'D')`); n != 4 {
		t.Errorf("%d of 4 accounts arrived", n)
	}
}

// kill -9 at the worst moments: the batch is with the instance and not yet
// committed, or committed and not yet answered.
func TestKilledFacadeResumes(t *testing.T) {
	for _, when := range []string{"before the commit", "after the commit"} {
		t.Run(when, func(t *testing.T) {
			s := newSite(t)
			const n = 3000
			s.drop("companies.csv", companies(n))
			reached, killed := make(chan struct{}), make(chan struct{})
			var calls atomic.Int64
			moment := func() {
				if c := calls.Add(1); c == 4 || c == 11 {
					reached <- struct{}{}
					<-killed
				}
			}
			if when == "before the commit" {
				s.hook(moment, nil)
			} else {
				s.hook(nil, moment)
			}
			p := s.start()
			for range 2 {
				<-reached
				_ = p.Process.Kill()
				if err := <-p.done; err == nil {
					t.Error("the facade ended by itself")
				}
				killed <- struct{}{}
				p = s.start()
			}
			s.until("the archived file", func() bool { return s.ended("archive", "result.json") != "" })
			s.stop(p)
			loads := s.loads()
			if len(loads) != 1 || loads[0].GetState() != "complete" {
				t.Fatalf("loads %v", loads)
			}
			balance(t, loads[0].GetBalance(), n, n, 0, 0, 0, 0)
			if got := s.number(`select count(*) from record.account`); got != n {
				t.Errorf("%d accounts, want %d", got, n)
			}
			if got := s.number(`select count(*) from history.account`); got != n {
				t.Errorf("%d versions of %d accounts: something was done twice", got, n)
			}
		})
	}
}

func TestAStoppedFacadeEndsAtABatchBoundary(t *testing.T) {
	s := newSite(t)
	s.drop("companies.csv", companies(1000))
	reached, told := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	s.hook(func() {
		if calls.Add(1) == 3 { // in the middle of a batch
			reached <- struct{}{}
			<-told
		}
	}, nil)
	p := s.start()
	<-reached
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	close(told)
	select {
	case err := <-p.done:
		if err != nil {
			t.Fatalf("%v\n%s", err, p.log.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the facade does not end")
	}
	if l := s.loads()[0]; l.GetState() != "applying" || l.GetBalance().GetInserted() != 300 {
		t.Errorf("the load stopped at %v, want the third batch completed", l)
	}
	if !strings.Contains(p.log.String(), `"execution_id":"`) {
		t.Error("the log names no execution")
	}
	s.hook(nil, nil)
	s.once()
	balance(t, s.loads()[0].GetBalance(), 1000, 1000, 0, 0, 0, 0)
}

func TestOneFacadePerFolder(t *testing.T) {
	s := newSite(t)
	p := s.start()
	s.until("the folder to be watched", func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "drop", ".lock"))
		return err == nil
	})
	c, err := filedrop.ReadConfig(filepath.Join(s.dir, "filedrop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	drop, err := filedrop.New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.until("the other's lock", func() bool { err = drop.Once(t.Context()); return err != nil })
	if !strings.Contains(err.Error(), "another filedrop watches") {
		t.Errorf("got %v", err)
	}
	s.stop(p)
}

// The real companies, as the demonstration loads them: each region's mapping
// keeps its own, and together they keep every one.
func TestRegionsShareTheWorld(t *testing.T) {
	mappings, err := filepath.Abs("../../deploy/examples/mappings")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile("../../deploy/examples/data/companies.csv")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	for region, kept := range map[string]int64{"amer": 1190, "emea": 1064, "apac": 2173} {
		l, err := filedrop.LoadFile(t.Context(), filedrop.LoadFileOptions{
			Loads: s.client(), File: "../../deploy/examples/data/companies.csv", Mapping: filepath.Join(mappings, "companies-"+region+".yaml"),
			Count: int64(bytes.Count(content, []byte("\n")) - 1), Batch: 900, DryRun: region == "apac", Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		balance(t, l.GetBalance(), 4427, kept, 0, 0, 0, 4427-kept)
	}
	if n := s.number(`select count(*) from record.account`); n != 1190+1064 {
		t.Errorf("%d accounts; apac was a dry run", n)
	}
}

// client is a LoadService client with the loader's token.
func (s *site) client() facadev1connect.LoadServiceClient {
	return adapters.NewClient(s.url, filepath.Join(s.dir, "token"))
}
