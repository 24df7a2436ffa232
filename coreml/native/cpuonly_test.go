package native_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/coreml/native/objc"
	"lockstep/internal/fakecoreml"
	"lockstep/manifest"
)

// TestCPUOnly: a plane that keeps to the CPU loads every model so, takes over
// what the other one compiled, gives the same bits, and has a name that no
// verdict may have.
func TestCPUOnly(t *testing.T) {
	dir := exportTail(t, "t1,t4")
	want := referenceTrace(t, dir)
	both, _ := fakePlane(t, fakecoreml.Options{})
	require.True(t, open(t, both, dir).(coreml.Compiler).Compiled())

	rt := fakecoreml.Start(t, fakecoreml.Options{CPUOnly: true})
	cpu, err := native.Over(rt, native.Options{Reserve: 1, CPUOnly: true})
	require.NoError(t, err)
	got, err := record(cpu, dir)
	require.NoError(t, err)
	assert.Empty(t, got.differences(want))
	assert.Zero(t, rt.Compiled(), "compiling does not depend on the compute units")
	assert.False(t, open(t, cpu, dir).(coreml.Compiler).Compiled())

	assert.Equal(t, "fake_cpu_only", cpu.Name())
	assert.NotContains(t, []string{manifest.PlaneReference, manifest.PlaneCoreML, manifest.PlaneFake}, cpu.Name())
}

// otherUnits sends other compute units than the plane asked for.
type otherUnits struct {
	objc.Runtime
	sel   objc.Selector
	units int
}

func (o *otherUnits) Selector(name string) objc.Selector {
	sel := o.Runtime.Selector(name)
	if name == "setComputeUnits:" {
		o.sel = sel
	}
	return sel
}

func (o *otherUnits) Send(self objc.ID, sel objc.Selector, result objc.Kind, args ...objc.Value) objc.Value {
	if sel == o.sel {
		args = []objc.Value{objc.Integer(o.units)}
	}
	return o.Runtime.Send(self, sel, result, args...)
}

// TestComputeUnitsCatch: the fake tells loading for the wrong compute units, in
// either plane.
func TestComputeUnitsCatch(t *testing.T) {
	dir := exportTail(t, "t4")
	for _, tt := range []struct {
		name         string
		want, loaded int
		faulty       bool
	}{
		{"the engine, as wanted", 3, 3, false},
		{"the CPU in place of the engine", 3, 0, true},
		{"all in place of the engine", 3, 2, true},
		{"the CPU, as wanted", 0, 0, false},
		{"the engine in place of the CPU", 0, 3, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rt, err := fakecoreml.New(fakecoreml.Options{TempDir: t.TempDir(), CPUOnly: tt.want == 0})
			require.NoError(t, err)
			plane, err := native.Over(&otherUnits{Runtime: rt, units: tt.loaded}, native.Options{Reserve: 1, CPUOnly: tt.want == 0})
			require.NoError(t, err)
			pkg, err := plane.Open(context.Background(), dir)
			require.NoError(t, err)
			_, err = pkg.Function(context.Background(), pkg.FunctionNames()[0])
			require.NoError(t, err)
			require.NoError(t, pkg.Close())
			assert.Equal(t, tt.faulty, slices.ContainsFunc(rt.Stop(), func(fault string) bool { return fault != "" }))
		})
	}
}
