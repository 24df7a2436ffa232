package mutant

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/x448/float16"

	"lockstep/conformance"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// Fate is what became of a random mutant.
type Fate string

// The fates. Equal was shown by execution: the mutant's functions give the
// base's bits. A survivor passed the gate and does not.
const (
	Killed   Fate = "killed"
	Equal    Fate = "equal"
	Survived Fate = "survived"
)

// Trial is one random mutant and its fate.
type Trial struct {
	Name  string // what was changed
	Fate  Fate
	Case  string // that killed it
	Where string // its reason
}

// errNoSite means that the drawn rewrite has nothing to change at the drawn
// place; another is drawn.
var errNoSite = errors.New("nothing to rewrite here")

// RandomProgram draws one rewrite of the program by the seed's name: an
// operand, axis, permutation, slice bound, constant or op type, in one function
// or in all.
func RandomProgram(ctx context.Context, base Base, seed, dir string) (*Trial, error) {
	return try(ctx, base, dir, func(s *specimen) (string, error) { return Rewire(seed, s.model.Program) })
}

// Rewire makes one such rewrite of p, drawn by the seed's name, and says what it
// changed. What comes of it need not be a valid program.
func Rewire(seed string, p *mil.Program) (string, error) {
	rng := named(seed)
	for {
		what, err := rewrite(rng, p)
		if !errors.Is(err, errNoSite) {
			return what, err
		}
	}
}

// RandomBit draws one bit of model.mlmodel or weight.bin to flip before the
// record is made.
func RandomBit(ctx context.Context, base Base, seed, dir string) (*Trial, error) {
	rng := named(seed)
	return try(ctx, base, dir, func(s *specimen) (string, error) {
		path := mlpackage.WeightsPath
		s.files[mlpackage.ModelPath] = slices.Clone(s.originalModel)
		if rng.IntN(2) == 0 {
			path = mlpackage.ModelPath
		}
		data := s.files[path]
		at, bit := rng.IntN(len(data)), rng.IntN(8)
		data[at] ^= 1 << bit
		s.raw = true
		return fmt.Sprintf("bit %d of byte %d of %s", bit, at, path), nil
	})
}

func named(seed string) *rand.Rand {
	return rand.New(rand.NewChaCha8(sha256.Sum256([]byte("lockstep mutant " + seed))))
}

// try makes the mutant and runs the gate up to the first case that kills it.
func try(ctx context.Context, base Base, dir string, seed func(*specimen) (string, error)) (*Trial, error) {
	s, err := newSpecimen(base, dir)
	if err != nil {
		return nil, err
	}
	name, err := seed(s)
	if err != nil {
		return nil, err
	}
	t := &Trial{Name: name, Fate: Killed}
	if err := s.write(); err != nil {
		// Not even the encoder takes it: no such package can come to be.
		t.Case, t.Where = "encode", err.Error()
		return t, nil
	}
	suite, err := conformance.NewSuite(conformance.Options{
		Dir: dir, Layers: base.Export.Layers, Plane: base.Plane, Checkpoint: base.Export.Checkpoint, Subject: "nano",
	})
	if err != nil {
		return nil, err
	}
	for _, c := range suite.Cases() {
		if out := suite.RunCase(ctx, c); out.Result != manifest.Pass && out.Result != manifest.NotMeasured {
			t.Case, t.Where = c.ID(), out.Reason
			return t, suite.Close()
		}
	}
	if err := suite.Close(); err != nil {
		return nil, err
	}
	t.Fate = Survived
	same, err := conformance.SameBits(ctx, base.Export.Layers,
		conformance.Export{Plane: base.Plane, Dir: base.Export.Dir}, conformance.Export{Plane: base.Plane, Dir: dir})
	if err == nil && same {
		t.Fate = Equal
	}
	return t, err
}

// rewrite changes one thing at a random place and says what.
func rewrite(rng *rand.Rand, p *mil.Program) (string, error) {
	fs := p.Functions
	f := fs[rng.IntN(len(fs))]
	o := f.Ops[rng.IntN(len(f.Ops))]
	only := fs
	if rng.IntN(2) == 0 {
		only = []*mil.Function{f}
	}
	draw := rng.Uint64()
	what := ""
	for _, f := range only {
		twin, err := op(f, o.Name)
		if err != nil {
			return "", errNoSite
		}
		// The same draw in each function makes the same change.
		if what, err = rewriteOp(rand.New(rand.NewPCG(draw, 0)), f, twin); err != nil {
			return "", err
		}
	}
	scope := "all functions"
	if len(only) == 1 {
		scope = only[0].Name
	}
	return fmt.Sprintf("%s: %s: %s", scope, o.Name, what), nil
}

func rewriteOp(rng *rand.Rand, f *mil.Function, o *mil.Op) (string, error) {
	if o.Type == "const" {
		return rewriteConst(rng, o)
	}
	switch rng.IntN(3) {
	case 0:
		return swapOperands(o)
	case 1:
		return replaceOperand(rng, f, o)
	default:
		return replaceType(rng, o)
	}
}

func swapOperands(o *mil.Op) (string, error) {
	x, errX := argument(o, "x")
	y, errY := argument(o, "y")
	if errX != nil || errY != nil || x.Name == y.Name {
		return "", errNoSite
	}
	x.Name, y.Name = y.Name, x.Name
	return "operands x and y swapped", nil
}

// replaceOperand binds a parameter to another value of the same type that is
// defined before the op.
func replaceOperand(rng *rand.Rand, f *mil.Function, o *mil.Op) (string, error) {
	scope, err := mil.NewScope(f)
	if err != nil {
		return "", errNoSite
	}
	if len(o.Args) == 0 {
		return "", errNoSite
	}
	arg := o.Args[rng.IntN(len(o.Args))]
	b := &arg.Bindings[rng.IntN(len(arg.Bindings))]
	if b.Name == "" || scope.Type(b.Name).State {
		return "", errNoSite
	}
	var others []string
	for _, earlier := range f.Ops {
		if earlier == o {
			break
		}
		for _, v := range earlier.Outputs {
			if v.Name != b.Name && v.Type.Equal(scope.Type(b.Name)) {
				others = append(others, v.Name)
			}
		}
	}
	if len(others) == 0 {
		return "", errNoSite
	}
	old := b.Name
	b.Name = others[rng.IntN(len(others))]
	return fmt.Sprintf("%s reads %s in place of %s", arg.Param, b.Name, old), nil
}

func replaceType(rng *rand.Rand, o *mil.Op) (string, error) {
	for _, group := range [][]string{{"add", "sub", "mul", "real_div", "maximum", "minimum"}, {"silu", "sigmoid", "relu", "tanh"}} {
		if i := slices.Index(group, o.Type); i >= 0 {
			old := o.Type
			o.Type = group[(i+1+rng.IntN(len(group)-1))%len(group)]
			return o.Type + " in place of " + old, nil
		}
	}
	return "", errNoSite
}

func rewriteConst(rng *rand.Rand, o *mil.Op) (string, error) {
	switch v := o.Val; {
	case v.Blob != nil || len(v.Strings) > 0:
		return "", errNoSite
	case len(v.Bools) > 0:
		i := rng.IntN(len(v.Bools))
		v.Bools[i] = !v.Bools[i]
		return fmt.Sprintf("[%d] is %v", i, v.Bools[i]), nil
	case len(v.Ints) > 1 && rng.IntN(2) == 0:
		i := rng.IntN(len(v.Ints) - 1)
		if v.Ints[i] == v.Ints[i+1] {
			return "", errNoSite
		}
		v.Ints[i], v.Ints[i+1] = v.Ints[i+1], v.Ints[i]
		return fmt.Sprintf("entries %d and %d swapped", i, i+1), nil
	case len(v.Ints) > 0:
		i := rng.IntN(len(v.Ints))
		v.Ints[i] += int32(1 - 2*rng.IntN(2))
		return fmt.Sprintf("[%d] is %d", i, v.Ints[i]), nil
	case v.Type.DType == mil.Float16 && len(v.Bytes) == 2:
		old := half.ToFloat32(float16.Float16(binary.LittleEndian.Uint16(v.Bytes)))
		changed := []float32{-old, 4 * old, old / 4, 0}[rng.IntN(4)]
		v.Bytes = binary.LittleEndian.AppendUint16(nil, half.FromFloat32(changed).Bits())
		return fmt.Sprintf("%v in place of %v", changed, old), nil
	}
	return "", errNoSite
}
