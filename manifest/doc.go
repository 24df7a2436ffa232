// Package manifest holds the texts that lockstep leaves beside its packages: the
// record (lockstep.json), the reproducible account of what an output directory
// holds; the verdict, one gate run's evidence about one package on one plane;
// the runtime manifest, a recorded whole model in the words of a public Swift
// runtime; recorded compute plans, where Core ML would run a package's ops; and
// the probe, what a machine answered to the open choices of the graph.
//
// It owns their types, file names, canonical JSON, strict decoding, the checks
// that a text agrees with itself, and the JSON Schemas; it reads no files and
// judges nothing. It uses the standard library alone, so that any tool can read
// these texts with it.
//
// Canonical JSON is one fixed text per value: fields in declared order, map
// keys sorted, lists as lists even when empty, two spaces of indent, no HTML
// escapes, one newline at the end.
package manifest
