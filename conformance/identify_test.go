package conformance

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestSystematic tells a constant and a factor from what rounding leaves.
func TestSystematic(t *testing.T) {
	want := []float32{-3, -1, 1, 3}
	for _, tt := range []struct {
		name  string
		got   []float32
		share float64
	}{
		{"equal", []float32{-3, -1, 1, 3}, 0},
		{"a constant", []float32{-2.5, -0.5, 1.5, 3.5}, 1},
		{"a factor", []float32{-6, -2, 2, 6}, 1},
		{"neither", []float32{-2, -2, 0, 4}, 0},
		{"half of it a constant", []float32{-1, -1, 3, 3}, 0.5},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.InDelta(t, tt.share, systematic(tt.got, want), 1e-12) })
	}
}
