// Package conformance is the gate: the catalogue of cases that a shard must
// pass, and Run, which executes them against a package on a plane and returns
// a verdict. Tests and the command line are thin wrappers around it; it does
// not import testing.
package conformance
