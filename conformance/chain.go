package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"lockstep/coreml"
	"lockstep/coreml/decode"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// The checks of a whole model, in the order in which they are decided.
const (
	// CheckLayers holds the hidden states after each shard against golden
	// vectors.
	CheckLayers = "layers"
	// CheckLogits holds the logits against golden vectors, and blocks against
	// singles bit for bit.
	CheckLogits = "logits"
	// CheckGreedy holds the greedy choice against golden continuations.
	CheckGreedy = "greedy"
	// CheckPerplexity holds the likelihood of held-out text against another
	// implementation's.
	CheckPerplexity = "perplexity"
	// CheckSpeculation holds what sessions decode under drafts against plain
	// greedy decoding, token by token.
	CheckSpeculation = "speculation"
)

// chainDependencies are the checks without which a check means nothing.
// Speculation is judged by the chain's own rows, whatever they mean.
var chainDependencies = map[string][]string{
	CheckLayers:      {},
	CheckLogits:      {CheckLayers},
	CheckGreedy:      {CheckLogits},
	CheckPerplexity:  {CheckLogits},
	CheckSpeculation: {},
}

// ChainChecks lists the checks of a whole model in order.
func ChainChecks() []string {
	return []string{CheckLayers, CheckLogits, CheckGreedy, CheckPerplexity, CheckSpeculation}
}

// ChainGolden are vectors of an independent implementation of the whole model,
// by name.
type ChainGolden interface {
	Golden
	// Int32 returns a vector's values.
	Int32(name string) ([]int32, error)
}

// Heldout is text that the model was not trained on.
type Heldout struct {
	Tokens []int
	// Window is how many tokens are taken at a time, from an empty cache; the
	// first of each is context only.
	Window int
	// NLL is the summed negative log-likelihood of the others, in nats, as an
	// independent implementation has it in float32 or better.
	NLL float64
	// Compared is how many windows are read in singles and by the oracle, too,
	// which takes longer; 0 stands for all.
	Compared int
}

// ChainOptions say which whole model is judged, on which plane, against what.
type ChainOptions struct {
	Dir   string // output directory with lockstep.json
	Plane coreml.Plane

	// Checkpoint is what the oracle computes from, Golden another
	// implementation's values, Heldout a text; each may be nil, and what needs
	// it is then not measured.
	Checkpoint *checkpoint.Checkpoint
	Golden     ChainGolden
	Heldout    *Heldout

	// Prompts and NewTokens bound the speculation cases, which take that many
	// prompts for every draft source.
	Prompts   int
	NewTokens int

	// Runtime, if not nil, stands between the sessions that are judged and the
	// chain: what a runtime makes of passes. The truth that they are held
	// against is taken from the chain itself.
	Runtime func(decode.Passer) decode.Passer
}

// ChainCase is one judged observation of a whole model.
type ChainCase struct {
	Check       string
	Name        string // unique within its check
	Description string // what is wanted
	run         func(context.Context, *ChainSuite) Outcome
}

// ID is "<check>/<name>".
func (c ChainCase) ID() string { return c.Check + "/" + c.Name }

// ChainSuite judges one whole model. Use it from one goroutine, and close it.
type ChainSuite struct {
	opt      ChainOptions
	record   manifest.Record
	recipe   exporter.Recipe
	recorder *recorder
	model    *decode.Model
	cases    []ChainCase
	outcomes map[string]Outcome

	prompts map[int]*chainPrompt // golden prompts that have run, by index
	text    map[string]*reading  // of the held-out text, by way of passing
}

// NewChainSuite reads the record, opens the chain and lists the cases.
func NewChainSuite(ctx context.Context, opt ChainOptions) (*ChainSuite, error) {
	record, err := exporter.ReadRecord(opt.Dir)
	if err != nil {
		return nil, err
	}
	recipe, err := exporter.RecipeOf(record.Recipe)
	if err != nil {
		return nil, err
	}
	if ck := opt.Checkpoint; ck != nil && ck.ConfigDigest() != record.Model.ConfigSHA256 {
		return nil, fmt.Errorf("%w: its config.json has sha256 %s, the record of %s wants %s", ErrCheckpoint, ck.ConfigDigest(), opt.Dir, record.Model.ConfigSHA256)
	}
	s := &ChainSuite{
		opt: opt, record: *record, recipe: recipe, recorder: &recorder{Plane: opt.Plane},
		outcomes: map[string]Outcome{}, prompts: map[int]*chainPrompt{}, text: map[string]*reading{},
	}
	if s.model, err = decode.Open(ctx, s.recorder, opt.Dir, *record); err != nil {
		return nil, err
	}
	s.cases = ChainCatalogue(recipe, record.Layout, opt.Prompts)
	return s, nil
}

// ChainCatalogue lists the cases of a whole model for a recipe, a layout and so
// many prompts for each draft source. The list is deterministic, and the same
// whatever the options leave unmeasured.
func ChainCatalogue(rec exporter.Recipe, layout []int, prompts int) []ChainCase {
	return slices.Concat(layerCases(rec, layout), logitsCases(rec), greedyCases(), perplexityCases(rec), speculationCases(prompts))
}

// Cases lists the catalogue.
func (s *ChainSuite) Cases() []ChainCase { return slices.Clone(s.cases) }

// Close releases the model.
func (s *ChainSuite) Close() error { return s.model.Close() }

// RunCase judges one case. A case whose check depends on one that failed is not
// run.
func (s *ChainSuite) RunCase(ctx context.Context, c ChainCase) Outcome {
	out := s.decide(ctx, c)
	s.outcomes[c.ID()] = out
	return out
}

func (s *ChainSuite) decide(ctx context.Context, c ChainCase) Outcome {
	for _, dep := range chainDependencies[c.Check] {
		for _, other := range s.cases {
			o, ran := s.outcomes[other.ID()]
			if other.Check == dep && ran && o.Result != manifest.Pass && o.Result != manifest.NotMeasured {
				return Outcome{Result: manifest.NotRun, Reason: fmt.Sprintf("%s is %q", other.ID(), o.Result)}
			}
		}
	}
	return c.run(ctx, s)
}

// block is T of the function that decodes: the recipe's largest.
func (s *ChainSuite) block() int { return s.recipe.Rows[len(s.recipe.Rows)-1] }

// begin returns the programs of a new sequence: the block, and the function of
// fewest rows, which are one where the recipe has one function.
func (s *ChainSuite) begin(ctx context.Context) (block, single decode.Passer, err error) {
	cache, err := s.model.NewCache()
	if err != nil {
		return nil, nil, err
	}
	b, err := cache.Program(ctx, s.block())
	if err != nil || s.block() == s.recipe.Rows[0] {
		return b, b, err
	}
	one, err := cache.Program(ctx, s.recipe.Rows[0])
	return b, one, err
}

// errNoGolden means that there are no golden vectors for a case.
var errNoGolden = errors.New("no golden vectors")

// unmeasuredOr tells a case without its golden vectors from a broken one.
func unmeasuredOr(err error) Outcome {
	if errors.Is(err, errNoGolden) {
		return notMeasured(err.Error())
	}
	return broken(err)
}
