// Package reference is the plane that executes a package's own bytes anywhere:
// model.mlmodel decoded, weight.bin mapped, each operation by its MIL meaning,
// with a result that is defined to the bit.
//
// Values are float16 at every operation's border; sums run in 16 fixed partial
// sums. The outcome therefore depends on neither the number of rows in a pass,
// nor threads, nor the instruction set, which is what lets a block be compared
// with single passes bit for bit.
package reference
