// Command lockstep exports shards of a language model as Core ML packages for
// the Apple Neural Engine and proves that a block of tokens keeps step with
// single-token passes.
//
// Run "lockstep --help" for its commands and exit codes. Results go to standard
// output, one fact a line with its keyword first; progress and errors go to
// standard error. With --json, standard output is one JSON document.
package main
