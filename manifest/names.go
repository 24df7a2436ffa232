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

// VerdictPrefix starts the file names of a shard's verdicts on a plane; the
// number and VerdictExt follow.
func VerdictPrefix(shard LayerRange, plane string) string {
	return fmt.Sprintf("layers%d_%d.%s.", shard.Start, shard.End, plane)
}

// VerdictName is what a verdict's file name tells: layers30_32.reference.0001.json.
type VerdictName struct {
	Shard  LayerRange
	Plane  string
	Number int // from 1 on; the highest is the newest
}

// String is the file name.
func (n VerdictName) String() string {
	return fmt.Sprintf("%s%04d%s", VerdictPrefix(n.Shard, n.Plane), n.Number, VerdictExt)
}

var verdictNameForm = regexp.MustCompile(`^layers([0-9]+)_([0-9]+)\.([a-z]+)\.([0-9]{4,})\.json$`)

// ParseVerdictName reads a file name, and reports whether it is one of a
// verdict.
func ParseVerdictName(name string) (VerdictName, bool) {
	parts := verdictNameForm.FindStringSubmatch(name)
	if parts == nil {
		return VerdictName{}, false
	}
	n := VerdictName{Plane: parts[3]}
	for i, into := range map[int]*int{1: &n.Shard.Start, 2: &n.Shard.End, 4: &n.Number} {
		var err error
		if *into, err = strconv.Atoi(parts[i]); err != nil { // does not fit
			return VerdictName{}, false
		}
	}
	known := slices.Contains([]string{PlaneReference, PlaneCoreML, PlaneFake}, n.Plane)
	return n, known && n.Number > 0 && n.String() == name
}
