package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"lockstep/exporter"
)

// exported is what this program reads of `lockstep export --json`.
type exported struct {
	Package  string `json:"package"`
	UpToDate bool   `json:"up_to_date"`
	Resumed  int64  `json:"resumed_bytes"`
	Shard    struct {
		Package struct {
			Bytes int64 `json:"bytes"`
		} `json:"package"`
	} `json:"shard"`
}

// export runs the built command, so that the peak memory is that of an export
// and of nothing else. Time and memory are measured only if it wrote the whole
// package.
func (r *runner) export(ctx context.Context, s subject) (*column, error) {
	var yardstick time.Duration
	if s.precision == exporter.FP16 {
		var err error
		if yardstick, err = r.timeCopy(ctx); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(
		ctx, r.command, "export", "--checkpoint", r.checkpointDir(), "--layers", tail.String(), "--out", r.outDir(s),
		"--name", modelName, "--precision", string(s.precision), "--norm", string(s.norm), "--json",
	)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	var res exported
	if err := json.Unmarshal(stdout.Bytes(), &res); err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	col := newColumn(s)
	col.set(rowBytes, megabytes(res.Shard.Package.Bytes))
	if res.UpToDate || res.Resumed > 0 {
		r.printf("export  %-22s  of an earlier run, verified: time and memory are not measured\n", s)
		return col, nil
	}
	r.printf("export  %-22s  %s in %s\n", s, megabytes(res.Shard.Package.Bytes), seconds(took))
	if yardstick > 0 {
		r.printf("        %.2f times cp, fsync, sha256 of source and copy, which took %s\n", took.Seconds()/yardstick.Seconds(), seconds(yardstick))
	}
	col.set(rowExport, seconds(took))
	if peak, ok := peakMemory(cmd.ProcessState); ok {
		col.peak = peak
		col.set(rowPeak, fmt.Sprintf("%.1f MiB", float64(peak)/(1<<20)))
	}
	return col, nil
}

// memoryLimit is what an export must stay below, whatever the shard's size.
const memoryLimit = 128 << 20

// checkMemory is the one assertion about an export besides its package.
func (c *column) checkMemory(s subject) error {
	if c.peak >= memoryLimit {
		return fmt.Errorf("export %s: peak memory is %d bytes, want less than %d", s, c.peak, memoryLimit)
	}
	return nil
}
