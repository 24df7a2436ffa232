package fakecoreml

import (
	"context"
	"errors"
	"fmt"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
)

// resultProvider is what predictions answer: a private class.
const resultProvider = "MLResultProvider"

// mlState is the payload of an MLState.
type mlState struct {
	maker   string // the function
	content coreml.State
	shapes  map[string][]int
}

// predictions answers the messages about passes and states.
func predictions() map[string]method {
	return map[string]method{
		"MLFeatureValue featureValueWithMultiArray:": func(c *call) objc.Value {
			return c.answer(c.make("MLFeatureValue", nil, c.args[0].ID()))
		},
		"MLFeatureValue multiArrayValue": func(c *call) objc.Value { return objc.Of(c.self.holds[0]) },
		"MLDictionaryFeatureProvider initWithDictionary:error:": func(c *call) objc.Value {
			d := c.arg(0)
			if d == nil {
				c.fault("%s: want an NSDictionary", c.row.Name())
				return objc.Of(0)
			}
			c.retain(d.id)
			c.self.holds, c.self.payload = []objc.ID{d.id}, d.payload
			return objc.Of(c.self.id)
		},
		"<MLFeatureProvider> featureValueForName:": func(c *call) objc.Value {
			return objc.Of(c.self.payload.(map[string]objc.ID)[c.text(0)])
		},
		"MLModel newState": func(c *call) objc.Value { return c.newState(c.self.payload.(*model)) },
		"MLModel predictionFromFeatures:error:": func(c *call) objc.Value {
			return c.orError(func() (objc.ID, *Failure) { return c.predict(c.arg(0), nil) })
		},
		"MLModel predictionFromFeatures:usingState:error:": func(c *call) objc.Value {
			return c.orError(func() (objc.ID, *Failure) { return c.predict(c.arg(0), c.arg(1)) })
		},
		"MLState getMultiArrayForStateNamed:handler:": reachIntoState,
	}
}

// newState answers an object that the caller owns.
func (c *call) newState(m *model) objc.Value {
	if b := c.behaviour(); b.Empty {
		return objc.Of(0)
	}
	pkg, failure := c.open(m.path)
	if failure != nil {
		c.fault("newState: %s", failure.Description)
		return objc.Of(0)
	}
	content, err := pkg.NewState()
	if err != nil {
		c.fault("newState: %v", err)
		return objc.Of(0)
	}
	st := &mlState{maker: m.function.Name(), content: content, shapes: map[string][]int{}}
	for _, f := range m.function.Signature().States {
		st.shapes[f.Name] = f.Shape
	}
	return objc.Of(c.make("MLState", st))
}

func (c *call) predict(features, ml *object) (objc.ID, *Failure) {
	fn := c.self.payload.(*model).function
	sig := fn.Signature()
	inputs, err := c.inputs(features, sig)
	if err != nil {
		return 0, coreMLFailure(err)
	}
	var content coreml.State
	if ml != nil {
		st := ml.payload.(*mlState)
		if c.opt.OwnStates && st.maker != fn.Name() {
			return 0, coreMLFailure(fmt.Errorf("the state was made by the function %s, not by %s", st.maker, fn.Name()))
		}
		content = st.content
	}
	outputs := map[string]coreml.Tensor{}
	for _, f := range sig.Outputs {
		outputs[f.Name] = coreml.Tensor{Shape: f.Shape, Data: make([]float16.Float16, elements(f.Shape))}
	}
	// Core ML hands out what is not finite.
	if err := fn.Predict(context.Background(), inputs, content, outputs); err != nil && !errors.Is(err, coreml.ErrNonFinite) {
		return 0, coreMLFailure(err)
	}
	c.opt.took(Predicting, fn.Name())
	return c.provider(fn.Name(), outputs), nil
}

// inputs reads the MLMultiArrays of a provider.
func (c *call) inputs(features *object, sig coreml.Signature) (map[string]coreml.Tensor, error) {
	inputs := map[string]coreml.Tensor{}
	if features == nil {
		return nil, errors.New("no features")
	}
	values, ok := features.payload.(map[string]objc.ID)
	if !ok {
		return nil, fmt.Errorf("%s is no feature provider", features.class)
	}
	for _, f := range sig.Inputs {
		value := c.object(values[f.Name], "read an input")
		if value == nil {
			return nil, fmt.Errorf("feature %q is missing", f.Name)
		}
		a := c.object(value.holds[0], "read an input").payload.(*multiArray)
		inputs[f.Name] = coreml.Tensor{Shape: a.shape, Data: a.values()}
	}
	return inputs, nil
}

// provider makes what a prediction answers.
func (c *call) provider(function string, outputs map[string]coreml.Tensor) objc.ID {
	values := map[string]objc.ID{}
	var ids []objc.ID
	for name, t := range outputs {
		if c.opt.Output != nil {
			c.opt.Output(function, name, t.Data)
		}
		array := c.makeArray(t.Shape, t.Data)
		values[name] = c.make("MLFeatureValue", nil, array)
		c.releaseID(array)
		ids = append(ids, values[name])
	}
	id := c.make(resultProvider, values, ids...)
	for _, value := range ids {
		c.releaseID(value)
	}
	return id
}

// reachIntoState lends the content of a state, at a new address each time.
func reachIntoState(c *call) objc.Value {
	st, name := c.self.payload.(*mlState), c.text(0)
	shape, ok := st.shapes[name]
	if !ok {
		c.fault("NSInvalidArgumentException: no state called %q", name)
		return objc.Value{}
	}
	if c.behaviour().Silent {
		return objc.Value{}
	}
	values := make([]float16.Float16, elements(shape))
	if err := st.content.Read(name, values); err != nil {
		c.fault("state %s: %v", name, err)
	}
	array := c.makeArray(shape, values)
	a := c.object(array, "lend a state").payload.(*multiArray)
	c.invokeInside(c.args[1].ID(), objc.Of(array))
	if err := st.content.Write(name, a.values()); err != nil {
		c.fault("state %s: %v", name, err)
	}
	c.releaseID(array)
	return objc.Value{}
}
