package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"lockstep/internal/safetensors"
	"lockstep/internal/strictjson"
)

// The names under which a checkpoint directory holds its weights.
const (
	IndexFile  = "model.safetensors.index.json" // names the file of each tensor
	SingleFile = "model.safetensors"            // without an index
)

// maxText bounds config.json and the index; the real model's take 3 and 20 kB.
const maxText = 64 << 20

// shard is one weight file. It is absent (source nil) if the index names a
// file that is not there, which matters only to who asks for its tensors.
type shard struct {
	source  io.ReaderAt
	closer  io.Closer
	tensors map[string]stored // nil if absent
}

// stored is where a shard has a tensor.
type stored struct {
	dtype DType
	shape []int
	begin int64
}

// readText reads a whole regular file of bounded size.
func readText(fsys fs.FS, name string) ([]byte, error) {
	size, err := regular(fsys, name)
	if err != nil {
		return nil, err
	}
	if size > maxText {
		return nil, fmt.Errorf("%s: want at most %d bytes, found %d", name, maxText, size)
	}
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return text, nil
}

// regular returns a regular file's size. Anything else (a directory, a pipe
// that would block) is refused before it is opened.
func regular(fsys fs.FS, name string) (int64, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s: want a regular file, found mode %s", name, info.Mode())
	}
	return info.Size(), nil
}

// openWeights opens a weight file, to be read at any place, and tells its size.
func openWeights(fsys fs.FS, name string) (*shard, int64, error) {
	size, err := regular(fsys, name)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrTensor, err)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrTensor, err)
	}
	source, ok := f.(io.ReaderAt)
	if !ok {
		f.Close()
		return nil, 0, &TensorError{File: name, Field: "file", Want: "a file that can be read at any place", Found: fmt.Sprintf("%T", f)}
	}
	return &shard{source: source, closer: f, tensors: map[string]stored{}}, size, nil
}

// openShard opens a safetensors file and parses its header.
func openShard(fsys fs.FS, name string) (*shard, error) {
	s, size, err := openWeights(fsys, name)
	if err != nil {
		return nil, err
	}
	header, err := safetensors.Parse(s.source, size, name)
	if err != nil {
		s.closer.Close()
		return nil, fmt.Errorf("%w: %w", ErrTensor, err)
	}
	for _, t := range header.Tensors {
		s.tensors[t.Name] = stored{dtype: DType(t.DType), shape: t.Shape, begin: t.Begin}
	}
	return s, nil
}

// allIn places every tensor of s in file.
func allIn(file string, s *shard) map[string]string {
	where := make(map[string]string, len(s.tensors))
	for name := range s.tensors {
		where[name] = file
	}
	return where
}

// readIndex reads the index: the file of each tensor.
func readIndex(fsys fs.FS) (map[string]string, error) {
	text, err := readText(fsys, IndexFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTensor, err)
	}
	return parseIndex(text)
}

func parseIndex(text []byte) (map[string]string, error) {
	top, err := strictjson.Object(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", IndexFile, ErrTensor, err)
	}
	entries, ok := top["weight_map"].(map[string]any)
	if !ok || len(entries) == 0 {
		return nil, &TensorError{File: IndexFile, Field: "weight_map", Want: "an object that names each tensor's file", Found: strictjson.Describe(top["weight_map"])}
	}
	out := make(map[string]string, len(entries))
	for _, tensor := range sortedKeys(entries) {
		file, ok := entries[tensor].(string)
		if !ok || !plainName(file) {
			return nil, &TensorError{File: IndexFile, Tensor: tensor, Field: "weight_map", Want: "the name of a .safetensors file in the same directory", Found: strictjson.Describe(entries[tensor])}
		}
		out[tensor] = file
	}
	return out, nil
}

// plainName admits a safetensors file of the checkpoint's own directory.
func plainName(file string) bool {
	return fs.ValidPath(file) && !strings.ContainsAny(file, `/\:`) && !strings.ContainsRune(file, 0) &&
		strings.HasSuffix(file, ".safetensors")
}

// openFiles opens what the directory holds and returns the shards by file name
// and the file of each tensor.
func openFiles(fsys fs.FS) (shards map[string]*shard, where map[string]string, err error) {
	shards = map[string]*shard{}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(shards))
			shards = nil
		}
	}()
	indexed, err := exists(fsys, IndexFile)
	if err != nil {
		return shards, nil, err
	}
	single, err := exists(fsys, SingleFile)
	if err != nil {
		return shards, nil, err
	}
	switch {
	case indexed:
		where, err = openIndexed(fsys, shards, single)
	case single:
		where, err = openSingle(fsys, shards)
	default:
		err = &TensorError{File: IndexFile, Field: "file", Want: "it or " + SingleFile + " beside " + ConfigFile, Found: "neither"}
	}
	return shards, where, err
}

func exists(fsys fs.FS, name string) (bool, error) {
	_, err := fs.Stat(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrTensor, err)
	}
	return true, nil
}

func openSingle(fsys fs.FS, shards map[string]*shard) (map[string]string, error) {
	s, err := openShard(fsys, SingleFile)
	if err != nil {
		return nil, err
	}
	shards[SingleFile] = s
	return allIn(SingleFile, s), nil
}

func openIndexed(fsys fs.FS, shards map[string]*shard, single bool) (map[string]string, error) {
	where, err := readIndex(fsys)
	if err != nil {
		return nil, err
	}
	files := slices.Compact(slices.Sorted(maps.Values(where)))
	if single && !slices.Contains(files, SingleFile) {
		return nil, &TensorError{File: SingleFile, Field: "file", Want: "one checkpoint in the directory", Found: "it beside " + IndexFile + ", which does not name it"}
	}
	for _, file := range files {
		there, err := exists(fsys, file)
		if err != nil {
			return nil, err
		}
		if !there {
			shards[file] = &shard{}
			continue
		}
		if shards[file], err = openShard(fsys, file); err != nil {
			delete(shards, file)
			return nil, err
		}
	}
	return where, checkIndex(shards, where)
}

// checkIndex wants the index and the files that are there to say the same: a
// tensor of the index is in its file, and a file's tensor is in the index
// under that file.
func checkIndex(shards map[string]*shard, where map[string]string) error {
	for _, tensor := range slices.Sorted(maps.Keys(where)) {
		file := where[tensor]
		if s := shards[file]; s.tensors != nil {
			if _, ok := s.tensors[tensor]; !ok {
				return &TensorError{File: file, Tensor: tensor, Field: "name", Want: "the tensor that " + IndexFile + " places here", Found: "none"}
			}
		}
	}
	for _, file := range slices.Sorted(maps.Keys(shards)) {
		for _, tensor := range slices.Sorted(maps.Keys(shards[file].tensors)) {
			switch owner, ok := where[tensor]; {
			case !ok:
				return &TensorError{File: file, Tensor: tensor, Field: "weight_map", Want: "a place for it in " + IndexFile, Found: "none"}
			case owner != file:
				return &TensorError{File: file, Tensor: tensor, Field: "weight_map", Want: "each tensor in one file", Found: "it here, and in " + owner + " by " + IndexFile}
			}
		}
	}
	return nil
}

func closeAll(shards map[string]*shard) error {
	var errs []error
	for _, file := range slices.Sorted(maps.Keys(shards)) {
		if c := shards[file].closer; c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
