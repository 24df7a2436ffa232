package manifest

import (
	"fmt"
	"math"
)

// ProbeSchema is the schema version that this package writes and reads.
const ProbeSchema = "lockstep.probe/1"

// Probe is what one machine answered to the open choices of the graph: for each
// variant of a one-layer package the steps that were tried on a plane. A file
// that holds one step of one variant is a Probe too, so a whole one is the sum
// of such files with one setup.
type Probe struct {
	Schema string     `json:"schema"` // ProbeSchema
	Setup  ProbeSetup `json:"setup"`
	// Variants stand in the probe's order, the baseline first.
	Variants []ProbeVariant `json:"variants"`
}

// ProbeSetup is what all steps of a probe share. Figures of different setups
// cannot be compared.
type ProbeSetup struct {
	Plane string `json:"plane"` // PlaneReference, PlaneCoreML, PlaneFake
	// Dimensions names the size of the layer: "real" is Phi-4-mini's.
	Dimensions string    `json:"dimensions"`
	Model      ProbeDims `json:"model"`
	// Seed names the stream that the weights are drawn from.
	Seed string `json:"seed"`
	// Catalogue is the digest of what there is to try: the variants' programs and
	// the steps.
	Catalogue string   `json:"catalogue"`
	Machine   Machine  `json:"machine"`
	Versions  Versions `json:"versions"`
}

// ProbeDims are the dimensions of the layer.
type ProbeDims struct {
	Hidden       int `json:"hidden"`
	Intermediate int `json:"intermediate"`
	Heads        int `json:"heads"`
	KVHeads      int `json:"kv_heads"`
	HeadDim      int `json:"head_dim"`
	RotaryDim    int `json:"rotary_dim"`
	Slots        int `json:"slots"`
	BlockRows    int `json:"block_rows"` // T of a block
}

// ProbeVariant is the baseline, or the baseline with one choice made
// otherwise.
type ProbeVariant struct {
	Name  string `json:"name"`  // "baseline", or choice=value
	About string `json:"about"` // what it is, for people
	// Package is absent until it was written.
	Package *VerdictPackage `json:"package,omitempty"`
	Steps   []ProbeStep     `json:"steps"`
}

// ProbeStep is one step of a variant: what was tried, and what came of it.
type ProbeStep struct {
	Name   string      `json:"name"`
	Result ProbeResult `json:"result"`
	// Reason says why the result is not done; empty for done.
	Reason  string     `json:"reason,omitempty"`
	Seconds Figure     `json:"seconds"` // wall clock of the whole step
	Figures []Evidence `json:"figures"`
}

// ProbeResult is what a step came to. It tells whether there are figures, not
// whether they are good.
type ProbeResult string

// The results of a step.
const (
	ProbeDone        ProbeResult = "done"
	ProbeNotMeasured ProbeResult = "not measured" // nothing to measure here; Reason says why
	ProbeNotRun      ProbeResult = "not run"      // an earlier step did not end well, or nobody asked
	ProbeError       ProbeResult = "error"        // the plane hung, crashed or refused
)

// Figure is the named figure of the step, nil if it has none.
func (s ProbeStep) Figure(name string) *Figure {
	for _, e := range s.Figures {
		if e.Name == name {
			return e.Value
		}
	}
	return nil
}

// Text is the named text of the step, "" if it has none.
func (s ProbeStep) Text(name string) string {
	for _, e := range s.Figures {
		if e.Name == name {
			return e.Text
		}
	}
	return ""
}

// Variant is the variant of that name, nil if there is none.
func (p *Probe) Variant(name string) *ProbeVariant {
	for i := range p.Variants {
		if p.Variants[i].Name == name {
			return &p.Variants[i]
		}
	}
	return nil
}

// Step is the step of that name, nil if there is none.
func (v *ProbeVariant) Step(name string) *ProbeStep {
	for i := range v.Steps {
		if v.Steps[i].Name == name {
			return &v.Steps[i]
		}
	}
	return nil
}

// DecodeProbe reads a probe as strictly as DecodeRecord.
func DecodeProbe(text []byte) (*Probe, error) {
	var p Probe
	if err := decode(text, ProbeSchema, &p); err != nil {
		return nil, err
	}
	if err := p.Verify(); err != nil {
		return nil, err
	}
	return &p, nil
}

// EncodeProbe returns a probe's canonical JSON. One that Verify refuses has
// none.
func EncodeProbe(p Probe) ([]byte, error) {
	if err := p.Verify(); err != nil {
		return nil, err
	}
	return encode(p)
}

// Verify checks a probe's form, and that each step says why it is not done. The
// error is ErrInvalid with the JSON path of the first fault, or
// ErrSchemaVersion.
func (p Probe) Verify() error {
	if p.Schema != ProbeSchema {
		return fmt.Errorf("$.schema: %w: wanted %q, found %.80q", ErrSchemaVersion, ProbeSchema, p.Schema)
	}
	v := &verifier{}
	v.probeSetup("$.setup", p.Setup)
	for i, variant := range p.Variants {
		v.probeVariant(fmt.Sprintf("$.variants[%d]", i), variant)
	}
	v.unique("$.variants", keysOf(p.Variants, func(w ProbeVariant) string { return w.Name }))
	return v.err
}

func (v *verifier) probeSetup(at string, s ProbeSetup) {
	v.oneOf(at+".plane", s.Plane, PlaneReference, PlaneCoreML, PlaneFake)
	v.form(at+".dimensions", lowerSnakeForm, s.Dimensions)
	for _, d := range []struct {
		name  string
		value int
	}{
		{"hidden", s.Model.Hidden},
		{"intermediate", s.Model.Intermediate},
		{"heads", s.Model.Heads},
		{"kv_heads", s.Model.KVHeads},
		{"head_dim", s.Model.HeadDim},
		{"rotary_dim", s.Model.RotaryDim},
		{"slots", s.Model.Slots},
		{"block_rows", s.Model.BlockRows},
	} {
		v.positive(at+".model."+d.name, d.value)
	}
	v.line(at+".seed", s.Seed)
	v.digest(at+".catalogue", s.Catalogue)
	v.line(at+".machine.goos", s.Machine.GOOS)
	v.line(at+".machine.goarch", s.Machine.GOARCH)
	v.optionalLine(at+".machine.chip", s.Machine.Chip)
	v.optionalLine(at+".machine.os_build", s.Machine.OSBuild)
	v.line(at+".versions.lockstep", s.Versions.Lockstep)
	v.line(at+".versions.go", s.Versions.Go)
}

func (v *verifier) probeVariant(at string, w ProbeVariant) {
	v.line(at+".name", w.Name)
	v.line(at+".about", w.About)
	if w.Package != nil {
		v.check(isRelative(w.Package.Path), at+".package.path", "wanted a relative path with slashes, found %.80q", w.Package.Path)
		v.digest(at+".package.digest", w.Package.Digest)
	}
	for i, s := range w.Steps {
		v.probeStep(fmt.Sprintf("%s.steps[%d]", at, i), s)
	}
	v.unique(at+".steps", keysOf(w.Steps, func(s ProbeStep) string { return s.Name }))
}

func (v *verifier) probeStep(at string, s ProbeStep) {
	v.form(at+".name", lowerSnakeForm, s.Name)
	v.oneOf(at+".result", string(s.Result), string(ProbeDone), string(ProbeNotMeasured), string(ProbeNotRun), string(ProbeError))
	if s.Result == ProbeDone {
		v.check(s.Reason == "", at+".reason", "what is done needs none")
	} else {
		v.line(at+".reason", s.Reason)
	}
	v.check(s.Seconds >= 0 && !math.IsInf(float64(s.Seconds), 0), at+".seconds", "wanted a finite number of at least 0, found %v", float64(s.Seconds))
	v.evidence(at+".figures", s.Figures)
	v.unique(at+".figures", keysOf(s.Figures, func(e Evidence) string { return e.Name }))
}
