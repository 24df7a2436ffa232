// Command demo decodes with an exported nano: plainly and under drafts, token
// against token, and reads the held-out text. `make demo` runs it.
package main
