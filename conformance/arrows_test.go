package conformance_test

import (
	"os"
	"os/exec"
	"path/filepath"
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
	"lockstep/manifest":              {},
	"lockstep/internal/contract":     {},
	"lockstep/internal/half":         {},
	"lockstep/internal/elementary":   {},
	"lockstep/internal/strictjson":   {},
	"lockstep/internal/durable":      {},
	"lockstep/internal/machine":      {"internal/durable", "manifest"},
	"lockstep/internal/safetensors":  {"internal/strictjson"},
	"lockstep/internal/gguf":         {},
	"lockstep/internal/tokenizer":    {"internal/strictjson"},
	"lockstep/internal/checkpoint":   {"internal/strictjson", "internal/safetensors", "internal/gguf", "internal/elementary", "internal/half"},
	"lockstep/internal/mil":          {},
	"lockstep/internal/mlpackage":    {"internal/mil", "internal/mlpackage/milpb", "internal/strictjson"},
	"lockstep/internal/memory":       {},
	"lockstep/internal/powermetrics": {},
	"lockstep/exporter": {
		"manifest", "internal/contract", "internal/half", "internal/elementary", "internal/strictjson", "internal/durable", "internal/safetensors", "internal/gguf",
		"internal/checkpoint", "internal/mil", "internal/mlpackage", "internal/mlpackage/milpb",
	},
	"lockstep/coreml":                  {},
	"lockstep/coreml/hostinput":        {"coreml", "internal/contract", "internal/half", "internal/elementary"},
	"lockstep/coreml/decode":           {"coreml", "coreml/hostinput", "manifest", "internal/contract", "internal/half", "internal/elementary"},
	"lockstep/coreml/worker":           {"coreml", "internal/durable", "internal/memory"},
	"lockstep/coreml/reference/kernel": {"internal/half", "internal/elementary"},
	"lockstep/coreml/reference": {
		"coreml", "coreml/reference/kernel", "internal/half", "internal/elementary", "internal/mil", "internal/mlpackage",
		"internal/mlpackage/milpb", "internal/strictjson",
	},
	"lockstep/coreml/native/objc": {},
	"lockstep/coreml/native":      {"coreml", "coreml/native/objc", "internal/half", "internal/durable"},
	"lockstep/internal/fakecoreml": {
		"coreml", "coreml/native/objc", "coreml/reference", "coreml/reference/kernel", "internal/half", "internal/elementary", "internal/mil",
		"internal/mlpackage", "internal/mlpackage/milpb", "internal/strictjson", "internal/durable",
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

// fakePackage is for tests, and for one file of the command that is in no Mac's
// binary: the probe's fake plane, which no verdict can come from.
const (
	fakePackage = "lockstep/internal/fakecoreml"
	fakeFile    = "../cmd/lockstep/fakeplane.go"
)

// darwinAlone are packages that one file reaches, by the package that it is in.
var darwinAlone = map[string]string{"github.com/ebitengine/purego/objc": "lockstep/coreml/native/objc"}

// TestTestPackagesAreForTests: no product code reaches a package for tests, but
// for the one file that may.
func TestTestPackagesAreForTests(t *testing.T) {
	for _, goos := range []string{"linux", "darwin"} {
		imports := importsOfModule(t, goos)
		require.Contains(t, imports, "lockstep/cmd/lockstep")
		var fakes []string // none on a Mac
		if goos != "darwin" {
			fakes = []string{"lockstep/cmd/lockstep"}
		}
		assert.Equal(t, fakes, importersOf(imports, fakePackage), goos)
		for pkg, only := range darwinAlone {
			want := []string{only}
			if goos != "darwin" {
				want = nil
			}
			assert.Equal(t, want, importersOf(imports, pkg), "%s on %s", pkg, goos)
		}
	}
}

// TestFakePlaneIsInOneFile: of the command's files one imports the fake.
func TestFakePlaneIsInOneFile(t *testing.T) {
	files, err := filepath.Glob("../cmd/lockstep/*.go")
	require.NoError(t, err)
	var found []string
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		if !strings.HasSuffix(name, "_test.go") && strings.Contains(string(text), fakePackage) {
			found = append(found, name)
		}
	}
	assert.Equal(t, []string{fakeFile}, found)
}

// TestTestPackagesCatch shows that the check can fail.
func TestTestPackagesCatch(t *testing.T) {
	imports := map[string][]string{
		"lockstep/cmd/lockstep": {"fmt", fakePackage}, "lockstep/coreml": {"errors"}, "lockstep/conformance": {fakePackage},
	}
	assert.Equal(t, []string{"lockstep/cmd/lockstep", "lockstep/conformance"}, importersOf(imports, fakePackage))
}

// importsOfModule maps the module's packages to what their product code
// imports, on arm64.
func importsOfModule(t *testing.T, goos string) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "lockstep/...")
	cmd.Env = append(cmd.Environ(), "GOOS="+goos, "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	require.NoError(t, err)
	imports := map[string][]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		fields := strings.Fields(line)
		imports[fields[0]] = fields[1:]
	}
	return imports
}

// importersOf are the packages that import one of targets, sorted.
func importersOf(imports map[string][]string, targets ...string) []string {
	var found []string
	for pkg, list := range imports {
		if slices.ContainsFunc(list, func(i string) bool { return slices.Contains(targets, i) }) {
			found = append(found, pkg)
		}
	}
	slices.Sort(found)
	return found
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
