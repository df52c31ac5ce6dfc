package access

import (
	"context"
	"slices"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// attempt is one record of a write that is decided again: what had to hold for
// it, and which groups it wrote.
type attempt struct {
	is     int // of its decision
	id     crm.RecordID
	given  bool          // it was allowed
	named  store.PastRow // the record as the log names it
	checks []required
	wrote  []string
}

// required is a check that had to hold. Groups says that what was written must
// be revealed by it, too.
type required struct {
	check
	groups bool
}

// writes decides again what was written or judged, and what was refused, as far
// as the log and the history know it: who may do it to the record as it was and
// as it became. What plugins, references, versions and limits said is no rule
// about the record, and is taken as it was.
func (t *trial) writes(ctx context.Context, def crm.Definition, ds []store.Decision, which []int, out []retrial) error {
	var tries []attempt
	for _, i := range which {
		same := true
		for _, action := range changes[ds[i].Action] {
			p, err := t.pair(ctx, action, def)
			if err != nil {
				return err
			}
			same = same && p.same
		}
		if same {
			continue
		}
		if creates := ds[i].Action == "create" || ds[i].Action == "upsert"; creates && denied(ds[i]) {
			out[i].unsaid() // what was not created has no id
		}
		for n, id := range ds[i].Records {
			a := attempt{is: i, id: id, given: true, named: store.PastRow{ID: id, At: ds[i].At, Buried: ds[i].Action == "delete"}}
			if n < len(ds[i].Versions) {
				a.named.Upto = ds[i].Versions[n]
			}
			tries = append(tries, a)
		}
		for _, id := range ds[i].Refused {
			tries = append(tries, attempt{is: i, id: id, named: store.PastRow{ID: id, At: ds[i].At}})
		}
	}
	if len(tries) == 0 {
		return nil
	}
	if err := t.require(ctx, def, ds, tries); err != nil {
		return err
	}
	says, err := t.checked(ctx, def, tries)
	if err != nil {
		return err
	}
	var differing []telling
	for _, a := range tries {
		if one, differs := a.differs(says, ds[a.is], &out[a.is]); differs {
			differing = append(differing, one)
		}
	}
	return t.explain(ctx, def, differing, out)
}

// denied reports whether policy, and not only something else, may have refused
// a part of a write.
func denied(one store.Decision) bool {
	return !one.Allowed && (len(one.Reasons) == 0 || slices.Contains(one.Reasons, string(crm.Denied)))
}

func (o *retrial) unsaid() { o.verdict, o.why = open, "what was to be written is not in the log" }

// require says what had to hold for each attempt: the action on the record
// before and, for what was stored, what the record became.
func (t *trial) require(ctx context.Context, def crm.Definition, ds []store.Decision, tries []attempt) error {
	became, before := make([]store.PastRow, len(tries)), make([]store.PastRow, len(tries))
	for i, a := range tries {
		became[i], before[i] = a.named, a.named
		if a.named.Upto > 1 {
			before[i].Upto--
		}
	}
	posts, err := t.images(ctx, def, became)
	if err != nil {
		return err
	}
	pres, err := t.images(ctx, def, before)
	if err != nil {
		return err
	}
	for i := range tries {
		a, one := &tries[i], ds[tries[i].is]
		post, pre := posts[i], pres[i]
		// A row that changed nothing names the version it found.
		stored := a.given && post != nil && post.Actor == string(one.Subject) && post.Execution == one.Execution
		on := func(row store.PastRow, groups bool, actions ...crm.Action) {
			for _, action := range actions {
				a.checks = append(a.checks, required{check{action, row}, groups})
			}
		}
		switch {
		case one.Action == "create", one.Action == "upsert" && stored && post.Version == 1:
			on(became[i], false, crm.ActionCreate)
		case one.Action == "update" || one.Action == "upsert":
			row := became[i]
			if stored {
				row = before[i]
			}
			if on(row, true, crm.ActionUpdate); one.Action == "update" {
				on(row, true, crm.ActionRead)
			}
			if !stored || pre == nil {
				break
			}
			a.wrote = changed(def, pre.Record, post.Record)
			if placement(pre.Governed) != placement(post.Governed) {
				on(became[i], false, crm.ActionCreate)
			} else {
				on(became[i], false, crm.ActionUpdate)
			}
		case one.Action == "delete":
			on(became[i], false, crm.ActionRead, crm.ActionDelete)
		default:
			on(became[i], false, crm.ActionRead)
			on(became[i], true, crm.Action(one.Action))
			if one.Action == "share" && a.given && len(one.Facts) == 1 {
				g, err := t.d.store.Grant(ctx, one.Facts[0])
				if err != nil && crm.KindOf(err) != crm.NotFound {
					return err
				}
				a.wrote = g.Groups
			}
		}
	}
	return nil
}

func (t *trial) images(ctx context.Context, def crm.Definition, rows []store.PastRow) ([]*crm.Version, error) {
	out := make([]*crm.Version, 0, len(rows))
	for part := range slices.Chunk(rows, rowsAtOnce) {
		images, err := t.d.store.PastImages(ctx, def.Entity, part)
		if err != nil {
			return nil, err
		}
		out = append(out, images...)
		if err := t.beat(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// changed are the groups in which two versions differ.
func changed(def crm.Definition, before, after crm.Record) (groups []string) {
	for name := range difference(def, before.Fields, after.Fields) {
		if f, ok := def.Field(name); ok && !slices.Contains(groups, f.Group) {
			groups = append(groups, f.Group)
		}
	}
	slices.Sort(groups)
	return groups
}

// checked puts every check of the attempts to both bundles, those on one action
// together.
func (t *trial) checked(ctx context.Context, def crm.Definition, tries []attempt) (map[check]store.PastShown, error) {
	rows := map[crm.Action][]store.PastRow{}
	says := map[check]store.PastShown{}
	for _, a := range tries {
		for _, c := range a.checks {
			if _, known := says[c.check]; !known {
				says[c.check] = store.PastShown{}
				rows[c.action] = append(rows[c.action], c.row)
			}
		}
	}
	for action, rows := range rows {
		p, err := t.pair(ctx, action, def)
		if err != nil {
			return nil, err
		}
		shown, err := t.shown(ctx, def, p, rows)
		if err != nil {
			return nil, err
		}
		for n, s := range shown {
			says[check{action, rows[n]}] = s
		}
	}
	return says, nil
}

// differs reports whether the attempt falls out otherwise. One that was allowed
// and whose checks do not say so has lost its past; one that was refused though
// they hold was refused for what it was to write, if policy refused it.
func (a attempt) differs(says map[check]store.PastShown, one store.Decision, o *retrial) (telling, bool) {
	o.records++
	was, is := len(a.checks) > 0, len(a.checks) > 0
	var cause check
	var hides []string
	for _, c := range a.checks {
		s := says[c.check]
		if !s.There {
			o.gone++
			return telling{}, false
		}
		if was, is = was && s.Before, is && s.After; cause.action == "" && s.Before != s.After {
			cause = c.check
		}
		for _, g := range s.Hides {
			if c.groups && slices.Contains(a.wrote, g) && !slices.Contains(hides, g) {
				hides = append(hides, g)
			}
		}
		if cause.action == "" && len(hides) > 0 {
			cause = c.check
		}
	}
	switch {
	case a.given && !was:
		o.gone++
		return telling{}, false
	case was != is:
		hides = nil
	case was && len(hides) > 0: // a plugin may have written them, and not the caller
	default:
		if was && !a.given && denied(one) {
			o.unsaid()
		}
		return telling{}, false
	}
	return telling{a.is, ReplayedRecord{ID: a.id, Action: cause.action, Was: was, Is: is, Hides: hides}, cause}, true
}
