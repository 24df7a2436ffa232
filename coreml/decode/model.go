package decode

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/manifest"
)

// ErrIncomplete means a record whose packages are not a whole model.
var ErrIncomplete = errors.New("the record is not of a whole model")

// Model is the chain of one output directory's packages: the embedding, each
// layer shard in order, the shards of the LM head. Its functions are opened when
// a Program first needs them. A Model and all that is made from it serve one
// goroutine at a time; open another one for a second.
type Model struct {
	record    manifest.Record
	layers    []*link
	heads     []*link
	embedding *embedding
	rope      *hostinput.Rows
}

// link is one package of the chain.
type link struct {
	label      string // for errors
	start, end int    // layers, or rows of the vocabulary
	pkg        coreml.Package
	names      map[int]string          // of functions, by rows
	functions  map[int]coreml.Function // opened so far, by rows
}

// Open opens what record, the lockstep.json of dir, lists: the shards of its
// layout, which must all be there, the LM head, which must cover the vocabulary
// without gap or overlap, and the embedding. Other shards are left alone.
// Errors are manifest.ErrInvalid, ErrIncomplete, ErrContext (more slots than the
// record's RoPE table is for), and those of the plane and of reading. The
// files' digests are not looked at; see VerifyFiles.
func Open(ctx context.Context, plane coreml.Plane, dir string, record manifest.Record) (*Model, error) {
	if err := record.Verify(); err != nil {
		return nil, err
	}
	layers, err := chainOf(record)
	if err != nil {
		return nil, err
	}
	if err := wantWholeHead(record); err != nil {
		return nil, err
	}
	r := record.Model.Rope
	if r.Table == manifest.RopeShort && record.Recipe.Slots > r.OriginalMax {
		return nil, fmt.Errorf("%w: %d slots, but the short RoPE factors are for %d positions", ErrContext, record.Recipe.Slots, r.OriginalMax)
	}
	rope, err := hostinput.NewRope(hostinput.Rope{Theta: r.Theta, Dim: r.Dim, Factors: r.Factors, AttentionFactor: r.AttentionFactor})
	if err != nil {
		return nil, err
	}
	m := &Model{record: record, rope: rope}
	if err := m.open(ctx, plane, dir, layers); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// chainOf finds the layout's shards in the record.
func chainOf(record manifest.Record) ([]manifest.Shard, error) {
	recorded := map[[2]int]manifest.Shard{}
	for _, s := range record.Shards {
		recorded[[2]int{s.Start, s.End}] = s
	}
	var chain []manifest.Shard
	start := 0
	for _, n := range record.Layout {
		s, ok := recorded[[2]int{start, start + n}]
		if !ok {
			return nil, fmt.Errorf("%w: want layers %d:%d, as its layout says, found no such shard; export them", ErrIncomplete, start, start+n)
		}
		chain = append(chain, s)
		start += n
	}
	return chain, nil
}

// wantWholeHead reports rows of the vocabulary without a head shard, and a
// missing embedding. That head shards are sorted and do not overlap is part of
// the record's own rules.
func wantWholeHead(record manifest.Record) error {
	at := 0
	for _, s := range record.LMHead {
		if s.Start != at {
			return fmt.Errorf("%w: want an LM head shard from vocabulary row %d on, found %d:%d", ErrIncomplete, at, s.Start, s.End)
		}
		at = s.End
	}
	if want := record.Model.Dims.Vocab; at != want {
		return fmt.Errorf("%w: want LM head shards up to vocabulary row %d, found them up to %d; export them", ErrIncomplete, want, at)
	}
	if record.Embedding == nil {
		return fmt.Errorf("%w: want an embedding, found none; export it", ErrIncomplete)
	}
	return nil
}

func (m *Model) open(ctx context.Context, plane coreml.Plane, dir string, layers []manifest.Shard) error {
	add := func(to *[]*link, kind string, start, end int, p manifest.Package, fns []manifest.Function) error {
		l := &link{label: fmt.Sprintf("%s %d:%d", kind, start, end), start: start, end: end, names: map[int]string{}, functions: map[int]coreml.Function{}}
		for _, f := range fns {
			l.names[f.T] = f.Name
		}
		pkg, err := plane.Open(ctx, filepath.Join(dir, filepath.FromSlash(p.Path)))
		if err != nil {
			return fmt.Errorf("%s: %w", l.label, err)
		}
		l.pkg = pkg
		*to = append(*to, l)
		return nil
	}
	for _, s := range layers {
		if err := add(&m.layers, "layers", s.Start, s.End, s.Package, s.Functions); err != nil {
			return err
		}
	}
	for _, s := range m.record.LMHead {
		if err := add(&m.heads, "LM head", s.Start, s.End, s.Package, s.Functions); err != nil {
			return err
		}
	}
	var err error
	m.embedding, err = openEmbedding(dir, *m.record.Embedding, m.record.Model.Dims.Hidden)
	return err
}

// Close releases the packages and the embedding. Nothing made from the Model is
// of use afterwards.
func (m *Model) Close() error {
	var errs []error
	for _, links := range [][]*link{m.layers, m.heads} {
		for _, l := range links {
			errs = append(errs, l.pkg.Close())
		}
	}
	if m.embedding != nil {
		errs = append(errs, m.embedding.Close())
	}
	return errors.Join(errs...)
}

// Rows lists T of the functions that every package has, ascending.
func (m *Model) Rows() []int {
	var rows []int
	for _, f := range m.record.Shards[0].Functions { // those of the recipe, as of every package
		rows = append(rows, f.T)
	}
	return rows
}

// size is that of a program of t rows.
func (m *Model) size(t int) Size {
	return Size{Rows: t, Slots: m.record.Recipe.Slots, Vocab: m.record.Model.Dims.Vocab}
}

// function opens the link's function of t rows, once.
func (l *link) function(ctx context.Context, t int) (coreml.Function, error) {
	if f, ok := l.functions[t]; ok {
		return f, nil
	}
	name, ok := l.names[t]
	if !ok {
		return nil, fmt.Errorf("%s: %w: want a function of %d rows, found none", l.label, ErrOptions, t)
	}
	f, err := l.pkg.Function(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.label, err)
	}
	l.functions[t] = f
	return f, nil
}

// Cache is the KV cache of one sequence: a state of each package.
type Cache struct {
	model  *Model
	layers []coreml.State
	heads  []coreml.State
}

// NewCache returns an empty cache.
func (m *Model) NewCache() (*Cache, error) {
	c := &Cache{model: m}
	for _, part := range []struct {
		links  []*link
		states *[]coreml.State
	}{{m.layers, &c.layers}, {m.heads, &c.heads}} {
		for _, l := range part.links {
			st, err := l.pkg.NewState()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.label, err)
			}
			*part.states = append(*part.states, st)
		}
	}
	return c, nil
}
