//go:build !darwin

package native_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"lockstep/coreml/native"
)

// TestNotHere: a system without Core ML says so.
func TestNotHere(t *testing.T) {
	plane, err := native.New(native.Options{})
	require.ErrorIs(t, err, native.ErrNotHere)
	require.ErrorContains(t, err, "Core ML is not here")
	require.Nil(t, plane)
}
