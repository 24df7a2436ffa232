// Package mil holds a MIL program as typed values: functions, operations,
// types and literals, the rules of the op table (shape and type inference),
// def-before-use, and a text printer.
//
// It knows nothing of files: package mlpackage turns a Program into bytes and
// back. The exporter builds programs here, the reference plane executes them,
// lint and the equivalence proof read them.
package mil
