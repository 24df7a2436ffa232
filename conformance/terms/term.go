package terms

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Term stands for the value of one element. A concrete term is a number that is
// known (masks, constants of the program); an opaque one is a hash of how the
// value came to be: which operation, of which terms, in which order.
//
// The zero Term is the number 0.
type Term struct{ hi, lo uint64 }

// The upper bits of hi. 125 bits are left for the hash.
const (
	opaque    = 1 << 63
	vanishing = 1 << 62 // a score with a mask of at most maskedBelow added: softmax gives it 0
	undefined = 1 << 61 // comes from a softmax over nothing but vanishing scores
	flags     = opaque | vanishing | undefined
)

// maskedBelow is the mask at which a score counts as hidden. That softmax gives
// exactly 0 there is an assumption about the scores; see docs/equivalence.md.
const maskedBelow = -1e4

var (
	zero = Term{}
	one  = number(1)
)

// number is the concrete term of v. Both zeros are the same number.
func number(v float64) Term {
	if v == 0 {
		return zero
	}
	return Term{lo: math.Float64bits(v)}
}

// value is the number of a concrete term.
func (t Term) value() (float64, bool) { return math.Float64frombits(t.lo), t.hi&opaque == 0 }

func (t Term) isOpaque() bool { return t.hi&opaque != 0 }

// isVanishing reports a hidden score, be it the sum with a mask or a mask alone:
// a score that is known to be 0.
func (t Term) isVanishing() bool {
	v, known := t.value()
	return t.hi&vanishing != 0 || known && v <= maskedBelow
}

func (t Term) isUndefined() bool { return t.hi&undefined != 0 }

// String is the number, or the hash in hex.
func (t Term) String() string {
	if v, ok := t.value(); ok {
		return fmt.Sprint(v)
	}
	return fmt.Sprintf("#%015x%016x", t.hi&^uint64(flags), t.lo)
}

// algebra is what opaque terms are made of: hashes for the proof, sets of
// sources for what a row depends on.
type algebra interface {
	// seed begins the terms of a kind of operation or input.
	seed(text string) Term
	// element is one element of a weight.
	element(base Term, index int) Term
	// source is one element of an input or of a state, and which source it
	// counts as.
	source(base Term, index, from int) Term
	// mix folds the next operand into acc. The order of operands counts.
	mix(acc, t Term) Term
}

// hashing is the algebra of the proof.
type hashing struct{}

func (hashing) seed(text string) Term {
	sum := sha256.Sum256([]byte("lockstep term " + text))
	return Term{binary.LittleEndian.Uint64(sum[:])&^uint64(flags) | opaque, binary.LittleEndian.Uint64(sum[8:])}
}

func (h hashing) element(base Term, index int) Term { return h.mix(base, Term{lo: uint64(index)}) }

func (h hashing) source(base Term, index, _ int) Term { return h.element(base, index) }

// mix multiplies 64 by 64 bits to 128 twice, as wide multiplications are what
// makes hashing of long columns cheap. acc is turned first, so that mix is not
// symmetric.
func (hashing) mix(acc, t Term) Term {
	x := acc.lo*0x9E3779B97F4A7C15 ^ t.lo
	y := acc.hi*0xC2B2AE3D27D4EB4F ^ t.hi
	h1, l1 := bits.Mul64(x^0xA0761D6478BD642F, y^0xE7037ED1A0B428DB)
	h2, l2 := bits.Mul64(x^0x8EBC6AF09C88C6E3, bits.RotateLeft64(y, 32)^0x589965CC75374CC3)
	return Term{
		hi: (h1^l1^bits.RotateLeft64(y, 17))&^uint64(flags) | opaque | (acc.hi|t.hi)&undefined,
		lo: h2 ^ l2 ^ bits.RotateLeft64(x, 23),
	}
}

// dependence is the algebra of sources: a term is the set of those that the
// value depends on.
type dependence struct{}

// maxSources is how many sources a term can tell apart.
const maxSources = 61 + 64

func (dependence) seed(string) Term       { return Term{hi: opaque} }
func (dependence) element(Term, int) Term { return Term{hi: opaque} }

func (dependence) source(_ Term, _, from int) Term {
	if from < 64 {
		return Term{hi: opaque, lo: 1 << from}
	}
	return Term{hi: opaque | 1<<(from-64)}
}

func (dependence) mix(acc, t Term) Term {
	if !t.isOpaque() {
		return acc
	}
	return Term{hi: (acc.hi | t.hi) &^ vanishing, lo: acc.lo | t.lo}
}

// has reports whether a dependence holds a source.
func (t Term) has(from int) bool {
	if from < 64 {
		return t.lo&(1<<from) != 0
	}
	return t.hi&(1<<(from-64)) != 0
}
