// Command realtail is `make real`: it exports and judges the tail shard [30,32)
// at Phi-4-mini's dimensions, with seeded weights, on the reference plane.
//
// It fails if any judged case ends otherwise than it must: everything passes
// but residency, which is not measured, and the lint of the prescaled norm
// form, which fails by design. It fails, too, if export needs 128 MiB of memory
// or more. Durations are printed to be read; none is judged.
//
// Whatever it writes stays: the checkpoint, made once, and one directory per
// build of the lockstep command, so that nothing of an older build is taken for
// the work of this one.
package main
