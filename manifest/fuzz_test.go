package manifest_test

import (
	"bytes"
	"testing"

	"lockstep/manifest"
)

// What a decoder accepts has one canonical text, which reads back to itself.

func FuzzDecodeRecord(f *testing.F) {
	text, err := manifest.EncodeRecord(sampleRecord(f))
	if err != nil {
		f.Fatal(err)
	}
	seed(f, text)
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := manifest.DecodeRecord(text)
		if err != nil {
			return
		}
		first, err := manifest.EncodeRecord(*r)
		if err != nil {
			t.Fatalf("accepted, but has no text: %v", err)
		}
		again, err := manifest.DecodeRecord(first)
		if err != nil {
			t.Fatalf("refuses its own text: %v", err)
		}
		if second, err := manifest.EncodeRecord(*again); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("two canonical texts (%v):\n%s\n%s", err, first, second)
		}
	})
}

func FuzzDecodeVerdict(f *testing.F) {
	text, err := manifest.EncodeVerdict(sampleVerdict())
	if err != nil {
		f.Fatal(err)
	}
	seed(f, text)
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := manifest.DecodeVerdict(text)
		if err != nil {
			return
		}
		first, err := manifest.EncodeVerdict(*v)
		if err != nil {
			t.Fatalf("accepted, but has no text: %v", err)
		}
		again, err := manifest.DecodeVerdict(first)
		if err != nil {
			t.Fatalf("refuses its own text: %v", err)
		}
		if second, err := manifest.EncodeVerdict(*again); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("two canonical texts (%v):\n%s\n%s", err, first, second)
		}
	})
}

// seed adds a good text and some that break early.
func seed(f *testing.F, text []byte) {
	f.Add(text)
	f.Add(bytes.ReplaceAll(text, []byte("\n"), nil))
	f.Add(bytes.Replace(text, []byte(`"nano"`), []byte(`"\ud800"`), 1))
	f.Add(text[:len(text)*2/3])
	f.Add([]byte(`{"schema": "lockstep.record/1", "shards": [[[[[[`))
	f.Add([]byte(`{"schema": "lockstep.verdict/1", "checks": [{"cases": [{"evidence": [{"value": "NaN"}]}]}]}`))
}
