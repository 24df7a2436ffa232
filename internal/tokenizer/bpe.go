package tokenizer

// bpe is the model: it merges the bytes of a piece, pair by pair, in the order
// of the merges (Sennrich et al. 2016).
type bpe struct {
	ids          map[string]int // by token, in the byte-level alphabet
	bytes        [256]int       // the token of each byte
	merges       []merge        // by rank
	ranks        map[pair]int
	ignoreMerges bool // a piece that is a token is that token, whatever the merges
}

// pair is two tokens side by side.
type pair struct{ left, right int }

// merge is what a pair becomes.
type merge struct {
	pair
	id int
}

// symbol is a token within a piece; its neighbours are found by place. A symbol
// that became part of its left neighbour is dead.
type symbol struct {
	id         int
	prev, next int // -1 at an end
	dead       bool
}

// appendIDs encodes one piece. It takes time n log n in the piece's bytes: a
// word may be as long as the text.
func (m *bpe) appendIDs(ids []int, piece string, a *alphabet) []int {
	if m.ignoreMerges {
		if id, ok := m.ids[a.spell(piece)]; ok {
			return append(ids, id)
		}
	}
	symbols := make([]symbol, len(piece))
	for i := range symbols {
		symbols[i] = symbol{id: m.bytes[piece[i]], prev: i - 1, next: i + 1}
	}
	if len(symbols) > 0 {
		symbols[len(symbols)-1].next = -1
	}
	m.merge(symbols)
	for _, s := range symbols {
		if !s.dead {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// merge makes every merge there is, the lowest rank first and of equal ranks
// the leftmost. A candidate is out of date once either of its pair has become
// part of another token.
func (m *bpe) merge(symbols []symbol) {
	var q queue
	consider := func(at int) {
		if rank, ok := m.rank(symbols, at); ok {
			q.push(candidate{rank, at})
		}
	}
	for at := range symbols {
		consider(at)
	}
	for len(q) > 0 {
		c := q.pop()
		s := &symbols[c.at]
		if rank, ok := m.rank(symbols, c.at); s.dead || !ok || rank != c.rank {
			continue
		}
		right := &symbols[s.next]
		right.dead = true
		s.id, s.next = m.merges[c.rank].id, right.next
		if s.next >= 0 {
			symbols[s.next].prev = c.at
		}
		if s.prev >= 0 {
			consider(s.prev)
		}
		consider(c.at)
	}
}

// rank is that of the pair that begins at a place.
func (m *bpe) rank(symbols []symbol, at int) (int, bool) {
	next := symbols[at].next
	if next < 0 {
		return 0, false
	}
	rank, ok := m.ranks[pair{symbols[at].id, symbols[next].id}]
	return rank, ok
}

// candidate is a merge that may be made at a place.
type candidate struct{ rank, at int }

func (c candidate) before(d candidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.at < d.at
}

// queue is a binary heap of candidates. container/heap would put each of them
// into an allocation of its own, a million for a long word.
type queue []candidate

func (q *queue) push(c candidate) {
	*q = append(*q, c)
	h := *q
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(h[up]) {
			return
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

// pop takes the first candidate of a queue that is not empty.
func (q *queue) pop() candidate {
	h := *q
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	*q = h
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			return first
		}
		if down+1 < last && h[down+1].before(h[down]) {
			down++
		}
		if !h[down].before(h[i]) {
			return first
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
}
