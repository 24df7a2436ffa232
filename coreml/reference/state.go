package reference

import (
	"fmt"

	"github.com/x448/float16"

	"lockstep/internal/half"
)

// state holds each cache as float32 values that float16 can represent.
type state struct {
	pkg    *pkg
	caches map[string][]float32
}

// Read implements coreml.State.
func (s *state) Read(name string, dst []float16.Float16) error {
	cache, err := s.cache(name, len(dst))
	if err != nil {
		return err
	}
	half.Encode(dst, cache)
	return nil
}

// Write implements coreml.State.
func (s *state) Write(name string, src []float16.Float16) error {
	cache, err := s.cache(name, len(src))
	if err != nil {
		return err
	}
	half.Decode(cache, src)
	return nil
}

func (s *state) cache(name string, n int) ([]float32, error) {
	cache, ok := s.caches[name]
	if !ok {
		return nil, fmt.Errorf("%w: state %q: the package has no such state", ErrTensor, name)
	}
	if n != len(cache) {
		return nil, fmt.Errorf("%w: state %q: want %d values, found %d", ErrTensor, name, len(cache), n)
	}
	return cache, nil
}
