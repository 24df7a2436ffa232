// Package native is the plane that is Core ML: it compiles a package, loads a
// function for the CPU and the Neural Engine, runs passes on it, and reads its
// compute plan.
//
// All of it is portable Go over package objc, which alone touches the system's
// runtime; on a system without Core ML New says so. Every message is a row of
// objc's table, and its kinds are compared with the row before it is sent.
//
// Objective-C exceptions cannot be caught, and a compile for the Neural Engine
// can hang or end the process: run the plane in a process that may be lost.
// Nothing here needs more than one goroutine's thread, and no call outlives its
// package, except what a cancelled context left with Core ML.
//
// Ownership follows the framework's rules: everything runs inside an
// autorelease pool on a locked thread; what outlives the pool is retained, and
// released by Close.
package native
