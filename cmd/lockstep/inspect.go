package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

type inspectCommand struct {
	Package string `arg:"" help:"Package directory (X.mlpackage)." placeholder:"P"`
	Program bool   `help:"Print the MIL program as text." xor:"form"`
	JSON    bool   `name:"json" help:"Print JSON." xor:"form"`
}

// packageSummary is inspect's JSON.
type packageSummary struct {
	SpecVersion int               `json:"spec_version"`
	Functions   []functionSummary `json:"functions"`
	Default     string            `json:"default_function,omitempty"`
	WeightBytes int               `json:"weight_bytes"`
	Blobs       int               `json:"blobs"`
	Problem     string            `json:"problem,omitempty"`
}

type functionSummary struct {
	Name    string           `json:"name"`
	Opset   string           `json:"opset"`
	Inputs  []featureSummary `json:"inputs"`
	Outputs []featureSummary `json:"outputs"`
	States  []featureSummary `json:"states"`
	Ops     map[string]int   `json:"ops"`
}

type featureSummary struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// errProblem means that a package decodes, but its parts are at odds.
var errProblem = errors.New("the package has a problem")

// Run shows the package, and fails if its parts are at odds.
func (c *inspectCommand) Run(to streams) error {
	if err := wantPackage("inspect", c.Package); err != nil {
		return err
	}
	p, err := mlpackage.Open(c.Package)
	if err != nil {
		return err
	}
	defer p.Close() // opened for reading
	s := summarise(p)
	switch {
	case c.Program:
		err = mil.Print(to.out, p.Model.Program)
	case c.JSON:
		err = writeJSON(to.out, s)
	default:
		printSummary(to.out, c.Package, s)
	}
	if err == nil && s.Problem != "" {
		err = fmt.Errorf("%s: %w: %s", c.Package, errProblem, s.Problem)
	}
	return err
}

func summarise(p *mlpackage.Package) packageSummary {
	s := packageSummary{SpecVersion: p.Model.SpecVersion, Default: p.Model.Description.Default, WeightBytes: len(p.WeightBytes)}
	if p.Weights != nil {
		s.Blobs = len(p.Weights.Blobs())
	}
	if err := p.Model.Program.Check(); err != nil {
		s.Problem = err.Error()
	} else if err := mlpackage.Check(p); err != nil {
		s.Problem = err.Error()
	}
	for _, d := range p.Model.Description.Functions {
		f := functionSummary{Name: d.Name, Inputs: typed(d.Inputs), Outputs: typed(d.Outputs), States: typed(d.States), Ops: map[string]int{}}
		if body := p.Model.Program.Function(d.Name); body != nil {
			f.Opset = body.Opset
			for _, op := range body.Ops {
				f.Ops[op.Type]++
			}
		}
		s.Functions = append(s.Functions, f)
	}
	return s
}

func typed(fs []mlpackage.Feature) []featureSummary {
	out := make([]featureSummary, len(fs))
	for i, f := range fs {
		out[i] = featureSummary{Name: f.Name, Type: mil.Tensor(f.DType, f.Shape...).String()}
	}
	return out
}

func printSummary(w io.Writer, name string, s packageSummary) {
	fmt.Fprintf(w, "package   %s\nspec      version %d", name, s.SpecVersion)
	if s.Default != "" {
		fmt.Fprintf(w, ", default function %s", s.Default)
	}
	fmt.Fprintf(w, "\nweights   %d bytes (%s) in %d blobs\n", s.WeightBytes, byteCount(int64(s.WeightBytes)), s.Blobs)
	for _, f := range s.Functions {
		fmt.Fprintf(w, "function  %s (%s)\n", f.Name, f.Opset)
		for _, group := range []struct {
			kind string
			fs   []featureSummary
		}{{"input", f.Inputs}, {"state", f.States}, {"output", f.Outputs}} {
			for _, feature := range group.fs {
				fmt.Fprintf(w, "  %-7s %-20s %s\n", group.kind, feature.Name, feature.Type)
			}
		}
		for _, op := range slices.Sorted(maps.Keys(f.Ops)) {
			fmt.Fprintf(w, "  %-7s %-32s %4d\n", "op", op, f.Ops[op])
		}
	}
}
