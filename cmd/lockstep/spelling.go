package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"lockstep/internal/tokenizer"
)

// byteVocabulary is the vocabulary of models whose tokens are bytes.
const byteVocabulary = 256

// spelling turns text into a model's tokens and back.
type spelling interface {
	// encode fails with tokenizer.ErrText on text that has no tokens.
	encode(text string) ([]int, error)
	// stream begins a text that comes token by token.
	stream() textStream
	// text is what all the tokens of a result spell, the last of which may be a
	// stop token; nil if they spell none.
	text(ids []int, stopped bool) *string
}

// textStream is what is printed of tokens as they come.
type textStream interface {
	next(id int) string
	stop(id int) string // in place of next, for a token that ends the text
	end() string        // what still waits for more
}

// chooseSpelling takes the tokenizer.json in the checkpoint's directory, else
// bytes if the vocabulary is theirs, else none.
func chooseSpelling(directory string, vocab int) (spelling, error) {
	if directory != "" {
		tok, err := readTokenizer(filepath.Join(directory, tokenizer.File), vocab)
		switch {
		case err != nil:
			return nil, err
		case tok != nil:
			return tokenizerText{tok}, nil
		}
	}
	if vocab == byteVocabulary {
		return byteText{}, nil
	}
	return noText{directory, vocab}, nil
}

// readTokenizer reads a tokenizer.json for a model of that vocabulary; nil if
// there is no such file.
func readTokenizer(path string, vocab int) (*tokenizer.Tokenizer, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	tok, err := tokenizer.Parse(path, text)
	if err != nil {
		return nil, fmt.Errorf("%w (--prompt-ids without --checkpoint needs no tokenizer)", err)
	}
	if highest := tok.Highest(); highest >= vocab {
		return nil, fmt.Errorf("%s: %w: want ids below the model's vocabulary of %d, found %d", path, tokenizer.ErrFormat, vocab, highest)
	}
	return tok, nil
}

// tokenizerText is text by a tokenizer.json.
type tokenizerText struct{ *tokenizer.Tokenizer }

func (t tokenizerText) encode(text string) ([]int, error) { return t.Encode(text) }

func (t tokenizerText) stream() textStream { return tokenizerStream{t.Decoder()} }

// text leaves out the stop token, which is a sign rather than text.
func (t tokenizerText) text(ids []int, stopped bool) *string {
	if stopped {
		ids = ids[:len(ids)-1]
	}
	text := t.Decode(ids)
	return &text
}

type tokenizerStream struct{ *tokenizer.Decoder }

func (s tokenizerStream) next(id int) string { return s.Next(id) }
func (tokenizerStream) stop(int) string      { return "" }
func (s tokenizerStream) end() string        { return s.End() }

// byteText is text whose bytes are the tokens.
type byteText struct{}

func (byteText) encode(text string) ([]int, error) {
	ids := make([]int, len(text))
	for i := range ids {
		ids[i] = int(text[i])
	}
	return ids, nil
}

func (b byteText) stream() textStream { return b }
func (byteText) next(id int) string   { return string([]byte{byte(id)}) }
func (byteText) stop(int) string      { return "" }
func (byteText) end() string          { return "" }

func (byteText) text(ids []int, _ bool) *string {
	bytes := make([]byte, len(ids))
	for i, id := range ids {
		bytes[i] = byte(id)
	}
	text := string(bytes)
	return &text
}

// noText is for a vocabulary that nothing spells: numbers are printed.
type noText struct {
	directory string // of the checkpoint, if it was named
	vocab     int
}

func (n noText) encode(string) ([]int, error) {
	found := fmt.Sprintf("a vocabulary of %d", n.vocab)
	if n.directory != "" {
		return nil, &flagError{"--prompt", "a " + tokenizer.File + " in " + n.directory + "; without one, give token ids by --prompt-ids", "none, and " + found}
	}
	want := fmt.Sprintf("a model whose tokens are the %d bytes; for another, name the directory of its %s by --checkpoint, or use --prompt-ids", byteVocabulary, tokenizer.File)
	return nil, &flagError{"--prompt", want, found}
}

func (n noText) stream() textStream     { return n }
func (noText) next(id int) string       { return strconv.Itoa(id) + " " }
func (n noText) stop(id int) string     { return n.next(id) }
func (noText) end() string              { return "" }
func (noText) text([]int, bool) *string { return nil }
