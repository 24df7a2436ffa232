package machine

import "testing"

// FuzzTexts: no text of the system's makes a reader panic.
func FuzzTexts(f *testing.F) {
	f.Add([]byte("<plist><dict><key>ProductVersion</key><string>15.5</string></dict></plist>"))
	f.Add([]byte("MemTotal:       16000000 kB\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		plistStrings(text)
		for _, value := range fields(text, ":") {
			if n := kibibytes(value); n != nil && *n%1024 != 0 {
				t.Fatalf("%q is %d bytes", value, *n)
			}
		}
		integer(text)
	})
}
