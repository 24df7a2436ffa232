package manifest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"lockstep/manifest"
)

func TestOverall(t *testing.T) {
	const (
		pass, fail      = manifest.Pass, manifest.Fail
		notMeasured     = manifest.NotMeasured
		notRun, errored = manifest.NotRun, manifest.Error
	)
	for _, tt := range []struct {
		name   string
		checks []manifest.Result
		want   manifest.Result
	}{
		{"all pass", []manifest.Result{pass, pass}, manifest.Pass},
		{"one not measured", []manifest.Result{pass, notMeasured, pass}, manifest.Partial},
		{"nothing measured", []manifest.Result{notMeasured}, manifest.Partial},
		{"fail outranks not measured", []manifest.Result{notMeasured, fail}, manifest.Fail},
		{"what follows a failure is not run", []manifest.Result{fail, notRun, notMeasured}, manifest.Fail},
		{"error outranks fail", []manifest.Result{fail, errored, notRun}, manifest.Error},
		{"not run without a failure", []manifest.Result{pass, notRun}, manifest.Error},
		{"no checks", nil, manifest.Error},
		{"no result", []manifest.Result{pass, ""}, manifest.Error},
		{"partial is no result of a check", []manifest.Result{manifest.Partial}, manifest.Error},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checks := make([]manifest.Check, len(tt.checks))
			for i, r := range tt.checks {
				checks[i].Result = r
			}
			got := manifest.Overall(checks)
			assert.Equal(t, tt.want, got)
			assert.True(t, got.OfRun())
		})
	}
}

func TestCombine(t *testing.T) {
	assert.Equal(t, manifest.NotRun, manifest.Combine(), "what ran nothing did not pass")
	assert.Equal(t, manifest.Pass, manifest.Combine(manifest.Pass, manifest.Pass))
	assert.Equal(t, manifest.NotMeasured, manifest.Combine(manifest.Pass, manifest.NotMeasured))
	assert.Equal(t, manifest.NotRun, manifest.Combine(manifest.NotMeasured, manifest.NotRun))
	assert.Equal(t, manifest.Fail, manifest.Combine(manifest.NotRun, manifest.Fail, manifest.Pass))
	assert.Equal(t, manifest.Error, manifest.Combine(manifest.Fail, manifest.Error))
	assert.Equal(t, manifest.Error, manifest.Combine(manifest.Pass, "passed"))
}
