package mutant

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"testing/fstest"

	"lockstep/exporter"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
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

// blobs are the references of a weight, in order: values, then scales.
func blobs(f *mil.Function, name string) ([]*mil.BlobRef, error) {
	o, err := op(f, name)
	if err != nil {
		return nil, err
	}
	var refs []*mil.BlobRef
	if o.Val != nil && o.Val.Blob != nil {
		refs = append(refs, o.Val.Blob)
	}
	for _, param := range []string{"data", "scale"} {
		if b, err := argument(o, param); err == nil && b.Literal != nil && b.Literal.Blob != nil {
			refs = append(refs, b.Literal.Blob)
		}
	}
	if len(refs) == 0 {
		return nil, fmt.Errorf("op %q refers to no blob", name)
	}
	return refs, nil
}

// exchange swaps the offsets of two weights of one function.
func exchange(f *mil.Function, a, b string) error {
	ra, err := blobs(f, a)
	if err != nil {
		return err
	}
	rb, err := blobs(f, b)
	if err != nil {
		return err
	}
	for i := range ra {
		ra[i].Offset, rb[i].Offset = rb[i].Offset, ra[i].Offset
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

func epsilonLost(_ context.Context, s *specimen) error {
	return s.eachFunction(func(f *mil.Function) error {
		o, err := op(f, "layers_0_attn_norm_ln_epsilon")
		if err != nil {
			return err
		}
		o.Val.Bytes = []byte{0, 0}
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

// blobHeader is the length of a blob's metadata, which its data follow.
const blobHeader = 64

func weightBitFlipped(_ context.Context, s *specimen) error {
	refs, err := blobs(s.function(1), "layers_1_gate_up_weight")
	if err != nil {
		return err
	}
	s.unsealed = true
	s.weights()[refs[0].Offset+blobHeader] ^= 1
	return nil
}

func weightsTruncated(_ context.Context, s *specimen) error {
	w := s.weights()
	s.files[mlpackage.WeightsPath] = w[:len(w)-1]
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

// scaleBitFlipped sets the exponent bit of weight 2^8 in a scale that has it
// clear: one channel of hidden becomes 256 times as large.
func scaleBitFlipped(_ context.Context, s *specimen) error {
	refs, err := blobs(s.function(1), "layers_1_down_weight")
	if err != nil {
		return err
	}
	data := s.weights()[refs[len(refs)-1].Offset+blobHeader:]
	for i := 0; i+2 <= len(data); i += 2 {
		if h := binary.LittleEndian.Uint16(data[i:]); h&0x2000 == 0 {
			binary.LittleEndian.PutUint16(data[i:], h|0x2000)
			return nil
		}
	}
	return fmt.Errorf("no scale has that bit clear")
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
	opt := s.base.Export
	opt.Checkpoint, opt.Dir = ck, s.dir+"-export"
	if _, err := exporter.Export(ctx, opt); err != nil {
		return err
	}
	digest := s.record.Model.ConfigSHA256
	if err := s.load(opt.Dir); err != nil {
		return err
	}
	s.touched = func() bool { return s.record.Model.Rope.Dim == s.record.Model.Dims.HeadDim }
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
