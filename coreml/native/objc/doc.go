// Package objc is the seam between the native plane and the Objective-C
// runtime: an interface of a few calls, and the table of the messages that may
// be sent through it.
//
// One file, runtime_darwin.go, implements the interface with the system's
// runtime. Everything above the seam is portable, so a runtime written in Go
// can stand in its place where there is no Core ML.
package objc
