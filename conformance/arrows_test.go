package conformance_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// arrows lists, per package, the packages of this module that it may reach,
// directly or not. What is not listed may import anything inside its own tree.
// The direction is: checkpoint → exporter → package → coreml → conformance →
// record; the oracle, the exporter and the planes are parties that can
// disagree, so they never meet.
var arrows = map[string][]string{
	"lockstep/manifest":             {},
	"lockstep/internal/contract":    {},
	"lockstep/internal/half":        {},
	"lockstep/internal/elementary":  {},
	"lockstep/internal/strictjson":  {},
	"lockstep/internal/durable":     {},
	"lockstep/internal/machine":     {"internal/durable", "manifest"},
	"lockstep/internal/safetensors": {"internal/strictjson"},
	"lockstep/internal/gguf":        {},
	"lockstep/internal/checkpoint":  {"internal/strictjson", "internal/safetensors", "internal/gguf", "internal/elementary", "internal/half"},
	"lockstep/internal/mil":         {},
	"lockstep/internal/mlpackage":   {"internal/mil", "internal/mlpackage/milpb", "internal/strictjson"},
	"lockstep/exporter": {
		"manifest", "internal/contract", "internal/half", "internal/elementary", "internal/strictjson", "internal/durable", "internal/safetensors", "internal/gguf",
		"internal/checkpoint", "internal/mil", "internal/mlpackage", "internal/mlpackage/milpb",
	},
	"lockstep/coreml":                  {},
	"lockstep/coreml/hostinput":        {"coreml", "internal/contract", "internal/half", "internal/elementary"},
	"lockstep/coreml/decode":           {"coreml", "coreml/hostinput", "manifest", "internal/contract", "internal/half", "internal/elementary"},
	"lockstep/coreml/worker":           {"coreml", "internal/durable"},
	"lockstep/coreml/reference/kernel": {"internal/half", "internal/elementary"},
	"lockstep/coreml/reference": {
		"coreml", "coreml/reference/kernel", "internal/half", "internal/elementary", "internal/mil", "internal/mlpackage",
		"internal/mlpackage/milpb", "internal/strictjson",
	},
	"lockstep/conformance/cut":    {"internal/mil", "internal/mlpackage", "internal/mlpackage/milpb", "internal/strictjson", "internal/durable"},
	"lockstep/conformance/report": {"manifest"},
	"lockstep/conformance/oracle": {"internal/checkpoint", "internal/safetensors", "internal/gguf", "internal/strictjson", "internal/elementary", "internal/half"},
}

// outside are packages beyond the module that a package must not reach; a
// trailing slash stands for everything below.
var outside = map[string][]string{
	"lockstep/manifest":    {"github.com/", "golang.org/", "google.golang.org/"},
	"lockstep/conformance": {"testing"},
}

// TestArrowsPointOneWay reads the import graph as the go command sees it.
func TestArrowsPointOneWay(t *testing.T) {
	for pkg, allowed := range arrows {
		for _, wrong := range wrongArrows(pkg, deps(t, pkg), allowed) {
			assert.Fail(t, "wrong arrow", "%s reaches %s", pkg, wrong)
		}
	}
	for pkg, wrong := range outside {
		for _, dep := range deps(t, pkg) {
			for _, w := range wrong {
				assert.False(t, dep == w || strings.HasSuffix(w, "/") && strings.HasPrefix(dep, w), "%s reaches %s", pkg, dep)
			}
		}
	}
}

// TestArrowsCatchAWrongOne shows that the check can fail.
func TestArrowsCatchAWrongOne(t *testing.T) {
	assert.Equal(t, []string{"lockstep/exporter"},
		wrongArrows("lockstep/coreml", []string{"errors", "lockstep/coreml", "lockstep/exporter"}, arrows["lockstep/coreml"]))
}

// wrongArrows are the module's packages among deps that pkg may not reach.
func wrongArrows(pkg string, deps, allowed []string) []string {
	var wrong []string
	for _, dep := range deps {
		inside, ok := strings.CutPrefix(dep, "lockstep/")
		if ok && dep != pkg && !slices.Contains(allowed, inside) {
			wrong = append(wrong, dep)
		}
	}
	return wrong
}

func deps(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", pkg).Output()
	require.NoError(t, err)
	return strings.Fields(string(out))
}
