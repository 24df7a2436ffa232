package reference_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"lockstep/coreml"
	"lockstep/exporter"
	"lockstep/fixtures"
	"lockstep/fixtures/synth"
)

// BenchmarkNano times a pass of nano's tail.
func BenchmarkNano(b *testing.B) {
	benchmarkTail(b, fixtures.Nano(), 256)
}

// BenchmarkReal times a pass of a tail of Phi-4-mini's dimensions, 201 M
// weights over 2048 slots. It writes a checkpoint of 403 MB and two packages
// of 403 MB and 201 MB into the benchmark's directory.
func BenchmarkReal(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "checkpoint")
	require.NoError(b, synth.Write(context.Background(), dir, synth.RealTail()))
	benchmarkTail(b, os.DirFS(dir), 2048)
}

func benchmarkTail(b *testing.B, files fs.FS, slots int) {
	for _, precision := range []exporter.Precision{exporter.FP16, exporter.Int8} {
		s := exportTail(b, files, slots, precision, exporter.LayerNormConcat)
		pkg := openPackage(b, s.dir)
		st := newState(b, pkg)
		fillStates(b, st, openFunction(b, pkg, "t1").Signature())
		for _, name := range []string{"t1", "t4"} {
			b.Run(string(precision)+"/"+name, func(b *testing.B) { benchmarkPass(b, s.runner(b, pkg, name, st), slots/2) })
		}
	}
}

// benchmarkPass times passes at one position.
func benchmarkPass(b *testing.B, r *runner, pos int) {
	shape := r.pass.Shape()
	tokens := hiddenRows("benchmark", shape.Rows, shape.Hidden)
	require.NoError(b, r.pass.Fill(r.rope, pos, len(tokens), tokens))
	ctx, inputs := context.Background(), r.pass.Inputs()
	predict := func(out map[string]coreml.Tensor) {
		if err := r.fn.Predict(ctx, inputs, r.st, out); err != nil {
			b.Fatal(err)
		}
	}
	predict(r.out) // the first touches every buffer
	b.ReportAllocs()
	for b.Loop() {
		predict(r.out)
	}
}
