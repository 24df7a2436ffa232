package memory

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestResidentBytes(t *testing.T) {
	assert.EqualValues(t, 201_600_000, ResidentBytes("darwin", 201_600_000), "macOS counts bytes")
	assert.EqualValues(t, 204_800, ResidentBytes("linux", 200), "Linux counts kibibytes")
}

func TestHighWater(t *testing.T) {
	got, err := highWater([]byte("Name:\tlockstep\nVmPeak:\t  999 kB\nVmHWM:\t   201600 kB\nVmRSS:\t   100 kB\n"))
	require.NoError(t, err)
	assert.EqualValues(t, 201600<<10, got)
	for _, text := range []string{"", "VmRSS: 1 kB", "VmHWM: 1 MB", "VmHWM: kB", "VmHWM: -1 kB", "VmHWM: 9223372036854775807 kB", "VmHWM:"} {
		_, err := highWater([]byte(text))
		assert.ErrorIs(t, err, ErrUnknown, text)
	}
}

func FuzzHighWater(f *testing.F) {
	f.Add([]byte("VmHWM:\t   201600 kB\n"))
	f.Fuzz(func(t *testing.T, status []byte) {
		if got, err := highWater(status); err != nil {
			require.ErrorIs(t, err, ErrUnknown)
		} else {
			require.GreaterOrEqual(t, got, int64(0))
		}
	})
}

// childVariable makes this test binary print its peak and end.
const childVariable = "LOCKSTEP_MEMORY_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		bytes, err := Peak()
		fmt.Println(bytes, err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestPeak: after touching 256 MiB the peak is at least that, and not a
// thousand times as much; that of a process which this one starts is its own.
func TestPeak(t *testing.T) {
	const touched = 256 << 20
	memory := make([]byte, touched)
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	own, err := Peak()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, own, int64(touched))
	assert.Less(t, own, int64(touched)<<8)

	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.EqualValues(t, 1, memory[touched-4096], "held until here")
	var child int64
	_, err = fmt.Sscan(strings.TrimSuffix(string(out), " <nil>\n"), &child)
	require.NoError(t, err, string(out))
	assert.Positive(t, child)
	assert.Less(t, child, int64(touched), "another process's memory")
}
