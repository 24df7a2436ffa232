package native_test

import (
	"debug/macho"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml/native/objc"
)

// vocabulary is what may be named: the rows, classes and C functions of the
// table, and the words that stand anywhere in its text, which the binary holds.
type vocabulary struct {
	table *objc.Table
	names map[string]bool // classes and C functions
	words []string        // of the table's text, that look like classes
}

// notInTheTable are words that look like classes and are none that is sent
// anything: a key of userInfo, purego's base class of blocks, and Go's own.
var notInTheTable = []string{"NSUnderlyingError", "__NSMallocBlock__", "MLEscape", "NSAsMS"}

// classLike is what the names of Apple's classes look like, with the private
// ones of the Neural Engine.
var classLike = regexp.MustCompile(`_{0,2}(?:NS|ML|MTL|MPS|CV|IOSurface|ANE|Espresso|AppleNeuralEngine)[A-Z][a-z]+[A-Za-z0-9_]*|_ANE[A-Z]?[A-Za-z0-9_]*|Espresso[A-Z]\w*|e5rt_\w+`)

// selectorLike is a selector of several parts, which no Go text resembles.
var selectorLike = regexp.MustCompile(`[a-z][a-z]+[A-Z][A-Za-z0-9]{2,}:(?:[a-z][A-Za-z0-9]{2,}:)+`)

// libraryLike is the path of a system library.
var libraryLike = regexp.MustCompile(`/System/Library/[A-Za-z0-9_./]+|/usr/lib/[A-Za-z0-9_.+]+\.dylib|PrivateFrameworks`)

// libraries are the paths that the binary may hold, or link with.
var libraries = []string{
	"/System/Library/Frameworks/CoreML.framework/CoreML", "/System/Library/Frameworks/Foundation.framework/Foundation",
	"/usr/lib/libobjc.A.dylib", "/usr/lib/libSystem.B.dylib",
	"/usr/lib/libresolv.9.dylib", // Go's package net
}

func loadVocabulary(t *testing.T) vocabulary {
	t.Helper()
	table, err := objc.Load()
	require.NoError(t, err)
	v := vocabulary{table: table, names: map[string]bool{}}
	for _, row := range table.Rows {
		v.names[row.Class] = true
		if row.Kind == objc.CFunction {
			v.names[row.Selector] = true
		}
	}
	text, err := os.ReadFile(filepath.Join("objc", "selectors.tsv"))
	require.NoError(t, err)
	v.words = append(classLike.FindAllString(string(text), -1), notInTheTable...)
	return v
}

// TestSourcesArePublic: every class, message and C function that the plane's
// sources name is in the table, and the one file that reaches the system's
// runtime names nothing else.
func TestSourcesArePublic(t *testing.T) {
	v := loadVocabulary(t)
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	messages := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		n, faults := v.sourceFaults(t, name, text)
		assert.Empty(t, faults)
		messages += n
	}
	assert.Greater(t, messages, 50, "the walk sees the messages")

	seam, err := os.ReadFile(filepath.Join("objc", "runtime_darwin.go"))
	require.NoError(t, err)
	for _, literal := range literals(t, "runtime_darwin.go", seam) {
		known := v.names[literal] || slices.Contains(libraries, literal) ||
			slices.Contains([]string{"coreml", "kern.hv_vmm_present"}, literal) || strings.Contains(literal, "%")
		assert.True(t, known, "the seam names %q", literal)
	}
}

// sourceFaults are the string literals of a file that name what the table does
// not have, and how many messages it names.
func (v vocabulary) sourceFaults(t *testing.T, name string, text []byte) (messages int, faults []string) {
	t.Helper()
	message := regexp.MustCompile(`^(?:<?(?:NS|ML)\w+>?) \S+$`)
	class := regexp.MustCompile(`^_*(?:NS|ML|MTL|CV|ANE)[A-Z]\w*$`)
	for _, literal := range literals(t, name, text) {
		switch {
		case message.MatchString(literal):
			messages++
			if v.table.Row(literal) == nil {
				faults = append(faults, fmt.Sprintf("%s: %q is no row of the table", name, literal))
			}
		case class.MatchString(literal) && !v.names[literal] && !slices.Contains(notInTheTable, literal):
			faults = append(faults, fmt.Sprintf("%s: %q is no class of the table", name, literal))
		case libraryLike.MatchString(literal), selectorLike.MatchString(literal):
			faults = append(faults, fmt.Sprintf("%s: %q goes past the seam", name, literal))
		}
	}
	return messages, faults
}

// literals are the string constants of a Go file, but for its imports.
func literals(t *testing.T, name string, text []byte) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	require.NoError(t, err)
	var all []string
	ast.Inspect(file, func(n ast.Node) bool {
		if _, ok := n.(*ast.ImportSpec); ok {
			return false
		}
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			value, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			all = append(all, value)
		}
		return true
	})
	return all
}

// TestSourcesCatch: one fault in a source, one report.
func TestSourcesCatch(t *testing.T) {
	v := loadVocabulary(t)
	for body, want := range map[string]string{
		`s.do(id, "MLModel unload")`:                              "no row",
		`s.class("MLModelEngine")`:                                "no class",
		`s.class("_ANEClient")`:                                   "no class",
		`b.rt.Selector("setPriority:forKey:")`:                    "past the seam",
		`b.rt.Selector("loadModelWithOptions:error:")`:            "past the seam",
		`open("/System/Library/PrivateFrameworks/A.framework")`:   "past the seam",
		`s.do(id, "MLState getMultiArrayForStateNamed:handler:")`: "",
	} {
		_, faults := v.sourceFaults(t, "x.go", []byte("package native\nfunc f() { "+body+" }"))
		if want == "" {
			assert.Empty(t, faults, body)
			continue
		}
		require.Len(t, faults, 1, body)
		assert.Contains(t, faults[0], want)
	}
}

// TestBinaryIsPublic: the command as it is built for a Mac names no class and
// no selector outside the table, and opens or links no private framework.
func TestBinaryIsPublic(t *testing.T) {
	v := loadVocabulary(t)
	binary := filepath.Join(t.TempDir(), "lockstep")
	cmd := exec.Command("go", "build", "-o", binary, "lockstep/cmd/lockstep")
	cmd.Env = append(cmd.Environ(), "GOOS=darwin", "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	file, err := macho.Open(binary)
	require.NoError(t, err)
	defer file.Close() // opened for reading
	image := dataOf(t, file)
	assert.Contains(t, string(image), "getMultiArrayForStateNamed:handler:", "the native plane is in it")
	assert.Empty(t, v.binaryFaults(image))
	for _, text := range []string{"_ANEClient", "MLNeuralNetworkEngine", "loadModel:options:qos:error:", "PrivateFrameworks/Espresso.framework", "/usr/lib/libANE.dylib"} {
		assert.NotEmpty(t, v.binaryFaults(append(slices.Clip(image[:1<<16]), "goroutine"+text+"invalid"...)), "the scan sees %s", text)
	}

	linked, err := file.ImportedLibraries()
	require.NoError(t, err)
	for _, library := range linked {
		assert.Contains(t, libraries, library)
	}
}

// dataOf joins the sections of a binary that hold text. Instructions and
// compressed debug information hold none, and spell names by chance.
func dataOf(t *testing.T, file *macho.File) []byte {
	t.Helper()
	var out []byte
	for _, s := range file.Sections {
		if s.Name == "__text" || s.Seg == "__DWARF" || strings.HasSuffix(s.Name, "bss") {
			continue
		}
		data, err := s.Data()
		require.NoError(t, err, s.Name)
		out = append(append(out, data...), 0)
	}
	return out
}

// binaryFaults are the names in a binary that the table does not have. The
// linker joins strings without a separator, so a name is accepted if it begins
// with a known one.
func (v vocabulary) binaryFaults(image []byte) []string {
	var faults []string
	for _, at := range classLike.FindAllIndex(image, -1) {
		name := string(image[at[0]:at[1]])
		inWord := at[0] > 0 && isCapital(image[at[0]-1]) // HTMLEscape, DNSName
		if !inWord && len(name) > 5 && !slices.ContainsFunc(v.words, func(w string) bool { return strings.HasPrefix(name, w) }) {
			faults = append(faults, name)
		}
	}
	for _, selector := range selectorLike.FindAllString(string(image), -1) {
		if !v.knownWithin(selector) {
			faults = append(faults, selector)
		}
	}
	for _, library := range libraryLike.FindAll(image, -1) {
		if !slices.ContainsFunc(libraries, func(l string) bool { return strings.HasPrefix(string(library), l) }) {
			faults = append(faults, string(library))
		}
	}
	return faults
}

// knownWithin reports a selector of the table to which the linker joined no more
// than what is no selector of several parts by itself, as the key of a struct
// tag is.
func (v vocabulary) knownWithin(text string) bool {
	return slices.ContainsFunc(v.table.Rows, func(r objc.Row) bool {
		before, after, found := strings.Cut(text, r.Selector)
		return found && strings.Contains(r.Selector, ":") && !selectorLike.MatchString(before) && !selectorLike.MatchString(after)
	})
}

func isCapital(c byte) bool { return 'A' <= c && c <= 'Z' }
