package objc_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml/native/objc"
)

// TestTable: the embedded table parses, and rows of each form come out as they
// are written.
func TestTable(t *testing.T) {
	table, err := objc.Load()
	require.NoError(t, err)
	assert.Len(t, table.Rows, 135)
	predict := table.Row("MLModel predictionFromFeatures:usingState:error:")
	require.NotNil(t, predict)
	assert.Equal(t, []objc.Kind{objc.Object, objc.Object, objc.ObjectOut}, predict.Args)
	assert.Equal(t, objc.Object, predict.Result)
	assert.Equal(t, objc.InstanceMethod, predict.Kind)
	assert.Equal(t, objc.MacOS{Major: 15}, predict.Since)
	wide := table.Row("MLMultiArray initWithDataPointer:shape:dataType:strides:deallocator:error:")
	require.NotNil(t, wide)
	assert.Equal(t, []objc.Kind{objc.Pointer, objc.Object, objc.Int, objc.Object, objc.Block, objc.ObjectOut}, wide.Args)
	assert.Equal(t, []objc.Kind{objc.Pointer}, wide.Block)
	for name, block := range map[string][]objc.Kind{
		"MLModel compileModelAtURL:completionHandler:":              {objc.Object, objc.Object},
		"MLModelAsset functionNamesWithCompletionHandler:":          {objc.Object, objc.Object},
		"MLMultiArray getBytesWithHandler:":                         {objc.Pointer, objc.Int},
		"MLMultiArray getMutableBytesWithHandler:":                  {objc.Pointer, objc.Int, objc.Object},
		"MLState getMultiArrayForStateNamed:handler:":               {objc.Object},
		"MLModel predictionFromFeatures:usingState:error:":          nil,
		"MLModel predictionFromFeatures:options:completionHandler:": {objc.Object, objc.Object},
	} {
		require.NotNil(t, table.Row(name), name)
		assert.Equal(t, block, table.Row(name).Block, name)
	}
	assert.Equal(t, objc.Void, table.Row("NSObject release").Result, "oneway void is void")
	assert.Equal(t, objc.Triple, table.Row("NSProcessInfo operatingSystemVersion").Result)
	assert.Equal(t, objc.RangePair, table.Row("NSValue rangeValue").Result)
	assert.Equal(t, objc.CFunction, table.Row(" MLAllComputeDevices").Kind)
	assert.Equal(t, objc.ClassOnly, table.Row("MLCPUComputeDevice ").Kind)
	assert.Nil(t, table.Row("MLModel newSate"))
}

// TestRowCheck: what is not of the row's kinds is told.
func TestRowCheck(t *testing.T) {
	table, err := objc.Load()
	require.NoError(t, err)
	row := table.Row("MLModelConfiguration setComputeUnits:")
	require.NoError(t, row.Check(objc.Void, []objc.Value{objc.Integer(3)}))
	for name, err := range map[string]error{
		"result: want v, found @":       row.Check(objc.Object, []objc.Value{objc.Integer(3)}),
		"want 1 arguments, found 0":     row.Check(objc.Void, nil),
		"argument 1: want q, found Q":   row.Check(objc.Void, []objc.Value{objc.Count(3)}),
		"setComputeUnits:: argument 1:": row.Check(objc.Void, []objc.Value{objc.Of(0)}),
	} {
		require.ErrorIs(t, err, objc.ErrTable)
		assert.ErrorContains(t, err, name)
	}
}

const header = "group\tclass\tkind\tselector\tencoding\targs\tret\tmacos\tnote\n"

// TestParseRefuses: a table that does not say what it should is an error.
func TestParseRefuses(t *testing.T) {
	row := func(class, kind, selector, encoding, args, macos string) string {
		return strings.Join([]string{"g", class, kind, selector, encoding, args, "r", macos, "n"}, "\t") + "\n"
	}
	good := row("NSObject", "-", "isKindOfClass:", "B@:#", "Class", "10.13")
	table, err := objc.Parse("# comment\n\n" + header + good)
	require.NoError(t, err)
	require.Len(t, table.Rows, 1)
	for name, tt := range map[string]struct{ text, want string }{
		"no header":           {good, "want the columns"},
		"columns":             {header + "a\tb\n", "want 9 columns, found 2"},
		"twice":               {header + good + good, "stands twice"},
		"kind of row":         {header + row("A", "x", "b", "@@:", "", "10.13"), "kind: want"},
		"release":             {header + row("A", "-", "b", "@@:", "", "ten"), "want major.minor"},
		"release's minor":     {header + row("A", "-", "b", "@@:", "", "10.x"), "want major.minor"},
		"unknown kind":        {header + row("A", "-", "b:", "@@:*", "", "10.13"), "unknown kind at \"*\""},
		"too short":           {header + row("A", "-", "b", "@@", "", "10.13"), "want a result, @ and :"},
		"arguments":           {header + row("A", "-", "b:c:", "@@:@", "", "10.13"), "want 2 arguments"},
		"block undescribed":   {header + row("A", "-", "b:", "v@:@?", "NSURL", "10.13"), "want block(...)"},
		"block without end":   {header + row("A", "-", "b:", "v@:@?", "block(NSURL", "10.13"), "want block(...)"},
		"empty kind of a row": {header + row("class", "", "", "", "", "14"), "want major.minor"},
	} {
		_, err := objc.Parse(tt.text)
		require.Error(t, err, name)
		assert.ErrorContains(t, err, tt.want, name)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(header + "load\tMLModel\t+\tloadContentsOfURL:configuration:completionHandler:\tv@:@@@?\tNSURL; MLModelConfiguration; block(MLModel, NSError)\tvoid\t11.0\t\n")
	f.Add(header + "d\tclass\t\tMLCPUComputeDevice\t\t\t\t14.0\t\n")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := objc.Parse(text)
		if err != nil {
			return
		}
		for i := range table.Rows {
			if row := &table.Rows[i]; table.Row(row.Name()) != row {
				t.Fatalf("row %d is not found by its name %q", i, row.Name())
			}
		}
	})
}
