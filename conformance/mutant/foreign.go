package mutant

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/x448/float16"

	"lockstep/conformance"
	"lockstep/internal/contract"
	"lockstep/internal/durable"
	"lockstep/internal/half"
	"lockstep/internal/mil"
	"lockstep/internal/mlpackage"
)

// Foreign is a fault planted into a package that lockstep did not write.
type Foreign struct {
	Mutant
	Package string            // the fixture, without .mlpackage
	Names   map[string]string // how the sound package's names are mapped
	// Twin is the sound fixture where Package is faulty as it lies there;
	// otherwise change plants the fault.
	Twin   string
	change func(*copied) error
}

// copied is a fixture under change.
type copied struct {
	model   *mlpackage.Model
	weights []byte
	names   map[string]string
}

// RunForeign plants the fault into a copy of the fixture in dir, which must not
// exist, and judges it. packages holds the fixtures.
func RunForeign(ctx context.Context, base Base, packages fs.FS, m Foreign, dir string) (*Kill, error) {
	k, err := runForeign(ctx, base, packages, m, dir)
	if err != nil {
		return nil, fmt.Errorf("mutant %s of %s: %w", m.Name, m.Package, err)
	}
	return k, nil
}

// Sound is the fixture that the fault is planted into, without it.
func (m Foreign) Sound() Foreign {
	fixture := m.Package
	if m.Twin != "" {
		fixture = m.Twin
	}
	return Foreign{Mutant: Mutant{Name: soundName + " " + fixture}, Package: fixture, Names: m.Names}
}

// MakeForeign plants the fault into a copy of the fixture in dir, which must not
// exist, and returns how its names are mapped. packages holds the fixtures.
func MakeForeign(packages fs.FS, m Foreign, dir string) (map[string]string, error) {
	files, err := readFixture(packages, m.Package)
	if err != nil {
		return nil, err
	}
	names := maps.Clone(m.Names)
	changed := m.seedless()
	switch {
	case m.change != nil:
		faulty := maps.Clone(files)
		if names, err = plant(faulty, names, m.change); err != nil {
			return nil, err
		}
		changed = !maps.Equal(names, m.Names) || !maps.EqualFunc(faulty, files, bytes.Equal)
		files = faulty
	case m.Twin != "":
		twin, err := readFixture(packages, m.Twin)
		if err != nil {
			return nil, err
		}
		changed = !maps.EqualFunc(twin, files, bytes.Equal)
	}
	if !changed {
		return nil, ErrNoFault
	}
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := durable.MkdirAll(durable.OS{}, filepath.Dir(path)); err != nil {
			return nil, err
		}
		if err := durable.WriteNew(durable.OS{}, path, content); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func runForeign(ctx context.Context, base Base, packages fs.FS, m Foreign, dir string) (*Kill, error) {
	names, err := MakeForeign(packages, m, dir)
	if err != nil {
		return nil, err
	}
	opt := options(base, "")
	opt.Package, opt.Names = dir, names
	k := newKill(m.Mutant)
	return k, k.judge(ctx, opt)
}

// readFixture reads a package whole, by path within it.
func readFixture(packages fs.FS, name string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, path := range []string{mlpackage.ManifestPath, mlpackage.ModelPath, mlpackage.WeightsPath} {
		content, err := fs.ReadFile(packages, name+".mlpackage/"+path)
		if err != nil {
			return nil, err
		}
		files[path] = content
	}
	m, err := mlpackage.DecodeModel(files[mlpackage.ModelPath])
	if err != nil {
		return nil, err
	}
	// As this program encodes it, so that a fault is all that differs.
	files[mlpackage.ModelPath], err = mlpackage.EncodeModel(m)
	return files, err
}

// plant changes model, weights and names.
func plant(files map[string][]byte, names map[string]string, change func(*copied) error) (map[string]string, error) {
	m, err := mlpackage.DecodeModel(files[mlpackage.ModelPath])
	if err != nil {
		return nil, err
	}
	c := &copied{model: m, weights: slices.Clone(files[mlpackage.WeightsPath]), names: names}
	if err := change(c); err != nil {
		return nil, err
	}
	files[mlpackage.WeightsPath] = c.weights
	files[mlpackage.ModelPath], err = mlpackage.EncodeModel(c.model)
	return c.names, err
}

// swapNames exchanges what two contract names stand for.
func swapNames(a, b string) func(*copied) error {
	return func(c *copied) error {
		c.names[a], c.names[b] = c.names[b], c.names[a]
		return nil
	}
}

// nameNothing maps the hidden states in to a name that the package lacks.
func nameNothing(c *copied) error {
	c.names[contract.X] = "hidden_states"
	return nil
}

// statesSwapped calls a layer's keys values and its values keys, throughout.
func statesSwapped(c *copied) error {
	k, v := contract.KState(0), contract.VState(0)
	swap := func(name *string) {
		switch *name {
		case k:
			*name = v
		case v:
			*name = k
		}
	}
	for _, d := range c.model.Description.Functions {
		for i := range d.States {
			swap(&d.States[i].Name)
		}
		f := c.model.Program.Function(d.Name)
		for i := range f.Inputs {
			swap(&f.Inputs[i].Name)
		}
		eachBinding(f, func(_ *mil.Op, b *mil.Binding) { swap(&b.Name) })
	}
	return nil
}

func eachBinding(f *mil.Function, visit func(*mil.Op, *mil.Binding)) {
	for _, o := range f.Ops {
		for _, arg := range o.Args {
			for i := range arg.Bindings {
				visit(o, &arg.Bindings[i])
			}
		}
	}
}

// ropeTurnedBack turns every query and key by minus its position: the sub and
// the add that a head is put together from change places.
func ropeTurnedBack(c *copied) error {
	for _, f := range c.model.Program.Functions {
		makers := map[string]*mil.Op{}
		for _, o := range f.Ops {
			for _, out := range o.Outputs {
				makers[out.Name] = o
			}
		}
		for _, o := range f.Ops {
			for _, arg := range o.Args {
				if o.Type != "concat" || arg.Param != "values" || len(arg.Bindings) != 3 {
					continue
				}
				first, second := makers[arg.Bindings[0].Name], makers[arg.Bindings[1].Name]
				if first.Type == "sub" && second.Type == "add" {
					first.Type, second.Type = "add", "sub"
				}
			}
		}
	}
	return nil
}

// maskIgnored takes the scores as they are: max(a, a) is a.
func maskIgnored(c *copied) error {
	for _, f := range c.model.Program.Functions {
		for _, o := range f.Ops {
			if y, err := argument(o, "y"); err == nil && o.Type == "add" && y.Name == contract.AttnMask {
				x, err := argument(o, "x")
				if err != nil {
					return err
				}
				o.Type, y.Name = "maximum", x.Name
			}
		}
	}
	return nil
}

// maskOfThreeRows declares a mask of three rows beside a block of four.
func maskOfThreeRows(c *copied) error {
	for _, d := range c.model.Description.Functions {
		f := c.model.Program.Function(d.Name)
		for i := range d.Inputs {
			if d.Inputs[i].Name == contract.AttnMask && d.Inputs[i].Shape[2] == 4 {
				d.Inputs[i].Shape[2] = 3
			}
		}
		for i := range f.Inputs {
			if f.Inputs[i].Name == contract.AttnMask && f.Inputs[i].Type.Shape[2] == 4 {
				f.Inputs[i].Type.Shape[2] = 3
			}
		}
	}
	return nil
}

// scoreScaleLarger multiplies the scores' scale by 9/8, in every function.
func scoreScaleLarger(c *copied) error {
	for _, f := range c.model.Program.Functions {
		o, err := op(f, "mul_6_y_0")
		if err != nil {
			return err
		}
		scaleHalves(o.Val.Bytes, 9.0/8)
	}
	return nil
}

// scaleHalves multiplies little-endian float16 values.
func scaleHalves(data []byte, by float32) {
	values := make([]float16.Float16, len(data)/2)
	half.FromBytes(values, data)
	for i, h := range values {
		values[i] = half.FromFloat32(by * half.ToFloat32(h))
	}
	half.ToBytes(data, values)
}

// blob changes the bytes of a weight's parameter in weight.bin, or its value if
// param is "".
func blob(name, param string, change func(data []byte, t mil.Type)) func(*copied) error {
	return func(c *copied) error {
		o, err := op(c.model.Program.Functions[0], name)
		if err != nil {
			return err
		}
		lit := o.Val
		if param != "" {
			b, err := argument(o, param)
			if err != nil {
				return err
			}
			lit = b.Literal
		}
		if lit == nil || lit.Blob == nil {
			return fmt.Errorf("op %q: %q is no blob", name, param)
		}
		at := lit.Blob.Offset + blobHeader
		change(c.weights[at:at+uint64(lit.ByteSize())], lit.Type)
		return nil
	}
}

// transposed writes a square matrix of float16 values column by column.
func transposed(data []byte, t mil.Type) {
	n, old := t.Shape[0], slices.Clone(data)
	for r := range n {
		for c := range n {
			copy(data[2*(r*n+c):2*(r*n+c)+2], old[2*(c*n+r):])
		}
	}
}

// entriesSwapped exchanges two entries of a table of 64.
func entriesSwapped(data []byte, _ mil.Type) {
	table := stored{data, 64}
	table.reorder(func(r int) int {
		switch r {
		case 20:
			return 44
		case 44:
			return 20
		}
		return r
	})
}

// shiftedRows gives each of the first dimension's rows the next one's values.
func shiftedRows(data []byte, t mil.Type) {
	b := stored{data, t.Shape[0]}
	b.reorder(func(r int) int { return (r + 1) % b.rows })
}

// shiftedBlocks gives each block of a row the scale of the next.
func shiftedBlocks(data []byte, t mil.Type) {
	rows := stored{data, t.Shape[0]}
	for r := range rows.rows {
		blocks := stored{rows.row(r), t.Shape[1]}
		blocks.reorder(func(i int) int { return (i + 1) % blocks.rows })
	}
}

// scalesLarger makes every float16 1 % larger.
func scalesLarger(data []byte, _ mil.Type) { scaleHalves(data, 1.01) }

// offByOne adds one to every uint8.
func offByOne(data []byte, _ mil.Type) {
	for i := range data {
		data[i]++
	}
}

// tableScaleLarger makes an int8 table's one scale a quarter larger; it stands
// in the program.
func tableScaleLarger(c *copied) error {
	for _, f := range c.model.Program.Functions {
		o, err := op(f, "attention_0_qkv_weight_to_fp16_palettized_lut_0_quantized")
		if err != nil {
			return err
		}
		scale, err := argument(o, "scale")
		if err != nil {
			return err
		}
		scaleHalves(scale.Literal.Bytes, 5.0/4)
	}
	return nil
}

// tracedNames are what the traced fixture calls the contract's features.
func tracedNames() map[string]string {
	names := map[string]string{
		contract.X: "hidden_in", contract.RopeCos: "cos", contract.RopeSin: "sin", contract.AttnMask: "mask",
		contract.WriteMask: "write", contract.Hidden: "hidden_out",
	}
	for layer := range 2 {
		names[contract.KState(layer)], names[contract.VState(layer)] = fmt.Sprintf("k_cache_%d", layer), fmt.Sprintf("v_cache_%d", layer)
	}
	return names
}

// ForeignCatalogue lists the faults planted into the packages of
// fixtures/foreign. Each is killed by a case that its fixture passes.
func ForeignCatalogue() []Foreign {
	fault := func(name, fixture, killer, models string, change func(*copied) error) Foreign {
		f := Foreign{Mutant: Mutant{Name: name, Models: models, KilledBy: killer}, Package: fixture, change: change}
		if fixture == "traced" {
			f.Names = tracedNames()
		}
		return f
	}
	const (
		byContract = conformance.CheckPackage + "/contract"
		byOracle   = conformance.CheckOracle
		bySeeded   = conformance.CheckOracle + "/seeded_cache"
		byGolden   = conformance.CheckOracle + "/golden"
		byWeights  = conformance.CheckOracle + "/weights"
	)
	return []Foreign{
		fault("map_names_nothing", "traced", byContract, "the map names an input that the package lacks", nameNothing),
		fault("map_rope_swapped", "traced", byOracle, "the map takes cosines for sines", swapNames(contract.RopeCos, contract.RopeSin)),
		fault("map_keys_for_values", "traced", bySeeded, "the map takes a layer's keys for its values", swapNames(contract.KState(0), contract.VState(0))),
		fault("map_layers_swapped", "traced", bySeeded, "the map takes one layer's keys for the other's", swapNames(contract.KState(0), contract.KState(1))),
		fault("states_swapped", "built", bySeeded, "the package calls a layer's keys values", statesSwapped),
		fault("rope_turned_back", "built", byOracle, "RoPE turns by minus the position", ropeTurnedBack),
		fault("mask_ignored", "built", byOracle, "the scores are not masked", maskIgnored),
		{
			Mutant: Mutant{
				Name: "heads_as_head_token_dim", KilledBy: conformance.CheckParity + "/t4_vs_4xt1",
				Models: "attention output reshaped as [head, token, dim], as coremltools converted it",
			},
			Package: "built_head_token_dim", Twin: "built",
		},
		fault("mask_of_three_rows", "built", byContract, "the inputs of one function disagree in T", maskOfThreeRows),
		fault("weight_transposed", "built", byOracle, "a square weight is stored column by column", blob("conv_1_weight_0", "", transposed)),
		fault("linear_transposed", "traced", byOracle, "the weight of a linear layer is stored as [in, out]", blob("attention_0_out_weight_to_fp16", "", transposed)),
		fault("score_scale_larger", "built_int4_block", bySeeded, "the score scale is an eighth too large, under the noise of int4", scoreScaleLarger),
		fault("block_scales_shifted", "built_int4_block", byWeights, "each int4 block is read with the next block's scale", blob("conv_0_weight_0_quantized", "scale", shiftedBlocks)),
		fault("table_entries_swapped", "built_lut6", byGolden, "two entries of a table of 64 change places", blob("conv_1_weight_0_palettized", "lut", entriesSwapped)),
		fault("tables_shifted", "traced_lut4_group", byWeights, "each group of channels reads the next group's table", blob("attention_0_out_weight_to_fp16_palettized", "lut", shiftedRows)),
		fault("table_scale_larger", "traced_lut6_int8", byWeights, "the scale of an int8 table is a quarter too large", tableScaleLarger),
		fault("scales_of_neighbour", "traced_int8_channel", byWeights, "each int8 channel is read with the next one's scale", blob("attention_0_qkv_weight_to_fp16_quantized", "scale", shiftedRows)),
		fault("scales_a_little_larger", "traced_int8_channel", byWeights, "the scales of a weight are 1 % too large", blob("attention_0_qkv_weight_to_fp16_quantized", "scale", scalesLarger)),
		fault("zero_points_off_by_one", "traced_uint8_channel", byWeights, "the zero points of a weight are one too large", blob("attention_0_qkv_weight_to_fp16_quantized", "offset", offByOne)),
	}
}
