package worker

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml"
	"lockstep/internal/durable"
)

// serve runs Serve over a plane in this process, with a shared file of the
// smallest size.
func serve(t testing.TB, in io.Reader) (*lockedBuffer, error) {
	t.Helper()
	out := &lockedBuffer{}
	if m, ok := in.(*meteredReader); ok {
		m.out = out
	}
	return out, serveTo(t, in, out, func(name string) coreml.Plane { return toy{name} })
}

func serveTo(t testing.TB, in io.Reader, out io.Writer, plane func(string) coreml.Plane) error {
	t.Helper()
	shared, err := durable.Scratch()
	require.NoError(t, err)
	defer shared.Close()
	_, err = shared.WriteAt([]byte{0}, smallestRegion-1)
	require.NoError(t, err)
	return Serve(context.Background(), in, out, shared, func(name string) (coreml.Plane, error) { return plane(name), nil })
}

// lockedBuffer keeps replies and counts them.
type lockedBuffer struct {
	mu      sync.Mutex
	buffer  bytes.Buffer
	replies int
}

// wait waits for the n-th reply.
func (b *lockedBuffer) wait(n int) {
	for {
		b.mu.Lock()
		replies := b.replies
		b.mu.Unlock()
		if replies >= n {
			return
		}
		time.Sleep(10 * time.Microsecond)
	}
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replies++
	return b.buffer.Write(p)
}

func (b *lockedBuffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Bytes()
}

// meteredReader gives the next frame when the last one was answered, as the
// other end does.
type meteredReader struct {
	text []byte
	sent int
	out  *lockedBuffer
	now  []byte
}

func (m *meteredReader) Read(p []byte) (int, error) {
	if len(m.now) == 0 {
		m.out.wait(m.sent)
		rest := bytes.NewReader(m.text)
		if readFrame(rest, &request{}, maxRequest) == nil {
			m.sent++
			m.now, m.text = m.text[:len(m.text)-rest.Len()], m.text[len(m.text)-rest.Len():]
		} else {
			m.now, m.text = m.text, nil
		}
	}
	if len(m.now) == 0 {
		return 0, io.EOF
	}
	n := copy(p, m.now)
	m.now = m.now[n:]
	return n, nil
}

// TestServeAnswers runs every operation, in order.
func TestServeAnswers(t *testing.T) {
	var stream []byte
	for _, r := range sampleRequests() {
		stream = append(stream, frameOf(t, &r)...)
	}
	out, err := serve(t, &meteredReader{text: stream})
	require.NoError(t, err)
	from := bytes.NewReader(out.Bytes())
	sig := toyFunction{"t1", 1}.Signature()
	for i, want := range []reply{
		{Plane: "toy"},
		{Functions: []string{"t1", "t4"}},
		{},
		{Signature: &sig},
		{State: 1},
		{},
		{},
		{},
		{Error: &failure{Text: "t1: " + coreml.ErrNoComputePlan.Error(), Is: []string{"no_compute_plan"}}},
		{Error: &failure{Text: "toy: closed"}},
	} {
		want.Seq = uint64(i + 1)
		var got reply
		require.NoError(t, readFrame(from, &got, maxReply))
		assert.Equal(t, slices.Contains(heavy, sampleRequests()[i].Op), got.Peak > 0, i)
		got.Peak = 0
		assert.Equal(t, want, got)
	}
	assert.Zero(t, from.Len())
}

// TestServeRefuses: a request that comes out of order, or that names what is
// not there, is answered by an error; none is guessed at.
func TestServeRefuses(t *testing.T) {
	hello, open := request{Op: opHello, Plane: "toy"}, request{Op: opOpen, Dir: "d"}
	mapped, state := request{Op: opMap, Bytes: smallestRegion}, request{Op: opState}
	load := request{Op: opLoad, Function: "t1"}
	for _, tt := range []struct {
		name string
		want string
		all  []request
	}{
		{"no hello", `want "hello" first`, []request{open}},
		{"two hellos", "want one hello", []request{hello, hello}},
		{"no package", `want "open" first`, []request{hello, load}},
		{"two packages", "want one package", []request{hello, open, open}},
		{"after close", `want "open" first`, []request{hello, open, {Op: opClose}, load}},
		{"no such operation", "want an operation", []request{hello, open, {Op: "reboot"}}},
		{"number", "want request 2, found 7", []request{hello, {Seq: 7, Op: opOpen, Dir: "d"}}},
		{"not loaded", `function "t4" was not loaded`, []request{hello, open, load, {Op: opPredict, Function: "t4"}}},
		{"no state", "no state 3", []request{hello, open, load, state, {Op: opPredict, Function: "t1", State: 3}}},
		{"dropped", "no state 1", []request{hello, open, state, {Op: opRead, State: 1, Name: "k", Values: &span{}, Drop: []uint64{1}}}},
		{"no span", "want a span", []request{hello, open, state, {Op: opRead, State: 1, Name: "k"}}},
		{"no mapping", "inside 0 bytes", []request{hello, open, state, {Op: opRead, State: 1, Name: "k", Values: &span{Count: 4}}}},
		{"map too much", "want a mapping of 1 to 1048576 bytes", []request{hello, {Op: opMap, Bytes: smallestRegion + 1}}},
		{"map nothing", "want a mapping of 1 to 1048576 bytes", []request{hello, {Op: opMap}}},
		{"span before", "found 4 values at -64", []request{hello, mapped, open, state, {Op: opRead, State: 1, Name: "k", Values: &span{-64, 4}}}},
		{"span askew", "found 4 values at 2", []request{hello, mapped, open, state, {Op: opRead, State: 1, Name: "k", Values: &span{2, 4}}}},
		{"span beyond", "values at 1048512", []request{hello, mapped, open, state, {Op: opWrite, State: 1, Name: "k", Values: &span{smallestRegion - 64, 33}}}},
		{"span far beyond", "values at 9223372036854775744", []request{hello, mapped, open, state, {Op: opWrite, State: 1, Name: "k", Values: &span{1<<63 - 64, 1}}}},
		{"span of many", "9223372036854775807 values", []request{hello, mapped, open, state, {Op: opWrite, State: 1, Name: "k", Values: &span{0, 1<<63 - 1}}}},
		{"input beyond", `tensor "x"`, []request{hello, mapped, open, load, {Op: opPredict, Function: "t1", Inputs: []port{{Name: "x", Span: span{0, 1 << 40}}}}}},
		{"output beyond", `tensor "y"`, []request{hello, mapped, open, load, {Op: opPredict, Function: "t1", Outputs: []port{{Name: "y", Span: span{0, 1 << 40}}}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stream []byte
			for i, r := range tt.all {
				if r.Seq == 0 {
					r.Seq = uint64(i + 1)
				}
				stream = append(stream, frameOf(t, &r)...)
			}
			out, err := serve(t, &meteredReader{text: stream})
			require.NoError(t, err)
			from := bytes.NewReader(out.Bytes())
			for i := range tt.all {
				var r reply
				require.NoError(t, readFrame(from, &r, maxReply))
				if i < len(tt.all)-1 {
					require.True(t, r.Error == nil || tt.all[i].Op == opClose)
					continue
				}
				require.NotNil(t, r.Error)
				assert.Contains(t, r.Error.Text, tt.want)
				assert.Equal(t, []string{"protocol"}, r.Error.Is)
			}
		})
	}
}

// TestServeEndsWithItsInput: a plane that hangs keeps nobody, neither when the
// input ends nor when it goes on.
func TestServeEndsWithItsInput(t *testing.T) {
	hello := frameOf(t, &request{Seq: 1, Op: opHello, Plane: "toy"})
	open := frameOf(t, &request{Seq: 2, Op: opOpen, Dir: "d"})
	for _, tt := range []struct {
		name string
		then func(*io.PipeWriter)
		want error
	}{
		{"end", func(w *io.PipeWriter) { w.Close() }, io.EOF},
		{"failure", func(w *io.PipeWriter) { w.CloseWithError(io.ErrClosedPipe) }, io.ErrClosedPipe},
		{"another request", func(w *io.PipeWriter) { w.Write(frameOf(t, &request{Seq: 3, Op: opState})) }, ErrProtocol},
		{"garbage", func(w *io.PipeWriter) { w.Write([]byte("garbage!")) }, ErrProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			started := make(chan struct{})
			plane := faultyPlane{Plane: toy{"toy"}, faults: faults{open: func() { close(started); hang() }}}
			in, w := io.Pipe()
			out := &lockedBuffer{}
			go func() {
				w.Write(hello)
				out.wait(1)
				w.Write(open)
				<-started
				tt.then(w)
			}()
			err := serveTo(t, in, out, func(string) coreml.Plane { return plane })
			assert.ErrorIs(t, err, ErrAbandoned)
			assert.ErrorIs(t, err, tt.want)
			assert.ErrorContains(t, err, "during open")
		})
	}
	_, err := serve(t, bytes.NewReader(hello[:5]))
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// TestServeIsCancelled at rest and at work.
func TestServeIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	in, w := io.Pipe()
	defer w.Close()
	time.AfterFunc(10*time.Millisecond, cancel)
	err := Serve(ctx, in, io.Discard, nil, func(name string) (coreml.Plane, error) { return toy{name}, nil })
	assert.ErrorIs(t, err, context.Canceled)
}

func TestLastWords(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "\n", ""},
		{"last lines", "1\n2\n3\n4\n5\n\n7\n8\n", "3 | 4 | 5 | 7 | 8"},
		{"panic", "a\nb\npanic: oh\n\ngoroutine 1 [running]:\nmain.main()\n" + string(bytes.Repeat([]byte("x\n"), 50)), "panic: oh | goroutine 1 [running]: | main.main() | x | x"},
		{"exception", "a\n2026 lockstep[1:2] *** Terminating app due to uncaught exception 'X'\nSIGABRT: abort\nPC=1\n\nr0\nr1\nr2\nr3\nr4\n", "2026 lockstep[1:2] *** Terminating app due to uncaught exception 'X' | SIGABRT: abort | PC=1 | r0 | r1"},
		{"not text", "a\xffb", "a?b"},
	} {
		var log tail
		_, err := io.WriteString(&log, tt.text)
		require.NoError(t, err)
		assert.Equal(t, tt.want, log.lastWords(), tt.name)
	}
	var log tail
	for range 3 {
		log.Write(bytes.Repeat([]byte("x"), keptLog-1))
	}
	assert.Len(t, log.kept, keptLog)
	assert.Len(t, log.lastWords(), quotedWidth)
}
