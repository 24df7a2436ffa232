package checkpoint

import (
	"errors"
	"fmt"
)

var (
	// ErrConfig is wrapped by errors about config.json: missing, malformed, or
	// describing a model that is not this family.
	ErrConfig = errors.New("unusable config")
	// ErrTensor is wrapped by errors about a tensor or the files that hold it:
	// missing, misshapen, of another dtype, or in disagreement with the index.
	ErrTensor = errors.New("unusable tensor")
	// ErrValue is wrapped by errors about a weight's value: NaN, infinity, or
	// beyond float16.
	ErrValue = errors.New("unusable value")
	// ErrRange is wrapped by errors about layers that the model does not have.
	ErrRange = errors.New("bad layer range")
)

// ConfigError says which key of a config is wrong.
type ConfigError struct {
	File  string
	Key   string // with the section it stands in: "rope_scaling.type"
	Want  string
	Found string
}

// Error names file, key, wanted and found.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("%s: %s: want %s, found %s", e.File, e.Key, e.Want, e.Found)
}

// Unwrap makes errors.Is(err, ErrConfig) true.
func (e *ConfigError) Unwrap() error { return ErrConfig }

// TensorError says which tensor, or which file of tensors, is wrong.
type TensorError struct {
	File   string
	Tensor string // empty when the file as a whole is meant
	Field  string // "name", "shape", "dtype", "rows", "file", "weight_map", ...
	Want   string
	Found  string
}

// Error names file, tensor, field, wanted and found.
func (e *TensorError) Error() string {
	where := e.File + ": "
	if e.Tensor != "" {
		where += fmt.Sprintf("tensor %q: ", e.Tensor)
	}
	return fmt.Sprintf("%s%s: want %s, found %s", where, e.Field, e.Want, e.Found)
}

// Unwrap makes errors.Is(err, ErrTensor) true.
func (e *TensorError) Unwrap() error { return ErrTensor }

// ValueError says which weight has a value that cannot be used.
type ValueError struct {
	File   string
	Tensor string
	Row    int // a vector is row 0
	Col    int
	Want   string
	Found  string
}

// Error names file, tensor, place, wanted and found.
func (e *ValueError) Error() string {
	return fmt.Sprintf("%s: tensor %q: [%d, %d]: want %s, found %s", e.File, e.Tensor, e.Row, e.Col, e.Want, e.Found)
}

// Unwrap makes errors.Is(err, ErrValue) true.
func (e *ValueError) Unwrap() error { return ErrValue }
