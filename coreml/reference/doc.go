// Package reference is the plane that executes a package's own bytes anywhere:
// model.mlmodel decoded, weight.bin mapped, each operation by its MIL meaning,
// with a result that is defined to the bit.
//
// Values are float16 at almost every operation's border; sums run in 16 fixed
// partial sums. The outcome therefore depends on neither the number of rows in a
// pass, nor threads, nor the instruction set, which is what lets a block be
// compared with single passes bit for bit.
//
// A function is compiled once to steps over buffers that liveness assigns:
// pieces and reshapes lie in their operand's buffer, a value that goes into a
// state is made there if nobody can tell, and a pass allocates nothing. What
// the plane does not execute is refused then, by name; nothing is approximated.
// It executes the op table of package mil:
//
//   - const; constexpr_blockwise_shift_scale with blocks of any form and offsets;
//     constexpr_lut_to_dense; read_state, write_state
//   - identity, reshape, expand_dims, squeeze, transpose, tile, split, concat;
//     slice_by_index; slice_by_size and slice_update, also with bounds that the
//     pass computes
//   - conv of any form; linear; matmul; scaled_dot_product_attention
//   - add, sub, mul, real_div, maximum, minimum, pow; silu, sigmoid, relu, tanh,
//     exp, sqrt, square, abs, gelu, rsqrt; greater_equal, less, equal, select,
//     cast
//   - softmax, layer_norm, reduce_sum, reduce_mean, reduce_max,
//     reduce_sum_square, reduce_l2_norm; reduce_argmax, topk, gather
//
// To execute an op is not to recommend it: what leaves the Neural Engine is the
// lint's business.
//
// # Types
//
// Inputs, outputs and states are float16. Run-time values between them may be
// float32, integers of 8 to 32 bits or bools, as converters leave them around
// norms, ids and masks.
//
//   - A float32 result is what a float16 one is before its rounding: the same
//     float32 sums in the same order, every product rounded before it is added.
//     Unary functions and pow are float64 functions rounded once, within 0.5 +
//     2^-16 units of the last place; softmax has kernel.Exp32, within 2.
//   - int32 arithmetic is exact modulo 2^32: it wraps as two's complement does.
//     Integers keep all of their bits, see kernel.Ints. Division, mean and l2
//     norm of integers are refused: MIL's documents do not say how they round.
//   - cast rounds to nearest even towards floats, and drops the fraction towards
//     integers, giving the nearest bound outside their range and 0 for NaN;
//     between integers it keeps the low bits. MIL leaves what is out of range
//     open.
//
// # Where MIL leaves a choice
//
//   - scaled_dot_product_attention is one op and rounds once: float32 stands
//     between its steps, where the three ops that it stands for round three
//     times in float16. A row that may see nothing is NaN.
//   - Equal elements are ranked by their place, NaN above every number; topk
//     sorts even where sort is false.
//   - An index of gather outside its axis, negative ones included, and bounds
//     that the pass computes outside theirs end the pass with ErrIndex, whatever
//     validate_indices says. Constant ones are refused with the program.
//   - conv with pad_type same or same_lower is executed where both ends get the
//     same padding whatever the stride; the definitions in use differ elsewhere.
//     Padding is zeros that are multiplied like any element.
package reference
