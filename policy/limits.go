package policy

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"meridian/instance/crm"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// limitsPackage says what people may say about access. A bundle without it says
// no to whatever it is asked.
const limitsPackage = "data.meridian.limits"

// limits are the functions of that package, nil where it has none.
type limits struct {
	judgements *rego.PreparedEvalQuery // for how long
	judgement  *limit
	edit       *limit
	opened     *rego.PreparedEvalQuery // for how long the glass may be broken
	emergency  *limit
}

// limit is a function that is asked about each of the limits that are declared,
// about one thing or many.
type limit struct{ declared, beyond, overstepped *rego.PreparedEvalQuery }

func prepareLimits(ctx context.Context, c *ast.Compiler) limits {
	prepare := func(query string) *rego.PreparedEvalQuery {
		q, err := rego.New(rego.Compiler(c), rego.Query(query)).PrepareForEval(ctx)
		if err != nil {
			return nil
		}
		return &q
	}
	declared := func(name string) *rego.PreparedEvalQuery { return prepare(limitsPackage + "." + name) }
	asked := func(of string) *limit {
		beyond := limitsPackage + "." + of + "_beyond"
		return &limit{
			declared: declared(of + "_limits"), beyond: prepare(beyond + "(input.limit, input.by, input.what)"),
			overstepped: prepare("some l in input.limits; " + beyond + "(l, input.by, input.what[i]) == true"),
		}
	}
	return limits{
		judgements: declared("judgements"), judgement: asked("judgement"), edit: asked("edit"), opened: declared("emergencies"), emergency: asked("emergency"),
	}
}

// limits has the linter look at them too, if the bundle has some.
func (t *tracer) limits() {
	if !slices.ContainsFunc(slices.Collect(maps.Values(t.compiler.Modules)), func(m *ast.Module) bool { return m.Package.Path.String() == limitsPackage }) {
		return
	}
	list := listOf(scalar)
	shapes := argShapes("", t.fields)
	shapes["limit"] = scalar
	shapes["grant"] = &shape{fields: map[string]*shape{"kind": scalar, "days": scalar, "groups": list, "own": scalar, "roles": list}}
	shapes["edit"] = &shape{fields: map[string]*shape{"kind": scalar, "subject": scalar}}
	shapes["opening"] = &shape{fields: map[string]*shape{"minutes": scalar, "reason": scalar, "open": scalar, "day": scalar}}
	for _, read := range []string{"judgements", "judgement_limits", "edit_limits", "emergencies", "emergency_limits"} {
		t.reached[limitsPackage+"."+read] = true
	}
	t.entry(limitsPackage+".judgement_beyond", []string{"limit", "subject", "grant"}, shapes)
	t.entry(limitsPackage+".edit_beyond", []string{"limit", "subject", "edit"}, shapes)
	if breaks := limitsPackage + ".emergency_beyond"; len(t.compiler.GetRulesExact(ast.MustParseRef(breaks))) > 0 { // a bundle without has no break-glass
		t.entry(breaks, []string{"limit", "subject", "opening"}, shapes)
	}
}

// declared reads a value of the limits.
func (e *Engine) declared(ctx context.Context, q *rego.PreparedEvalQuery, out any) error {
	if q == nil {
		return e.silent()
	}
	rs, err := q.Eval(ctx)
	if err = interrupted(ctx, err); err != nil {
		return crm.Errorf(crm.Internal, "policy %.12s, limits: %w", e.Digest(), err)
	}
	if len(rs) != 1 || len(rs[0].Expressions) != 1 {
		return e.silent()
	}
	text, err := json.Marshal(rs[0].Expressions[0].Value)
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		return e.silent()
	}
	return nil
}

// silent is the answer of a bundle that has no answer.
func (e *Engine) silent() error {
	return crm.Errorf(crm.Denied, "the policy in force does not say who may do this (package meridian.limits); ask an officer to activate one that does")
}

// within is nil when what somebody wants to say oversteps no limit.
func (e *Engine) within(ctx context.Context, l *limit, by crm.Subject, what *ast.Term) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = crm.Errorf(crm.Internal, "policy %.12s, limits: panic: %v", e.Digest(), p)
		}
	}()
	ctx, done := context.WithTimeout(ctx, evaluateAtMost)
	defer done()
	var declared map[string]struct{ Field, Text string }
	if err := e.declared(ctx, l.declared, &declared); err != nil {
		return err
	}
	if len(declared) == 0 || l.beyond == nil {
		return e.silent()
	}
	var refused *crm.Error
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		in := object("limit", ast.StringTerm(name), "by", subjectTerm(by), "what", what)
		rs, err := l.beyond.Eval(ctx, rego.EvalParsedInput(in.Value))
		if err = interrupted(ctx, err); err != nil {
			return crm.Errorf(crm.Internal, "policy %.12s, limit %s: %w", e.Digest(), name, err)
		}
		if !yes(rs) {
			continue
		}
		if refused == nil {
			refused = &crm.Error{Kind: crm.Denied, Msg: declared[name].Text, Field: declared[name].Field}
		}
		refused.Reasons = append(refused.Reasons, declared[name].Text)
	}
	if refused == nil {
		return nil
	}
	return refused
}

// Judgements is how long a judgement holds: one without an end, and at most.
func (e *Engine) Judgements(ctx context.Context) (usual, longest time.Duration, err error) {
	var days struct {
		Default float64 `json:"default_days"`
		Longest float64 `json:"longest_days"`
	}
	if err := e.declared(ctx, e.limits.judgements, &days); err != nil {
		return 0, 0, err
	}
	if days.Default <= 0 || days.Longest < days.Default {
		return 0, 0, e.silent()
	}
	day := float64(24 * time.Hour)
	return time.Duration(days.Default * day), time.Duration(days.Longest * day), nil
}

// Judgement is what limits are told of a grant that somebody wants to give.
type Judgement struct {
	Kind   crm.GrantKind
	Lasts  time.Duration
	Groups []string
	Own    bool     // it names the giver
	Roles  []string // of the subject it names, or of all members of the department
}

// MayJudge refuses a judgement that oversteps a limit.
func (e *Engine) MayJudge(ctx context.Context, giver crm.Subject, j Judgement) error {
	return e.within(ctx, e.limits.judgement, giver, j.term(j.Lasts.Hours()/24))
}

func (j Judgement) term(days float64) *ast.Term {
	return object("kind", ast.StringTerm(string(j.Kind)), "days", ast.FloatNumberTerm(days),
		"groups", texts(j.Groups), "own", ast.BooleanTerm(j.Own), "roles", texts(j.Roles))
}

// MayEdit refuses an edit of facts about a subject, or about none, that
// oversteps a limit.
func (e *Engine) MayEdit(ctx context.Context, officer crm.Subject, kind string, about crm.SubjectID) error {
	return e.within(ctx, e.limits.edit, officer, editTerm(kind, about))
}

func editTerm(kind string, about crm.SubjectID) *ast.Term {
	return object("kind", ast.StringTerm(kind), "subject", ast.StringTerm(string(about)))
}

// Opening is what limits are told of a glass that somebody wants to break.
type Opening struct {
	Lasts     time.Duration
	Reason    string
	Open, Day int // records they hold open, and opened in the last 24 hours
}

// LongestEmergency is how long the glass may be broken at most.
func (e *Engine) LongestEmergency(ctx context.Context) (time.Duration, error) {
	var limit struct {
		Minutes float64 `json:"longest_minutes"`
	}
	if err := e.declared(ctx, e.limits.opened, &limit); err != nil {
		return 0, err
	}
	if limit.Minutes <= 0 {
		return 0, e.silent()
	}
	return time.Duration(limit.Minutes * float64(time.Minute)), nil
}

// MayBreak refuses to break the glass where that oversteps a limit.
func (e *Engine) MayBreak(ctx context.Context, who crm.Subject, o Opening) error {
	return e.within(ctx, e.limits.emergency, who, glass{
		o.Lasts.Minutes(), float64(utf8.RuneCountInString(o.Reason)), float64(o.Open), float64(o.Day),
	}.term())
}

// glass is what the limits read of an Opening.
type glass struct{ minutes, reason, open, day float64 }

func (o glass) term() *ast.Term {
	return object("minutes", ast.FloatNumberTerm(o.minutes), "reason", ast.FloatNumberTerm(o.reason),
		"open", ast.FloatNumberTerm(o.open), "day", ast.FloatNumberTerm(o.day))
}
