package conformance

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestBlockThreshold holds the thresholds against the records that they follow:
// what is on record as sound keeps them, what is on record as faulty does not.
func TestBlockThreshold(t *testing.T) {
	assert.Equal(t, threshold{hidden: 0.999, delta: 0.98}, blockThreshold(2))
	assert.Equal(t, threshold{hidden: 0.99, delta: 0.8}, blockThreshold(20))
	for layers, cosine := range map[int]float64{2: .99976, 4: .99945, 6: .99945, 20: .99855} {
		assert.GreaterOrEqual(t, cosine, blockThreshold(layers).hidden, layers)
	}
	assert.GreaterOrEqual(t, .989271, blockThreshold(1).delta, "the worst token of the one block on record")
	assert.Less(t, .974, blockThreshold(1).delta, "[head, token, dim] read as channels, over all tokens")
	assert.GreaterOrEqual(t, .9999, headBlockThreshold().cosine)
	for layers := 2; layers < 200; layers++ {
		assert.GreaterOrEqual(t, blockThreshold(layers).delta, 0.0)
		assert.LessOrEqual(t, blockThreshold(layers+1).delta, blockThreshold(layers).delta)
	}
}
