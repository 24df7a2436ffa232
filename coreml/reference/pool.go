package reference

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// pool runs ranges of independent work on a fixed set of goroutines, so that a
// pass starts none and allocates nothing. Work is cut by output element; the
// cut never changes a result.
//
// It cannot deadlock: workers run leaf work only, and whoever asks for help
// does all of the work that nobody has taken.
type pool struct {
	jobs    chan *job
	workers int // with the caller of each
	ended   sync.WaitGroup
}

// job is a range of work under way. A function has one, used again for each
// step.
type job struct {
	run     func(worker, lo, hi int)
	n, size int          // the range is [0, n), taken size by size
	next    atomic.Int64 // first index that nobody has taken
	helpers sync.WaitGroup
}

func newPool() *pool {
	p := &pool{workers: runtime.GOMAXPROCS(0)}
	p.jobs = make(chan *job, p.workers)
	for worker := 1; worker < p.workers; worker++ {
		p.ended.Go(func() {
			for j := range p.jobs {
				j.work(worker)
				j.helpers.Done()
			}
		})
	}
	return p
}

// piecesPerWorker balances workers of which one is slowed down by others of
// the machine against the cost of taking a piece.
const piecesPerWorker = 4

// each calls run over [0, n) in ranges of at least grain, except for the last.
// worker is below p.workers and differs between calls that run at a time; the
// caller's goroutine is worker 0.
func (p *pool) each(j *job, n, grain int, run func(worker, lo, hi int)) {
	size := max(grain, 1, (n-1)/(piecesPerWorker*p.workers)+1)
	if size > 16 {
		size = (size + 15) &^ 15 // whole cache lines of float32
	}
	pieces := (n-1)/size + 1
	if p.workers == 1 || pieces <= 1 {
		run(0, 0, n)
		return
	}
	j.run, j.n, j.size = run, n, size
	j.next.Store(0)
	for range min(p.workers, pieces) - 1 {
		j.helpers.Add(1)
		select {
		case p.jobs <- j:
		default: // all are busy and others queue: go without
			j.helpers.Done()
		}
	}
	j.work(0)
	j.helpers.Wait()
}

// work takes pieces until none is left.
func (j *job) work(worker int) {
	for {
		hi := int(j.next.Add(int64(j.size)))
		lo := hi - j.size
		if lo >= j.n {
			return
		}
		j.run(worker, lo, min(j.n, hi))
	}
}

// close ends the workers. No job may be under way.
func (p *pool) close() {
	close(p.jobs)
	p.ended.Wait()
}
