package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// outcome is what became of one row, without values: what an idempotency key
// keeps, and what an answer is read again from.
type outcome struct {
	ID      crm.RecordID `json:"id,omitempty"`
	Version int64        `json:"version,omitempty"`
	Refusal *refusal     `json:"refusal,omitempty"`

	seen *crm.Record // delete, not kept: as the caller saw it
	err  error       // not kept: the cause, for the log
}

// refusal is an error as it can be given again.
type refusal struct {
	Kind    crm.Kind `json:"kind"`
	Msg     string   `json:"msg"`
	Field   string   `json:"field,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
	Home    string   `json:"home,omitempty"`
}

var (
	// errAnswered undoes the second of two requests under one key.
	errAnswered = errors.New("the request has been answered")
	// errPeek undoes a look at an idempotency key.
	errPeek = errors.New("only looking")
)

func (p *plan) outcomes() []outcome {
	out := make([]outcome, len(p.rows))
	for i, r := range p.rows {
		if r.err == nil {
			out[i] = outcome{ID: r.draft.ID, Version: r.version}
			if p.op == crm.OpDelete {
				out[i].seen = &r.seen
			}
			continue
		}
		e := crm.Public(r.err)
		out[i] = outcome{err: r.err, Refusal: &refusal{Kind: e.Kind, Msg: e.Msg, Field: e.Field, Reasons: e.Reasons, Home: e.Home}}
	}
	return out
}

func (o outcome) refused() error {
	switch {
	case o.err != nil:
		return o.err
	case o.Refusal != nil:
		r := o.Refusal
		return &crm.Error{Kind: r.Kind, Msg: r.Msg, Field: r.Field, Reasons: r.Reasons, Home: r.Home}
	}
	return nil
}

func encodeOutcomes(os []outcome) ([]byte, error) {
	text, err := json.Marshal(os)
	if err != nil {
		return nil, fmt.Errorf("outcomes: %w", err)
	}
	return text, nil
}

// passing says that nothing could be written for a cause that passes: the same
// request may succeed in a moment, so its key is not spent.
func (p *plan) passing() bool {
	busy := false
	for _, r := range p.rows {
		if r.err == nil {
			return false
		}
		busy = busy || crm.KindOf(r.err) == crm.Unavailable
	}
	return busy
}

// hash names a request: a key stands for one request only.
func (w writing) hash() string {
	text, err := json.Marshal(struct {
		Op      crm.Op
		Request any
	}{w.op, w.request})
	if err != nil {
		panic(err) // request types marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// prior is what a request under this key came to before; nil if it did not.
func (d *Door) prior(ctx context.Context, c crm.Caller, w writing) ([]outcome, error) {
	if w.key == "" {
		return nil, nil
	}
	var answer []byte
	found := false
	err := d.store.Tx(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		if answer, found, err = tx.Idempotent(ctx, c.Subject, w.key, w.hash()); err != nil {
			return err
		}
		return errPeek
	})
	if err != nil && !errors.Is(err, errPeek) {
		return nil, err
	}
	if !found {
		return nil, nil
	}
	prior := []outcome{}
	if err := json.Unmarshal(answer, &prior); err != nil {
		return nil, fmt.Errorf("answer under idempotency key: %w", err)
	}
	return prior, nil
}

// results reads the written records again, as the caller may see them now. One
// that they may not see, or no more, answers with id and version alone: that
// much they were told when they wrote it.
func (d *Door) results(ctx context.Context, c crm.Caller, w writing, outcomes []outcome) ([]Result, error) {
	def, err := d.definition(w.entity)
	if err != nil {
		return nil, err
	}
	var ids []crm.RecordID
	for _, o := range outcomes {
		if o.refused() == nil && w.op != crm.OpDelete {
			ids = append(ids, o.ID)
		}
	}
	found := map[crm.RecordID]crm.Record{}
	if len(ids) > 0 {
		_, err := d.under(ctx, c, func(ctx context.Context, a asking) (int64, error) {
			f, err := a.filter(ctx, crm.ActionRead, def)
			if err != nil {
				return 0, err
			}
			page, err := d.store.Get(ctx, store.Read{Entity: def.Entity, Filter: f, IDs: ids})
			found = byID(page.Records)
			return page.Stamp, err
		})
		if err != nil {
			return nil, err
		}
	}
	results := make([]Result, len(outcomes))
	for i, o := range outcomes {
		rec, ok := found[o.ID]
		switch {
		case o.refused() != nil:
			results[i].Err = o.refused()
			continue
		case o.seen != nil:
			rec = *o.seen
		case !ok:
			rec = crm.Record{Entity: def.Entity, ID: o.ID, Version: o.Version, Withheld: def.Groups()}
			rec.Home = d.instance
		}
		results[i].Record = rec
	}
	return results, nil
}
