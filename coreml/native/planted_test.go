package native_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
	"lockstep/internal/fakecoreml"
	"lockstep/internal/mil"
)

// planted is a runtime through which the native plane behaves as if a line of
// it were wrong.
type planted struct {
	objc.Runtime
	names  map[objc.Selector]string
	misspl map[string]string // selectors registered in place of others
	send   func(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value

	keepBlocks bool // forgets to release
	noPools    bool
}

func (p *planted) Selector(name string) objc.Selector {
	as := name
	if wrong, ok := p.misspl[name]; ok {
		as = wrong
	}
	sel := p.Runtime.Selector(as)
	if p.names == nil {
		p.names = map[objc.Selector]string{}
	}
	p.names[sel] = name
	return sel
}

func (p *planted) Send(self objc.ID, sel objc.Selector, result objc.Kind, args ...objc.Value) objc.Value {
	if p.send == nil {
		return p.Runtime.Send(self, sel, result, args...)
	}
	return p.send(p, p.names[sel], self, sel, result, args)
}

func (p *planted) ReleaseBlock(id objc.ID) {
	if !p.keepBlocks {
		p.Runtime.ReleaseBlock(id)
	}
}

func (p *planted) PushPool() objc.Pool {
	if p.noPools {
		return 0
	}
	return p.Runtime.PushPool()
}

func (p *planted) PopPool(id objc.Pool) {
	if !p.noPools {
		p.Runtime.PopPool(id)
	}
}

// onCPU places the convolutions of t4 alone on the CPU, so that the plans of
// the two functions differ.
func onCPU(function string, op *mil.Op) fakecoreml.Placement {
	p := fakecoreml.OnEngine()
	switch {
	case op.Type == "const" || strings.HasPrefix(op.Type, "constexpr_"):
		return fakecoreml.Placement{NoCost: true}
	case function == "t4" && op.Type == "conv":
		p.Preferred = coreml.DeviceCPU
	}
	return p
}

// TestPlantedFaults: each fault that the binding could have is noticed here,
// without a Mac: by the runtime's strictness, or because what comes out is not
// the reference plane's.
func TestPlantedFaults(t *testing.T) {
	dir := exportTail(t, "t1,t4")
	want := referenceTrace(t, dir)
	for _, c := range []struct {
		name   string
		opt    fakecoreml.Options
		fault  planted
		caught string // part of what is reported
	}{
		{"none", fakecoreml.Options{}, planted{}, ""},
		{"misspelt_selector", fakecoreml.Options{}, planted{misspl: map[string]string{"newState": "newSate"}}, "unrecognized selector newSate"},
		{"wrong_kind_of_argument", fakecoreml.Options{}, planted{send: changeArgs("setComputeUnits:", func(a []objc.Value) { a[0].Kind = objc.Uint })}, "want q, found Q"},
		{"wrong_kind_of_result", fakecoreml.Options{}, planted{send: wrongResult}, "result: want Q, found q"},
		{"missing_argument", fakecoreml.Options{}, planted{send: dropLast("fileURLWithPath:")}, "want 1 arguments, found 0"},
		{"missing_retain", fakecoreml.Options{}, planted{send: ignore("retain")}, "is used after its release"},
		{"missing_release", fakecoreml.Options{}, planted{send: ignore("release")}, "leaked: MLModelConfiguration"},
		{"released_twice", fakecoreml.Options{}, planted{send: twice("release")}, "is used after its release"},
		{"leaked_block", fakecoreml.Options{}, planted{keepBlocks: true}, "leaked: block"},
		{"no_pool", fakecoreml.Options{}, planted{noPools: true}, "outside an autorelease pool of this thread"},
		{"contiguous_reading_of_padded_rows", fakecoreml.Options{}, planted{send: denseStrides}, "differs from the reference plane's"},
		{"state_made_per_function", fakecoreml.Options{}, planted{send: statePerFunction()}, "differs from the reference plane's"},
		{"compute_units_left_at_all", fakecoreml.Options{}, planted{send: ignore("setComputeUnits:")}, "not for the CPU and the Neural Engine"},
		{"default_function_loaded_for_both", fakecoreml.Options{}, planted{send: ignore("setFunctionName:")}, "t4"},
		{"plan_of_one_function_read_for_both", fakecoreml.Options{Place: onCPU}, planted{send: planOf("t1")}, "plan of t4"},
		{"message_newer_than_the_system", fakecoreml.Options{MacOS: objc.MacOS{Major: 14, Minor: 4}}, planted{send: pretendVersion}, "needs macOS 15.0"},
		{"wrong_name_of_a_state", fakecoreml.Options{}, planted{send: renameStates()}, "no state called"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opt.TempDir = t.TempDir()
			rt, err := fakecoreml.New(c.opt)
			require.NoError(t, err)
			c.fault.Runtime = rt
			found := exercise(t, &c.fault, copyOf(t, dir), want, c.opt.Place != nil)
			found = append(found, rt.Stop()...)
			if c.caught == "" {
				assert.Empty(t, found)
				return
			}
			assert.Contains(t, strings.Join(found, "\n"), c.caught)
		})
	}
}

// exercise runs everything there is and says what was noticed.
func exercise(t *testing.T, rt objc.Runtime, dir string, want trace, convsOnCPU bool) []string {
	t.Helper()
	plane, err := over(t, rt)
	if err != nil {
		return []string{err.Error()}
	}
	got, err := record(plane, dir)
	found := got.differences(want)
	if err != nil {
		found = append(found, err.Error())
	}
	for _, name := range []string{"t1", "t4"} {
		plan := got.plans[name]
		if plan == nil {
			found = append(found, "no plan of "+name)
			continue
		}
		for _, op := range plan.Ops {
			device := coreml.DeviceNeuralEngine
			switch {
			case op.Op == "const" || strings.Contains(op.Op, ".constexpr_"):
				device = coreml.DeviceNone
			case convsOnCPU && name == "t4" && strings.HasSuffix(op.Op, ".conv"):
				device = coreml.DeviceCPU
			}
			if op.Preferred != device {
				found = append(found, fmt.Sprintf("plan of %s: %s on %q, want %q", name, op.Op, op.Preferred, device))
				break
			}
		}
	}
	return found
}

type sender = func(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value

// ignore leaves a message out, answering the receiver.
func ignore(selector string) sender {
	return func(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value {
		if name == selector {
			return objc.Value{Kind: result, Word: uint64(self)}
		}
		return p.Runtime.Send(self, sel, result, args...)
	}
}

func twice(selector string) sender {
	return func(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value {
		if name == selector {
			p.Runtime.Send(self, sel, result, args...)
		}
		return p.Runtime.Send(self, sel, result, args...)
	}
}

func changeArgs(selector string, change func([]objc.Value)) sender {
	return func(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value {
		if name == selector {
			change(args)
		}
		return p.Runtime.Send(self, sel, result, args...)
	}
}

func dropLast(selector string) sender {
	return func(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value {
		if name == selector {
			args = args[:len(args)-1]
		}
		return p.Runtime.Send(self, sel, result, args...)
	}
}

// wrongResult reads an NSUInteger as an NSInteger.
func wrongResult(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value {
	if name == "count" {
		result = objc.Int
	}
	return p.Runtime.Send(self, sel, result, args...)
}

// denseStrides answers the strides of rows without padding.
func denseStrides(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value {
	answer := p.Runtime.Send(self, sel, result, args...)
	if name != "strides" {
		return answer
	}
	shape := goNumbers(p.Runtime, p.Runtime.Send(self, p.Runtime.Selector("shape"), objc.Object).ID())
	strides := make([]int, len(shape))
	n := 1
	for d := len(shape) - 1; d >= 0; d-- {
		strides[d] = n
		n *= shape[d]
	}
	return numbers(p.Runtime, strides)
}

// numbers makes an NSArray of NSNumbers.
func numbers(rt objc.Runtime, values []int) objc.Value {
	ids := make([]objc.ID, len(values))
	for i, v := range values {
		ids[i] = rt.Send(rt.Class("NSNumber"), rt.Selector("numberWithLongLong:"), objc.Object, objc.Integer(v)).ID()
	}
	return rt.Send(rt.Class("NSArray"), rt.Selector("arrayWithObjects:count:"), objc.Object, objc.List(ids), objc.Count(len(ids)))
}

func goNumbers(rt objc.Runtime, array objc.ID) []int {
	values := make([]int, rt.Send(array, rt.Selector("count"), objc.Uint).Int())
	for i := range values {
		element := rt.Send(array, rt.Selector("objectAtIndex:"), objc.Object, objc.Count(i)).ID()
		values[i] = rt.Send(element, rt.Selector("longLongValue"), objc.Int).Int()
	}
	return values
}

// statePerFunction has each model predict on a state of its own making.
func statePerFunction() sender {
	own := map[objc.ID]objc.Value{}
	return func(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value {
		if name == "predictionFromFeatures:usingState:error:" {
			if _, ok := own[self]; !ok {
				own[self] = p.Runtime.Send(self, p.Runtime.Selector("newState"), objc.Object)
			}
			args[1] = own[self]
			args[1].Kind = objc.Object
		}
		return p.Runtime.Send(self, sel, result, args...)
	}
}

// planOf loads every plan for one function.
func planOf(function string) sender {
	return func(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value {
		if name == "loadContentsOfURL:configuration:completionHandler:" {
			text := p.Runtime.Send(p.Class("NSString"), p.Runtime.Selector("stringWithUTF8String:"), objc.Object, objc.String(function))
			p.Runtime.Send(args[1].ID(), p.Runtime.Selector("setFunctionName:"), objc.Void, objc.Of(text.ID()))
		}
		return p.Runtime.Send(self, sel, result, args...)
	}
}

// pretendVersion hides that the system is too old.
func pretendVersion(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value {
	if name == "operatingSystemVersion" {
		return objc.Value{Kind: objc.Triple, Words: [3]int64{15}}
	}
	return p.Runtime.Send(self, sel, result, args...)
}

// renameStates asks for states by other names than the description's.
func renameStates() sender {
	return func(p *planted, name string, self objc.ID, sel objc.Selector, result objc.Kind, args []objc.Value) objc.Value {
		if name == "getMultiArrayForStateNamed:handler:" {
			args[0] = p.Runtime.Send(p.Class("NSString"), p.Runtime.Selector("stringWithUTF8String:"), objc.Object, objc.String("kv"))
		}
		return p.Runtime.Send(self, sel, result, args...)
	}
}
