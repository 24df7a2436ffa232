package exporter

import (
	"fmt"

	"lockstep/internal/checkpoint"
)

// DefaultReserve is how many bytes an export leaves free: 2 GiB.
const DefaultReserve = 2 << 30

// recordAllowance is room for lockstep.json, its kept predecessor, a verdict
// and directory entries beside a package.
const recordAllowance = 1 << 20

// Plan is what an export of a whole layout needs on disk, smallest shard
// first. It depends on config, recipe and layout alone.
type Plan struct {
	Model     string      `json:"model"`
	Layers    int         `json:"layers"`
	Layout    string      `json:"layout"`
	Slots     int         `json:"slots"`
	Functions []string    `json:"functions"`
	Precision Precision   `json:"precision"`
	Norm      Norm        `json:"norm"`
	Shards    []ShardPlan `json:"shards"`
	Bytes     int64       `json:"bytes"` // of all packages
}

// ShardPlan is one package of a plan. All sizes of files are exact; what
// compiling adds is an estimate.
type ShardPlan struct {
	Start   int        `json:"start"`
	End     int        `json:"end"`
	Package string     `json:"package"`
	Files   []FileSize `json:"files"`
	Bytes   int64      `json:"bytes"` // of the package's files
	// Peak is what the directory holds at most while this shard is written, the
	// earlier shards of the plan included: a finished package is its partial,
	// renamed, so nothing is there twice.
	Peak int64 `json:"peak"`
	// Compile estimates what Core ML adds when it compiles the package.
	Compile CompileEstimate `json:"compile_estimate"`
}

// CompileEstimate is what compiling and loading a package costs beyond it, all
// of it outside this program's hands: figures of other people's devices.
type CompileEstimate struct {
	Temporary int64 `json:"temporary"` // copy of the weights on the temporary volume
	Compiled  int64 `json:"compiled"`  // the .mlmodelc beside the package
	Cache     int64 `json:"cache"`     // the system's ANE cache, about one copy per function; the system's, never ours to delete
}

// NewPlan sizes every shard of the layout, in build order.
func NewPlan(cfg checkpoint.Config, model string, layout Layout, rec Recipe) (*Plan, error) {
	if err := layout.Check(cfg.Layers); err != nil {
		return nil, err
	}
	p := &Plan{
		Model: model, Layers: cfg.Layers, Layout: layout.String(), Slots: rec.Slots,
		Functions: rec.FunctionNames(), Precision: rec.Precision, Norm: rec.Norm,
	}
	for _, r := range layout.BuildOrder() {
		s, err := newShard(cfg, r, rec)
		if err != nil {
			return nil, fmt.Errorf("layers %s: %w", r, err)
		}
		sp := s.plan(model, rec)
		p.Bytes += sp.Bytes
		sp.Peak = p.Bytes
		p.Shards = append(p.Shards, sp)
	}
	return p, nil
}

// PlanShard sizes one package.
func PlanShard(cfg checkpoint.Config, model string, layers Range, rec Recipe) (ShardPlan, error) {
	s, err := newShard(cfg, layers, rec)
	if err != nil {
		return ShardPlan{}, err
	}
	return s.plan(model, rec), nil
}

func (s *shard) plan(model string, rec Recipe) ShardPlan {
	p := ShardPlan{Start: s.layers.Start, End: s.layers.End, Package: PackageName(model, s.layers, rec.Precision), Files: s.files()}
	for _, f := range p.Files {
		p.Bytes += f.Bytes
	}
	weights := s.layout.Size()
	p.Peak = p.Bytes
	p.Compile = CompileEstimate{Temporary: weights, Compiled: weights, Cache: weights * int64(len(rec.Rows))}
	return p
}

// Room says which shards of a plan fit on a volume, in build order.
type Room struct {
	Free    int64 `json:"free"`
	Reserve int64 `json:"reserve"`
	// Standing is what the plan's packages occupy already.
	Standing int64 `json:"standing"`
	// Fits is how many of the plan's first shards fit with the reserve kept,
	// and Missing how many bytes the first one that does not lacks.
	Fits    int   `json:"fits"`
	Missing int64 `json:"missing"`
}

// Fit compares the plan with the free bytes of a volume on which standing
// bytes of it are written already.
func (p *Plan) Fit(free, reserve, standing int64) Room {
	room := Room{Free: free, Reserve: reserve, Standing: standing}
	for _, s := range p.Shards {
		left := s.Peak - standing
		if spare := free - left - recordAllowance; left > 0 && spare < reserve {
			room.Missing = reserve - spare
			return room
		}
		room.Fits++ // what stands already needs no more room
	}
	return room
}
