package mutant

import (
	"fmt"
	"slices"
	"strings"

	"lockstep/manifest"
)

// Matrix says what caught which mutant.
type Matrix struct {
	Columns []string // checks and guards, in order
	Kills   []*Kill  // the sound package among them, if it is to be shown
}

// words of the matrix.
const (
	wordKilled = "KILLED"
	wordAbsent = "-" // did not apply
	wordEqual  = "equal: the sound package's bits"
)

// Totals count mutants; what the sound package came to is not among them.
type Totals struct {
	Killed, Equal int
	Survived      []string
	By            map[string]int // how many each column killed
	Alone         map[string]int // how many it alone killed
}

// Totals counts the rows. A mutant that no column killed has survived, unless
// execution showed that it changes no result.
func (m Matrix) Totals() Totals {
	t := Totals{By: map[string]int{}, Alone: map[string]int{}}
	for _, k := range m.mutants() {
		killers := k.Killers()
		for _, c := range killers {
			t.By[c]++
		}
		switch {
		case len(killers) > 0:
			t.Killed++
			if len(killers) == 1 {
				t.Alone[killers[0]]++
			}
		case k.Equal:
			t.Equal++
		default:
			t.Survived = append(t.Survived, k.Mutant.Name)
		}
	}
	return t
}

// String is one line, which names every survivor.
func (t Totals) String() string {
	return tally(t.Killed+t.Equal+len(t.Survived), t.Killed, t.Equal, t.Survived)
}

// mutants are the rows with a fault.
func (m Matrix) mutants() []*Kill {
	return slices.DeleteFunc(slices.Clone(m.Kills), func(k *Kill) bool { return k.Mutant.seedless() })
}

func tally(all, killed, equal int, survived []string) string {
	text := fmt.Sprintf("%d mutants: %d killed, %d equal, %d survived", all, killed, equal, len(survived))
	if len(survived) > 0 {
		text += ": " + strings.Join(survived, "; ")
	}
	return text
}

// Text is the matrix in columns, with its totals below.
func (m Matrix) Text() string {
	var b strings.Builder
	for _, row := range m.rows() {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-30s  %s", row[0], aligned(row[1:len(row)-1])+row[len(row)-1]), " ") + "\n")
	}
	return b.String() + "\n" + m.Totals().String() + "\n"
}

// aligned sets cells to a common width.
func aligned(cells []string) string {
	var b strings.Builder
	for _, c := range cells {
		fmt.Fprintf(&b, "%-14s", c)
	}
	return b.String()
}

// Markdown is the matrix as a table, with its totals below.
func (m Matrix) Markdown() string {
	var b strings.Builder
	for i, row := range m.rows() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return b.String() + "\n" + m.Totals().String() + "\n"
}

// rows are head, mutants and counts: a name, a word per column, and what fell.
func (m Matrix) rows() [][]string {
	rows := [][]string{slices.Concat([]string{"mutant"}, m.Columns, []string{"kinds of cases that failed"})}
	for _, k := range m.Kills {
		row, kinds := []string{k.Mutant.Name}, []string{}
		for _, c := range m.Columns {
			row = append(row, word(k.Results[c]))
			kinds = append(kinds, k.Failed[c]...)
		}
		fell := strings.Join(kinds, " ")
		if k.Equal {
			fell = wordEqual
		}
		rows = append(rows, append(row, fell))
	}
	t := m.Totals()
	return append(rows, m.counts("killed by it", t.By), m.counts("by it alone", t.Alone))
}

func (m Matrix) counts(name string, by map[string]int) []string {
	row := []string{name}
	for _, c := range m.Columns {
		row = append(row, fmt.Sprint(by[c]))
	}
	return append(row, "")
}

func word(r manifest.Result) string {
	switch r {
	case "":
		return wordAbsent
	case manifest.Fail:
		return wordKilled
	}
	return string(r)
}

// Tally counts random mutants of one kind by their fate.
type Tally struct {
	Kind      string
	Drawn     int
	Fates     map[Fate]int
	Survivors []string // "<seed>: what was changed"
}

// Add counts the mutant that a seed drew.
func (t *Tally) Add(seed string, trial *Trial) {
	if t.Fates == nil {
		t.Fates = map[Fate]int{}
	}
	t.Drawn++
	t.Fates[trial.Fate]++
	if trial.Fate == Survived {
		t.Survivors = append(t.Survivors, seed+": "+trial.Name)
	}
}

// String is one line, which names every survivor.
func (t Tally) String() string {
	return t.Kind + ": " + tally(t.Drawn, t.Fates[Killed], t.Fates[Equal], t.Survivors)
}
