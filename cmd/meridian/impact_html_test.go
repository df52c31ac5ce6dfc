package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// hostile is a name that tries to be markup, to load, and to turn the line.
const hostile = "</bdi></h1><script>alert(1)</script><img src=x onerror=y>\"'&{{.}}\u202etxt\u200b\x1b[31m"

// pagesToRender are reports of every kind there is.
func pagesToRender() map[string]impactPage {
	at := timestamppb.New(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	summary := func(s *policyv1.ImpactSummary) *policyv1.ImpactSummary {
		s.Before, s.After, s.At = strings.Repeat("b", 64), strings.Repeat("a", 64), at
		return s
	}
	place := func(id string, gained, lost, changed int64) *policyv1.PlaceImpact {
		return &policyv1.PlaceImpact{Id: id, Gained: gained, Lost: lost, Changed: changed}
	}
	full := &policyv1.ImpactReport{
		Summary: summary(&policyv1.ImpactSummary{
			Compared: 1_017, Differing: 3, Gained: 4_001, Lost: 1_002, GiveBack: 103, LargestShare: 1, LargestSubject: hostile, LargestEntity: "account",
			Warnings:  []string{"the invariant " + hostile + " is dropped"},
			Suspended: []*policyv1.SharesImpact{{Giver: hostile, Receiver: "s:" + hostile, Entity: "account", Shares: 17, Ids: []string{hostile}}},
			Resumed:   []*policyv1.SharesImpact{{Giver: "rep.west@amer", Receiver: "d:sales", Entity: "contact", Shares: 18}},
		}),
		Personas: []*policyv1.PersonaImpact{
			{Subject: hostile, Kind: "person", Refused: hostile, OtherActions: []string{"update", "share"},
				PermissionsGained: []*policyv1.PermissionImpact{{Permission: "fact.write", Text: hostile}},
				PermissionsLost:   []*policyv1.PermissionImpact{{Permission: "audit.past", Text: "ask about the past"}},
				Limits:            []*policyv1.LimitImpact{{Limit: "days", Before: "30", After: hostile, Looser: true}},
				Entities: []*policyv1.EntityImpact{{
					Entity: "account", Records: 4_004, Gained: 4_004, Changed: 5,
					Groups:      []*policyv1.GroupImpact{{Group: "commercial", Gained: 6, Lost: 7, Masked: 8}},
					Territories: []*policyv1.PlaceImpact{place(hostile, 9, 10, 11)}, Segments: []*policyv1.PlaceImpact{place("Energy", 12, 13, 14)},
					GainedIds: []string{hostile}, LostIds: []string{"018f-1"}, ChangedIds: []string{"018f-2"},
				}}},
			{Subject: "rep.west@amer", Kind: "person", Entities: []*policyv1.EntityImpact{{Entity: "contact", Records: 2_000, Lost: 15}}},
			{Subject: "contract:amer-emea-account", Kind: "instance", Destination: hostile, Entities: []*policyv1.EntityImpact{
				{Entity: "account", Records: 4_004, Gained: 16, Lost: 1_000_017, GiveBack: 103, GiveBackIds: []string{"018f-3"}}}},
		},
	}
	proposal := &policyv1.Proposal{
		Id: strings.Repeat("c", 64), About: full.Summary.After, Base: full.Summary.Before, Note: hostile, By: hostile, At: at,
		Signatures: []*policyv1.Signature{{Purpose: "propose", Subject: hostile, Department: hostile, Key: strings.Repeat("d", 64), At: at}},
		Report:     &policyv1.Report{Warnings: []string{hostile}, Checks: []*policyv1.Check{{Name: "tests", Detail: hostile}, {Name: "oracle", Problems: []string{hostile}}}},
	}
	return map[string]impactPage{
		"full":     {ImpactReport: full, Action: "read", IDs: true, Only: []string{hostile}, Instance: hostile, As: hostile, From: true},
		"proposal": {ImpactReport: full, Action: "read", Proposal: proposal},
		"nothing":  {ImpactReport: &policyv1.ImpactReport{Summary: summary(&policyv1.ImpactSummary{Compared: 14})}, Action: "read"},
	}
}

// TestPageIsWellFormedAndQuiet: it is one document in which every element is
// closed, nothing runs, nothing is loaded, and no name leaves its place.
func TestPageIsWellFormedAndQuiet(t *testing.T) {
	for name, p := range pagesToRender() {
		t.Run(name, func(t *testing.T) {
			var page bytes.Buffer
			if err := p.render(&page); err != nil {
				t.Fatal(err)
			}
			text := page.String()
			d := xml.NewDecoder(strings.NewReader(text))
			d.Entity = xml.HTMLEntity
			elements := map[string]int{}
			for {
				token, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("not well-formed: %v", err)
				}
				e, ok := token.(xml.StartElement)
				if !ok {
					continue
				}
				elements[e.Name.Local]++
				for _, a := range e.Attr {
					if n := a.Name.Local; strings.HasPrefix(n, "on") || n == "src" || n == "href" || n == "style" || n == "action" {
						t.Errorf("<%s %s=%q>", e.Name.Local, n, a.Value)
					}
				}
			}
			for _, never := range []string{"script", "img", "link", "iframe", "object", "form", "a", "base"} {
				if elements[never] > 0 {
					t.Errorf("there is a <%s>", never)
				}
			}
			for _, once := range []string{"html", "title", "h1", "main", "style"} {
				if elements[once] != 1 {
					t.Errorf("there are %d <%s>", elements[once], once)
				}
			}
			if elements["table"] != elements["caption"] || elements["table"] != elements["thead"] {
				t.Errorf("%d tables, %d captions, %d heads", elements["table"], elements["caption"], elements["thead"])
			}
			if strings.ContainsAny(text, "\u202e\u200b\x1b") || strings.Contains(text, "http") && strings.Count(text, "http") != strings.Count(text, "http-equiv") || strings.Contains(text, "ZgotmplZ") {
				t.Error("a name turns the line or hides, or something is loaded, or a value has no place")
			}
			if !strings.Contains(text, "<style>"+impactStyle+"</style>") {
				t.Error("the style is not the one its digest names")
			}
		})
	}
}

var dataValue = regexp.MustCompile(`<data value="(-?\d+)">([^<]*)</data>`)

// TestPageSaysTheNumbersOfTheReport: every number of the report is on the page,
// and no other.
func TestPageSaysTheNumbersOfTheReport(t *testing.T) {
	for name, p := range pagesToRender() {
		var page bytes.Buffer
		if err := p.render(&page); err != nil {
			t.Fatal(err)
		}
		shown := map[int64]bool{}
		for _, m := range dataValue.FindAllStringSubmatch(page.String(), -1) {
			n, err := strconv.ParseInt(m[1], 10, 64)
			if err != nil || strings.ReplaceAll(m[2], ",", "") != m[1] {
				t.Errorf("%s: %q reads %q", name, m[1], m[2])
			}
			shown[n] = true
		}
		told := map[int64]bool{0: true}
		numbersIn(p.ImpactReport.ProtoReflect(), told)
		permissions := int64(p.Sum()) // counted on the page only
		told[permissions] = true
		for n := range told {
			if !shown[n] && n != permissions && n != 0 {
				t.Errorf("%s: the report's %d is not on the page", name, n)
			}
		}
		for n := range shown {
			if !told[n] {
				t.Errorf("%s: the page says %d, and the report does not", name, n)
			}
		}
	}
}

// numbersIn collects the counts of a report.
func numbersIn(m protoreflect.Message, into map[int64]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() == protoreflect.Int64Kind && !f.IsList():
			into[v.Int()] = true
		case f.Kind() != protoreflect.MessageKind || f.Message().FullName() == "google.protobuf.Timestamp":
		case f.IsList():
			for i := range v.List().Len() {
				numbersIn(v.List().Get(i).Message(), into)
			}
		default:
			numbersIn(v.Message(), into)
		}
		return true
	})
}

// TestPageSaysTheLargestThingFirst by the headline, and by what is read first.
func TestPageSaysTheLargestThingFirst(t *testing.T) {
	pages := pagesToRender()
	full := pages["full"]
	if got := full.Headline(); !strings.HasPrefix(got, "</bdi></h1>") || !strings.Contains(got, "would newly see EVERY one of the account records, and one other subject or contract would see more; one subject or contract would newly be permitted something") {
		t.Errorf("headline %q", got)
	}
	if got := full.Loud(); len(got) != 4 || !strings.Contains(got[0], "PERMITTED: fact.write") || !strings.Contains(got[1], "(4,004 of 4,004)") || !strings.Contains(got[3], "is dropped") {
		t.Errorf("read first: %q", got)
	}
	if got := pages["nothing"].Headline(); got != "Nothing changes for anybody" {
		t.Errorf("headline %q", got)
	}
	var page bytes.Buffer
	if err := pages["nothing"].render(&page); err != nil || strings.Contains(page.String(), "Read this first") {
		t.Errorf("%v, or there is something to read first", err)
	}
	less := full
	less.ImpactReport = proto.CloneOf(full.ImpactReport)
	less.Summary.LargestShare, less.Personas = 0, slices.Delete(less.Personas, 0, 1)
	if got := less.Headline(); got != "Nobody would see more; 2 subjects and contracts would see less" {
		t.Errorf("headline %q", got)
	}
}

// TestPageIsWrittenWhole: what was there stays until the page is whole, and
// nothing else is left beside it.
func TestPageIsWrittenWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "impact.html")
	write(t, path, "before")
	if err := writePage(path, pagesToRender()["full"]); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.HasSuffix(string(text), "</html>\n") {
		t.Errorf("%v", err)
	}
	if err := writePage(filepath.Join(dir, "nowhere", "x.html"), pagesToRender()["full"]); err == nil {
		t.Error("a page was written where there is no folder")
	}
}
