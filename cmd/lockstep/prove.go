package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"lockstep/conformance/terms"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

type proveCommand struct {
	Package    string   `help:"Package directory (X.mlpackage); its weights are not read, and may be absent." required:"" xor:"program" placeholder:"P"`
	Checkpoint string   `help:"Checkpoint, for the program that export would write: its config.json, or the header of a GGUF file, is all that is read." required:"" xor:"program" placeholder:"PATH"`
	Layers     string   `help:"With --checkpoint: decoder layers of the shard, END excluded." xor:"piece" placeholder:"START:END"`
	Head       bool     `help:"With --checkpoint, in place of --layers: the LM head, in --head-shards ranges of the vocabulary." xor:"piece"`
	Map        []string `help:"With --package: what it calls an input of the graph contract: x=hidden_in. Repeatable." placeholder:"NAME=OWN"`
	Every      bool     `help:"At every position with every number of live rows; for few slots, or with patience."`
	JSON       bool     `name:"json" help:"Print JSON."`
	recipeFlags
}

// Help implements kong.HelpProvider.
func (proveCommand) Help() string {
	return "Executes the program over hashes of terms in place of floats: every element of the outputs and every slot of every state of a " +
		"block must be the same expression of inputs, weights and earlier slots as in single passes. It says nothing about rounding or " +
		"about the Neural Engine's own arithmetic; docs/equivalence.md has the assumptions.\n\n" +
		"Exit codes: 0 proven; 1 refuted, with the first element and the operation at fault; 3 the program has an operation that terms do not cover; 2 the run itself broke."
}

// Results of a question.
const (
	proven  = "proven"
	refuted = "refuted"
	open    = "not covered"
)

// proofReport is prove's JSON.
type proofReport struct {
	Result   string         `json:"result"`
	Programs []programProof `json:"programs"`
}

// programProof is what came of a program.
type programProof struct {
	Program   string        `json:"program"`
	Functions []string      `json:"functions"`
	Rows      []int         `json:"rows"`
	Slots     int           `json:"slots"`
	Result    string        `json:"result"`
	Answers   []proofAnswer `json:"answers"`
}

// proofAnswer is one question and what came of it.
type proofAnswer struct {
	Claim   string `json:"claim"`
	Pos     int    `json:"pos"`
	Live    int    `json:"live"`
	Result  string `json:"result"`
	Outputs int    `json:"outputs_compared,omitempty"`
	Slots   int    `json:"state_elements_compared,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Depends string `json:"depends,omitempty"` // the matrix of rows and what they depend on
}

func (c *proveCommand) Run(ctx context.Context, to streams) error {
	own, err := c.names()
	if err != nil {
		return err
	}
	programs, err := c.programs()
	if err != nil {
		return err
	}
	report := proofReport{Result: proven}
	for _, p := range programs {
		proof, err := c.prove(ctx, to.out, p, own)
		if errors.Is(err, terms.ErrSubject) && c.Package != "" {
			return fmt.Errorf("%s: %w; where it has the contract's inputs by other names, say which with --map, as in --map x=NAME", p.name, err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		report.add(proof)
	}
	if c.JSON {
		if err := writeJSON(to.out, report); err != nil {
			return err
		}
	} else {
		report.end(to.out)
	}
	return report.exit()
}

// prove asks all questions of a program, and prints each answer as it comes.
func (c *proveCommand) prove(ctx context.Context, out io.Writer, p namedProgram, own map[string]string) (*programProof, error) {
	subject, rows, slots, err := terms.NewSubject(p.program, own)
	if err != nil {
		return nil, err
	}
	questions := terms.Questions(rows, slots)
	if c.Every {
		questions = terms.EveryQuestion(rows, slots)
	}
	proof := &programProof{Program: p.name, Functions: slices.Compact([]string{subject.Block, subject.Single}), Rows: rows, Slots: slots, Result: proven}
	if !c.JSON {
		proof.begin(out, len(questions))
	}
	for _, q := range questions {
		a, err := ask(ctx, subject, q)
		if err != nil {
			return nil, err
		}
		proof.Answers, proof.Result = append(proof.Answers, a), worse(proof.Result, a.Result)
		if !c.JSON {
			a.print(out)
		}
	}
	return proof, nil
}

// namedProgram is a program to be proven, and what to call it.
type namedProgram struct {
	name    string
	program *mil.Program
}

func (c *proveCommand) programs() ([]namedProgram, error) {
	if c.Package == "" {
		return c.ofCheckpoint()
	}
	if err := wantPackage("--package", c.Package); err != nil {
		return nil, err
	}
	if c.Layers != "" {
		return nil, &flagError{"--layers", "--checkpoint beside it", "--package, which says itself what it has"}
	}
	if c.Head {
		return nil, &flagError{"--head", "--checkpoint beside it", "--package, which says itself what it has"}
	}
	model, err := mlpackage.OpenModel(c.Package)
	if err != nil {
		return nil, err
	}
	return []namedProgram{{filepath.Base(c.Package), model.Program}}, nil
}

// ofCheckpoint are the programs that export would write.
func (c *proveCommand) ofCheckpoint() ([]namedProgram, error) {
	if len(c.Map) > 0 {
		return nil, &flagError{"--map", "--package beside it", "--checkpoint"}
	}
	if c.Layers == "" && !c.Head {
		return nil, &flagError{"--layers", "START:END, or --head in its place", "neither"}
	}
	var layers exporter.Range
	if !c.Head {
		var err error
		if layers, err = exporter.ParseRange(c.Layers); err != nil {
			return nil, fmt.Errorf("--layers: %w", err)
		}
	}
	rec, _, err := c.recipe()
	if err != nil {
		return nil, err
	}
	if err := wantCheckpoint(c.Checkpoint); err != nil {
		return nil, err
	}
	cfg, _, err := checkpoint.ReadConfigPath(c.Checkpoint)
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", c.Checkpoint, err)
	}
	if c.Head {
		return c.heads(cfg, rec)
	}
	program, err := exporter.Program(cfg, layers, rec)
	return []namedProgram{{fmt.Sprintf("layers %s as export would write them", layers), program}}, err
}

func (c *proveCommand) heads(cfg checkpoint.Config, rec exporter.Recipe) ([]namedProgram, error) {
	cut, err := exporter.HeadRanges(cfg.VocabSize, c.HeadShards)
	if err != nil {
		return nil, fmt.Errorf("--head-shards: %w", err)
	}
	var out []namedProgram
	for _, rows := range cut {
		program, err := exporter.HeadProgram(cfg, rows, rec)
		if err != nil {
			return nil, err
		}
		out = append(out, namedProgram{fmt.Sprintf("LM head, rows %s, as export would write it", rows), program})
	}
	return out, nil
}

// names reads the NAME=OWN pairs.
func (c *proveCommand) names() (map[string]string, error) {
	own := map[string]string{}
	for _, pair := range c.Map {
		name, theirs, ok := strings.Cut(pair, "=")
		if _, twice := own[name]; !ok || name == "" || theirs == "" || twice {
			return nil, &flagError{"--map", "NAME=OWN, each name once", fmt.Sprintf("%q", pair)}
		}
		own[name] = theirs
	}
	return own, nil
}

func ask(ctx context.Context, s terms.Subject, q terms.Question) (proofAnswer, error) {
	out := proofAnswer{Claim: string(q.Claim), Pos: q.Spot.Pos, Live: q.Spot.Live, Result: proven}
	a, err := s.Ask(ctx, q)
	switch {
	case errors.Is(err, terms.ErrUncovered):
		out.Result, out.Reason = open, err.Error()
		return out, nil
	case err != nil:
		return out, err
	case a.Refuted != "":
		out.Result, out.Reason = refuted, a.Refuted
	}
	if a.Proof != nil {
		out.Outputs, out.Slots = a.Proof.Outputs, a.Proof.Slots
	}
	if a.Dependence != nil {
		out.Depends = a.Dependence.String()
	}
	return out, nil
}

func (r *proofReport) add(p *programProof) {
	r.Programs, r.Result = append(r.Programs, *p), worse(r.Result, p.Result)
}

// worse is what two results come to: one refutation refutes, and what is not
// covered leaves the whole open.
func worse(a, b string) string {
	for _, result := range []string{refuted, open} {
		if a == result || b == result {
			return result
		}
	}
	return proven
}

func (p *programProof) begin(w io.Writer, questions int) {
	fmt.Fprintf(w, "program  %s: functions %s, ", p.Program, strings.Join(p.Functions, " and "))
	if p.Slots > 0 {
		fmt.Fprintf(w, "S=%d; ", p.Slots)
	}
	fmt.Fprintf(w, "%d questions\n", questions)
}

func (a *proofAnswer) print(w io.Writer) {
	fmt.Fprintf(w, "%-11s  %-10s  pos %-6d live %d", a.Result, a.Claim, a.Pos, a.Live)
	if a.Outputs > 0 {
		fmt.Fprintf(w, "  %d outputs, %d state elements", a.Outputs, a.Slots)
	}
	fmt.Fprintln(w)
	for _, text := range []string{a.Depends, a.Reason} {
		if text != "" {
			fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(text, "\n", "\n  "))
		}
	}
}

func (r *proofReport) end(w io.Writer) {
	what := map[string]string{
		proven:  "every compared element is the same term, for any weights, inputs and earlier caches; see docs/equivalence.md",
		refuted: "a block does not keep step; the op named above made the difference",
		open:    "nothing is proven, and nothing refuted: an operation is not covered by terms",
	}
	fmt.Fprintf(w, "result   %s: %s\n", r.Result, what[r.Result])
}

func (r *proofReport) exit() error {
	switch r.Result {
	case refuted:
		return exitCode(exitFail)
	case open:
		return exitCode(exitPartial)
	}
	return nil
}
