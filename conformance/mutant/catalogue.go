package mutant

import (
	"lockstep/conformance"
	"lockstep/coreml"
	"lockstep/coreml/hostinput"
	"lockstep/exporter"
	"lockstep/internal/durable"
)

// Catalogue lists the mutants: what the model computes, what the host hands
// over, what the layers hold, what lies on disk, where the ops run, and what
// the guards outside the gate refuse.
func Catalogue() []Mutant {
	return []Mutant{
		{
			Name: "rope_over_whole_head", KilledBy: conformance.CheckOracle, seed: ropeOverWholeHead,
			Models: "RoPE turns all dims of a head in exporter and host alike; every gate whose reference shared the mistake was green",
		},
		{
			Name: "rope_interleaved", KilledBy: conformance.CheckOracle, seed: ropeInterleaved,
			Models: "RoPE pairs even with odd dimensions in place of the two halves",
		},
		{
			Name: "rope_row_of_neighbour", KilledBy: conformance.CheckParity, seed: ropeRowOfNeighbour,
			Models: "each row of a block is turned by the next row's position",
		},
		{
			Name: "attention_factor_left_out", KilledBy: conformance.CheckOracle, seed: attentionFactorLeftOut,
			Models: "the host builds RoPE rows without the attention factor",
		},
		{
			Name: "query_heads_modulo", KilledBy: conformance.CheckOracle, seed: queryHeadsModulo,
			Models: "query head h attends with KV head h mod n_kv in place of h / group",
		},
		{
			Name: "score_scale_left_out", KilledBy: conformance.CheckOracle, seed: scoreScaleLeftOut,
			Models: "scores are not divided by sqrt(head_dim)",
		},
		{
			Name: "score_scale_twice", KilledBy: conformance.CheckOracle, seed: scoreScaleTwice,
			Models: "scores are divided by head_dim",
		},
		{
			Name: "heads_as_head_token_dim", KilledBy: conformance.CheckParity, seed: headsAsHeadTokenDim,
			Models: "attention output reshaped as [head, token, dim] into channels: invisible at T=1",
		},
		{
			Name: "block_rounds_otherwise", KilledBy: conformance.CheckParity, seed: blockRoundsOtherwise,
			Models: "block and singles are each within every tolerance, and not the same: tokens differ on some prompts",
		},
		{
			Name: "future_slot_visible", KilledBy: conformance.CheckParity, seed: futureSlotVisible,
			Models: "the mask shows each row one slot too many",
		},
		{
			Name: "own_slot_hidden", KilledBy: conformance.CheckOracle, seed: ownSlotHidden,
			Models: "the mask hides from each row the slot that it writes",
		},
		{
			Name: "draft_in_wrong_slot", KilledBy: conformance.CheckParity, seed: draftInWrongSlot,
			Models: "a draft's keys and values go to the slot after their own",
		},
		{
			Name: "write_columns_swapped", KilledBy: conformance.CheckParity, seed: writeColumnsSwapped,
			Models: "two rows of a block write each other's slot",
		},
		{
			Name: "first_write_wins", KilledBy: conformance.CheckParity, seed: firstWriteWins,
			Models: "a slot keeps the first draft that was written to it, accepted or not",
		},
		{
			Name: "last_slot_lost", KilledBy: conformance.CheckOracle, seed: lastSlotLost,
			Models: "the host counts the context one slot short",
		},
		{
			Name: "dead_row_writes", KilledBy: conformance.CheckParity, seed: deadRowWrites,
			Models: "a dead row keeps a write column: it overwrites a slot that is not its own",
		},
		{
			Name: "dead_row_nan", KilledBy: conformance.CheckParity, seed: deadRowNaN,
			Models: "dead rows hold NaN in place of a copy of the last live row",
		},
		{
			Name: "dead_row_zeros", seed: deadRowZeros,
			Models: "dead rows hold zeros in place of a copy of the last live row",
		},
		{
			Name: "dead_row_all_hidden", seed: deadRowAllHidden,
			Models: "dead rows see no slot: their softmax has nothing but hidden scores",
		},
		{
			Name: "dead_rows_mixed_in", KilledBy: conformance.CheckParity, seed: deadRowsMixedIn,
			Models: "a scale is taken over all rows of a block, so that an outlier in a dead row changes the live ones",
		},
		{
			Name: "state_kept", KilledBy: conformance.CheckOracle, seed: stateKept,
			Models: "a new session starts with the last one's cache",
		},
		{
			Name: "output_nan", KilledBy: conformance.CheckOracle, seed: outputNaN,
			Models: "a range of layers that is fine in two pieces gives NaN when fused",
		},
		{
			Name: "state_nan", KilledBy: conformance.CheckOracle, seed: stateNaN,
			Models: "a state holds a NaN while every hidden state is finite: 0 times NaN poisons each later pass",
		},
		{
			Name: "output_rows_padded", KilledBy: conformance.CheckOracle, seed: outputRowsPadded,
			Models: "rows of an output that are padded to 64 bytes are read as if they were contiguous",
		},
		{
			Name: "attention_uses_old_cache", KilledBy: conformance.CheckLint, seed: attentionUsesOldCache,
			Models: "attention reads the cache as it was before the write",
		},
		{
			Name: "residual_left_out", KilledBy: conformance.CheckOracle, seed: residualLeftOut,
			Models: "the attention's output replaces the residual stream",
		},
		{
			Name: "norms_swapped", KilledBy: conformance.CheckOracle, seed: normsSwapped,
			Models: "the attention's norm and the MLP's exchange their weights",
		},
		{
			Name: "gate_and_up_swapped", KilledBy: conformance.CheckOracle, seed: gateAndUpSwapped,
			Models: "gate_up_proj split in the wrong order",
		},
		{
			Name: "epsilon_tenfold", KilledBy: conformance.CheckOracle, seed: epsilonTenfold,
			Models: "the norm's epsilon is wrong by ten, which only small inputs show",
		},
		{
			Name: "epsilon_lost", KilledBy: conformance.CheckLint, seed: epsilonLost,
			Models: "the norm's epsilon is 0 in float16",
		},
		{
			Name: "layers_in_wrong_order", KilledBy: conformance.CheckOracle, seed: layersInWrongOrder,
			Models: "the shard's layers run in the wrong order",
		},
		{
			Name: "layers_of_another_range", KilledBy: conformance.CheckOracle, seed: anotherRange,
			Models: "the package was made from the layers before the shard's",
		},
		{
			Name: "weights_of_another_layer", KilledBy: conformance.CheckOracle, seed: weightsOfAnotherLayer,
			Models: "two layers of a shard exchange a weight, in every function",
		},
		{
			Name: "t4_with_other_weights", KilledBy: conformance.CheckParity, seed: blockWithOtherWeights,
			Models: "the functions do not share their weights: t4 reads another layer's",
		},
		{
			Name: "scales_permuted", KilledBy: conformance.CheckOracle, seed: scalesPermuted,
			Models: "int8 scales in another order than their rows",
		},
		{
			Name: "scale_of_neighbour", KilledBy: conformance.CheckOracle, seed: scaleOfNeighbour,
			Models: "each int8 row is read with the next row's scale",
		},
		{
			Name: "weight_bit_flipped_and_sealed", KilledBy: conformance.CheckOracle, seed: weightBitFlippedSealed,
			Models: "the least bit of one weight is wrong before the record is made",
		},
		{
			Name: "scale_bit_flipped_and_sealed", KilledBy: conformance.CheckOracle, seed: scaleBitFlipped,
			Models: "one bit of a scale is wrong before the record is made",
		},
		{
			Name: "blobs_aliased", KilledBy: conformance.CheckOracle, seed: blobsAliased,
			Models: "two weights of one shape refer to one blob",
		},
		{
			Name: "weight_infinite", KilledBy: conformance.CheckLint, seed: weightInfinite,
			Models: "a weight overflowed float16",
		},
		{
			Name: "constant_infinite", KilledBy: conformance.CheckLint, seed: constantInfinite,
			Models: "a constant overflowed float16",
		},
		{
			Name: "int_value", KilledBy: conformance.CheckLint, seed: intValue,
			Models: "an activation goes through int32",
		},
		{
			Name: "rank_five", KilledBy: conformance.CheckLint, seed: rankFive,
			Models: "an activation has five dimensions",
		},
		{
			Name: "token_in_graph", KilledBy: conformance.CheckPackage, seed: tokenInGraph,
			Models: "a token id enters the graph, whose indices wrap at 16 bits",
		},
		{
			Name: "weight_bit_flipped", KilledBy: conformance.CheckPackage, seed: weightBitFlipped,
			Models: "one bit of weight.bin rots on disk",
		},
		{
			Name: "weights_truncated", KilledBy: conformance.CheckPackage, seed: weightsTruncated,
			Models: "weight.bin lost its end before the record was made",
		},
		{
			Name: "blob_offset_shifted", KilledBy: conformance.CheckPackage, seed: blobOffsetShifted,
			Models: "a reference points at a blob's data in place of its metadata",
		},
		{
			Name: "blob_count_wrong", KilledBy: conformance.CheckPackage, seed: blobCountWrong,
			Models: "the weight file's header counts one blob too few",
		},
		{
			Name: "use_before_definition", KilledBy: conformance.CheckPackage, seed: useBeforeDefinition,
			Models: "an op uses a value that only a later op defines; a loader with one name table over all functions lets it pass",
		},
		{
			Name: "three_rows", KilledBy: conformance.CheckPackage, seed: threeRows,
			Models: "the function t4 takes three rows",
		},
		{
			Name: "description_disagrees", KilledBy: conformance.CheckPackage, seed: descriptionDisagrees,
			Models: "the model description tells another shape than the program has",
		},
		{
			Name: "model_larger_than_planned", KilledBy: conformance.CheckPackage, seed: modelLargerThanPlanned,
			Models: "the package is not the one that the disk plan promised",
		},
		{
			Name: "record_of_another_recipe", KilledBy: conformance.CheckPackage, seed: recordOfAnotherRecipe,
			Models: "the record states another cache size than the package has",
		},
		{
			Name: "record_miscounts_ops", KilledBy: conformance.CheckPackage, seed: recordMiscountsOps,
			Models: "the record counts other ops than the program has",
		},
		{
			Name: "record_digest_wrong", KilledBy: conformance.CheckPackage, seed: recordDigestWrong,
			Models: "the record has another digest of weight.bin",
		},
		{
			Name: "record_size_wrong", KilledBy: conformance.CheckPackage, seed: recordSizeWrong,
			Models: "the record has another size of weight.bin",
		},
		{
			Name: "record_range_wrong", KilledBy: conformance.CheckOracle, seed: recordRangeWrong,
			Models: "the record says other layers than the package holds",
		},
		{
			Name: "state_of_odd_width", KilledBy: conformance.CheckLint, attempt: wide(1, oddWidth),
			Models: "heads of 129 dimensions: the last dimension of a state is no multiple of 32",
		},
		{
			Name: "state_of_odd_height", KilledBy: conformance.CheckLint, attempt: wide(1, oddHeight),
			Models: "2047 slots: the slots of a state are no multiple of 32",
		},
		{
			Name: "package_over_2_gb", KilledBy: conformance.CheckLint, attempt: wide(largestShard, shardTooLarge),
			Models: "21 int8 layers in one package: more than ever ran on the Neural Engine",
		},
		{
			Name: "op_on_cpu", KilledBy: conformance.CheckResidency, attempt: placed(opOnCPU),
			Models: "one op of each function is planned for the CPU",
		},
		{
			Name: "nil_device_usage", KilledBy: conformance.CheckResidency, attempt: placed(nilDeviceUsage),
			Models: "an op without device usage is read as fine",
		},
		{
			Name: "other_function_on_cpu", KilledBy: conformance.CheckResidency, attempt: placed(otherFunctionOnCPU),
			Models: "the compute plan is read for the default function alone; t4 runs on the CPU",
		},
		{
			Name: "block_past_the_end", KilledBy: GuardHost, attempt: hostCall(hostinput.ErrContext, blockPastTheEnd),
			Models: "a block has more live rows than the context has slots left",
		},
		{
			Name: "hidden_not_finite", KilledBy: GuardHost, attempt: hostCall(coreml.ErrNonFinite, nonFiniteHidden),
			Models: "a NaN of one shard is handed on to the next",
		},
		{
			Name: "no_verdict", KilledBy: GuardLadder, attempt: next(exporter.ErrLadder, noVerdict),
			Models: "the next shard is exported before the tail was gated",
		},
		{
			Name: "verdict_of_another_package", KilledBy: GuardLadder, attempt: next(exporter.ErrLadder, verdictOfAnotherPackage),
			Models: "the passing verdict is about a package with another digest",
		},
		{
			Name: "verdict_failed", KilledBy: GuardLadder, attempt: next(exporter.ErrLadder, verdictFailed),
			Models: "the next shard is exported although the tail failed",
		},
		{
			Name: "verdict_of_smaller_catalogue", KilledBy: GuardLadder, attempt: next(exporter.ErrLadder, verdictOfASmallerCatalogue),
			Models: "the verdict is older than the checks that there are now",
		},
		{
			Name: "residency_not_accepted", KilledBy: GuardLadder, attempt: next(exporter.ErrLadder, residencyNotAccepted),
			Models: "a partial verdict passes for a pass",
		},
		{
			Name: "out_of_order", KilledBy: GuardLadder, attempt: next(exporter.ErrLadder, outOfOrder),
			Models: "the largest shard is exported before the smaller ones",
		},
		{
			Name: "outside_the_layout", KilledBy: GuardLadder, attempt: next(exporter.ErrLadder, outsideTheLayout),
			Models: "a range that is no shard of the layout",
		},
		{
			Name: "another_recipe", KilledBy: GuardDirectory, attempt: next(exporter.ErrConflict, anotherRecipe),
			Models: "shards of two cache sizes in one directory",
		},
		{
			Name: "another_checkpoint", KilledBy: GuardDirectory, attempt: next(exporter.ErrConflict, anotherCheckpoint),
			Models: "shards of two models in one directory",
		},
		{
			Name: "volume_too_small", KilledBy: GuardDirectory, attempt: next(durable.ErrNoSpace, volumeTooSmall),
			Models: "the disk fills up in the middle, and something is deleted to make room",
		},
	}
}
