package report

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"

	"lockstep/manifest"
)

// Tests are the totals of a JUnit file.
type Tests struct {
	Tests   int `json:"tests"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	// Failures are "<package>.<test>" of the failed tests without a failed
	// subtest, in the file's order.
	Failures []string `json:"failures"`
}

// testCase is one test of a JUnit file.
type testCase struct {
	Class   string    `xml:"classname,attr"`
	Name    string    `xml:"name,attr"`
	Failure *struct{} `xml:"failure"`
	Error   *struct{} `xml:"error"`
	Skipped *struct{} `xml:"skipped"`
}

// ReadTests counts the tests of a JUnit file.
func ReadTests(r io.Reader) (*Tests, error) {
	t := &Tests{Failures: []string{}}
	dec := xml.NewDecoder(r)
	root := ""
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", manifest.ErrSyntax, err)
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if root == "" {
			root = start.Name.Local
		}
		if start.Name.Local != "testcase" {
			continue
		}
		var c testCase
		if err := dec.DecodeElement(&c, &start); err != nil {
			return nil, fmt.Errorf("%w: %w", manifest.ErrSyntax, err)
		}
		t.add(c)
	}
	if root != "testsuites" && root != "testsuite" {
		return nil, fmt.Errorf("%w: wanted testsuites as the root of a JUnit file, found %q", manifest.ErrInvalid, root)
	}
	t.Failures = leaves(t.Failures)
	return t, nil
}

func (t *Tests) add(c testCase) {
	t.Tests++
	switch {
	case c.Failure != nil || c.Error != nil:
		t.Failed++
		t.Failures = append(t.Failures, c.Class+"."+c.Name)
	case c.Skipped != nil:
		t.Skipped++
	}
}

// leaves leaves out the tests that failed by a subtest of theirs.
func leaves(names []string) []string {
	parents := map[string]bool{}
	for _, name := range names {
		for i := range len(name) {
			if name[i] == '/' {
				parents[name[:i]] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return parents[name] })
}
