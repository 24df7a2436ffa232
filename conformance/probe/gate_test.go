package probe

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/coreml/reference"
	"lockstep/internal/checkpoint"
	"lockstep/manifest"
)

// TestGateOnVariants has the gate judge every variant as a package of somebody
// else: each is proven to keep step, for any weights, and holds against the
// model, but for what its choice is known to break. What would fail the gate as
// a default is in docs/probe.md.
func TestGateOnVariants(t *testing.T) {
	refused := map[string]map[string]manifest.Result{
		"norm=prescaled":       {conformance.CheckLint: manifest.Fail, conformance.CheckOracle: manifest.Fail}, // its epsilon
		"state=not_read_again": {conformance.CheckLint: manifest.Fail},
		// int32 at run time; terms have no run-time position; dead rows are written
		"cache=slice_update": {
			conformance.CheckLint: manifest.Fail, conformance.CheckEquivalence: manifest.NotMeasured, conformance.CheckParity: manifest.Fail,
		},
		"functions=t1": {conformance.CheckParity: manifest.NotMeasured}, // no block
		"tokens=width": { // another contract
			conformance.CheckPackage: manifest.Fail, conformance.CheckLint: manifest.NotRun, conformance.CheckEquivalence: manifest.NotRun,
			conformance.CheckOracle: manifest.NotRun, conformance.CheckParity: manifest.NotRun, conformance.CheckResidency: manifest.NotRun,
		},
	}
	dims := Nano()
	l := &lab{fs: unsynced{}, dir: t.TempDir(), dims: dims, progress: silent{}, stored: map[weights]string{}}
	for _, v := range Variants() {
		dir, err := l.pack(context.Background(), v)
		require.NoError(t, err)
		ck, err := checkpoint.OpenDir(filepath.Join(l.dir, sourceDir))
		require.NoError(t, err)
		verdict, err := conformance.Run(context.Background(), conformance.Options{
			Package: dir, Layers: dims.layers(), Plane: reference.Plane{}, Checkpoint: ck, Subject: "probe", Command: "none", Lockstep: "(devel)",
		}, nil)
		require.NoError(t, err)
		require.NoError(t, ck.Close())
		for _, c := range verdict.Checks {
			want := manifest.Pass
			if c.Name == conformance.CheckResidency {
				want = manifest.NotMeasured
			}
			if r, ok := refused[v.Name][c.Name]; ok {
				want = r
			}
			assert.Equal(t, want, c.Result, "%s %s: %s", v.Name, c.Name, c.Reason)
		}
	}
	require.NoError(t, l.Close())
}
