package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"lockstep/conformance"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

type bisectCommand struct {
	A          string   `name:"a" help:"One side: an output directory of an export, or a package (X.mlpackage), which needs --checkpoint." required:"" placeholder:"DIR"`
	B          string   `name:"b" help:"The other side, as --a." placeholder:"DIR" xor:"other"`
	Oracle     bool     `help:"The other side is the checkpoint's layers in float64." xor:"other"`
	MapA       []string `name:"map-a" help:"What a package calls an input, the output or a state: x=hidden_in. Repeatable." placeholder:"NAME=OWN"`
	MapB       []string `name:"map-b" help:"The same for --b." placeholder:"NAME=OWN"`
	Layers     string   `help:"Decoder layers of the shard, END excluded." required:"" placeholder:"START:END"`
	Checkpoint string   `help:"The checkpoint, for the oracle and for packages without a record." placeholder:"PATH"`
	Golden     string   `help:"Take x from these vectors in place of seeded values; see fixtures/golden." placeholder:"FILE"`
	Function   string   `help:"t1, t4, or t4-vs-t1: a block of A against single passes of B (of A itself without --b). Default: the most rows that A has; without --b and --oracle, t4-vs-t1." placeholder:"F"`
	Position   int      `help:"Position of the first row's token; the slots before it hold seeded keys and values. Default: the middle of the cache." default:"-1" placeholder:"P"`
	Live       int      `help:"Rows that carry a token. Default: as many as fit." placeholder:"N"`
	Scale      float64  `help:"Multiply x by this power of two: small inputs show a wrong epsilon." default:"1" placeholder:"S"`
	Tolerance  string   `help:"exact, a count of float16 steps like 4ulp, or a relative number like 0.03. Default: exact for the same arithmetic, else relative; the output says which." placeholder:"T"`
	Deep       bool     `help:"Compare every value, even if what leaves each layer agrees."`
	Work       string   `help:"Show values by cut packages, which are written into this directory and stay there; a plane that cannot trace needs it." placeholder:"DIR"`
	Plane      string   `help:"What executes A." default:"reference"`
	PlaneB     string   `name:"plane-b" help:"What executes B." default:"reference"`
	JSON       bool     `name:"json" help:"Print JSON."`
	Verbose    bool     `short:"v" help:"Print every value that was compared."`
}

// Help implements kong.HelpProvider.
func (bisectCommand) Help() string {
	return "Both sides run the same inputs on the same seeded states. What leaves each layer is compared first; then, in the first layer where " +
		"that parts, every value in program order, up to the first that differs: its op, element, row, both values, and whether what the op reads " +
		"agrees. Nothing is judged and no verdict written.\n\n" +
		"Exit codes: 0 no difference found; 1 one was found; 2 the run itself broke."
}

func (c *bisectCommand) Run(ctx context.Context, to streams) error {
	opt, closeAll, err := c.options()
	if err != nil {
		return err
	}
	defer closeAll()
	out, err := conformance.Bisect(ctx, opt)
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(to.out, out)
	} else {
		err = printBisection(to.out, out, c.Verbose)
	}
	if err == nil && out.Found != nil {
		return exitCode(exitFail)
	}
	return err
}

// functionForm is t<T> or t<T>-vs-t1.
var functionForm = regexp.MustCompile(`^t([1-9][0-9]?)(-vs-t1)?$`)

// options reads the flags; the function that it returns closes what is open.
func (c *bisectCommand) options() (conformance.BisectOptions, func(), error) {
	none, opt := func() {}, conformance.BisectOptions{
		Oracle: c.Oracle, Position: c.Position, Live: c.Live, Scale: c.Scale, Deep: c.Deep,
		Singles: c.B == "" && !c.Oracle,
	}
	if err := c.passes(&opt); err != nil {
		return opt, none, err
	}
	layers, err := exporter.ParseRange(c.Layers)
	if err != nil {
		return opt, none, fmt.Errorf("--layers: %w", err)
	}
	var ck *checkpoint.Checkpoint
	if c.Checkpoint != "" {
		if ck, err = openCheckpoint(c.Checkpoint); err != nil {
			return opt, none, err
		}
		none = func() { ck.Close() } // opened for reading
	} else if c.Oracle || c.Golden != "" {
		return opt, none, &flagError{"--oracle and --golden", "--checkpoint beside them", "none"}
	}
	if err := c.sides(&opt, layers, ck); err != nil {
		none()
		return opt, func() {}, err
	}
	return opt, none, nil
}

// passes reads the flags that say what is run.
func (c *bisectCommand) passes(opt *conformance.BisectOptions) error {
	if c.Function != "" {
		form := functionForm.FindStringSubmatch(c.Function)
		if form == nil {
			return &flagError{"--function", "t1, t4 or t4-vs-t1", fmt.Sprintf("%q", c.Function)}
		}
		opt.Rows, _ = strconv.Atoi(form[1]) // two digits
		against := form[2] != ""
		switch {
		case !against && opt.Singles:
			return &flagError{"--function " + c.Function, "--b or --oracle beside it, or t4-vs-t1", "neither"}
		case against && c.Oracle:
			return &flagError{"--function " + c.Function, "a function, since the oracle stands for the singles", "t1 too"}
		}
		opt.Singles = against
	}
	if c.Position < -1 {
		return &flagError{"--position", "a position from 0 on", strconv.Itoa(c.Position)}
	}
	if c.Tolerance != "" {
		t, err := conformance.ParseTolerance(c.Tolerance)
		if err != nil {
			return fmt.Errorf("--tolerance: %w", err)
		}
		opt.Tolerance = &t
	}
	return nil
}

// sides reads the flags that say what is compared.
func (c *bisectCommand) sides(opt *conformance.BisectOptions, layers exporter.Range, ck *checkpoint.Checkpoint) error {
	a, err := c.side("a", c.A, c.MapA, c.Plane)
	if err != nil {
		return err
	}
	a.Layers, a.Checkpoint = layers, ck
	if c.Golden != "" {
		if a.Golden, err = readGolden(c.Golden, ck); err != nil {
			return err
		}
	}
	opt.A = a
	if c.Oracle {
		return nil
	}
	of, names := c.B, c.MapB
	if of == "" {
		of, names = c.A, c.MapA
	}
	b, err := c.side("b", of, names, c.PlaneB)
	if err != nil {
		return err
	}
	b.Layers, b.Checkpoint = layers, ck
	opt.B = &b
	return nil
}

// side tells an export from a package by the record.
func (c *bisectCommand) side(flag, path string, pairs []string, plane string) (side conformance.BisectSide, err error) {
	side.Work, side.Subject, side.Lockstep = c.Work, "package", version()
	if side.Plane, err = openPlane("--plane"+map[string]string{"b": "-b"}[flag], plane); err != nil {
		return side, err
	}
	if err := wantDirectory("--"+flag+" "+path, path, "an output directory of an export, or a package (X.mlpackage)"); err != nil {
		return side, err
	}
	if _, err := os.Stat(filepath.Join(path, manifest.RecordFile)); !errors.Is(err, fs.ErrNotExist) {
		if len(pairs) > 0 {
			return side, &flagError{"--map-" + flag, "a package without a record in --" + flag, "an export"}
		}
		side.Dir = path
		return side, nil
	}
	if c.Checkpoint == "" {
		return side, &flagError{"--" + flag + " " + path, "--checkpoint beside a package without a record, to tell the model from", "none"}
	}
	side.Package = path
	side.Names, err = readNames("--map-"+flag, pairs)
	return side, err
}
