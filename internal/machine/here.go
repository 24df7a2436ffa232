package machine

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"lockstep/internal/durable"
)

// Here is the machine that the program runs on.
type Here struct{}

var _ Reader = Here{}

// Sysctl implements Reader.
func (Here) Sysctl(name string) ([]byte, error) { return sysctl(name) }

// Files implements Reader.
func (Here) Files() fs.FS { return os.DirFS("/") }

// Free implements Reader.
func (Here) Free(dir string) (int64, error) { return durable.Free(durable.OS{}, dir) }

// ThisProcess describes the running program.
func ThisProcess() Process {
	p := Process{
		OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(), Program: "lockstep",
		Temp: os.TempDir(), Root: os.Geteuid() == 0,
	}
	if exe, err := os.Executable(); err == nil {
		p.Program = filepath.Base(exe)
	}
	if home, err := os.UserHomeDir(); err == nil {
		p.Home = home
	}
	return p
}
