package store_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"meridian/instance/crm"
	"meridian/instance/store"
)

func (w *world) look(s crm.Subject, entity, query string) store.Read {
	w.t.Helper()
	search, err := crm.ParseSearch(query)
	if err != nil {
		w.t.Fatal(err)
	}
	r := w.read(s, entity)
	r.Search = &search
	return r
}

func TestSearchFindsWordsInWhatIsRevealed(t *testing.T) {
	w := newWorld(t)
	place := func(territory, source, name, city, website, email string) crm.RecordID {
		return w.create("account", territory, fields{"source_id": crm.String(source), "name": crm.String(name), "city": crm.String(city),
			"website": crm.String(website), "email": crm.String(email), "phone": crm.String("+49 30 1234567")}).ID
	}
	apple := place("US-CA", "AAPL", "Apple Inc.", "Cupertino", "https://www.apple.example", "tim@apple.example")
	bank := place("US-CA", "BANK", "Apple Bank", "New York", "https://bank.example", "info@bank.example")
	brien := place("DE", "OB", "O'Brien & Söhne", "Grünau", "", "chef@brien.example")
	w.agree(brien, "dach-sales", []string{"read"}, []string{"core"})
	guest := manager("US-CA")
	guest.Departments = []string{"dach-sales"}
	for query, want := range map[string][]crm.RecordID{
		"apple":              {apple, bank},
		"appl":               {apple, bank}, // the last word may be a beginning
		"appl inc":           nil,           // another may not
		"apple inc":          {apple},
		"APPLE CUPER":        {apple},
		`"apple inc"`:        {apple},
		`"inc apple"`:        nil,
		"apple -bank":        {apple},
		`apple -"apple inc"`: {bank},
		"www.apple.example":  {apple},
		"tim cupertino":      {apple}, // one word in each of two groups
		"o'brien":            {brien},
		"söhne":              {brien},
		"chef":               nil, // withheld from the guest
		"brien -chef":        {brien},
		"1234567 apple":      {apple, bank},
		"1234567 grünau":     nil,
	} {
		got := idsOf(w.list(w.look(guest, "account", query)))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s finds %v, want %v", query, got, want)
		}
	}
	if got := w.list(w.look(everywhere, "account", "chef")); len(got) != 1 {
		t.Errorf("who may see the e-mail finds %d", len(got))
	}
	r := w.look(guest, "account", "apple")
	r.Where = w.where("account", "city = 'Cupertino'")
	if got := idsOf(w.list(r)); !slices.Equal(got, []crm.RecordID{apple}) {
		t.Errorf("with a filter it finds %v", got)
	}
	if n, _, err := w.Count(t.Context(), r); n != 1 || err != nil {
		t.Errorf("counts %d, %v", n, err)
	}
}

// TestSearchFollowsTheDefinition: a field that comes later is searched, in the
// records that are there too, and one that is gone is not.
func TestSearchFollowsTheDefinition(t *testing.T) {
	w := newWorld(t)
	w.create("thing", "US-CA", fields{"name": crm.String("older"), "secret": crm.String("whisper")})
	more := thing
	more.Fields = append(slices.Clone(thing.Fields), crm.Field{Name: "motto", Type: crm.TypeString, Group: "core"})
	for range 2 {
		if err := w.Install(t.Context(), []crm.Definition{more}); err != nil {
			t.Fatal(err)
		}
	}
	w.create("thing", "US-CA", fields{"name": crm.String("newer"), "motto": crm.String("onward")})
	for query, want := range map[string]int{"older": 1, "onward": 1, "whisper": 1} {
		if got := w.list(w.look(everywhere, "thing", query)); len(got) != want {
			t.Errorf("%s finds %d, want %d", query, len(got), want)
		}
	}
	less := more
	less.Fields = slices.DeleteFunc(slices.Clone(more.Fields), func(f crm.Field) bool { return f.Name == "secret" || f.Name == "motto" })
	if err := w.Install(t.Context(), []crm.Definition{less}); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int{"older": 1, "onward": 0, "whisper": 0} {
		if got := w.list(w.look(everywhere, "thing", query)); len(got) != want {
			t.Errorf("without its field, %s finds %d, want %d", query, len(got), want)
		}
	}
}

func TestALongTextIsStoredAndSearched(t *testing.T) {
	w := newWorld(t)
	var b strings.Builder
	for i := range 400_000 { // every word another: the worst a tsvector can meet
		b.WriteString(string(rune(0x4e00+i%20000)) + string(rune(0x4e00+i/20000)) + " ")
	}
	w.create("thing", "US-CA", fields{"code": crm.String("begins"), "secret": crm.String("first " + b.String() + "last")})
	for query, want := range map[string]int{"first": 1, "last": 0} {
		if got := w.list(w.look(everywhere, "thing", query)); len(got) != want {
			t.Errorf("%s finds %d, want %d", query, len(got), want)
		}
	}
}

// TestLongTextsInEveryGroupAreRanked: one record cannot fail the searches that
// find it.
func TestLongTextsInEveryGroupAreRanked(t *testing.T) {
	w := newWorld(t)
	long := func(first int) crm.Value {
		var words strings.Builder
		for i := range 40_000 { // each another, of the longest letters
			words.WriteRune(rune(0x20000 + i))
			words.WriteRune(rune(0x20000 + (first+i)%40_000))
			words.WriteByte(' ')
		}
		return crm.String("poison " + words.String())
	}
	id := w.create("lead", "US-CA", fields{"source_id": crm.String("L1"), "company": crm.String("A"), "interest": long(1), "job_title": long(2), "currency": long(3)}).ID
	if got := idsOf(w.list(w.look(everywhere, "lead", "poison"))); !slices.Equal(got, []crm.RecordID{id}) {
		t.Errorf("finds %v", got)
	}
}

// TestSearchIsTheModel: whatever is stored and shown, a search finds the records
// whose revealed groups together have its words, in every shape of plan; what is
// not revealed makes no difference to what is found, its rank or its order.
func TestSearchIsTheModel(t *testing.T) {
	w := newWorld(t)
	partner, guest := manager(), manager("US-CA")
	partner.Relationships = []crm.Relationship{{Department: "dach-sales", Actions: []string{"read"}}}
	guest.Departments = []string{"dach-sales"}
	some := rapid.SliceOfN(rapid.SampledFrom([]string{"red", "redder", "green", "blue"}), 0, 4)
	rapid.Check(t, func(rt *rapid.T) {
		ms := drawRecords(rt, w)
		for i := range ms {
			for _, field := range []string{"name", "iban", "secret"} {
				v := crm.String(strings.Join(some.Draw(rt, field), " "))
				ms[i].rec.Fields[field] = v
				w.exec(`update record.thing set "`+field+`" = $2 where id = $1`, string(ms[i].rec.ID), v.Text())
			}
		}
		s := rapid.SampledFrom([]crm.Subject{partner, guest, everywhere}).Draw(rt, "subject")
		query := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"red", "green", "blue", "-blue", "-green"}), 1, 3).Draw(rt, "query"), " ")
		search, err := crm.ParseSearch(query)
		if err != nil {
			rt.Skip(query)
		}
		var want []crm.RecordID
		for _, m := range ms {
			if visible, v := m.sees(s); visible && m.found(search, v) {
				want = append(want, m.rec.ID)
			}
		}
		slices.Sort(want)
		r := w.look(s, "thing", query)
		r.Limit = rapid.IntRange(1, 9).Draw(rt, "limit")
		var first []crm.RecordID
		for _, shape := range store.Shapes[:2] {
			var got []crm.RecordID
			for r.Cursor = ""; ; {
				p, err := w.ListAs(t.Context(), r, shape)
				if err != nil {
					rt.Fatal(err)
				}
				got = append(got, idsOf(p.Records)...)
				if r.Cursor = p.Next; r.Cursor == "" {
					break
				}
			}
			if first == nil {
				first = slices.Clone(got)
			} else if !slices.Equal(first, got) {
				rt.Fatalf("%q: the shapes order differently: %v and %v", query, first, got)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				rt.Fatalf("%q finds %v, the model %v", query, got, want)
			}
		}
		// What is not revealed is changed: found, rank and order stay.
		for _, m := range ms {
			_, v := m.sees(s)
			for field, group := range map[string]string{"name": "core", "iban": "commercial", "secret": "personal"} {
				if !v[group] {
					w.exec(`update record.thing set "`+field+`" = $2 where id = $1`, string(m.rec.ID), strings.Join(some.Draw(rt, "other"), " "))
				}
			}
		}
		r.Cursor, r.Limit = "", 1000
		if got := idsOf(w.list(r)); !slices.Equal(got, first) {
			rt.Fatalf("%q: what is not revealed changes the answer from %v to %v", query, first, got)
		}
	})
}

// found says whether the words of the revealed groups answer a search.
func (m modelled) found(s crm.Search, v view) bool {
	var words []string
	for _, f := range thing.Fields {
		if v[f.Group] && f.Type == crm.TypeString {
			words = append(words, strings.Fields(m.rec.Fields[f.Name].Text())...)
		}
	}
	has := func(t crm.Term) bool {
		return slices.ContainsFunc(words, func(w string) bool { return w == t.Words[0] || t.Prefix && strings.HasPrefix(w, t.Words[0]) })
	}
	return !slices.ContainsFunc(s.None, has) && !slices.ContainsFunc(s.All, func(t crm.Term) bool { return !has(t) })
}
