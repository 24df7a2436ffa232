package main

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/manifest"
)

// What failed comes first, each case with its evidence, then the command that
// repeats the run; a long list of failures is cut, and says so.
func TestPrintVerdictFailuresFirst(t *testing.T) {
	parity := manifest.Check{Name: "parity", Result: manifest.Fail, Reason: "pos=0: state differs"}
	for pos := range casesShown + 2 {
		parity.Cases = append(parity.Cases, manifest.Case{
			Name: fmt.Sprintf("t4/pos=%d", pos), Result: manifest.Fail, Reason: "state k differs at [head 0, slot 3, dim 1]",
			Evidence: []manifest.Evidence{{Name: "hidden_max_abs_difference", Value: manifest.NewFigure(math.NaN()), Unit: "1"}},
		})
	}
	parity.Cases = append(parity.Cases, manifest.Case{Name: "t4/pos=9", Result: manifest.Pass})
	v := &manifest.Verdict{
		Package: manifest.VerdictPackage{Path: "nano_layers30_32_int8.mlpackage"},
		Shard:   manifest.LayerRange{Start: 30, End: 32}, Subject: "nano", Plane: manifest.PlaneReference, Result: manifest.Fail,
		Checks: []manifest.Check{
			{Name: "package", Result: manifest.Pass, Cases: []manifest.Case{{Name: "digests", Result: manifest.Pass}}},
			parity,
			{Name: "residency", Result: manifest.NotMeasured, Reason: "function=t1: no Core ML", Cases: []manifest.Case{{Name: "function=t1", Result: manifest.NotMeasured}}},
		},
		Metrics: []manifest.Metric{
			{Name: "disk_free_before", Value: manifest.NewFigure(2e9), Unit: "B", Method: "statfs"},
			{Name: "latency_t4_p50", Unit: "ms", NotMeasured: "no Core ML", Method: "p50"},
		},
		Catalogue: manifest.Catalogue{Cases: 7, Ran: 7},
		Command:   "lockstep gate --out out --layers 30:32",
	}
	var out bytes.Buffer
	require.NoError(t, printVerdict(&out, v, artifacts{
		"out/nano_layers30_32_int8.mlpackage", "out/lockstep.json", "out/verdicts/layers30_32.reference.0001.json",
	}, false))
	assert.Equal(t, `gate     layers 30:32, subject nano, plane reference: 7 of 7 cases ran
fail          parity/t4/pos=0: state k differs at [head 0, slot 3, dim 1]
              hidden_max_abs_difference = NaN
fail          parity/t4/pos=1: state k differs at [head 0, slot 3, dim 1]
              hidden_max_abs_difference = NaN
fail          parity/t4/pos=2: state k differs at [head 0, slot 3, dim 1]
              hidden_max_abs_difference = NaN
              and 2 more cases of parity; the verdict has them all
again    lockstep gate --out out --layers 30:32
check    package    pass          1 case
check    parity     fail          6 cases: 5 fail, 1 pass
check    residency  not measured  1 case; function=t1: no Core ML
figure   disk_free_before  2000000000 B (2.00 GB)
figure   latency_t4_p50    not measured: no Core ML
package  out/nano_layers30_32_int8.mlpackage
record   out/lockstep.json
written  out/verdicts/layers30_32.reference.0001.json
verdict  fail: parity fail, residency not measured
`, out.String())

	out.Reset()
	require.NoError(t, printVerdict(&out, v, artifacts{}, true))
	assert.Contains(t, out.String(), "2000000000 B (2.00 GB)  (statfs)\n", "with the methods")
	assert.Contains(t, out.String(), "and 2 more cases of parity; -v prints them all\n", "as no verdict was written")
	assert.NotContains(t, out.String(), "written", "as no verdict was written")
}

// A pass has nothing to blame, and no command to repeat.
func TestPrintVerdictPass(t *testing.T) {
	v := &manifest.Verdict{
		Result: manifest.Pass,
		Checks: []manifest.Check{{Name: "package", Result: manifest.Pass, Cases: []manifest.Case{{Name: "digests", Result: manifest.Pass}}}},
	}
	var out bytes.Buffer
	require.NoError(t, printVerdict(&out, v, artifacts{}, false))
	assert.True(t, strings.HasSuffix(out.String(), "verdict  pass\n"))
	assert.NotContains(t, out.String(), "again")
}

func TestGateExit(t *testing.T) {
	checks := func(residency, oracle manifest.Result) []manifest.Check {
		return []manifest.Check{{Name: "oracle", Result: oracle}, {Name: "residency", Result: residency}}
	}
	for _, tt := range []struct {
		name   string
		checks []manifest.Check
		accept []string
		want   int
	}{
		{"pass", checks(manifest.Pass, manifest.Pass), nil, exitPass},
		{"partial", checks(manifest.NotMeasured, manifest.Pass), nil, exitPartial},
		{"accepted", checks(manifest.NotMeasured, manifest.Pass), []string{"residency"}, exitPass},
		{"another one not measured", checks(manifest.NotMeasured, manifest.NotMeasured), []string{"residency"}, exitPartial},
		{"fail", checks(manifest.NotMeasured, manifest.Fail), []string{"residency"}, exitFail},
		{"error", checks(manifest.Pass, manifest.Error), nil, exitError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			to := streams{&out, &errs}
			c := gateCommand{AcceptPartial: tt.accept}
			v := &manifest.Verdict{Result: manifest.Overall(tt.checks), Checks: tt.checks}
			assert.Equal(t, tt.want, report(c.exit(v, to), to))
		})
	}
}
