package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"lockstep/coreml/decode"
	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/tokenizer"
	"lockstep/manifest"
)

type generateCommand struct {
	Out        string `help:"Output directory of an export of the whole model: every shard, the LM head, the embedding." required:"" placeholder:"DIR"`
	Prompt     string `help:"Prompt as text: by the tokenizer.json of --checkpoint, else byte by byte if the vocabulary is the 256 bytes. Special tokens in it count as such." xor:"prompt" required:"" placeholder:"TEXT"`
	PromptIDs  []int  `name:"prompt-ids" help:"Prompt as token ids." xor:"prompt" required:"" placeholder:"ID,..."`
	Checkpoint string `help:"Directory with the model's config.json, the tokenizer.json by which text goes in and out, and generation_config.json if there is one." placeholder:"PATH"`
	Mode       string `help:"greedy: one token a pass. speculative: drafts, verified in blocks; the same tokens. guarded: decoded by t1, drafts verified by t4, whose token stands where its margin is large; calibrated on the prompt, not exact." enum:"greedy,speculative,guarded" default:"greedy"`
	MaxNew     int    `help:"Tokens to generate at most, by default ${default}." default:"64" placeholder:"N"`
	Stop       []int  `help:"Token ids that end the text, in place of the checkpoint's eos_token_id." placeholder:"ID,..."`

	Temperature float64 `help:"Draw tokens at this temperature in place of taking the likeliest; 0 does not." default:"0"`
	Seed        string  `help:"Names the random numbers of --temperature." default:"0"`

	NGramMax  int `name:"ngram-max" help:"Longest run of last tokens that the draft looks for, by default ${default}." default:"3" placeholder:"N"`
	NGramMin  int `name:"ngram-min" help:"Shortest run that it looks for, by default ${default}." default:"1" placeholder:"N"`
	DraftSize int `help:"Tokens of a draft at most; 0 stands for all that fit the block." default:"0" placeholder:"N"`

	Audit  bool `help:"Replay the tokens one at a time and report the first that differs."`
	Verify bool `help:"Compare every file with the record's digests first."`
	JSON   bool `name:"json" help:"Print JSON at the end in place of the text."`

	planeFlags
}

// generateReport is generate's JSON.
type generateReport struct {
	Prompt []int `json:"prompt"`
	*decode.Result
	// Text is what the tokens spell, by a tokenizer.json without the stop token;
	// absent where nothing spells them.
	Text          *string            `json:"text,omitempty"`
	TokensPerPass *float64           `json:"tokens_per_pass"` // null if not measured
	Acceptance    *float64           `json:"acceptance"`      // null if not measured
	Audited       bool               `json:"audited"`
	Divergence    *decode.Divergence `json:"divergence"`
}

func (c *generateCommand) Run(ctx context.Context, to streams) error {
	if err := wantRecord(c.Out); err != nil {
		return err
	}
	record, err := exporter.ReadRecord(c.Out)
	if err != nil {
		return err
	}
	spelled, stop, err := c.spelling(record)
	if err != nil {
		return err
	}
	prompt, err := c.prompt(record, spelled)
	if err != nil {
		return err
	}
	plane, err := c.openPlane(ctx)
	if err != nil {
		return err
	}
	opt, err := c.options(stop)
	if err != nil {
		return err
	}
	if c.Verify {
		if err := decode.VerifyFiles(ctx, c.Out, *record); err != nil {
			return err
		}
	}
	m, err := decode.Open(ctx, plane, c.Out, *record)
	if err != nil {
		return err
	}
	report, err := c.generate(ctx, to, m, spelled, prompt, opt)
	return errors.Join(err, m.Close(), c.report(to, report, err))
}

// spelling is how the record's model writes text, and the tokens that end one:
// the flag's, else the checkpoint's, if one is named.
func (c *generateCommand) spelling(record *manifest.Record) (spelling, []int, error) {
	stop := c.Stop
	if c.Checkpoint != "" {
		want := "a directory with " + checkpoint.ConfigFile + " and " + tokenizer.File + " (for a model of a GGUF file, use --prompt-ids)"
		if err := wantDirectory("--checkpoint "+c.Checkpoint, c.Checkpoint, want); err != nil {
			return nil, nil, err
		}
		ids, err := tokenFlags{Checkpoint: c.Checkpoint, EOSTokenID: c.Stop}.named(record.Model.ConfigSHA256)
		if err != nil {
			return nil, nil, err
		}
		stop = ids.eos
	}
	s, err := chooseSpelling(c.Checkpoint, record.Model.Dims.Vocab)
	if err != nil {
		return nil, nil, fmt.Errorf("--checkpoint %s: %w", c.Checkpoint, err)
	}
	return s, stop, nil
}

// prompt reads the prompt's tokens.
func (c *generateCommand) prompt(record *manifest.Record, s spelling) ([]int, error) {
	if len(c.PromptIDs) == 0 {
		ids, err := s.encode(c.Prompt)
		if errors.Is(err, tokenizer.ErrText) {
			err = fmt.Errorf("--prompt: %w", err)
		}
		return ids, err
	}
	vocab := record.Model.Dims.Vocab
	for _, id := range c.PromptIDs {
		if id < 0 || id >= vocab {
			return nil, &flagError{"--prompt-ids", fmt.Sprintf("ids from 0 to %d", vocab-1), strconv.Itoa(id)}
		}
	}
	return c.PromptIDs, nil
}

func (c *generateCommand) options(stop []int) (decode.Options, error) {
	opt := decode.Options{Stop: stop}
	if c.Temperature != 0 && c.Mode == modeGuarded {
		return opt, &flagError{"--temperature", "--mode greedy or speculative beside it", "--mode " + c.Mode}
	}
	if c.Temperature != 0 {
		opt.Sampling = &decode.Sampling{Temperature: c.Temperature, Seed: c.Seed}
	}
	draft := decode.NGram{Max: c.NGramMax, Min: c.NGramMin, Size: c.DraftSize}
	if err := draft.Check(); err != nil {
		return opt, fmt.Errorf("--ngram-max, --ngram-min, --draft-size: %w", err)
	}
	if c.Mode != "greedy" {
		opt.Draft = draft
	}
	if c.Mode == modeGuarded {
		opt.Mode = decode.Guarded
	}
	return opt, nil
}

// modeGuarded is the value of --mode that two functions decide in.
const modeGuarded = "guarded"

// generate decodes and streams the text. The report is nil if nothing was
// decoded.
func (c *generateCommand) generate(ctx context.Context, to streams, m *decode.Model, s spelling, prompt []int, opt decode.Options) (*generateReport, error) {
	begin, err := c.begin(m)
	if err != nil {
		return nil, err
	}
	if opt.Mode == decode.Guarded {
		calibration, err := decode.Calibrate(ctx, begin, "the prompt", [][]int{prompt}, decode.DefaultFactor)
		if err != nil {
			return nil, err
		}
		opt.Calibration = &calibration
	}
	block, single, err := begin(ctx)
	if err != nil {
		return nil, err
	}
	session, err := decode.NewSession(block, single, opt)
	if err != nil {
		return nil, err
	}
	stream := s.stream()
	show := func(text string) error {
		if c.JSON {
			return nil
		}
		_, err := io.WriteString(to.out, text)
		return err
	}
	res, err := session.Generate(ctx, prompt, c.MaxNew, func(t decode.Token) error {
		if slices.Contains(opt.Stop, t.ID) {
			return show(stream.stop(t.ID))
		}
		return show(stream.next(t.ID))
	})
	if err == nil {
		err = show(stream.end())
	}
	if res == nil {
		return nil, err
	}
	report := newGenerateReport(prompt, res, s)
	if err != nil || !c.Audit {
		return report, err
	}
	plain, single, err := begin(ctx)
	if err != nil {
		return report, err
	}
	if single != nil {
		plain = single
	}
	report.Divergence, err = decode.Audit(ctx, plain, prompt, res.Tokens, opt.Sampling)
	report.Audited = err == nil
	return report, err
}

// begin returns what begins a sequence: the function of most rows, and in
// guarded mode that of one row beside it.
func (c *generateCommand) begin(m *decode.Model) (decode.Begin, error) {
	guarded := c.Mode == modeGuarded
	if guarded {
		if err := wantTwoPrograms(m.Rows()); err != nil {
			return nil, err
		}
	}
	rows := slices.Max(m.Rows())
	return func(ctx context.Context) (block, single decode.Passer, err error) {
		cache, err := m.NewCache()
		if err != nil {
			return nil, nil, err
		}
		if block, err = cache.Program(ctx, rows); err != nil || !guarded {
			return block, nil, err
		}
		single, err = cache.Program(ctx, 1)
		return block, single, err
	}, nil
}

// wantTwoPrograms reports functions, by their rows, of which not one decodes and
// another verifies.
func wantTwoPrograms(rows []int) error {
	if len(rows) > 1 && slices.Contains(rows, 1) {
		return nil
	}
	return &flagError{"--mode " + modeGuarded, "an export with the functions t1 and t4", fmt.Sprintf("functions of rows %v", rows)}
}

func newGenerateReport(prompt []int, res *decode.Result, s spelling) *generateReport {
	r := &generateReport{Prompt: prompt, Result: res, Text: s.text(res.IDs(), res.Reason == decode.StopToken)}
	if ratio, ok := res.Stats.TokensPerPass(); ok {
		r.TokensPerPass = &ratio
	}
	if ratio, ok := res.Stats.Acceptance(); ok {
		r.Acceptance = &ratio
	}
	return r
}

// report prints what came of it. A divergence found by the audit is exit code 1.
func (c *generateCommand) report(to streams, r *generateReport, failed error) error {
	if r == nil || failed != nil {
		return nil
	}
	if c.JSON {
		if err := writeJSON(to.out, r); err != nil {
			return err
		}
	} else {
		c.print(to, r)
	}
	if r.Divergence != nil {
		return exitCode(exitFail)
	}
	return nil
}

func (c *generateCommand) print(to streams, r *generateReport) {
	st := r.Stats
	fmt.Fprintf(to.out, "\n\nended    %s: %d tokens, after a prompt of %d\n", r.Reason, st.Tokens, len(r.Prompt))
	fmt.Fprintf(to.out, "mode     %s\n", c.how(r.Mode))
	fmt.Fprintf(to.out, "passes   %d for the prompt, %d after it; tokens per pass %s\n", st.PrefillPasses, st.BlockPasses+st.SinglePasses, measured(r.TokensPerPass))
	fmt.Fprintf(to.out, "drafts   %d tokens, %d accepted; acceptance %s\n", st.Drafted, st.Accepted, measured(r.Acceptance))
	if r.Calibration != nil {
		g := st.Guard
		fmt.Fprintf(to.out, "guard    logits calibrated to differ by up to %.4g over %d positions of %s; %d tokens stood with margins from %.4g; %d decided again, %d otherwise, where logits differed by up to %.4g, beyond the calibration at %d\n",
			r.Calibration.Difference, r.Calibration.Positions, r.Calibration.Set, g.Stood, g.LeastMargin, g.Compared, g.Changed, g.Drift, g.Beyond)
	}
	switch {
	case r.Divergence != nil:
		fmt.Fprintf(to.out, "audit    differs: %s\n", r.Divergence)
	case r.Audited:
		fmt.Fprintf(to.out, "audit    the same %d tokens, one at a time\n", st.Tokens)
	}
}

// how says in which mode of the decoder, and how, tokens were chosen.
func (c *generateCommand) how(mode decode.Mode) string {
	words := []string{string(mode)}
	if c.Mode == "speculative" {
		words = append(words, c.Mode)
	}
	if c.Temperature != 0 {
		words = append(words, fmt.Sprintf("sampled at temperature %g, seed %q", c.Temperature, c.Seed))
	} else if c.Mode == "greedy" {
		words = append(words, c.Mode)
	}
	return strings.Join(words, ", ")
}

func measured(ratio *float64) string {
	if ratio == nil {
		return "not measured"
	}
	return strconv.FormatFloat(*ratio, 'f', 3, 64)
}
