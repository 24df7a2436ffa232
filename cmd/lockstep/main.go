package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
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
	Plan    planCommand    `cmd:"" help:"Print the exact sizes of every shard's package, in build order, and what fits on the disk. Reads config.json only."`
	Export  exportCommand  `cmd:"" help:"Write one shard as a Core ML package, with its record."`
	Gate    gateCommand    `cmd:"" help:"Judge an exported shard and write a verdict. Exits 0 for pass, 3 for partial, 1 for fail, 2 for an error."`
	Run     runCommand     `cmd:"" help:"Execute one pass of a package's function on tensors from a file."`
	Inspect inspectCommand `cmd:"" help:"Show what is in a package."`

	Version kong.VersionFlag `help:"Print the version and exit."`
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
	var c cli
	exited := -1
	parser, err := kong.New(
		&c,
		kong.Name("lockstep"),
		kong.Description("Core ML shards whose four-token block keeps step with four single-token passes."),
		kong.UsageOnError(),
		kong.Vars{"version": version()},
		kong.Writers(to.out, to.err),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(to),
	)
	if err != nil {
		fmt.Fprintln(to.err, "lockstep:", err)
		return exitError
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help and --version
		return exited
	}
	if err == nil {
		err = parsed.Run()
	}
	return report(err, to)
}

// report prints an error and chooses the exit code.
func report(err error, to streams) int {
	var code exitCode
	switch {
	case err == nil:
		return exitPass
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(to.err, "lockstep: stopped; what is unfinished keeps its .partial name, and the same command goes on with it")
		return exitError
	}
	fmt.Fprintln(to.err, "lockstep:", err)
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
