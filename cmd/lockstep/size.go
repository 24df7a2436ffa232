package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteSize is a flag's number of bytes: plain, or with a unit.
type byteSize int64

// units are the suffixes that a byteSize may have.
var units = map[string]int64{
	"": 1, "B": 1,
	"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

// UnmarshalText reads forms like 2147483648, 500MB and 2GiB.
func (b *byteSize) UnmarshalText(text []byte) error {
	digits := strings.TrimRight(string(text), "BKMGTik")
	n, err := strconv.ParseUint(digits, 10, 63)
	unit, ok := units[string(text[len(digits):])]
	if err != nil || !ok || int64(n) > math.MaxInt64/unit {
		return fmt.Errorf("want bytes like 2147483648, 500MB or 2GiB, found %q", text)
	}
	*b = byteSize(int64(n) * unit)
	return nil
}

// byteCount prints a size for people: decimal units, as disks are sold.
func byteCount(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
