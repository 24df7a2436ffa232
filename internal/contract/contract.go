// Package contract names the inputs, the output and the states of a shard's
// functions: the graph contract that exporter, host and gate share. All of them
// are float16; T is the rows of a function, S the slots of the KV cache.
package contract

import "fmt"

// The inputs and the outputs. An LM head shard takes Hidden and gives Logits.
const (
	X         = "x"             // [1, hidden, T, 1]: hidden states in, channel-major
	RopeCos   = "rope_cos"      // [T, rotary/2]: one row per token, for its absolute position
	RopeSin   = "rope_sin"      // [T, rotary/2]
	AttnMask  = "attn_mask"     // [1, 1, T, S], added to the scores: 0 visible, -1e4 hidden
	WriteMask = "kv_write_mask" // [1, 1, S, T]: column t is one-hot in the slot that row t writes
	Hidden    = "hidden"        // [1, hidden, T, 1]: hidden states out
	Logits    = "logits"        // [1, rows, T, 1]: one logit per row of a vocabulary range
)

// FinalNorm is the RMSNorm before the LM head; FinalNormWeight and LogitsWeight
// name the stored weights of an LM head shard.
const (
	FinalNorm       = "final_norm"
	FinalNormWeight = FinalNorm + "_weight" // [1, hidden, 1, 1]
	LogitsWeight    = Logits + "_weight"    // [rows, hidden, 1, 1]
)

// KState names a layer's key cache [1, KV heads, S, head_dim], the layer counted
// from 0 inside the shard. Keys are stored after RoPE.
func KState(layer int) string { return fmt.Sprintf("layers_%d_k_state", layer) }

// VState names a layer's value cache; see KState.
func VState(layer int) string { return fmt.Sprintf("layers_%d_v_state", layer) }

// Weight names the stored weight of a projection or norm of a layer (counted as
// for KState): part is attn_norm, qkv, attn_out, mlp_norm, gate_up or down.
func Weight(layer int, part string) string { return fmt.Sprintf("layers_%d_%s_weight", layer, part) }
