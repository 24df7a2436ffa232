package main

import (
	"fmt"
	"slices"
	"strings"

	"lockstep/conformance"
	"lockstep/exporter"
)

// subjectFlags say which package is looked at, on which plane, against what:
// the shard of an export, or a package that lockstep did not write.
type subjectFlags struct {
	Out        string   `help:"Output directory of an export." required:"" xor:"judged" placeholder:"DIR"`
	Package    string   `help:"A package that lockstep did not write (X.mlpackage); needs --checkpoint. Its interface must be the graph contract." required:"" xor:"judged" placeholder:"P"`
	Map        []string `help:"With --package: what it calls an input, the output or a state: x=hidden_in. Repeatable." placeholder:"NAME=OWN"`
	Layers     string   `help:"Decoder layers of the shard, END excluded." required:"" xor:"piece" placeholder:"START:END"`
	Checkpoint string   `help:"The checkpoint: what the oracle computes from, and what --golden belongs to." placeholder:"PATH"`
	Golden     string   `help:"Vectors that another implementation computed from this checkpoint, named as in fixtures/golden." placeholder:"FILE"`
	Plane      string   `help:"What executes the package: reference, anywhere, or coreml, on macOS 15 or later." default:"reference"`

	head bool // the LM head in place of layers
}

// options reads what the flags name; what it opened is closed by the function
// that it returns.
func (f *subjectFlags) options() (conformance.Options, func(), error) {
	none := func() {}
	var layers exporter.Range
	var err error
	if !f.head {
		if layers, err = exporter.ParseRange(f.Layers); err != nil {
			return conformance.Options{}, none, fmt.Errorf("--layers: %w", err)
		}
	}
	plane, err := openPlane("--plane", f.Plane)
	if err != nil {
		return conformance.Options{}, none, err
	}
	names, err := f.names()
	if err != nil {
		return conformance.Options{}, none, err
	}
	opt := conformance.Options{
		Dir: f.Out, Package: f.Package, Names: names, Layers: layers, Plane: plane, Subject: "package", Lockstep: version(),
	}
	if f.Checkpoint == "" {
		if f.Golden != "" {
			err = &flagError{"--golden", "--checkpoint beside it, to tell whether the vectors belong to it", "none"}
		}
		return opt, none, err
	}
	if opt.Subject, err = checkpointName(f.Checkpoint); err != nil {
		return conformance.Options{}, none, err
	}
	if opt.Checkpoint, err = openCheckpoint(f.Checkpoint); err != nil {
		return conformance.Options{}, none, err
	}
	closeAll := func() { opt.Checkpoint.Close() } // opened for reading
	if f.Golden != "" {
		if opt.Golden, err = readGolden(f.Golden, opt.Checkpoint); err != nil {
			closeAll()
			return conformance.Options{}, none, err
		}
	}
	return opt, closeAll, nil
}

// names checks the flags that say which package it is, and reads the map.
func (f *subjectFlags) names() (map[string]string, error) {
	if f.Package == "" {
		if len(f.Map) > 0 {
			return nil, &flagError{"--map", "--package beside it", "--out"}
		}
		return nil, wantRecord(f.Out)
	}
	if f.head {
		return nil, &flagError{"--package", "--layers beside it", "--head: packages of others are judged as layers"}
	}
	if err := wantPackage("--package", f.Package); err != nil {
		return nil, err
	}
	if f.Checkpoint == "" {
		return nil, &flagError{"--package", "--checkpoint beside it, to tell the model from", "none"}
	}
	return readNames("--map", f.Map)
}

// readNames reads pairs of a contract's name and a package's own.
func readNames(flag string, pairs []string) (map[string]string, error) {
	names := map[string]string{}
	for _, pair := range pairs {
		name, own, ok := strings.Cut(pair, "=")
		if _, twice := names[name]; !ok || name == "" || own == "" || twice {
			return nil, &flagError{flag, "NAME=OWN, each name of the contract once", fmt.Sprintf("%q", pair)}
		}
		names[name] = own
	}
	return names, nil
}

// open opens the suite, and refuses golden vectors that it has no use for.
func (f *subjectFlags) open(opt conformance.Options) (*conformance.Suite, error) {
	suite, err := conformance.NewSuite(opt)
	if err != nil {
		return nil, err
	}
	if f.Golden != "" && !slices.ContainsFunc(suite.Cases(), isGoldenCase) {
		suite.Close() // opened for reading
		want := "hidden states before and after layers " + f.Layers
		if f.head {
			want = "hidden states after the last layer, and logits"
		}
		return nil, &flagError{"--golden " + f.Golden, want, "none of that name; see fixtures/golden for the names"}
	}
	return suite, nil
}

func isGoldenCase(c conformance.Case) bool {
	return c.Check == conformance.CheckOracle && strings.HasPrefix(c.Name, "golden/")
}

// arguments are those of a command on the same subject, but for the plane.
func (f *subjectFlags) arguments(command string) []string {
	args := []string{"lockstep", command, "--out", f.Out}
	if f.Package != "" {
		args = []string{"lockstep", command, "--package", f.Package}
		for _, pair := range f.Map {
			args = append(args, "--map", pair)
		}
	}
	if f.head {
		args = append(args, "--head")
	} else {
		args = append(args, "--layers", f.Layers)
	}
	if f.Checkpoint != "" {
		args = append(args, "--checkpoint", f.Checkpoint)
	}
	if f.Golden != "" {
		args = append(args, "--golden", f.Golden)
	}
	return args
}
