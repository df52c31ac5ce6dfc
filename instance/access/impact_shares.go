package access

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"meridian/instance/crm"
)

// SharesImpact is what becomes of the shares of one giver to one receiver in an
// entity.
type SharesImpact struct {
	Giver  crm.SubjectID
	Key    string // of the receiver, as judgements name it
	Entity string
	Shares int64
	IDs    []string // of a few of the shares
}

const (
	sampledShares = 20
	maxShareLines = 20
)

// prospects are what the keeper would make of the shares under either bundle,
// as of one access stamp. Under the one in force it has done so already.
type prospects struct {
	stamp         int64         // 0 for none
	with          crm.SubjectID // whose shares these are; "" for everybody's
	before, after outlook
}

// suspended are the shares that hold under the bundle before, and not after.
func (p prospects) suspended() []crm.Grant {
	return slices.Concat(without(p.after.suspended, p.before.suspended), without(p.before.resumed, p.after.resumed))
}

// resumed are those that hold after, and not before.
func (p prospects) resumed() []crm.Grant {
	return slices.Concat(without(p.after.resumed, p.before.resumed), without(p.before.suspended, p.after.suspended))
}

// look finds what would become of the shares, unless that is known: of all, or
// where a few subjects are compared of those that the subject is shared with.
func (x *comparison) look(ctx context.Context, subject crm.Subject) (prospects, error) {
	p := prospects{stamp: subject.Stamp}
	of := (*outlooker).everything
	if x.few {
		p.with = subject.ID
		of = func(o *outlooker, ctx context.Context) (outlook, error) { return o.with(ctx, subject) }
	}
	if x.ahead.stamp == p.stamp && x.ahead.with == p.with {
		return x.ahead, nil
	}
	o := x.d.outlooker(x.after, p.stamp)
	inForce, err := x.d.digest(ctx)
	if err != nil {
		return p, err
	}
	if inForce == x.before.Digest() {
		o.settled = x.before
	} else if p.before, err = of(x.d.outlooker(x.before, p.stamp), ctx); err != nil {
		return p, err
	}
	if p.after, err = of(o, ctx); err != nil {
		return p, err
	}
	x.ahead = p
	if !x.few {
		x.suspended, x.resumed = nil, nil // of another stamp, if any
	}
	x.suspended, x.resumed = joined(x.suspended, p.suspended()), joined(x.resumed, p.resumed())
	return p, nil
}

// joined are the shares of both, each once.
func joined(shares, more []crm.Grant) []crm.Grant {
	return slices.Concat(shares, without(more, shares))
}

// sharesImpact counts shares by giver, receiver and entity.
func sharesImpact(shares []crm.Grant) (out []SharesImpact) {
	shares = slices.SortedFunc(slices.Values(shares), func(a, b crm.Grant) int {
		return cmp.Or(cmp.Compare(a.By, b.By), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.ID, b.ID))
	})
	for _, g := range shares {
		n := len(out)
		if n == 0 || out[n-1].Giver != g.By || out[n-1].Key != g.Key || out[n-1].Entity != g.Entity {
			out = append(out, SharesImpact{Giver: g.By, Key: g.Key, Entity: g.Entity})
			n++
		}
		last := &out[n-1]
		if last.Shares++; last.Shares <= sampledShares {
			last.IDs = append(last.IDs, g.ID)
		}
	}
	return out
}

// lines say what becomes of shares, without ids.
func (p prospects) lines() (lines []string) {
	for _, of := range []struct {
		shares  []crm.Grant
		becomes string
	}{{p.suspended(), "suspended"}, {p.resumed(), "in force again"}} {
		all := sharesImpact(of.shares)
		for _, s := range all[:min(len(all), maxShareLines)] {
			lines = append(lines, fmt.Sprintf("shares of %s by %s to %s: %d would be %s", s.Entity, s.Giver, s.Key, s.Shares, of.becomes))
		}
		if more := len(all) - maxShareLines; more > 0 {
			lines = append(lines, fmt.Sprintf("and shares of %d more givers, receivers and entities would be %s", more, of.becomes))
		}
	}
	return lines
}
