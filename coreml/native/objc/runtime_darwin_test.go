package objc_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/ebitengine/purego"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml/native/objc"
)

// libobjc are the functions of the Objective-C runtime that tell a method's
// types.
type libobjc struct {
	getClass          func(name string) uintptr
	getProtocol       func(name string) uintptr
	getInstanceMethod func(class, sel uintptr) uintptr
	getClassMethod    func(class, sel uintptr) uintptr
	getTypeEncoding   func(method uintptr) string
	register          func(name string) uintptr
}

func openLibobjc(t *testing.T) libobjc {
	t.Helper()
	library, err := purego.Dlopen("/usr/lib/libobjc.A.dylib", purego.RTLD_GLOBAL|purego.RTLD_NOW)
	require.NoError(t, err)
	var l libobjc
	purego.RegisterLibFunc(&l.getClass, library, "objc_getClass")
	purego.RegisterLibFunc(&l.getProtocol, library, "objc_getProtocol")
	purego.RegisterLibFunc(&l.getInstanceMethod, library, "class_getInstanceMethod")
	purego.RegisterLibFunc(&l.getClassMethod, library, "class_getClassMethod")
	purego.RegisterLibFunc(&l.getTypeEncoding, library, "method_getTypeEncoding")
	purego.RegisterLibFunc(&l.register, library, "sel_registerName")
	return l
}

// TestEncodings compares every row with the framework of this Mac. Rows newer
// than the system are told apart, not passed. Class clusters answer by their
// public class, and a protocol's methods by a class that conforms.
func TestEncodings(t *testing.T) {
	rt, err := objc.Open()
	require.NoError(t, err)
	table, err := objc.Load()
	require.NoError(t, err)
	pool := rt.PushPool()
	defer rt.PopPool(pool)
	process := rt.Send(rt.Class("NSProcessInfo"), rt.Selector("processInfo"), objc.Object).ID()
	version := rt.Send(process, rt.Selector("operatingSystemVersion"), objc.Triple).Words
	system := objc.MacOS{Major: int(version[0]), Minor: int(version[1])}
	t.Logf("macOS %s", system)
	l := openLibobjc(t)
	compared := 0
	for i := range table.Rows {
		row := &table.Rows[i]
		if row.Kind != objc.ClassMethod && row.Kind != objc.InstanceMethod {
			continue
		}
		if system.Before(row.Since) {
			t.Logf("not compared: %s is of macOS %s", row.Name(), row.Since)
			continue
		}
		class := row.Class
		if class == "<MLFeatureProvider>" {
			class = "MLDictionaryFeatureProvider"
		}
		id := l.getClass(class)
		if !assert.NotZero(t, id, "class %s", class) {
			continue
		}
		find := l.getInstanceMethod
		if row.Kind == objc.ClassMethod {
			find = l.getClassMethod
		}
		method := find(id, l.register(row.Selector))
		if !assert.NotZero(t, method, row.Name()) {
			continue
		}
		assert.Equal(t, plainEncoding(encodingOf(row)), plainEncoding(l.getTypeEncoding(method)), row.Name())
		compared++
	}
	t.Logf("%d encodings compared", compared)
	assert.Greater(t, compared, 100)
}

// encodingOf is a row's encoding.
func encodingOf(row *objc.Row) string {
	text := string(row.Result) + "@:"
	for _, arg := range row.Args {
		text += string(arg)
	}
	return text
}

// plainEncoding leaves out what the table does: stack offsets, qualifiers, the
// names of structs, and what a pointer points to, beyond that it is an object.
func plainEncoding(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case unicode.IsDigit(rune(c)), strings.IndexByte("VrnNoOR", c) >= 0:
		case c == '"': // the class of an object
			i += 1 + strings.IndexByte(text[i+1:], '"')
		case c == '{' && strings.Contains(text[i:], "="):
			out.WriteByte(c)
			i += strings.IndexByte(text[i:], '=')
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}
