package objc

import "errors"

// ErrNotHere means that this system has no Core ML.
//
//lint:ignore ST1005 a name keeps its capital
var ErrNotHere = errors.New("Core ML is not here")

// Pool is an open autorelease pool.
type Pool uintptr

// Runtime is an Objective-C runtime with Core ML and Foundation loaded. It is
// safe for concurrent use; a pool belongs to the thread that opened it.
type Runtime interface {
	// Plane is what verdicts call a plane over this runtime.
	Plane() string
	// Class looks a class up, 0 if there is none.
	Class(name string) ID
	// Selector registers a selector.
	Selector(name string) Selector
	// Send sends a message whose result is of the kind given. Nothing is
	// checked: the caller compares kinds with the table first.
	Send(self ID, sel Selector, result Kind, args ...Value) Value
	// Call calls a C function without arguments that returns an object.
	Call(function string) (ID, error)
	// NewBlock makes a block that returns nothing, with one reference. body
	// may be called on any thread, any number of times, and must not panic.
	NewBlock(params []Kind, body func(args []Value)) (ID, error)
	// ReleaseBlock gives a reference to a block up.
	ReleaseBlock(block ID)
	// PushPool opens an autorelease pool on the calling thread.
	PushPool() Pool
	// PopPool closes the thread's newest pool.
	PopPool(Pool)
	// VirtualMachine tells whether the system runs in a virtual machine.
	VirtualMachine() (bool, error)
}
