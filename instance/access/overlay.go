package access

import (
	"context"
	"time"

	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/store"
)

// longestDenial is how long one officer alone may close something.
const longestDenial = 24 * time.Hour

// Deny closes what n names, at once and under whatever bundle, until its time
// is over. It can only close. The account is an id, or "source_id:AAPL".
func (d *Door) Deny(ctx context.Context, c crm.Caller, n signed.Denial, s Signed) (store.Denial, error) {
	if err := d.Permit(ctx, c, "policy.deny"); err != nil {
		return store.Denial{}, err
	}
	row, err := d.denial(ctx, n)
	if err != nil {
		return row, err
	}
	err = d.signs(ctx, c, "policy.deny", signed.Deny, n.Digest(), s, func(ctx context.Context, tx *store.Tx, v verified) (store.Decision, error) {
		row.ID, row.By = v.ID(), c.Subject
		if row, err = tx.AddDenial(ctx, row, n.For); err != nil {
			return store.Decision{}, err
		}
		d.log.WarnContext(ctx, "an officer has closed something for the moment", "denial", row.ID, "by", c.Subject, "until", row.To)
		decision := store.Decision{Action: "policy.deny", Facts: []string{row.ID}}
		if row.Account != "" {
			decision.Records = []crm.RecordID{row.Account}
		}
		return decision, nil
	})
	return row, err
}

// denial checks what a denial names.
func (d *Door) denial(ctx context.Context, n signed.Denial) (row store.Denial, err error) {
	row = store.Denial{Territory: n.Territory, Subject: n.Subject, Reason: n.Reason}
	switch {
	case n.Account == "" && n.Territory == "" && n.Subject == "":
		return row, crm.FieldErrorf("account", "say what to close: an account, a territory, a subject, or what lies in all of those named")
	case n.Reason == "":
		return row, crm.FieldErrorf("reason", "say why; whoever is closed out asks")
	case n.For < time.Second || n.For > longestDenial:
		return row, crm.FieldErrorf("for", "a denial is for a second up to %d hours; what has to last is a wall or a change of the rules", longestDenial/time.Hour)
	}
	if n.Account != "" {
		if row.Account, err = d.account(ctx, string(n.Account)); err != nil {
			return row, err
		}
	}
	if n.Territory != "" {
		known, _, err := d.store.Placed(ctx, n.Territory, "")
		if err != nil {
			return row, err
		}
		if !known {
			return row, crm.FieldErrorf("territory", "there is no territory %q", n.Territory)
		}
	}
	if n.Subject != "" {
		_, known, err := d.store.Subject(ctx, n.Subject)
		if err != nil {
			return row, err
		}
		if !known {
			return row, crm.FieldErrorf("subject", "this instance knows no subject %q", n.Subject)
		}
	}
	return row, nil
}

// EndDenial ends a denial before its time, which opens: it takes a signature
// as well, and not of whom alone it closes out.
func (d *Door) EndDenial(ctx context.Context, c crm.Caller, id, reason string, s Signed) (store.Denial, error) {
	var ended store.Denial
	err := d.signs(ctx, c, "policy.deny", signed.EndDeny, signed.Digest(id+"\n"+reason), s, func(ctx context.Context, tx *store.Tx, _ verified) (_ store.Decision, err error) {
		if ended, err = tx.EndDenial(ctx, id, c.Subject, reason); err == nil && ended.Subject == c.Subject {
			err = crm.Errorf(crm.Denied, "the denial is about you; another officer ends it")
		}
		return store.Decision{Action: "policy.deny.end", Facts: []string{id}}, err
	})
	return ended, err
}

// Denials lists the denials in force; with all, those that are over too.
func (d *Door) Denials(ctx context.Context, c crm.Caller, all bool) ([]store.Denial, error) {
	a, err := d.permit(ctx, c, "policy.read")
	if err != nil {
		return nil, err
	}
	list, err := d.store.Denials(ctx, all)
	if err != nil {
		return nil, err
	}
	return list, d.journal.add(ctx, a.decision("policy.denials", ""))
}
