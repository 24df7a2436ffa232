package conformance_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// diskPackage is the one directory whose code may write, rename and replace.
const diskPackage = "internal/durable"

// forbiddenNames are identifiers that may appear nowhere in product code
// outside diskPackage, whatever they belong to: a method of that name hides
// the rule as well as a call breaks it. A trailing * stands for any ending.
var forbiddenNames = []string{
	"O_TRUNC", "Remove*", "Truncate", "Ftruncate", "Rename*", "WriteFile", "Unlink*", "Rmdir",
}

// forbiddenOf are selectors that are forbidden on packages that can write, and
// on values, which may be an os.Root.
var forbiddenOf = []string{"Create", "CreateTemp", "MkdirTemp", "TempFile", "Creat"}

// diskImports are the packages of which forbiddenOf speaks. They may not be
// imported under ".", where their names would stand alone.
var diskImports = []string{"os", "io/ioutil", "syscall", "golang.org/x/sys/unix"}

// TestSourceRules keeps the promise that nothing on disk is lost where it can
// be read off the source: only diskPackage has the means to lose anything.
func TestSourceRules(t *testing.T) {
	root := ".."
	files := productFiles(t, os.DirFS(root))
	require.Contains(t, files, "manifest/record.go", "the walk sees the module")
	require.NotContains(t, files, diskPackage+"/files.go")
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		require.NoError(t, err)
		found, err := sourceFaults(name, text)
		require.NoError(t, err)
		for _, fault := range found {
			t.Error(fault)
		}
	}
}

// productFiles lists the module's non-test Go files outside diskPackage, of
// every operating system and build tag.
func productFiles(t *testing.T, module fs.FS) []string {
	t.Helper()
	var files []string
	require.NoError(t, fs.WalkDir(module, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		switch {
		case d.IsDir() && (name == diskPackage || base == "testdata" || name != "." && strings.ContainsAny(base[:1], "._")):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go"):
			files = append(files, name)
		}
		return nil
	}))
	return files
}

// sourceFaults returns what in one Go file breaks the rules, in source order.
func sourceFaults(name string, text []byte) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	imports, faults := importsOf(fset, file)
	add := func(id *ast.Ident) {
		faults = append(faults, fmt.Sprintf("%s: %s belongs in %s alone", fset.Position(id.Pos()), id.Name, diskPackage))
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if slices.Contains(forbiddenOf, n.Sel.Name) && !isOtherPackage(n.X, imports) {
				add(n.Sel)
			}
		case *ast.Ident:
			if matchesAny(n.Name, forbiddenNames) {
				add(n)
			}
		}
		return true
	})
	return faults, nil
}

// importsOf maps the names of a file's imports to their paths, and returns the
// faults among the imports themselves.
func importsOf(fset *token.FileSet, file *ast.File) (names map[string]string, faults []string) {
	names = map[string]string{}
	for _, spec := range file.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has checked it
		}
		name := path.Base(target)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." && slices.Contains(diskImports, target) {
			faults = append(faults, fmt.Sprintf("%s: %s is imported under a dot", fset.Position(spec.Pos()), target))
		}
		names[name] = target
	}
	return names, faults
}

// isOtherPackage reports whether x names an imported package that is none of
// diskImports.
func isOtherPackage(x ast.Expr, imports map[string]string) bool {
	id, ok := x.(*ast.Ident)
	if !ok {
		return false
	}
	target, imported := imports[id.Name]
	return imported && !slices.Contains(diskImports, target)
}

// matchesAny reports whether name is one of patterns.
func matchesAny(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
			return strings.HasPrefix(name, prefix)
		}
		return name == pattern
	})
}

// TestSourceRulesCatch seeds one fault per source and wants it found; the last
// sources have none.
func TestSourceRulesCatch(t *testing.T) {
	for _, tt := range []struct{ name, imports, body, want string }{
		{"truncating open", `"os"`, `os.OpenFile("x", os.O_RDWR|os.O_TRUNC, 0o644)`, "O_TRUNC"},
		{"create", `"os"`, `os.Create("x")`, "Create"},
		{"temporary file", `"os"`, `os.CreateTemp("", "x")`, "CreateTemp"},
		{"create under another name", `system "os"`, `system.Create("x")`, "Create"},
		{"function value", `"os"`, `f := os.Create; f("x")`, "Create"},
		{"create in a root", `"os"`, `r, _ := os.OpenRoot("x"); r.Create("y")`, "Create"},
		{"remove", `"os"`, `os.Remove("x")`, "Remove"},
		{"remove all", `"os"`, `os.RemoveAll("x")`, "RemoveAll"},
		{"rename", `"os"`, `os.Rename("x", "y")`, "Rename"},
		{"rename by system call", `"golang.org/x/sys/unix"`, `unix.Renameat2(0, "x", 0, "y", 0)`, "Renameat2"},
		{"unlink", `"syscall"`, `syscall.Unlink("x")`, "Unlink"},
		{"truncate", `"os"`, `var f *os.File; f.Truncate(0)`, "Truncate"},
		{"write file", `"os"`, `os.WriteFile("x", nil, 0o644)`, "WriteFile"},
		{"dot import", `. "os"`, `OpenFile("x", O_RDWR, 0o644)`, "under a dot"},
		{"method of that name", ``, `var w interface{ WriteFile() }; _ = w`, "WriteFile"},
		{"other build tag", `"os"`, `os.Remove("x")`, "Remove"},
		{"reading", `"os"`, `os.Open("x"); os.ReadFile("y")`, ""},
		{"create of another package", `"example.org/sql"`, `sql.Create("x")`, ""},
		{"comment and string", ``, `_ = "os.Remove" // os.Rename`, ""},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			text := "//go:build plan9\n\npackage p\n"
			if tt.imports != "" {
				text += "import " + tt.imports + "\n"
			}
			text += "func f() {\n" + tt.body + "\n}\n"
			found, err := sourceFaults("p/p.go", []byte(text))
			require.NoError(t, err)
			if tt.want == "" {
				assert.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			assert.Contains(t, found[0], tt.want)
			assert.True(t, strings.HasPrefix(found[0], "p/p.go:"), "it names the place: %s", found[0])
		})
	}
	_, err := sourceFaults("p/p.go", []byte("package"))
	assert.Error(t, err, "a file that does not parse is an error, not clean")
}
