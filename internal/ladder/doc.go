// Package ladder makes a whole model piece by piece: it exports a shard, judges
// it, and goes on to the next larger one only if it has passed. It stands above
// exporter and conformance, which do the work and set the rules.
package ladder
