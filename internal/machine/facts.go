package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Reader answers what the operating system knows.
type Reader interface {
	// Sysctl is a kernel value of macOS, raw: a text ending in NUL, or an
	// integer of 4 or 8 bytes in the machine's order.
	Sysctl(name string) ([]byte, error)
	// Files is the file system from its root, to be read alone.
	Files() fs.FS
	// Free is what an ordinary user may still write on a directory's volume,
	// in bytes.
	Free(dir string) (int64, error)
}

// Process is what a program knows of itself.
type Process struct {
	OS, Arch string // as runtime.GOOS and GOARCH
	Go       string // runtime.Version
	Program  string // base name of the executable, for which the system keeps a cache
	Home     string // absolute; empty if not known
	Temp     string // absolute
	Root     bool   // runs as root
}

// Answer is what is known of a yes-or-no question.
type Answer string

// The answers.
const (
	Yes      Answer = "yes"
	No       Answer = "no"
	NotKnown Answer = "not known"
)

// Facts are what decides what can be measured. What is empty or nil is not
// known.
type Facts struct {
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Version string `json:"version,omitempty"` // "15.5" on macOS; a name elsewhere
	Build   string `json:"build,omitempty"`
	Chip    string `json:"chip,omitempty"`
	// AppleSilicon is the hardware, whatever the program was built for;
	// Translated says that Rosetta runs it.
	AppleSilicon   Answer `json:"apple_silicon"`
	Translated     Answer `json:"translated"`
	VirtualMachine Answer `json:"virtual_machine"`

	Memory    *int64 `json:"memory,omitempty"` // bytes, as the next two
	SwapTotal *int64 `json:"swap_total,omitempty"`
	SwapUsed  *int64 `json:"swap_used,omitempty"`

	Volumes []Volume `json:"volumes"`
	Caches  []Cache  `json:"caches"` // of Core ML; none where there is no Core ML

	Powermetrics bool   `json:"powermetrics"` // the program is there
	Root         bool   `json:"root"`
	Go           string `json:"go"`
}

// Volume is the free space where something is written.
type Volume struct {
	For  string `json:"for"`
	Path string `json:"path"`
	Free *int64 `json:"free,omitempty"` // bytes
	Why  string `json:"why,omitempty"`  // it is not known
}

// Cache is what the system keeps of compiled models. It is the system's: its
// size is reported and nothing in it is touched.
type Cache struct {
	Path  string `json:"path"`
	Bytes *int64 `json:"bytes,omitempty"` // the files' sizes
	Files int    `json:"files"`
	Why   string `json:"why,omitempty"` // the size is not known
}

// Where the facts lie, from the file system's root.
const (
	macVersionFile = "System/Library/CoreServices/SystemVersion.plist"
	powermetrics   = "usr/bin/powermetrics"
)

// Look reads the facts.
func Look(p Process, r Reader) Facts {
	f := Facts{
		OS: p.OS, Arch: p.Arch, Go: p.Go, Root: p.Root,
		AppleSilicon: No, Translated: No, VirtualMachine: NotKnown,
		Volumes: volumes(p, r), Caches: []Cache{},
	}
	switch p.OS {
	case "darwin":
		f.lookMac(r)
		f.Caches = []Cache{}
		for _, dir := range cachePlaces(p) {
			f.Caches = append(f.Caches, measure(r.Files(), dir))
		}
	case "linux":
		f.lookLinux(r)
	}
	return f
}

func (f *Facts) lookMac(r Reader) {
	if text, err := readSmall(r.Files(), macVersionFile); err == nil {
		values := plistStrings(text)
		f.Version, f.Build = values["ProductVersion"], values["ProductBuildVersion"]
	}
	f.Chip = sysctlText(r, "machdep.cpu.brand_string")
	f.VirtualMachine = sysctlFlag(r, "kern.hv_vmm_present", NotKnown)
	// Both are absent on an Intel Mac that never knew of Apple silicon.
	f.Translated = sysctlFlag(r, "sysctl.proc_translated", No)
	f.AppleSilicon = sysctlFlag(r, "hw.optional.arm64", No)
	if f.Arch == "arm64" {
		f.AppleSilicon = Yes
	}
	f.Memory = sysctlInteger(r, "hw.memsize")
	// struct xsw_usage: total, available, used, in bytes, 64 bits each.
	if raw, err := r.Sysctl("vm.swapusage"); err == nil && len(raw) >= 24 {
		f.SwapTotal, f.SwapUsed = integer(raw[:8]), integer(raw[16:24])
	}
	_, err := fs.Stat(r.Files(), powermetrics)
	f.Powermetrics = err == nil
}

func (f *Facts) lookLinux(r Reader) {
	if text, err := readSmall(r.Files(), "etc/os-release"); err == nil {
		f.Version = strings.Trim(fields(text, "=")["PRETTY_NAME"], `"`)
	}
	if text, err := readSmall(r.Files(), "proc/cpuinfo"); err == nil {
		cpu := fields(text, ":")
		f.Chip = cpu["model name"]
		if flags, ok := cpu["flags"]; ok { // x86 alone tells
			f.VirtualMachine = No
			if strings.Contains(" "+flags+" ", " hypervisor ") {
				f.VirtualMachine = Yes
			}
		}
	}
	if text, err := readSmall(r.Files(), "proc/meminfo"); err == nil {
		memory := fields(text, ":")
		f.Memory, f.SwapTotal = kibibytes(memory["MemTotal"]), kibibytes(memory["SwapTotal"])
		if free := kibibytes(memory["SwapFree"]); free != nil && f.SwapTotal != nil {
			used := *f.SwapTotal - *free
			f.SwapUsed = &used
		}
	}
}

// volumes asks where compiling writes and where exports and caches lie.
func volumes(p Process, r Reader) []Volume {
	list := []Volume{}
	for _, v := range []Volume{{For: "temporary files", Path: p.Temp}, {For: "home", Path: p.Home}} {
		if v.Path == "" {
			v.Why = "the environment does not name it"
		} else if free, err := r.Free(v.Path); err != nil {
			v.Why = err.Error()
		} else {
			v.Free = &free
		}
		list = append(list, v)
	}
	return list
}

// cachePlaces are where public reports found what Core ML keeps: a copy of what
// it compiled for each program, and the Neural Engine's own.
func cachePlaces(p Process) []string {
	list := []string{"/Library/Caches/com.apple.aned"}
	if p.Home != "" {
		list = append(list, path.Join(p.Home, "Library/Caches", p.Program, "com.apple.e5rt.e5bundlecache"))
	}
	return list
}

// cacheEntries bounds how many files and directories are looked at.
const cacheEntries = 100_000

var errTooMany = errors.New("too many files")

// measure sums up the files below a directory.
func measure(files fs.FS, dir string) Cache {
	c := Cache{Path: dir}
	var sum int64
	entries := 0
	err := fs.WalkDir(files, strings.TrimPrefix(dir, "/"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entries++; entries > cacheEntries {
			return errTooMany
		}
		if d.Type().IsRegular() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			sum += info.Size()
			c.Files++
		}
		return nil
	})
	switch {
	case err == nil:
		c.Bytes = &sum
	case errors.Is(err, errTooMany):
		c.Why = fmt.Sprintf("more than %d files", cacheEntries)
	case errors.Is(err, fs.ErrNotExist):
		c.Why = "no such directory, or the system does not show it"
	default:
		c.Why = err.Error()
	}
	return c
}

// sysctlText is a text, or nothing.
func sysctlText(r Reader, name string) string {
	raw, err := r.Sysctl(name)
	if err != nil {
		return ""
	}
	text, _, _ := strings.Cut(string(raw), "\x00")
	return strings.TrimSpace(text)
}

// sysctlInteger is an integer, or nil.
func sysctlInteger(r Reader, name string) *int64 {
	raw, err := r.Sysctl(name)
	if err != nil {
		return nil
	}
	return integer(raw)
}

// sysctlFlag is whether an integer is not 0; absent says what one means that
// the system does not have.
func sysctlFlag(r Reader, name string, absent Answer) Answer {
	switch n := sysctlInteger(r, name); {
	case n == nil:
		return absent
	case *n != 0:
		return Yes
	}
	return No
}

// integer reads 4 or 8 bytes; every Mac is little-endian.
func integer(raw []byte) *int64 {
	var n int64
	switch len(raw) {
	case 4:
		n = int64(int32(binary.LittleEndian.Uint32(raw)))
	case 8:
		n = int64(binary.LittleEndian.Uint64(raw))
	default:
		return nil
	}
	return &n
}
