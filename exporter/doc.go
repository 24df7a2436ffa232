// Package exporter turns a range of a checkpoint's decoder layers into a Core
// ML package: recipe, graph, weights, disk guard, ladder. It streams, so its
// memory does not grow with the shard, and it never executes what it writes:
// judging a package is conformance's job.
package exporter
