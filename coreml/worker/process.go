package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"

	"lockstep/coreml"
	"lockstep/internal/durable"
)

// What keeps a worker from its answer; each is wrapped beside coreml.ErrBroken,
// as ErrProtocol is.
var (
	// ErrHung means that a call took longer than it may.
	ErrHung = errors.New("no answer in time")
	// ErrDied means that the process ended during a call.
	ErrDied = errors.New("the process ended")
)

// process is one worker process. Its calls are made one at a time.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser // requests
	out    *os.File       // replies
	from   *bufio.Reader  // over out
	log    tail
	region region
	mapped int // bytes of region that the worker has mapped
	seq    uint64
	ended  chan struct{} // closed when the process is gone and waited for

	loaded map[string]bool // functions
	warm   map[string]bool // functions that have run
}

// start starts a worker. Nothing has been said to it yet.
func start(opt *Options) (*process, error) {
	shared, err := durable.Scratch()
	if err != nil {
		return nil, err
	}
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, shared.Close())
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, shared.Close(), childIn.Close(), in.Close())
	}
	p := &process{
		in: in, out: out, from: bufio.NewReader(out), region: region{file: shared},
		ended: make(chan struct{}), loaded: map[string]bool{}, warm: map[string]bool{},
	}
	p.cmd = exec.Command(opt.Path, opt.Args...)
	p.cmd.Dir, p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = opt.dir, childIn, childOut, &p.log
	p.cmd.ExtraFiles = []*os.File{shared} // sharedFD in the worker
	p.cmd.SysProcAttr = attributes()
	p.cmd.WaitDelay = opt.Stop // of a log that someone else keeps open
	started := make(chan error)
	go p.run(started)
	err = <-started
	if err != nil {
		<-p.ended
	}
	if err = errors.Join(err, childIn.Close(), childOut.Close()); err != nil {
		p.kill(opt.Stop)
		return nil, err
	}
	return p, nil
}

// run starts the process and waits for it, on one thread: where the system ties
// a child to its parent, it means the parent's thread.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // how it ended stands in ProcessState
	}
}

// call makes a request and waits for its reply. It kills the process when ctx
// ends, when timeout is over, and when the reply is none: the process is then
// of no use. A reply may hold an error of the plane.
func (p *process) call(ctx context.Context, doing string, timeout, stop time.Duration, req *request) (*reply, error) {
	p.seq++
	req.Seq = p.seq
	frame, err := appendFrame(nil, req, maxRequest)
	if err != nil {
		p.kill(stop)
		return nil, fmt.Errorf("worker: %s: %w", doing, err)
	}
	type outcome struct {
		reply reply
		err   error
	}
	answered := make(chan outcome, 1)
	go func() {
		var o outcome
		if _, o.err = p.in.Write(frame); o.err == nil {
			o.err = readFrame(p.from, &o.reply, maxReply)
		}
		answered <- o
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case o := <-answered:
		if o.err == nil && o.reply.Seq != req.Seq {
			o.err = fmt.Errorf("%w: want the reply to request %d, found that to %d", ErrProtocol, req.Seq, o.reply.Seq)
		}
		if o.err == nil {
			return &o.reply, nil
		}
		return nil, p.failed(doing, stop, o.err)
	case <-ctx.Done():
		p.kill(stop)
		return nil, fmt.Errorf("worker killed during %s: %w", doing, ctx.Err())
	case <-timer.C:
		p.kill(stop)
		return nil, p.broken(doing, fmt.Errorf("%w: killed after %s", ErrHung, timeout))
	}
}

// failed is the error of a call whose reply did not come or was none.
func (p *process) failed(doing string, stop time.Duration, err error) error {
	if errors.Is(err, ErrProtocol) {
		p.kill(stop)
		return p.broken(doing, err)
	}
	// The pipe ended: most likely the process has, and says how.
	select {
	case <-p.ended:
		p.kill(stop)
		how := "in an unknown way"
		if p.cmd.ProcessState != nil {
			how = p.cmd.ProcessState.String()
		}
		return p.broken(doing, fmt.Errorf("%w: %s: %w", ErrDied, how, err))
	case <-time.After(stop):
		p.kill(stop)
		return p.broken(doing, fmt.Errorf("%w: it closed its pipe and was killed: %w", ErrDied, err))
	}
}

// broken says what happened to the process and quotes its log.
func (p *process) broken(doing string, err error) error {
	words := p.log.lastWords()
	if words != "" {
		words = "; its log ends: " + words
	}
	return fmt.Errorf("%w: worker: %s: %w%s", coreml.ErrBroken, doing, err, words)
}

// stop ends the worker by ending its input, and kills it if that is not enough.
func (p *process) stop(within time.Duration) {
	p.in.Close() // its reader ends
	select {
	case <-p.ended:
	case <-time.After(within):
	}
	p.kill(within)
}

// kill ends the process, if it still runs, with whatever it has started, waits
// until it is gone and frees what belonged to it. A process that the system
// does not let go of is not waited for longer than within.
func (p *process) kill(within time.Duration) {
	select {
	case <-p.ended:
	default:
		killGroup(p.cmd.Process)
		select {
		case <-p.ended:
		case <-time.After(within):
		}
	}
	// Nothing that fails here is of use to anyone, and closing twice is harmless.
	p.in.Close()
	p.out.Close()
	p.region.unmap()
	p.region.file.Close()
}

// gone reports that the process has ended by itself.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}
