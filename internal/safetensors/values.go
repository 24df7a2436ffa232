package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/x448/float16"
)

// ErrTensor is wrapped by errors about a tensor that is not in a file or has
// another element type than asked for.
var ErrTensor = errors.New("unusable tensor")

// Values is a whole file in memory, for files of small tensors.
type Values struct {
	*File
	data []byte
}

// ParseValues parses data, the content of the file called name.
func ParseValues(name string, data []byte) (*Values, error) {
	file, err := Parse(bytes.NewReader(data), int64(len(data)), name)
	if err != nil {
		return nil, err
	}
	return &Values{File: file, data: data}, nil
}

// Float32 returns an F32 tensor's values, row-major, and its shape.
func (v *Values) Float32(name string) ([]float32, []int, error) {
	raw, shape, err := v.raw(name, "F32")
	if err != nil {
		return nil, nil, err
	}
	out := make([]float32, len(raw)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out, shape, nil
}

// Int32 returns an I32 tensor's values, row-major, and its shape.
func (v *Values) Int32(name string) ([]int32, []int, error) {
	raw, shape, err := v.raw(name, "I32")
	if err != nil {
		return nil, nil, err
	}
	out := make([]int32, len(raw)/4)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out, shape, nil
}

// Float16 returns an F16 tensor's values, row-major, and its shape.
func (v *Values) Float16(name string) ([]float16.Float16, []int, error) {
	raw, shape, err := v.raw(name, "F16")
	if err != nil {
		return nil, nil, err
	}
	out := make([]float16.Float16, len(raw)/2)
	for i := range out {
		out[i] = float16.Float16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	return out, shape, nil
}

func (v *Values) raw(name, dtype string) ([]byte, []int, error) {
	t, ok := v.Lookup(name)
	if !ok {
		return nil, nil, fmt.Errorf("%w: %s: tensor %q: want %s, found none", ErrTensor, v.Name, name, dtype)
	}
	if t.DType != dtype {
		return nil, nil, fmt.Errorf("%w: %s: tensor %q: want %s, found %s", ErrTensor, v.Name, name, dtype, t.DType)
	}
	return v.data[t.Begin:t.End], slices.Clone(t.Shape), nil
}

// EncodeFloat16 returns a file of F16 tensors, sorted by name.
func EncodeFloat16(tensors []HalfTensor) ([]byte, error) {
	sorted := slices.Clone(tensors)
	slices.SortFunc(sorted, func(a, b HalfTensor) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	infos := make([]Info, len(sorted))
	for i, t := range sorted {
		infos[i] = Info{Name: t.Name, DType: "F16", Shape: t.Shape}
	}
	out, err := EncodeHeader(infos, nil)
	if err != nil {
		return nil, err
	}
	for _, t := range sorted {
		for _, h := range t.Data {
			out = binary.LittleEndian.AppendUint16(out, h.Bits())
		}
	}
	return out, nil
}

// HalfTensor is a named float16 tensor, row-major.
type HalfTensor struct {
	Name  string
	Shape []int
	Data  []float16.Float16
}
