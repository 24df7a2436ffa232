package reference_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"lockstep/internal/mil"
)

// TestPrograms executes drawn programs in which values live long and short,
// share buffers as pieces and reshapes, pass through two states that are read
// and written at any time, and leave as outputs, also inputs, constants and
// pieces of one value: where a buffer is used too early, bits differ.
func TestPrograms(t *testing.T) {
	for i := range 250 {
		name := fmt.Sprintf("program %d", i)
		s := newSample(name)
		outputs := s.program(s.between(5, 40))
		require.NoError(t, s.Err(), name)
		ok := t.Run(fmt.Sprint(i), func(t *testing.T) { s.run(t, outputs...) })
		require.True(t, ok, name)
	}
}

// cache is the shape of the states of drawn programs.
var cache = []int{1, 2, 4, 8}

// program draws ops over all values so far and returns some as outputs.
func (s *sample) program(ops int) []string {
	states := []string{s.State("first", fp16(cache...)), s.State("second", fp16(cache...))}
	values := []string{s.input(cache...), s.input(cache...), s.input(8, 8), s.constant(cache...), s.quantized(cache...)}
	pick := func() string { // mostly a recent one, so that chains arise
		if s.IntN(3) > 0 {
			return values[len(values)-s.between(1, 3)]
		}
		return values[s.IntN(len(values))]
	}
	fits := func(shape []int) string { // a value of that shape: there is always one of the cache's
		if x := pick(); slices.Equal(s.Type(x).Shape, shape) {
			return x
		}
		for _, i := range s.Perm(len(values)) {
			if slices.Equal(s.Type(values[i]).Shape, shape) {
				return values[i]
			}
		}
		return values[0]
	}
	written := map[string]bool{}
	for range ops {
		x := pick()
		shape := s.Type(x).Shape
		rank := len(shape)
		switch s.IntN(14) {
		case 0, 1:
			values = append(values, s.op("add", mil.Arg("x", x), mil.Arg("y", fits(shape))))
		case 2:
			values = append(values, s.op("sub", mil.Arg("x", fits(shape)), mil.Arg("y", x)))
		case 3:
			values = append(values, s.op("tanh", mil.Arg("x", x)))
		case 4, 5:
			values = append(values, s.op("read_state", mil.Arg("input", states[s.IntN(2)])))
		case 6, 7:
			state, data := states[s.IntN(2)], fits(cache)
			if pair := state + " " + data; !written[pair] { // the op is named after both
				written[pair] = true
				s.Write(state, data)
			}
		case 8:
			values = append(values, s.op("reshape", mil.Arg("x", x), mil.Lit("shape", mil.Int32s(shapeOf64(s, elements(shape))...))))
		case 9:
			if rank > 0 && shape[s.IntN(rank)]%2 == 0 {
				values = append(values, s.halve(x)...)
			}
		case 10:
			if rank > 0 && elements(shape) <= 64 {
				axis := mil.Lit("axis", mil.Int32Scalar(s.IntN(rank)))
				values = append(values, s.op("concat", mil.Arg("values", x, fits(shape)), axis))
			}
		case 11:
			if rank > 1 {
				values = append(values, s.op("transpose", mil.Arg("x", x), mil.Lit("perm", mil.Int32s(s.Perm(rank)...))))
			}
		case 12:
			if rank > 0 {
				values = append(values, s.op("softmax", mil.Arg("x", x), mil.Lit("axis", mil.Int32Scalar(s.IntN(rank)))))
			}
		case 13:
			if rank > 0 {
				begin := make([]int, rank)
				end := slices.Clone(shape)
				d := s.IntN(rank)
				begin[d] = s.IntN(shape[d])
				values = append(values, s.op("slice_by_index", mil.Arg("x", x), mil.Lit("begin", mil.Int32s(begin...)), mil.Lit("end", mil.Int32s(end...))))
			}
		}
	}
	// More often than not, recent values; at times one that was there before.
	s.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
	return values[:s.between(1, 4)]
}

// shapeOf64 is the cache's shape for 64 elements, else a vector.
func shapeOf64(s *sample, n int) []int {
	if n == elements(cache) {
		return cache
	}
	if n%4 == 0 && s.IntN(2) == 0 {
		return []int{n / 4, 4}
	}
	return []int{n}
}

// halve cuts the first even axis into two.
func (s *sample) halve(x string) []string {
	axis := slices.IndexFunc(s.Type(x).Shape, func(n int) bool { return n%2 == 0 })
	return s.Ops("split", []string{s.name(), s.name()}, mil.Arg("x", x), mil.Lit("num_splits", mil.Int32Scalar(2)), mil.Lit("axis", mil.Int32Scalar(axis)))
}
