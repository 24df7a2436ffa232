package conformance_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance"
	"lockstep/manifest"
)

// attribute is one fact about a test, which gotestsum writes into its JUnit
// file as a property of the test case.
type attribute struct{ key, value string }

// caseAttributes tell what a case was and came to: in JUnit "skipped" alone
// does not say that something was not measured, nor why.
func caseAttributes(c conformance.Case, out conformance.Outcome) []attribute {
	list := []attribute{{"check", c.Check}, {"case", c.Name}, {"result", string(out.Result)}}
	if out.Reason != "" {
		list = append(list, attribute{"reason", out.Reason})
	}
	for _, e := range out.Evidence {
		if e.Value != nil {
			list = append(list, attribute{"evidence." + e.Name, fmt.Sprintf("%.9g %s", float64(*e.Value), e.Unit)})
		}
	}
	return list
}

// verdictAttributes tell which package was judged, where, and its verdict.
func verdictAttributes(v manifest.Verdict) []attribute {
	list := []attribute{
		{"plane", v.Plane},
		{"subject", v.Subject},
		{"shard", v.Piece().String()},
		{"package", v.Package.Path},
		{"package_digest", v.Package.Digest},
		{"catalogue_digest", v.Catalogue.Digest},
		{"verdict", string(v.Result)},
	}
	for _, c := range v.Checks {
		list = append(list, attribute{"check." + c.Name, string(c.Result)})
	}
	return list
}

// setAttributes sets them; an attribute's value is one line.
func setAttributes(t *testing.T, list []attribute) {
	t.Helper()
	for _, a := range list {
		t.Attr(strings.Join(strings.Fields(a.key), "_"), strings.Join(strings.Fields(a.value), " "))
	}
}

func TestCaseAttributes(t *testing.T) {
	got := caseAttributes(
		conformance.Case{Check: "parity", Name: "t4_vs_4xt1/pos=0/live=4"},
		conformance.Outcome{Result: manifest.NotMeasured, Reason: "no Core ML", Evidence: []manifest.Evidence{
			{Name: "rows", Value: manifest.NewFigure(4), Unit: "1"}, {Name: "devices", Text: "none"},
		}},
	)
	assert.Equal(t, []attribute{
		{"check", "parity"}, {"case", "t4_vs_4xt1/pos=0/live=4"}, {"result", "not measured"}, {"reason", "no Core ML"}, {"evidence.rows", "4 1"},
	}, got)
}

// junitFile is what is read of gotestsum's file.
type junitFile struct {
	Cases []struct {
		Name       string `xml:"name,attr"`
		Properties []struct {
			Name  string `xml:"name,attr"`
			Value string `xml:"value,attr"`
		} `xml:"properties>property"`
	} `xml:"testsuite>testcase"`
}

// TestAttributesReachJUnit runs the gate of one shard as `make test` does, and
// reads what build machines get to see.
func TestAttributesReachJUnit(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the tail's gate once more")
	}
	file := filepath.Join(t.TempDir(), "junit.xml")
	cmd := exec.Command("go", "tool", "gotestsum", "--format", "pkgname", "--junitfile", file, "--", "-count=1", "-run", "^TestTail$", ".")
	cmd.Env = withoutSettings(os.Environ())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Run(), "%s", &out)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var junit junitFile
	require.NoError(t, xml.Unmarshal(text, &junit))
	found := map[string]map[string]string{}
	for _, c := range junit.Cases {
		found[c.Name] = map[string]string{}
		for _, p := range c.Properties {
			found[c.Name][p.Name] = p.Value
		}
	}
	tail := found["TestTail"]
	assert.Equal(t, manifest.PlaneReference, tail["plane"])
	assert.Equal(t, "nano", tail["subject"])
	assert.Equal(t, "layers 30:32", tail["shard"])
	assert.Len(t, tail["package_digest"], 64)
	assert.Equal(t, "partial", tail["verdict"])
	assert.Equal(t, "pass", tail["check.parity"])
	assert.Equal(t, "not measured", tail["check.residency"])
	residency := found["TestTail/residency/function=t4"]
	assert.Equal(t, "not measured", residency["result"])
	assert.Equal(t, "no Core ML", residency["reason"])
	assert.Equal(t, "pass", found["TestTail/parity/t4_vs_4xt1/pos=0/live=4"]["result"])
}

// withoutSettings leaves out the suite's own settings.
func withoutSettings(environ []string) []string {
	var out []string
	for _, e := range environ {
		if !strings.HasPrefix(e, "LOCKSTEP_") {
			out = append(out, e)
		}
	}
	return out
}
