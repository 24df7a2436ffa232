package checkpoint

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Checkpoint is an open checkpoint. Its methods may be called by several
// goroutines at a time, except Close.
type Checkpoint struct {
	form   form
	config Config
	digest string
	shards map[string]*shard // by file name
	where  map[string]string // tensor name to file name
}

// form is how a container spells things.
type form struct {
	config string   // the file that has the config
	keys   spelling // of the config's keys
	names  names    // of the tensors
	dtypes string   // that weights can have, for messages
}

// OpenPath opens a checkpoint as [OpenDir] does if path is a directory, else
// as a GGUF file.
func OpenPath(path string) (*Checkpoint, error) {
	dir, err := isDir(path)
	if err != nil {
		return nil, err
	}
	if dir {
		return OpenDir(path)
	}
	c, err := OpenGGUF(os.DirFS(filepath.Dir(path)), filepath.Base(path))
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", path, err)
	}
	return c, nil
}

func isDir(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, fmt.Errorf("checkpoint: %w: %w", ErrConfig, err)
	}
	return info.IsDir(), nil
}

// OpenDir opens the safetensors checkpoint in a directory.
func OpenDir(dir string) (*Checkpoint, error) {
	ok, err := isDir(dir)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("checkpoint %s: %w: want a directory with %s, found a file", dir, ErrConfig, ConfigFile)
	}
	c, err := Open(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", dir, err)
	}
	return c, nil
}

// Open opens the safetensors checkpoint at the root of fsys, whose files must be
// io.ReaderAt. It reads the config, the index and the headers, checks that
// they agree, and reads no weight. Files that the checkpoint does not name are
// left alone. A file that the index names may be absent; then asking for one
// of its tensors is the error. The caller closes the Checkpoint.
func Open(fsys fs.FS) (*Checkpoint, error) {
	config, digest, err := readConfig(fsys)
	if err != nil {
		return nil, err
	}
	shards, where, err := openFiles(fsys)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{
		form:   form{config: ConfigFile, names: huggingFace, dtypes: "BF16, F16 or F32"},
		config: config, digest: digest, shards: shards, where: where,
	}
	if err := c.checkNames(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// checkNames refuses tensors that the config's model does not have: computing
// without them would give another model than the one stored.
func (c *Checkpoint) checkNames() error {
	for _, name := range slices.Sorted(maps.Keys(c.where)) {
		role, layer, ok := c.form.names.find(name)
		fail := func(want, found string) error {
			return &TensorError{File: c.where[name], Tensor: name, Field: "name", Want: want, Found: found}
		}
		switch {
		case !ok:
			return fail("a tensor of the phi3 architecture without biases", "another name")
		case role.PerLayer() && layer >= c.config.Layers:
			return fail(fmt.Sprintf("a layer below %s %d", c.form.keys.of("num_hidden_layers"), c.config.Layers), fmt.Sprint(layer))
		case role == LMHead && c.config.TieWordEmbeddings:
			return fail("no output projection, since tie_word_embeddings is true", "one")
		}
	}
	return nil
}

// Close closes the files. Tensors must not be read afterwards.
func (c *Checkpoint) Close() error { return closeAll(c.shards) }

// Config is the checked config.
func (c *Checkpoint) Config() Config { return c.config }

// ConfigDigest is the SHA-256 of config.json's bytes in hexadecimal; for a GGUF
// file, of the config.json that its keys stand for ([OpenGGUF]).
func (c *Checkpoint) ConfigDigest() string { return c.digest }

// Tensor finds the tensor of a role; layer is ignored for the roles of the
// whole model. The LM head of a tied model is the embedding. A missing tensor
// or file, a shape other than the config's and an element type that weights
// cannot have are errors that wrap [ErrTensor]; a layer outside the model
// wraps [ErrRange].
func (c *Checkpoint) Tensor(role Role, layer int) (*Tensor, error) {
	switch {
	case role < 0 || int(role) >= roleCount:
		return nil, fmt.Errorf("%w: want a known role, found %s", ErrTensor, role)
	case role.PerLayer() && (layer < 0 || layer >= c.config.Layers):
		return nil, fmt.Errorf("%w: want a layer in [0, %d), found %d", ErrRange, c.config.Layers, layer)
	case role == LMHead && c.config.TieWordEmbeddings:
		role = Embedding
	}
	name := c.form.names.name(role, layer)
	file, ok := c.where[name]
	if !ok {
		return nil, &TensorError{File: c.catalogue(), Tensor: name, Field: "name", Want: "the model's " + role.String(), Found: "no such tensor"}
	}
	s := c.shards[file]
	if s.tensors == nil {
		return nil, &TensorError{File: file, Tensor: name, Field: "file", Want: "the file that " + IndexFile + " names", Found: "no such file"}
	}
	at := s.tensors[name] // checkIndex saw it
	t := &Tensor{Name: name, File: file, DType: at.dtype, Shape: at.shape, source: s.source, begin: at.begin}
	if want := c.config.Shape(role); !slices.Equal(want, t.Shape) {
		return nil, &TensorError{File: file, Tensor: name, Field: "shape", Want: fmt.Sprint(want) + " by " + c.form.config, Found: fmt.Sprint(t.Shape)}
	}
	if n, _ := t.DType.Block(); n == 0 {
		return nil, &TensorError{File: file, Tensor: name, Field: "dtype", Want: c.form.dtypes, Found: string(t.DType)}
	}
	return t, nil
}

// catalogue is the file that says which tensors there are.
func (c *Checkpoint) catalogue() string {
	if c.form.names == ggufNames {
		return c.form.config // all is in one file
	}
	if _, ok := c.shards[SingleFile]; ok && len(c.shards) == 1 {
		return SingleFile
	}
	return IndexFile
}

// RequireLayers wants [start, end) to be a non-empty range of the model's
// layers, and every tensor of it to be there with the config's shape and a
// weight's element type. No value is read.
func (c *Checkpoint) RequireLayers(start, end int) error {
	if start < 0 || start >= end || end > c.config.Layers {
		return fmt.Errorf("%w: want 0 <= start < end <= %d, found [%d, %d)", ErrRange, c.config.Layers, start, end)
	}
	for layer := start; layer < end; layer++ {
		for _, role := range LayerRoles() {
			if _, err := c.Tensor(role, layer); err != nil {
				return fmt.Errorf("layer %d: %w", layer, err)
			}
		}
	}
	return nil
}
