package probe

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

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
			times, err := sample(warmUp, samples, func() error { return d.again(ctx, st) })
			if err != nil {
				return err
			}
			list = append(list, figure(fmt.Sprintf("t%d_p50", t), milliseconds(percentile(times, 50)), "ms"),
				figure(fmt.Sprintf("t%d_p95", t), milliseconds(percentile(times, 95)), "ms"))
		}
		return nil
	})
	return list, err
}

// sample times n calls after the first ones, in ascending order.
func sample(first, n int, call func() error) ([]time.Duration, error) {
	times := make([]time.Duration, 0, n)
	for i := range first + n {
		began := time.Now()
		if err := call(); err != nil {
			return nil, err
		}
		if i >= first {
			times = append(times, time.Since(began))
		}
	}
	slices.Sort(times)
	return times, nil
}

// percentile is the smallest of ascending times that p percent of them do not
// exceed (nearest rank).
func percentile(times []time.Duration, p float64) time.Duration {
	rank := int(math.Ceil(p / 100 * float64(len(times))))
	return times[max(rank, 1)-1]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
