package tokenizer

import (
	"slices"
	"strings"

	"github.com/dlclark/regexp2/v2"
)

// step is a stage of the pre-tokenizer: it turns one piece into others.
type step interface {
	split(piece string) ([]string, error)
}

// prefixSpace begins every piece with a space.
type prefixSpace struct{}

func (prefixSpace) split(piece string) ([]string, error) {
	if strings.HasPrefix(piece, " ") {
		return []string{piece}, nil
	}
	return []string{" " + piece}, nil
}

// splitter cuts a piece where a pattern matches.
type splitter struct {
	find     func(text string) ([][]int, error) // matches as byte ranges, in order
	behavior string
	invert   bool // what lies between matches counts as the match
}

// The behaviors of Split: what becomes of a match.
const (
	removed            = "Removed"            // it is dropped
	isolated           = "Isolated"           // it is a piece
	contiguous         = "Contiguous"         // it is a piece, with the matches it touches
	mergedWithPrevious = "MergedWithPrevious" // it ends the piece before it
	mergedWithNext     = "MergedWithNext"     // it begins the piece after it
)

var behaviors = []string{removed, isolated, contiguous, mergedWithPrevious, mergedWithNext}

// patternFinder finds a regular expression.
func patternFinder(re *regexp2.Regexp) func(string) ([][]int, error) {
	return func(text string) ([][]int, error) { return matches(re, text) }
}

// textFinder finds a text, which is not empty.
func textFinder(wanted string) func(string) ([][]int, error) {
	return func(text string) ([][]int, error) {
		var found [][]int
		for from := 0; ; {
			at := strings.Index(text[from:], wanted)
			if at < 0 {
				return found, nil
			}
			from += at + len(wanted)
			found = append(found, []int{from - len(wanted), from})
		}
	}
}

// span is a part of a piece.
type span struct {
	from, to int
	match    bool
}

func (s splitter) split(piece string) ([]string, error) {
	found, err := s.find(piece)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range s.behave(s.spans(len(piece), found)) {
		out = append(out, piece[p.from:p.to])
	}
	return out, nil
}

// spans covers a piece with matches and what lies between them.
func (s splitter) spans(size int, found [][]int) []span {
	var spans []span
	end := 0
	add := func(from, to int, match bool) {
		if from < to {
			spans = append(spans, span{from, to, match != s.invert})
		}
	}
	for _, m := range found {
		add(end, m[0], false)
		add(m[0], m[1], true)
		end = m[1]
	}
	add(end, size, false)
	return spans
}

// behave makes pieces of spans.
func (s splitter) behave(spans []span) []span {
	switch s.behavior {
	case removed:
		return slices.DeleteFunc(spans, func(p span) bool { return p.match })
	case contiguous:
		return join(spans, func(before, p span) bool { return before.match == p.match })
	case mergedWithPrevious:
		return join(spans, func(before, p span) bool { return p.match && !before.match })
	case mergedWithNext:
		slices.Reverse(spans)
		spans = join(spans, func(after, p span) bool { return p.match && !after.match })
		slices.Reverse(spans)
	}
	return spans
}

// join unites a span with the neighbour before it in the list where wanted.
// Spans are told apart by what they were, not by what they have become.
func join(spans []span, wanted func(neighbour, p span) bool) []span {
	var out []span
	for i, p := range spans {
		if i > 0 && wanted(spans[i-1], p) {
			last := &out[len(out)-1]
			last.from, last.to = min(last.from, p.from), max(last.to, p.to)
			continue
		}
		out = append(out, p)
	}
	return out
}
