package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"lockstep/exporter"
	"lockstep/fixtures/synth"
	"lockstep/internal/durable"
)

func main() {
	out := flag.String("out", "build/real", "directory of everything that is written")
	command := flag.String("lockstep", "build/bin/lockstep", "the built lockstep command, which exports")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, *out, *command, source{spec: synth.RealTail(), sums: realTailSums})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "real:", err)
		os.Exit(1)
	}
}

// The shard, and the model's name in package names.
var tail = exporter.Range{Start: 30, End: 32}

const modelName = "synth"

// subject is one package that is exported and judged.
type subject struct {
	precision exporter.Precision
	norm      exporter.Norm
	whole     bool // judged by the whole catalogue, not at one position only
}

func (s subject) String() string { return fmt.Sprintf("%s %s", s.precision, s.norm) }

// subjects are the default norm form in both precisions, and the other forms
// with int8 weights, which halve what they take on disk.
func subjects() []subject {
	list := []subject{
		{exporter.FP16, exporter.LayerNormConcat, true},
		{exporter.Int8, exporter.LayerNormConcat, true},
	}
	for _, norm := range exporter.Norms()[1:] {
		list = append(list, subject{exporter.Int8, norm, false})
	}
	return list
}

func (s subject) recipe() exporter.Recipe {
	rec := exporter.DefaultRecipe()
	rec.Precision, rec.Norm = s.precision, s.norm
	return rec
}

// runner is one run over a checkpoint.
type runner struct {
	to      io.Writer
	source  source
	out     string // directory of all runs, with the checkpoint
	dir     string // of this build's packages, in out
	command string // the built lockstep
}

func (r *runner) printf(format string, args ...any) { fmt.Fprintf(r.to, format, args...) }

// checkpointDir is named by what it must hold, so that the checkpoint of an
// older program is not in the way.
func (r *runner) checkpointDir() string {
	return filepath.Join(r.out, "checkpoint-"+r.source.sums[0][:8])
}

// copyDir takes the copy of the checkpoint that export is compared with.
func (r *runner) copyDir() string { return filepath.Join(r.dir, "copy") }

// outDir is where a subject's package, record and verdicts lie.
func (r *runner) outDir(s subject) string {
	return filepath.Join(r.dir, fmt.Sprintf("%s_%s", s.precision, s.norm))
}

// run exports and judges every subject. Its error joins whatever came out
// otherwise than it must; that a package fails does not keep the next from
// being judged.
func run(ctx context.Context, to io.Writer, out, command string, src source) error {
	start := time.Now()
	build, err := fileSum(command)
	if err != nil {
		return fmt.Errorf("the lockstep command: %w", err)
	}
	r := &runner{to: to, source: src, out: out, dir: filepath.Join(out, build[:12]), command: command}
	r.printf("real    layers %s, hidden %d, intermediate %d, S=%d, seeded weights, reference plane\n",
		tail, src.spec.Config.HiddenSize, src.spec.Config.IntermediateSize, exporter.DefaultRecipe().Slots)
	if err := r.ensureRoom(); err != nil {
		return err
	}
	if err := r.ensureCheckpoint(ctx); err != nil {
		return err
	}
	// Every export comes before the first gate, while this process is small:
	// see peakMemory.
	var columns []*column
	var faults []error
	for _, s := range subjects() {
		col, err := r.export(ctx, s)
		if err != nil {
			return err
		}
		columns, faults = append(columns, col), append(faults, col.checkMemory(s))
	}
	for i, s := range subjects() {
		fault, err := r.gate(ctx, s, columns[i])
		if err != nil {
			return fmt.Errorf("gate %s: %w", s, err)
		}
		faults = append(faults, fault)
	}
	printColumns(to, columns)
	r.printf("kept    %s holds %s; lockstep deletes none of it, you may delete any of it\n", out, megabytes(bytesBelow(out)))
	if err := errors.Join(faults...); err != nil {
		return err
	}
	r.printf("result  as it must be, in %s: residency alone is not measured (no Core ML), prescaled fails the lint by design\n", seconds(time.Since(start)))
	return nil
}

// ensureRoom says what will be written, and refuses if it does not fit.
func (r *runner) ensureRoom() error {
	var need int64
	add := func(dir string, bytes int64) {
		if _, err := os.Stat(dir); err != nil {
			need += bytes
		}
	}
	weights := r.source.bytes()
	add(r.checkpointDir(), weights)
	add(r.copyDir(), weights)
	for _, s := range subjects() {
		plan, err := exporter.PlanShard(r.source.spec.Config, modelName, tail, s.recipe())
		if err != nil {
			return err
		}
		add(filepath.Join(r.outDir(s), plan.Package), plan.Bytes)
	}
	if err := durable.EnsureFree(durable.OS{}, r.dir, need, exporter.DefaultReserve); err != nil {
		return fmt.Errorf("%w; free some space: directories of earlier builds in %s are yours to delete", err, r.out)
	}
	r.printf("disk    %s to write in %s: checkpoint, a copy of it, one fp16 and three int8 packages\n", megabytes(need), r.out)
	return nil
}

// bytesBelow sums the files below dir, as far as they can be read.
func bytesBelow(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // the figure is for reading
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
