package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"lockstep/coreml"
	"lockstep/internal/half"
)

// toy is a plane whose packages have two functions over one state: a pass gives
// the state plus x and keeps it.
type toy struct{ name string }

var errToy = errors.New("toy")

func (p toy) Name() string { return p.name }

func (p toy) Open(_ context.Context, dir string) (coreml.Package, error) {
	if filepath.Base(dir) == "refused" {
		return nil, fmt.Errorf("%w: %s is no package", errToy, dir)
	}
	return &toyPackage{}, nil
}

type toyPackage struct{}

func (p *toyPackage) FunctionNames() []string { return []string{"t1", "t4"} }

func (p *toyPackage) Function(_ context.Context, name string) (coreml.Function, error) {
	rows := map[string]int{"t1": 1, "t4": 4}[name]
	if rows == 0 {
		return nil, fmt.Errorf("%w: no function %q", errToy, name)
	}
	if fn := (toyFunction{name, rows}); name == "t1" {
		return fn, nil
	}
	return toyTracer{toyFunction{name, rows}}, nil
}

func (p *toyPackage) NewState() (coreml.State, error) {
	return &toyState{"k": make([]float16.Float16, 4), "v": make([]float16.Float16, 4)}, nil
}

func (p *toyPackage) Close() error { return fmt.Errorf("%w: closed", errToy) }

type toyFunction struct {
	name string
	rows int
}

func (f toyFunction) Name() string { return f.name }

func (f toyFunction) Signature() coreml.Signature {
	shape := []int{f.rows, 1}
	return coreml.Signature{
		Inputs:  []coreml.Feature{{Name: "x", Shape: shape}},
		Outputs: []coreml.Feature{{Name: "hidden", Shape: shape}},
		States:  []coreml.Feature{{Name: "k", Shape: []int{4}}, {Name: "v", Shape: []int{2, 2}}},
	}
}

func (f toyFunction) ComputePlan(context.Context) (*coreml.ComputePlan, error) {
	if f.name == "t1" {
		return nil, fmt.Errorf("%s: %w", f.name, coreml.ErrNoComputePlan)
	}
	return &coreml.ComputePlan{
		Function: f.name, Devices: []coreml.Device{coreml.DeviceCPU, coreml.DeviceNeuralEngine},
		Ops: []coreml.PlannedOp{{Op: "ios18.conv", Output: "a<b", Preferred: coreml.DeviceNeuralEngine}, {Op: "const", Output: "c"}},
	}, nil
}

func (f toyFunction) Predict(_ context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	x, hidden := inputs["x"], outputs["hidden"]
	if len(inputs) != 1 || len(x.Data) != f.rows || len(hidden.Data) != f.rows {
		return fmt.Errorf("%w: want x of %d rows, found %v with %d values and %d inputs", errToy, f.rows, x.Shape, len(x.Data), len(inputs))
	}
	own, ok := st.(*toyState)
	if !ok {
		return fmt.Errorf("%w: no state", errToy)
	}
	for i := range hidden.Data {
		k := (*own)["k"]
		k[i] = half.FromFloat32(half.ToFloat32(k[i]) + half.ToFloat32(x.Data[i]))
		hidden.Data[i] = k[i]
		if !half.IsFinite(k[i]) {
			return fmt.Errorf("row %d: %w", i, coreml.ErrNonFinite)
		}
	}
	return nil
}

// toyTracer shows hidden, nothing, and a value that takes several parts.
type toyTracer struct{ toyFunction }

const largeValue = 2*windowValues + 5

func (f toyTracer) Trace(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor, observe func(coreml.Observed) error) error {
	err := f.Predict(ctx, inputs, st, outputs)
	large := make([]float16.Float16, largeValue)
	for i := range large {
		large[i] = float16.Float16(i * 7)
	}
	for _, o := range []coreml.Observed{
		{Op: "add", Name: "hidden", Tensor: outputs["hidden"]},
		{Op: "slice", Name: "nothing", Tensor: coreml.Tensor{Shape: []int{0, 4}}},
		{Op: "conv", Name: "large", Tensor: coreml.Tensor{Shape: []int{1, largeValue}, Data: large}},
		{Op: "add", Name: "again", Tensor: outputs["hidden"]},
	} {
		if err := observe(o); err != nil {
			return fmt.Errorf("after %s: %w", o.Name, err)
		}
	}
	return err
}

type toyState map[string][]float16.Float16

func (s *toyState) Read(name string, dst []float16.Float16) error { return s.access(name, dst, false) }

func (s *toyState) Write(name string, src []float16.Float16) error { return s.access(name, src, true) }

func (s *toyState) access(name string, data []float16.Float16, write bool) error {
	own, ok := (*s)[name]
	switch {
	case !ok || len(own) != len(data):
		return fmt.Errorf("%w: state %q of %d values", errToy, name, len(data))
	case !write:
		copy(data, own)
	case half.FirstNonFinite(data) >= 0:
		return fmt.Errorf("state %q: %w", name, coreml.ErrNonFinite)
	default:
		copy(own, data)
	}
	return nil
}

// The arguments of this test binary as a worker: workerArg, the file that gets
// its process id, the fault, and the number of workers that have it, the first
// ones. Without a fault it is a sound worker.
const workerArg = "worker-under-test"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case workerArg:
			runWorker(os.Args[2], os.Args[3], os.Args[4])
		case parentArg:
			runParent(os.Args[2], os.Args[3])
		}
	}
	os.Exit(m.Run())
}

// runWorker is a worker that may have a fault. It does not return.
func runWorker(pids, fault, count string) {
	file, err := os.OpenFile(pids, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(file, os.Getpid())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	text, _ := os.ReadFile(pids)
	var faulty int
	fmt.Sscan(count, &faulty)
	f := faults{}
	if strings.Count(string(text), "\n") <= faulty {
		f = faultTable()[fault]
	}
	if f.start != nil {
		f.start()
	}
	// What the worker writes as garbage must reach the pipe: Main keeps it.
	pipe := duplicate(1)
	err = Main(context.Background(), func(name string) (coreml.Plane, error) {
		if name == "absent" {
			return nil, fmt.Errorf("%w: no plane %q here", errToy, name)
		}
		if f.name != "" {
			name = f.name
		}
		return faultyPlane{toy{name}, f, pipe}, nil
	})
	if f.stay {
		hang()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// faults are what a worker does wrong, by where.
type faults struct {
	name    string       // of the plane
	stay    bool         // after its input has ended
	start   func()       // before the first frame
	open    func()       // a package
	load    func(string) // a function
	predict func(*os.File)

	compiles bool // which is none: the plane is one that compiles
}

// hang does not return. It sleeps, since the Go runtime would end a process in
// which every goroutine waits for nothing.
func hang() {
	for {
		time.Sleep(time.Hour)
	}
}

// faultTable has the faults that a worker can be started with.
func faultTable() map[string]faults {
	frame := func(version byte, n uint32, rest string) []byte {
		return append(binary.LittleEndian.AppendUint32([]byte{magic[0], magic[1], magic[2], version}, n), rest...)
	}
	wrongly := func(text []byte) func(*os.File) {
		return func(out *os.File) {
			out.Write(text)
			hang()
		}
	}
	return map[string]faults{
		"none":          {},
		"hang_start":    {start: hang},
		"exit_start":    {start: func() { os.Exit(0) }},
		"hang_open":     {open: hang},
		"hang_load":     {load: func(string) { hang() }},
		"hang_load_t4":  {load: func(name string) { hangAt(name, "t4") }},
		"hang_predict":  {predict: func(*os.File) { hang() }},
		"exit_predict":  {predict: func(*os.File) { os.Exit(0) }},
		"panic_predict": {predict: func(*os.File) { panic("the engine fell over") }},
		"log_predict": {predict: func(*os.File) {
			fmt.Fprintln(os.Stderr, "E5RT: compilation failed, error -14")
			os.Exit(7)
		}},
		"garbage":      {predict: wrongly([]byte("warning: printed where frames go\n"))},
		"oversized":    {predict: wrongly(frame(magic[3], 1<<31, "{}"))},
		"version":      {predict: wrongly(frame(magic[3]+1, 2, "{}"))},
		"not_json":     {predict: wrongly(frame(magic[3], 2, "{]"))},
		"unknown_key":  {predict: wrongly(frame(magic[3], 20, `{"seq":9,"extra":12}`))},
		"other_number": {predict: wrongly(frame(magic[3], 11, `{"seq":999}`))},
		"short": {predict: func(out *os.File) {
			out.Write(frame(magic[3], 500, `{"seq":`))
			os.Exit(0)
		}},
		"printing":   {predict: func(*os.File) { fmt.Println("a library prints to standard output") }},
		"stay":       {stay: true},
		"other_name": {name: "fake"},
		"compiling":  {compiles: true},
	}
}

func hangAt(name, at string) {
	if name == at {
		hang()
	}
}

type faultyPlane struct {
	coreml.Plane
	faults faults
	out    *os.File
}

func (p faultyPlane) Open(ctx context.Context, dir string) (coreml.Package, error) {
	if p.faults.open != nil {
		p.faults.open()
	}
	pkg, err := p.Plane.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	if p.faults.compiles {
		return compilingPackage{pkg}, nil
	}
	return faultyPackage{pkg, p}, nil
}

// compilingPackage is one that its Open compiled.
type compilingPackage struct{ coreml.Package }

func (compilingPackage) Compiled() bool { return true }

type faultyPackage struct {
	coreml.Package
	plane faultyPlane
}

func (p faultyPackage) Function(ctx context.Context, name string) (coreml.Function, error) {
	if p.plane.faults.load != nil {
		p.plane.faults.load(name)
	}
	fn, err := p.Package.Function(ctx, name)
	if err != nil || p.plane.faults.predict == nil {
		return fn, err
	}
	return faultyFunction{fn, p.plane}, nil
}

type faultyFunction struct {
	coreml.Function
	plane faultyPlane
}

func (f faultyFunction) Predict(ctx context.Context, inputs map[string]coreml.Tensor, st coreml.State, outputs map[string]coreml.Tensor) error {
	f.plane.faults.predict(f.plane.out)
	return f.Function.Predict(ctx, inputs, st, outputs)
}

// crew is the workers of a test: options that start them, and their process
// ids.
type crew struct {
	t    *testing.T
	pids string
	opt  Options
}

// patience is for what must happen, and happens at once on an idle machine.
const patience = time.Minute

// newCrew has workers of which the first count have a fault. The first of all
// is the one that New asks for the plane's name.
func newCrew(t *testing.T, fault string, count int) *crew {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	require.Contains(t, faultTable(), fault)
	c := &crew{t: t, pids: filepath.Join(t.TempDir(), "pids")}
	c.opt = Options{
		Plane: "toy", Path: self, Args: []string{workerArg, c.pids, fault, fmt.Sprint(count)},
		Start: patience, Load: patience, Pass: patience, Stop: patience,
	}
	t.Cleanup(func() { c.requireGone() })
	return c
}

// started are the process ids of the workers so far.
func (c *crew) started() []int {
	text, err := os.ReadFile(c.pids)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(c.t, err)
	var pids []int
	for _, line := range strings.Fields(string(text)) {
		var pid int
		_, err := fmt.Sscan(line, &pid)
		require.NoError(c.t, err)
		pids = append(pids, pid)
	}
	return pids
}

func (c *crew) plane() *Plane {
	c.t.Helper()
	p, err := New(context.Background(), c.opt)
	require.NoError(c.t, err)
	return p
}

// open opens a package that the test's end closes.
func (c *crew) open(p *Plane) *pkg {
	c.t.Helper()
	opened, err := p.Open(context.Background(), "toy.mlpackage")
	require.NoError(c.t, err)
	c.t.Cleanup(func() { opened.Close() })
	return opened.(*pkg)
}

// column is a tensor of a function's x or hidden.
func column(values ...float32) coreml.Tensor {
	t := coreml.Tensor{Shape: []int{len(values), 1}, Data: make([]float16.Float16, len(values))}
	for i, v := range values {
		t.Data[i] = half.FromFloat32(v)
	}
	return t
}

// step runs a pass and returns hidden.
func step(ctx context.Context, fn coreml.Function, st coreml.State, x ...float32) ([]float32, error) {
	hidden := column(make([]float32, len(x))...)
	err := fn.Predict(ctx, map[string]coreml.Tensor{"x": column(x...)}, st, map[string]coreml.Tensor{"hidden": hidden})
	out := make([]float32, len(x))
	for i, h := range hidden.Data {
		out[i] = half.ToFloat32(h)
	}
	return out, err
}

func mustFunction(t *testing.T, p coreml.Package, name string) coreml.Function {
	t.Helper()
	fn, err := p.Function(context.Background(), name)
	require.NoError(t, err)
	return fn
}

func mustState(t *testing.T, p coreml.Package) coreml.State {
	t.Helper()
	st, err := p.NewState()
	require.NoError(t, err)
	return st
}
