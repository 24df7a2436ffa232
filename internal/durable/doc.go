// Package durable is the one package of the product that writes, links and
// renames files, so that the rule "nothing that stood before is lost" has one
// place where it can be kept and one place where it can break.
//
// Every write goes to a name that ends in ".partial" and that carries a digest
// of what is being written, is synced, and gets its finished name by a rename
// that cannot replace. A run that was killed leaves such a partial behind; the
// next run of the same content compares it with the true bytes and goes on
// from the first difference, and a run of other content leaves it alone.
// Nothing is ever removed or shortened, whoever made it; [Scratch] alone takes
// away the name that it has just made itself.
//
// Four things alone change what a run did not create: the lock file's text, the
// rewriting of a partial whose name carries the writer's own digest,
// [Lock.ReplaceKept], which links the old text to a numbered name first, and
// [Append], which adds to a file that somebody else owns, a log for instance,
// and touches no byte that stands in it.
//
// All of it stands on [FS], the seam over the file system, so that the tests
// can make any single call fail (package faultfs).
package durable
