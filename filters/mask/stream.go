package mask

import (
	"bytes"
	"encoding/binary"
	"hash"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// piece is how many bytes are looked at before they are moved on: the buffer of a stream stays this
// small, and in the processor's first cache.
const piece = 4 << 10

// A Stream masks one direction of one channel. It is not safe for concurrent use, but for [Stream.Typed].
type Stream struct {
	e     *Engine
	style Style
	off   []bool // by detector.id; nil: none
	all   bool   // everything is unmasked
	onHit func(Hit)
	hide  func(offset int64) // told of every byte that becomes a star; for Screen
	hits  []uint64
	lost  uint64 // Expire masked something

	buf   []byte // plain projection: context, then what is not yet out
	out   int    // buf[:out] has been shown or masked
	pos   int    // the next anchor to look at
	floor int    // end of the last match
	hot   int    // buf[hot:] is masked if time runs out
	marks marks  // of what is being looked at
	w     window // of the last look; here so that it is not allocated
	esc   []byte // an escape that is not complete

	inserts   []insert // escapes; those from insHead on are not yet out
	aside     []byte   // their bytes
	insHead   int
	asideHead int

	run    *detector // of the value that is being followed
	runLen int
	runMAC hash.Hash // style Token: of that value
	toks   []byte    // scratch

	base      int64 // plain bytes dropped from the front of buf
	lines     int64 // newlines before counted
	lineStart int64 // plain offset of the start of that line
	counted   int64 // plain offset up to which lines were counted
	table     table
	echo      echo
}

// Stream makes the state of one stream.
func (e *Engine) Stream(o StreamOptions) *Stream {
	s := &Stream{e: e, style: o.Style, onHit: o.OnHit, hits: make([]uint64, len(e.detectors))}
	if s.style == 0 {
		s.style = e.style
	}
	if s.style == Token && len(e.mac.key) == 0 {
		s.style = Stars
	}
	for _, n := range o.Unmask {
		s.all = s.all || n == All
	}
	if len(o.Unmask) > 0 {
		s.off = make([]bool, len(e.detectors))
		for i, d := range e.detectors {
			s.off[i] = slices.Contains(o.Unmask, d.name)
		}
	}
	s.reset()
	return s
}

// reset puts a newline before the stream's first byte, so that every byte has one before it.
func (s *Stream) reset() {
	s.buf = append(s.buf[:0], '\n')
	s.out, s.pos, s.floor, s.base = 1, 0, 1, -1
	s.lines, s.lineStart, s.counted = 0, 0, 0
	s.table = table{}
}

// Append appends to dst what may now be shown of the stream, to which p is the next chunk.
func (s *Stream) Append(dst, p []byte) []byte {
	if s.all {
		return append(dst, p...)
	}
	echoed := s.echo.match(p)
	for len(p) > 0 {
		n := min(len(p), piece)
		if len(s.esc) == 0 && bytes.IndexByte(p[:n], esc) < 0 {
			s.buf = append(s.buf, p[:n]...)
		} else {
			s.project(p[:n])
		}
		p = p[n:]
		dst = s.advance(dst, echoed && len(p) == 0, false)
		if len(s.buf) > piece {
			s.compact()
		}
	}
	return dst
}

// Held is the number of bytes that wait for others to decide.
func (s *Stream) Held() int {
	n := len(s.buf) - s.out
	for _, i := range s.inserts[s.insHead:] {
		n += i.n
	}
	return n
}

// Patience is how long a caller should wait for more bytes before it calls Expire: 0 if nothing is
// held, [WarmWait] or [HotWait].
func (s *Stream) Patience() time.Duration {
	switch {
	case s.Held() == 0:
		return 0
	case s.hot < len(s.buf):
		return HotWait
	}
	return WarmWait
}

// Expire appends what is held, masked from the end of the public prefix on. The value is still followed:
// if what comes next shows that it is one, the rest of it is masked as well.
func (s *Stream) Expire(dst []byte) []byte {
	if s.Held() == 0 {
		return dst
	}
	dst = s.plainTo(dst, max(s.out, min(s.hot, len(s.buf))))
	if s.out < len(s.buf) {
		s.lost++
		dst = s.starsTo(dst, len(s.buf), undecidedKeep, len(s.buf), false)
	}
	return s.putBack(dst, len(s.buf)+1)
}

var undecidedKeep = bytesOf(" \t\r\n\x1b")

// Close decides on what is held and appends it. The stream can then be used for another.
func (s *Stream) Close(dst []byte) []byte {
	if s.all {
		return dst
	}
	dst = s.advance(dst, false, true)
	dst = s.putBack(dst, len(s.buf)+1)
	dst = append(dst, s.esc...)
	s.esc = s.esc[:0]
	s.reset()
	return dst
}

// Whole is Append and Close in one: p is all of a stream. For short values it is twice as fast.
func (s *Stream) Whole(dst, p []byte) []byte {
	if s.all || len(p) > piece || len(s.buf) > 1 || len(s.esc) > 0 || bytes.IndexByte(p, esc) >= 0 {
		return s.Close(s.Append(dst, p))
	}
	s.buf = append(s.buf, p...)
	dst = s.advance(dst, false, true)
	s.reset()
	return dst
}

// Hits are the values masked so far. "undecided" counts those that Expire masked.
func (s *Stream) Hits() Hits {
	h := Hits{}
	for i, n := range s.hits {
		if n > 0 {
			h[s.e.detectors[i].name] += n
		}
	}
	if s.lost > 0 {
		h["undecided"] = s.lost
	}
	return h
}

// advance looks at the bytes that have not been looked at, and appends what is decided.
func (s *Stream) advance(dst []byte, echoed, final bool) []byte {
	hold, hot := len(s.buf), len(s.buf)
	w := &s.w
	w.b, w.final, w.table = s.buf, final, &s.table
	s.look()
	for {
		if s.run != nil {
			if dst, hold = s.follow(dst, w); s.run != nil {
				hot = hold
				break
			}
			hold = len(s.buf)
		}
		s.pos = s.e.next(s.buf, s.pos, &s.marks)
		if len(s.table.spans) > 0 && s.pos >= s.table.spans[0].from-1 {
			dst = s.cell(dst)
			continue
		}
		if s.pos+1 >= len(s.buf) {
			break
		}
		w.floor = s.floor
		m, d := s.ask(w, s.pos)
		if m.verdict == yes {
			dst = s.hit(dst, d, m)
			continue
		}
		if m.verdict == more {
			hold, hot = s.waiting(w)
			break
		}
		s.pos++
	}
	if final {
		return s.plainTo(dst, len(s.buf))
	}
	if t := s.tail(); t < hot && !echoed {
		hold = min(hold, t)
	}
	if echoed {
		hold = max(hold, hot)
	}
	s.hot = hot
	return s.plainTo(dst, hold)
}

// look marks where anchors may be in what has not been looked at.
func (s *Stream) look() {
	if s.e.probe == nil {
		s.marks.to = 0
		return
	}
	s.marks.look(s.e.probe, s.buf, s.pos)
}

// cell masks the next field of a row.
func (s *Stream) cell(dst []byte) []byte {
	m := s.table.spans[0]
	s.table.spans = s.table.spans[1:]
	if m.from = max(m.from, s.floor); m.from >= m.to { // a detector was here before
		return dst
	}
	m.show = m.from
	s.pos = m.from - 1
	return s.hit(dst, s.e.fields.own, m)
}

// ask asks the detectors of the anchor at i.
func (s *Stream) ask(w *window, i int) (match, *detector) {
	group := s.e.groups[s.e.table[binary.LittleEndian.Uint16(w.b[i:])]]
	for k := range group {
		a := &group[k]
		if s.off != nil && s.off[a.d.id] || !a.at(w.b, i) {
			continue
		}
		if m := a.d.find(w, i); m.verdict != no {
			return m, a.d
		}
	}
	return match{}, nil
}

// waiting returns where bytes begin to wait, and where Expire masks, when the anchor at s.pos is undecided.
// What else may be found there or later counts as well: were the first a no, it would be next.
func (s *Stream) waiting(w *window) (hold, hot int) {
	hold, hot = len(w.b), len(w.b)
	w.ahead = true
	defer func() { w.ahead = false }()
	if t := s.table.spans; len(t) > 0 {
		hold, hot = t[0].from, t[0].from
	}
	for i := s.pos; i+1 < len(w.b); i = s.e.next(w.b, i+1, &s.marks) {
		for _, a := range s.e.groups[s.e.table[binary.LittleEndian.Uint16(w.b[i:])]] {
			if s.off != nil && s.off[a.d.id] || !a.at(w.b, i) {
				continue
			}
			switch m := a.d.find(w, i); m.verdict {
			case yes:
				hold, hot = min(hold, s.public(m)), min(hot, m.show)
			case more:
				hold, hot = min(hold, s.public(m)), min(hot, m.warm)
			}
		}
	}
	return hold, max(hold, hot)
}

// public is where m's bytes stop being shown at once.
func (s *Stream) public(m match) int {
	if s.style == Token {
		return m.from
	}
	return m.show
}

// tail returns where the end of the buffer begins to wait: in a rune that is not complete, or in the last word,
// which is the local part of an e-mail address if an "@" follows.
func (s *Stream) tail() int {
	end := len(s.buf)
	if s.buf[end-1] >= utf8.RuneSelf {
		end = s.partialRune()
	}
	whole := end
	if s.style == Token && end == len(s.buf) && s.e.starts[s.buf[end-1]] && end > s.floor {
		return end - 1
	}
	if end > s.floor && s.buf[end-1] == '@' {
		end--
	}
	if end > s.floor && s.buf[end-1] == '"' {
		end--
	}
	i := localStart(s.buf, end, max(s.floor, end-maxLocal-1))
	if i == end || end-i > maxLocal {
		return whole
	}
	if s.style == Token {
		return i
	}
	return i + firstRune(s.buf[i:end])
}

// partialRune returns where a rune begins of which the last bytes are still to come.
func (s *Stream) partialRune() int {
	end := len(s.buf)
	for i := end - 1; i >= max(s.floor, end-utf8.UTFMax+1); i-- {
		if utf8.RuneStart(s.buf[i]) {
			if !utf8.FullRune(s.buf[i:]) {
				return i
			}
			break
		}
	}
	return end
}

// hit masks the value m of d.
func (s *Stream) hit(dst []byte, d *detector, m match) []byte {
	s.hits[d.id]++
	if s.onHit != nil {
		s.report(d, m)
	}
	if s.style == Token && s.out <= m.from {
		dst = s.plainTo(dst, m.from)
		h := s.e.mac.start(d.name)
		s.mac(h, d, s.buf[m.from:m.to])
		if m.runs {
			s.runMAC = h
			dst = s.swallow(dst, m.to)
		} else {
			dst = s.token(dst, d, h, m)
		}
	} else {
		dst = s.plainTo(dst, max(s.out, m.show))
		keep := d.keep
		if m.lines {
			keep = pemKeep
		}
		dst = s.starsTo(dst, m.to, keep, s.tailFrom(d, m), m.number)
	}
	s.floor = m.to
	s.pos = max(s.pos+1, m.to-1)
	if m.runs {
		s.run, s.runLen = d, 0
	}
	return dst
}

func (s *Stream) token(dst []byte, d *detector, h hash.Hash, m match) []byte {
	if m.number {
		dst = append(dst, '"')
	}
	dst = appendToken(dst, d.name, h)
	if m.number {
		dst = append(dst, '"')
	}
	return s.swallow(dst, m.to)
}

// mac adds value to h in the form that equal values share.
func (s *Stream) mac(h hash.Hash, d *detector, value []byte) {
	if d.norm != nil {
		s.toks = d.norm(s.toks[:0], value)
		value = s.toks
	}
	h.Write(value)
	clear(s.toks)
}

// tailFrom is where style Last4 shows the value again.
func (s *Stream) tailFrom(d *detector, m match) int {
	if s.style != Last4 || !d.last4 || m.runs || m.to-m.from < 8 {
		return m.to
	}
	i, n := m.to, 0
	for i > m.show && n < 4 {
		i--
		if d.keep == nil || !d.keep[s.buf[i]] {
			n++
		}
	}
	return i
}

// follow masks what certainly belongs to the value that runs, and returns where the rest waits.
func (s *Stream) follow(dst []byte, w *window) ([]byte, int) {
	i := s.floor
	to, done := s.run.run(w, i, s.runLen)
	s.runLen += to - i
	if s.runMAC != nil {
		s.mac(s.runMAC, s.run, s.buf[i:to])
		dst = s.swallow(dst, to)
	} else {
		dst = s.starsTo(dst, to, s.run.keep, to, false)
	}
	s.floor, s.pos = to, max(s.pos, to-1)
	if done || w.final {
		if s.runMAC != nil {
			dst = appendToken(dst, s.run.name, s.runMAC)
			s.runMAC = nil
		}
		s.run = nil
	}
	return dst, to
}

// plainTo appends the bytes up to to as they are.
func (s *Stream) plainTo(dst []byte, to int) []byte {
	for s.insHead < len(s.inserts) && s.inserts[s.insHead].at <= to {
		at := max(s.inserts[s.insHead].at, s.out)
		dst = append(dst, s.buf[s.out:at]...)
		s.out = at
		dst = s.putBack(dst, at+1)
	}
	if to > s.out {
		dst = append(dst, s.buf[s.out:to]...)
		s.out = to
	}
	return dst
}

// swallow drops the bytes up to to and appends the escapes among them.
func (s *Stream) swallow(dst []byte, to int) []byte {
	dst = s.putBack(dst, to)
	s.out = max(s.out, to)
	return dst
}

// starsTo appends a star for every column of the bytes up to to, but for those in keep and those from
// tail on. In a JSON number the stars are zeros.
func (s *Stream) starsTo(dst []byte, to int, keep *[256]bool, tail int, number bool) []byte {
	star := byte('*')
	if number {
		star = '0'
	}
	for s.out < to {
		dst = s.putBack(dst, s.out+1)
		c := s.buf[s.out]
		switch {
		case s.out >= tail || keep != nil && keep[c] || c == esc:
			dst = append(dst, c)
			s.out++
		case c < utf8.RuneSelf:
			s.hidden(1)
			dst = append(dst, star)
			s.out++
		default:
			r, n := utf8.DecodeRune(s.buf[s.out:to])
			s.hidden(n)
			for range runeColumns(r, n) {
				dst = append(dst, star)
			}
			s.out += n
		}
	}
	return s.putBack(dst, to+1)
}

// hidden tells of the next n bytes.
func (s *Stream) hidden(n int) {
	if s.hide == nil {
		return
	}
	for i := range n {
		s.hide(s.base + int64(s.out+i))
	}
}

// runeColumns is how many columns a terminal gives r, which was n bytes long; a byte that is no UTF-8
// is shown as one replacement character.
func runeColumns(r rune, n int) int {
	if r == utf8.RuneError && n == 1 {
		return 1
	}
	return runewidth.RuneWidth(r)
}

// compact drops what nobody will look at again.
func (s *Stream) compact() {
	k := min(s.out, s.pos, s.floorNeed()) - lookback
	if k <= 0 {
		return
	}
	if s.onHit != nil {
		s.countLines(s.base + int64(k))
	}
	s.buf = s.buf[:copy(s.buf, s.buf[k:])]
	s.out, s.pos, s.hot, s.base = s.out-k, s.pos-k, s.hot-k, s.base+int64(k)
	s.floor = max(0, s.floor-k)
	for i := range s.inserts[s.insHead:] {
		s.inserts[s.insHead+i].at -= k
	}
}

func (s *Stream) floorNeed() int {
	if s.run != nil {
		return s.floor
	}
	return s.pos
}

// report tells the caller of a hit.
func (s *Stream) report(d *detector, m match) {
	at := s.base + int64(m.from)
	s.countLines(at)
	s.onHit(Hit{Detector: d.name, Offset: at, Line: s.lines + 1, Column: at - s.lineStart + 1, Length: m.to - m.from})
}

// countLines counts the newlines before plain offset to.
func (s *Stream) countLines(to int64) {
	for i := max(s.counted, s.base, 0); i < to; i++ {
		if s.buf[i-s.base] == '\n' {
			s.lines++
			s.lineStart = i + 1
		}
	}
	s.counted = max(s.counted, to)
}

// echo remembers what a person typed, to know its echo.
type echo struct {
	mu    sync.Mutex
	typed [64]byte
	n     int
}

// Typed tells the stream what the person at the other end has just typed. Its echo is then shown at
// once where only a last word would wait: they know it already. Safe for concurrent use.
func (s *Stream) Typed(p []byte) {
	e := &s.echo
	e.mu.Lock()
	defer e.mu.Unlock()
	if over := len(p) - len(e.typed); over > 0 {
		p = p[over:]
	}
	if over := e.n + len(p) - len(e.typed); over > 0 {
		e.n = copy(e.typed[:], e.typed[over:e.n])
	}
	e.n += copy(e.typed[e.n:], p)
}

// match says whether p is the echo of something typed, and forgets what was typed up to it.
func (e *echo) match(p []byte) bool {
	if len(p) == 0 || len(p) > len(e.typed) {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	k := bytes.Index(e.typed[:e.n], p)
	if k < 0 {
		return false
	}
	e.n = copy(e.typed[:], e.typed[k+len(p):e.n])
	clear(e.typed[e.n:])
	return true
}
