package probe

import (
	"context"
	"fmt"
	"time"

	"lockstep/conformance"
	"lockstep/manifest"
)

// The passes of a latency.
const (
	warmUp  = 5
	samples = 40
)

// latency times passes of each function over one state, at one position. The
// clock stands outside the worker, so its pipe is in the figures.
func (s *subject) latency(ctx context.Context) ([]manifest.Evidence, error) {
	list := []manifest.Evidence{
		note("method", fmt.Sprintf("wall clock of %d passes after %d, of a pass with its inputs and output through the worker's pipe", samples, warmUp)),
	}
	err := s.open(ctx, func(b *bench) error {
		for _, t := range s.variant.rows(s.lab.dims) {
			d, err := b.driver(ctx, t)
			if err != nil {
				return err
			}
			pos := s.lab.dims.Slots / 2
			st, err := s.lab.caches().state(b.pkg)
			if err != nil {
				return err
			}
			if err := d.pass.Fill(d.rope, pos, t, tokens(s.lab.dims, pos)[:t]); err != nil {
				return err
			}
			times, err := conformance.TimePasses(ctx, time.Now, warmUp, samples, func() error { return d.again(ctx, st) })
			if err != nil {
				return err
			}
			list = append(list, figure(fmt.Sprintf("t%d_p50", t), milliseconds(times.Quantile(0.50)), "ms"),
				figure(fmt.Sprintf("t%d_p95", t), milliseconds(times.Quantile(0.95)), "ms"))
		}
		return nil
	})
	return list, err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
