package machine_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/machine"
)

func TestResidentBytes(t *testing.T) {
	assert.EqualValues(t, 201_600_000, machine.ResidentBytes("darwin", 201_600_000), "macOS counts bytes")
	assert.EqualValues(t, 204_800, machine.ResidentBytes("linux", 200), "Linux counts kibibytes")
}

// TestPeakMemory: after touching 64 MiB the peak is at least that, and less
// than what 1,024 times too much would be.
func TestPeakMemory(t *testing.T) {
	const touched = 64 << 20
	memory := make([]byte, touched)
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	peak, err := machine.PeakMemory()
	require.NoError(t, err)
	assert.EqualValues(t, 1, memory[touched-4096])
	assert.GreaterOrEqual(t, peak, int64(touched))
	assert.Less(t, peak, int64(touched)<<10)
}
