package kernel

import (
	"cmp"
	"math"
	"slices"
)

// SumInt32 returns the sum of v, which wraps.
func SumInt32(v []int32) int32 {
	var s int32
	for _, n := range v {
		s += n
	}
	return s
}

// MaxOfInt32 returns the largest element of v, the least int32 if v is empty.
func MaxOfInt32(v []int32) int32 {
	best := int32(math.MinInt32)
	for _, n := range v {
		best = max(best, n)
	}
	return best
}

// ArgMax returns where the largest element of v is: the first of equals, +0 and
// -0 being equal, and the first NaN if there is one.
func ArgMax(v []float32) int { return argMax(v) }

// ArgMaxInt32 is ArgMax of int32 values.
func ArgMaxInt32(v []int32) int { return argMax(v) }

func argMax[T float32 | int32](v []T) int {
	best := 0
	for i, f := range v {
		if numberFirst(f, v[best]) > 0 {
			best = i
		}
	}
	return best
}

// Order fills at with the indices of v in the order of its elements, the largest
// first or, ascending, the smallest. Of equal elements, +0 and -0 being equal,
// the one with the lower index comes first. NaN counts as larger than every
// number. at is as long as v.
func Order(at []int32, v []float32, ascending bool) { order(at, v, ascending) }

// OrderInt32 is Order of int32 values.
func OrderInt32(at, v []int32, ascending bool) { order(at, v, ascending) }

func order[T float32 | int32](at []int32, v []T, ascending bool) {
	for i := range at {
		at[i] = int32(i)
	}
	slices.SortFunc(at, func(i, j int32) int {
		c := numberFirst(v[i], v[j])
		if !ascending {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(i, j))
	})
}

// numberFirst compares with NaN above all numbers, where cmp.Compare has it
// below.
func numberFirst[T float32 | int32](a, b T) int {
	switch {
	case a < b || a == a && b != b:
		return -1
	case a > b || a != a && b == b:
		return 1
	}
	return 0
}
