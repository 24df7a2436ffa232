// Package fakecoreml is an Objective-C runtime in Go with a small Core ML
// behind it, so that the native plane can be tested where there is neither. It
// is imported by tests, and by the command for the fake plane of "lockstep
// probe" alone.
//
// The runtime is strict where the real one would crash, leak or answer
// nonsense: a message that is no row of the table, or newer than the system; an
// argument or result of another kind than the row's; a message outside an
// autorelease pool, or in one of another thread; an object used after its
// release or released too often; an object, block or pool left over. Each is a
// fault, which Stop returns and Start fails the test for.
//
// The Core ML behind it compiles to a directory of its own form, executes by
// the reference plane, pads rows, answers on other threads, and misbehaves in
// the ways that Options names.
package fakecoreml
