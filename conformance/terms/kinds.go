package terms

// kinds are the run-time operations that terms cover, by type.
var kinds = map[string]func(*operation) (rule, error){
	"reshape": same, "expand_dims": same, "squeeze": same, "identity": same,
	"transpose": transpose, "split": split, "slice_by_index": slice, "slice_by_size": sliceBySize,
	"concat": concat, "tile": tile, "slice_update": sliceUpdate,
	"add": pairwise, "sub": pairwise, "mul": pairwise, "real_div": pairwise, "maximum": pairwise, "minimum": pairwise, "pow": pairwise,
	"greater_equal": pairwise, "less": pairwise, "equal": pairwise, "select": choose, "cast": cast,
	"silu": unary, "sigmoid": unary, "relu": unary, "tanh": unary, "exp": unary, "sqrt": unary,
	"square": unary, "abs": unary, "gelu": unary, "rsqrt": unary,
	"conv": conv, "linear": linear, "matmul": matmul, "scaled_dot_product_attention": attention,
	"softmax": softmax, "layer_norm": layerNorm,
	"reduce_sum": reduce, "reduce_mean": reduce, "reduce_max": reduce, "reduce_sum_square": reduce, "reduce_l2_norm": reduce,
}
