// Package gguf turns the header of a GGUF file into structs and back. Its one
// job is the format: magic, version and counts, then typed keys and values,
// then one entry per tensor, all little-endian, then the tensors' data, each
// at a multiple of the alignment. What a key or a tensor means is for its
// callers.
//
// Versions 2 and 3 are read; they differ only in that 3 may be big-endian,
// which is refused by name. The parser is strict: a file that another reader
// could understand differently (a repeated key, overlapping tensors, a hole,
// bytes after the data) is refused with a [FormatError] that wraps
// [ErrFormat]. It follows ggml's own limits: tensor names of at most 64 bytes,
// four dimensions, no arrays of arrays.
package gguf
