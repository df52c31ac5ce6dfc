// Command meridian runs and operates a fleet of CRM instances. Verbs live one
// to a file; all but up, serve, token and version are clients of the public
// API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line: one field per verb.
type cli struct {
	Up        upCmd        `cmd:"" help:"Run a whole fleet on this machine, with sample data. Ctrl-C stops all of it."`
	Serve     serveCmd     `cmd:"" help:"Run one instance."`
	Token     tokenCmd     `cmd:"" help:"Print a token of a persona of the fleet on this machine."`
	Record    recordCmd    `cmd:"" help:"List, read, create, change and delete records."`
	Search    searchCmd    `cmd:"" help:"Find records by their words."`
	Aggregate aggregateCmd `cmd:"" help:"Count and sum records, by country, by month, by anything."`
	Export    exportCmd    `cmd:"" help:"Write all records you may see to a file."`
	Watch     watchCmd     `cmd:"" help:"Show changes as they happen."`
	Explain   explainCmd   `cmd:"" help:"Say why a record may or may not be seen or changed."`
	Agreement agreementCmd `cmd:"" help:"Open accounts or areas to departments by agreement, or wall them off."`
	Share     shareCmd     `cmd:"" help:"Share a record with a colleague or a department."`
	Withhold  withholdCmd  `cmd:"" help:"Withhold a record from a colleague or a department."`
	Grants    grantsCmd    `cmd:"" help:"List and end judgements: what was shared and withheld."`
	Glass     glassCmd     `cmd:"" name:"breakglass" help:"Read one record now, with a reason, when it cannot wait; officers review every time."`
	Fact      factCmd      `cmd:"" help:"Who is assigned where, the trees, and departments: show, change, reorganise, look ahead."`
	Policy    policyCmd    `cmd:"" help:"Test, check, show and evaluate the rules."`
	Audit     auditCmd     `cmd:"" help:"Who looked at what, and proof that the log of it was not rewritten."`
	Plugin    pluginCmd    `cmd:"" help:"Plugins of an instance."`
	Load      loadCmd      `cmd:"" help:"Loads from legacy systems."`
	Exchange  exchangeCmd  `cmd:"" help:"Exchange between instances."`
	Doctor    doctorCmd    `cmd:"" help:"Look whether instances are well."`
	Version   versionCmd   `cmd:"" help:"Print the version of this build."`
}

// output is where a verb writes: results to Stdout, everything else to Stderr.
type output struct{ Stdout, Stderr io.Writer }

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process, so that test scripts can call it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	type exited int
	defer func() { // kong ends --help by exiting
		switch r := recover().(type) {
		case nil:
		case exited:
			code = int(r)
		default:
			panic(r)
		}
	}()
	var c cli
	parser, err := kong.New(&c,
		kong.Name("meridian"),
		kong.Description("A global CRM made of sovereign instances.\n\n"+exitCodeHelp),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(output{stdout, stderr}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		panic(err) // a fault of the struct above
	}
	verb, err := parser.Parse(withNegatives(args))
	if err != nil {
		fmt.Fprintf(stderr, "meridian: %v\nTry: meridian --help\n", err)
		return exitUsage
	}
	if err := verb.Run(); err != nil && !errors.Is(err, context.Canceled) {
		text, code := explainError(err)
		fmt.Fprintln(stderr, "meridian:", text)
		return code
	}
	return exitOK
}
