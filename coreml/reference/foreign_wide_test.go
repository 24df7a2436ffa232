package reference_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/half"
	"lockstep/internal/mlpackage"
)

// converted is a package of fixtures/foreign/ops: what torch computes, in
// float32, and what coremltools made of it.
type converted struct {
	Inputs, Outputs map[string]struct {
		Shape []int
		Data  []float64
	}
	Files map[string]struct{ SHA256 string }
}

func convertedDir(name string) string {
	return filepath.Join(foreignDir, "..", "ops", name+".mlpackage")
}

func convertedPackages(t testing.TB) map[string]converted {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(foreignDir, "..", "ops", "expected.json"))
	require.NoError(t, err)
	var all map[string]converted
	require.NoError(t, json.Unmarshal(data, &all))
	require.Len(t, all, 2)
	return all
}

// TestConverted runs converter output with casts, float32 norms, integers,
// indices and attention, and compares it with torch. The tolerance is three
// times the difference seen, which is what float16 does to values of about 3;
// the tokens and their embeddings, but for the ninth digit, are torch's own.
func TestConverted(t *testing.T) {
	tolerance := map[string]float64{"y": 0.0034, "embedded": 1e-7, "token": 0, "best": 0.003}
	for name, want := range convertedPackages(t) {
		t.Run(name, func(t *testing.T) {
			for path, file := range want.Files {
				data, err := os.ReadFile(filepath.Join(convertedDir(name), path))
				require.NoError(t, err)
				digest := sha256.Sum256(data)
				require.Equal(t, file.SHA256, hex.EncodeToString(digest[:]), path)
			}
			fn := openFunction(t, openPackage(t, convertedDir(name)), mlpackage.MainFunction)
			inputs := map[string]coreml.Tensor{}
			for key, tensor := range want.Inputs {
				inputs[key] = coreml.Tensor{Shape: tensor.Shape, Data: make([]float16.Float16, len(tensor.Data))}
				for i, v := range tensor.Data {
					inputs[key].Data[i] = half.FromFloat64(v)
				}
			}
			out := tensors(fn.Signature().Outputs)
			require.NoError(t, fn.Predict(t.Context(), inputs, nil, out))
			require.ElementsMatch(t, slices.Collect(maps.Keys(want.Outputs)), slices.Collect(maps.Keys(out)))
			for key, tensor := range want.Outputs {
				require.Equal(t, tensor.Shape, out[key].Shape)
				largest := 0.0
				for i, v := range tensor.Data {
					largest = max(largest, max(v-half.ToFloat64(out[key].Data[i]), half.ToFloat64(out[key].Data[i])-v))
				}
				t.Logf("%s: max abs %.5f", key, largest)
				assert.LessOrEqual(t, largest, tolerance[key], key)
			}
		})
	}
}

// TestConvertedAgainstNaive holds drawn passes against the naive evaluator, bit
// for bit, whatever the number of workers.
func TestConvertedAgainstNaive(t *testing.T) {
	for name := range convertedPackages(t) {
		for _, workers := range []int{1, 3} {
			withWorkers(t, workers)
			files, err := mlpackage.Open(convertedDir(name))
			require.NoError(t, err)
			defer files.Close()
			comparePasses(t, openPackage(t, convertedDir(name)), files, files.Model.Program.Function(mlpackage.MainFunction), newDraw(name), 3)
		}
	}
}

// TestConvertedDoesNotAllocate: nor do the ops of these packages.
func TestConvertedDoesNotAllocate(t *testing.T) {
	withWorkers(t, 3)
	for name := range convertedPackages(t) {
		fn := openFunction(t, openPackage(t, convertedDir(name)), mlpackage.MainFunction)
		in, out := tensors(fn.Signature().Inputs), tensors(fn.Signature().Outputs)
		ctx := t.Context()
		assert.Zero(t, testing.AllocsPerRun(10, func() {
			if err := fn.Predict(ctx, in, nil, out); err != nil {
				panic(err)
			}
		}), name)
	}
}

// TestMutatedConverted changes these programs as FuzzCompile changes nano's.
func TestMutatedConverted(t *testing.T) {
	for name := range convertedPackages(t) {
		t.Run(name, func(t *testing.T) {
			seen := openBase(t, convertedDir(name)).mutate(t, name, 60)
			assert.Greater(t, seen[compared], 20)
		})
	}
}
