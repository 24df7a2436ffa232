package machine_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/sebdah/goldie/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"lockstep/internal/machine"
)

// fixture is another machine. Its figures are made up.
type fixture struct {
	process machine.Process
	sysctls map[string][]byte
	files   fs.FS
	program machine.Program
}

func (f fixture) Sysctl(name string) ([]byte, error) {
	if raw, ok := f.sysctls[name]; ok {
		return raw, nil
	}
	return nil, errors.New("no such name")
}

func (f fixture) Files() fs.FS { return f.files }

func (f fixture) Free(dir string) (int64, error) {
	if dir == "/gone" {
		return 0, errors.New("no such volume")
	}
	return 123_450_000_000, nil
}

func (f fixture) diagnosis() machine.Diagnosis {
	return machine.Diagnose(machine.Look(f.process, f), f.program)
}

func u32(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func plist(version, build string) *fstest.MapFile {
	return text(fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>BuildID</key>
	<string>00000000-0000-0000-0000-000000000000</string>
	<key>ProductBuildVersion</key>
	<string>%s</string>
	<key>ProductName</key>
	<string>macOS</string>
	<key>ProductVersion</key>
	<string>%s</string>
</dict>
</plist>
`, build, version))
}

const macVersion = "System/Library/CoreServices/SystemVersion.plist"

// appleSilicon is a Mac with a Neural Engine, and a build that cannot ask for
// it.
func appleSilicon() fixture {
	return fixture{
		process: machine.Process{OS: "darwin", Arch: "arm64", Go: "go1.26.8", Program: "lockstep", Home: "/Users/u", Temp: "/var/folders/x/T"},
		sysctls: map[string][]byte{
			"machdep.cpu.brand_string": []byte("Apple M4 Max\x00"),
			"kern.hv_vmm_present":      u32(0),
			"hw.optional.arm64":        u32(1),
			"sysctl.proc_translated":   u32(0),
			"hw.memsize":               u64(64 << 30),
			"vm.swapusage":             append(append(append(u64(2<<30), u64(1<<30)...), u64(1<<30)...), u64(16384)...),
		},
		files: fstest.MapFS{
			macVersion:              plist("15.5", "24F74"),
			"usr/bin/powermetrics":  text("x"),
			"Library/Caches/readme": text("x"),
			"Users/u/Library/Caches/lockstep/com.apple.e5rt.e5bundlecache/24F74/a/program": &fstest.MapFile{Data: make([]byte, 30_000_000)},
			"Users/u/Library/Caches/lockstep/com.apple.e5rt.e5bundlecache/24F74/b/program": &fstest.MapFile{Data: make([]byte, 20_000_000)},
		},
		program: machine.Program{Planes: []string{"reference"}, Devices: machine.Devices{Reason: "this build cannot ask Core ML for its devices"}},
	}
}

// ready is the same Mac as root, with a build that has Core ML's plane.
func ready() fixture {
	f := appleSilicon()
	f.process.Root = true
	f.program = machine.Program{Planes: []string{"reference", "coreml"}, Devices: machine.Devices{Asked: true, NeuralEngine: true}}
	return f
}

func intel() fixture {
	f := ready()
	f.process.Arch = "amd64"
	f.sysctls = map[string][]byte{
		"machdep.cpu.brand_string": []byte("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz\x00"),
		"kern.hv_vmm_present":      u32(0),
		"hw.memsize":               u64(16 << 30),
	}
	f.program.Devices.NeuralEngine = false
	return f
}

func virtual() fixture {
	f := ready()
	f.process.Root = false
	f.process.Home = ""
	f.sysctls["machdep.cpu.brand_string"] = []byte("Apple M1 (Virtual)\x00")
	f.sysctls["kern.hv_vmm_present"] = u32(1)
	return f
}

func linux() fixture {
	return fixture{
		process: machine.Process{OS: "linux", Arch: "amd64", Go: "go1.26.8", Program: "lockstep", Home: "/gone", Temp: "/tmp", Root: true},
		files: fstest.MapFS{
			"etc/os-release": text("NAME=\"Some\"\nPRETTY_NAME=\"Some GNU/Linux 12\"\n"),
			"proc/cpuinfo":   text("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu sse hypervisor avx2\n\nprocessor\t: 1\nmodel name\t: Another\n"),
			"proc/meminfo":   text("MemTotal:       16000000 kB\nMemFree:  1 kB\nSwapTotal:       2000000 kB\nSwapFree:        1500000 kB\n"),
		},
		program: machine.Program{Planes: []string{"reference"}},
	}
}

// blank is a Mac that tells nothing.
func blank() fixture {
	return fixture{
		process: machine.Process{OS: "darwin", Arch: "arm64", Go: "go1.26.8", Program: "lockstep", Temp: "/tmp"}, files: fstest.MapFS{},
		program: machine.Program{Planes: []string{"reference", "coreml"}, Devices: machine.Devices{Asked: true, NeuralEngine: true}},
	}
}

func TestDiagnosis(t *testing.T) {
	for name, f := range map[string]fixture{
		"apple_silicon": appleSilicon(), "ready": ready(), "intel": intel(), "virtual": virtual(), "linux": linux(), "blank": blank(),
	} {
		t.Run(name, func(t *testing.T) {
			goldie.New(t, goldie.WithNameSuffix(".txt")).Assert(t, name, []byte(f.diagnosis().Text()))
		})
	}
}

// residency finds a diagnosis's answer about it.
func residency(t require.TestingT, d machine.Diagnosis) machine.Finding {
	for _, m := range d.Measures {
		if m.Name == "residency" {
			return m
		}
	}
	require.Fail(t, "no finding about residency")
	return machine.Finding{}
}

// TestResidency takes one thing away at a time from a machine that can measure
// it.
func TestResidency(t *testing.T) {
	require.Equal(t, machine.Finding{Name: "residency", Answer: machine.Yes, Why: []string{}}, residency(t, ready().diagnosis()))
	for _, tt := range []struct {
		name   string
		change func(*fixture)
		answer machine.Answer
		why    string
	}{
		{"another system", func(f *fixture) { f.process.OS = "linux" }, machine.No, "no Core ML on linux"},
		{"older macOS", func(f *fixture) { f.files = fstest.MapFS{macVersion: plist("14.7.1", "23H222")} }, machine.No, "macOS 14.7.1: Core ML's states and named functions need 15"},
		{"no version", func(f *fixture) { f.files = fstest.MapFS{} }, machine.NotKnown, "the version of macOS is not known; Core ML's states need 15"},
		{"torn version", func(f *fixture) {
			f.files = fstest.MapFS{macVersion: text("<plist><dict><key>ProductVersion</key><string>15")}
		}, machine.NotKnown, "the version of macOS is not known; Core ML's states need 15"},
		{"virtual machine", func(f *fixture) { f.sysctls["kern.hv_vmm_present"] = u32(1) }, machine.No, "a virtual machine has no usable Neural Engine"},
		{"not known to be one", func(f *fixture) { delete(f.sysctls, "kern.hv_vmm_present") }, machine.NotKnown, "the system does not tell whether it is a virtual machine"},
		{"odd length", func(f *fixture) { f.sysctls["kern.hv_vmm_present"] = []byte{0} }, machine.NotKnown, "the system does not tell whether it is a virtual machine"},
		{"translated", func(f *fixture) { f.process.Arch = "amd64"; f.sysctls["sysctl.proc_translated"] = u32(1) }, machine.No, "Rosetta translates this program: run the one built for arm64"},
		{"no plane", func(f *fixture) { f.program.Planes = []string{"reference"} }, machine.No, "this build has no plane coreml"},
		{"no engine", func(f *fixture) { f.program.Devices.NeuralEngine = false }, machine.No, "Core ML lists no Neural Engine among its devices"},
		{"not asked", func(f *fixture) { f.program.Devices = machine.Devices{Reason: "the worker died"} }, machine.NotKnown, "the worker died"},
	} {
		f := ready()
		tt.change(&f)
		found := residency(t, f.diagnosis())
		assert.Equal(t, tt.answer, found.Answer, tt.name)
		assert.Equal(t, []string{tt.why}, found.Why, tt.name)
	}
}

// TestResidencyIsNeverGuessed: whatever is missing or odd, it can be measured
// only where everything that it needs is known to be there.
func TestResidencyIsNeverGuessed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := ready()
		f.process.OS = rapid.SampledFrom([]string{"darwin", "linux", "windows"}).Draw(t, "os")
		f.process.Arch = rapid.SampledFrom([]string{"arm64", "amd64"}).Draw(t, "arch")
		for name := range f.sysctls {
			switch rapid.IntRange(0, 3).Draw(t, name) {
			case 0:
				delete(f.sysctls, name)
			case 1:
				f.sysctls[name] = rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "raw")
			}
		}
		f.program.Devices = machine.Devices{Asked: rapid.Bool().Draw(t, "asked"), NeuralEngine: rapid.Bool().Draw(t, "engine"), Reason: "no"}
		facts := machine.Look(f.process, f)
		d := machine.Diagnose(facts, f.program)
		if residency(t, d).Answer == machine.Yes {
			require.Equal(t, "darwin", facts.OS)
			require.Equal(t, machine.Yes, facts.AppleSilicon)
			require.Equal(t, machine.No, facts.VirtualMachine)
			require.Equal(t, machine.No, facts.Translated)
			require.True(t, f.program.Devices.Asked && f.program.Devices.NeuralEngine)
		}
		require.NotEmpty(t, d.Text())
	})
}

// TestCacheIsBounded: a cache of very many files is not known, and so is one
// that may not be read.
func TestCacheIsBounded(t *testing.T) {
	f := appleSilicon()
	const dir = "Users/u/Library/Caches/lockstep/com.apple.e5rt.e5bundlecache"
	many := fstest.MapFS{}
	for i := range 100_001 {
		many[fmt.Sprintf("%s/%d", dir, i)] = &fstest.MapFile{}
	}
	f.files = many
	caches := machine.Look(f.process, f).Caches
	require.Len(t, caches, 2)
	assert.Equal(t, "/"+dir, caches[1].Path)
	assert.Nil(t, caches[1].Bytes)
	assert.Equal(t, "more than 100000 files", caches[1].Why)

	f.files = refusing{}
	for _, c := range machine.Look(f.process, f).Caches {
		assert.Nil(t, c.Bytes)
		assert.Contains(t, c.Why, "permission denied")
	}
}

// refusing is a file system that may not be read.
type refusing struct{}

func (refusing) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

// TestHere looks at this machine; whatever it is, the reference plane's checks
// can be measured where the tests run.
func TestHere(t *testing.T) {
	p := machine.ThisProcess()
	d := machine.Diagnose(machine.Look(p, machine.Here{}), machine.Program{Planes: []string{"reference"}})
	assert.Equal(t, machine.Yes, d.Measures[0].Answer)
	assert.NotEqual(t, machine.Yes, residency(t, d).Answer, "this build has no plane that could")
	require.NotEmpty(t, d.Facts.Volumes)
	assert.NotNil(t, d.Facts.Volumes[0].Free, "%s", d.Facts.Volumes[0].Why)
	assert.NotNil(t, d.Facts.Memory)
}
