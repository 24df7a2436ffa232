package native_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"lockstep/coreml"
	"lockstep/coreml/native"
)

// planeHere is the plane over this Mac's own Core ML.
func planeHere(t *testing.T, opt native.Options) coreml.Plane {
	t.Helper()
	plane, err := native.New(opt)
	if errors.Is(err, native.ErrTooOld) {
		t.Skipf("not measured: %v", err)
	}
	require.NoError(t, err)
	return plane
}

// TestOnTheCPU: Core ML keeps step on the CPU, which every Mac has. It says
// nothing of the Neural Engine.
func TestOnTheCPU(t *testing.T) { keepsStep(t, planeHere(t, native.Options{CPUOnly: true})) }

// TestPlanHere: this Mac's compute plans are whole.
func TestPlanHere(t *testing.T) { plansWhole(t, planeHere(t, native.Options{})) }
