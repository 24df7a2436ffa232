package native_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/internal/fakecoreml"
)

// TestMatchesReference: over a Core ML that executes by the reference plane,
// every bit that the native plane hands on is the reference plane's, whatever
// the layout of arrays and the threads of handlers.
func TestMatchesReference(t *testing.T) {
	dir := exportTail(t, "t1,t4")
	want := referenceTrace(t, dir)
	for _, c := range []struct {
		name string
		opt  fakecoreml.Options
	}{
		{"padded_rows", fakecoreml.Options{}},
		{"dense_rows", fakecoreml.Options{Dense: true}},
		{"blocks_on_other_threads", fakecoreml.Options{BlocksElsewhere: true}},
		{"handlers_called_twice", fakecoreml.Options{Behave: map[string]fakecoreml.Behaviour{
			"MLModel compileModelAtURL:completionHandler:":                     {Twice: true},
			"MLComputePlan loadContentsOfURL:configuration:completionHandler:": {Twice: true},
			"MLModelAsset functionNamesWithCompletionHandler:":                 {Twice: true},
		}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plane, _ := fakePlane(t, c.opt)
			got, err := record(plane, dir)
			require.NoError(t, err)
			assert.Empty(t, got.differences(want))
			assert.Equal(t, "fake", plane.Name())
		})
	}
}
