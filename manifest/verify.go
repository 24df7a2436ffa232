package manifest

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The forms of names, as in the JSON Schemas.
var (
	digestForm     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	commitForm     = regexp.MustCompile(`^[0-9a-f]{7,40}$`)
	tagForm        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`)
	modelNameForm  = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	functionForm   = regexp.MustCompile(`^t[1-9][0-9]{0,5}$`)
	lowerSnakeForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	plainPathForm  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$`)
)

func isDigest(s string) bool     { return digestForm.MatchString(s) }
func isLowerSnake(s string) bool { return lowerSnakeForm.MatchString(s) }

// isRelative reports whether p is a relative path with slashes, without empty
// parts, ".", ".." and control characters.
func isRelative(p string) bool {
	return fs.ValidPath(p) && p != "." && !strings.Contains(p, `\`) && isLine(p)
}

// isLine reports whether s is one line of text that is not empty.
func isLine(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// verifier keeps the first thing that is wrong.
type verifier struct{ err error }

// check records an ErrInvalid about path unless ok.
func (v *verifier) check(ok bool, path, format string, args ...any) {
	if !ok && v.err == nil {
		v.err = invalid(path, format, args...)
	}
}

func (v *verifier) digest(path, s string) {
	v.check(isDigest(s), path, "wanted 64 lower-case hex digits, found %.80q", s)
}

func (v *verifier) form(path string, form *regexp.Regexp, s string) {
	v.check(form.MatchString(s), path, "wanted %s, found %.80q", form, s)
}

func (v *verifier) line(path, s string) {
	v.check(isLine(s), path, "wanted one line of text, found %.80q", s)
}

func (v *verifier) positive(path string, n int) {
	v.check(n > 0, path, "wanted a positive number, found %d", n)
}

func (v *verifier) oneOf(path, s string, allowed ...string) {
	v.check(slices.Contains(allowed, s), path, "wanted one of %s, found %.80q", strings.Join(allowed, ", "), s)
}

// ascending checks that keys are sorted and that none stands twice.
func (v *verifier) ascending(path string, keys []string) {
	for i := 1; i < len(keys); i++ {
		v.check(keys[i-1] < keys[i], fmt.Sprintf("%s[%d]", path, i), "%.80q stands twice or is not sorted", keys[i])
	}
}

// unique checks that no key stands twice.
func (v *verifier) unique(path string, keys []string) {
	seen := map[string]bool{}
	for i, key := range keys {
		v.check(!seen[key], fmt.Sprintf("%s[%d]", path, i), "%.80q stands twice", key)
		seen[key] = true
	}
}

// keysOf returns what key gives for each element.
func keysOf[E any](list []E, key func(E) string) []string {
	keys := make([]string, len(list))
	for i, e := range list {
		keys[i] = key(e)
	}
	return keys
}
