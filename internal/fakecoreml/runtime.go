package fakecoreml

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"lockstep/coreml"
	"lockstep/coreml/native/objc"
)

// Runtime implements objc.Runtime.
type Runtime struct {
	opt       Options
	table     *objc.Table
	methods   map[string]method
	bySel     map[objc.Selector]string
	selectors map[string]objc.Selector
	handlers  sync.WaitGroup // that are called on threads of their own

	mu       sync.Mutex
	faults   []string
	objects  map[objc.ID]*object
	next     objc.ID
	classes  map[string]objc.ID
	devices  []objc.ID
	pools    map[uint64][]*pool // by thread
	packages map[string]coreml.Package
	compiled int // how many packages were compiled
	sent     map[string]int
	found    map[lookup]*objc.Row
}

var _ objc.Runtime = (*Runtime)(nil)

// New returns a runtime; the caller stops it.
func New(opt Options) (*Runtime, error) {
	table, err := objc.Load()
	if err != nil {
		return nil, err
	}
	if opt.MacOS == (objc.MacOS{}) {
		opt.MacOS = objc.MacOS{Major: 15}
	}
	if opt.Devices == nil {
		opt.Devices = []coreml.Device{coreml.DeviceCPU, coreml.DeviceGPU, coreml.DeviceNeuralEngine}
	}
	r := &Runtime{
		opt: opt, table: table, methods: map[string]method{}, bySel: map[objc.Selector]string{}, selectors: map[string]objc.Selector{}, objects: map[objc.ID]*object{},
		next: 0x1000, classes: map[string]objc.ID{}, pools: map[uint64][]*pool{}, packages: map[string]coreml.Package{}, sent: map[string]int{}, found: map[lookup]*objc.Row{},
	}
	for _, group := range []map[string]method{foundation(), arrays(), models(), predictions(), plans()} {
		maps.Copy(r.methods, group)
	}
	for _, d := range opt.Devices {
		r.devices = append(r.devices, r.add(&object{class: deviceClass(d), immortal: true}))
	}
	return r, nil
}

// Test is what Start needs of a testing.TB. The package is also in a command,
// into which testing does not belong.
type Test interface {
	Helper()
	TempDir() string
	Fatal(args ...any)
	Error(args ...any)
	Cleanup(f func())
}

// Start returns a runtime that is stopped with the test, which fails for its
// faults.
func Start(t Test, opt Options) *Runtime {
	t.Helper()
	if opt.TempDir == "" {
		opt.TempDir = t.TempDir()
	}
	r, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fault := range r.Stop() {
			t.Error("fake Core ML: " + fault)
		}
	})
	return r
}

// Stop waits for handlers that are under way, looks for what was left over,
// and returns all faults.
func (r *Runtime) Stop() []string {
	r.handlers.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for g, stack := range r.pools {
		if len(stack) > 0 {
			r.faults = append(r.faults, fmt.Sprintf("thread %d: %d autorelease pools left open", g, len(stack)))
		}
	}
	var left []string
	for _, o := range r.objects {
		if n := o.refs - o.system; n > 0 && !o.immortal && !o.freed {
			left = append(left, fmt.Sprintf("leaked: %s with %d references", o.class, n))
		}
	}
	slices.Sort(left)
	r.faults = append(r.faults, left...)
	for path, pkg := range r.packages {
		if err := pkg.Close(); err != nil {
			r.faults = append(r.faults, fmt.Sprintf("%s: %v", path, err))
		}
	}
	r.packages = map[string]coreml.Package{}
	return slices.Clone(r.faults)
}

// Compiled is how many packages were compiled so far.
func (r *Runtime) Compiled() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.compiled
}

// Sent is how often the row called name was sent.
func (r *Runtime) Sent(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent[name]
}

// Living counts the living objects of a class.
func (r *Runtime) Living(class string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, o := range r.objects {
		if o.class == class && !o.freed && !o.isClass {
			n++
		}
	}
	return n
}

// fault notes that the real runtime would have crashed, leaked or answered
// nonsense.
func (r *Runtime) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// Plane implements objc.Runtime: what this runs on is never called coreml.
func (*Runtime) Plane() string { return "fake" }

// Class implements objc.Runtime.
func (r *Runtime) Class(name string) objc.ID {
	known, new := false, true
	for _, row := range r.table.Rows {
		if row.Class == name {
			known = true
			new = new && r.opt.MacOS.Before(row.Since)
		}
	}
	switch {
	case !known:
		r.fault("class %s is not in the table", name)
		return 0
	case new:
		return 0
	}
	return r.classID(name)
}

func (r *Runtime) classID(name string) objc.ID {
	r.mu.Lock()
	id, ok := r.classes[name]
	r.mu.Unlock()
	if ok {
		return id
	}
	id = r.add(&object{class: name, isClass: true, immortal: true})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.classes[name] = id
	return id
}

// Selector implements objc.Runtime. Like the real one it registers anything.
func (r *Runtime) Selector(name string) objc.Selector {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sel, ok := r.selectors[name]; ok {
		return sel
	}
	sel := objc.Selector(len(r.selectors) + 1)
	r.selectors[name], r.bySel[sel] = sel, name
	return sel
}

// VirtualMachine implements objc.Runtime.
func (r *Runtime) VirtualMachine() (bool, error) { return r.opt.Virtual, nil }

// Call implements objc.Runtime.
func (r *Runtime) Call(function string) (objc.ID, error) {
	r.inPool(function)
	row := r.table.Row(" " + function)
	if row == nil || row.Kind != objc.CFunction || function != "MLAllComputeDevices" {
		r.fault("C function %s is not in the table", function)
		return 0, fmt.Errorf("no function %s", function)
	}
	return r.autoreleased(r.array(r.devices)), nil
}

func deviceClass(d coreml.Device) string {
	switch d {
	case coreml.DeviceNeuralEngine:
		return "MLNeuralEngineComputeDevice"
	case coreml.DeviceGPU:
		return "MLGPUComputeDevice"
	case coreml.DeviceCPU:
		return "MLCPUComputeDevice"
	}
	return "NSObject" // a device that nobody knows
}

// device is one of the machine's devices, or an object of that class.
func (r *Runtime) device(d coreml.Device) objc.ID {
	for i, have := range r.opt.Devices {
		if have == d {
			return r.devices[i]
		}
	}
	return r.autoreleased(r.make(deviceClass(d), nil))
}
