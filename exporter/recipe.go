package exporter

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lockstep/internal/checkpoint"
)

// WriterVersion is part of every recipe. It changes whenever the same
// checkpoint and options would give other bytes.
const WriterVersion = "1"

// Errors of recipes, ranges and layouts. They are wrapped with the field, what
// was wanted and what was found.
var (
	ErrRecipe = errors.New("invalid recipe")
	ErrRange  = errors.New("invalid layer range")
	ErrLayout = errors.New("invalid layout")
)

// Precision is how conv weights are stored.
type Precision string

// The precisions. Int8 is symmetric per output channel; norm weights are
// float16 in both.
const (
	Int8 Precision = "int8"
	FP16 Precision = "fp16"
)

// Norm is the form in which RMSNorm is written as MIL.
type Norm string

// The norm forms. All compute w * x / sqrt(mean(x^2) + eps).
const (
	// LayerNormConcat is layer_norm over concat[x, -x], whose mean is exactly
	// 0; it keeps its precision at any magnitude.
	LayerNormConcat Norm = "layernorm_concat"
	// Clamped divides by max(1, max|x|) before squaring.
	Clamped Norm = "clamped"
	// Prescaled divides by sqrt(d) before squaring. Its eps/d leaves float16 at
	// useful widths, so the lint fails it.
	Prescaled Norm = "prescaled"
)

// Recipe is everything but the layers that decides a package's bytes.
type Recipe struct {
	Slots     int       // S: rows of the KV cache
	Rows      []int     // T of each function, ascending: [1 4] gives t1 and t4
	Precision Precision // of conv weights
	Norm      Norm      // RMSNorm's form
	// FoldRope puts RoPE's attention factor into the turned rows of the q and k
	// weights; the host's RoPE rows then carry none.
	FoldRope bool
	Writer   string // WriterVersion
}

// DefaultRecipe is int8 weights, 2048 slots, functions t1 and t4, and the
// layernorm_concat form.
func DefaultRecipe() Recipe {
	return Recipe{Slots: 2048, Rows: []int{1, 4}, Precision: Int8, Norm: LayerNormConcat, Writer: WriterVersion}
}

// MaxRows bounds T; a block never needs more rows than a draft is long.
const MaxRows = 64

// Check reports the first field of r that has no meaning.
func (r Recipe) Check() error {
	if r.Slots < 1 {
		return fmt.Errorf("%w: slots: want at least 1, found %d", ErrRecipe, r.Slots)
	}
	if len(r.Rows) == 0 {
		return fmt.Errorf("%w: functions: want at least one, found none", ErrRecipe)
	}
	for i, t := range r.Rows {
		if t < 1 || t > MaxRows || t > r.Slots {
			return fmt.Errorf("%w: functions: want rows from 1 to min(%d, slots %d), found t%d", ErrRecipe, MaxRows, r.Slots, t)
		}
		if i > 0 && r.Rows[i-1] >= t {
			return fmt.Errorf("%w: functions: want ascending rows, found t%d after t%d", ErrRecipe, t, r.Rows[i-1])
		}
	}
	if r.Precision != Int8 && r.Precision != FP16 {
		return fmt.Errorf("%w: precision: want int8 or fp16, found %q", ErrRecipe, r.Precision)
	}
	if !slices.Contains(Norms(), r.Norm) {
		return fmt.Errorf("%w: norm: want one of %v, found %q", ErrRecipe, Norms(), r.Norm)
	}
	if r.Writer != WriterVersion {
		return fmt.Errorf("%w: writer: this binary writes version %q, found %q", ErrRecipe, WriterVersion, r.Writer)
	}
	return nil
}

// Norms lists the norm forms, the default first.
func Norms() []Norm { return []Norm{LayerNormConcat, Clamped, Prescaled} }

// FunctionName is the MIL function of t rows: "t<T>", or "main" when the
// package has that one function.
func (r Recipe) FunctionName(t int) string {
	if len(r.Rows) == 1 {
		return "main"
	}
	return "t" + strconv.Itoa(t)
}

// FunctionNames lists the recipe's functions as "t<T>", whatever the package
// calls them.
func (r Recipe) FunctionNames() []string {
	names := make([]string, len(r.Rows))
	for i, t := range r.Rows {
		names[i] = "t" + strconv.Itoa(t)
	}
	return names
}

// ParseFunctions reads "t1,t4" into rows, ascending.
func ParseFunctions(text string) ([]int, error) {
	var rows []int
	for _, name := range strings.Split(text, ",") {
		digits, ok := strings.CutPrefix(strings.TrimSpace(name), "t")
		t, number := parseCount(digits)
		if !ok || !number || t < 1 {
			return nil, fmt.Errorf("%w: functions: want names like t1,t4, found %q", ErrRecipe, text)
		}
		if slices.Contains(rows, t) {
			return nil, fmt.Errorf("%w: functions: want each once, found t%d twice in %q", ErrRecipe, t, text)
		}
		rows = append(rows, t)
	}
	slices.Sort(rows)
	return rows, nil
}

// parseCount reads a number from 0 on in the one way to write it: digits alone,
// without sign or leading zero.
func parseCount(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && strconv.Itoa(n) == text
}

// Digest is the SHA-256 of the recipe, the range and source, which stands for
// the checkpoint, in hex. It names the partial files of an export, so that only
// the same export resumes them.
func (r Recipe) Digest(layers Range, source string) string {
	return r.digest(layersPart(layers), source)
}

func (r Recipe) digest(p part, source string) string {
	text := fmt.Sprintf("lockstep recipe\nwriter %s\nslots %d\nrows %v\nprecision %s\nnorm %s\n%s\nsource %s\n",
		r.Writer, r.Slots, r.Rows, r.Precision, r.Norm, p, source)
	if r.FoldRope {
		text += "rope factor folded\n"
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Range is the decoder layers [Start, End).
type Range struct{ Start, End int }

// String is "30:32", the form of the command line.
func (r Range) String() string { return fmt.Sprintf("%d:%d", r.Start, r.End) }

// Len is the number of layers.
func (r Range) Len() int { return r.End - r.Start }

// ParseRange reads "30:32".
func ParseRange(text string) (Range, error) {
	a, b, ok := strings.Cut(text, ":")
	start, startOK := parseCount(a)
	end, endOK := parseCount(b)
	if !ok || !startOK || !endOK {
		return Range{}, fmt.Errorf("%w: want START:END like 30:32, found %q", ErrRange, text)
	}
	return Range{start, end}, nil
}

// Check reports whether r lies in a model of the given number of layers.
func (r Range) Check(layers int) error {
	if r.Start < 0 || r.Start >= r.End || r.End > layers {
		return fmt.Errorf("%w: want 0 <= START < END <= %d (the model's layers), found %s", ErrRange, layers, r)
	}
	return nil
}

// Layout is how a model's layers are cut into shards, in model order.
type Layout []int

// DefaultLayout is the 20+4+6+2 of the 32-layer Phi-4-mini.
func DefaultLayout() Layout { return Layout{20, 4, 6, 2} }

// ParseLayout reads "20+4+6+2".
func ParseLayout(text string) (Layout, error) {
	var l Layout
	for _, part := range strings.Split(text, "+") {
		n, ok := parseCount(part)
		if !ok || n < 1 {
			return nil, fmt.Errorf("%w: want positive layer counts like 20+4+6+2, found %q", ErrLayout, text)
		}
		l = append(l, n)
	}
	return l, nil
}

// String is "20+4+6+2".
func (l Layout) String() string {
	parts := make([]string, len(l))
	for i, n := range l {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, "+")
}

// Check reports whether l covers exactly the given number of layers, each shard
// at least one of them.
func (l Layout) Check(layers int) error {
	left := layers
	for _, n := range l {
		if n < 1 {
			return fmt.Errorf("%w: %s: want at least one layer in each shard, found %d", ErrLayout, l, n)
		}
		if n > left { // by subtraction, so that no sum can wrap around
			return fmt.Errorf("%w: %s sums to more than the model's %d layers", ErrLayout, l, layers)
		}
		left -= n
	}
	if left != 0 || len(l) == 0 {
		return fmt.Errorf("%w: %q sums to %d, want the model's %d layers", ErrLayout, l, layers-left, layers)
	}
	return nil
}

// Shards lists the ranges of l in model order.
func (l Layout) Shards() []Range {
	var out []Range
	start := 0
	for _, n := range l {
		out = append(out, Range{start, start + n})
		start += n
	}
	return out
}

// BuildOrder lists the ranges of l smallest first, equals in model order: the
// order of the ladder.
func (l Layout) BuildOrder() []Range {
	out := l.Shards()
	slices.SortStableFunc(out, func(a, b Range) int { return a.Len() - b.Len() })
	return out
}

// checkModel reports whether recipe r can express a model with this config.
func (r Recipe) checkModel(cfg checkpoint.Config) error {
	if cfg.SlidingWindow > 0 && cfg.SlidingWindow < r.Slots {
		return fmt.Errorf("%w: sliding_window %d is below the %d slots; plain causal attention would differ", ErrRecipe, cfg.SlidingWindow, r.Slots)
	}
	if r.Slots > cfg.MaxPositions {
		return fmt.Errorf("%w: slots: want at most the model's max_position_embeddings %d, found %d", ErrRecipe, cfg.MaxPositions, r.Slots)
	}
	if cfg.Rope.Type == "longrope" && r.Slots > cfg.OriginalMaxPositions {
		return fmt.Errorf("%w: slots: the short RoPE factors hold up to original_max_position_embeddings %d, found %d", ErrRecipe, cfg.OriginalMaxPositions, r.Slots)
	}
	return nil
}
