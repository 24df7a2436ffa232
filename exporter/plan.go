package exporter

import (
	"fmt"
	"path"
	"slices"

	"lockstep/internal/checkpoint"
)

// DefaultReserve is how many bytes an export leaves free: 2 GiB.
const DefaultReserve = 2 << 30

// recordAllowance is room for lockstep.json, its kept predecessor, a verdict
// and directory entries beside a package.
const recordAllowance = 1 << 20

// Plan is what an export of a whole model needs on disk, in the order in which
// it is made: the layout's shards, smallest first, the LM head's, the
// embedding. It depends on config, recipe and cuts alone.
type Plan struct {
	Model     string    `json:"model"`
	Layers    int       `json:"layers"`
	Layout    string    `json:"layout"`
	Slots     int       `json:"slots"`
	Functions []string  `json:"functions"`
	Precision Precision `json:"precision"`
	Norm      Norm      `json:"norm"`
	// RopeFactor is the record's: absent, or "folded".
	RopeFactor string      `json:"rope_factor,omitempty"`
	Shards     []ShardPlan `json:"shards"`
	LMHead     []ShardPlan `json:"lm_head"`
	Embedding  *ShardPlan  `json:"embedding"`
	Bytes      int64       `json:"bytes"` // of all packages and the embedding
}

// Steps lists all that the plan makes, in order.
func (p *Plan) Steps() []ShardPlan {
	steps := slices.Concat(p.Shards, p.LMHead)
	if p.Embedding != nil {
		steps = append(steps, *p.Embedding)
	}
	return steps
}

// ShardPlan is one package of a plan, or the embedding's file. Start and End are
// layers, of the LM head and the embedding rows of the vocabulary. All sizes of
// files are exact; what compiling adds is an estimate.
type ShardPlan struct {
	Start   int        `json:"start"`
	End     int        `json:"end"`
	Package string     `json:"package"`
	Files   []FileSize `json:"files"`
	Bytes   int64      `json:"bytes"` // of the package's files
	// Peak is what the directory holds at most while this is written, the
	// earlier steps of the plan included: a finished package is its partial,
	// renamed, so nothing is there twice.
	Peak int64 `json:"peak"`
	// Compile estimates what Core ML adds when it compiles the package.
	Compile CompileEstimate `json:"compile_estimate"`

	part part
}

// String names the step in messages: "layers 30:32", "LM head rows 0:50016",
// "embedding".
func (s ShardPlan) String() string { return s.part.String() }

// FileName is a file's path relative to the output directory: the embedding's
// file lies beside the packages.
func (s ShardPlan) FileName(f FileSize) string {
	if s.part.kind == embeddingFile {
		return f.Path
	}
	return path.Join(s.Package, f.Path)
}

// WeightBytes is the size of the file of weights.
func (s ShardPlan) WeightBytes() int64 { return s.Files[len(s.Files)-1].Bytes }

// CompileEstimate is what compiling and loading a package costs beyond it, all
// of it outside this program's hands: figures of other people's devices.
type CompileEstimate struct {
	Temporary int64 `json:"temporary"` // copy of the weights on the temporary volume
	Compiled  int64 `json:"compiled"`  // the .mlmodelc beside the package
	Cache     int64 `json:"cache"`     // the system's ANE cache, about one copy per function; the system's, never ours to delete
}

// NewPlan sizes every shard of the layout, in build order, the LM head in that
// many shards, and the embedding.
func NewPlan(cfg checkpoint.Config, model string, layout Layout, rec Recipe, headShards int) (*Plan, error) {
	if err := layout.Check(cfg.Layers); err != nil {
		return nil, err
	}
	heads, err := HeadRanges(cfg.VocabSize, headShards)
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Model: model, Layers: cfg.Layers, Layout: layout.String(), Slots: rec.Slots,
		Functions: rec.FunctionNames(), Precision: rec.Precision, Norm: rec.Norm, RopeFactor: rec.ropeFactor(),
	}
	add := func(piece part) (ShardPlan, error) {
		sp, err := planPart(cfg, model, piece, rec)
		if err != nil {
			return sp, fmt.Errorf("%s: %w", piece, err)
		}
		p.Bytes += sp.Bytes
		sp.Peak = p.Bytes
		return sp, nil
	}
	for _, r := range layout.BuildOrder() {
		sp, err := add(layersPart(r))
		if err != nil {
			return nil, err
		}
		p.Shards = append(p.Shards, sp)
	}
	for _, rows := range heads {
		sp, err := add(headPart(rows))
		if err != nil {
			return nil, err
		}
		p.LMHead = append(p.LMHead, sp)
	}
	sp, err := add(embeddingPart(cfg))
	if err != nil {
		return nil, err
	}
	p.Embedding = &sp
	return p, nil
}

// PlanShard sizes one package.
func PlanShard(cfg checkpoint.Config, model string, layers Range, rec Recipe) (ShardPlan, error) {
	return planPart(cfg, model, layersPart(layers), rec)
}

// PlanHead sizes one package of the LM head, of the vocabulary's rows.
func PlanHead(cfg checkpoint.Config, model string, rows Range, rec Recipe) (ShardPlan, error) {
	return planPart(cfg, model, headPart(rows), rec)
}

func planPart(cfg checkpoint.Config, model string, p part, rec Recipe) (ShardPlan, error) {
	s, err := newShard(cfg, p, rec)
	if err != nil {
		return ShardPlan{}, err
	}
	return s.plan(model, rec), nil
}

func (s *shard) plan(model string, rec Recipe) ShardPlan {
	p := ShardPlan{part: s.part, Start: s.Start, End: s.End, Package: s.fileName(model, rec.Precision), Files: s.files(model)}
	for _, f := range p.Files {
		p.Bytes += f.Bytes
	}
	p.Peak = p.Bytes
	if s.kind == embeddingFile {
		return p // nothing compiles it
	}
	weights := s.weightBytes()
	p.Compile = CompileEstimate{Temporary: weights, Compiled: weights, Cache: weights * int64(len(rec.Rows))}
	return p
}

// Room says which steps of a plan fit on a volume, in their order.
type Room struct {
	Free    int64 `json:"free"`
	Reserve int64 `json:"reserve"`
	// Standing is what the plan's packages occupy already.
	Standing int64 `json:"standing"`
	// Fits is how many of the plan's first steps fit with the reserve kept,
	// and Missing how many bytes the first one that does not lacks.
	Fits    int   `json:"fits"`
	Missing int64 `json:"missing"`
}

// Fit compares the plan with the free bytes of a volume on which standing
// bytes of it are written already.
func (p *Plan) Fit(free, reserve, standing int64) Room {
	room := Room{Free: free, Reserve: reserve, Standing: standing}
	for _, s := range p.Steps() {
		left := s.Peak - standing
		if spare := free - left - recordAllowance; left > 0 && spare < reserve {
			room.Missing = reserve - spare
			return room
		}
		room.Fits++ // what stands already needs no more room
	}
	return room
}
