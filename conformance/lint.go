package conformance

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// sizeRulesFrom is the hidden size from which the rules about sizes apply:
// they say what a real shard may be, not a tiny fixture.
const sizeRulesFrom = 2048

// sizeRulesNotApplied is said where they do not.
const sizeRulesNotApplied = "the rules state and package_bytes apply from hidden size 2048 up"

// maxPackageBytes is what still reads as 2.0 GB: the largest single package on
// record as resident has 2,015.8 MB (twenty int8 layers), and one of 2.3 GB ran
// on the CPU.
const maxPackageBytes = 2_050_000_000

// lintRule reads one thing off a package that the Neural Engine is known to
// refuse. Its word is "predicted", never "resident".
type lintRule struct {
	name        string
	description string
	sizes       bool // applies from sizeRulesFrom up
	states      bool // says something about states alone
	findings    func(*linted) []string
}

// linted is a package under lint, with a scope per function.
type linted struct {
	pkg         *mlpackage.Package
	weightBytes int64 // of the weight file
	programOnly bool  // the weight file is not at hand
	scopes      map[string]*mil.Scope
	notes       []manifest.Evidence // counted, not judged
}

func lintRules() []lintRule {
	return []lintRule{
		{name: "rank", description: "no value has more than four dimensions", findings: lintRank},
		{name: "int_runtime", description: "no run-time value, input, output or state is an integer or a bool", findings: lintIntRuntime},
		{name: "op", description: "no op is one that is known to leave the Neural Engine", findings: lintOps},
		{name: "const", description: "no constant is NaN, infinite, or lost to float16", findings: lintConstants},
		{name: "state_type", states: true, description: "every state is float16", findings: lintStateType},
		{name: "state_chain", states: true, description: "each state is read, written, read again, and no output is a stored value", findings: lintStateChain},
		{name: "state", states: true, description: "the last two dimensions of every state are multiples of 32", sizes: true, findings: lintStateSize},
		{name: "package_bytes", description: "the package has at most 2.0 GB", sizes: true, findings: lintPackageBytes},
	}
}

func lintCases(hidden int) []Case { return lintCasesOf(hidden, lintRules()) }

// headLintCases are those of an LM head shard, which has no states.
func headLintCases(hidden int) []Case {
	return lintCasesOf(hidden, slices.DeleteFunc(lintRules(), func(r lintRule) bool { return r.states }))
}

func lintCasesOf(hidden int, rules []lintRule) []Case {
	var cases []Case
	for _, rule := range rules {
		if rule.sizes && hidden < sizeRulesFrom {
			continue
		}
		cases = append(cases, Case{
			Check: CheckLint, Name: rule.name, Description: rule.description,
			run: func(_ context.Context, s *Suite) Outcome {
				return s.withPackage(func(p *mlpackage.Package) Outcome {
					return lint(&linted{pkg: p, weightBytes: int64(len(p.WeightBytes))}, rule)
				})
			},
		})
	}
	return cases
}

// LintModel applies the rules to a model of a hidden size whose weights are not
// at hand, only the size of their file: what a plan knows before the first byte
// is written. The rule const then judges what stands in the program.
func LintModel(m *mlpackage.Model, hidden int, weightBytes int64) manifest.Check {
	check := manifest.Check{Name: CheckLint, DependsOn: []string{}}
	var results []manifest.Result
	for _, rule := range lintRules() {
		if rule.sizes && hidden < sizeRulesFrom {
			continue
		}
		out := lint(&linted{pkg: &mlpackage.Package{Model: m}, weightBytes: weightBytes, programOnly: true}, rule)
		results = append(results, out.Result)
		check.Cases = append(check.Cases, manifest.Case{Name: rule.name, Result: out.Result, Reason: out.Reason, Evidence: out.Evidence})
		if out.Result != manifest.Pass && check.Reason == "" {
			check.Reason = fmt.Sprintf("%s: %s", rule.name, out.Reason)
		}
	}
	check.Result = manifest.Combine(results...)
	return check
}

func lint(l *linted, rule lintRule) Outcome {
	l.scopes = map[string]*mil.Scope{}
	for _, f := range l.pkg.Model.Program.Functions {
		scope, err := mil.NewScope(f)
		if err != nil {
			return broken(err)
		}
		l.scopes[f.Name] = scope
	}
	found := rule.findings(l)
	evidence := append([]manifest.Evidence{figure("findings", float64(len(found)), "1")}, l.notes...)
	if len(found) > 0 {
		return fail(fmt.Sprintf("%s (%d findings)", found[0], len(found)), evidence...)
	}
	return pass(append(evidence, note("word", "predicted"))...)
}

// eachValue calls visit for every value of every function; compile-time ones
// are marked.
func (l *linted) eachValue(visit func(f *mil.Function, v mil.Value, compileTime bool)) {
	for _, f := range l.pkg.Model.Program.Functions {
		for _, in := range f.Inputs {
			visit(f, in, false)
		}
		for _, op := range f.Ops {
			for _, out := range op.Outputs {
				visit(f, out, l.scopes[f.Name].Constant(out.Name))
			}
		}
	}
}

func lintRank(l *linted) []string {
	var found []string
	l.eachValue(func(f *mil.Function, v mil.Value, _ bool) {
		if len(v.Type.Shape) > 4 {
			found = append(found, fmt.Sprintf("function %s: value %s has rank %d: %s", f.Name, v.Name, len(v.Type.Shape), v.Type))
		}
	})
	return found
}

func lintIntRuntime(l *linted) []string {
	var found []string
	l.eachValue(func(f *mil.Function, v mil.Value, compileTime bool) {
		if t := v.Type.DType; !compileTime && t != mil.Float16 && t != mil.Float32 {
			found = append(found, fmt.Sprintf("function %s: run-time value %s is %s", f.Name, v.Name, v.Type))
		}
	})
	return found
}

// strayOps are on record as running on the CPU, or wrongly.
func strayOps() []string {
	return []string{"gather", "cast", "topk", "reduce_argmax", "scaled_dot_product_attention"}
}

func lintOps(l *linted) []string {
	var found []string
	for _, f := range l.pkg.Model.Program.Functions {
		for _, op := range f.Ops {
			p := l.scopes[f.Name].Params(op)
			switch {
			case slices.Contains(strayOps(), op.Type):
				found = append(found, fmt.Sprintf("function %s: op %s %q", f.Name, op.Type, op.Name))
			case op.Type == "slice_update" && p.Literal("begin") == nil:
				found = append(found, fmt.Sprintf("function %s: slice_update %q has a run-time begin", f.Name, op.Name))
			case op.Type == "constexpr_blockwise_shift_scale" && linearInt4Blocks(p):
				found = append(found, fmt.Sprintf("function %s: weight %q is linear int4 per block", f.Name, op.Name))
			}
		}
	}
	return found
}

// linearInt4Blocks reports int4 data with more than one scale per row.
func linearInt4Blocks(p mil.Params) bool {
	data, scale := p.Type("data"), p.Type("scale")
	if data.DType != mil.Int4 && data.DType != mil.UInt4 {
		return false
	}
	for d, n := range scale.Shape {
		if d > 0 && n > 1 {
			return true
		}
	}
	return false
}

// coarse is the number of subnormal steps below which float16 may have moved a
// value by more than 1 %: half a step in fifty.
const coarse = 50

func lintConstants(l *linted) []string {
	var found []string
	subnormal := 0
	seen := map[uint64]bool{} // blobs shared by functions are read once
	for _, f := range l.pkg.Model.Program.Functions {
		for _, op := range f.Ops {
			for _, c := range constantsOf(op) {
				if c.lit.Blob != nil {
					if l.programOnly || seen[c.lit.Blob.Offset] {
						continue
					}
					seen[c.lit.Blob.Offset] = true
				}
				problem, notes := l.constant(c)
				if problem != "" {
					found = append(found, fmt.Sprintf("function %s: constant %q: %s", f.Name, c.name, problem))
				}
				subnormal += notes
			}
		}
	}
	l.notes = append(l.notes, figure("subnormal_scalars", float64(subnormal), "1"))
	return found
}

// constant is a literal of an op and what it is called.
type constant struct {
	name string
	lit  *mil.Literal
}

func constantsOf(op *mil.Op) []constant {
	var out []constant
	if op.Val != nil {
		out = append(out, constant{op.Name, op.Val})
	}
	for _, arg := range op.Args {
		for _, b := range arg.Bindings {
			if b.Literal != nil {
				out = append(out, constant{op.Name + " " + arg.Param, b.Literal})
			}
		}
	}
	return out
}

// constant judges one float16 literal. A scalar is a constant of the recipe:
// zero, or too coarse a subnormal, says that rounding has changed the graph. A
// tensor is weights, where such values are counted by the export.
func (l *linted) constant(c constant) (problem string, subnormal int) {
	if c.lit.Type.DType != mil.Float16 {
		return "", 0
	}
	raw, err := l.pkg.Bytes(c.lit)
	if err != nil {
		return err.Error(), 0
	}
	for i := 0; i+2 <= len(raw); i += 2 {
		if h := binary.LittleEndian.Uint16(raw[i:]); h&0x7C00 == 0x7C00 {
			return fmt.Sprintf("element %d is %v", i/2, half.ToFloat32(float16.Float16(h))), 0
		}
	}
	if len(c.lit.Type.Shape) > 0 {
		return "", 0
	}
	switch steps := binary.LittleEndian.Uint16(raw) & 0x7FFF; {
	case steps == 0:
		return "is 0, which no constant of a recipe means: float16 has lost it", 0
	case steps < coarse:
		return fmt.Sprintf("is %d steps of 2^-24: rounding may have moved it by more than 1 %%", steps), 0
	case steps < 0x0400:
		return "", 1
	}
	return "", 0
}

func lintStateType(l *linted) []string {
	var found []string
	for _, f := range l.pkg.Model.Program.Functions {
		for _, in := range f.Inputs {
			if in.Type.State && in.Type.DType != mil.Float16 {
				found = append(found, fmt.Sprintf("function %s: state %s is %s", f.Name, in.Name, in.Type))
			}
		}
	}
	return found
}

// stateMultiple is what the last two dimensions of a state must divide by.
const stateMultiple = 32

// ForeseeSizes says, before anything is exported, what the size rules will find
// in a shard: the plan's user should not learn it after gigabytes.
func ForeseeSizes(hidden, headDim, slots int, weightBytes int64) []string {
	if hidden < sizeRulesFrom {
		return nil
	}
	found := packageBytesFindings(weightBytes)
	if slots%stateMultiple != 0 || headDim%stateMultiple != 0 {
		found = append(found, fmt.Sprintf("states are [1, KV heads, %d slots, %d]: want the last two in multiples of %d; choose another --slots", slots, headDim, stateMultiple))
	}
	return found
}

// ForeseeHeadSizes is ForeseeSizes of an LM head shard, which has no states.
func ForeseeHeadSizes(hidden int, weightBytes int64) []string {
	if hidden < sizeRulesFrom {
		return nil
	}
	return packageBytesFindings(weightBytes)
}

func lintStateSize(l *linted) []string {
	var found []string
	for _, f := range l.pkg.Model.Program.Functions {
		for _, in := range f.Inputs {
			n := len(in.Type.Shape)
			if in.Type.State && (n < 2 || in.Type.Shape[n-1]%stateMultiple != 0 || in.Type.Shape[n-2]%stateMultiple != 0) {
				found = append(found, fmt.Sprintf("function %s: state %s: want the last two dimensions in multiples of %d, found %s", f.Name, in.Name, stateMultiple, in.Type))
			}
		}
	}
	return found
}

func lintPackageBytes(l *linted) []string { return packageBytesFindings(l.weightBytes) }

// packageBytesFindings judges the weights' size, which is all of a package but
// a few megabytes.
func packageBytesFindings(weights int64) []string {
	if weights > maxPackageBytes {
		return []string{fmt.Sprintf("the weights alone have %d bytes: want at most %d; choose a --layout of smaller shards", weights, maxPackageBytes)}
	}
	return nil
}

// lintStateChain wants, per state: reads, then one write, then reads; nothing
// that was read before the write, and not the stored value itself, is used
// after it.
func lintStateChain(l *linted) []string {
	var found []string
	for _, f := range l.pkg.Model.Program.Functions {
		for _, in := range f.Inputs {
			if in.Type.State {
				for _, problem := range chainProblems(f, in.Name) {
					found = append(found, fmt.Sprintf("function %s: state %s: %s", f.Name, in.Name, problem))
				}
			}
		}
	}
	return found
}

func chainProblems(f *mil.Function, state string) []string {
	var problems []string
	var before, stored []string // values read before the write, and written
	writes, readsAfter := 0, 0
	for _, op := range f.Ops {
		switch {
		case op.Type == "read_state" && uses(op, state) && writes == 0:
			before = append(before, op.Outputs[0].Name)
			continue
		case op.Type == "read_state" && uses(op, state):
			readsAfter++
			continue
		case op.Type == "write_state" && uses(op, state):
			writes++
			stored = append(stored, bound(op, "data"))
			continue
		}
		if name := firstUsed(op, stored); name != "" {
			problems = append(problems, fmt.Sprintf("op %q uses the stored value %s without reading it again", op.Name, name))
		}
		if name := firstUsed(op, before); writes > 0 && name != "" {
			problems = append(problems, fmt.Sprintf("op %q uses %s, read before the write", op.Name, name))
		}
	}
	if len(before) == 0 || writes != 1 || readsAfter == 0 {
		problems = append(problems, fmt.Sprintf("want read, write, read; found %d reads, %d writes, %d reads after", len(before), writes, readsAfter))
	}
	for _, out := range f.Outputs {
		if slices.Contains(stored, out) {
			problems = append(problems, fmt.Sprintf("output %s is the stored value", out))
		}
	}
	return problems
}

func uses(op *mil.Op, name string) bool { return firstUsed(op, []string{name}) != "" }

// firstUsed is the first of names that op has as an argument.
func firstUsed(op *mil.Op, names []string) string {
	for _, arg := range op.Args {
		for _, b := range arg.Bindings {
			if b.Name != "" && slices.Contains(names, b.Name) {
				return b.Name
			}
		}
	}
	return ""
}

// bound is the name bound to a parameter.
func bound(op *mil.Op, param string) string {
	for _, arg := range op.Args {
		if arg.Param == param && len(arg.Bindings) > 0 {
			return arg.Bindings[0].Name
		}
	}
	return ""
}
