package reference

import (
	"context"
	"fmt"
	"strings"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/reference/kernel"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// shown is a value that Trace hands out: once the first after steps of a pass
// have run, and before the next one, which may use its buffer again.
type shown struct {
	op, name string
	typ      mil.Type
	value    int
	after    int
}

// show lists what the op at hand gives, unless it was known at compile time.
// What a step of its own makes stands from that step on, anything else, a part
// of another value, from where the program has come to.
func (c *compiler) show() {
	if c.op.Type == "const" || strings.HasPrefix(c.op.Type, "constexpr_") {
		return
	}
	for _, out := range c.op.Outputs {
		v, ok := c.index[out.Name]
		if !ok {
			continue
		}
		after := c.values[v].step + 1
		if after == 0 {
			after = len(c.steps)
		}
		c.fn.shown = append(c.fn.shown, shown{op: c.op.Type, name: out.Name, typ: out.Type, value: v, after: after})
	}
}

// stand keeps v, a part of another value, as it is until the steps so far have
// run, even if no step ever reads it: Trace shows it then.
func (c *compiler) stand(v int) {
	at := len(c.steps) - 1
	if at < 0 {
		return // nothing has been written over
	}
	c.steps[at].reads = append(c.steps[at].reads, v)
	c.touch(v, at)
}

// Trace implements coreml.Tracer. The function is busy until it returns:
// observe must not run it, nor use the state.
func (f *function) Trace(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor, observe func(coreml.Observed) error) error {
	largest := 0
	for _, s := range f.shown {
		largest = max(largest, mil.NumElements(s.typ.Shape))
	}
	return f.pass(ctx, inputs, st, outputs, &tracer{f: f, left: f.shown, data: make([]float16.Float16, largest), observe: observe})
}

// tracer hands the values of one pass to observe.
type tracer struct {
	f       *function
	left    []shown
	data    []float16.Float16 // of the value at hand
	observe func(coreml.Observed) error
}

// ran shows what stands now that so many steps have run.
func (t *tracer) ran(steps int) error {
	for len(t.left) > 0 && t.left[0].after <= steps {
		s := t.left[0]
		t.left = t.left[1:]
		values := t.f.values[s.value]
		data := t.data[:len(values)]
		if s.typ.DType == mil.Float16 || s.typ.DType == mil.Float32 {
			half.Encode(data, values)
		} else {
			kernel.EncodeInts(data, kernel.Ints(values), s.typ.DType == mil.UInt32)
		}
		if err := t.observe(coreml.Observed{Op: s.op, Name: s.name, Tensor: coreml.Tensor{Shape: s.typ.Shape, Data: data}}); err != nil {
			return fmt.Errorf("value %q: %w", s.name, err)
		}
	}
	return nil
}
