// Package oracle is an independent float64 implementation of the decoder: it
// says what a checkpoint means, from the checkpoint alone.
//
// It shares no arithmetic with the parties that it judges. It imports neither
// the exporter nor a plane nor the host-input code, and it derives every
// quantity of the model (head dimension, turned dimensions, inverse
// frequencies, attention factor) from the raw config values by itself, so that
// a mistake in one of those parties cannot be repeated here. Its own check is
// the golden vectors of the nano checkpoint, which another implementation
// computed.
//
// Weights are held as float32, which represents every bfloat16, float16 and
// float32 checkpoint value exactly; everything that is computed is float64.
// The one exception is the rotary angle, which the model defines in float32
// (see table.row).
//
// Results do not depend on the number of threads: work is split over output
// rows and heads, and each of those is computed by one goroutine in a fixed
// order. They may differ in the last bits between processors, because Go's
// math.Exp, math.Sin and math.Cos do; the oracle is compared with tolerances.
package oracle
