package reference

import (
	"fmt"
	"sync"

	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/half"
	"lockstep/internal/mil"
)

// state holds each cache as float32 values that float16 can represent. A pass
// holds the lock, so a Read from elsewhere never sees half a pass.
type state struct {
	pkg    *pkg
	index  map[string]int
	values []mil.Value // in declared order

	mu     sync.Mutex
	caches [][]float32 // by declared order
}

// NewState allocates the states that the functions declare, all zero. Errors
// wrap ErrProgram for a state that is not float16, and ErrMemory.
func (p *pkg) NewState() (coreml.State, error) {
	if err := p.acquire(); err != nil {
		return nil, err
	}
	defer p.release()
	s := &state{pkg: p, index: map[string]int{}, values: p.files.Model.Program.Functions[0].States()}
	room := budget{left: p.limit, limit: p.limit}
	for i, v := range s.values {
		if v.Type.DType != mil.Float16 {
			return nil, fmt.Errorf("%w: state %q: want float16, found %s", ErrProgram, v.Name, v.Type)
		}
		s.index[v.Name] = i
		if err := room.take(floatBytes(mil.NumElements(v.Type.Shape))); err != nil {
			return nil, fmt.Errorf("state %q %s: %w", v.Name, v.Type, err)
		}
	}
	for _, v := range s.values {
		s.caches = append(s.caches, make([]float32, mil.NumElements(v.Type.Shape)))
	}
	return s, nil
}

// Read implements coreml.State.
func (s *state) Read(name string, dst []float16.Float16) error {
	return s.access(name, len(dst), func(cache []float32) error {
		half.Encode(dst, cache)
		return nil
	})
}

// Write implements coreml.State. A NaN or an infinity in src, which would
// reach every later pass, wraps coreml.ErrNonFinite, and nothing is changed.
func (s *state) Write(name string, src []float16.Float16) error {
	return s.access(name, len(src), func(cache []float32) error {
		if i := half.FirstNonFinite(src); i >= 0 {
			return fmt.Errorf("state %q at %v: %w", name, position(i, s.values[s.index[name]].Type.Shape), coreml.ErrNonFinite)
		}
		half.Decode(cache, src)
		return nil
	})
}

func (s *state) access(name string, n int, do func(cache []float32) error) error {
	if err := s.pkg.acquire(); err != nil {
		return err
	}
	defer s.pkg.release()
	i, ok := s.index[name]
	if !ok {
		return fmt.Errorf("%w: state %q: the package has no such state", ErrTensor, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n != len(s.caches[i]) {
		return fmt.Errorf("%w: state %q: want %d values, found %d", ErrTensor, name, len(s.caches[i]), n)
	}
	return do(s.caches[i])
}
