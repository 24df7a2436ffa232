package checkpoint

import (
	"fmt"
	"io/fs"

	"lockstep/internal/gguf"
)

// OpenGGUF opens the GGUF file called name in fsys, which must be io.ReaderAt.
// It reads the header and the RoPE factors, and no weight. The architecture
// must be phi3 with the projections fused, as its conversion writes them, and
// the whole model in one file; weights are F32, F16, BF16 or Q8_0, and asking
// for a tensor of another type is the error. The caller closes the Checkpoint.
//
// The keys are read as the config.json that they stand for, so one model has
// one [Config] in both containers. What GGUF does not say is derived: the
// vocabulary is the embedding's rows, the embedding is tied if there is no
// output.weight, partial_rotary_factor is rope.dimension_count over the head's
// dimensions, and a float32 is its shortest decimal: a number of config.json
// with more than seven digits comes back as its float32. An attn_factor that
// LongRoPE would derive anyway is left out; without one it is derived.
// ConfigDigest is the SHA-256 of that config.json written without spaces, its
// keys sorted: equal keys, equal digest, whatever the weights' type.
func OpenGGUF(fsys fs.FS, name string) (*Checkpoint, error) {
	s, size, err := openWeights(fsys, name)
	if err != nil {
		return nil, err
	}
	c, err := readGGUF(s, size, name)
	if err != nil {
		s.closer.Close() // opened for reading
		return nil, err
	}
	return c, nil
}

func readGGUF(s *shard, size int64, name string) (*Checkpoint, error) {
	header, err := gguf.Parse(s.source, size, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTensor, err)
	}
	keys := ggufSpelling()
	config, digest, err := readGGUFConfig(header, s.source, keys)
	if err != nil {
		return nil, err
	}
	for _, t := range header.Tensors {
		if t.Name != ggufShortFactors && t.Name != ggufLongFactors {
			s.tensors[t.Name] = stored{dtype: DType(t.Type.String()), shape: t.Shape(), begin: t.Begin}
		}
	}
	c := &Checkpoint{
		form:   form{config: name, keys: keys, names: ggufNames, dtypes: "BF16, F16, F32 or Q8_0"},
		config: config, digest: digest,
		shards: map[string]*shard{name: s}, where: allIn(name, s),
	}
	return c, c.checkNames()
}
