package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const repository = "../.."

// commandLines are the command lines of program in a text of the repository,
// each with what stands for a value replaced by one.
func commandLines(text, program string) []string {
	text = strings.ReplaceAll(text, "\\\n", " ")
	text = regexp.MustCompile(`\$\{\{[^}]*\}\}|"?\$\(?[A-Z_]+\)?"?`).ReplaceAllString(text, "VALUE")
	var out []string
	// Up to a redirection, the end of the line, or the end of a code span.
	form := regexp.MustCompile("(?m)(?:^    |run: |`)" + regexp.QuoteMeta(program) + "( [^`>\n]*)")
	for _, m := range form.FindAllStringSubmatch(text, -1) {
		out = append(out, strings.TrimSpace(m[1]))
	}
	return out
}

// parse reads a command line as lockstep does, and runs nothing.
func parse(args []string) error {
	var c cli
	parser, err := kong.New(&c, variables(), kong.Exit(func(int) {}))
	if err != nil {
		return err
	}
	_, err = parser.Parse(args)
	return err
}

// TestDocumentedCommands: every command line in the documents and workflows is
// one that lockstep, or make, takes.
func TestDocumentedCommands(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(repository, "Makefile"))
	require.NoError(t, err)
	for _, tt := range []struct {
		file        string
		lines, make int // at least
	}{
		{"docs/mac.md", 7, 1},
		{"docs/probe.md", 3, 0},
		{"README.md", 3, 1},
		{".github/workflows/conformance.yml", 4, 8},
	} {
		text, err := os.ReadFile(filepath.Join(repository, filepath.FromSlash(tt.file)))
		require.NoError(t, err)
		lines := commandLines(string(text), "build/bin/lockstep")
		assert.GreaterOrEqual(t, len(lines), tt.lines, tt.file)
		for _, line := range lines {
			assert.NoError(t, parse(strings.Fields(line)), "%s: lockstep %s", tt.file, line)
		}
		targets := commandLines(string(text), "make")
		assert.GreaterOrEqual(t, len(targets), tt.make, tt.file)
		for _, line := range targets {
			target := strings.Fields(line)[0]
			assert.Regexp(t, `(?m)^`+regexp.QuoteMeta(target)+`: .*## `, string(makefile), "%s: make %s", tt.file, line)
		}
	}
}

// TestWorkflowTests: the tests that the Mac's matrix names are there.
func TestWorkflowTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, ".github", "workflows", "conformance.yml"))
	require.NoError(t, err)
	matrix := regexp.MustCompile(`(?m)^ +test: \[(.+)\]$`).FindStringSubmatch(string(text))
	require.NotNil(t, matrix)
	files, err := filepath.Glob(filepath.Join(repository, "conformance", "*_test.go"))
	require.NoError(t, err)
	var sources strings.Builder
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		sources.Write(source)
	}
	for _, name := range strings.Split(matrix[1], ", ") {
		assert.True(t, strings.Contains(sources.String(), "\nfunc "+name+"(t *testing.T)"), "no test %s", name)
	}
}

// TestDocumentedCommandsCatch shows that a wrong command line is found.
func TestDocumentedCommandsCatch(t *testing.T) {
	lines := commandLines("x\n    build/bin/lockstep gate --out \"$OUT\" --layers ${{ matrix.layers }} --strict >file\n", "build/bin/lockstep")
	require.Equal(t, []string{"gate --out VALUE --layers VALUE --strict"}, lines)
	assert.ErrorContains(t, parse(strings.Fields(lines[0])), "--strict")
	assert.NoError(t, parse(strings.Fields("gate --out VALUE --layers VALUE")))
	assert.Error(t, parse([]string{"cure"}))
}

// TestWorkflow holds what actionlint does not: actions are pinned by commit,
// every job has its time, nothing may write, and no pull request reaches a
// runner of one's own.
func TestWorkflow(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(repository, ".github", "workflows", "*.yml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Empty(t, workflowFaults(string(text)), file)
	}
}

var (
	usesForm   = regexp.MustCompile(`(?m)^.*\buses: .*$`)
	pinnedForm = regexp.MustCompile(`uses: [a-z-]+/[a-z-]+@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+$`)
	jobForm    = regexp.MustCompile(`(?m)^  [a-z][a-z-]*:\n`)
)

// workflowFaults are the faults of a workflow, in this repository's layout.
func workflowFaults(text string) []string {
	var faults []string
	add := func(bad bool, fault string) {
		if bad {
			faults = append(faults, fault)
		}
	}
	for _, line := range usesForm.FindAllString(text, -1) {
		add(!pinnedForm.MatchString(line), "not pinned: "+strings.TrimSpace(line))
	}
	add(!strings.Contains(text, "\npermissions:\n  contents: read\n\n"), "permissions are not contents: read alone")
	add(strings.Contains(text, ": write"), "may write")
	add(strings.Contains(text, "pull_request_target"), "runs a pull request with the repository's rights")
	_, jobs, _ := strings.Cut(text, "\njobs:\n")
	starts := jobForm.FindAllStringIndex(jobs, -1)
	add(len(starts) == 0, "no jobs")
	for i, at := range starts {
		end := len(jobs)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		job := jobs[at[0]:end]
		name := strings.TrimSpace(jobs[at[0]:at[1]])
		add(!strings.Contains(job, "timeout-minutes: "), name+" no time limit")
		add(!strings.Contains(job, "if: always()\n        with:\n"), name+" no upload of what failed")
		add(strings.Contains(job, "self-hosted") && !strings.Contains(job, "github.event_name != 'pull_request'"), name+" pull requests reach it")
	}
	return faults
}

func TestWorkflowCatches(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, ".github", "workflows", "conformance.yml"))
	require.NoError(t, err)
	for _, tt := range []struct{ name, old, new string }{
		{"tag", "checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "checkout@v5"},
		{"rights", "contents: read", "contents: write"},
		{"no time", "timeout-minutes: 240", "continue-on-error: true"},
		{"no upload", "        if: always()\n        with:\n", "        with:\n"},
		{"pull requests", "github.event_name != 'pull_request' && ", ""},
		{"target", "  pull_request:", "  pull_request_target:"},
	} {
		broken := strings.Replace(string(text), tt.old, tt.new, 1)
		require.NotEqual(t, string(text), broken, tt.name)
		assert.NotEmpty(t, workflowFaults(broken), tt.name)
	}
}
