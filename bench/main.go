// Command bench measures Meridian against hand-written baselines in the same
// run and holds each ratio to a limit. Machines are noisy, so only ratios (and
// one bound in seconds that users feel) are held; the absolute numbers are for
// orientation.
//
// It starts embedded servers and real plugin processes of its own in a
// temporary folder, writes bench/RESULTS.md, and exits 1 when a limit is
// broken.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// measure is one line of the table.
type measure struct {
	name     string
	measured string
	baseline string
	ratio    float64
	limit    float64 // of the ratio; 0 is not held
	unit     string  // what the ratio is, if not measured / baseline
}

func (m measure) ok() bool { return m.limit == 0 || m.ratio <= m.limit }

func main() {
	rows := flag.Int("rows", 100_000, "accounts to load and page through")
	atScale := flag.Int("scale", 1_000_000, "accounts of the organisation that part scale reads from")
	out := flag.String("out", "bench/RESULTS.md", "where to write the table; empty for nowhere")
	bin := flag.String("bin", "bin", "folder of the plugins that make build made")
	only := flag.String("only", "", "parts to run, such as create,load; all if empty")
	profile := flag.String("profile", "", "folder for a CPU profile per part; none if empty")
	flag.Parse()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // as meridian serve does
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if *only != "" {
		*out = "" // a part is no report
	}
	broken, err := run(ctx, options{rows: *rows, scale: *atScale, bin: *bin, out: *out, only: *only, profile: *profile})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if broken {
		os.Exit(1)
	}
}

type options struct {
	rows, scale   int
	bin, out      string
	only, profile string
}

func run(ctx context.Context, o options) (broken bool, err error) {
	w, err := openWorld(ctx, o.bin)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	var table []measure
	for _, part := range []part{
		{"plugins", benchPlugins},
		{"create", benchCreate},
		{"serve", benchServe},
		{"exchange", benchExchange},
		{"idle", benchIdle},
		{"load", func(ctx context.Context, w *world) ([]measure, error) { return benchLoad(ctx, w, o.rows) }},
		{"page", func(ctx context.Context, w *world) ([]measure, error) { return benchPage(ctx, w, o.rows) }},
		{"policy", benchPolicy},
		{"scale", func(ctx context.Context, w *world) ([]measure, error) { return benchScale(ctx, w, o.scale) }},
	} {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), part.name) {
			continue
		}
		ms, err := part.measured(ctx, w, o.profile)
		if err != nil {
			return false, fmt.Errorf("%s: %w", part.name, err)
		}
		table = append(table, ms...)
	}
	for _, m := range table {
		broken = broken || !m.ok()
	}
	text := render(table, o.rows)
	fmt.Print(text)
	if o.out != "" {
		err = os.WriteFile(o.out, []byte(text), 0o644)
	}
	return broken, err
}

// part is one of the things that are measured.
type part struct {
	name string
	run  func(context.Context, *world) ([]measure, error)
}

// measured runs the part, into a profile if there is a folder for it, and says
// what it cost.
func (p part) measured(ctx context.Context, w *world, profile string) (_ []measure, err error) {
	if profile != "" {
		f, err := os.Create(filepath.Join(profile, p.name+".pprof"))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return nil, err
		}
		defer pprof.StopCPUProfile()
	}
	before := used()
	ms, err := p.run(ctx, w)
	fmt.Fprintf(os.Stderr, "bench: %-8s %s\n", p.name, used().since(before))
	return ms, err
}

func render(table []measure, rows int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measured %s\n\n", time.Now().UTC().Format("2006-01-02"))
	fmt.Fprintf(&b, "Machine: %s, %d cores, %s/%s, %s. %d accounts. `make bench` makes this file.\n", cpu(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), rows)
	b.WriteString("A ratio compares with a baseline measured in the same run; lower is better, and a ratio above its limit fails.\n\n")
	t := tabwriter.NewWriter(&b, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(t, "| what\t Meridian\t baseline\t ratio\t held to\t |")
	fmt.Fprintln(t, "|---\t---\t---\t---\t---\t|")
	for _, m := range table {
		limit := "-"
		if m.limit > 0 {
			limit = fmt.Sprintf("%g%s", m.limit, m.unit)
		}
		verdict := ""
		if !m.ok() {
			verdict = " FAILED"
		}
		fmt.Fprintf(t, "| %s\t %s\t %s\t %.2f%s\t %s%s\t |\n", m.name, m.measured, m.baseline, m.ratio, m.unit, limit, verdict)
	}
	t.Flush()
	return b.String()
}

// cpu names the processor as the kernel does.
func cpu() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				return strings.TrimSpace(v)
			}
		}
	}
	return "unknown processor"
}
