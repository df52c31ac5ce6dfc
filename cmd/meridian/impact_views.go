package main

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"

	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// The views are what parts of the template are given.
type entityView struct {
	Entity *policyv1.EntityImpact
	IDs    bool
}

func entityOf(e *policyv1.EntityImpact, ids bool) entityView { return entityView{e, ids} }

type placesView struct {
	Kind                  string
	Of                    []*policyv1.PlaceImpact
	Gained, Lost, Changed int64 // of all of them
}

func placesOf(kind string, of []*policyv1.PlaceImpact) placesView {
	of = slices.SortedStableFunc(slices.Values(of), func(a, b *policyv1.PlaceImpact) int {
		return cmp.Or(cmp.Compare(b.GetGained(), a.GetGained()), cmp.Compare(b.GetLost(), a.GetLost()), cmp.Compare(b.GetChanged(), a.GetChanged()))
	})
	v := placesView{Kind: kind, Of: of}
	for _, x := range of {
		v.Gained, v.Lost, v.Changed = v.Gained+x.GetGained(), v.Lost+x.GetLost(), v.Changed+x.GetChanged()
	}
	return v
}

// numberView is a count with its sign, and a bar if it is a part of something.
type numberView struct {
	Kind, Label, Sign string
	N, Of             int64
	Entity            *policyv1.EntityImpact
}

func numberOf(kind string, n, of int64) numberView {
	words := map[string][2]string{
		"gained": {"newly sees", "+"}, "lost": {"sees no more", "−"}, "changed": {"sees otherwise", "≠"}, "back": {"gives back", "↩"}, "masked": {"masked", "~"},
	}[kind]
	return numberView{Kind: kind, Label: words[0], Sign: words[1], N: n, Of: of}
}

// partOf is a count that is a part of an entity's records.
func partOf(kind string, n int64, e *policyv1.EntityImpact) numberView {
	v := numberOf(kind, n, e.GetRecords())
	v.Entity = e
	return v
}

// pathOf is a path that may be broken at its borders.
func pathOf(s string) template.HTML {
	return template.HTML(strings.ReplaceAll(template.HTMLEscapeString(nameOf(s)), "/", "/<wbr/>")) //nolint:gosec // escaped
}

type sharesView struct {
	Title string
	Of    []*policyv1.SharesImpact
	IDs   bool
}

func sharesOf(title string, of []*policyv1.SharesImpact, ids bool) sharesView {
	return sharesView{title, of, ids}
}

type idsView struct {
	Title string
	IDs   []string
}

func idsOf(title string, ids []string) idsView { return idsView{title, ids} }

// count is a number as people read it, with the number itself for machines.
func count(n any) template.HTML {
	v, ok := n.(int64)
	if !ok {
		v = int64(n.(int))
	}
	return template.HTML(fmt.Sprintf(`<data value="%d">%s</data>`, v, grouped(v))) //nolint:gosec // digits
}

// grouped puts commas between thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func percent(share float64) string {
	switch {
	case share > 0 && share < 0.01:
		return "less than 1 %"
	case share < 1 && share > 0.99:
		return "more than 99 %"
	}
	return fmt.Sprintf("%.0f %%", share*100)
}

func shareOf(n int64, e *policyv1.EntityImpact) string {
	if n == 0 {
		return ""
	}
	return percent(part(n, e))
}

// barOf is a bar as long as a part of something. It says nothing that the
// numbers beside it do not say, so it is not read out.
func barOf(kind string, n, of int64) template.HTML {
	width := 0.0
	if of <= 0 {
		return ""
	}
	if n > 0 {
		width = min(max(100*float64(n)/float64(of), 0.8), 100)
	}
	fill := map[string]string{"lost": ` fill="url(#lost)"`, "back": ` fill="url(#lost)"`, "changed": ` fill="url(#changed)"`}[kind]
	return template.HTML(fmt.Sprintf( //nolint:gosec // numbers, and words of the template
		`<svg class="bar %s" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false"><rect class="whole" width="100" height="10"/><rect class="part" width="%.1f" height="10"%s/></svg>`,
		template.HTMLEscapeString(kind), width, fill))
}

// nameOf is a name without what could move or hide the text beside it.
func nameOf(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff {
			return ' '
		}
		return r
	}, printable(s))
}

// linesOf is a text of several lines, each as nameOf leaves it.
func linesOf(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = nameOf(l)
	}
	return strings.Join(lines, "\n")
}

func shortDigest(s string) string { return nameOf(fmt.Sprintf("%.12s", s)) }
