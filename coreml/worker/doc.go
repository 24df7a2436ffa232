// Package worker runs a plane in a process of its own, so that a plane that
// hangs, crashes or prints where it should not costs one answer and not the
// run. [New] is the side that asks: a coreml.Plane whose packages live in
// worker processes. [Serve] is the side that answers, around any plane.
//
// The two talk in frames over the worker's standard input and output, one
// request and one reply at a time; tensors go through a nameless file that both
// have mapped. Both ends are the same binary, so a frame is either exactly what
// this version would have written or an error.
//
// What keeps a call from its answer wraps coreml.ErrBroken, says what happened
// and quotes the worker's last words; the next call starts a new worker. States
// that lived in the old one are lost, and say so when they are used. A worker
// ends when its standard input does, whatever it is doing, so none is left when
// the process that started it is gone.
package worker
