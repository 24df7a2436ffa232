package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"lockstep/coreml"
	"lockstep/internal/memory"
)

// Errors of a plane that cannot be used.
var (
	// ErrOtherPlane means that a worker's plane is not the one that was asked
	// for.
	ErrOtherPlane = errors.New("another plane than was asked for")
	// ErrOtherBinary means that the worker's binary was replaced during the run.
	ErrOtherBinary = errors.New("the worker's binary was replaced")
)

// The times that calls may take where Options does not say.
const (
	// DefaultStart is for a new process to say hello.
	DefaultStart = time.Minute
	// DefaultLoad is for opening a package and for a cold load of a function,
	// which for the Neural Engine is compiling: 112 s are on record for 20
	// layers.
	DefaultLoad = 20 * time.Minute
	// DefaultPass is for a pass and for reading or writing a state.
	DefaultPass = 2 * time.Minute
	// DefaultStop is for a worker to end by itself.
	DefaultStop = 10 * time.Second
)

// Options say which binary is the worker, and how long it may take.
type Options struct {
	// Plane is the name of the plane that the worker is to open.
	Plane string
	// Path is the worker's binary; Args make it call Main. Use one binary at one
	// stable path: the system keeps compiled models per binary.
	Path string
	Args []string
	// Exclusive has a worker hold one function at a time: where two would not
	// fit into the Neural Engine's memory of one process. Before another
	// function loads, the states are saved and a new worker takes over.
	Exclusive bool
	// Memory, if not 0, is what the functions of one worker may weigh together,
	// in bytes: a package whose functions weigh more is held as by Exclusive.
	// Each function weighs what the package's files do, since the system loads
	// the weights once for each.
	Memory int64

	Start, Load, Pass, Stop time.Duration // 0 stands for the default

	dir string // working directory, to which packages' paths are relative
}

// Plane is a plane that executes packages in worker processes, one for each
// opened package.
type Plane struct {
	opt    Options
	name   string
	binary os.FileInfo
	costs  costs
	peak   peak
}

var _ coreml.MemoryMeter = (*Plane)(nil)

// New starts a worker to learn whether there is a plane of that name, and ends
// it. An error of the plane is returned as it is; one of the worker wraps
// coreml.ErrBroken, and a plane of another name ErrOtherPlane.
func New(ctx context.Context, opt Options) (*Plane, error) {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{{&opt.Start, DefaultStart}, {&opt.Load, DefaultLoad}, {&opt.Pass, DefaultPass}, {&opt.Stop, DefaultStop}} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	var err error
	if opt.dir, err = os.Getwd(); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	p := &Plane{opt: opt}
	if p.binary, err = os.Stat(opt.Path); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	w, err := p.spawn(ctx)
	if err != nil {
		return nil, err
	}
	w.stop(opt.Stop)
	p.name = opt.Plane
	return p, nil
}

// Name implements coreml.Plane: that of the plane in the worker.
func (p *Plane) Name() string { return p.name }

// Open implements coreml.Plane: a worker opens the package directory dir.
func (p *Plane) Open(ctx context.Context, dir string) (coreml.Package, error) {
	if !utf8.ValidString(dir) {
		return nil, fmt.Errorf("worker: package %q: want a path in UTF-8", dir)
	}
	opened := newPackage(p, dir)
	if err := opened.begin(ctx); err != nil {
		return nil, err
	}
	if opened.compiled != nil {
		return compiler{opened}, nil
	}
	return opened, nil
}

// PeakMemory implements coreml.MemoryMeter: the most that any worker has told,
// also one that has ended. The error is memory.ErrUnknown.
func (p *Plane) PeakMemory() (int64, error) {
	if bytes := p.peak.bytes.Load(); bytes > 0 {
		return bytes, nil
	}
	return 0, fmt.Errorf("worker: %w: no worker has told", memory.ErrUnknown)
}

// peak is the largest of what was noted. The zero value is ready.
type peak struct{ bytes atomic.Int64 }

func (p *peak) note(bytes int64) {
	for {
		most := p.bytes.Load()
		if bytes <= most || p.bytes.CompareAndSwap(most, bytes) {
			return
		}
	}
}

// spawn starts a worker that has opened the plane.
func (p *Plane) spawn(ctx context.Context) (*process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now, err := os.Stat(p.opt.Path)
	if err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	if !os.SameFile(now, p.binary) || now.Size() != p.binary.Size() || !now.ModTime().Equal(p.binary.ModTime()) {
		return nil, fmt.Errorf("worker: %w: %s", ErrOtherBinary, p.opt.Path)
	}
	w, err := start(&p.opt)
	if err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	r, err := w.call(ctx, "starting", p.opt.Start, p.opt.Stop, &request{Op: opHello, Plane: p.opt.Plane})
	if err != nil {
		return nil, err
	}
	switch {
	case r.Error != nil:
		err = r.Error.err()
	case r.Plane != p.opt.Plane:
		err = fmt.Errorf("worker: %w: want %q, found %q", ErrOtherPlane, p.opt.Plane, r.Plane)
	default:
		return w, nil
	}
	w.stop(p.opt.Stop)
	return nil, err
}
