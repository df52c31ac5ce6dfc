package main

import (
	"context"
	"fmt"
	"strings"

	recordv1 "meridian/proto/gen/meridian/record/v1"
	schemav1 "meridian/proto/gen/meridian/schema/v1"
)

type searchCmd struct {
	remote
	Entity string   `arg:"" help:"account, contact, ...; all looks through every entity."`
	Query  []string `arg:"" help:"Words; the last may be the beginning of one."`
	Filter string   `short:"f" help:"Only among these, as in record list."`
	Limit  int32    `short:"n" default:"20" help:"Records of one page, at most 1000."`
	Cursor string   `help:"Where the page before ended."`
	Fields []string `help:"Columns to show; the first ones of the entity if absent."`
}

// Help shows the verb at work.
func (searchCmd) Help() string {
	return `Finds records by their words, best match first. All words must occur, the last one may be the
beginning of a word; "words in quotes" stand together and -word must not occur. Only what you
may read is searched: withheld and masked groups find nothing.

  meridian search account "apple inc" --as rep.west@amer
  meridian search account '"bank of america" -canada' --as manager.us@amer
  meridian search all appl --as rep.west@amer
` + exitCodeHelp
}

// Run prints a page of what is found.
func (s searchCmd) Run(ctx context.Context, out output) error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	entities := []string{s.Entity}
	if s.Entity == "all" {
		resp, err := c.schema.ListEntities(ctx, &schemav1.ListEntitiesRequest{})
		if err != nil {
			return err
		}
		entities = nil
		for _, e := range resp.GetEntities() {
			entities = append(entities, e.GetName())
		}
	}
	byEntity := map[string]any{}
	for _, entity := range entities {
		page, err := c.records.Search(ctx, &recordv1.SearchRequest{
			Entity: entity, Query: strings.Join(s.Query, " "), Filter: s.Filter, Limit: s.Limit, Cursor: s.Cursor,
		})
		if err != nil {
			return err
		}
		if s.JSON {
			views, err := viewsOf(page.GetRecords())
			if err != nil {
				return err
			}
			byEntity[entity] = map[string]any{"records": views, "next_cursor": page.GetNextCursor()}
			continue
		}
		if len(entities) > 1 {
			if len(page.GetRecords()) == 0 {
				continue
			}
			fmt.Fprintln(out.Stdout, strings.ToUpper(entity))
		}
		if err := printRecords(ctx, c, out, entity, s.Fields, page.GetRecords()); err != nil {
			return err
		}
		if next := page.GetNextCursor(); next != "" {
			fmt.Fprintf(out.Stderr, "more: meridian search %s ... --cursor %s\n", entity, next)
		}
	}
	switch {
	case s.JSON && s.Entity == "all":
		return printJSON(out.Stdout, byEntity)
	case s.JSON:
		return printJSON(out.Stdout, byEntity[s.Entity])
	}
	return nil
}
