package report

import (
	"fmt"
	"html"
	"strings"
)

// document is Markdown that is being written. What comes from elsewhere (names,
// reasons, commands) goes through code or again, so that nothing in it can be
// read as markup, a mention or a link.
type document struct {
	b strings.Builder
	// heading waits until its section has a line; a section without one is
	// left out.
	heading string
	open    bool // the section has a line
}

func (d *document) text() string { return strings.TrimRight(d.b.String(), "\n") + "\n" }

func (d *document) line(format string, args ...any) {
	if d.heading != "" {
		d.b.WriteString(d.heading)
		d.heading = ""
	}
	d.open = true
	fmt.Fprintf(&d.b, format+"\n", args...)
}

func (d *document) blank() { d.b.WriteByte('\n') }

// section writes a heading before what body writes, if it writes anything.
func (d *document) section(title string, body func()) {
	d.heading, d.open = "### "+title+"\n\n", false
	body()
	d.heading = ""
}

// fold hides what body writes behind a line. GitHub reads Markdown in it only
// after an empty line.
func (d *document) fold(summary string, body func()) {
	d.line("<details><summary>%s</summary>", html.EscapeString(oneLine(summary)))
	d.blank()
	body()
	d.blank()
	d.line("</details>")
	d.blank()
}

// table writes a table's head.
func (d *document) table(head []string) {
	d.row(head...)
	d.line("%s|", strings.Repeat("|---", len(head)))
}

// row writes a row of cells. GitHub takes a | for the next cell even in code,
// unless a backslash stands before it that is not itself behind one.
func (d *document) row(cells ...string) {
	for i := range cells {
		apart := strings.ReplaceAll(cells[i], `\|`, `\ |`)
		cells[i] = strings.ReplaceAll(apart, "|", `\|`)
	}
	d.line("| %s |", strings.Join(cells, " | "))
}

// again shows the command that repeats a run, as it is: it is one line already,
// and a path may have more than one space.
func (d *document) again(command string) {
	fence := strings.Repeat("`", max(3, longestRun(command)+1))
	d.line("%ssh\n%s\n%s", fence, command, fence)
	d.blank()
}

// code is a code span, whatever its text has.
func code(text string) string {
	text = oneLine(text)
	if text == "" {
		return "-"
	}
	fence := strings.Repeat("`", longestRun(text)+1)
	if strings.HasPrefix(text, "`") || strings.HasSuffix(text, "`") {
		text = " " + text + " "
	}
	return fence + text + fence
}

// longestRun is the length of the longest run of backticks.
func longestRun(text string) int {
	longest, run := 0, 0
	for _, r := range text {
		if r != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// oneLine keeps a text from ending its line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// strong sets what is not a pass in bold.
func strong(word string) string {
	if word == string(Pass) {
		return word
	}
	return "**" + word + "**"
}
