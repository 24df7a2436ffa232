package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/x448/float16"

	"lockstep/coreml/hostinput"
	"lockstep/fixtures"
	"lockstep/fixtures/synth"
	"lockstep/internal/durable"
	"lockstep/internal/half"
	"lockstep/internal/safetensors"
	"lockstep/internal/tokenizer"
)

// scriptCommands are what the scripts have beyond testscript's own commands.
//
//	exits CODE program args...      runs a program that must exit with CODE
//	checkpoint DIR                  copies nano into a new directory
//	spelled DIR                     writes a checkpoint of random weights, 2 layers
//	                                and 896 tokens, with a tokenizer.json of 813
//	chop FILE N                     cuts N bytes off the file's end
//	overwrite FILE OFFSET TEXT      writes TEXT over the file's bytes
//	replace FILE OLD NEW            replaces the one OLD in the file
//	poke FILE TENSOR ELEMENT HEX    sets a 16-bit element of a tensor
//	enlarge FILE TENSOR POWER       multiplies a bfloat16 tensor by a power of two
//	tree DIR FILE                   lists every file below DIR with its digest, but
//	                                for the lock, which holds a process id
//	inputs FILE ROWS POS LIVE [fault...]
//	                                writes a pass's inputs for nano's tail: the
//	                                first prompt's tokens from POS on; faults are
//	                                drop=NAME, add=NAME and flat=NAME
//	near FILE POS COUNT COSINE      holds the hidden states of COUNT rows against
//	                                the golden ones from POS on
//	plans P FILE [change...]        records the plans that a Core ML in Go makes for
//	                                a package; changes are bytes=N for the compiled
//	                                size, cpu=OP to place ops there, plane=NAME and virtual
//	column WIDE ROW NARROW          holds row ROW of the hidden states in WIDE
//	                                against the one row of NARROW, bit for bit
//	sameverdict FILE FILE           holds two verdicts to each other
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	commands := map[string]func(*testscript.TestScript, bool, []string){"exits": cmdExits}
	for name, c := range map[string]struct {
		args int // at least
		run  func(ts *testscript.TestScript, args []string) error
	}{
		"checkpoint": {1, cmdCheckpoint},
		"spelled":    {1, cmdSpelled},
		"chop":       {2, cmdChop},
		"overwrite":  {3, cmdOverwrite},
		"replace":    {3, cmdReplace},
		"poke":       {4, cmdPoke},
		"enlarge":    {3, cmdEnlarge},
		"tree":       {2, cmdTree},
		"inputs":     {4, cmdInputs},
		"near":       {4, cmdNear},
		"column":     {3, cmdColumn},
		"plans":      {2, cmdPlans},

		"sameverdict": {2, cmdSameVerdict},
	} {
		commands[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) < c.args {
				ts.Fatalf("%s: wrong use", name)
			}
			ts.Check(c.run(ts, args))
		}
	}
	return commands
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("exits: wrong use")
	}
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func cmdCheckpoint(ts *testscript.TestScript, args []string) error {
	return os.CopyFS(ts.MkAbs(args[0]), fixtures.Nano())
}

func cmdSpelled(ts *testscript.TestScript, args []string) error {
	spec := synth.Presets()[0].Spec
	spec.Config.VocabSize, spec.Config.Layers, spec.End = 896, 2, 2
	dir := ts.MkAbs(args[0])
	if err := synth.Write(context.Background(), dir, spec); err != nil {
		return err
	}
	text, err := os.ReadFile(ts.Getenv("TOKENIZER"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, tokenizer.File), text, 0o644)
}

// edit rewrites a file.
func edit(ts *testscript.TestScript, name string, change func([]byte) ([]byte, error)) error {
	path := ts.MkAbs(name)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if data, err = change(data); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func cmdChop(ts *testscript.TestScript, args []string) error {
	n, err := strconv.Atoi(args[1])
	return errors.Join(err, edit(ts, args[0], func(data []byte) ([]byte, error) { return data[:len(data)-n], nil }))
}

func cmdOverwrite(ts *testscript.TestScript, args []string) error {
	at, err := strconv.Atoi(args[1])
	return errors.Join(err, edit(ts, args[0], func(data []byte) ([]byte, error) {
		copy(data[at:], args[2])
		return data, nil
	}))
}

func cmdReplace(ts *testscript.TestScript, args []string) error {
	return edit(ts, args[0], func(data []byte) ([]byte, error) {
		if bytes.Count(data, []byte(args[1])) != 1 {
			return nil, fmt.Errorf("%s: want %q once", args[0], args[1])
		}
		return bytes.Replace(data, []byte(args[1]), []byte(args[2]), 1), nil
	})
}

func cmdPoke(ts *testscript.TestScript, args []string) error {
	element, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	bits, err := hex.DecodeString(args[3])
	if err != nil || len(bits) != 2 {
		return fmt.Errorf("poke: want two bytes in hexadecimal, found %q", args[3])
	}
	return edit(ts, args[0], func(data []byte) ([]byte, error) {
		file, err := safetensors.ParseValues(args[0], data)
		if err != nil {
			return nil, err
		}
		tensor, ok := file.Lookup(args[1])
		if !ok {
			return nil, fmt.Errorf("poke: no tensor %s", args[1])
		}
		at := tensor.Begin + int64(2*element)
		data[at], data[at+1] = bits[1], bits[0]
		return data, nil
	})
}

func cmdEnlarge(ts *testscript.TestScript, args []string) error {
	power, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	return edit(ts, args[0], func(data []byte) ([]byte, error) {
		file, err := safetensors.ParseValues(args[0], data)
		if err != nil {
			return nil, err
		}
		tensor, ok := file.Lookup(args[1])
		if !ok {
			return nil, fmt.Errorf("enlarge: no tensor %s", args[1])
		}
		for raw := data[tensor.Begin:tensor.End]; len(raw) > 0; raw = raw[2:] {
			v := math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw)) << 16)
			binary.LittleEndian.PutUint16(raw, uint16(math.Float32bits(float32(math.Ldexp(float64(v), power)))>>16))
		}
		return data, nil
	})
}

func cmdTree(ts *testscript.TestScript, args []string) error {
	var out strings.Builder
	root := os.DirFS(ts.MkAbs(args[0]))
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == durable.LockName {
			return err
		}
		data, err := fs.ReadFile(root, name)
		fmt.Fprintf(&out, "%s %x\n", name, sha256.Sum256(data))
		return err
	})
	return errors.Join(err, os.WriteFile(ts.MkAbs(args[1]), []byte(out.String()), 0o644))
}

// nanoSlots and nanoHidden are nano's, as the scripts export it.
const (
	nanoSlots  = 256
	nanoHidden = 128
	nanoHalf   = 12 // half the turned dimensions of a head
)

// promptRows are the golden hidden states of the first prompt before layer, as
// float16.
func promptRows(layer, pos, count int) ([][]float16.Float16, error) {
	golden, err := fixtures.Golden()
	if err != nil {
		return nil, err
	}
	values, _, err := golden.Float32(fmt.Sprintf("p0.hidden%d", layer))
	if err != nil {
		return nil, err
	}
	rows := make([][]float16.Float16, count)
	for i := range rows {
		rows[i] = make([]float16.Float16, nanoHidden)
		half.Encode(rows[i], values[(pos+i)*nanoHidden:][:nanoHidden])
	}
	return rows, nil
}

func numbers(texts []string) ([]int, error) {
	out := make([]int, len(texts))
	for i, text := range texts {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

func cmdInputs(ts *testscript.TestScript, args []string) error {
	n, err := numbers(args[1:4])
	if err != nil {
		return err
	}
	rows, pos, live := n[0], n[1], n[2]
	x, err := promptRows(30, pos, live)
	if err != nil {
		return err
	}
	rope, err := nanoRope()
	if err != nil {
		return err
	}
	pass := hostinput.NewPass(hostinput.Shape{Hidden: nanoHidden, Rows: rows, Slots: nanoSlots, RopeHalf: nanoHalf})
	if err := pass.Fill(rope, pos, live, x); err != nil {
		return err
	}
	tensors := map[string]safetensors.HalfTensor{}
	for name, t := range pass.Inputs() {
		tensors[name] = safetensors.HalfTensor{Name: name, Shape: t.Shape, Data: t.Data}
	}
	if err := spoil(tensors, args[4:]); err != nil {
		return err
	}
	var list []safetensors.HalfTensor
	for _, t := range tensors {
		list = append(list, t)
	}
	data, err := safetensors.EncodeFloat16(list)
	return errors.Join(err, os.WriteFile(ts.MkAbs(args[0]), data, 0o644))
}

// spoil makes the faults of the inputs command.
func spoil(tensors map[string]safetensors.HalfTensor, faults []string) error {
	for _, fault := range faults {
		kind, name, _ := strings.Cut(fault, "=")
		t, there := tensors[name]
		switch {
		case kind == "drop" && there:
			delete(tensors, name)
		case kind == "add" && !there:
			tensors[name] = safetensors.HalfTensor{Name: name, Shape: []int{1}, Data: make([]float16.Float16, 1)}
		case kind == "flat" && there:
			t.Shape = []int{len(t.Data)}
			tensors[name] = t
		default:
			return fmt.Errorf("no such fault: %s", fault)
		}
	}
	return nil
}

// nanoRope is the host's RoPE of nano, its figures as fixtures/nano/config.json
// has them.
func nanoRope() (*hostinput.Rows, error) {
	factors := make([]float64, nanoHalf)
	for i := range factors {
		factors[i] = math.Round(1000+15*float64(i)) / 1000
	}
	return hostinput.NewRope(hostinput.Rope{Theta: 10000, Dim: 2 * nanoHalf, Factors: factors, AttentionFactor: math.Sqrt(1 + math.Log(131072.0/4096)/math.Log(4096))})
}

// hiddenColumns are the rows of a file's hidden states.
func hiddenColumns(ts *testscript.TestScript, name string) ([][]float16.Float16, error) {
	data, err := os.ReadFile(ts.MkAbs(name))
	if err != nil {
		return nil, err
	}
	file, err := safetensors.ParseValues(filepath.Base(name), data)
	if err != nil {
		return nil, err
	}
	values, shape, err := file.Float16("hidden")
	if err != nil {
		return nil, err
	}
	if len(shape) != 4 || shape[1] != nanoHidden {
		return nil, fmt.Errorf("hidden has shape %v", shape)
	}
	rows := make([][]float16.Float16, shape[2])
	for t := range rows {
		for c := range nanoHidden {
			rows[t] = append(rows[t], values[c*len(rows)+t])
		}
	}
	return rows, nil
}

func cmdNear(ts *testscript.TestScript, args []string) error {
	n, err := numbers(args[1:3])
	if err != nil {
		return err
	}
	least, err := strconv.ParseFloat(args[3], 64)
	if err != nil {
		return err
	}
	want, err := promptRows(32, n[0], n[1])
	if err != nil {
		return err
	}
	got, err := hiddenColumns(ts, args[0])
	if err != nil {
		return err
	}
	for t, w := range want {
		var ab, aa, bb float64
		for c := range w {
			a, b := half.ToFloat64(got[t][c]), half.ToFloat64(w[c])
			ab, aa, bb = ab+a*b, aa+a*a, bb+b*b
		}
		if cosine := ab / math.Sqrt(aa*bb); !(cosine >= least) {
			return fmt.Errorf("row %d: cosine %v, want at least %v", t, cosine, least)
		}
	}
	return nil
}

func cmdColumn(ts *testscript.TestScript, args []string) error {
	row, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	wide, err := hiddenColumns(ts, args[0])
	if err != nil {
		return err
	}
	narrow, err := hiddenColumns(ts, args[2])
	if err != nil {
		return err
	}
	for c, want := range narrow[0] {
		if got := wide[row][c]; got != want {
			return fmt.Errorf("row %d, channel %d: %v, want %v", row, c, got, want)
		}
	}
	return nil
}
