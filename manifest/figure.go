package manifest

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Figure is a measured number. JSON has no NaN and no infinities, which are
// figures that a gate must be able to report: those are the strings "NaN",
// "+Inf" and "-Inf", all others are JSON numbers, the shortest that read back
// to the same bits.
type Figure float64

// NewFigure returns a pointer for the optional fields.
func NewFigure(v float64) *Figure {
	f := Figure(v)
	return &f
}

// MarshalJSON implements json.Marshaler.
func (f Figure) MarshalJSON() ([]byte, error) {
	v := float64(f)
	switch {
	case math.IsNaN(v):
		return []byte(`"NaN"`), nil
	case math.IsInf(v, 1):
		return []byte(`"+Inf"`), nil
	case math.IsInf(v, -1):
		return []byte(`"-Inf"`), nil
	default:
		return json.Marshal(v)
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *Figure) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case `"NaN"`:
		*f = Figure(math.NaN())
	case `"+Inf"`:
		*f = Figure(math.Inf(1))
	case `"-Inf"`:
		*f = Figure(math.Inf(-1))
	default:
		v, err := strconv.ParseFloat(string(text), 64)
		// ParseFloat reads more than JSON's numbers; the JSON decoder has
		// already refused those, but not a string.
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf(`%w: figure: wanted a finite number, "NaN", "+Inf" or "-Inf", found %.40s`, ErrType, text)
		}
		*f = Figure(v)
	}
	return nil
}
