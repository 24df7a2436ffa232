//go:build !linux

package fakecoreml

import (
	"bytes"
	"runtime"
	"strconv"
)

// thread stands for the calling thread where that has no number: the goroutine
// that is locked to it. The runtime tells that in a stack trace alone, which
// begins "goroutine 7 [running]".
func thread() uint64 {
	var buf [64]byte
	fields := bytes.Fields(buf[:runtime.Stack(buf[:], false)])
	n, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}
