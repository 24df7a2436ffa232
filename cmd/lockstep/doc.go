// Command lockstep exports shards of a language model as Core ML packages for
// the Apple Neural Engine and proves that a block of tokens keeps step with
// single-token passes.
//
// Run "lockstep --help" for its commands.
package main
