package probe

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"lockstep/exporter"
	"lockstep/fixtures/synth"
	"lockstep/internal/checkpoint"
	"lockstep/internal/mlpackage"
	"lockstep/manifest"
)

// blockRows is T of the block.
const blockRows = 4

// Dimensions are the size of the layer and where its weights come from.
type Dimensions struct {
	Name  string
	Slots int
	spec  synth.Spec // whose last layer is the probe's
}

// Real are Phi-4-mini's dimensions with 2048 slots: 100.7 million weights.
func Real() Dimensions { return dimensions("real", 2048, synth.RealTail().Config) }

// Nano is a layer that every machine is quick with, and that Core ML may put on
// the CPU for its size alone.
func Nano() Dimensions {
	return dimensions("nano", 64, synth.LongRope(checkpoint.Config{
		HiddenSize: 128, IntermediateSize: 192, Layers: 4, Heads: 4, KVHeads: 2, VocabSize: 96,
		MaxPositions: 2048, OriginalMaxPositions: 256,
		RMSNormEps: 1e-5, RopeTheta: 10000, PartialRotaryFactor: 0.75, TieWordEmbeddings: true,
	}))
}

// ParseDimensions reads "real" or "nano".
func ParseDimensions(name string) (Dimensions, error) {
	for _, d := range []Dimensions{Real(), Nano()} {
		if d.Name == name {
			return d, nil
		}
	}
	return Dimensions{}, fmt.Errorf("%w: want the dimensions real or nano, found %q", ErrVariant, name)
}

func dimensions(name string, slots int, cfg checkpoint.Config) Dimensions {
	return Dimensions{Name: name, Slots: slots, spec: synth.Spec{
		Seed: "probe " + name, Config: cfg, Start: cfg.Layers - 1, End: cfg.Layers,
	}}
}

func (d Dimensions) config() checkpoint.Config { return d.spec.Config }

// layers are the one layer, the model's last.
func (d Dimensions) layers() exporter.Range {
	return exporter.Range{Start: d.spec.Start, End: d.spec.End}
}

// layout makes the layer a shard of its own, the smallest: the ladder asks for
// nothing before it.
func (d Dimensions) layout() exporter.Layout { return exporter.Layout{d.spec.Start, 1} }

// Setup is what all steps of a probe of these dimensions and variants share.
func (d Dimensions) Setup(variants []Variant, plane string, m manifest.Machine, v manifest.Versions) (manifest.ProbeSetup, error) {
	catalogue, err := d.catalogue(variants)
	c := d.config()
	return manifest.ProbeSetup{
		Plane: plane, Dimensions: d.Name, Seed: d.spec.Seed, Catalogue: catalogue, Machine: m, Versions: v,
		Model: manifest.ProbeDims{
			Hidden: c.HiddenSize, Intermediate: c.IntermediateSize, Heads: c.Heads, KVHeads: c.KVHeads,
			HeadDim: c.HeadDim(), RotaryDim: c.RotaryDim(), Slots: d.Slots, BlockRows: blockRows,
		},
	}, err
}

// catalogue is the digest of the variants' programs and the steps: builds that
// say the same version may yet write other packages.
func (d Dimensions) catalogue(variants []Variant) (string, error) {
	sum := sha256.New()
	for _, v := range variants {
		m, err := v.model(d, nil)
		if err != nil {
			return "", fmt.Errorf("%s: %w", v.Name, err)
		}
		program, err := mlpackage.EncodeModel(m)
		if err != nil {
			return "", fmt.Errorf("%s: %w", v.Name, err)
		}
		fmt.Fprintf(sum, "%s %s %x\n", v.Name, v.stored, sha256.Sum256(program))
	}
	fmt.Fprintln(sum, Steps())
	return hex.EncodeToString(sum.Sum(nil)), nil
}
