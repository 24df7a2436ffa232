package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"lockstep/exporter"
	"lockstep/internal/mil"
)

// fewBits is the precision of packages with a weight of fewer than six bits.
// The exporter has no such recipe. Its thresholds, for golden vectors alone, are
// what compressing has left in packages of nano (fixtures/foreign: a cosine of
// .9970 of hidden and .979 of hidden - x with 4-bit tables, .9986 and .982 with
// int4 blocks), and little less. They cannot see a small fault of the graph:
// that is for the passes over the package's own weights.
const fewBits exporter.Precision = "4bit"

// storageOf is the precision whose thresholds a program's weights can be held
// to, that of the weight with the fewest bits, and every form of storage in it.
func storageOf(p *mil.Program) (exporter.Precision, string) {
	bits := mil.Float16.Bits()
	forms := map[string]bool{}
	for _, f := range p.Functions {
		types := map[string]mil.Type{}
		for _, op := range f.Ops {
			param, form := "", ""
			switch op.Type {
			case "constexpr_blockwise_shift_scale":
				param, form = "data", "%s with scales"
			case "constexpr_lut_to_dense":
				param, form = "indices", "%s indices of tables"
			}
			for _, out := range op.Outputs {
				types[out.Name] = out.Type
			}
			if d := argumentType(op, param, types).DType; d != 0 {
				forms[fmt.Sprintf(form, d)] = true
				bits = min(bits, d.Bits())
			}
		}
	}
	text := strings.Join(slices.Sorted(maps.Keys(forms)), ", ")
	switch {
	case len(forms) == 0:
		return exporter.FP16, "float, not compressed"
	case bits < 6:
		return fewBits, text
	}
	return exporter.Int8, text
}

// argumentType is the type of what is bound to a parameter; the zero Type if
// nothing is.
func argumentType(op *mil.Op, param string, types map[string]mil.Type) mil.Type {
	for _, arg := range op.Args {
		if arg.Param != param || len(arg.Bindings) == 0 {
			continue
		}
		if lit := arg.Bindings[0].Literal; lit != nil {
			return lit.Type
		}
		return types[arg.Bindings[0].Name]
	}
	return mil.Type{}
}
