package api_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"meridian/instance/access"
	"meridian/instance/crm"
	"meridian/instance/crm/trees"
	"meridian/instance/store"
	"meridian/instance/store/schema"
	"meridian/policy"
)

// The world of the leak matrix: for every ground and condition a subject of
// its own, and for each of those a target record of every entity, full of
// markers that occur nowhere else, and a decoy that the subject sees anyway.

// condition is the state of a ground for a subject and their targets.
type condition string

const (
	allowed    condition = "allowed"
	denied     condition = "denied"
	grouped    condition = "withheld group"
	masked     condition = "masked"
	expired    condition = "expired yesterday"
	tomorrow   condition = "starts tomorrow"
	walled     condition = "walled off"
	areaWalled condition = "in a walled-off area"
	withheld   condition = "withheld by a colleague"
	revoked    condition = "just revoked"
)

var conditions = []condition{allowed, denied, grouped, masked, expired, tomorrow, walled, areaWalled, withheld, revoked}

// grounds open records.
var grounds = []string{"territory", "steward", "catalogue", "load", "relationship", "agreement", "area", "share", "emergency"}

// closers are the grounds that close records, and the condition that each is.
// Residency is about other instances alone: see leak_topics_test.go.
var closers = map[string]condition{"wall": walled, "area_wall": areaWalled, "withhold": withheld, "residency": abroad}

// impossible says why a combination cannot be, "" if it can.
func impossible(ground string, def crm.Definition, c condition) string {
	account := def.Entity == "account" || hasField(def, "account_id")
	switch {
	case ground == "catalogue" && def.Governed != crm.GovernedCatalogue:
		return "only products are in the catalogue"
	case ground != "catalogue" && ground != "load" && def.Governed == crm.GovernedCatalogue:
		return "the catalogue is open to whoever reads records at all"
	case ground == "catalogue" && (c == grouped || c == masked || c == expired || c == tomorrow):
		return "the catalogue shows all groups at all times"
	case (c == grouped || c == masked) && (ground == "steward" || ground == "territory" || ground == "load"):
		return "the ground shows all groups of records at home; of others' records what is withheld is not stored"
	case (c == grouped || c == masked) && ground == "emergency":
		return "who breaks the glass sees all groups"
	case ground == "load" && (c == expired || c == tomorrow):
		return "a loader's right is its role; roles have no dates of their own"
	case c == walled && !account, ground == "agreement" && !account:
		return "agreements are about accounts; the record has none"
	}
	return ""
}

func hasField(def crm.Definition, name string) bool {
	_, ok := def.Field(name)
	return ok
}

// scenario is a subject under one condition of one ground.
type scenario struct {
	ground  string
	cond    condition
	subject crm.SubjectID
	own     string // territory of the decoys
	away    string // territory of the targets
	targets map[string]*aim
	decoys  map[string]*aim
	grants  map[string]string // by entity: the grant about the target
	agreed  []string          // the agreements about the target accounts, or their area
	others  map[string][]*aim // more records like the target: where there is an order to tell something by
	cursor  map[string]string // just revoked: the second page began when it was open
	touched map[string]string // just revoked: idempotency key of a write of its own
	watched map[string][]*watcher
}

func (s *scenario) slug() string {
	return s.ground + "-" + strings.ReplaceAll(string(s.cond), " ", "-")
}

// reads tells how the scenario's subject sees its target of an entity.
func (s *scenario) reads() (open, partial bool) {
	switch {
	case s.ground == "load":
		return false, false // loaders read nothing
	case s.cond == grouped, s.cond == masked, s.ground == "relationship" && s.cond == allowed:
		return false, true
	}
	return s.cond == allowed, false
}

// masks tells whether the scenario's subject is shown a group masked.
func (s *scenario) masks(group string) bool {
	_, partial := s.reads()
	return partial && group != "core" && (s.cond == masked || s.ground == "relationship" && group == "commercial")
}

// moreMasks is policy of the matrix's world alone: where the condition is
// masked, the grounds that are limited to the core mask the rest. What ships
// masks on one ground only.
const moreMasks = `package meridian.rules

rather_masked(ask, group) if {
	group != "core"
	some department in ask.subject.departments
	endswith(department, "-masked")
}

relationship_masks(ask, _, _, group) if rather_masked(ask, group)

agreement_masks(ask, _, _, _, group) if rather_masked(ask, group)

area_masks(ask, _, _, _, group) if rather_masked(ask, group)

share_masks(ask, _, _, _, group) if rather_masked(ask, group)
`

// mask gives every field beyond the core the mask that its type has, so that
// all masks are tried in all entities.
func mask(defs []crm.Definition) []crm.Definition {
	kinds := map[crm.Type]crm.Mask{crm.TypeString: crm.MaskLastFour, crm.TypeDate: crm.MaskYear, crm.TypeTimestamp: crm.MaskYear,
		crm.TypeInteger: crm.MaskBand, crm.TypeDecimal: crm.MaskBand}
	for _, d := range defs {
		for i, f := range d.Fields {
			if f.Group != "core" {
				d.Fields[i].Mask = kinds[f.Type]
			}
		}
	}
	return defs
}

// aim is a record to ask for: a real one, or one that never was.
type aim struct {
	entity  string
	id      crm.RecordID
	key     string
	version int64
	grant   string
	agreed  string
	replay  string // idempotency key: of the request that made the target, or a fresh one
	request string // idempotency key: of the maker's last request about the target, or a fresh one
	fields  map[string]crm.Value
	marks   map[string]string // field: marker, as text
	nonce   string
	written string // what was added to the key since
}

func nonce() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// invent makes a record full of markers. Two inventions differ in nothing but
// the markers, which have the same lengths.
func invent(def crm.Definition, refs map[string]crm.RecordID) *aim {
	n := nonce()
	a := &aim{entity: def.Entity, id: crm.NewRecordID(), fields: map[string]crm.Value{}, marks: map[string]string{}, nonce: n, version: 1,
		replay: n + def.Entity, request: "maker-" + n, grant: string(crm.NewRecordID()), agreed: string(crm.NewRecordID())}
	var digits [8]byte
	_, _ = rand.Read(digits[:])
	number := func(i int) string {
		v := uint64(0)
		for _, b := range digits {
			v = v<<8 | uint64(b)
		}
		return fmt.Sprintf("7%011d%02d", v%100_000_000_000, i%100)
	}
	for i, f := range def.Fields {
		mark := fmt.Sprintf("mk%02d%s", i, n) // no field's begins like another's
		switch {
		case f.Type == crm.TypeReference:
			if id, ok := refs[f.Name]; ok {
				a.fields[f.Name] = crm.Reference(id)
			}
			continue
		case len(f.Enum) > 0:
			if f.Required {
				a.fields[f.Name] = crm.String(f.Enum[0])
			}
			continue
		case f.Type == crm.TypeString:
			a.fields[f.Name] = crm.String(mark)
		case f.Type == crm.TypeList:
			a.fields[f.Name] = crm.List(mark)
		case f.Type == crm.TypeDecimal:
			mark = number(i) + ".25"
			a.fields[f.Name] = crm.Decimal(mark)
		case f.Type == crm.TypeInteger:
			mark = number(i)
			var v int64
			_, _ = fmt.Sscan(mark, &v) // digits
			a.fields[f.Name] = crm.Integer(v)
		case f.Type == crm.TypeDate:
			mark = fmt.Sprintf("%d-%02d-%02d", 2300+(int(digits[0])<<8|int(digits[1]))%6000, 2+digits[2]%11, 2+(int(digits[3])+i)%27) // no first of January, which is what a mask leaves
			a.fields[f.Name] = crm.Date(mark)
		default:
			continue
		}
		a.marks[f.Name] = mark
	}
	a.key = a.marks[def.Key]
	return a
}

// alike changes the values of some fields into others of which the masks leave
// the same.
func (a *aim) alike(from *aim, fields []crm.Field) {
	for _, f := range fields {
		own, like := a.marks[f.Name], from.marks[f.Name]
		if own == "" || like == "" {
			continue
		}
		switch f.Type {
		case crm.TypeString:
			own = own[:len(own)-4] + like[len(like)-4:]
			a.fields[f.Name] = crm.String(own)
		case crm.TypeDate:
			own = like[:4] + own[4:]
			a.fields[f.Name] = crm.Date(own)
		}
		a.marks[f.Name] = own // numbers of the matrix lie in one band anyway
	}
}

// leakWorld is the instance with all scenarios in place.
type leakWorld struct {
	*world
	only      string // ground, "" for all
	every     bool   // every probe of every cell
	next      http.Handler
	broken    atomic.Pointer[http.Handler]
	defs      map[string]crm.Definition
	entities  []string // an entity after those it refers to
	scenarios []*scenario
	tokens    map[crm.SubjectID]string
	trace     *statements
	db        *pgx.Conn
	made      sync.Map // general probes that were made
}

// abroad is a condition of topics alone.
const abroad condition = "in another jurisdiction"

const maker = crm.SubjectID("maker@amer")

// newLeakWorld makes the world, or the part of it that is about one ground.
func newLeakWorld(t *testing.T, only string) *leakWorld {
	t.Helper()
	l := &leakWorld{only: only, every: whole, defs: map[string]crm.Definition{}, tokens: map[crm.SubjectID]string{}, trace: &statements{},
		entities: []string{"product", "account", "contact", "lead", "engagement", "opportunity", "case", "activity"}}
	defs := mask(schema.Common())
	for _, d := range defs {
		l.defs[d.Entity] = d
		if !slices.Contains(l.entities, d.Entity) {
			t.Fatalf("entity %s is not in the leak matrix: add it", d.Entity)
		}
	}
	modules := policy.Embedded().Modules()
	modules["masks_of_the_matrix.rego"] = moreMasks
	modules["limits.rego"] = strings.Replace(modules["limits.rego"], `"open_at_once": 5`, `"open_at_once": 50`, 1) // a target of every entity
	bundle, err := policy.NewBundle(modules)
	must(t, err)
	l.world = openWith(t, recipe{facts: l.facts(), defs: defs, bundle: bundle, trace: l.trace.told, before: l.breakable})
	l.db, err = pgx.Connect(t.Context(), l.world.db)
	must(t, err)
	t.Cleanup(func() { _ = l.db.Close(context.WithoutCancel(t.Context())) })
	for _, s := range l.scenarios {
		l.tokens[s.subject] = l.token(s.subject)
	}
	l.tokens[maker], l.tokens["officer@amer"] = l.token(maker), l.token("officer@amer")
	l.fill()
	l.close()
	return l
}

// facts are the subjects of all scenarios and what opens records to them.
func (l *leakWorld) facts() store.Facts {
	var places []string
	for _, n := range trees.Territories() {
		if n.Level == "country" && n.ID != "US" {
			places = append(places, n.ID)
		}
	}
	all := []string{trees.AllSegments}
	f := store.Facts{
		Territories: trees.Territories(), Segments: trees.Segments(),
		Departments: []store.Department{{ID: "nobody", Name: "Nobody"}},
	}
	makers := store.SubjectFact{ID: maker, Kind: crm.KindPerson, Roles: []string{"manager"}, Clearance: 9, Territories: []string{trees.World}, Segments: all}
	for _, g := range grounds {
		if l.only != "" && l.only != g {
			continue
		}
		for _, c := range conditions {
			if !slices.ContainsFunc(l.entities, func(e string) bool { return impossible(g, l.defs[e], c) == "" }) {
				continue
			}
			s := &scenario{ground: g, cond: c, own: places[0], away: places[1], targets: map[string]*aim{}, decoys: map[string]*aim{},
				others: map[string][]*aim{}, grants: map[string]string{}, cursor: map[string]string{}, touched: map[string]string{}, watched: map[string][]*watcher{}}
			places = places[2:]
			s.subject = crm.SubjectID(s.slug() + "@amer")
			l.scenarios = append(l.scenarios, s)
			desk, on := s.slug(), "on-"+s.slug()
			f.Departments = append(f.Departments, store.Department{ID: desk, Name: desk}, store.Department{ID: on, Name: on})
			makers.Departments = append(makers.Departments, on)
			who := store.SubjectFact{ID: s.subject, Kind: crm.KindPerson, Roles: []string{"rep"}, Clearance: 5, Territories: []string{s.own}, Segments: all, Departments: []string{desk}}
			switch {
			case g == "load":
				who.Kind, who.Roles, who.Territories, who.Segments = crm.KindService, []string{"loader"}, nil, nil
				if c == denied {
					who.Roles = nil
				}
			case g == "catalogue" && c == denied:
				who.Roles = nil
			case g == "emergency":
				who.Roles = []string{"manager"}
			case (g == "territory" || g == "steward") && c != denied:
				who.Territories = append(who.Territories, s.away)
			case g == "relationship" && c != denied:
				f.Relationships = append(f.Relationships, store.RelationshipFact{Department: desk, On: on, Actions: []string{"read", "update"}})
			}
			f.Subjects = append(f.Subjects, who)
		}
	}
	f.Subjects = append(f.Subjects, makers, store.SubjectFact{ID: "officer@amer", Kind: crm.KindPerson, Roles: []string{"officer"}})
	return f
}

// fill creates targets and decoys, and where a subject sees the target but for
// some fields two more of its kind.
func (l *leakWorld) fill() {
	for _, entity := range l.entities {
		def := l.defs[entity]
		var rows []access.NewRow
		var made []*aim
		for _, s := range l.scenarios {
			if impossible(s.ground, def, s.cond) != "" && entity != "account" {
				continue
			}
			add := func(place string, account *aim) *aim {
				refs := map[string]crm.RecordID{}
				if account != nil {
					refs["account_id"] = account.id
				}
				a := invent(def, refs)
				row := access.NewRow{Fields: a.fields, Territory: place, Segment: trees.AllSegments}
				switch {
				case def.Governed == crm.GovernedFromAccount:
					row.Territory, row.Segment = "", ""
				case s.ground == "steward":
					row.Segment = ""
				}
				if s.ground == "relationship" && place == s.away {
					row.Department = "on-" + s.slug()
				}
				rows, made = append(rows, row), append(made, a)
				return a
			}
			s.targets[entity] = add(s.away, s.targets["account"])
			s.decoys[entity] = add(s.own, s.decoys["account"])
			if _, partial := s.reads(); partial && impossible(s.ground, def, s.cond) == "" {
				for range 2 {
					other := add(s.away, s.targets["account"])
					other.alike(s.targets[entity], l.hidden(s, entity))
					s.others[entity] = append(s.others[entity], other)
				}
			}
		}
		key := "maker-" + entity
		results, err := l.door.Create(l.t.Context(), crm.Caller{Subject: maker}, access.CreateRequest{Entity: entity, Rows: rows, IdempotencyKey: key})
		must(l.t, err)
		for i, r := range results {
			if r.Err != nil {
				l.t.Fatalf("%s: %v", entity, r.Err)
			}
			made[i].id, made[i].version, made[i].replay = r.Record.ID, r.Record.Version, key
		}
	}
}

// close brings every scenario but the just revoked ones into its condition.
func (l *leakWorld) close() {
	for _, s := range l.scenarios {
		l.breakGlass(s)
		for _, entity := range l.entities {
			if s.targets[entity] == nil || impossible(s.ground, l.defs[entity], s.cond) != "" {
				continue
			}
			for _, a := range s.like(entity) {
				l.judge(s, a)
			}
		}
		for _, account := range s.like("account") {
			l.agree(s, account)
		}
		switch s.cond {
		case expired:
			l.date(s, "now() - interval '9 days'", "now() - interval '1 day'")
		case tomorrow:
			l.date(s, "now() + interval '1 day'", "now() + interval '30 days'")
		}
	}
}

// breakGlass opens the targets of an emergency to its subject, before anything
// closes them: a withhold of an account is one of its contacts.
func (l *leakWorld) breakGlass(s *scenario) {
	for entity, a := range s.targets {
		if s.ground != "emergency" || s.cond == denied || impossible(s.ground, l.defs[entity], s.cond) != "" {
			continue
		}
		e, err := l.door.BreakGlass(l.t.Context(), crm.Caller{Subject: s.subject}, access.BreakRequest{Entity: entity, Record: string(a.id), Reason: "the matrix"})
		must(l.t, err)
		s.grants[entity] = e.ID // not the target's: who broke the glass may know of it
	}
}

// like are the target of an entity and the others of its kind.
func (s *scenario) like(entity string) []*aim {
	return append([]*aim{s.targets[entity]}, s.others[entity]...)
}

// judge gives the judgements about a record that the scenario's condition is.
func (l *leakWorld) judge(s *scenario, a *aim) {
	judge := func(kind crm.GrantKind, groups ...string) {
		g, err := l.door.Judge(l.t.Context(), crm.Caller{Subject: maker}, crm.Grant{Entity: a.entity, Record: a.id, Kind: kind, Key: "s:" + string(s.subject), Groups: groups, Reason: "matrix"})
		must(l.t, err)
		a.grant = g.ID
		if a == s.targets[a.entity] {
			s.grants[a.entity] = g.ID
		}
	}
	if s.ground == "share" && s.cond != denied {
		judge(crm.GrantShare, l.shown(s, a.entity)...)
	}
	if s.cond == withheld {
		judge(crm.GrantWithhold)
	}
}

// shown are the groups that agreements and shares of a scenario reveal.
func (l *leakWorld) shown(s *scenario, entity string) []string {
	if s.cond == grouped || s.cond == masked {
		return []string{"core"}
	}
	d := l.defs[entity]
	return d.Groups()
}

// agree makes the agreements that the scenario's condition is: about an
// account or, once, about the area of the targets.
func (l *leakWorld) agree(s *scenario, account *aim) {
	once := account == s.targets["account"]
	agree := func(g crm.Agreement) {
		g.Department, g.Actions, g.Document, g.Reason = s.slug(), []string{"read", "update"}, "matrix", "matrix"
		if s.cond == expired {
			g.From, g.To = time.Now().AddDate(0, 0, -9), time.Now().AddDate(0, 0, -1)
		}
		if s.cond == tomorrow {
			g.From, g.To = time.Now().AddDate(0, 0, 1), time.Now().AddDate(0, 0, 30)
		}
		made, err := l.door.CreateAgreement(l.t.Context(), crm.Caller{Subject: "officer@amer"}, g)
		must(l.t, err)
		s.agreed = append(s.agreed, made.ID)
		for _, a := range s.targets {
			a.agreed = made.ID
		}
	}
	if s.ground == "agreement" && s.cond != denied {
		agree(crm.Agreement{Account: account.id, Effect: crm.EffectOpen, Groups: l.shown(s, "account")})
	}
	if s.ground == "area" && s.cond != denied && once {
		agree(crm.Agreement{Territory: s.away, Effect: crm.EffectOpen, Groups: l.shown(s, "account")})
	}
	if s.cond == walled {
		agree(crm.Agreement{Account: account.id, Effect: crm.EffectWall})
	}
	if s.cond == areaWalled && once {
		agree(crm.Agreement{Territory: s.away, Effect: crm.EffectWall})
	}
}

// date sets when what opens the scenario's targets holds.
func (l *leakWorld) date(s *scenario, from, to string) {
	set := "set valid_from = " + from + ", valid_to = " + to
	if from == "" {
		set = "set valid_to = " + to
	}
	var sql string
	args := []any{string(s.subject)}
	switch s.ground {
	case "territory", "steward":
		sql = `update fact.assignment ` + set + ` where subject = $1 and tree = 'territory' and node = $2`
		args = append(args, s.away)
	case "relationship":
		sql = `update fact.relationship ` + set + ` where department = $1`
		args = []any{s.slug()}
	case "agreement", "area":
		return // made with their dates
	case "share":
		sql = `update fact."grant" ` + set + ` where kind = 'share' and key = $1`
		args = []any{"s:" + string(s.subject)}
	case "emergency": // for a day at most
		sql = `update fact."grant" set valid_from = ` + from + `, valid_to = ` + from + ` + interval '1 hour' where kind = 'emergency' and key = $1`
		args = []any{"s:" + string(s.subject)}
	case "catalogue", "load":
		sql = `update fact.subject set roles = '{}' where id = $1`
	}
	tag, err := l.db.Exec(l.t.Context(), sql, args...)
	must(l.t, err)
	if tag.RowsAffected() == 0 {
		l.t.Fatalf("%s: nothing opens it", s.slug())
	}
}

// revoke takes away what opened the just revoked scenarios, the way it is done
// in the field where there is one.
func (l *leakWorld) revoke() {
	ctx := l.t.Context()
	for _, s := range l.scenarios {
		if s.cond != revoked {
			continue
		}
		switch s.ground {
		case "share":
			for _, id := range s.grants {
				_, err := l.door.EndGrant(ctx, crm.Caller{Subject: maker}, id, "matrix")
				must(l.t, err)
			}
		case "emergency":
			for _, id := range s.grants {
				_, err := l.door.EndEmergency(ctx, crm.Caller{Subject: s.subject}, id, "matrix")
				must(l.t, err)
			}
		case "agreement", "area":
			for _, id := range s.agreed {
				_, err := l.door.EndAgreement(ctx, crm.Caller{Subject: "officer@amer"}, id, "matrix")
				must(l.t, err)
			}
		default:
			l.date(s, "", "clock_timestamp()")
		}
	}
}

// hidden are the fields of a target that its subject may not see, or sees
// masked at most.
func (l *leakWorld) hidden(s *scenario, entity string) []crm.Field {
	open, partial := s.reads()
	var out []crm.Field
	for _, f := range l.defs[entity].Fields {
		if !open && (!partial || f.Group != "core") {
			out = append(out, f)
		}
	}
	return out
}

var leakDeadline = 60 * time.Second
