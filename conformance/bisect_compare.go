package conformance

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/manifest"
)

// Tolerance is what two values may differ by and still agree. The zero value
// wants every bit.
type Tolerance struct {
	// ULPs is a number of float16 steps.
	ULPs int
	// Relative is a share of max(|a|, |b|, r), r the root mean square of what is
	// not 0 in B's tensor of that pass: without r, what is nearly 0 would count
	// most.
	Relative float64
}

// String says what is compared how.
func (t Tolerance) String() string {
	switch {
	case t.ULPs > 0:
		return fmt.Sprintf("%d ulp", t.ULPs)
	case t.Relative > 0:
		return fmt.Sprintf("relative: |A-B| at most %g of max(|A|, |B|, root mean square of B's tensor without its zeros)", t.Relative)
	}
	return "exact: every bit"
}

// ParseTolerance reads "exact", "4ulp" or a number between 0 and 1.
func ParseTolerance(text string) (Tolerance, error) {
	if text == "exact" {
		return Tolerance{}, nil
	}
	if digits, ok := strings.CutSuffix(text, "ulp"); ok {
		if n, err := strconv.Atoi(strings.TrimSpace(digits)); err == nil && n > 0 && n < 1<<16 {
			return Tolerance{ULPs: n}, nil
		}
	} else if r, err := strconv.ParseFloat(text, 64); err == nil && r > 0 && r < 1 {
		return Tolerance{Relative: r}, nil
	}
	return Tolerance{}, fmt.Errorf("%w: tolerance: want exact, a count like 4ulp, or a relative number between 0 and 1, found %q", ErrBisect, text)
}

// tensorData are a tensor's elements, as float16 or as the oracle has them.
type tensorData struct {
	half []float16.Float16
	wide []float64
}

func (n tensorData) count() int { return max(len(n.half), len(n.wide)) }

func (n tensorData) at(i int) float64 {
	if n.wide != nil {
		return n.wide[i]
	}
	return half.ToFloat64(n.half[i])
}

// bits are the float16 bits, of an oracle's value after rounding.
func (n tensorData) bits(i int) float16.Float16 {
	if n.wide != nil {
		return half.FromFloat64(n.wide[i])
	}
	return n.half[i]
}

// rootMeanSquare is that of the elements that are not 0: a cache's new rows
// stand among empty slots.
func (n tensorData) rootMeanSquare() float64 {
	sum, filled := 0.0, 0
	for i := range n.count() {
		if v := n.at(i); v != 0 {
			sum += float64(v * v)
			filled++
		}
	}
	return math.Sqrt(sum / float64(max(1, filled)))
}

// Difference is how two tensors differ.
type Difference struct {
	// Index is the first element that differs, row-major in A's tensor, At its
	// coordinates.
	Index int   `json:"index"`
	At    []int `json:"at"`
	// Row is the row of the pass that the element belongs to, or -1; Position
	// its token's.
	Row      int `json:"row"`
	Position int `json:"position"`

	A    manifest.Figure `json:"a"`
	B    manifest.Figure `json:"b"`
	ULPs int             `json:"ulps"`
	// Count of the Compared elements differ.
	Count int `json:"count"`
}

// Measure is what a comparison of two tensors came to.
type Measure struct {
	Compared int `json:"compared"`
	// Largest is the largest |A-B|, Relative the largest share of it, as
	// Tolerance has it; 0 where the comparison is exact.
	Largest  manifest.Figure `json:"largest"`
	Relative manifest.Figure `json:"relative"`
	// First is nil where the tensors agree.
	First *Difference `json:"first,omitempty"`
}

// geometry says which elements of a block belong to which pass of the other
// side.
type geometry struct {
	rows, live, pos, slots int
	singles                bool // B is one pass per live row
	tolerance              Tolerance
}

// axes finds T and S among A's dimensions, -1 where there is none. ok is false
// where A's elements cannot be told to belong to B's. Rows lie along the axis
// in which block and single differ; a tensor without that axis may have slots.
func (g geometry) axes(a, b []int) (t, slot int, ok bool) {
	t, slot = -1, -1
	if len(a) != len(b) {
		return t, slot, false
	}
	if !g.singles || g.rows == 1 {
		return likelyAxis(a, g.rows), slot, slices.Equal(a, b)
	}
	for i := range a {
		switch {
		case a[i] == b[i]:
		case t < 0 && a[i] == g.rows && b[i] == 1:
			t = i
		default:
			return -1, -1, false
		}
	}
	// Slots are among the last two dimensions in every form of the cache.
	for i := max(0, len(a)-2); i < len(a); i++ {
		if i != t && a[i] == g.slots && (slot < 0 || t >= 0) {
			slot = i
		}
	}
	return t, slot, true
}

// likelyAxis is the one dimension that is T, or the usual one of several.
func likelyAxis(shape []int, rows int) int {
	usual := map[int]int{2: 0, 4: 2}
	if at, ok := usual[len(shape)]; ok && shape[at] == rows {
		return at
	}
	if first := slices.Index(shape, rows); first >= 0 && !slices.Contains(shape[first+1:], rows) {
		return first
	}
	return -1
}

// elementTally compares element by element.
type elementTally struct {
	g     geometry
	a     tensorData
	b     []tensorData // by pass
	rms   []float64
	shape []int
	out   Measure
}

// compare holds A's tensor against B's, of one pass or of one per live row.
// Softmax tells that what no row sees is 0 and can be compared as well; raw
// scores there belong to slots that a block has filled and a single has not.
func (g geometry) compare(shapeA []int, a tensorData, shapeB []int, b []tensorData, softmax bool) (Measure, error) {
	t, slot, ok := g.axes(shapeA, shapeB)
	if !ok {
		return Measure{}, fmt.Errorf("%w: shapes %v and %v", errShapes, shapeA, shapeB)
	}
	e := &elementTally{g: g, a: a, b: b, shape: shapeA}
	if g.tolerance.Relative > 0 {
		for _, n := range b {
			e.rms = append(e.rms, n.rootMeanSquare())
		}
	}
	strideT, strideS := stride(shapeA, t), stride(shapeA, slot)
	byRow := g.singles && g.rows > 1
	for i := range a.count() {
		row, s := -1, -1
		if t >= 0 {
			row = i / strideT % g.rows
		}
		if slot >= 0 {
			s = i / strideS % g.slots
		}
		switch {
		case !byRow:
			e.element(i, row, 0, i)
		case t >= 0 && row >= g.live:
		case t >= 0 && s > g.pos+row && s < g.pos+g.live && !softmax:
		case t >= 0:
			e.element(i, row, row, i/(strideT*g.rows)*strideT+i%strideT)
		case s >= g.pos && s < g.pos+g.live:
			e.element(i, s-g.pos, s-g.pos, i)
		default: // in every single alike
			for pass := range b {
				e.element(i, -1, pass, i)
			}
		}
	}
	return e.out, nil
}

// errShapes means that two tensors have no elements to compare.
var errShapes = fmt.Errorf("%w: the shapes differ", ErrBisect)

// stride is how far two neighbours along an axis lie apart, 1 without it.
func stride(shape []int, axis int) int {
	if axis < 0 {
		return 1
	}
	return elements(shape[axis+1:])
}

// element compares A's element i with element j of a pass of B.
func (e *elementTally) element(i, row, pass, j int) {
	b := e.b[pass]
	e.out.Compared++
	if b.wide == nil && e.a.half[i] == b.half[j] {
		return
	}
	va, vb := e.a.at(i), b.at(j)
	off := math.Abs(va - vb)
	e.out.Largest = manifest.Figure(larger(float64(e.out.Largest), off))
	steps := ulps(e.a.bits(i), b.bits(j))
	agrees := false
	switch tol := e.g.tolerance; {
	case tol.ULPs > 0:
		agrees = steps <= tol.ULPs && half.IsFinite(e.a.bits(i)) && half.IsFinite(b.bits(j))
	case tol.Relative > 0:
		share := 0.0
		if off != 0 {
			share = off / max(math.Abs(va), math.Abs(vb), e.rms[pass])
		}
		e.out.Relative = manifest.Figure(larger(float64(e.out.Relative), share))
		agrees = share <= tol.Relative // not so for NaN
	default:
		agrees = b.wide != nil && steps == 0
	}
	if agrees {
		return
	}
	if e.out.First == nil {
		e.out.First = &Difference{
			Index: i, At: coordinates(i, e.shape), Row: row, Position: e.g.pos + min(max(row, 0), e.g.live-1),
			A: manifest.Figure(va), B: manifest.Figure(vb), ULPs: steps,
		}
	}
	e.out.First.Count++
}

// larger is max, but NaN is larger than anything.
func larger(a, b float64) float64 {
	if math.IsNaN(a) || b <= a {
		return a
	}
	return b
}

// coordinates turns a row-major index into one per dimension.
func coordinates(index int, shape []int) []int {
	at := make([]int, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		at[d] = index % shape[d]
		index /= shape[d]
	}
	return at
}
