package manifest

// VerdictSchema is the schema version that this package writes and reads.
const VerdictSchema = "lockstep.verdict/1"

// Verdict is one gate run's evidence about one package on one plane.
type Verdict struct {
	Schema  string         `json:"schema"` // VerdictSchema
	Package VerdictPackage `json:"package"`
	// Shard is the package's decoder layers; [0,0) for a shard of the LM head.
	Shard LayerRange `json:"shard"`
	// Vocab is the LM head shard's rows of the vocabulary, nil for layers.
	Vocab *VocabRange `json:"vocab,omitempty"`
	// Subject is what was judged: "nano", "synth", or a checkpoint as given.
	Subject string `json:"subject"`
	Plane   string `json:"plane"` // PlaneReference, PlaneCoreML, PlaneFake
	// Result is Overall(Checks).
	Result Result `json:"result"`
	// Checks stand in the order in which they were decided, each after those
	// that it depends on.
	Checks []Check `json:"checks"`
	// Metrics are reported and never judged.
	Metrics []Metric `json:"metrics"`
	// Ranges are absent where they were not measured; the metric
	// value_range_headroom then says why.
	Ranges    *Ranges   `json:"ranges,omitempty"`
	Catalogue Catalogue `json:"catalogue"`
	// Required names the checks for which not measured was made fail; sorted.
	Required []string `json:"required"`
	Machine  Machine  `json:"machine"`
	Versions Versions `json:"versions"`
	// Command is the one command that repeats the run.
	Command string `json:"command"`
}

// The values of Verdict.Plane.
const (
	PlaneReference = "reference"
	PlaneCoreML    = "coreml"
	PlaneFake      = "fake"
)

// VerdictPackage names the judged package: its digest is its identity, the
// path, relative and with slashes, is for people.
type VerdictPackage struct {
	Path   string `json:"path"`
	Digest string `json:"digest"` // PackageDigest
}

// LayerRange is the decoder layers [Start,End).
type LayerRange struct {
	Start int `json:"start"`
	End   int `json:"end"`
}

// VocabRange is the rows [Start,End) of the vocabulary.
type VocabRange struct {
	Start int `json:"start"`
	End   int `json:"end"`
}

// Check is one judged property with the cases that were run for it.
type Check struct {
	Name   string `json:"name"` // lower_snake
	Result Result `json:"result"`
	// Reason says why the result is not pass; empty for pass.
	Reason string `json:"reason,omitempty"`
	// DependsOn names earlier checks; if one of them failed this one is not
	// run.
	DependsOn []string `json:"depends_on"`
	Cases     []Case   `json:"cases"`
}

// Case is one run of a check.
type Case struct {
	Name     string     `json:"name"`
	Result   Result     `json:"result"`
	Reason   string     `json:"reason,omitempty"`
	Evidence []Evidence `json:"evidence"`
}

// Evidence is one thing that a case observed: a figure with its unit, or a
// text, never both.
type Evidence struct {
	Name  string  `json:"name"`
	Value *Figure `json:"value,omitempty"`
	Text  string  `json:"text,omitempty"`
	// Unit of Value; "1" for a ratio, a cosine or a count.
	Unit string `json:"unit,omitempty"`
}

// Metric is a figure with the method that gave it, or the reason why it was
// not measured, never both.
type Metric struct {
	Name        string  `json:"name"`
	Value       *Figure `json:"value,omitempty"`
	Unit        string  `json:"unit"`
	Method      string  `json:"method"`
	NotMeasured string  `json:"not_measured,omitempty"`
}

// Catalogue is the case catalogue that the run used. An older verdict is stale
// when the digest is no longer that of the suite.
type Catalogue struct {
	Digest string `json:"digest"`
	Cases  int    `json:"cases"` // how many the catalogue has for this run
	// Ran counts the cases that came to any result but not run; one that found
	// that there is nothing to measure has run.
	Ran int `json:"ran"`
}

// Machine is where the run was; Chip and OSBuild are empty where they are not
// known.
type Machine struct {
	GOOS    string `json:"goos"`
	GOARCH  string `json:"goarch"`
	Chip    string `json:"chip"`
	OSBuild string `json:"os_build"`
}

// Versions of what ran.
type Versions struct {
	Lockstep string `json:"lockstep"`
	Go       string `json:"go"`
}
