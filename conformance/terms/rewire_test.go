package terms_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/conformance/mutant"
	"lockstep/conformance/terms"
	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/coreml/reference"
	"lockstep/exporter"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/internal/contract"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// bench is an exported package whose program is rewired, and the inputs of a
// pass over random weights, hidden states and caches.
type bench struct {
	dir   string // of the sound package
	model *mlpackage.Model
	rope  *hostinput.Rows
	shape hostinput.Shape
	rng   *rand.Rand
}

func newBench(t *testing.T) *bench {
	t.Helper()
	cfg := tiny(t)
	root := t.TempDir()
	require.NoError(t, synth.Write(context.Background(), filepath.Join(root, "checkpoint"), synth.Small("rewire", cfg)))
	ck, err := checkpoint.OpenDir(filepath.Join(root, "checkpoint"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ck.Close()) })
	rec := small(8)
	rec.Precision = exporter.FP16
	res, err := exporter.Export(context.Background(), exporter.Options{
		Checkpoint: ck, Dir: filepath.Join(root, "out"), Layers: exporter.Range{Start: cfg.Layers - 2, End: cfg.Layers},
		Layout: exporter.Layout{cfg.Layers}, Recipe: rec, Name: "rewire", OffLadder: true,
	})
	require.NoError(t, err)
	model, err := mlpackage.OpenModel(res.Dir)
	require.NoError(t, err)
	rope, err := hostinput.NewRope(hostinput.Rope{Theta: cfg.RopeTheta, Dim: cfg.RotaryDim(), Factors: cfg.Rope.ShortFactor, AttentionFactor: 1})
	require.NoError(t, err)
	return &bench{
		dir: res.Dir, model: model, rope: rope,
		shape: hostinput.Shape{Hidden: cfg.HiddenSize, Slots: rec.Slots, RopeHalf: cfg.RotaryDim() / 2},
		rng:   rand.New(rand.NewChaCha8(sha256.Sum256([]byte("lockstep rewires")))),
	}
}

// open writes the sound package with another program and opens it.
func (b *bench) open(t *testing.T, p *mil.Program) (coreml.Package, error) {
	t.Helper()
	m := *b.model
	m.Program = p
	text, err := mlpackage.EncodeModel(&m)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "rewired.mlpackage")
	for _, path := range []string{mlpackage.ManifestPath, mlpackage.ModelPath, mlpackage.WeightsPath} {
		to := filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		if path == mlpackage.ModelPath {
			require.NoError(t, os.WriteFile(to, text, 0o644))
		} else {
			require.NoError(t, os.Link(filepath.Join(b.dir, path), to))
		}
	}
	return reference.Plane{}.Open(context.Background(), dir)
}

// errNotFinite means that numbers say nothing: terms take values to be finite.
var errNotFinite = errors.New("a value is not finite")

// keepsStep compares a block with singles in numbers, bit for bit but for the
// sign of zeros.
func (b *bench) keepsStep(pkg coreml.Package, spot terms.Spot) (bool, error) {
	tokens := make([][]float16.Float16, spot.Live)
	for i := range tokens {
		tokens[i] = b.draw(b.shape.Hidden)
	}
	block, single, err := b.states(pkg)
	if err != nil {
		return false, err
	}
	rows, err := b.pass(pkg, "t4", 4, block, spot.Pos, tokens)
	if err != nil {
		return false, err
	}
	for i := range tokens {
		one, err := b.pass(pkg, "t1", 1, single, spot.Pos+i, tokens[i:i+1])
		if err != nil {
			return false, err
		}
		if !sameValues(rows[i], one[0]) {
			return false, nil
		}
	}
	return b.sameStates(pkg, block, single)
}

func (b *bench) draw(n int) []float16.Float16 {
	out := make([]float16.Float16, n)
	for i := range out {
		out[i] = half.FromFloat64(b.rng.NormFloat64())
	}
	return out
}

// states makes two states of the same random content.
func (b *bench) states(pkg coreml.Package) (x, y coreml.State, err error) {
	if x, err = pkg.NewState(); err != nil {
		return nil, nil, err
	}
	if y, err = pkg.NewState(); err != nil {
		return nil, nil, err
	}
	fn, err := pkg.Function(context.Background(), "t1")
	if err != nil {
		return nil, nil, err
	}
	for _, f := range fn.Signature().States {
		data := b.draw(f.Shape[1] * f.Shape[2] * f.Shape[3])
		if err := errors.Join(x.Write(f.Name, data), y.Write(f.Name, data)); err != nil {
			return nil, nil, err
		}
	}
	return x, y, nil
}

func (b *bench) pass(pkg coreml.Package, name string, rows int, st coreml.State, pos int, tokens [][]float16.Float16) ([][]float16.Float16, error) {
	fn, err := pkg.Function(context.Background(), name)
	if err != nil {
		return nil, err
	}
	shape := b.shape
	shape.Rows = rows
	pass := hostinput.NewPass(shape)
	if err := pass.Fill(b.rope, pos, len(tokens), tokens); err != nil {
		return nil, err
	}
	out := coreml.Tensor{Shape: []int{1, shape.Hidden, rows, 1}, Data: make([]float16.Float16, shape.Hidden*rows)}
	if err := fn.Predict(context.Background(), pass.Inputs(), st, map[string]coreml.Tensor{contract.Hidden: out}); err != nil {
		if errors.Is(err, coreml.ErrNonFinite) {
			err = errNotFinite
		}
		return nil, err
	}
	columns := make([][]float16.Float16, len(tokens))
	for i := range columns {
		for c := range shape.Hidden {
			columns[i] = append(columns[i], out.Data[c*rows+i])
		}
	}
	return columns, nil
}

func (b *bench) sameStates(pkg coreml.Package, x, y coreml.State) (bool, error) {
	fn, err := pkg.Function(context.Background(), "t1")
	if err != nil {
		return false, err
	}
	for _, f := range fn.Signature().States {
		n := f.Shape[1] * f.Shape[2] * f.Shape[3]
		p, q := make([]float16.Float16, n), make([]float16.Float16, n)
		if err := errors.Join(x.Read(f.Name, p), y.Read(f.Name, q)); err != nil {
			return false, err
		}
		if half.FirstNonFinite(p) >= 0 || half.FirstNonFinite(q) >= 0 {
			return false, errNotFinite
		}
		if !sameValues(p, q) {
			return false, nil
		}
	}
	return true, nil
}

// sameValues is equality of numbers: +0 is -0.
func sameValues(a, b []float16.Float16) bool {
	for i := range a {
		if a[i] != b[i] && (a[i]|b[i])&0x7FFF != 0 {
			return false
		}
	}
	return true
}

// TestRewires draws random rewrites of a program and asks both: terms, for any
// weights, and the reference plane, over random ones. Where terms are equal,
// numbers must be. LOCKSTEP_REWIRES draws more.
func TestRewires(t *testing.T) {
	trials := 60
	if text := os.Getenv("LOCKSTEP_REWIRES"); text != "" {
		var err error
		trials, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	b := newBench(t)
	counts := map[string]int{}
	var stricter []string
	for i := range trials {
		p := b.model.Program.Clone()
		what, err := mutant.Rewire(fmt.Sprintf("rewire %d", i), p)
		require.NoError(t, err)
		verdict, err := b.ask(t, p)
		require.NoError(t, err, what)
		counts[verdict]++
		switch verdict {
		case "terms equal, numbers differ":
			t.Errorf("terms are unsound: %s", what)
		case "terms differ, numbers equal":
			stricter = append(stricter, what)
		}
	}
	t.Logf("%d rewrites: %v", trials, counts)
	for _, what := range stricter {
		t.Logf("stricter than numbers: %s", what)
	}
	assert.Positive(t, counts["both differ"])
	assert.Positive(t, counts["both equal"])
}

// ask says what terms and numbers make of a program.
func (b *bench) ask(t *testing.T, p *mil.Program) (string, error) {
	t.Helper()
	if err := p.Check(); err != nil {
		return "no program", nil
	}
	pkg, err := b.open(t, p)
	if err != nil {
		return "not executable", nil
	}
	defer pkg.Close() // opened for reading
	termsEqual, numbersEqual := true, true
	for _, spot := range []terms.Spot{{Pos: 0, Live: 4}, {Pos: 2, Live: 3}, {Pos: 4, Live: 4}, {Pos: 7, Live: 1}} {
		same, err := b.keepsStep(pkg, spot)
		switch {
		case errors.Is(err, errNotFinite):
			return "not finite", nil
		case err != nil:
			return "not executable", nil
		}
		numbersEqual = numbersEqual && same
		proof, err := terms.Prove(context.Background(), terms.Subject{Program: p, Block: "t4", Single: "t1"}, spot)
		if errors.Is(err, terms.ErrUncovered) {
			return "not covered", nil
		}
		if err != nil {
			return "", err
		}
		termsEqual = termsEqual && proof.Difference == nil
		if termsEqual && !numbersEqual {
			break
		}
	}
	switch {
	case termsEqual && numbersEqual:
		return "both equal", nil
	case termsEqual:
		return "terms equal, numbers differ", nil
	case numbersEqual:
		return "terms differ, numbers equal", nil
	}
	return "both differ", nil
}
