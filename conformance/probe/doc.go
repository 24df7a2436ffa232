// Package probe settles on a Mac what cannot be known without one: which form
// of the graph the Neural Engine takes, with what result and how fast.
//
// It makes one-layer packages of seeded weights, a baseline and, for each open
// choice, the baseline with that one choice made otherwise (one at a time, not
// the product of all choices), and takes each through the same steps on a
// plane. The exporter writes the baseline and what its recipe can choose; the
// other variants are its programs, rewritten here. What each program means is
// first shown on the reference plane, so that a variant that is wrong in itself
// is not taken for one that the plane gets wrong.
//
// Every step that ended leaves a file, and a later run goes on with what is
// missing. Nothing is deleted, so the packages of all variants stay on the disk.
package probe
