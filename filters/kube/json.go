package kube

import (
	"encoding/binary"
	"io"
	"math/bits"
)

// Limits of an answer in JSON.
const (
	maxToken = 16 << 20 // bytes of a string
	maxHeld  = 8 << 20  // bytes that wait for the kind of their object
	maxOpen  = 1000     // objects and arrays in each other
)

// The buffer of a watch, in which little happens, stays small; that of a list soon does not.
const (
	leastBuffer = 4 << 10
	readBuffer  = 64 << 10 // is read into at once; more is for what is held, or one long string
)

// A text is JSON that is read in pieces: what was read and has not been written yet, and what is known of it.
type text struct {
	b      []byte
	pos    int // b[:pos] was read
	want   want
	frames []frame
	tokens []token // of b[:pos], in order
	holds  []hold  // outermost first
	cut    partial // the string in which b ends
	full   bool    // there was more to read than room for it
}

// A token is a member's name with its value, a name alone where an object or array follows, or an element.
type token struct {
	from  int // the first byte, of the name or else of the value
	name  int // behind the name; from if there is none
	value int // the value's first byte; -1 if there is none
	to    int // behind the value, or else behind the name

	renamed []byte // what stands for the name, nil: itself
	shown   []byte // what stands for the value, nil: itself
	line    int    // where it was copied to
	looked  bool   // the value needs no examination
	escaped bool   // the name or the value has escapes
}

// seen is the end of what is to be examined.
func (t *token) seen() int {
	if t.shown != nil || t.looked {
		return t.name
	}
	return t.to
}

// A frame is an object or array that is open.
type frame struct {
	object bool
	known  bool   // the member "kind" was there
	secret bool   // it was "Secret"
	meta   bool   // it is metadata, or within
	hide   []byte // what stands for every value in here, nil: look at them
	prev   []byte // of an array: a flag that was the string before; of an object: the value of its member "name"
}

// A hold is data of an object whose kind is not known yet: members may be sorted by name.
type hold struct {
	depth     int // frames that were open
	from      int // its first byte
	first, to int // its tokens; to is 0 until it is closed
	what      []byte
}

// A partial is a string of which the end has not come.
type partial struct {
	at, read int // its first byte, and where the search for its end goes on
	escaped  bool
}

type want uint8

const (
	wantValue want = iota
	wantValueOrEnd
	wantName
	wantNameOrEnd
	wantCommaOrEnd
)

// A word is a member's name that says what its value is.
type word uint8

const (
	wordOther word = iota
	wordKind
	wordName
	wordValue
	wordData
	wordStringData
	wordMetadata
	wordApplied
)

func wordOf(name []byte) word {
	switch string(name) {
	case `"kind"`:
		return wordKind
	case `"name"`:
		return wordName
	case `"value"`:
		return wordValue
	case `"data"`:
		return wordData
	case `"stringData"`:
		return wordStringData
	case `"metadata"`:
		return wordMetadata
	case lastApplied:
		return wordApplied
	}
	return wordOther
}

func (x *text) begin() {
	x.b, x.pos, x.want = x.b[:0], 0, wantValue
	x.frames, x.tokens, x.holds, x.cut = x.frames[:0], x.tokens[:0], x.holds[:0], partial{}
}

// fill reads the next piece, and says whether it is the last.
func (x *text) fill(src io.Reader) (end bool, err error) {
	if free := cap(x.b) - len(x.b); free < cap(x.b)/2 || free == 0 || x.full && cap(x.b) < readBuffer {
		grown := make([]byte, len(x.b), max(leastBuffer, 2*cap(x.b)))
		copy(grown, x.b)
		x.b = grown
	}
	n, err := src.Read(x.b[len(x.b):cap(x.b)])
	x.b = x.b[:len(x.b)+n]
	x.full = len(x.b) == cap(x.b)
	if err == io.EOF {
		return true, nil
	}
	return false, err
}

// read reads all that has come whole. Last says that no more comes.
func (m *Masker) read(last bool) error {
	for {
		if m.pos = m.space(m.pos); m.pos == len(m.b) {
			return nil
		}
		before := m.pos
		if err := m.step(last); err != nil || m.pos == before {
			return err
		}
	}
}

// step reads what is at pos, and leaves it there if it is not whole.
func (m *Masker) step(last bool) error {
	c := m.b[m.pos]
	switch {
	case m.want == wantCommaOrEnd && c == ',':
		m.pos++
		if m.want = wantValue; m.top().object {
			m.want = wantName
		}
		return nil
	case c == '}' && (m.want == wantCommaOrEnd || m.want == wantNameOrEnd), c == ']' && (m.want == wantCommaOrEnd || m.want == wantValueOrEnd):
		return m.close(c)
	case m.want == wantName || m.want == wantNameOrEnd:
		return m.member(last)
	case m.want == wantValue || m.want == wantValueOrEnd:
		return m.element(last)
	}
	return errSyntax
}

// member reads a name and its value.
func (m *Masker) member(last bool) error {
	end, escaped, err := m.str(m.pos)
	if end == 0 {
		return err
	}
	v := m.space(end)
	if v == len(m.b) {
		return nil
	}
	if m.b[v] != ':' {
		return errSyntax
	}
	if v = m.space(v + 1); v == len(m.b) {
		return nil
	}
	return m.at(token{from: m.pos, name: end, escaped: escaped}, v, wordOf(m.b[m.pos:end]), last)
}

func (m *Masker) element(last bool) error {
	return m.at(token{from: m.pos, name: m.pos}, m.pos, wordOther, last)
}

// at reads the value at v, which is t's.
func (m *Masker) at(t token, v int, w word, last bool) (err error) {
	switch c := m.b[v]; c {
	case '{', '[':
		t.value, t.to = -1, t.name
		if t.name > t.from {
			m.tokens = append(m.tokens, t)
		}
		m.pos = v + 1
		return m.open(c == '{', w)
	case '"':
		var escaped bool
		if t.to, escaped, err = m.str(v); t.to == 0 {
			return err
		}
		t.escaped = t.escaped || escaped
	default:
		if t.to, err = m.bare(v, last); t.to == 0 {
			return err
		}
		t.looked = c != '-' && (c < '0' || c > '9')
	}
	t.value, m.pos, m.want = v, t.to, wantCommaOrEnd
	if len(m.frames) == 0 {
		m.want = wantValue
	}
	m.scalar(&t, w, m.top())
	m.tokens = append(m.tokens, t)
	return nil
}

func (m *Masker) open(object bool, w word) error {
	if len(m.frames) == maxOpen {
		return errDeep
	}
	up := m.top()
	f := frame{object: object, hide: up.hide, meta: up.meta || w == wordMetadata}
	if (w == wordData || w == wordStringData) && up.hide == nil && !up.meta {
		what := hiddenData
		if w == wordStringData {
			what = hiddenString
		}
		switch {
		case m.secrets || up.secret:
			f.hide = what
		case !up.known:
			m.holds = append(m.holds, hold{depth: len(m.frames), from: m.pos, first: len(m.tokens), what: what})
		}
	}
	if n := len(m.frames); n < cap(m.frames) {
		f.prev = m.frames[:n+1][n].prev[:0] // the buffer of what stood there before
	}
	m.frames = append(m.frames, f)
	if m.want = wantValueOrEnd; object {
		m.want = wantNameOrEnd
	}
	return nil
}

func (m *Masker) close(c byte) error {
	f := m.top()
	if f.object != (c == '}') {
		return errSyntax
	}
	secret := f.secret
	m.frames = m.frames[:len(m.frames)-1]
	m.resolve(len(m.frames)+1, secret)
	for i := range m.holds {
		if h := &m.holds[i]; h.depth == len(m.frames) && h.to == 0 {
			h.to = len(m.tokens)
		}
	}
	m.pos++
	if m.want = wantCommaOrEnd; len(m.frames) == 0 {
		m.want = wantValue
	}
	return nil
}

// resolve ends the holds of the object that was opened as frame number depth.
func (m *Masker) resolve(depth int, secret bool) {
	for n := len(m.holds) - 1; n >= 0 && m.holds[n].depth == depth; n-- {
		if secret {
			m.conceal(m.holds[n])
		}
		m.holds = m.holds[:n]
	}
}

// conceal hides every value of h, also those that are still to come.
func (m *Masker) conceal(h hold) {
	to := h.to
	if to == 0 {
		to = len(m.tokens)
		for i := h.depth; i < len(m.frames); i++ {
			m.frames[i].hide = h.what
		}
	}
	for i := h.first; i < to; i++ {
		m.hide(&m.tokens[i], h.what)
	}
}

// top is the innermost frame; outside of all there is one that forgets.
func (m *Masker) top() *frame {
	if len(m.frames) == 0 {
		return &frame{}
	}
	return &m.frames[len(m.frames)-1]
}

func (x *text) space(i int) int {
	for i < len(x.b) && (x.b[i] == ' ' || x.b[i] == '\n' || x.b[i] == '\r' || x.b[i] == '\t') {
		i++
	}
	return i
}

// str returns the end of the string at i and whether it has escapes; 0 if the end has not come or it is none.
func (x *text) str(i int) (end int, escaped bool, err error) {
	if x.b[i] != '"' {
		return 0, false, errSyntax
	}
	n := i + 1
	if x.cut.at == i && x.cut.read > i {
		n, escaped = x.cut.read, x.cut.escaped
	}
	for n = plain(x.b, n); n < len(x.b); n = plain(x.b, n) {
		switch c := x.b[n]; {
		case n-i > maxToken:
			return 0, false, errLarge
		case c == '"':
			return n + 1, escaped, nil
		case c != '\\':
			return 0, false, errSyntax
		case n+1 == len(x.b):
			x.cut = partial{i, n, escaped}
			return 0, false, nil
		}
		n, escaped = n+2, true
	}
	if x.cut = (partial{i, len(x.b), escaped}); n-i > maxToken {
		return 0, false, errLarge
	}
	return 0, false, nil
}

// plain returns where the first quote, backslash or control character is at or after i, eight bytes at a time
// (Hacker's Delight, section 6-1).
func plain(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, backslash := x^ones*'"', x^ones*'\\'
		if at := ((quote-ones)&^quote | (backslash-ones)&^backslash | (x-ones*' ')&^x) & highs; at != 0 {
			return i + bits.TrailingZeros64(at)/8
		}
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' ' {
		i++
	}
	return i
}

// bare returns the end of the number, true, false or null at i; 0 if the end has not come or it is none.
func (x *text) bare(i int, last bool) (int, error) {
	n := i
	for n < len(x.b) && (x.b[n]|0x20 >= 'a' && x.b[n]|0x20 <= 'z' || x.b[n] >= '0' && x.b[n] <= '9' || x.b[n] == '-' || x.b[n] == '+' || x.b[n] == '.') {
		n++
	}
	if n == len(x.b) && !last {
		return 0, nil
	}
	if !isBare(x.b[i:n]) {
		return 0, errSyntax
	}
	return n, nil
}

func isBare(v []byte) bool {
	switch string(v) {
	case "true", "false", "null":
		return true
	}
	for i, c := range v {
		if c < '0' && c != '-' && c != '+' && c != '.' || c > '9' && c|0x20 != 'e' || i == 0 && c != '-' && (c < '0' || c > '9') {
			return false
		}
	}
	return len(v) > 0
}

// flush writes what was read, but for what is held.
func (m *Masker) flush(dst io.Writer) error {
	if len(m.holds) > 0 && m.pos-m.holds[0].from > maxHeld {
		for _, h := range m.holds {
			m.conceal(h)
		}
		m.holds = m.holds[:0]
	}
	to, n := m.pos, len(m.tokens)
	if len(m.holds) > 0 {
		to, n = m.holds[0].from, m.holds[0].first
	}
	if to == 0 {
		return nil
	}
	m.examine(m.tokens[:n])
	_, err := dst.Write(m.written(to, n))
	m.drop(to, n)
	return err
}

// written is b[:to], in which the first n tokens are, with what is shown of them.
func (m *Masker) written(to, n int) []byte {
	out, from := m.out[:0], 0
	for i := range m.tokens[:n] {
		t := &m.tokens[i]
		if t.renamed != nil {
			out = append(append(out, m.b[from:t.from]...), t.renamed...)
			from = t.name
		}
		if t.shown != nil {
			out = append(append(out, m.b[from:t.value]...), t.shown...)
			from = t.to
		}
	}
	if from == 0 {
		return m.b[:to]
	}
	m.out = append(out, m.b[from:to]...)
	return m.out
}

// drop forgets b[:to] and the first n tokens.
func (x *text) drop(to, n int) {
	x.b = x.b[:copy(x.b, x.b[to:])]
	x.pos -= to
	x.cut.at, x.cut.read = x.cut.at-to, x.cut.read-to
	x.tokens = x.tokens[:copy(x.tokens, x.tokens[n:])]
	for i := range x.tokens {
		t := &x.tokens[i]
		t.from, t.name, t.to = t.from-to, t.name-to, t.to-to
		if t.value >= 0 {
			t.value -= to
		}
	}
	for i := range x.holds {
		h := &x.holds[i]
		h.from, h.first = h.from-to, h.first-n
		if h.to > 0 {
			h.to -= n
		}
	}
	if len(x.b) == 0 && cap(x.b) > readBuffer { // something large went by
		x.b, x.tokens = nil, nil
	}
}
