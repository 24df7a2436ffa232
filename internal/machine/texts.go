package machine

import (
	"bytes"
	"encoding/xml"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// smallFile bounds the system's texts that are read.
const smallFile = 1 << 20

// readSmall reads at most smallFile bytes: /proc/cpuinfo repeats itself for
// each processor.
func readSmall(files fs.FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // opened for reading
	return io.ReadAll(io.LimitReader(f, smallFile))
}

// fields are the values of "key<separator>value" lines, the first of each key.
func fields(text []byte, separator string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, separator)
		key = strings.TrimSpace(key)
		if _, twice := out[key]; ok && !twice {
			out[key] = strings.TrimSpace(value)
		}
	}
	return out
}

// kibibytes reads "16384 kB", as bytes; nil if it is none.
func kibibytes(text string) *int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 53)
	if err != nil {
		return nil
	}
	n *= 1 << 10
	return &n
}

// plistStrings are the strings of an XML property list by their keys, at
// whatever depth. What does not parse ends it.
func plistStrings(text []byte) map[string]string {
	out := map[string]string{}
	dec := xml.NewDecoder(bytes.NewReader(text))
	key := ""
	for {
		tok, err := dec.Token()
		if err != nil {
			return out
		}
		start, ok := tok.(xml.StartElement)
		if !ok || start.Name.Local == "plist" || start.Name.Local == "dict" {
			continue
		}
		var content string
		if err := dec.DecodeElement(&content, &start); err != nil {
			return out
		}
		switch start.Name.Local {
		case "key":
			key = content
		case "string":
			out[key] = content
		}
	}
}
