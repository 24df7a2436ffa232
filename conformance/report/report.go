package report

import (
	"cmp"
	"slices"

	"lockstep/manifest"
)

// Schema is the version of a report's JSON.
const Schema = "lockstep.report/1"

// Report is what a pull request is told.
type Report struct {
	Schema  string   `json:"schema"` // Schema
	Exports []Export `json:"exports"`
	// Mutants are absent where no tally was found; MutantsNotMeasured then says
	// why.
	Mutants            []Mutants `json:"mutants"`
	MutantsNotMeasured string    `json:"mutants_not_measured,omitempty"`
	// Tests are absent where no JUnit file was named, or for
	// TestsNotMeasured.
	Tests            *Tests `json:"tests,omitempty"`
	TestsNotMeasured string `json:"tests_not_measured,omitempty"`
}

// Export is one output directory.
type Export struct {
	Dir string `json:"dir"` // as it was named
	// Model is the record's; empty where there is no record.
	Model string `json:"model,omitempty"`
	// Rows stand by plane, then layers; a shard without any verdict has one row
	// without a plane.
	Rows []Row `json:"rows"`
	// NotExported are the shards of the layout that the record does not have.
	NotExported []manifest.Piece `json:"not_exported"`
	// Unread are files among the verdicts that have no verdict's name.
	Unread []string `json:"unread"`
}

// Row is what is known of one shard, of layers or of the LM head, on one plane.
type Row struct {
	Piece    manifest.Piece `json:"piece"`
	Plane    string         `json:"plane,omitempty"`
	Standing Standing       `json:"standing"`
	// Reason says why the standing is stale or error without a verdict that
	// says it.
	Reason string `json:"reason,omitempty"`
	// File is the verdict's path below the directory.
	File    string            `json:"file,omitempty"`
	Verdict *manifest.Verdict `json:"verdict,omitempty"`
}

// Standing is what a shard's newest verdict is worth today.
type Standing string

// The standings, the worst first.
const (
	Error     Standing = "error"      // the run broke, or its verdict cannot be read
	Fail      Standing = "fail"       // a check failed
	Stale     Standing = "stale"      // the verdict is about another package or another list of cases
	NoVerdict Standing = "no verdict" // exported and never judged
	Partial   Standing = "partial"    // nothing failed, something is not measured
	Pass      Standing = "pass"
)

var worstFirst = []Standing{Error, Fail, Stale, NoVerdict, Partial, Pass}

func worse(a, b Standing) int {
	return cmp.Compare(slices.Index(worstFirst, a), slices.Index(worstFirst, b))
}

// counts reports whether the row's verdict says something of what lies in the
// directory now.
func (r Row) counts() bool {
	return r.Verdict != nil && slices.Contains([]Standing{Pass, Partial, Fail, Error}, r.Standing)
}

// PlaneLine sums up one plane.
type PlaneLine struct {
	Plane    string
	Standing Standing
	// Judged of Shards, on all planes, have a verdict on this one that counts.
	Judged, Shards int
	Rows           []Row
}

// Planes sums up each plane that has a verdict, the worst first. A plane that
// did not judge every shard has not passed.
func (r Report) Planes() []PlaneLine {
	shards := 0
	lines := map[string]*PlaneLine{}
	for _, e := range r.Exports {
		seen := map[manifest.Piece]bool{}
		for _, row := range e.Rows {
			seen[row.Piece] = true
			if row.Plane == "" {
				continue
			}
			l := lines[row.Plane]
			if l == nil {
				l = &PlaneLine{Plane: row.Plane, Standing: Pass}
				lines[row.Plane] = l
			}
			l.Rows = append(l.Rows, row)
			if row.counts() {
				l.Judged++
			}
			l.Standing = slices.MinFunc([]Standing{l.Standing, row.Standing}, worse)
		}
		shards += len(seen)
	}
	var out []PlaneLine
	for _, l := range lines {
		l.Shards = shards
		if l.Standing == Pass && l.Judged < shards {
			l.Standing = Partial
		}
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b PlaneLine) int {
		return cmp.Or(worse(a.Standing, b.Standing), comparePlanes(a.Plane, b.Plane))
	})
	return out
}

// comparePlanes puts Core ML first.
func comparePlanes(a, b string) int {
	order := []string{manifest.PlaneCoreML, manifest.PlaneReference, manifest.PlaneFake}
	return cmp.Compare(slices.Index(order, a), slices.Index(order, b))
}

// compareRows puts layers before the LM head.
func compareRows(a, b Row) int {
	return cmp.Or(
		comparePlanes(a.Plane, b.Plane), -cmp.Compare(a.Piece.Kind, b.Piece.Kind),
		cmp.Compare(a.Piece.Start, b.Piece.Start), cmp.Compare(a.Piece.End, b.Piece.End),
	)
}
