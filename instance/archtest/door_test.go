package archtest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// byTheDoor are the methods of store.Store and store.Tx that read or write
// rows of records: for instance/access alone.
var byTheDoor = []string{
	"List", "Get", "Count", "Aggregate", "History", "VisibleIDs", "Load", "FindByKey", "Versions", "Breakdown", "Write", "Import",
	"Idempotent", "SaveIdempotent", "ShowBI", "Diff", "Differ", "EachDiffering", "CountBehind", "EachBehind", "GiveBack", "Size", "PastBreakdown", "PastByKey", "PastVersion", "PastShown",
	"PastImages", "PastDiff", "DiffRead",
}

// besideTheDoor are the methods of store that are no matter of records, or
// answer ids alone, and who else may call them is anybody's choice. A method
// in neither list fails the test: whoever adds one says which it is.
var besideTheDoor = strings.Fields(`
	DatabaseRoles PrepareBI BIViews Close Ping OnCommit Stamp HoldStamp AwaitStamp Tx Wake Definition Definitions Install Reconcile SealDecisions
	RemoveDecisions VerifyDecisions LogDecisions Decisions FindDecisions CountDecisions AddBundle Bundle BundlesNamed Shipped Active
	LockPolicy Activate NotAfter Adopt FactsAbout FactsAboutAt FactsAboutMany PastTurns SubjectIDsAt ContractsAt FirstActivation Attribute Edit Facts FactHistory Overridden Expiries Boundaries
	Agreements AddAgreement EndAgreement Grants Grant AddGrant EndGrant Evidence OfficerKeys OfficerKey AddOfficerKey RevokeOfficerKey AddProposal
	AddSignature Proposals ProposalsNamed Sample TrustKeys AddDenial EndDenial Denials Shadow StartShadow StopShadow
	AddShadowDifferences ShadowDifferences Pulse Givers SharesBy SharesAbout SharedWith SuspendedGrants SuspendGrant WaitingShares ResumeGrant
	ReinstateGrant Regiven Subject SubjectAt SubjectIDs Receiver ReceiverAt Contracts Contract Placed HasDepartment SubjectRoles DepartmentRoles
	EnqueueBoundaries ForgetKeys Changes Head TrimOutbox OfAccount Moment EgressHoldings LockStream StoreEnvelopes Unsent Sent Lazy FailStream
	Receipt Acknowledge Unacknowledged UnacknowledgedRetraction UnparkBefore
	StreamsOut AddRepair NextRepair Disclosed Ledger Inbox MoveInbox FailInbox Inboxes HeldSince StreamsIn OpenGap CloseGaps SettleGaps ClaimGaps Park
	Unpark ParkedIn HasParked Lead Relay Restored MoveRelay Backlog Served SaveServed HeldAfter HomeAfter Live AddDue TakeDue BeginLoad FindLoad Loads
	FinishLoad AdvanceLoad LoadRejects BreakGlass Emergencies Emergency EmergenciesWaiting EmergencyReads ReviewEmergency
`)

// TestOneDoor: no package but instance/access calls what reads or writes
// records in the store. Exchange and load have tables of their own there, of
// envelopes and of positions; those methods are beside the door.
func TestOneDoor(t *testing.T) {
	declared := storeMethods(t)
	for _, name := range declared {
		if !slices.Contains(byTheDoor, name) && !slices.Contains(besideTheDoor, name) {
			t.Errorf("store has a new method %s: put it by the door (it reads or writes records) or beside it", name)
		}
	}
	for i, name := range slices.Concat(byTheDoor, besideTheDoor) {
		if slices.Contains(slices.Concat(byTheDoor, besideTheDoor)[:i], name) {
			t.Errorf("%s is listed twice: it is either by the door or beside it", name)
		}
		if !slices.Contains(declared, name) {
			t.Errorf("store has no method %s any more: take it out of the lists", name)
		}
	}
	calls := 0
	eachFile(t, func(t *testing.T, path, pkg string, f *ast.File) {
		if strings.HasSuffix(path, "_test.go") || within(pkg, "instance/store") || !imports(f, module+"instance/store") {
			return
		}
		f = whole(t, path)
		holders := storeHolders(f)
		eachCall(f, func(method *ast.SelectorExpr) {
			if !slices.Contains(byTheDoor, method.Sel.Name) || !holders[last(method.X)] {
				return
			}
			if pkg == "instance/access" {
				calls++
			} else {
				t.Errorf("%s: %s calls %s of the store; records are reached through instance/access", path, pkg, method.Sel.Name)
			}
		})
	})
	if calls < 15 {
		t.Errorf("saw only %d calls from access; does the test still see them?", calls)
	}
}

// whole is a file with its functions; eachFile reads imports alone.
func whole(t *testing.T, path string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// eachCall visits what is called by a name behind a dot.
func eachCall(f *ast.File, visit func(*ast.SelectorExpr)) {
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if called, ok := call.Fun.(*ast.SelectorExpr); ok {
				visit(called)
			}
		}
		return true
	})
}

// storeHolders are the names in a file that may hold a store or a transaction:
// what is conventionally called so, and what is declared with its type.
func storeHolders(f *ast.File) map[string]bool {
	names := map[string]bool{"store": true, "st": true, "tx": true, "Store": true, "Tx": true}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			if ofStore(n.Type) {
				for _, name := range n.Names {
					names[name.Name] = true
				}
			}
		case *ast.ValueSpec:
			if ofStore(n.Type) {
				for _, name := range n.Names {
					names[name.Name] = true
				}
			}
		case *ast.AssignStmt: // s := x.store
			for i, from := range n.Rhs {
				if i < len(n.Lhs) && names[last(from)] {
					names[last(n.Lhs[i])] = true
				}
			}
		}
		return true
	})
	return names
}

// ofStore tells the types *store.Store and *store.Tx.
func ofStore(t ast.Expr) bool {
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	s, ok := t.(*ast.SelectorExpr)
	return ok && last(s.X) == "store" && (s.Sel.Name == "Store" || s.Sel.Name == "Tx")
}

// last is the last name of an expression such as d.store.
func last(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.ParenExpr:
		return last(e.X)
	}
	return ""
}

func imports(f *ast.File, path string) bool {
	return slices.ContainsFunc(f.Imports, func(s *ast.ImportSpec) bool { return strings.Trim(s.Path.Value, `"`) == path })
}

// storeMethods are the exported methods of store.Store and store.Tx.
func storeMethods(t *testing.T) (out []string) {
	t.Helper()
	dir := filepath.Join(root, "instance/store")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		for _, d := range whole(t, filepath.Join(dir, e.Name())).Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || !fn.Name.IsExported() {
				continue
			}
			of := fn.Recv.List[0].Type
			if p, ok := of.(*ast.StarExpr); ok {
				of = p.X
			}
			if name := last(of); (name == "Store" || name == "Tx") && !slices.Contains(out, fn.Name.Name) {
				out = append(out, fn.Name.Name)
			}
		}
	}
	return out
}

// TestOneMux: paths are registered in the API's registry alone, so that the
// leak matrix knows them all.
func TestOneMux(t *testing.T) {
	mounts := 0
	eachFile(t, func(t *testing.T, path, pkg string, _ *ast.File) {
		if strings.HasSuffix(path, "_test.go") || !within(pkg, "instance") || within(pkg, "instance/embedded instance/pluginhost") {
			return
		}
		eachCall(whole(t, path), func(fn *ast.SelectorExpr) {
			if last(fn.X) != "mux" && last(fn.X) != "http" || fn.Sel.Name != "Handle" && fn.Sel.Name != "HandleFunc" {
				return
			}
			switch {
			case pkg == "instance/api" && strings.HasSuffix(path, "/api.go"):
				mounts++
			case pkg == "instance/api" && strings.HasSuffix(path, "/health.go"): // below one path that is mounted
			default:
				t.Errorf("%s mounts a path beside server.mount of instance/api", path)
			}
		})
	})
	if mounts != 1 {
		t.Errorf("%d places mount paths, want one: server.mount", mounts)
	}
}

// rowsOfRecords tells SQL that names a table of records, of their history, or
// a view of them for BI tools.
var rowsOfRecords = regexp.MustCompile(`(?i)\b(from|join|into|update|only|table)\s+"?(record|history|bi)"?\.`)

// TestOneStore: nobody but package store speaks SQL about records: search,
// export, views for BI tools, past moments and impact are its methods, and go
// by the door like the rest. What measures by hand in bench is not part of an
// instance.
func TestOneStore(t *testing.T) {
	spoken := 0
	eachFile(t, func(t *testing.T, path, pkg string, _ *ast.File) {
		if strings.HasSuffix(path, "_test.go") || within(pkg, "bench proto/gen") {
			return
		}
		ast.Inspect(whole(t, path), func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING || !rowsOfRecords.MatchString(lit.Value) {
				return true
			}
			if within(pkg, "instance/store") {
				spoken++
			} else {
				t.Errorf("%s: SQL about records outside package store: %.80s", path, lit.Value)
			}
			return true
		})
	})
	if spoken < 2 {
		t.Errorf("saw only %d statements about records in package store; does the test still see them?", spoken)
	}
}

// TestOneWayIntoTopics: messages are appended in one place, which takes only
// what the registry of topics names, so that the leak matrix knows it all.
func TestOneWayIntoTopics(t *testing.T) {
	ways := 0
	eachFile(t, func(t *testing.T, path, pkg string, _ *ast.File) {
		if strings.HasSuffix(path, "_test.go") || !within(pkg, "instance") || within(pkg, "instance/embedded") {
			return
		}
		eachCall(whole(t, path), func(fn *ast.SelectorExpr) {
			if fn.Sel.Name != "Produce" && fn.Sel.Name != "WriteMessages" {
				return
			}
			switch {
			case pkg == "instance/exchange" && strings.HasSuffix(path, "/topics.go"):
				ways++
			case pkg == "instance/exchange" && strings.HasSuffix(path, "/transport_kafka.go"): // the client below it
			default:
				t.Errorf("%s appends to a topic beside Exchange.append", path)
			}
		})
	})
	if ways != 1 {
		t.Errorf("%d places append to topics, want one: Exchange.append", ways)
	}
}
