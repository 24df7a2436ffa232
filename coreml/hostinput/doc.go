// Package hostinput computes what the host hands to a pass of a decoder shard:
// hidden states in the graph's layout, RoPE rows, the attention mask and the
// write columns, with dead rows where a block has more rows than tokens.
//
// It knows nothing of planes, packages or checkpoints; its results are the same
// bits on every processor.
package hostinput
