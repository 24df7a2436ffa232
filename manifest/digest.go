package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// PackageDigest is a package's identity: the SHA-256, in hex, of one line
// "<sha256>  <bytes>  <relative path>\n" per file, sorted by path. The order of
// files does not matter; a digest that is not one, a negative size, a path that
// is not relative and plain, or a path twice is ErrInvalid.
func PackageDigest(files []File) (string, error) {
	sorted := slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	var lines bytes.Buffer
	for i, f := range sorted {
		switch {
		case !isRelative(f.Path):
			return "", invalid(fmt.Sprintf("file %q", f.Path), "wanted a relative path")
		case i > 0 && sorted[i-1].Path == f.Path:
			return "", invalid(fmt.Sprintf("file %q", f.Path), "stands twice")
		case !isDigest(f.SHA256):
			return "", invalid(fmt.Sprintf("file %q", f.Path), "wanted 64 hex digits, found %q", f.SHA256)
		case f.Bytes < 0:
			return "", invalid(fmt.Sprintf("file %q", f.Path), "size is %d", f.Bytes)
		}
		fmt.Fprintf(&lines, "%s  %d  %s\n", f.SHA256, f.Bytes, f.Path)
	}
	return digestOf(lines.Bytes()), nil
}

// Digest is the SHA-256, in hex, of the recipe's canonical JSON.
func (r Recipe) Digest() (string, error) {
	text, err := encode(r)
	if err != nil {
		return "", err
	}
	return digestOf(text), nil
}

// digestOf is the SHA-256 of text in lower-case hex.
func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
