package store

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"meridian/instance/crm"
	"meridian/policy"
)

// View is what one reader sees: a filter, and the moment whose time and facts
// it is applied with; nil is now. The records are those of now in any case; if
// Home is set only those at home there, as for what may be published.
type View struct {
	Filter policy.Filter
	At     *policy.Moment
	Home   string
	Flips  *policy.Flips // judgements supposed the other way round; nil for none
}

// of are the arguments of the statement that args are, for this view.
func (v View) of(args *policy.Args) *policy.Args { return args.At(v.At).Supposing(v.Flips) }

// shows is the boolean SQL of what the view shows.
func (v View) shows(args *policy.Args) string {
	shows := "(" + v.Filter.Where(v.of(args)) + ") is true"
	if v.Home != "" {
		shows = "(r.home = " + args.Add(v.Home, "text") + " and " + shows + ")"
	}
	return shows
}

// Difference is how two views of one entity differ, exactly.
type Difference struct {
	Shift
	Groups      map[string]GroupShift // those shown differently
	Territories map[string]Shift
	Segments    map[string]Shift
	Sample      DifferenceSample
	Stamp       int64 // access stamp under which it was counted
}

// Shift counts records gained, lost, and seen in both with at least one field
// group shown differently.
type Shift struct{ Gained, Lost, Changed int64 }

// GroupShift counts records on which a field group becomes shown, hidden, or
// masked. A record that is not seen shows none.
type GroupShift struct{ Gained, Lost, Masked int64 }

// DifferenceSample has ids of records from different places, of each kind at
// most twenty.
type DifferenceSample struct{ Gained, Lost, Changed []crm.RecordID }

// Empty reports whether both views show the same.
func (d Difference) Empty() bool { return d.Shift == Shift{} }

const sampledIDs = 20

// Up to the part selective of a table the rows in question are looked for by
// the index of each condition; from the part mostly on all rows are compared.
const (
	selective = 0.2
	mostly    = 0.5
)

// Diff compares two views of one entity in one statement. It reads only rows on
// which some condition that the filters do not share holds, and no row when
// they share all.
func (s *Store) Diff(ctx context.Context, entity string, before, after View) (Difference, error) {
	out := Difference{Groups: map[string]GroupShift{}, Territories: map[string]Shift{}, Segments: map[string]Shift{}}
	d, from, err := s.differing(ctx, entity, before, after)
	if err != nil {
		return Difference{}, err
	}
	batch := &pgx.Batch{}
	if from != "" {
		sql := d.counted(from)
		batch.Queue(custom)
		batch.Queue(sql, d.args.Values()...).Query(func(rows pgx.Rows) error { return d.read(rows, &out) })
	}
	batch.Queue(stampSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&out.Stamp, nil) })
	return out, pgErr(s.door(s.pool, filtered).SendBatch(ctx, batch).Close(), "compare two views of %s", entity)
}

// custom plans the statement for its values, with room to count in.
const custom = "select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('work_mem', '64MB', true)"

// differing puts two views side by side, and finds where the rows in question
// are looked for; "" if there are none.
func (s *Store) differing(ctx context.Context, entity string, before, after View) (d *differing, from string, err error) {
	t, err := s.table(entity)
	if err != nil {
		return nil, "", err
	}
	if before.Home != after.Home {
		return nil, "", crm.Errorf(crm.Internal, "two views of records of different homes are not compared")
	}
	d = &differing{t: t, args: (&policy.Args{}).ForMany(), before: before, after: after}
	apart := policy.Apart(before.Filter, after.Filter, before.of(d.args), after.of(d.args))
	if len(apart) == 0 {
		return d, "", nil
	}
	from = d.scan(apart)
	switch e, err := s.sample(ctx, t, strings.Join(apart, " or "), d.args); {
	case err == nil && e.visible < selective:
		from = d.union(apart)
	case err == nil && e.visible > mostly: // telling the few others apart costs more than comparing them
		d.args, from = (&policy.Args{}).ForMany(), t.live+" r"
	}
	return d, from, nil
}

// Differ reports whether two views of one entity differ, in records or in field
// groups. It ends at the first that does.
func (s *Store) Differ(ctx context.Context, entity string, before, after View) (differ bool, err error) {
	t, err := s.table(entity)
	if err != nil {
		return false, err
	}
	d := &differing{t: t, args: (&policy.Args{}).ForMany(), before: before, after: after}
	apart := policy.Apart(before.Filter, after.Filter, before.of(d.args), after.of(d.args))
	if len(apart) == 0 {
		return false, nil
	}
	sql := "select exists (" + d.rows(d.scan(apart)) + ")"
	batch := &pgx.Batch{}
	batch.Queue(custom)
	batch.Queue(sql, d.args.Values()...).QueryRow(func(row pgx.Row) error { return row.Scan(&differ) })
	return differ, pgErr(s.door(s.pool, filtered).SendBatch(ctx, batch).Close(), "compare two views of %s", entity)
}

// differing is the statement of a Diff.
type differing struct {
	t             *table
	args          *policy.Args
	before, after View
}

func (d *differing) scan(apart []string) string {
	return d.t.live + " r where " + strings.Join(apart, " or ")
}

func (d *differing) union(apart []string) string {
	parts := make([]string, len(apart))
	for i, condition := range apart {
		parts[i] = "select r.id from " + d.t.live + " r where " + condition
	}
	return "(" + strings.Join(parts, " union ") + ") u join " + d.t.live + " r on r.id = u.id"
}

// rows says of each row in question, once, how it differs: gained, lost or
// changed, and by a letter per field group what becomes of the group.
func (d *differing) rows(from string) string {
	b, a := d.before.of(d.args), d.after.of(d.args)
	var once, levels, changed strings.Builder
	column := func(i int) string { return `r."c` + strconv.Itoa(i) + `?"` }
	for i, condition := range policy.Once(d.before.Filter, d.after.Filter, b, a, column) {
		fmt.Fprintf(&once, `, %s as "c%d?"`, condition, i)
	}
	how := []string{`case when not r."b?" then '` + gainedRow + `' when not r."a?" then '` + lostRow + `' else '` + changedRow + `' end`}
	for i, g := range d.t.groups {
		seenBefore, seenAfter := `r."b?"`, `r."a?"`
		if d.shownApart(g) {
			fmt.Fprintf(&changed, ` or r."b%d?" <> r."a%d?"`, i, i)
		} else { // it is shown alike where both see the row
			seenBefore, seenAfter = seenBefore+` and not r."a?"`, seenAfter+` and not r."b?"`
		}
		fmt.Fprintf(&levels, `, case when %s then %s else 0 end as "b%d?", case when %s then %s else 0 end as "a%d?"`,
			seenBefore, level(d.before.Filter, g, b), i, seenAfter, level(d.after.Filter, g, a), i)
		how = append(how, fmt.Sprintf(`case when r."b%d?" = r."a%d?" then '%c' when r."a%d?" = 2 then '%c' when r."a%d?" = 0 then '%c' else '%c' end`,
			i, i, asBefore, i, becomesShown, i, becomesHidden, becomesMasked))
	}
	shown := d.before.shows(d.args) + ` as "b?", ` + d.after.shows(d.args) + ` as "a?"`
	// A bare offset keeps the planner from merging the steps: each condition is
	// evaluated once per row.
	return `select r.id, r.territory, r.segment, r."row?", ` + strings.Join(how, " || ") + ` as how from (
		    select r.id, r.territory, r.segment, r."row?", r."b?", r."a?"` + levels.String() + ` from (
		      select r.*, ` + shown + ` from (
		        select r.ctid as "row?", ` + d.columns(shown+levels.String()) + once.String() + ` from ` + from + ` offset 0) r offset 0) r
		    where r."b?" or r."a?" offset 0) r
		  where r."b?" <> r."a?"` + changed.String() + ` offset 0`
}

// counted counts the rows per territory and per segment, by how they differ,
// and takes ids of one record per place and difference.
func (d *differing) counted(from string) string {
	return `with d as materialized (
		select grouping(territory) as "of", territory, segment, how, count(*) as n, min("row?") as one from (` + d.rows(from) + `) r
		group by grouping sets ((territory, how), (segment, how)))
		select "of", coalesce(case when "of" = 0 then territory else segment end, ''), how, n, null from d
		union all
		select 2, '', k, 0, array(select r.id::text from (select distinct one from d where left(how, 1) = k order by 1 limit ` + strconv.Itoa(sampledIDs) + `) d
		  join ` + d.t.live + ` r on r.ctid = d.one)
		from unnest('{` + gainedRow + `,` + lostRow + `,` + changedRow + `}'::text[]) k`
}

// How a row differs, and what becomes of each field group on it.
const (
	gainedRow, lostRow, changedRow                       = "+", "-", "~"
	asBefore, becomesShown, becomesHidden, becomesMasked = '=', 's', 'h', 'm'
)

// columns are the governance columns and those fields that the conditions on
// field groups read.
func (d *differing) columns(conditions string) string {
	var needed []string
	for i, c := range d.t.columns {
		if i < len(governance) || strings.Contains(conditions, "r."+c.sql) || strings.Contains(conditions, "r."+c.name) {
			needed = append(needed, "r."+c.sql)
		}
	}
	return strings.Join(needed, ", ")
}

// shownApart reports whether the filters may show a group otherwise on a row
// that both show.
func (d *differing) shownApart(group string) bool {
	b, a := d.before.of(&policy.Args{}), d.after.of(&policy.Args{})
	return level(d.before.Filter, group, b) != level(d.after.Filter, group, a) || !reflect.DeepEqual(b.Values(), a.Values())
}

// level is how far a filter shows a group: 2 as it is, 1 masked, 0 not at all.
func level(f policy.Filter, group string, args *policy.Args) string {
	return "case when " + f.Reveals(group, args) + " then 2 when " + f.Masks(group, args) + " then 1 else 0 end"
}

func (d *differing) read(rows pgx.Rows, out *Difference) error {
	var of int
	var place, how string
	var n int64
	var ids []string
	samples := map[string]*[]crm.RecordID{gainedRow: &out.Sample.Gained, lostRow: &out.Sample.Lost, changedRow: &out.Sample.Changed}
	_, err := pgx.ForEachRow(rows, []any{&of, &place, &how, &n, &ids}, func() error {
		switch of {
		case 0:
			out.Territories[place] = out.Territories[place].plus(how, n)
		case 1: // a record has one segment: these are all
			out.Segments[place] = out.Segments[place].plus(how, n)
			out.Shift = out.plus(how, n)
			d.countGroups(how, n, out.Groups)
		default:
			*samples[how] = parsedIDs(ids)
		}
		return nil
	})
	return err
}

func (s Shift) plus(how string, n int64) Shift {
	switch how[:1] {
	case gainedRow:
		s.Gained += n
	case lostRow:
		s.Lost += n
	default:
		s.Changed += n
	}
	return s
}

// countGroups counts n rows that differ as how says.
func (d *differing) countGroups(how string, n int64, groups map[string]GroupShift) {
	for i, g := range d.t.groups {
		shift := groups[g]
		switch how[1+i] {
		case becomesShown:
			shift.Gained += n
		case becomesHidden:
			shift.Lost += n
		case becomesMasked:
			shift.Masked += n
		default:
			continue
		}
		groups[g] = shift
	}
}

// GiveBack counts the records that the destination of a contract holds, that
// are in scope under the view before and out of it under after, with a few ids.
func (s *Store) GiveBack(ctx context.Context, contract, entity string, before, after View) (n int64, ids []crm.RecordID, err error) {
	t, err := s.table(entity)
	if err != nil {
		return 0, nil, err
	}
	args := &policy.Args{}
	held := "select r.id::text as id from meridian.egress_holding h join " + t.live + " r on r.id = h.record_id where h.held and h.contract = " +
		args.Add(contract, "text") + " and " + before.shows(args) + " and not " + after.shows(args)
	rows, err := s.door(s.pool, filtered).Query(ctx, "with back as materialized ("+held+") select (select count(*) from back), array(select id from back order by id limit "+strconv.Itoa(sampledIDs)+")", args.Values()...)
	if err != nil {
		return 0, nil, pgErr(err, "what %s gives back", contract)
	}
	var texts []string
	_, err = pgx.ForEachRow(rows, []any{&n, &texts}, func() error { return nil })
	return n, parsedIDs(texts), pgErr(err, "what %s gives back", contract)
}

// Size counts the records of an entity, whoever sees them.
func (s *Store) Size(ctx context.Context, entity string) (n int64, err error) {
	t, err := s.table(entity)
	if err != nil {
		return 0, err
	}
	err = s.door(s.pool, sizes).QueryRow(ctx, "select count(*) from "+t.live).Scan(&n)
	return n, pgErr(err, "count %s", entity)
}
