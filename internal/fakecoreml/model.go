package fakecoreml

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
	"lockstep/coreml/reference"
	"lockstep/internal/durable"
	"lockstep/internal/mlpackage"
)

// inside is where the package lies inside the fake's compiled model.
const inside = "package.mlpackage"

// configuration is the payload of an MLModelConfiguration.
type configuration struct {
	units    int
	function string
}

// model is the payload of an MLModel.
type model struct {
	path     string
	function coreml.Function
}

// models answers the messages about compiling, loading and describing.
func models() map[string]method {
	return map[string]method{
		"MLModel compileModelAtURL:completionHandler:": func(c *call) objc.Value {
			from := c.text(0)
			return c.complete(func() (objc.ID, *Failure) { return c.compile(from) })
		},
		"MLModelAsset modelAssetWithURL:error:": func(c *call) objc.Value {
			return c.orError(func() (objc.ID, *Failure) { return c.make("MLModelAsset", c.text(0)), nil })
		},
		"MLModelAsset functionNamesWithCompletionHandler:": func(c *call) objc.Value {
			return c.complete(func() (objc.ID, *Failure) { return c.functionNames(c.self.payload.(string)) })
		},
		"MLModelConfiguration init": func(c *call) objc.Value {
			c.self.payload = &configuration{units: 2}
			return objc.Of(c.self.id)
		},
		"MLModelConfiguration setComputeUnits:": func(c *call) objc.Value {
			c.configuration(c.self).units = c.args[0].Int()
			return objc.Value{}
		},
		"MLModelConfiguration setFunctionName:": func(c *call) objc.Value {
			c.configuration(c.self).function = c.text(0)
			return objc.Value{}
		},
		"MLModel modelWithContentsOfURL:configuration:error:": func(c *call) objc.Value {
			return c.orError(func() (objc.ID, *Failure) { return c.load(c.text(0), c.configuration(c.arg(1))) })
		},
		"MLModel modelDescription": func(c *call) objc.Value {
			fn := c.self.payload.(*model).function
			sig := fn.Signature()
			if c.opt.Describe != nil {
				c.opt.Describe(fn.Name(), &sig)
			}
			return c.answer(c.make("MLModelDescription", sig))
		},
		"MLModelDescription inputDescriptionsByName":  func(c *call) objc.Value { return c.features(c.signature().Inputs, 5) },
		"MLModelDescription outputDescriptionsByName": func(c *call) objc.Value { return c.features(c.signature().Outputs, 5) },
		"MLModelDescription stateDescriptionsByName":  func(c *call) objc.Value { return c.features(c.signature().States, 8) },
		"MLFeatureDescription type":                   func(c *call) objc.Value { return number(c.self.payload.(feature).kind) },
		"MLFeatureDescription multiArrayConstraint":   func(c *call) objc.Value { return c.constraint("MLMultiArrayConstraint", 5) },
		"MLFeatureDescription stateConstraint":        func(c *call) objc.Value { return c.constraint("MLStateConstraint", 8) },
		"MLMultiArrayConstraint shape":                func(c *call) objc.Value { return c.answer(c.numbers(c.self.payload.(feature).Shape)) },
		"MLMultiArrayConstraint dataType":             (*call).dataType,
		"MLStateConstraint bufferShape":               func(c *call) objc.Value { return c.answer(c.numbers(c.self.payload.(feature).Shape)) },
		"MLStateConstraint dataType":                  (*call).dataType,
	}
}

// coreMLFailure is an NSError of Core ML's domain.
func coreMLFailure(err error) *Failure {
	return &Failure{Domain: "com.apple.CoreML", Code: 0, Description: err.Error()}
}

// compile copies a package to a temporary directory that looks like a compiled
// model.
func (c *call) compile(from string) (objc.ID, *Failure) {
	c.mu.Lock()
	c.compiled++
	n := c.compiled
	c.mu.Unlock()
	to := filepath.Join(c.opt.TempDir, fmt.Sprintf("compiled-%d", n), strings.TrimSuffix(filepath.Base(from), ".mlpackage")+".mlmodelc")
	if err := copyPackage(from, filepath.Join(to, inside)); err != nil {
		return 0, coreMLFailure(err)
	}
	c.opt.took(Compiling, "")
	return c.make("NSURL", to), nil
}

func copyPackage(from, to string) error {
	files, err := mlpackage.Open(from) // what is no package does not compile
	if err != nil {
		return err
	}
	if err := files.Close(); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := durable.MkdirAll(durable.OS{}, filepath.Dir(filepath.Join(to, rel))); err != nil {
			return err
		}
		return durable.WriteNew(durable.OS{}, filepath.Join(to, rel), data)
	})
}

// open opens the package inside a compiled model, once: the states of its
// functions are then of one package.
func (c *call) open(path string) (coreml.Package, *Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pkg, ok := c.packages[path]; ok {
		return pkg, nil
	}
	pkg, err := reference.Plane{}.Open(context.Background(), filepath.Join(path, inside))
	if err != nil {
		return nil, coreMLFailure(err)
	}
	c.packages[path] = pkg
	return pkg, nil
}

// describe reads the description of the package inside a compiled model.
func describe(path string) (*mlpackage.Model, *Failure) {
	files, err := mlpackage.Open(filepath.Join(path, inside))
	if err != nil {
		return nil, coreMLFailure(err)
	}
	if err := files.Close(); err != nil {
		return nil, coreMLFailure(err)
	}
	return files.Model, nil
}

// functionNames lists the functions of a compiled model that has named ones.
func (c *call) functionNames(path string) (objc.ID, *Failure) {
	m, failure := describe(path)
	if failure != nil {
		return 0, failure
	}
	var names []string
	for _, f := range m.Description.Functions {
		if m.Description.Multi {
			names = append(names, f.Name)
		}
	}
	return c.arrayOf(len(names), func(i int) objc.ID { return c.nsString(names[i]) }), nil
}

// configured is the function that a configuration chooses.
func configured(m *mlpackage.Model, cfg *configuration) (string, *Failure) {
	switch {
	case cfg.function == "" && m.Description.Multi:
		return m.Description.Default, nil
	case cfg.function == "":
		return mlpackage.MainFunction, nil
	case !m.Description.Multi:
		return "", coreMLFailure(fmt.Errorf("function %q: the model has no named functions", cfg.function))
	case m.Description.Function(cfg.function) == nil:
		return "", coreMLFailure(fmt.Errorf("function %q: the model has none of that name", cfg.function))
	}
	return cfg.function, nil
}

func (c *call) load(path string, cfg *configuration) (objc.ID, *Failure) {
	m, failure := describe(path)
	if failure != nil {
		return 0, failure
	}
	if want := c.opt.units(); cfg.units != want {
		c.fault("a model is loaded for the compute units %d, want %d", cfg.units, want)
	}
	name, failure := configured(m, cfg)
	if failure != nil {
		return 0, failure
	}
	pkg, failure := c.open(path)
	if failure != nil {
		return 0, failure
	}
	fn, err := pkg.Function(context.Background(), name)
	if err != nil {
		return 0, coreMLFailure(err)
	}
	c.opt.took(Loading, fn.Name())
	return c.make("MLModel", &model{path: path, function: fn}), nil
}

// configuration is an object's payload; one that was never initialised is a
// fault.
func (c *call) configuration(o *object) *configuration {
	if o != nil {
		if cfg, ok := o.payload.(*configuration); ok {
			return cfg
		}
	}
	c.fault("%s: want an initialised MLModelConfiguration", c.row.Name())
	return &configuration{}
}

// feature is the payload of an MLFeatureDescription and its constraints.
type feature struct {
	coreml.Feature
	kind int
}

func (c *call) dataType() objc.Value {
	if t, ok := c.opt.DataTypes[c.self.payload.(feature).Name]; ok {
		return number(t)
	}
	return number(float16Type)
}

func (c *call) signature() coreml.Signature { return c.self.payload.(coreml.Signature) }

func (c *call) features(fs []coreml.Feature, kind int) objc.Value {
	byName := map[string]coreml.Feature{}
	var names []string
	for _, f := range fs {
		byName[f.Name] = f
		names = append(names, f.Name)
	}
	return c.answer(c.dictionaryOf(names, func(name string) objc.ID {
		return c.make("MLFeatureDescription", feature{byName[name], kind})
	}))
}

// constraint is nil for a feature of another kind.
func (c *call) constraint(class string, kind int) objc.Value {
	f := c.self.payload.(feature)
	if f.kind != kind {
		return objc.Of(0)
	}
	return c.answer(c.make(class, f))
}
