package native

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
	"lockstep/internal/half"
)

// function is a loaded function with memory for its inputs.
type function struct {
	pkg     *pkg
	model   *model
	inputs  map[string]*buffer
	running sync.Mutex
}

// allocate makes the memory that inputs are handed over in.
func (f *function) allocate() error {
	f.inputs = map[string]*buffer{}
	for _, in := range f.model.sig.Inputs {
		m, err := f.pkg.buffer(elements(in.Shape))
		if err != nil {
			return fmt.Errorf("input %q: %w", in.Name, err)
		}
		f.inputs[in.Name] = m
	}
	return nil
}

// Name implements coreml.Function.
func (f *function) Name() string { return f.model.name }

// Signature implements coreml.Function: features in the order of their names.
// Its slices must not be written to.
func (f *function) Signature() coreml.Signature { return f.model.sig }

// Predict implements coreml.Function. What does not fit the signature and
// non-finite inputs are refused before the state is touched. A pass that has
// begun is not ended by ctx. Where an output is not finite, outputs are filled
// and the pass has written to the state. Passes of one function, and passes on
// one state, wait for each other.
func (f *function) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	f.running.Lock()
	defer f.running.Unlock()
	if err := f.pkg.acquire(); err != nil {
		return err
	}
	defer f.pkg.release()
	if err := f.predict(ctx, inputs, st, outputs); err != nil {
		return fmt.Errorf("package %s: function %s: %w", f.pkg.name, f.model.name, err)
	}
	return nil
}

func (f *function) predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	sig := f.model.sig
	if err := checkTensors("input", sig.Inputs, inputs); err != nil {
		return err
	}
	if err := checkTensors("output", sig.Outputs, outputs); err != nil {
		return err
	}
	if err := checkFinite("input", sig.Inputs, inputs); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, in := range sig.Inputs {
		copy(f.inputs[in.Name].values, inputs[in.Name].Data)
	}
	if err := f.pass(st, outputs); err != nil {
		return err
	}
	return checkFinite("output", sig.Outputs, outputs)
}

// pass runs the model on the inputs' memory and reads its outputs. Arrays are
// made anew for each pass: a runtime that reused them gave results that were
// not its own.
func (f *function) pass(st coreml.State, outputs map[string]coreml.Tensor) error {
	var own *state
	if len(f.model.sig.States) > 0 {
		s, ok := st.(*state)
		if !ok || s == nil || s.pkg != f.pkg {
			return fmt.Errorf("%w: want a state made by this package, found another", ErrTensor)
		}
		own = s
		own.mu.Lock()
		defer own.mu.Unlock()
	}
	return f.pkg.plane.b.pool(func(s *scope) error {
		result, err := f.run(s, own)
		if err != nil {
			return err
		}
		for _, out := range f.model.sig.Outputs {
			value := s.object(result, "<MLFeatureProvider> featureValueForName:", objc.Of(s.text(out.Name)))
			array := s.object(value, "MLFeatureValue multiArrayValue")
			s.read(array, out.Shape, outputs[out.Name].Data)
			if s.err != nil {
				return fmt.Errorf("output %q: %w", out.Name, s.err)
			}
		}
		return nil
	})
}

// run sends the prediction.
func (f *function) run(s *scope, own *state) (objc.ID, error) {
	features := f.features(s)
	if own == nil {
		result := s.checked("predict", f.model.id, "MLModel predictionFromFeatures:error:", objc.Of(features))
		return result, s.err
	}
	ml, err := own.of(f.model)
	if err != nil {
		return 0, err
	}
	result := s.checked("predict", f.model.id, "MLModel predictionFromFeatures:usingState:error:", objc.Of(features), objc.Of(ml))
	return result, s.err
}

// features makes the MLFeatureProvider of the inputs.
func (f *function) features(s *scope) objc.ID {
	values := map[string]objc.ID{}
	for _, in := range f.model.sig.Inputs {
		array := s.wrap(f.inputs[in.Name], in.Shape)
		values[in.Name] = s.object(s.class("MLFeatureValue"), "MLFeatureValue featureValueWithMultiArray:", objc.Of(array))
	}
	return s.own(s.checked("hand the inputs over", s.alloc("MLDictionaryFeatureProvider"),
		"MLDictionaryFeatureProvider initWithDictionary:error:", objc.Of(s.dictionary(values))))
}

// checkTensors compares the caller's tensors with the signature.
func checkTensors(kind string, features []coreml.Feature, got map[string]coreml.Tensor) error {
	for _, f := range features {
		t, ok := got[f.Name]
		if !ok {
			return fmt.Errorf("%w: %s %q: missing", ErrTensor, kind, f.Name)
		}
		if !slices.Equal(t.Shape, f.Shape) || len(t.Data) != elements(f.Shape) {
			return fmt.Errorf("%w: %s %q: want shape %v, found %v with %d values", ErrTensor, kind, f.Name, f.Shape, t.Shape, len(t.Data))
		}
	}
	if len(got) != len(features) {
		return fmt.Errorf("%w: want %d %ss, found %d", ErrTensor, len(features), kind, len(got))
	}
	return nil
}

func checkFinite(kind string, features []coreml.Feature, tensors map[string]coreml.Tensor) error {
	for _, f := range features {
		if i := half.FirstNonFinite(tensors[f.Name].Data); i >= 0 {
			return fmt.Errorf("%s %q at element %d of %v: %w", kind, f.Name, i, f.Shape, coreml.ErrNonFinite)
		}
	}
	return nil
}
