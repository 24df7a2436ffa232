package checkpoint

import (
	"fmt"
	"strconv"
	"strings"
)

// Role is what a tensor is for.
type Role int

// The roles. Those before Embedding exist once per decoder layer.
const (
	AttnNorm  Role = iota // RMSNorm before attention, [hidden]
	QKV                   // fused query, key, value rows, [QKVRows, hidden]
	AttnOut               // attention output projection, [hidden, heads*head_dim]
	MLPNorm               // RMSNorm before the MLP, [hidden]
	GateUp                // fused rows, gate then up, [2*intermediate, hidden]
	Down                  // [hidden, intermediate]
	Embedding             // token embedding, [vocabulary, hidden]
	FinalNorm             // RMSNorm after the last layer, [hidden]
	LMHead                // output projection, [vocabulary, hidden]; the embedding if tied

	roleCount = int(LMHead) + 1
)

var roleNames = [roleCount]string{"attn_norm", "qkv", "attn_out", "mlp_norm", "gate_up", "down", "embedding", "final_norm", "lm_head"}

// String is the role's name for messages.
func (r Role) String() string {
	if r < 0 || int(r) >= roleCount {
		return fmt.Sprintf("role %d", int(r))
	}
	return roleNames[r]
}

// PerLayer tells whether each decoder layer has its own tensor of this role.
func (r Role) PerLayer() bool { return r >= AttnNorm && r < Embedding }

// LayerRoles lists the roles of one decoder layer in the order of computation.
func LayerRoles() []Role { return []Role{AttnNorm, QKV, AttnOut, MLPNorm, GateUp, Down} }

// names is one container's spelling of the roles; %d stands for the layer.
// Nowhere else are tensor names written.
type names [roleCount]string

var huggingFace = names{
	AttnNorm:  "model.layers.%d.input_layernorm.weight",
	QKV:       "model.layers.%d.self_attn.qkv_proj.weight",
	AttnOut:   "model.layers.%d.self_attn.o_proj.weight",
	MLPNorm:   "model.layers.%d.post_attention_layernorm.weight",
	GateUp:    "model.layers.%d.mlp.gate_up_proj.weight",
	Down:      "model.layers.%d.mlp.down_proj.weight",
	Embedding: "model.embed_tokens.weight",
	FinalNorm: "model.norm.weight",
	LMHead:    "lm_head.weight",
}

// ggufNames are llama.cpp's. Its ffn_up is gate and up in one, in that order;
// rows stand as in the Hugging Face tensors, since phi3 turns halves and its
// conversion permutes nothing.
var ggufNames = names{
	AttnNorm:  "blk.%d.attn_norm.weight",
	QKV:       "blk.%d.attn_qkv.weight",
	AttnOut:   "blk.%d.attn_output.weight",
	MLPNorm:   "blk.%d.ffn_norm.weight",
	GateUp:    "blk.%d.ffn_up.weight",
	Down:      "blk.%d.ffn_down.weight",
	Embedding: "token_embd.weight",
	FinalNorm: "output_norm.weight",
	LMHead:    "output.weight",
}

// The tensors of a GGUF file that are part of its config: LongRoPE's factors.
const (
	ggufShortFactors = "rope_factors_short.weight"
	ggufLongFactors  = "rope_factors_long.weight"
)

// TensorName is the name that safetensors checkpoints give to a tensor; layer
// is ignored for the roles of the whole model. The role must be one of the
// constants.
func TensorName(role Role, layer int) string { return huggingFace.name(role, layer) }

// GGUFName is the name that GGUF files give to a tensor, as [TensorName].
func GGUFName(role Role, layer int) string { return ggufNames.name(role, layer) }

func (n names) name(role Role, layer int) string {
	if role.PerLayer() {
		return fmt.Sprintf(n[role], layer)
	}
	return n[role]
}

// find is the inverse of name: the role and layer of a tensor name.
func (n names) find(name string) (role Role, layer int, ok bool) {
	for role := range Role(roleCount) {
		before, after, perLayer := strings.Cut(n[role], "%d")
		if !perLayer {
			if name == n[role] {
				return role, 0, true
			}
			continue
		}
		digits, found := strings.CutPrefix(name, before)
		if !found {
			continue
		}
		digits, found = strings.CutSuffix(digits, after)
		if !found {
			continue
		}
		layer, err := strconv.Atoi(digits)
		if err == nil && strconv.Itoa(layer) == digits && layer >= 0 {
			return role, layer, true
		}
	}
	return 0, 0, false
}

// Shape is the shape that the config gives to a role's tensor.
func (c Config) Shape(role Role) []int {
	switch role {
	case QKV:
		return []int{c.QKVRows(), c.HiddenSize}
	case AttnOut:
		return []int{c.HiddenSize, c.Heads * c.HeadDim()}
	case GateUp:
		return []int{2 * c.IntermediateSize, c.HiddenSize}
	case Down:
		return []int{c.HiddenSize, c.IntermediateSize}
	case Embedding, LMHead:
		return []int{c.VocabSize, c.HiddenSize}
	default:
		return []int{c.HiddenSize}
	}
}
