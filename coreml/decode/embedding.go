package decode

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/x448/float16"

	"lockstep/internal/half"
	"lockstep/manifest"
)

// embedding reads rows of the embedding's file: float16, little-endian, one row
// after another.
type embedding struct {
	file  *os.File
	rows  int
	bytes []byte // of one row
}

func openEmbedding(dir string, e manifest.Embedding, hidden int) (*embedding, error) {
	name := filepath.Join(dir, filepath.FromSlash(e.Path))
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	// By division, so that no product can wrap around.
	row := int64(2 * hidden)
	if err == nil && (info.Size()%row != 0 || info.Size()/row != int64(e.Rows) || info.Size() != e.Bytes) {
		err = fmt.Errorf("%s: %w: want %d bytes, %d rows of %d float16 values, found %d bytes", name, ErrIncomplete, e.Bytes, e.Rows, hidden, info.Size())
	}
	if err != nil {
		_ = f.Close() // opened for reading
		return nil, err
	}
	return &embedding{file: f, rows: e.Rows, bytes: make([]byte, row)}, nil
}

// read fills dst with the row of a token.
func (e *embedding) read(dst []float16.Float16, id int) error {
	if id < 0 || id >= e.rows {
		return fmt.Errorf("%w: id %d, want 0 to %d", ErrToken, id, e.rows-1)
	}
	if _, err := e.file.ReadAt(e.bytes, int64(id)*int64(len(e.bytes))); err != nil {
		return fmt.Errorf("embedding of token %d: %w", id, err)
	}
	half.FromBytes(dst, e.bytes)
	return nil
}

func (e *embedding) Close() error { return e.file.Close() }
