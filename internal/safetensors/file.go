package safetensors

import (
	"slices"
	"strings"
)

// MaxHeader is the largest header that the format allows, in bytes.
const MaxHeader = 100_000_000

// MaxRank is the largest number of dimensions this package reads. The format
// has no limit; a bound keeps one hostile entry from growing without end.
const MaxRank = 16

// lengthBytes is the size of the header length at the start of a file.
const lengthBytes = 8

// metadataKey is the one header key that is not a tensor's name.
const metadataKey = "__metadata__"

// Info describes one tensor of a file.
type Info struct {
	Name  string
	DType string // as the format spells it: "BF16", "F32", "I32", ...
	Shape []int  // row-major; empty for a scalar
	Begin int64  // first byte, from the start of the file
	End   int64  // one past the last byte
}

// Size is the tensor's length in bytes.
func (i Info) Size() int64 { return i.End - i.Begin }

// File is a parsed header.
type File struct {
	Name     string            // the name given to Parse
	Tensors  []Info            // sorted by name
	Metadata map[string]string // nil if the header has no __metadata__
}

// Lookup finds a tensor by name.
func (f *File) Lookup(name string) (Info, bool) {
	i, ok := slices.BinarySearchFunc(f.Tensors, name, func(t Info, name string) int {
		return strings.Compare(t.Name, name)
	})
	if !ok {
		return Info{}, false
	}
	return f.Tensors[i], true
}
