// Package mlpackage turns the bytes of a Core ML package into typed values and
// back: the model protobuf, the weight file and the package directory's
// manifest.
//
// It holds no policy. What a program means is package mil's business, what a
// package should contain is the exporter's, and writing files is package
// durable's: everything here that writes, writes to an io.Writer. Readers are
// strict. A field, a value or a byte that the typed values cannot hold is an
// error that names file, field, wanted and found; it is never dropped.
package mlpackage
