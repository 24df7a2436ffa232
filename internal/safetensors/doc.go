// Package safetensors turns the header of a safetensors file into structs and
// back. Its one job is the format: eight bytes of little-endian header length,
// a JSON object that names each tensor's dtype, shape and byte range, then the
// data without holes. What a tensor means, and which files belong together, is
// for its callers.
//
// The parser is strict: a file that another reader could understand
// differently (a repeated key, a hole, bytes after the data) is refused with a
// [FormatError] that wraps [ErrFormat].
package safetensors
