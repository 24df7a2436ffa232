package worker

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ErrProtocol means that the other end sent what this version would not have
// sent.
var ErrProtocol = errors.New("the other end does not keep to the protocol")

// A frame is a header of headerBytes bytes, the magic and the payload's length
// as a little-endian uint32, and the payload, a message in JSON.
const headerBytes = 8

// magic is four bytes that no line of text begins with; the last one is the
// protocol's version.
var magic = [4]byte{0xA7, 'l', 's', 1}

// The longest payloads. A request has some hundred bytes for each tensor; the
// longest reply is the compute plan of a shard with some ten thousand ops.
const (
	maxRequest = 1 << 20
	maxReply   = 64 << 20
)

// appendFrame appends the frame of message.
func appendFrame(to []byte, message any, limit int) ([]byte, error) {
	payload, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	if len(payload) > limit {
		return nil, fmt.Errorf("%w: want a payload of at most %d bytes, found %d", ErrProtocol, limit, len(payload))
	}
	to = append(to, magic[:]...)
	to = binary.LittleEndian.AppendUint32(to, uint32(len(payload)))
	return append(to, payload...), nil
}

// readFrame reads one frame into message. It is io.EOF where the stream ends
// between two frames, and io.ErrUnexpectedEOF inside one.
func readFrame(from io.Reader, message any, limit int) error {
	var header [headerBytes]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return err
	}
	if !bytes.Equal(header[:3], magic[:3]) {
		return fmt.Errorf("%w: want a frame, found %q", ErrProtocol, header[:])
	}
	if header[3] != magic[3] {
		return fmt.Errorf("%w: want version %d, found %d", ErrProtocol, magic[3], header[3])
	}
	n := int64(binary.LittleEndian.Uint32(header[4:]))
	if n > int64(limit) {
		return fmt.Errorf("%w: want a payload of at most %d bytes, found %d", ErrProtocol, limit, n)
	}
	var payload bytes.Buffer // grows with what comes, not with what is announced
	if _, err := io.CopyN(&payload, from, n); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return decode(payload.Bytes(), message)
}

// decode reads a payload that must be, byte for byte, what this version writes:
// that leaves no room for an unknown or repeated key or for bytes after the end.
func decode(payload []byte, message any) error {
	if err := json.Unmarshal(payload, message); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	again, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if !bytes.Equal(again, payload) {
		return fmt.Errorf("%w: want %q, found %q", ErrProtocol, excerptOf(again), excerptOf(payload))
	}
	return nil
}

// excerptOf is the beginning of a payload, for a message.
func excerptOf(payload []byte) []byte { return payload[:min(len(payload), 80)] }
