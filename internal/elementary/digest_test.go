package elementary_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/sebdah/goldie/v2"

	"lockstep/internal/elementary"
)

// TestDigests pins the bits of the functions, which the error bounds leave
// open.
func TestDigests(t *testing.T) {
	r := source("elementary/digests")
	uniform := func(low, high float64) float64 { return low + float64((high-low)*r.Float64()) }
	var text strings.Builder
	for _, c := range []struct {
		name  string
		value func() float64
	}{
		{"exp", func() float64 { return elementary.Exp(uniform(-745, 709)) }},
		{"log", func() float64 { return elementary.Log(math.Float64frombits(r.Uint64N(0x7FF << 52))) }},
		{"pow", func() float64 { return elementary.Pow(uniform(0, 1000), uniform(-30, 30)) }},
		{"sin", func() float64 { return elementary.Sin(uniform(-131072, 131072)) }},
		{"cos", func() float64 { return elementary.Cos(uniform(-131072, 131072)) }},
	} {
		hash := sha256.New()
		var bytes [8]byte
		for range 20000 {
			binary.LittleEndian.PutUint64(bytes[:], math.Float64bits(c.value()))
			hash.Write(bytes[:])
		}
		fmt.Fprintf(&text, "%s %x\n", c.name, hash.Sum(nil))
	}
	goldie.New(t, goldie.WithFixtureDir("../../golden"), goldie.WithNameSuffix(".txt")).Assert(t, "elementary_digests", []byte(text.String()))
}
