package manifest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// VerdictDir is the directory inside an output directory where verdicts lie.
const VerdictDir = "verdicts"

// VerdictExt ends a verdict's file name.
const VerdictExt = ".json"

// The values of Piece.Kind.
const (
	PieceLayers = "layers" // decoder layers
	PieceHead   = "head"   // rows of the vocabulary, for the LM head
)

// Piece is what a verdict judges: one range of a kind.
type Piece struct {
	Kind  string `json:"kind"`
	Start int    `json:"start"`
	End   int    `json:"end"`
}

// String is the piece for people, its range as the command line takes it.
func (p Piece) String() string { return fmt.Sprintf("%s %d:%d", p.Kind, p.Start, p.End) }

// Piece is what the verdict is about.
func (d Verdict) Piece() Piece {
	if d.Vocab != nil {
		return Piece{PieceHead, d.Vocab.Start, d.Vocab.End}
	}
	return Piece{PieceLayers, d.Shard.Start, d.Shard.End}
}

// Pieces are the record's packages by what they hold.
func (r Record) Pieces() map[Piece]Package {
	pieces := map[Piece]Package{}
	for _, s := range r.Shards {
		pieces[Piece{PieceLayers, s.Start, s.End}] = s.Package
	}
	for _, s := range r.LMHead {
		pieces[Piece{PieceHead, s.Start, s.End}] = s.Package
	}
	return pieces
}

// VerdictPrefix starts the file names of a piece's verdicts on a plane; the
// number and VerdictExt follow.
func VerdictPrefix(p Piece, plane string) string {
	return fmt.Sprintf("%s%d_%d.%s.", p.Kind, p.Start, p.End, plane)
}

// VerdictName is what a verdict's file name tells: layers30_32.reference.0001.json.
type VerdictName struct {
	Piece  Piece
	Plane  string
	Number int // from 1 on; the highest is the newest
}

// String is the file name.
func (n VerdictName) String() string {
	return fmt.Sprintf("%s%04d%s", VerdictPrefix(n.Piece, n.Plane), n.Number, VerdictExt)
}

var verdictNameForm = regexp.MustCompile(`^(layers|head)([0-9]+)_([0-9]+)\.([a-z]+)\.([0-9]{4,})\.json$`)

// ParseVerdictName reads a file name, and reports whether it is one of a
// verdict.
func ParseVerdictName(name string) (VerdictName, bool) {
	parts := verdictNameForm.FindStringSubmatch(name)
	if parts == nil {
		return VerdictName{}, false
	}
	n := VerdictName{Piece: Piece{Kind: parts[1]}, Plane: parts[4]}
	for i, into := range map[int]*int{2: &n.Piece.Start, 3: &n.Piece.End, 5: &n.Number} {
		var err error
		if *into, err = strconv.Atoi(parts[i]); err != nil { // does not fit
			return VerdictName{}, false
		}
	}
	known := slices.Contains([]string{PlaneReference, PlaneCoreML, PlaneFake}, n.Plane)
	return n, known && n.Number > 0 && n.String() == name
}
