// Package terms executes programs over hashes of terms in place of floats, and
// so proves, without weights and at production size, that a block of T rows
// keeps step with T single rows: every element of the outputs and every slot of
// every state has the same term.
//
// It is value numbering over a straight-line program (Aho, Lam, Sethi and
// Ullman, Compilers, chapters 6 and 9), used to decide the equivalence of two
// programs over the same uninterpreted operations. docs/equivalence.md says
// what follows from equal terms, and from what assumptions.
package terms
