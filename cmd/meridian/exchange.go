package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/instance/crm"
	exchangev1 "meridian/proto/gen/meridian/exchange/v1"
)

type exchangeCmd struct {
	Contracts exchangeContractsCmd `cmd:"" help:"List what instances let one another subscribe to."`
	Status    exchangeStatusCmd    `cmd:"" help:"Show how far each stream is, out and in."`
	Ledger    exchangeLedgerCmd    `cmd:"" help:"Show what left, to whom, under which contract, who still holds it, and since when the destination acknowledged it."`
}

// Help shows the verbs at work.
func (exchangeCmd) Help() string {
	return `  meridian exchange contracts --as ops@amer
  meridian exchange status --as ops@amer
  meridian exchange ledger --destination finserv --held --as officer.a@amer
  meridian exchange ledger --unacknowledged --as officer.a@amer

A retraction has left when the ledger has its line, and is acknowledged when
the destination has applied it: row, history and parked copies are gone there.`
}

type exchangeContractsCmd struct{ remote }

// Run lists contracts.
func (x exchangeContractsCmd) Run(ctx context.Context, out output) error {
	c, err := x.dial()
	if err != nil {
		return err
	}
	resp, err := c.exchange.ListContracts(ctx, &exchangev1.ListContractsRequest{})
	if err != nil {
		return err
	}
	if x.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"ID", "FROM", "TO", "ENTITY", "TERRITORIES", "SEGMENTS", "DEPARTMENTS", "GROUPS", "JURISDICTIONS", "UNTIL", "PURPOSE"}}
	for _, k := range resp.GetContracts() {
		t.add(k.GetId(), k.GetSource(), k.GetDestination(), k.GetEntity(), few(k.GetTerritories()), few(k.GetSegments()),
			few(k.GetDepartments()), few(k.GetGroups()), few(k.GetJurisdictions()), day(k.GetTo()), clipped(k.GetPurpose(), 40))
	}
	t.print(out.Stdout, "no contracts: nothing leaves and nothing arrives")
	return nil
}

// few shows the first names of a list.
func few(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ",")
	}
	return fmt.Sprintf("%s,… (%d)", strings.Join(names[:most], ","), len(names))
}

type exchangeStatusCmd struct{ remote }

// Run shows streams.
func (x exchangeStatusCmd) Run(ctx context.Context, out output) error {
	c, err := x.dial()
	if err != nil {
		return err
	}
	resp, err := c.exchange.GetStatus(ctx, &exchangev1.GetStatusRequest{})
	if err != nil {
		return err
	}
	if x.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"STREAM", "WAY", "PEER", "SEQUENCE", "PENDING", "PARKED", "GAPS", "HOLDINGS", "UNACKNOWLEDGED", "TO GIVE BACK", "LAST", "ERROR"}}
	for _, s := range resp.GetStreams() {
		t.add(s.GetStream(), s.GetDirection(), s.GetPeer(), number(s.GetSequence()), number(s.GetPending()), number(s.GetParked()),
			number(s.GetGaps()), number(s.GetHoldings()), waiting(s, s.GetUnacknowledged(), s.GetOldestUnacknowledged()),
			waiting(s, s.GetUnacknowledgedRetractions(), s.GetOldestUnacknowledgedRetraction()), day(s.GetLast()), clipped(s.GetError(), 60))
	}
	t.print(out.Stdout, "no streams")
	fmt.Fprintf(out.Stdout, "changes that the relay has not read yet: %d\n", resp.GetRelayBacklog())
	return nil
}

// waiting shows how much of a stream out its destination has not acknowledged,
// and for how long the oldest of it waits.
func waiting(s *exchangev1.StreamStatus, n int64, oldest *timestamppb.Timestamp) string {
	switch {
	case s.GetDirection() != "out":
		return "-"
	case oldest == nil:
		return number(n)
	}
	return fmt.Sprintf("%d for %v", n, max(0, time.Since(oldest.AsTime()).Round(time.Second)))
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

type exchangeLedgerCmd struct {
	remote
	Entity         string `help:"One entity only."`
	Record         string `help:"One record's disclosures: its id."`
	Destination    string `help:"One destination only."`
	Held           bool   `xor:"which" help:"Only what the destination still holds."`
	Unacknowledged bool   `xor:"which" help:"Only what the destination should have given back and has not acknowledged."`
	Limit          int32  `short:"n" default:"50" help:"Newest entries first, at most 1000."`
}

// Run lists disclosures; they hold no values.
func (x exchangeLedgerCmd) Run(ctx context.Context, out output) error {
	c, err := x.dial()
	if err != nil {
		return err
	}
	if x.Record != "" {
		if _, err := crm.ParseRecordID(x.Record); err != nil {
			return crm.FieldErrorf("record", "%w", err)
		}
	}
	resp, err := c.exchange.ListLedger(ctx, &exchangev1.ListLedgerRequest{
		Entity: x.Entity, RecordId: x.Record, Destination: x.Destination, Held: x.Held,
		Unacknowledged: x.Unacknowledged, Limit: x.Limit,
	})
	if err != nil {
		return err
	}
	if x.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"AT", "OPERATION", "ENTITY", "RECORD", "VERSION", "TO", "CONTRACT", "GROUPS", "HELD", "ACKNOWLEDGED", "SEQUENCE", "BUNDLE", "EXECUTION"}}
	for _, e := range resp.GetEntries() {
		t.add(day(e.GetAt()), e.GetOperation(), e.GetEntity(), e.GetRecordId(), number(e.GetRecordVersion()), e.GetDestination(), e.GetContract(),
			strings.Join(e.GetGroups(), ","), yes(e.GetHeld()), since(e.GetAcknowledged()), number(e.GetSequence()), clipped(e.GetBundle(), 13), e.GetExecutionId())
	}
	none := "nothing left this instance"
	if x.Unacknowledged {
		none = "every retraction is acknowledged"
	}
	t.print(out.Stdout, none)
	return nil
}

// since shows when something came to be so.
func since(at *timestamppb.Timestamp) string {
	if at == nil {
		return "not yet"
	}
	return day(at)
}
