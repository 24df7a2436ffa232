package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// markup is text that means something to GitHub.
var markup = rapid.StringMatching("[a-c|`\\\\<>@#*_ \n\t]{0,12}")

// TestForeignTextStaysText: a code span has no run of backticks as long as its
// own fence, and a row has as many cells as were asked for.
func TestForeignTextStaysText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := markup.Draw(t, "text")
		span := code(text)
		if span == "-" {
			return
		}
		fence := len(span) - len(strings.TrimLeft(span, "`"))
		inside := strings.TrimSuffix(span[fence:], strings.Repeat("`", fence))
		assert.Len(t, inside, len(span)-2*fence)
		assert.Less(t, longestRun(inside), fence)
		assert.Equal(t, oneLine(text), strings.TrimSpace(inside))

		var d document
		d.row(span, code(markup.Draw(t, "other")))
		line := d.b.String()
		assert.Equal(t, 1, strings.Count(line, "\n"))
		assert.NotContains(t, line, `\\|`, "an escaped backslash, and a bare |")
		assert.Equal(t, 3, strings.Count(line, "|")-strings.Count(line, `\|`), "%s", line)
	})
}

func TestEmptySectionIsLeftOut(t *testing.T) {
	var d document
	d.section("Nothing", func() {})
	d.section("Something", func() { d.line("x") })
	assert.Equal(t, "### Something\n\nx\n", d.text())
}

func TestFoldEscapes(t *testing.T) {
	var d document
	d.fold("</summary><b>", func() { d.line("x") })
	assert.Contains(t, d.text(), "<details><summary>&lt;/summary&gt;&lt;b&gt;</summary>\n\nx\n\n</details>")
}
