package worker

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"lockstep/coreml"
)

func frameOf(t testing.TB, message any) []byte {
	t.Helper()
	frame, err := appendFrame(nil, message, maxReply)
	require.NoError(t, err)
	return frame
}

func sampleRequests() []request {
	return []request{
		{Seq: 1, Op: opHello, Plane: "toy"},
		{Seq: 2, Op: opOpen, Dir: "a <b> & \"c\".mlpackage"},
		{Seq: 3, Op: opMap, Bytes: smallestRegion},
		{Seq: 4, Op: opLoad, Function: "t1"},
		{Seq: 5, Op: opState},
		{Seq: 6, Op: opWrite, State: 1, Name: "k", Values: &span{At: 64, Count: 4}},
		{
			Seq: 7, Op: opPredict, Function: "t1", State: 1, Inputs: []port{{"x", []int{1, 1}, span{0, 1}}},
			Outputs: []port{{"hidden", []int{1, 1}, span{64, 1}}},
		},
		{Seq: 8, Op: opRead, State: 1, Name: "k", Values: &span{Count: 4}},
		{Seq: 9, Op: opPlan, Function: "t1", Drop: []uint64{1}},
		{Seq: 10, Op: opClose},
	}
}

func TestFramesRoundTrip(t *testing.T) {
	var stream []byte
	for _, r := range sampleRequests() {
		stream = append(stream, frameOf(t, &r)...)
	}
	from := bytes.NewReader(stream)
	for _, want := range sampleRequests() {
		var got request
		require.NoError(t, readFrame(from, &got, maxRequest))
		require.Equal(t, want, got)
	}
	assert.ErrorIs(t, readFrame(from, &request{}, maxRequest), io.EOF)
}

// TestFramesAreStrict: a frame that differs from what this version writes is an
// error, and a stream that ends inside one is not one that has ended.
func TestFramesAreStrict(t *testing.T) {
	sound := frameOf(t, &reply{Seq: 1})
	payload := func(text string) []byte {
		frame, err := appendFrame(nil, json.RawMessage(text), maxReply)
		require.NoError(t, err)
		return frame
	}
	for name, text := range map[string][]byte{
		"other magic":   append([]byte{'A'}, sound[1:]...),
		"other version": append([]byte{magic[0], magic[1], magic[2], 2}, sound[4:]...),
		"too long":      append(append([]byte{}, magic[:]...), 1, 0, 0, 4),
		"repeated key":  payload(`{"seq":2,"seq":1}`),
		"other case":    payload(`{"Seq":1}`),
		"unknown key":   payload(`{"seq":1,"x":1}`),
		"not an object": payload(`[1]`),
		"wrong kind":    payload(`{"seq":"1"}`),
		"null":          payload(`null`),
	} {
		assert.ErrorIs(t, readFrame(bytes.NewReader(text), &reply{}, maxReply), ErrProtocol, name)
	}
	for n := 1; n < len(sound); n++ {
		assert.ErrorIs(t, readFrame(bytes.NewReader(sound[:n]), &reply{}, maxReply), io.ErrUnexpectedEOF, "%d bytes", n)
	}
	_, err := appendFrame(nil, &request{Plane: string(make([]byte, maxRequest))}, maxRequest)
	assert.ErrorIs(t, err, ErrProtocol)
}

func TestSignatureBounds(t *testing.T) {
	assert.ErrorIs(t, checkSignature(nil), ErrProtocol)
	for _, shape := range [][]int{{-1}, {1 << 40}, {1 << 31, 1 << 31, 1 << 31}, {0, -3}} {
		for _, sig := range []coreml.Signature{
			{Inputs: []coreml.Feature{{Name: "f", Shape: shape}}},
			{Outputs: []coreml.Feature{{Name: "f", Shape: shape}}},
			{States: []coreml.Feature{{Name: "f", Shape: shape}}},
		} {
			assert.ErrorIs(t, checkSignature(&sig), ErrProtocol, "%v", shape)
		}
	}
	sig := toyFunction{"t4", 4}.Signature()
	assert.NoError(t, checkSignature(&sig))
}

// FuzzReply reads what a worker might send. What is accepted is what this
// version would have written.
func FuzzReply(f *testing.F) {
	sig := toyFunction{"t4", 4}.Signature()
	for _, r := range []reply{
		{Seq: 1, Plane: "toy"},
		{Seq: 2, Functions: []string{"t1", "t4"}},
		{Seq: 3, Signature: &sig},
		{Seq: 4, Error: &failure{Text: "bad <text>", Is: []string{"non_finite"}}},
		{Seq: 5, State: 7, Plan: &coreml.ComputePlan{Ops: []coreml.PlannedOp{{Op: "conv"}}}},
	} {
		f.Add(frameOf(f, &r))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var r reply
		if err := readFrame(bytes.NewReader(text), &r, maxReply); err != nil {
			return
		}
		again := frameOf(t, &r)
		require.LessOrEqual(t, len(again), len(text))
		require.True(t, bytes.Equal(again, text[:len(again)]))
		if r.Signature != nil && checkSignature(r.Signature) == nil {
			for _, feature := range r.Signature.States {
				n, ok := elements(feature.Shape)
				require.True(t, ok)
				require.True(t, n >= 0 && n <= maxElements)
			}
		}
		if r.Error != nil {
			require.Equal(t, r.Error.Text, r.Error.err().Error())
		}
	})
}

// FuzzServe gives a worker any stream for its input. It answers in frames, one
// for each request that it could read, and ends.
func FuzzServe(f *testing.F) {
	var whole []byte
	for _, r := range sampleRequests() {
		whole = append(whole, frameOf(f, &r)...)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(bytes.Replace(whole, []byte(`"at":64`), []byte(`"at":-1`), 1))
	f.Add(bytes.Replace(whole, []byte(`"count":4`), []byte(`"count":9`), -1))
	f.Add([]byte("hello\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		replies, err := serve(t, &meteredReader{text: text})
		read := 0
		for from := bytes.NewReader(replies.Bytes()); from.Len() > 0; read++ {
			var r reply
			require.NoError(t, readFrame(from, &r, maxReply))
		}
		if err == nil {
			require.Equal(t, frames(text), read)
		}
	})
}

// frames counts the requests of a stream up to the first that is none.
func frames(text []byte) int {
	from := bytes.NewReader(text)
	for n := 0; ; n++ {
		if readFrame(from, &request{}, maxRequest) != nil {
			return n
		}
	}
}
