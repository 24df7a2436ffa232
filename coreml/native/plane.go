package native

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
	"lockstep/internal/durable"
)

// Errors of the plane. Each is wrapped with the package and, as far as it
// applies, the function concerned.
var (
	// ErrNotHere means that this system has no Core ML.
	ErrNotHere = objc.ErrNotHere
	// ErrTooOld means that this macOS has no states and no named functions.
	ErrTooOld = errors.New("macOS is too old")
	// ErrFunction is wrapped by errors about names of functions.
	ErrFunction = errors.New("no such function")
	// ErrDescription is wrapped where Core ML describes what the plane does not
	// run: anything but float16 tensors of static shape.
	ErrDescription = errors.New("unusable model description")
	// ErrTensor is wrapped by errors about inputs, outputs and states that do
	// not fit the signature.
	ErrTensor = errors.New("tensor does not fit the signature")
	// ErrClosed is returned by a package after Close, and by its functions and
	// states.
	ErrClosed = errors.New("package is closed")
)

// oldest is the first macOS with MLState and -setFunctionName:.
var oldest = objc.MacOS{Major: 15}

// DefaultReserve is how many bytes compiling leaves free, as exporting does.
const DefaultReserve = 2 << 30

// StateMode is how one State serves several functions.
type StateMode int

// The modes. That Core ML takes the MLState of one function for another that
// declares the same states is reported, not documented.
const (
	// SharedState gives every function the one MLState.
	SharedState StateMode = iota
	// CopiedState makes an MLState for each function and copies the content by
	// the host where another function ran last.
	CopiedState
)

// Options of a plane; the zero value is ready.
type Options struct {
	// Reserve is how many bytes must stay free where a package is compiled; 0
	// stands for DefaultReserve.
	Reserve int64
	// States is how a State serves several functions.
	States StateMode
	// CPUOnly has Core ML keep to the CPU, for figures that are held against
	// those of the Neural Engine. Such a plane has a name of its own, by which
	// no verdict can be written.
	CPUOnly bool
	// Files is the file system that compiled models are put on; nil stands for
	// the system's.
	Files durable.FS
}

// Plane executes packages by Core ML on the CPU and the Neural Engine, or on the
// CPU alone where Options say so.
type Plane struct {
	b   *binding
	opt Options
}

var _ coreml.Plane = (*Plane)(nil)

// New returns the plane of this system's Core ML. The error wraps ErrNotHere on
// a system that has none, and ErrTooOld on a macOS before 15.
func New(opt Options) (*Plane, error) {
	rt, err := objc.Open()
	if err != nil {
		return nil, err
	}
	return Over(rt, opt)
}

// Over returns the plane over a runtime, which gives it its name.
func Over(rt objc.Runtime, opt Options) (*Plane, error) {
	if opt.Reserve == 0 {
		opt.Reserve = DefaultReserve
	}
	if opt.Files == nil {
		opt.Files = durable.OS{}
	}
	b, err := bind(rt)
	if err != nil {
		return nil, err
	}
	var found objc.MacOS
	err = b.pool(func(s *scope) error {
		process := s.object(s.class("NSProcessInfo"), "NSProcessInfo processInfo")
		version := s.send(process, "NSProcessInfo operatingSystemVersion", objc.Triple).Words
		found = objc.MacOS{Major: int(version[0]), Minor: int(version[1])}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("version of macOS: %w", err)
	}
	if found.Before(oldest) {
		return nil, fmt.Errorf("%w: want %s, found %s", ErrTooOld, oldest, found)
	}
	return &Plane{b: b, opt: opt}, nil
}

// CPUOnlySuffix ends the name of a plane that keeps to the CPU.
const CPUOnlySuffix = "_cpu_only"

// Name implements coreml.Plane: "coreml", or what the runtime below calls
// itself; of a plane that keeps to the CPU, with CPUOnlySuffix.
func (p *Plane) Name() string {
	if p.opt.CPUOnly {
		return p.b.rt.Plane() + CPUOnlySuffix
	}
	return p.b.rt.Plane()
}

// units are the MLComputeUnits that models are loaded for.
func (p *Plane) units() int {
	if p.opt.CPUOnly {
		return computeUnitsCPUOnly
	}
	return computeUnitsCPUAndNeuralEngine
}

// Devices lists the machine's compute devices. It asks Core ML for its whole
// list and loads nothing.
func (p *Plane) Devices() ([]coreml.Device, error) { return p.b.devices() }

// Open compiles the package directory dir, or finds what an earlier run
// compiled from the same bytes beside it, and lists its functions. Compiling
// needs room for a copy of the package on the temporary volume and one beside
// the package; too little is durable.ErrNoSpace.
func (p *Plane) Open(ctx context.Context, dir string) (coreml.Package, error) {
	name := filepath.Base(dir)
	compiled, bytes, anew, err := p.compile(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", name, err)
	}
	opened := &pkg{plane: p, name: name, compiled: compiled, bytes: bytes, anew: anew, models: map[string]*model{}, states: map[*held]bool{}}
	if err := opened.list(ctx); err != nil {
		return nil, fmt.Errorf("package %s: %w", name, err)
	}
	return opened, nil
}

// list asks the compiled model for its functions.
func (p *pkg) list(ctx context.Context) error {
	b := p.plane.b
	return b.pool(func(s *scope) error {
		asset := s.checked("open "+filepath.Base(p.compiled), s.class("MLModelAsset"), "MLModelAsset modelAssetWithURL:error:", objc.Of(s.url(p.compiled)))
		if s.err != nil {
			return s.err
		}
		err := b.await(ctx, "list the functions", "MLModelAsset functionNamesWithCompletionHandler:",
			func(*scope) (objc.ID, []objc.Value) { return asset, nil },
			func(s *scope, names objc.ID) error {
				for _, id := range s.elements(names) {
					p.functions = append(p.functions, s.goText(id))
				}
				slices.Sort(p.functions)
				return nil
			})
		var e *Error
		if errors.As(err, &e) && e.Domain == "" {
			return nil // a model without named functions may have no list of them
		}
		return err
	})
}
