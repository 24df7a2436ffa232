package mlpackage

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"lockstep/internal/mlpackage/milpb"
)

// maxDepth bounds the nesting of messages. A program's deepest value, an
// inline literal's dimension, lies 12 messages deep; the rest is for program
// attributes.
const maxDepth = 64

// MaxModelBytes bounds model.mlmodel, which is read whole. Weights do not
// count: they lie in the weight file.
const MaxModelBytes = 256 << 20

// EncodeModel returns the bytes of model.mlmodel. Equal models give equal
// bytes: map entries are sorted by key.
func EncodeModel(m *Model) ([]byte, error) {
	message, err := encodeModel(m)
	if err != nil {
		return nil, err
	}
	return marshal(message)
}

// DecodeModel is the inverse of EncodeModel. It refuses whatever a Model
// cannot hold, unknown fields and fields given twice included; see ErrWire,
// ErrUnsupported and ErrConvention.
func DecodeModel(data []byte) (*Model, error) {
	if len(data) > MaxModelBytes {
		return nil, modelError(ErrWire, "size", fmt.Sprintf("at most %d bytes", MaxModelBytes), "%d", len(data))
	}
	message := new(milpb.Model)
	if err := unmarshal(data, message, ""); err != nil {
		return nil, err
	}
	return decodeModel(message)
}

// marshal serializes a message with sorted map entries. The protobuf module's
// determinism holds for one version of that module, which go.mod pins; a test
// pins the bytes.
func marshal(message proto.Message) ([]byte, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return nil, modelError(ErrWire, "message", "valid UTF-8 in every string", "%v", err)
	}
	return data, nil
}

// unmarshal parses data strictly into message. Where names what data is the
// value of, for errors; it is empty for the whole model.
func unmarshal(data []byte, message proto.Message, where string) error {
	field := where
	if field == "" {
		field = "model"
	}
	if err := (proto.UnmarshalOptions{RecursionLimit: maxDepth}).Unmarshal(data, message); err != nil {
		return modelError(ErrWire, field, "a protobuf message", "%v", err)
	}
	if err := (scanner{where}).scan(data, message.ProtoReflect().Descriptor(), nil); err != nil {
		return err
	}
	// What is left are default values, overlong integers and the like, which
	// no writer makes; a message of another size has them.
	if size := proto.Size(message); size != len(data) {
		return modelError(ErrWire, field, "canonical form",
			"%d bytes that encode again as %d", len(data), size)
	}
	return nil
}
