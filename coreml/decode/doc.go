// Package decode runs shards as one model and decodes with it: greedy,
// speculative, or sampled.
//
// Its one promise is that speculation changes no token. In one-program mode
// every token is decided by a row of the block function, whatever number of its
// rows is live, and a row's result depends on neither its place in the block
// nor the other rows; so a draft decides only how many tokens a pass gives. The
// two other modes, in which a single-row function decides too, cannot promise
// it and say so in every result.
//
// Model is the chain: packages, vocabulary shards and the embedding of one
// output directory, opened on a plane. A Cache holds one sequence's states, and
// a Program is the chain's function of T rows over a Cache. Session knows none
// of these: it decodes with a Passer, which a Program is.
package decode
