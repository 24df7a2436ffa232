package oracle

// Step names a value on the way through a layer.
type Step string

// The steps of a layer, in the order in which Trace shows them; each is one
// token's.
const (
	AttnNorm     Step = "attn_norm"     // [hidden]
	QKV          Step = "qkv"           // [(heads + 2 n_kv) head_dim], before RoPE
	Q            Step = "q"             // [heads, head_dim], after RoPE, not scaled
	NewK         Step = "k"             // [n_kv, head_dim], after RoPE
	NewV         Step = "v"             // [n_kv, head_dim]
	Probs        Step = "probs"         // [heads, slots that the token sees]
	Context      Step = "context"       // [heads, head_dim]
	AttnOut      Step = "attn_out"      // [hidden]
	AttnResidual Step = "attn_residual" // [hidden], x + attn_out
	MLPNorm      Step = "mlp_norm"      // [hidden]
	GateUp       Step = "gate_up"       // [2 intermediate]
	Gate         Step = "gate"          // [intermediate]
	Up           Step = "up"            // [intermediate]
	Act          Step = "mlp_act"       // [intermediate], up * silu(gate)
	Down         Step = "down"          // [hidden]
	Out          Step = "out"           // [hidden], what leaves the layer
)
