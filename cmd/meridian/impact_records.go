package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// recordLine is one record that somebody would see otherwise.
type recordLine struct {
	Subject string   `json:"subject"`
	Entity  string   `json:"entity"`
	Change  string   `json:"change"` // gained, later, lost, given back or changed
	ID      string   `json:"id"`
	Shown   []string `json:"shown,omitempty"`
	Hidden  []string `json:"hidden,omitempty"`
	Masked  []string `json:"masked,omitempty"`
}

// records prints every record behind the counts of a comparison, a line each.
func (p policyImpactCmd) records(ctx context.Context, c *clients, candidate *policyv1.Candidate, out output, r *policyv1.ImpactReport) error {
	for _, x := range r.GetPersonas() {
		for _, e := range x.GetEntities() {
			stream, err := c.impact.ImpactRecords(ctx, &policyv1.ImpactRecordsRequest{
				Candidate: candidate, Subject: x.GetSubject(), Entity: e.GetEntity(), Action: p.Action,
			})
			if err != nil {
				return err
			}
			for stream.Receive() {
				for _, record := range stream.Msg().GetRecords() {
					if err := p.record(out, lineOf(x.GetSubject(), e.GetEntity(), record)); err != nil {
						return err
					}
				}
			}
			if err := stream.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

func lineOf(subject, entity string, r *policyv1.RecordImpact) recordLine {
	line := recordLine{Subject: subject, Entity: entity, Change: "changed", ID: r.GetId(), Shown: r.GetShown(), Hidden: r.GetHidden(), Masked: r.GetMasked()}
	switch {
	case r.GetLater():
		line.Change = "later"
	case r.GetGained():
		line.Change = "gained"
	case r.GetLost() && r.GetHeld():
		line.Change = "given back"
	case r.GetLost():
		line.Change = "lost"
	}
	return line
}

func (p policyImpactCmd) record(out output, line recordLine) error {
	if p.JSON {
		return json.NewEncoder(out.Stdout).Encode(line)
	}
	var groups []string
	for _, of := range []struct {
		what   string
		groups []string
	}{{"shows", line.Shown}, {"masks", line.Masked}, {"hides", line.Hidden}} {
		if len(of.groups) > 0 {
			groups = append(groups, of.what+" "+strings.Join(of.groups, ","))
		}
	}
	_, err := fmt.Fprintf(out.Stdout, "%s\t%s\t%s\t%s\t%s\n", printable(line.Subject), line.Entity, line.Change, line.ID, strings.Join(groups, "; "))
	return err
}
