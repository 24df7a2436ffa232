package fakecoreml

import "golang.org/x/sys/unix"

// thread is the calling thread, to which pools belong.
func thread() uint64 { return uint64(unix.Gettid()) }
