// Package sample makes the data a demonstration fleet begins with: real
// companies with invented revenue, addresses and numbers, and invented people
// and deals about them. The same seed gives the same bytes.
//
// Nothing invented may be somebody's: e-mail addresses are of the reserved
// example domains, telephone numbers of ranges that are reserved for fiction
// or of the numbering plans' own examples, and every row says sample.
package sample

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
)

// File is one file as an overnight run would bring it.
type File struct {
	Feed    string
	Rows    int // data records
	Content []byte
}

// maker makes the rows of one feed that are about one company.
type maker struct {
	feed    string
	columns []string
	rows    func(c company, r *rand.Rand) [][]string
}

// makers are the feeds in the order in which they refer to each other.
func makers() []maker {
	return []maker{
		{"companies", companyColumns, companyRow},
		{"contacts", contactColumns, contactRows},
		{"leads", leadColumns, leadRows},
		{"opportunities", opportunityColumns, opportunityRows},
		{"engagements", engagementColumns, engagementRows},
		{"activities", activityColumns, activityRows},
	}
}

// Feeds are the names of the feeds there is sample data for, in the order in
// which they have to be loaded.
func Feeds() []string {
	var names []string
	for _, m := range makers() {
		names = append(names, m.feed)
	}
	return names
}

// Generate makes the named feeds about the companies of a CSV file.
func Generate(seed uint64, companies io.Reader, feeds []string) ([]File, error) {
	all, err := readCompanies(companies)
	if err != nil {
		return nil, err
	}
	var files []File
	for _, m := range makers() {
		if !slices.Contains(feeds, m.feed) {
			continue
		}
		f, err := m.file(seed, all)
		if err != nil {
			return nil, fmt.Errorf("sample %s: %w", m.feed, err)
		}
		files = append(files, f)
	}
	return files, nil
}

func (m maker) file(seed uint64, companies []company) (File, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.Write(m.columns); err != nil {
		return File{}, err
	}
	f := File{Feed: m.feed}
	for _, c := range companies {
		// A company's rows depend on the seed and on itself alone: a company
		// more or less leaves those of the others as they were.
		h := fnv.New64a()
		fmt.Fprintf(h, "%s/%s", m.feed, c.id)
		for _, row := range m.rows(c, rand.New(rand.NewPCG(seed, h.Sum64()))) {
			if err := w.Write(row); err != nil {
				return File{}, err
			}
			f.Rows++
		}
	}
	w.Flush()
	f.Content = b.Bytes()
	return f, w.Error()
}
