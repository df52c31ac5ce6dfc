package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"meridian/adapters"
	"meridian/adapters/filedrop"
)

// columns of the file that benchLoad writes.
var columns = []string{"source_id", "name", "sector", "industry_group", "industry", "country", "state", "city", "postal_code",
	"website", "size_band", "isin", "annual_revenue", "email", "phone", "tax_id", "sample"}

// benchLoad loads a file as the overnight facade does (verify, map, public
// API, both plugins, policy, position kept with the rows) and compares it with
// hand-written pipelined inserts of the same rows in batches of 500.
func benchLoad(ctx context.Context, w *world, rows int) ([]measure, error) {
	n := w.nodes["amer"]
	file := filepath.Join(w.dir, "companies.csv")
	if err := writeCompanies(file, rows); err != nil {
		return nil, err
	}
	token, err := w.token(loader, n.name)
	if err != nil {
		return nil, err
	}
	tokenFile := filepath.Join(w.dir, "loader.token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		return nil, err
	}
	start := time.Now()
	l, err := filedrop.LoadFile(ctx, filedrop.LoadFileOptions{
		Loads: adapters.NewClient(n.url, tokenFile), File: file, Mapping: "deploy/examples/mappings/companies-amer.yaml",
		Count: int64(rows), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	ours := time.Since(start)
	if got := l.GetBalance().GetInserted(); got != int64(rows) {
		return nil, fmt.Errorf("inserted %d of %d rows: %s", got, rows, l.GetBalance())
	}
	raw, err := newRawWriter(ctx, n)
	if err != nil {
		return nil, err
	}
	const batch = 500
	part := rows / 4 // the baseline's pace does not need all of them
	start = time.Now()
	for done := 0; done < part; done += batch {
		if err := raw.write(ctx, batch); err != nil {
			return nil, err
		}
	}
	theirs := time.Since(start) * time.Duration(rows) / time.Duration(part)
	pace := func(d time.Duration) string { return fmt.Sprintf("%.0f rows/s", float64(rows)/d.Seconds()) }
	return []measure{{
		name: fmt.Sprintf("load a file of %d accounts, both plugins", rows), measured: fmt.Sprintf("%s (%s)", pace(ours), ours.Round(100*time.Millisecond)),
		baseline: "raw pgx inserts " + pace(theirs), ratio: ratio(ours, theirs), limit: 6,
	}}, nil
}

func writeCompanies(path string, rows int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := bufio.NewWriter(f)
	out := csv.NewWriter(b)
	if err := out.Write(columns); err != nil {
		return err
	}
	for i := range rows {
		fields := accountFields(i)
		line := make([]string, len(columns))
		for k, c := range columns {
			line[k] = fields[c].Text()
		}
		line[len(line)-1] = "true"
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return err
	}
	return b.Flush()
}
