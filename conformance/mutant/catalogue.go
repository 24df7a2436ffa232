package mutant

import "lockstep/conformance"

// Catalogue lists the mutants, sorted by the part that carries the fault.
func Catalogue() []Mutant {
	return []Mutant{
		{
			Name: "rope_over_whole_head", KilledBy: conformance.CheckOracle, seed: ropeOverWholeHead,
			Models: "RoPE turns all dims of a head in exporter and host alike; every gate whose reference shared the mistake was green",
		},
		{
			Name: "heads_as_head_token_dim", KilledBy: conformance.CheckParity, seed: headsAsHeadTokenDim,
			Models: "attention output reshaped as [head, token, dim] into channels: invisible at T=1",
		},
		{
			Name: "gate_and_up_swapped", KilledBy: conformance.CheckOracle, seed: gateAndUpSwapped,
			Models: "gate_up_proj split in the wrong order",
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
			Name: "residual_left_out", KilledBy: conformance.CheckOracle, seed: residualLeftOut,
			Models: "the attention's output replaces the residual stream",
		},
		{
			Name: "attention_uses_old_cache", KilledBy: conformance.CheckLint, seed: attentionUsesOldCache,
			Models: "attention reads the cache as it was before the write",
		},
		{
			Name: "epsilon_lost", KilledBy: conformance.CheckLint, seed: epsilonLost,
			Models: "the norm's epsilon is 0 in float16",
		},
		{
			Name: "weight_bit_flipped", KilledBy: conformance.CheckPackage, seed: weightBitFlipped,
			Models: "one bit of weight.bin rots on disk",
		},
		{
			Name: "scale_bit_flipped_and_sealed", KilledBy: conformance.CheckOracle, seed: scaleBitFlipped,
			Models: "one bit of a scale is wrong before the record is made",
		},
		{
			Name: "weights_truncated", KilledBy: conformance.CheckPackage, seed: weightsTruncated,
			Models: "weight.bin lost its end before the record was made",
		},
		{
			Name: "use_before_definition", KilledBy: conformance.CheckPackage, seed: useBeforeDefinition,
			Models: "an op uses a value that only a later op defines; a loader with one name table over all functions lets it pass",
		},
		{
			Name: "record_miscounts_ops", KilledBy: conformance.CheckPackage, seed: recordMiscountsOps,
			Models: "the record counts other ops than the program has",
		},
		{
			Name: "model_larger_than_planned", KilledBy: conformance.CheckPackage, seed: modelLargerThanPlanned,
			Models: "the package is not the one that the disk plan promised",
		},
		{
			Name: "description_disagrees", KilledBy: conformance.CheckPackage, seed: descriptionDisagrees,
			Models: "the model description tells another shape than the program has",
		},
		{
			Name: "record_of_another_recipe", KilledBy: conformance.CheckPackage, seed: recordOfAnotherRecipe,
			Models: "the record states another cache size than the package has",
		},
		{
			Name: "attention_factor_left_out", KilledBy: conformance.CheckOracle, seed: attentionFactorLeftOut,
			Models: "the host builds RoPE rows without the attention factor",
		},
		{
			Name: "future_slot_visible", KilledBy: conformance.CheckParity, seed: futureSlotVisible,
			Models: "the mask shows each row one slot too many",
		},
		{
			Name: "draft_in_wrong_slot", KilledBy: conformance.CheckParity, seed: draftInWrongSlot,
			Models: "a draft's keys and values go to the slot after their own",
		},
		{
			Name: "dead_row_writes", KilledBy: conformance.CheckParity, seed: deadRowWrites,
			Models: "a dead row keeps a write column: it overwrites a slot that is not its own",
		},
		{
			Name: "first_write_wins", KilledBy: conformance.CheckParity, seed: firstWriteWins,
			Models: "a slot keeps the first draft that was written to it, accepted or not",
		},
		{
			Name: "dead_rows_mixed_in", KilledBy: conformance.CheckParity, seed: deadRowsMixedIn,
			Models: "a scale is taken over all rows of a block, so that an outlier in a dead row changes the live ones",
		},
	}
}
