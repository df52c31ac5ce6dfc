package policy_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"meridian/instance/crm"
	"meridian/policy"
)

// The generator writes random bundles, subjects, facts and records. It knows
// the words of the bundle (rows and arguments) and nothing of the translator.

// words are the texts of rows and lists: some share prefixes, some differ only
// by case or normalisation, some mean something to SQL or to Rego.
var words = []string{
	"", "a", "A", "b", "B", "ab", "aB", "z", "Z", "ä", "a\u0308", "ß", "ss", "é", "日本", "日", "😀", "it's", `say "x"`, `\`, "%", "_a", "$1", "US", "US-CA", "null", "10", "9",
}

var groupNames = []string{"core", "commercial", "personal"}

// definitions are the entities of every case, with fields of every type. Only
// contacts have a grade.
var definitions = func() (ds []crm.Definition) {
	fields := []crm.Field{
		{Name: "tier", Type: crm.TypeString}, {Name: "order", Type: crm.TypeString}, {Name: "size", Type: crm.TypeInteger},
		{Name: "amount", Type: crm.TypeDecimal}, {Name: "vip", Type: crm.TypeBoolean}, {Name: "since", Type: crm.TypeDate},
		{Name: "since2", Type: crm.TypeDate}, {Name: "seen", Type: crm.TypeTimestamp}, {Name: "parent", Type: crm.TypeReference}, {Name: "tags", Type: crm.TypeList},
	}
	ds = []crm.Definition{{Entity: "account", Fields: fields}, {Entity: "contact", Fields: append(slices.Clone(fields), crm.Field{Name: "grade", Type: crm.TypeString})}}
	return ds
}()

var (
	integers = []int64{-1 << 62, -1, 0, 3, 9, 10, 1 << 62}
	decimals = []string{"-12.5", "-0.1", "0", "0.1", "0.3", "3", "9.99", "10", "123456789012345678"}
	dates    = []string{"0001-01-01", "1999-12-31", "2026-02-28", "2026-03-01", "9999-12-31"}
)

// noon is the database's time of every case; instants are around it.
var (
	noon     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	instants = []time.Time{
		noon.Add(-24 * time.Hour), noon.Add(-time.Microsecond), noon, noon.Add(time.Microsecond), noon.Add(24 * time.Hour), crm.Forever,
	}
	uuids = func() (ids []crm.RecordID) {
		for i := range 12 {
			ids = append(ids, crm.RecordID(fmt.Sprintf("%08x-0000-7000-8000-0000000000%02x", i*7, i)))
		}
		return ids
	}()
)

type generator struct {
	*rand.Rand
	helpers strings.Builder
	n       int
	ground  string // what helpers of the ground are called after
	fact    string // kind of fact of the ground, "" without
}

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

func (g *generator) word() string   { return pick(g, words...) }
func (g *generator) quoted() string { return quote(g.word()) }

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func (g *generator) list(lo, hi int) []string {
	n := lo + g.IntN(hi-lo+1)
	out := make([]string, 0, n)
	for range n {
		out = append(out, g.word())
	}
	return out
}

// subjectList is a list of the subject, sometimes worked on.
func (g *generator) subjectList() string {
	l := "ask.subject." + pick(g, "territories", "segments", "departments", "keys", "groups", "jurisdictions", "roles")
	switch g.IntN(8) {
	case 0:
		return "{x | some x in " + l + "; x != " + g.quoted() + "}"
	case 1:
		return "{rel.department | some rel in ask.subject.relationships; ask.action in rel.actions}"
	case 2:
		var qs []string
		for _, w := range g.list(0, 14) {
			qs = append(qs, quote(w))
		}
		if len(qs) == 0 {
			return "set()"
		}
		return "{" + strings.Join(qs, ", ") + "}"
	}
	return l
}

// column is a text column in scope.
func (g *generator) column() string {
	switch {
	case g.fact == "agreement" && g.IntN(3) > 0:
		return "fact." + pick(g, "department", "effect")
	case g.fact == "grant" && g.IntN(3) > 0:
		return "fact." + pick(g, "kind", "key")
	case g.fact == "area" && g.IntN(4) == 0:
		return "fact." + pick(g, "department", "effect", "on_department")
	case g.IntN(4) == 0:
		return "record.fields." + pick(g, "tier", "order")
	}
	return "record." + pick(g, "home", "territory", "segment", "department", "owner", "jurisdiction")
}

func (g *generator) uuidColumn() string {
	switch {
	case g.fact == "agreement" && g.IntN(2) == 0:
		return "fact.account"
	case g.fact == "grant" && g.IntN(2) == 0:
		return "fact.record"
	}
	return "record." + pick(g, "id", "account", "fields.parent")
}

func (g *generator) timeColumn() string {
	if g.fact != "" && g.IntN(3) > 0 {
		return "fact." + pick(g, "valid_from", "valid_to")
	}
	return "record." + pick(g, "created", "updated", "fields.seen")
}

func (g *generator) array() string {
	switch {
	case g.fact == "agreement" && g.IntN(3) > 0:
		return "fact." + pick(g, "actions", "groups")
	case g.fact == "grant" && g.IntN(3) > 0:
		return "fact.groups"
	case g.fact == "area" && g.IntN(3) > 0:
		return "fact." + pick(g, "actions", "groups", "territories")
	}
	return "record." + pick(g, "withheld", "fields.tags")
}

func (g *generator) op() string    { return pick(g, "==", "!=", "<", "<=", ">", ">=") }
func (g *generator) equal() string { return pick(g, "==", "!=") }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// sides writes a comparison either way round. A column is not compared with
// itself: OPA reduces that to a column standing alone, which is refused.
func (g *generator) sides(a, op, b string) string {
	if a == b {
		a, b = "record.sensitivity", "ask.subject.clearance"
	}
	if g.IntN(3) == 0 && !strings.HasPrefix(b, "-") { // at the start of a line it would be a minus
		return b + " " + op + " " + a
	}
	return a + " " + op + " " + b
}

// atom is one condition that may also stand under `not`.
func (g *generator) atom() string {
	switch g.IntN(22) {
	case 17:
		return g.sides("record.fields.size", g.op(), pick(g, "record.fields.size", "ask.subject.clearance", "record.sensitivity", fmt.Sprint(pick(g, integers...))))
	case 18:
		return g.sides("record.fields.amount", g.op(), pick(g, decimals...))
	case 19:
		return g.sides("record.fields.since", g.op(), quote(pick(g, dates...)))
	case 20:
		return pick(g, "record.fields.vip == true", "record.fields.vip != true", "false == record.fields.vip",
			"record.fields.vip == record.pinned", "record.fields.since < record.fields.since2",
			"record.fields.size in {3, 10, "+fmt.Sprint(g.IntN(9))+"}", "record.fields.amount in {0.1, 9.99}", `record.fields.since in {"1999-12-31", "2026-03-01"}`)
	case 21: // is there a value?
		return g.sides("record.fields."+pick(g, "tier", "order", "size", "amount", "since", "seen", "parent", "tags", "vip"), g.equal(), "null")
	case 0, 1, 2:
		if g.fact == "area" && g.IntN(2) == 0 {
			return g.column() + " in fact." + pick(g, "territories", "segments", "groups")
		}
		return g.column() + " in " + g.subjectList()
	case 3:
		return g.sides(g.column(), g.equal(), g.quoted())
	case 4:
		return g.sides(g.column(), g.op(), g.quoted())
	case 5:
		return g.sides(g.column(), g.op(), g.column())
	case 6:
		return g.sides("record.sensitivity", g.op(), pick(g, "ask.subject.clearance", "0", "3", "9"))
	case 7:
		if g.fact != "" && g.IntN(2) == 0 { // the time is compared with the bounds of facts alone
			return g.sides("now", pick(g, "<", "<=", ">", ">="), "fact."+pick(g, "valid_from", "valid_to"))
		}
		return g.sides(g.timeColumn(), g.op(), pick(g, quote(stamp(pick(g, instants...))), g.timeColumn()))
	case 8:
		return quote(pick(g, append(words, groupNames...)...)) + " in " + g.array()
	case 9:
		return g.array() + " " + g.equal() + " []"
	case 10:
		if g.fact == "grant" && g.IntN(2) == 0 {
			return pick(g, "fact.suspended == true", "fact.suspended == false", "fact.suspended != true")
		}
		if g.fact == "area" && g.IntN(2) == 0 {
			return pick(g, "fact.any_territory", "fact.any_segment == false", `fact.effect == "a"`)
		}
		return pick(g, "record.pinned == true", "false == record.pinned", "record.pinned != true")
	case 11:
		return "startswith(" + g.column() + ", " + pick(g, g.quoted(), quote(pick(g, "B", "b", "S", "CA", "0")), quote(pick(g, "B", "b", "S", "CA", "0"))) + ")"
	case 12:
		return g.sides(g.uuidColumn(), g.equal(), pick(g, quote(string(pick(g, uuids...))), g.uuidColumn(), "record.owner"))
	case 13:
		return g.uuidColumn() + " in [" + quote(string(pick(g, uuids...))) + ", " + quote(string(pick(g, uuids...))) + "]"
	case 14:
		return g.sides(g.column(), g.equal(), pick(g, "ask.subject.id", "ask.action", "ask.entity"))
	case 15:
		return pick(g, `"rep" in ask.subject.roles`, "ask.subject.all_segments", "ask.subject.clearance > 2", `ask.action == "read"`, "ask.subject.territories == []", g.quoted()+" in ask.subject.keys")
	}
	return "record.sensitivity in {" + fmt.Sprint(g.IntN(4)) + ", " + fmt.Sprint(g.IntN(9)) + "}"
}

// literal is one line of a body.
func (g *generator) literal(depth int) string {
	switch g.IntN(14) {
	case 12:
		return `ask.entity == "contact"; ` + pick(g, "", "not ") + g.sides("record.fields.grade", g.op(), g.quoted())
	case 13:
		return pick(g, "", "not ") + g.valued()
	case 0, 1:
		return "not " + g.atom()
	case 2:
		if depth > 0 {
			return g.helper(depth - 1)
		}
	case 3:
		if depth > 0 {
			return "not " + g.helper(depth-1)
		}
	case 4:
		g.n++
		v := fmt.Sprintf("v%d", g.n)
		return v + " := " + g.column() + "; " + v + pick(g, " in "+g.subjectList(), " == "+g.quoted(), " >= "+g.quoted(), " == ask.subject.purpose; "+v+" in "+g.subjectList(), " == ask.subject.id; "+v+" != "+g.quoted())
	case 5:
		g.n++
		v := fmt.Sprintf("v%d", g.n)
		return "some " + v + " in ask.subject." + pick(g, "territories", "keys", "departments") + "; " + g.sides(g.column(), g.equal(), v)
	case 6:
		return "some rel in ask.subject.relationships; ask.action in rel.actions; " + g.sides(g.column(), "==", "rel.department")
	case 7:
		return "every x in ask.subject." + pick(g, "segments", "jurisdictions") + " { x != " + g.column() + " }"
	}
	return g.atom()
}

func (g *generator) body(lo, hi, depth int) string {
	var lines []string
	seen := map[string]bool{}
	for range lo + g.IntN(hi-lo+1) {
		l := g.literal(depth)
		if strings.HasPrefix(l, "some rel ") {
			if seen["rel"] { // a body names a variable once
				continue
			}
			seen["rel"] = true
		}
		lines = append(lines, "\t"+strings.ReplaceAll(l, "; ", "\n\t"))
	}
	if len(lines) == 0 {
		lines = []string{"\t" + g.atom()}
	}
	return strings.Join(lines, "\n")
}

// define writes a rule; arguments that its body does not use are wildcards,
// as strict Rego wants it.
func define(name string, args []string, body string) string {
	head := make([]string, len(args))
	for i, a := range args {
		head[i] = "_"
		if regexp.MustCompile(`(^|[^.\w])` + a + `\b`).MatchString(stringLiteral.ReplaceAllString(body, "")) {
			head[i] = a
		}
	}
	return name + "(" + strings.Join(head, ", ") + ") if {\n" + body + "\n}\n\n"
}

var stringLiteral = regexp.MustCompile(`"(\\.|[^"\\])*"`)

func (g *generator) args() []string {
	if g.fact != "" {
		return []string{"ask", "record", "fact", "now"}
	}
	return []string{"ask", "record", "now"}
}

// helper writes a function of one to three bodies and returns a call of it.
func (g *generator) helper(depth int) string {
	g.n++
	name := fmt.Sprintf("%s_helper%d", g.ground, g.n)
	for range 1 + g.IntN(3) {
		body := g.body(1, 3, depth)
		g.helpers.WriteString(define(name, g.args(), body))
	}
	return name + "(" + strings.Join(g.args(), ", ") + ")"
}

// valued writes a function of a value and returns a call of it.
func (g *generator) valued() string {
	g.n++
	name := fmt.Sprintf("%s_valued%d", g.ground, g.n)
	for range 1 + g.IntN(2) {
		g.helpers.WriteString(define(name, []string{"ask", "value"}, "\t"+pick(g, "value in "+g.subjectList(), "value "+g.op()+" "+g.quoted(), "not value == "+g.quoted())))
	}
	return name + "(ask, " + g.column() + ")"
}

// made is a ground of a generated bundle.
type made struct {
	name, fact string
	opens      bool
}

// bundle writes a random bundle and says what grounds it has.
func (g *generator) bundle() (string, []made) {
	grounds := []made{{"g0", "", true}, {"g1", pick(g, "agreement", "grant", "area", ""), true}, {"g2", pick(g, "agreement", "grant", "area"), false}}
	for i := range g.IntN(4) {
		grounds = append(grounds, made{fmt.Sprintf("g%d", i+3), pick(g, "agreement", "grant", "area", ""), g.IntN(3) > 0})
	}
	var rules, declared strings.Builder
	g.helpers.Reset()
	for _, gr := range grounds {
		g.ground, g.fact = gr.name, gr.fact
		effect, factOf := "closes", ""
		if gr.opens {
			effect = "opens"
		}
		if gr.fact != "" {
			factOf = `"fact": "` + gr.fact + `", `
		}
		fmt.Fprintf(&declared, "\t%q: {\"effect\": %q, %s\"text\": \"t\"},\n", gr.name, effect, factOf)
		for range 1 + g.IntN(3) {
			lo, hi := 1, 3
			if !gr.opens { // closing everything is a dull policy
				lo, hi = 2, 4
			}
			rules.WriteString(define(gr.name, g.args(), g.body(lo, hi, 2)))
		}
		if !gr.opens {
			continue
		}
		for _, shows := range g.shows() {
			body := pick(g, "\tgroup == \"core\"", "\tgroup in {\"core\", \"personal\"}", "\tgroup in ask.subject.groups", "\tgroup != \"commercial\"")
			if g.fact != "" && g.IntN(2) == 0 {
				body = "\tgroup in fact.groups"
			}
			if g.IntN(2) == 0 {
				body += "\n" + g.body(1, 2, 1)
			}
			rules.WriteString(define(gr.name+shows, append(g.args(), "group"), body))
		}
	}
	return "package meridian.rules\n\ngrounds := {\n" + declared.String() + "}\n\n" + rules.String() + g.helpers.String(), grounds
}

// shows are the functions of an opening ground about groups, one for each body.
func (g *generator) shows() []string {
	return pick(g, []string{"_reveals"}, []string{"_reveals", "_reveals"}, []string{"_reveals", "_masks"}, []string{"_reveals", "_masks", "_masks"})
}

func (g *generator) subject() crm.Subject {
	s := crm.Subject{
		ID: crm.SubjectID(g.word()), Kind: pick(g, crm.KindPerson, crm.KindService, crm.KindInstance), Instance: g.word(),
		Roles: pick(g, nil, []string{"rep"}, []string{"rep", "reader", "a"}), Clearance: g.IntN(10),
		Territories: g.list(0, 14), Segments: g.list(0, 14), AllSegments: g.IntN(2) == 0, Departments: g.list(0, 4),
		Keys: g.list(0, 6), Groups: pick(g, nil, []string{"core"}, groupNames), Jurisdictions: g.list(0, 3), Purpose: g.word(),
	}
	s.From, s.To = pick(g, instants[:4]...), pick(g, instants[2:]...) // counts for instances alone
	if g.IntN(3) > 0 {
		s.Jurisdictions = pick(g, []string{"*"}, g.list(8, 20))
	}
	for i := range g.IntN(4) {
		s.Areas = append(s.Areas, crm.Area{
			ID: fmt.Sprintf("area-%d", i), Department: g.word(), Effect: crm.Effect(g.word()), Actions: pick(g, nil, []string{"read"}, g.list(1, 4)),
			Groups: pick(g, nil, []string{"core"}, groupNames, g.list(1, 3)), AnyTerritory: g.IntN(2) == 0, AnySegment: g.IntN(2) == 0,
			Territories: g.list(0, 14), Segments: g.list(0, 14), OnDepartment: g.word(), From: pick(g, instants...), To: pick(g, instants...),
		})
	}
	for range g.IntN(4) {
		s.Relationships = append(s.Relationships, crm.Relationship{Department: g.word(), Actions: pick(g, nil, []string{"read"}, []string{"read", "update", "publish"})})
	}
	return s
}

// world is what the database holds in a case: records of one entity and facts.
type world struct {
	entity     string
	ids        []crm.RecordID
	records    []crm.Record
	agreements []crm.Agreement
	grants     []crm.Grant
	recorded   map[string][2]time.Time // when each fact was believed
}

// believed reports whether a fact was believed at a moment, nil for now.
func (w world) believed(id string, at *policy.Moment) bool {
	r := w.recorded[id]
	if at == nil {
		return r[1].Equal(crm.Forever)
	}
	return !at.Recorded.Before(r[0]) && at.Recorded.Before(r[1])
}

// fields are random values, one in three absent.
func (g *generator) fields(d crm.Definition) map[string]crm.Value {
	out := map[string]crm.Value{}
	for _, f := range d.Fields {
		if g.IntN(3) == 0 {
			continue
		}
		switch f.Type {
		case crm.TypeString:
			out[f.Name] = crm.String(g.word())
		case crm.TypeInteger:
			out[f.Name] = crm.Integer(pick(g, integers...))
		case crm.TypeDecimal:
			out[f.Name] = crm.Decimal(pick(g, decimals...))
		case crm.TypeBoolean:
			out[f.Name] = crm.Boolean(g.IntN(2) == 0)
		case crm.TypeDate:
			out[f.Name] = crm.Date(pick(g, dates...))
		case crm.TypeTimestamp:
			out[f.Name] = crm.Timestamp(pick(g, instants...))
		case crm.TypeReference:
			out[f.Name] = crm.Reference(pick(g, uuids...))
		case crm.TypeList:
			out[f.Name] = crm.List(g.list(0, 12)...)
		}
	}
	return out
}

func (g *generator) world(records, facts int) world {
	def := pick(g, definitions...)
	w := world{entity: def.Entity, recorded: map[string][2]time.Time{}}
	believe := func(id string) string {
		from, to := pick(g, instants[:5]...), crm.Forever
		if g.IntN(4) == 0 {
			to = from.Add(time.Duration(g.IntN(3)) * 13 * time.Hour)
		}
		w.recorded[id] = [2]time.Time{from, to}
		return id
	}
	for i := range records {
		id := crm.RecordID(fmt.Sprintf("%08x-1111-7000-8000-00000000%04x", g.Uint32(), i))
		if i < len(uuids) {
			id = uuids[i]
		}
		account := pick(g, uuids...)
		if w.entity == "account" {
			account = id
		}
		w.ids = append(w.ids, id)
		w.records = append(w.records, crm.Record{Entity: w.entity, ID: id, Fields: g.fields(def), Governed: crm.Governed{
			Home: g.word(), Territory: g.word(), Segment: g.word(), Department: g.word(),
			Owner: pick(g, g.word(), string(id)), Account: account, Sensitivity: g.IntN(10), Jurisdiction: g.word(), Pinned: g.IntN(2) == 0,
			Withheld: pick(g, nil, nil, []string{"commercial"}, []string{"core", "personal"}, g.list(0, 3)),
			Created:  pick(g, instants...), Updated: pick(g, instants...),
		}})
	}
	for i := range facts {
		w.agreements = append(w.agreements, crm.Agreement{
			ID: believe(fmt.Sprintf("agreement-%d", i)), Account: pick(g, uuids...), Department: g.word(), Effect: crm.Effect(g.word()),
			Actions: pick(g, nil, []string{"read"}, g.list(1, 4)), Groups: pick(g, nil, []string{"core"}, groupNames, g.list(1, 3)),
			From: pick(g, instants...), To: pick(g, instants...),
		})
		w.grants = append(w.grants, crm.Grant{
			ID: believe(fmt.Sprintf("grant-%d", i)), Record: pick(g, append(uuids, w.ids...)...), Kind: crm.GrantKind(g.word()), Key: g.word(),
			Groups: pick(g, nil, []string{"core"}, groupNames, g.list(1, 3)), From: pick(g, instants...), To: pick(g, instants...),
			Suspended: g.IntN(3) == 0,
		})
	}
	return w
}
