// Package coreml declares what it means to execute a Core ML package: planes,
// packages, functions, states and tensors. It holds interfaces alone and
// imports neither plane, so that commands and tests choose a plane by value
// and a run can always name the one it used.
package coreml
