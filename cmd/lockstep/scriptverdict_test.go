package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"lockstep/manifest"
)

// cmdSameVerdict holds two verdicts to each other in all that does not differ
// between two runs: the command, the times, the memory and the room on the disk
// do.
func cmdSameVerdict(ts *testscript.TestScript, args []string) error {
	var texts [2]string
	for i := range texts {
		file, err := os.ReadFile(ts.MkAbs(args[i]))
		if err != nil {
			return err
		}
		v, err := manifest.DecodeVerdict(file)
		if err != nil {
			return err
		}
		v.Command = "any"
		timed := 0
		for m := range v.Metrics {
			name := v.Metrics[m].Name
			memory := name == "memory_peak" // of another process
			if strings.HasPrefix(name, "pass_ms_") || strings.HasPrefix(name, "disk_free_") || memory {
				v.Metrics[m].Value = manifest.NewFigure(1)
				timed++
			}
			if memory {
				v.Metrics[m].Method = "any"
			}
		}
		if timed != 5 {
			return fmt.Errorf("%s: want 5 figures that differ between runs, found %d", args[i], timed)
		}
		text, err := manifest.EncodeVerdict(*v)
		if err != nil {
			return err
		}
		texts[i] = string(text)
	}
	if texts[0] != texts[1] {
		return fmt.Errorf("%s and %s differ:\n%s\n%s", args[0], args[1], texts[0], texts[1])
	}
	return nil
}
