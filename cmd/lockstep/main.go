package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"lockstep/exporter"
)

// Exit codes. A gate's fail and partial have their own, so that scripts can
// tell them from a broken run.
const (
	exitPass    = 0
	exitFail    = 1
	exitError   = 2
	exitPartial = 3
)

// cli is the command line.
type cli struct {
	Plan     planCommand     `cmd:"" help:"Print the exact size of everything that an export of the model makes, in build order, and what fits on the disk."`
	Export   exportCommand   `cmd:"" help:"Write a shard as a Core ML package, or the embedding, with its record."`
	Gate     gateCommand     `cmd:"" help:"Judge an exported shard and write a verdict."`
	Ranges   rangesCommand   `cmd:"" help:"Show how large every value of a shard becomes, and its headroom to float16's largest."`
	Bisect   bisectCommand   `cmd:"" help:"Cut a shard by layer, then by op, to the first value that differs between two packages, a block and singles, or a package and the oracle."`
	Prove    proveCommand    `cmd:"" help:"Prove, without weights, that a block keeps step with single tokens."`
	Run      runCommand      `cmd:"" help:"Execute one pass of a package's function on tensors from a file."`
	Inspect  inspectCommand  `cmd:"" help:"Show what is in a package."`
	Generate generateCommand `cmd:"" help:"Decode text with an exported whole model: greedy, speculative or sampled."`
	Manifest manifestCommand `cmd:"" help:"Describe an exported whole model to a runtime: the meta JSON that a public Swift runtime reads."`
	Report   reportCommand   `cmd:"" help:"Render the newest verdicts of output directories as Markdown for a pull request."`
	Doctor   doctorCommand   `cmd:"" help:"Say what can be measured on this machine, and why not the rest."`
	Probe    probeCommand    `cmd:"" help:"Try on a Mac each open choice of the graph on one-layer packages, and show what came of it."`

	PlanDump  planDumpCommand  `cmd:"" name:"plan-dump" help:"Record where Core ML would run each op of a package."`
	Residency residencyCommand `cmd:"" help:"Judge recorded compute plans."`

	Worker workerCommand `cmd:"" hidden:""`

	Version kong.VersionFlag `help:"Print the version and exit."`
}

// Help implements kong.HelpProvider.
func (cli) Help() string {
	return "Exit codes: 0 done (gate, residency, export --all: pass, or an accepted partial); 1 one of these three failed, prove refuted, " +
		"bisect or generate --audit found a difference, or a step of probe ended in an error; 3 one of the three was partial, or prove met an operation that it does not cover; " +
		"2 everything else that went wrong, wrong usage included. Nothing that stands on the disk is ever deleted or overwritten; " +
		"of lockstep.json the old text stays beside it."
}

// exitCode is an error that only sets the exit code: all was said already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// streams are where a command writes.
type streams struct {
	out, err io.Writer
}

func main() {
	os.Exit(run(os.Args[1:], streams{os.Stdout, os.Stderr}))
}

func run(args []string, to streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	help, exited := to.out, -1
	asked := len(args) > 0
	if !asked {
		args, help = []string{"--help"}, to.err
	}
	var c cli
	parser, err := kong.New(
		&c,
		kong.Name("lockstep"),
		kong.Description("Core ML shards whose four-token block keeps step with four single-token passes."),
		variables(),
		kong.Writers(help, to.err),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(to),
	)
	if err != nil {
		return report(err, to)
	}
	parsed, err := parser.Parse(args)
	switch {
	case !asked: // nothing was asked for, so nothing succeeded
		return exitError
	case exited >= 0: // --help and --version
		return exited
	case err != nil:
		return reportUsage(err, to)
	}
	return report(parsed.Run(), to)
}

// variables are what the flags' texts refer to.
func variables() kong.Vars {
	return kong.Vars{"version": version(), "head_shards": strconv.Itoa(exporter.DefaultHeadShards)}
}

// reportUsage prints what is wrong with the command line and where its forms
// are described.
func reportUsage(err error, to streams) int {
	prefix, program := "", "lockstep"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context.Selected() != nil {
		name := parse.Context.Selected().Name
		prefix, program = name+": ", "lockstep "+name
	}
	fmt.Fprintf(to.err, "lockstep: %s%v\nrun \"%s --help\" for what it takes\n", prefix, err, program)
	return exitError
}

// report prints an error and chooses the exit code.
func report(err error, to streams) int {
	var code exitCode
	switch {
	case err == nil:
		return exitPass
	case errors.As(err, &code):
		return int(code)
	}
	stopped := ""
	if errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "stopped") {
		stopped = "stopped: "
	}
	fmt.Fprintf(to.err, "lockstep: %s%v\n", stopped, err)
	return exitError
}

// version is the module's version as the build recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
