package conformance

import (
	"context"
	"strconv"
	"strings"

	"lockstep/internal/contract"
	"lockstep/internal/mil"
)

// noLayer is the layer of a value that belongs to none.
const noLayer = -1

// place is where a value belongs: a layer of the model, and its name there.
type place struct {
	layer int
	value string
}

// places tell the layer of every value of a function.
type places struct {
	by string // how
	of func(name string) place
}

// places of a package that lockstep wrote are in its names; those of another
// follow from what its values are computed from.
func (s *Suite) places(ctx context.Context) (places, error) {
	if s.foreign == nil {
		return places{
			by: "names: layers_N_, N counted from the shard's first layer; the output is the last layer's",
			of: func(name string) place { return placeByName(name, s.opt.Layers.Start, s.opt.Layers.Len()) },
		}, nil
	}
	marks, by, err := s.marks(ctx)
	if err != nil {
		return places{}, err
	}
	layers := layersByFlow(s.files.Model.Program.Function(s.functionName(s.recipe.Rows[0])), marks)
	return places{by: by, of: func(name string) place {
		if i, ok := layers[name]; ok {
			return place{s.opt.Layers.Start + i, name}
		}
		return place{noLayer, name}
	}}, nil
}

// placeByName reads layers_<i>_<value> as the exporter names values.
func placeByName(name string, start, layers int) place {
	if name == contract.Hidden {
		return place{start + layers - 1, name}
	}
	if rest, ok := strings.CutPrefix(name, "layers_"); ok {
		digits, value, _ := strings.Cut(rest, "_")
		if i, err := strconv.Atoi(digits); err == nil && i >= 0 && i < layers && value != "" {
			return place{start + i, value}
		}
	}
	return place{noLayer, name}
}

// marks are the names in a package without a record whose layer is known, with
// that layer inside the shard: its states, and its weights where the oracle had
// to tell them.
func (s *Suite) marks(ctx context.Context) (marks map[string]int, by string, err error) {
	marks = map[string]int{}
	for i := range s.opt.Layers.Len() {
		marks[s.foreign.names.of(contract.KState(i))], marks[s.foreign.names.of(contract.VState(i))] = i, i
	}
	if s.compressed() {
		own, err := s.ownWeights(ctx)
		if err != nil {
			return nil, "", err
		}
		if own.reason == "" {
			for name, i := range own.layers {
				marks[name] = i
			}
			return marks, "data flow: the last layer whose weights, keys or values a value was computed from; a layer's values before its first weight count to the layer before", nil
		}
	}
	return marks, "data flow: the last layer whose keys or values a value was computed from; what comes before a layer's attention counts to the layer before", nil
}

// layersByFlow gives each value the largest layer of what it is computed from;
// one that no mark reaches has none.
func layersByFlow(f *mil.Function, marks map[string]int) map[string]int {
	layers := map[string]int{}
	for _, op := range f.Ops {
		layer := noLayer
		for _, arg := range op.Args {
			for _, b := range arg.Bindings {
				if i, ok := marks[b.Name]; ok {
					layer = max(layer, i)
				}
				if i, ok := layers[b.Name]; ok {
					layer = max(layer, i)
				}
			}
		}
		if layer == noLayer {
			continue
		}
		for _, out := range op.Outputs {
			layers[out.Name] = layer
		}
	}
	return layers
}
