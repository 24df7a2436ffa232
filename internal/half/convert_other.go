//go:build !amd64

package half

import "github.com/x448/float16"

func encode(dst []float16.Float16, src []float32) { encodePortable(dst, src) }

func decode(dst []float32, src []float16.Float16) { decodePortable(dst, src) }

func round(x []float32) { roundPortable(x) }
