package gguf

import (
	"math"
	"slices"
)

// The format's constants, and bounds on what a header may hold. A real
// header's bulk is its tokenizer: 200,064 tokens take about 10 MB.
const (
	magic            = "GGUF"
	minVersion       = 2
	maxVersion       = 3
	alignmentKey     = "general.alignment"
	defaultAlignment = 32

	MaxHeader = 256 << 20 // bytes before the data
	MaxKey    = 1<<16 - 1 // bytes of a key, by the format
	MaxName   = 64        // bytes of a tensor's name, by the format
	MaxRank   = 4         // dimensions of a tensor, by ggml
)

// Value is a key's value.
type Value struct {
	Type ValueType

	bits uint64 // of a number or a bool, sign-extended if it has a sign
	text string // of a string

	// Elem, Len and the byte range [Begin, End) of the file describe an
	// array. Its elements are checked and passed over: they are tokenizers'
	// lists, which may be large.
	Elem       ValueType
	Len        int
	Begin, End int64
}

// Int returns an integer value of any width; ok is false for other types and
// for an unsigned value that int64 cannot hold.
func (v Value) Int() (n int64, ok bool) {
	switch v.Type {
	case Uint8, Int8, Uint16, Int16, Uint32, Int32, Int64:
		return int64(v.bits), true
	case Uint64:
		return int64(v.bits), v.bits <= math.MaxInt64
	default:
		return 0, false
	}
}

// Float32 returns a float32 value, which may be NaN or infinite.
func (v Value) Float32() (f float32, ok bool) {
	return math.Float32frombits(uint32(v.bits)), v.Type == Float32
}

// Float64 returns a float64 value, which may be NaN or infinite.
func (v Value) Float64() (f float64, ok bool) {
	return math.Float64frombits(v.bits), v.Type == Float64
}

// Bool returns a bool value.
func (v Value) Bool() (b, ok bool) { return v.bits == 1, v.Type == Bool }

// Text returns a string value, whose bytes need not be UTF-8.
func (v Value) Text() (s string, ok bool) { return v.text, v.Type == String }

// Info describes one tensor of a file.
type Info struct {
	Name  string
	Type  Type
	Dims  []int // in the file's order: the first is the length of a row
	Begin int64 // first byte, from the start of the file
	End   int64 // one past the last byte, without padding
}

// Shape is Dims with the row length last, as other formats write it.
func (i Info) Shape() []int {
	shape := slices.Clone(i.Dims)
	slices.Reverse(shape)
	return shape
}

// File is a parsed header.
type File struct {
	Name      string // the name given to Parse
	Version   int    // 2 or 3
	Alignment int64  // of the data and of each tensor in it
	Keys      map[string]Value
	Tensors   []Info // in the file's order
	DataBegin int64  // first byte of the data
}

// align rounds n up to a multiple of a.
func align(n, a int64) int64 { return (n + a - 1) / a * a }
