package report_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/conformance/report"
	"lockstep/manifest"
)

const junit = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="5" failures="2" errors="0" time="1">
	<testsuite tests="5" failures="2" name="lockstep/x">
		<properties><property name="go.version" value="go1.26.8"></property></properties>
		<testcase classname="lockstep/x" name="TestA" time="0"></testcase>
		<testcase classname="lockstep/x" name="TestB" time="0"><failure message="Failed">text</failure></testcase>
		<testcase classname="lockstep/x" name="TestB/one" time="0"><failure message="Failed">text</failure></testcase>
		<testcase classname="lockstep/x" name="TestB/two" time="0"><skipped message="no"></skipped></testcase>
		<testcase classname="lockstep/x" name="TestBother" time="0"><error>text</error></testcase>
	</testsuite>
</testsuites>`

func TestReadTests(t *testing.T) {
	tests, err := report.ReadTests(strings.NewReader(junit))
	require.NoError(t, err)
	assert.Equal(t, &report.Tests{Tests: 5, Failed: 3, Skipped: 1, Failures: []string{"lockstep/x.TestB/one", "lockstep/x.TestBother"}}, tests)

	for name, wrong := range map[string]string{"empty": "", "another root": "<html></html>", "text": "tests"} {
		_, err := report.ReadTests(strings.NewReader(wrong))
		assert.ErrorIs(t, err, manifest.ErrInvalid, name)
	}
	_, err = report.ReadTests(strings.NewReader(junit[:400]))
	assert.ErrorIs(t, err, manifest.ErrSyntax, "cut off")
}

func tally(name string) report.Mutants {
	return report.Mutants{Schema: report.MutantsSchema, Name: name, Mutants: 3, Killed: 1, Survived: []string{"a"}, Undecided: 1, Command: "go test"}
}

func TestReadMutants(t *testing.T) {
	files := fstest.MapFS{"notes.txt": {}, "mutants.named.json": {}}
	none, err := report.ReadMutants(files)
	require.NoError(t, err)
	assert.Empty(t, none)

	older := tally("named")
	older.Undecided, older.Equal = 0, 1
	for name, m := range map[string]report.Mutants{"mutants.named.0009.json": older, "mutants.named.0010.json": tally("named"), "mutants.bit.0001.json": tally("bit")} {
		text, err := report.EncodeMutants(m)
		require.NoError(t, err)
		files[name] = &fstest.MapFile{Data: text}
	}
	all, err := report.ReadMutants(files)
	require.NoError(t, err)
	assert.Equal(t, []report.Mutants{tally("bit"), tally("named")}, all)

	files["mutants.program.0001.json"] = files["mutants.bit.0001.json"]
	_, err = report.ReadMutants(files)
	require.ErrorIs(t, err, manifest.ErrInvalid)
	assert.ErrorContains(t, err, "mutants.program.0001.json")
}

func TestDecodeMutantsRefuses(t *testing.T) {
	text, err := report.EncodeMutants(tally("named"))
	require.NoError(t, err)
	for _, tt := range []struct {
		name, old, new string
		want           error
	}{
		{"version", "mutants/1", "mutants/2", manifest.ErrSchemaVersion},
		{"sum", `"killed": 1`, `"killed": 2`, manifest.ErrInvalid},
		{"negative", `"killed": 1`, `"killed": -1`, manifest.ErrInvalid},
		{"name", `"named"`, `"../named"`, manifest.ErrInvalid},
		{"no command", `"go test"`, `""`, manifest.ErrInvalid},
		{"unknown field", `"killed"`, `"murdered"`, manifest.ErrSyntax},
		{"two documents", "}\n", "}{}\n", manifest.ErrTrailingData},
	} {
		broken := strings.Replace(string(text), tt.old, tt.new, 1)
		require.NotEqual(t, string(text), broken, tt.name)
		_, err := report.DecodeMutants([]byte(broken))
		assert.ErrorIs(t, err, tt.want, tt.name)
	}
	_, err = report.EncodeMutants(report.Mutants{})
	assert.ErrorIs(t, err, manifest.ErrSchemaVersion)
}

func FuzzDecodeMutants(f *testing.F) {
	text, err := report.EncodeMutants(tally("named"))
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := report.DecodeMutants(text)
		if err != nil {
			return
		}
		again, err := report.EncodeMutants(m)
		require.NoError(t, err)
		back, err := report.DecodeMutants(again)
		require.NoError(t, err)
		require.Equal(t, m.Killed, back.Killed)
	})
}

func FuzzReadTests(f *testing.F) {
	f.Add(junit)
	f.Add("<testsuite><testcase/></testsuite>")
	f.Fuzz(func(t *testing.T, text string) {
		tests, err := report.ReadTests(strings.NewReader(text))
		if err == nil {
			require.LessOrEqual(t, tests.Failed+tests.Skipped, tests.Tests)
			require.LessOrEqual(t, len(tests.Failures), tests.Failed)
		}
	})
}
