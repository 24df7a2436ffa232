// Package reference is the plane that executes a package's own bytes anywhere:
// model.mlmodel decoded, weight.bin mapped, each operation by its MIL meaning,
// with a result that is defined to the bit.
//
// Values are float16 at every operation's border; sums run in 16 fixed partial
// sums. The outcome therefore depends on neither the number of rows in a pass,
// nor threads, nor the instruction set, which is what lets a block be compared
// with single passes bit for bit.
//
// A function is compiled once to steps over buffers that liveness assigns:
// pieces and reshapes lie in their operand's buffer, a value that goes into a
// state is made there if nobody can tell, and a pass allocates nothing. What
// the plane does not execute is refused then, by name; nothing is approximated:
//
//   - const; constexpr_blockwise_shift_scale of integers, in blocks of any form
//     and with any offset but a float32 one; constexpr_lut_to_dense of float16
//     tables; read_state, write_state
//   - identity, reshape, expand_dims, squeeze, transpose, tile, split, concat;
//     slice_by_index, slice_by_size and slice_update with constant bounds
//   - conv with a kernel of 1, stride 1, one group and a stored weight, over a
//     batch of 1; linear; matmul
//   - add, sub, mul, real_div, maximum, minimum; silu, sigmoid, relu, tanh,
//     exp, sqrt, square, abs, gelu, rsqrt; pow with the exponent 2
//   - softmax, layer_norm, reduce_sum, reduce_mean, reduce_max,
//     reduce_sum_square, reduce_l2_norm
//
// Run-time values are float16 throughout.
package reference
