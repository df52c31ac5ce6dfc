package mapping_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meridian/adapters/mapping"
	recordv1 "meridian/proto/gen/meridian/record/v1"
)

const valid = `mapping: deals
version: 3
owner: sales@example
expires: 2027-12-31
entity: opportunity
source:
  format: csv
  charset: iso-8859-1
  delimiter: ";"
  columns: [id, company, amount, closes, stage, active, count, at]
  optional: [note]
  nulls: ["", "0000-00-00", N/A]
  decimal: ","
  group: "."
  date: dd.MM.yyyy
  timestamp: dd.MM.yyyy HH:mm
  zone: Europe/Berlin
  yes: [J]
  no: [N]
  control: {count: required, trailer: {marker: END, count: 2}}
tables:
  stages: {"1": open, "9": won}
keep:
  - {column: active, not_in: [X]}
fields:
  - {to: source_id, from: id, do: [trim, upper], required: true}
  - {to: amount, from: amount, as: decimal}
  - {to: close_date, from: closes, as: date}
  - {to: stage, from: stage, lookup: stages}
  - {to: active, from: active, as: boolean}
  - {to: count, from: count, as: integer}
  - {to: at, from: at, as: timestamp}
  - {to: note, from: note, empty: keep}
  - {to: origin, value: legacy}
references:
  - {to: account, from: company, do: [trim]}
`

var columns = []string{"id", "company", "amount", "closes", "stage", "active", "count", "at", "note"}

func bind(t *testing.T, header []string) *mapping.Bound {
	t.Helper()
	m, err := mapping.Parse("deals.yaml", []byte(valid))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Bind(header)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMap(t *testing.T) {
	row, rej := bind(t, columns).Map(7, []string{" a1 ", "ACME", "1.234,50", "28.02.2026", "9", "J", "12.000", "29.03.2026 03:30", "hello"})
	if rej != nil {
		t.Fatal(rej)
	}
	got := map[string]string{}
	for name, v := range row.GetFields() {
		switch k := v.GetKind().(type) {
		case *recordv1.Value_String_:
			got[name] = k.String_
		case *recordv1.Value_Decimal:
			got[name] = "decimal " + k.Decimal
		case *recordv1.Value_Date:
			got[name] = "date " + k.Date
		case *recordv1.Value_Boolean, *recordv1.Value_Integer:
			got[name] = v.String()
		case *recordv1.Value_Timestamp:
			got[name] = k.Timestamp.AsTime().Format("2006-01-02T15:04Z07:00")
		}
	}
	want := map[string]string{
		"source_id": "A1", "amount": "decimal 1234.5", "close_date": "date 2026-02-28", "stage": "won",
		"active": "boolean:true", "count": "integer:12000", "at": "2026-03-29T01:30Z", "note": "hello", "origin": "legacy",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if row.GetReferences()["account"] != "ACME" || row.GetNumber() != 7 || row.GetEntity() != "opportunity" {
		t.Errorf("row %v", row)
	}
}

func TestNullClearsUnlessKept(t *testing.T) {
	row, rej := bind(t, columns).Map(1, []string{"a", "", "N/A", "0000-00-00", "1", "J", "1", "", ""})
	if rej != nil {
		t.Fatal(rej)
	}
	for _, name := range []string{"amount", "close_date", "at"} {
		if v, given := row.GetFields()[name]; !given || v.GetKind() != nil {
			t.Errorf("%s is %v, want null", name, v)
		}
	}
	if _, given := row.GetFields()["note"]; given {
		t.Error("an empty note was to leave the field alone")
	}
	if len(row.GetReferences()) > 0 {
		t.Errorf("references %v", row.GetReferences())
	}
}

func TestAnOptionalColumnMayBeAbsent(t *testing.T) {
	row, rej := bind(t, []string{"company", "id", "amount", "closes", "stage", "active", "count", "at"}).Map(1,
		[]string{"ACME", "a", "", "", "1", "J", "1", ""})
	if rej != nil || row.GetFields()["source_id"].GetString_() != "A" {
		t.Fatalf("row %v reject %v", row, rej)
	}
	if _, given := row.GetFields()["note"]; given {
		t.Error("a column that is not there made a field")
	}
}

func TestRejects(t *testing.T) {
	for _, tt := range []struct{ column, value, code, field string }{
		{"id", "  ", "required", "source_id"},
		{"amount", "1.23", "number", "amount"},     // "." marks thousands here: never guess
		{"amount", "1,234.50", "number", "amount"}, // another locale
		{"amount", "12e3", "number", "amount"},
		{"closes", "30.02.2026", "date", "close_date"}, // no such day
		{"closes", "2026-02-28", "date", "close_date"},
		{"stage", "5", "lookup", "stage"},
		{"active", "yes", "boolean", "active"},
		{"count", "1,5", "number", "count"},
		{"count", "99999999999999999999", "number", "count"},
		{"at", "28.02.2026", "date", "at"},
	} {
		t.Run(tt.column+"="+tt.value, func(t *testing.T) {
			record := []string{"a", "ACME", "1", "01.01.2026", "1", "J", "1", "01.01.2026 00:00", ""}
			for i, c := range columns {
				if c == tt.column {
					record[i] = tt.value
				}
			}
			row, rej := bind(t, columns).Map(4, record)
			if row != nil || rej == nil || rej.GetCode() != tt.code || rej.GetField() != tt.field || rej.GetNumber() != 4 {
				t.Fatalf("row %v, reject %v", row, rej)
			}
			if v := strings.TrimSpace(tt.value); v != "" && strings.Contains(rej.GetMessage(), v) {
				t.Errorf("the message quotes the record: %s", rej.GetMessage())
			}
		})
	}
}

func TestAnUndeclaredMarkIsNoNumber(t *testing.T) {
	m, err := mapping.Parse("deals.yaml", []byte(strings.Replace(valid, `  group: "."`+"\n", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Bind(columns)
	if err != nil {
		t.Fatal(err)
	}
	for text, ok := range map[string]bool{"1,5": true, "-1": true, "1.5": false, "1.000": false, "1,5,0": false, "1,5.0": false, ",5": false, "5,": false} {
		_, rej := b.Map(1, []string{"a", "ACME", text, "", "1", "J", "1", "", ""})
		if (rej == nil) != ok {
			t.Errorf("%q: reject %v", text, rej)
		}
	}
}

func TestFiltered(t *testing.T) {
	row, rej := bind(t, columns).Map(1, []string{"a", "", "", "", "", "X", "", "", ""})
	if row != nil || rej != nil {
		t.Errorf("row %v reject %v, want neither", row, rej)
	}
}

func TestBindNoticesChangedSources(t *testing.T) {
	m, err := mapping.Parse("deals.yaml", []byte(valid))
	if err != nil {
		t.Fatal(err)
	}
	for want, header := range map[string][]string{
		"column closes is missing":         {"id", "company", "amount", "stage", "active", "count", "at"},
		"column 10 is one that mapping":    append(append([]string(nil), columns...), "surprise"),
		"column 10 repeats the name of an": append(append([]string(nil), columns...), "id"),
	} {
		if _, err := m.Bind(header); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Every fault of a mapping file names file, line and key.
func TestFaultsNameTheirPlace(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"unknown key", "owner: sales@example", "ownr: sales@example", "deals.yaml:3: ownr: there is no such key"},
		{"unknown key deep inside", "as: boolean", "az: boolean", "deals.yaml:30: az: there is no such key"},
		{"wrong type", "version: 3", "version: three", "deals.yaml:2: cannot unmarshal !!str `three` as int"},
		{"no owner", "owner: sales@example\n", "", "deals.yaml:1: owner: say who answers for this mapping"},
		{"no version", "version: 3", "version: 0", "deals.yaml:2: version: count"},
		{"no date", "expires: 2027-12-31", "expires: soon", "deals.yaml:4: expires: give a date"},
		{"format", "format: csv", "format: xls", "deals.yaml:7: source.format: csv is"},
		{"charset", "charset: iso-8859-1", "charset: latin9000", `deals.yaml:8: source.charset: no character set "latin9000"`},
		{"delimiter", `delimiter: ";"`, `delimiter: ";;"`, "deals.yaml:9: source.delimiter: give one"},
		{"column twice", "columns: [id,", "columns: [id, id,", "deals.yaml:10: source.columns[1]: a column has"},
		{"decimal", `decimal: ","`, `decimal: ";"`, "deals.yaml:13: source.decimal"},
		{"group", `group: "."`, `group: ","`, "deals.yaml:14: source.group"},
		{"date pattern", "date: dd.MM.yyyy", "date: DD.MM.YY", "deals.yaml:15: source.date: write yyyy"},
		{"zone", "zone: Europe/Berlin", "zone: Mars/Olympus", "deals.yaml:17: source.zone"},
		{"no control", "{count: required, trailer: {marker: END, count: 2}}", "{}", "deals.yaml:20: source.control: require"},
		{"control word", "{count: required,", "{count: yes-please,", "deals.yaml:20: source.control.count: say"},
		{"rule column", "{column: active,", "{column: actve,", `deals.yaml:24: keep[0].column: the source has no column "actve"`},
		{"rule without a test", ", not_in: [X]", "", "deals.yaml:24: keep[0]: say what to keep"},
		{"within without countries", "not_in: [X]", "within: [US]", "deals.yaml:24: keep[0]: within and except need"},
		{"no such territory", "not_in: [X]", "lookup: country, within: [XX]", `deals.yaml:24: keep[0].within[0]: there is no territory "XX"`},
		{"no such table", "lookup: stages", "lookup: stage", `deals.yaml:29: fields[3].lookup: there is no table "stage"`},
		{"no such transform", "do: [trim, upper]", "do: [trim, shout]", `deals.yaml:26: fields[0].do[1]: there is no "shout"`},
		{"no such type", "as: integer", "as: number", "deals.yaml:31: fields[5].as: say string"},
		{"made twice", "to: count", "to: active", "deals.yaml:31: fields[5].to: active is made twice"},
		{"from and value", "value: legacy", "value: legacy, from: id", "deals.yaml:34: fields[8]: say from"},
		{"required of an optional column", "empty: keep", "required: true", "deals.yaml:33: fields[7].required"},
		{"unused column", "  - {to: amount, from: amount, as: decimal}\n", "", `deals.yaml:10: source.columns: column "amount" is not used`},
		{"typed reference", "do: [trim]}\n", "as: integer}\n", "deals.yaml:36: references[0]: a reference is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			content := strings.Replace(valid, tt.old, tt.new, 1)
			if content == valid {
				t.Fatal("the case changes nothing")
			}
			_, err := mapping.Parse("deals.yaml", []byte(content))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s...", err, tt.want)
			}
		})
	}
}

func TestExamplesThatDoNotHold(t *testing.T) {
	m, err := mapping.Parse("deals.yaml", []byte(valid+`examples:
  - name: wrong amount
    in: {id: a, company: ACME, amount: "2", stage: "1", active: J, count: "1"}
    row: {source_id: A, amount: "3", close_date: ~, stage: open, active: "true", count: "1", at: ~, origin: legacy, forgotten: x}
  - {name: not filtered, in: {id: a, stage: "1", active: J}, filtered: true}
  - {name: another code, in: {id: ""}, reject: lookup}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, err := range m.CheckExamples() {
		got = append(got, err.Error())
	}
	want := []string{
		`deals.yaml:38: wrong amount: amount is "2"; forgotten is not made; references are map[account:ACME]`,
		"deals.yaml:41: not filtered: made a row",
		"deals.yaml:42: another code: rejected as required at source_id",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBase(t *testing.T) {
	dir := t.TempDir()
	read := func(base, child string) (*mapping.Mapping, error) {
		for name, content := range map[string]string{"base.yaml": base, "child.yaml": child} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return mapping.Read(filepath.Join(dir, "child.yaml"))
	}
	m, err := read(valid, "base: base.yaml\nmapping: mine\nkeep: [{column: active, in: [Y]}]\n")
	if err != nil || m.Name != "mine" || m.Version != 3 || m.Entity != "opportunity" {
		t.Fatalf("got %+v, %v", m, err)
	}
	for _, tt := range []struct{ base, child, want string }{
		{strings.Replace(valid, "as: integer", "as: number", 1), "base: base.yaml\nmapping: mine\n", "base.yaml:31: fields[5].as: say string"},
		{valid, "base: base.yaml\nkeep: [{column: nope, in: [Y]}]\n", "child.yaml:2: keep[0].column: the source has no"},
		{valid + "surprise: 1\n", "base: base.yaml\n", "base.yaml:37: surprise: there is no such key"},
		{"base: child.yaml\n", "base: base.yaml\n", "base.yaml:1: base: a base has no base"},
		{valid, "base: ../base.yaml\n", "child.yaml:1: base: a base lies in the same folder"},
		{valid, "base: other.yaml\n", "child.yaml:1: base: "},
	} {
		if _, err := read(tt.base, tt.child); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("got  %v\nwant %s...", err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(valid)
	f.Fuzz(func(t *testing.T, content string) {
		if m, err := mapping.Parse("fuzz.yaml", []byte(content)); err == nil {
			m.CheckExamples()
		}
	})
}
