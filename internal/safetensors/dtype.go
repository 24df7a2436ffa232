package safetensors

import (
	"fmt"
	"math"
	"strings"
)

// dtypeBits holds the format's element types and their width in bits. Types
// narrower than a byte are packed; a tensor of them must fill whole bytes.
var dtypeBits = map[string]int64{
	"BOOL":    8,
	"F4":      4,
	"F6_E2M3": 6,
	"F6_E3M2": 6,
	"U8":      8,
	"I8":      8,
	"F8_E5M2": 8,
	"F8_E4M3": 8,
	"F8_E8M0": 8,
	"I16":     16,
	"U16":     16,
	"F16":     16,
	"BF16":    16,
	"I32":     32,
	"U32":     32,
	"F32":     32,
	"I64":     64,
	"U64":     64,
	"F64":     64,
	"C64":     64,
}

// Size is the number of bytes that a tensor of this dtype and shape takes. An
// empty shape is a scalar. An unknown dtype, a negative dimension, a size that
// int64 cannot hold or a part of a byte is an error.
func Size(dtype string, shape []int) (int64, error) {
	bits, ok := dtypeBits[dtype]
	if !ok {
		return 0, fmt.Errorf("unknown dtype %q", dtype)
	}
	empty := false
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("negative dimension in shape %s", formatShape(shape))
		}
		empty = empty || d == 0
	}
	if empty {
		return 0, nil
	}
	for _, d := range shape {
		if bits > math.MaxInt64/int64(d) {
			return 0, fmt.Errorf("shape %s of %s overflows a 64-bit size", formatShape(shape), dtype)
		}
		bits *= int64(d)
	}
	if bits%8 != 0 {
		return 0, fmt.Errorf("shape %s of %s ends within a byte", formatShape(shape), dtype)
	}
	return bits / 8, nil
}

func formatShape(shape []int) string {
	return strings.ReplaceAll(fmt.Sprint(shape), " ", ", ")
}
