//go:build !unix

package machine

func peakMemory() (int64, error) { return 0, ErrUnknown }
