// Command meridian-facade-filedrop loads the delimited files that a legacy
// system drops into a folder. See package filedrop for what it does and
// filedrop.Config for its configuration.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"

	"meridian/adapters"
	"meridian/adapters/filedrop"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "meridian-facade-filedrop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, logs io.Writer) error {
	flags := flag.NewFlagSet("meridian-facade-filedrop", flag.ContinueOnError)
	flags.SetOutput(logs)
	path := flags.String("config", "", "configuration `file` (required)")
	once := flags.Bool("once", false, "take what is ready now and end")
	check := flags.Bool("check", false, "check configuration, folders, token and the mappings' examples, and end")
	debug := flags.Bool("debug", false, "log every call of the facade")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if *path == "" || flags.NArg() > 0 {
		return errors.New("say --config FILE")
	}
	config, err := filedrop.ReadConfig(*path)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: level}))
	drop, err := filedrop.New(config, log)
	if err != nil {
		return err
	}
	switch {
	case *check:
		return report(ctx, drop, out)
	case *once:
		return drop.Once(ctx)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return drop.Run(ctx) })
	if config.Socket != "" {
		g.Go(func() error { return adapters.Serve(ctx, adapters.Observed(drop, log), config.Socket) })
	}
	return g.Wait()
}

func report(ctx context.Context, f adapters.Facade, out io.Writer) error {
	problems, err := f.Check(ctx)
	if err != nil {
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d problems", len(problems))
	}
	fmt.Fprintln(out, "ok")
	return nil
}
