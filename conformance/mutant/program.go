package mutant

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing/fstest"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// eachFunction applies a rewrite to every function of the program.
func (s *specimen) eachFunction(rewrite func(*mil.Function) error) error {
	for _, f := range s.model.Program.Functions {
		if err := rewrite(f); err != nil {
			return err
		}
	}
	return nil
}

// argument is the first binding of an op's parameter.
func argument(o *mil.Op, param string) (*mil.Binding, error) {
	for i := range o.Args {
		if o.Args[i].Param == param && len(o.Args[i].Bindings) > 0 {
			return &o.Args[i].Bindings[0], nil
		}
	}
	return nil, fmt.Errorf("op %q has no parameter %q", o.Name, param)
}

func headsAsHeadTokenDim(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error {
		for layer := range s.base.Export.Layers.Len() {
			name := fmt.Sprintf("layers_%d_heads_columns", layer)
			o, err := op(f, name)
			if err != nil {
				return err
			}
			perm, err := op(f, name+"_perm")
			if err != nil {
				return err
			}
			perm.Val.Ints = []int32{0, 1, 2, 3}
			shape := o.Outputs[0].Type.Shape
			shape[2], shape[3] = shape[3], shape[2]
		}
		return nil
	})
}

func gateAndUpSwapped(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error {
		o, err := op(f, "layers_0_gate")
		if err != nil {
			return err
		}
		o.Outputs[0].Name, o.Outputs[1].Name = o.Outputs[1].Name, o.Outputs[0].Name
		return nil
	})
}

// exchange swaps the offsets of two weights of one function.
func exchange(f *mil.Function, a, b string) error {
	la, err := literals(f, a)
	if err != nil {
		return err
	}
	lb, err := literals(f, b)
	if err != nil {
		return err
	}
	for i := range la {
		la[i].Blob.Offset, lb[i].Blob.Offset = lb[i].Blob.Offset, la[i].Blob.Offset
	}
	return nil
}

func weightsOfAnotherLayer(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error { return exchange(f, "layers_0_qkv_weight", "layers_1_qkv_weight") })
}

func blockWithOtherWeights(_ context.Context, s *specimen) error {
	return exchange(s.function(4), "layers_0_down_weight", "layers_1_down_weight")
}

func residualLeftOut(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error {
		o, err := op(f, "layers_0_attn_residual")
		if err != nil {
			return err
		}
		x, err := argument(o, "x")
		if err != nil {
			return err
		}
		y, err := argument(o, "y")
		if err != nil {
			return err
		}
		o.Type, x.Name = "maximum", y.Name // max(a, a) is a
		return nil
	})
}

func attentionUsesOldCache(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error {
		o, err := op(f, "layers_0_k_head_0")
		if err != nil {
			return err
		}
		x, err := argument(o, "x")
		if err != nil {
			return err
		}
		x.Name = "layers_0_k_cache_old"
		return nil
	})
}

func descriptionDisagrees(_ context.Context, s *specimen) error {
	shape := slices.Clone(s.model.Description.Functions[0].Outputs[0].Shape)
	slices.Reverse(shape)
	s.model.Description.Functions[0].Outputs[0].Shape = shape
	return nil
}

func recordOfAnotherRecipe(_ context.Context, s *specimen) (err error) {
	s.record.Recipe.Slots *= 2
	s.record.RecipeSHA256, err = s.record.Recipe.Digest()
	return err
}

func weightsTruncated(_ context.Context, s *specimen) error {
	w := s.weights()
	s.files[mlpackage.WeightsPath] = w[:len(w)-1]
	return nil
}

// blockRoundsOtherwise moves one scale of t4 alone to the next float16: each
// function stays within every tolerance.
func blockRoundsOtherwise(_ context.Context, s *specimen) error {
	o, err := op(s.function(4), "layers_0_q_scaled_y")
	if err != nil {
		return err
	}
	o.Val.Bytes[0] ^= 1
	return nil
}

func useBeforeDefinition(_ context.Context, s *specimen) error {
	ops := s.function(4).Ops
	i := slices.IndexFunc(ops, func(o *mil.Op) bool { return o.Name == "layers_1_gate_silu" })
	if i < 1 {
		return fmt.Errorf("no op before layers_1_gate_silu")
	}
	ops[i-1], ops[i] = ops[i], ops[i-1]
	return nil
}

func recordMiscountsOps(_ context.Context, s *specimen) error {
	s.miscounted = true
	s.shard().Functions[0].OpCounts["conv"]++
	return nil
}

func modelLargerThanPlanned(_ context.Context, s *specimen) error {
	s.resized = true
	s.model.Description.Metadata.ShortDescription += "."
	return nil
}

// insert puts ops before the op called name, which then reads out in place of
// the value that its parameter x had. make builds the ops from that value.
func insert(f *mil.Function, name string, make func(x mil.Value) (ops []*mil.Op, out string)) error {
	i := slices.IndexFunc(f.Ops, func(o *mil.Op) bool { return o.Name == name })
	if i < 0 {
		return fmt.Errorf("function %s has no op %q", f.Name, name)
	}
	x, err := argument(f.Ops[i], "x")
	if err != nil {
		return err
	}
	scope, err := mil.NewScope(f)
	if err != nil {
		return err
	}
	ops, out := make(mil.Value{Name: x.Name, Type: scope.Type(x.Name)})
	x.Name = out
	f.Ops = slices.Insert(f.Ops, i, ops...)
	return nil
}

// constOp is a const op whose output has its name.
func constOp(name string, lit mil.Literal) *mil.Op {
	return &mil.Op{Type: "const", Name: name, Outputs: []mil.Value{{Name: name, Type: lit.Type}}, Val: &lit}
}

// unaryOp is an op of x and one const parameter.
func unaryOp(typ, name, x, param, value string, t mil.Type) *mil.Op {
	args := []mil.Argument{
		{Param: "x", Bindings: []mil.Binding{{Name: x}}},
		{Param: param, Bindings: []mil.Binding{{Name: value}}},
	}
	slices.SortFunc(args, func(a, b mil.Argument) int { return strings.Compare(a.Param, b.Param) })
	return &mil.Op{Type: typ, Name: name, Args: args, Outputs: []mil.Value{{Name: name, Type: t}}}
}

// rankFive takes the activation through a fifth dimension and back.
func rankFive(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error {
		return insert(f, "layers_0_down", func(x mil.Value) ([]*mil.Op, string) {
			wide := mil.Tensor(x.Type.DType, append([]int{1}, x.Type.Shape...)...)
			return []*mil.Op{
				constOp("wide_axes", mil.Int32s(0)),
				unaryOp("expand_dims", "wide", x.Name, "axes", "wide_axes", wide),
				unaryOp("squeeze", "narrow", "wide", "axes", "wide_axes", x.Type),
			}, "narrow"
		})
	})
}

// intValue takes the activation through int32 and back.
func intValue(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error {
		return insert(f, "layers_0_down", func(x mil.Value) ([]*mil.Op, string) {
			return []*mil.Op{
				constOp("to_int", mil.StringScalar("int32")),
				unaryOp("cast", "whole", x.Name, "dtype", "to_int", mil.Tensor(mil.Int32, x.Type.Shape...)),
				constOp("to_half", mil.StringScalar("fp16")),
				unaryOp("cast", "back", "whole", "dtype", "to_half", x.Type),
			}, "back"
		})
	})
}

// exportAgain replaces the specimen by another export, which then passes for
// what the record of the base says.
func (s *specimen) exportAgain(ctx context.Context, change func(*exporter.Options)) error {
	opt := s.base.Export
	opt.Dir = s.dir + "-export"
	change(&opt)
	if _, err := exporter.Export(ctx, opt); err != nil {
		return err
	}
	record := s.record
	loaded := *s
	loaded.layers = opt.Layers
	if err := loaded.load(opt.Dir); err != nil {
		return err
	}
	s.model, s.files = loaded.model, loaded.files
	s.originalModel = loaded.originalModel // its size is the plan's of what was exported
	s.exported = loaded.record
	s.record = record
	return nil
}

// anotherRange exports the layers before the shard under the shard's name.
func anotherRange(ctx context.Context, s *specimen) error {
	layers := s.base.Export.Layers
	return s.exportAgain(ctx, func(opt *exporter.Options) {
		opt.OffLadder = true
		opt.Layers = exporter.Range{Start: layers.Start - layers.Len(), End: layers.Start}
	})
}

// threeRows is a block of three rows that calls itself t4.
func threeRows(ctx context.Context, s *specimen) error {
	err := s.exportAgain(ctx, func(opt *exporter.Options) { opt.Recipe.Rows = []int{1, 3} })
	if err != nil {
		return err
	}
	s.resized = true
	s.model.Program.Function("t3").Name = "t4"
	s.model.Description.Function("t3").Name = "t4"
	return nil
}

// recordRangeWrong says that the package holds the layers before its own.
func recordRangeWrong(_ context.Context, s *specimen) error {
	sh, n := s.shard(), s.layers.Len()
	sh.Start, sh.End, sh.OffLadder = sh.Start-n, sh.End-n, true
	s.layers = exporter.Range{Start: sh.Start, End: sh.End}
	return nil
}

// tokenInGraph gives every function an integer input that nothing uses yet.
func tokenInGraph(_ context.Context, s *specimen) error {
	s.resized = true
	for i := range s.model.Description.Functions {
		d := &s.model.Description.Functions[i]
		d.Inputs = append(d.Inputs, mlpackage.Feature{Name: "token", DType: mil.Int32, Shape: []int{1}})
		f := s.model.Program.Function(d.Name)
		f.Inputs = append(f.Inputs, mil.Value{Name: "token", Type: mil.Tensor(mil.Int32, 1)})
	}
	return nil
}

func recordSizeWrong(_ context.Context, s *specimen) error {
	return s.falsify(func(f *manifest.File) { f.Bytes++ })
}

func recordDigestWrong(_ context.Context, s *specimen) error {
	return s.falsify(func(f *manifest.File) { f.SHA256 = strings.Repeat("0", len(f.SHA256)) })
}

// falsify changes the record's entry of the weights, and its sums with it.
func (s *specimen) falsify(change func(*manifest.File)) (err error) {
	s.unsealed = true
	pkg := &s.shard().Package
	pkg.Bytes = 0
	for i := range pkg.Files {
		if pkg.Files[i].Path == mlpackage.WeightsPath {
			change(&pkg.Files[i])
		}
		pkg.Bytes += pkg.Files[i].Bytes
	}
	pkg.Digest, err = manifest.PackageDigest(pkg.Files)
	return err
}

// ropeOverWholeHead exports again from a config without partial rotation, and
// gives the record the true config's digest: exporter and host agree with each
// other, and both are wrong.
func ropeOverWholeHead(ctx context.Context, s *specimen) error {
	text, err := fs.ReadFile(s.base.Source, checkpoint.ConfigFile)
	if err != nil {
		return err
	}
	faulty, err := wholeHeadConfig(text)
	if err != nil {
		return err
	}
	ck, err := checkpoint.Open(overlay{s.base.Source, checkpoint.ConfigFile, faulty})
	if err != nil {
		return err
	}
	defer ck.Close() // opened for reading
	if err := s.exportAgain(ctx, func(opt *exporter.Options) { opt.Checkpoint = ck }); err != nil {
		return err
	}
	digest := s.record.Model.ConfigSHA256
	s.record = s.exported
	s.record.Model.ConfigSHA256 = digest
	return nil
}

// wholeHeadConfig sets partial_rotary_factor to 1 and lengthens the factor
// lists by repeating their last entry.
func wholeHeadConfig(text []byte) ([]byte, error) {
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	config["partial_rotary_factor"] = 1.0
	half, err := headDimHalf(config)
	if err != nil {
		return nil, err
	}
	if scaling, ok := config["rope_scaling"].(map[string]any); ok {
		for _, key := range []string{"short_factor", "long_factor"} {
			list, _ := scaling[key].([]any)
			for len(list) > 0 && len(list) < half {
				list = append(list, list[len(list)-1])
			}
			scaling[key] = list
		}
	}
	return json.Marshal(config)
}

func headDimHalf(config map[string]any) (int, error) {
	hidden, ok1 := config["hidden_size"].(float64)
	heads, ok2 := config["num_attention_heads"].(float64)
	if !ok1 || !ok2 || heads < 1 {
		return 0, fmt.Errorf("config has hidden_size %v and %v heads", config["hidden_size"], config["num_attention_heads"])
	}
	return int(hidden) / int(heads) / 2, nil
}

// overlay is a file system with one file replaced.
type overlay struct {
	fs.FS
	name    string
	content []byte
}

func (o overlay) Open(name string) (fs.File, error) {
	if name == o.name {
		return fstest.MapFS{name: &fstest.MapFile{Data: o.content}}.Open(name)
	}
	return o.FS.Open(name)
}
