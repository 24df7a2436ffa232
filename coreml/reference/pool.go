package reference

import (
	"runtime"
	"sync"
)

// pool runs ranges of independent work on a fixed set of goroutines, so that a
// pass starts none and allocates nothing. Work is split by output element;
// the split never changes a result.
type pool struct {
	tasks   chan task
	workers int
	stop    sync.Once
}

type task struct {
	run    func(worker, lo, hi int)
	worker int
	lo, hi int
	done   *sync.WaitGroup
}

func newPool() *pool {
	p := &pool{workers: runtime.GOMAXPROCS(0)}
	p.tasks = make(chan task, p.workers)
	for range p.workers - 1 {
		go func() {
			for t := range p.tasks {
				t.run(t.worker, t.lo, t.hi)
				t.done.Done()
			}
		}()
	}
	return p
}

// each calls run over [0, n) in one contiguous range per worker, none shorter
// than grain except the last. The caller's goroutine takes the first range.
func (p *pool) each(done *sync.WaitGroup, n, grain int, run func(worker, lo, hi int)) {
	parts := min(p.workers, max(1, n/max(1, grain)))
	size := (n + parts - 1) / parts
	for w := 1; w < parts; w++ {
		lo, hi := min(n, w*size), min(n, (w+1)*size)
		done.Add(1)
		p.tasks <- task{run: run, worker: w, lo: lo, hi: hi, done: done}
	}
	run(0, 0, min(n, size))
	done.Wait()
}

func (p *pool) close() {
	p.stop.Do(func() { close(p.tasks) })
}
