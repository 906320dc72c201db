package postgres

import (
	"bytes"
	"encoding/binary"
)

// Rows come many at once, and in most of their values there is nothing to mask. So they are looked at in blocks: all
// values that can hold something stand one below the other, the engine says where a detector would look closer, and
// only those values are masked, each by itself, as [masker.row] does it. What keeps its length is masked where it
// stands; a row for which that is not possible is made by masker.row.

// A place is a value of a block, or a row of COPY.
type place struct {
	at, n int // in what is looked at
	from  int // in the block
	row   int
	typ   uint32
}

// A block is what is known of rows that are being masked. Its slices are used again.
type block struct {
	looked []byte  // the values, each behind a newline
	places []place // of them, in order
	rows   []int   // where each row begins
	whole  []bool  // the row is made anew
	masked []bool  // something in the row changed, for COPY

	patches []patch // of one row
	patched []byte  // what they put there
}

// A patch puts masked bytes where as many others were.
type patch struct{ from, at, n int }

func (k *block) reset() {
	k.looked, k.places = append(k.looked[:0], '\n'), k.places[:0]
	k.rows, k.whole, k.masked = k.rows[:0], k.whole[:0], k.masked[:0]
}

// row begins one at at.
func (k *block) row(at int) {
	k.rows, k.whole, k.masked = append(k.rows, at), append(k.whole, false), append(k.masked, false)
}

// keep adds a value to what is looked at. It reports false for one that only the slow way can look at: an escape
// sequence may end in another value.
func (k *block) keep(v []byte, from, row int, typ uint32) bool {
	if bytes.IndexByte(v, 0x1b) >= 0 {
		return false
	}
	k.places = append(k.places, place{at: len(k.looked), n: len(v), from: from, row: row, typ: typ})
	k.looked = append(append(k.looked, v...), '\n')
	return true
}

// patch masks the places at which a detector would look closer, each by look, where they stand in m. A row in which one
// changes its length is left as it is, to be made anew: what is masked must not be masked again. It returns how many
// values changed.
func (k *masker) patch(m []byte, look func(p *place, was []byte) []byte) (changed int) {
	b := &k.block
	row := -1
	apply := func() {
		if row >= 0 && !b.whole[row] {
			for _, p := range b.patches {
				copy(m[p.from:], b.patched[p.at:p.at+p.n])
			}
			b.masked[row] = b.masked[row] || len(b.patches) > 0
			changed += len(b.patches)
		}
		b.patches, b.patched = b.patches[:0], b.patched[:0]
	}
	k.suspects(func(p *place) {
		if p.row != row {
			apply()
			row = p.row
		}
		if b.whole[row] {
			return
		}
		was := m[p.from : p.from+p.n]
		switch now := look(p, was); {
		case now == nil || len(now) != len(was):
			b.whole[row] = true
		case !bytes.Equal(was, now):
			b.patches = append(b.patches, patch{p.from, len(b.patched), p.n})
			b.patched = append(b.patched, now...)
		}
	})
	apply()
	return changed
}

// give returns memory that a large block took.
func (k *block) give() {
	if cap(k.looked) > 4*largeBuffer {
		*k = block{}
	}
}

// suspects calls f for every place at which a detector would look closer, in order.
func (k *masker) suspects(f func(p *place)) {
	b := &k.block
	at := k.engine.Next(b.looked, 0)
	for i := range b.places {
		p := &b.places[i]
		if at >= p.at+p.n {
			continue
		}
		if at >= p.at-1 {
			f(p)
		}
		if at < p.at+p.n {
			at = k.engine.Next(b.looked, p.at+p.n)
		}
	}
}

// fast tells whether the rows of p can be masked in blocks.
func (p *plan) fast() bool { return p.known && len(p.columns) > 0 }

// rowsOf masks a block of DataRows, in place as far as possible, and appends it to out. It returns how many rows
// there were and how many values changed.
func (k *masker) rowsOf(out, m []byte, p *plan) ([]byte, int, int, error) {
	b := &k.block
	b.reset()
	masked := 0
	for at := 0; at < len(m); {
		end := at + 1 + int(binary.BigEndian.Uint32(m[at+1:]))
		b.row(at)
		n, ok := k.prepare(m[:end], at, p)
		b.whole[len(b.whole)-1] = !ok
		masked += n
		at = end
	}
	masked += k.patch(m, func(s *place, was []byte) []byte { return k.text(was, s.typ) })
	rows := len(b.rows)
	out, n, err := b.emit(out, m, func(_ int, row []byte) ([]byte, int, error) { return k.row(row, p) })
	b.give()
	return out, rows, masked + n, err
}

// emit appends the rows of m, making those anew that have to be.
func (b *block) emit(out, m []byte, anew func(i int, row []byte) ([]byte, int, error)) ([]byte, int, error) {
	done, masked := 0, 0
	for i, whole := range b.whole {
		if !whole {
			continue
		}
		end := len(m)
		if i+1 < len(b.rows) {
			end = b.rows[i+1]
		}
		row, n, err := anew(i, m[b.rows[i]:end])
		if err != nil {
			return out, 0, err
		}
		out = append(append(out, m[done:b.rows[i]]...), row...)
		done, masked = end, masked+n
	}
	return append(out, m[done:]...), masked, nil
}

// prepare goes through one row of a block, which begins at at and ends with m. It masks protected values where they
// stand, and keeps those that have to be looked at. It reports false when the row has to be made anew; what it has
// masked by then is masked the same again.
func (k *masker) prepare(m []byte, at int, p *plan) (masked int, ok bool) {
	b := &k.block
	places, looked := len(b.places), len(b.looked)
	undo := func() (int, bool) {
		b.places, b.looked = b.places[:places], b.looked[:looked]
		return masked, false
	}
	i := at + header + 2
	if i > len(m) || int(binary.BigEndian.Uint16(m[i-2:])) != len(p.columns) {
		return undo()
	}
	for c := range p.columns {
		if len(m)-i < 4 {
			return undo()
		}
		n := int(int32(binary.BigEndian.Uint32(m[i:])))
		i += 4
		if n == -1 {
			continue
		}
		if n < 0 || n > len(m)-i {
			return undo()
		}
		v := m[i : i+n]
		switch col := &p.columns[c]; col.way {
		case wayLook:
			if !b.keep(v, i, len(b.rows)-1, col.typ) {
				return undo()
			}
		case wayStyle:
			changed, ok := inPlace(v, *col.style)
			if masked += changed; !ok {
				return undo()
			}
		case wayValue:
			if now := k.column(v, p, c); now == nil || !bytes.Equal(now, v) {
				return undo()
			}
		}
		i += n
	}
	if i != len(m) {
		return undo()
	}
	return masked, true
}

// inPlace masks v by a style that keeps its length, and says how many values that changed. It reports false, and
// changes nothing, where the style or the value is not of that kind.
func inPlace(v []byte, s style) (int, bool) {
	if s != styleStars && s != styleLast4 || !ascii(v) {
		return 0, false
	}
	n := len(v)
	if s == styleLast4 && n >= 8 {
		n -= 4
	}
	changed := 0
	for i := range n {
		if v[i] != '*' {
			v[i], changed = '*', 1
		}
	}
	return changed, true
}

// ascii tells whether every byte of v is a character.
func ascii(v []byte) bool {
	for len(v) >= 8 {
		if binary.LittleEndian.Uint64(v)&0x8080808080808080 != 0 {
			return false
		}
		v = v[8:]
	}
	for _, c := range v {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// A way is how the values of a column are masked in a block.
type way byte

const (
	wayValue way = iota // one by one
	wayLook             // as text, where a detector would look closer
	wayStyle            // where they stand
	waySkip             // not at all
)

// wayOf is the fastest way that does what [masker.column] does.
func (c *columnPlan) wayOf() way {
	switch {
	case c.style != nil && c.what == shapeText:
		return wayStyle
	case c.style != nil:
		return wayValue
	case c.what == shapeHarmless:
		return waySkip
	case c.typ == byteaOID, !c.binary && c.what.holdsHex():
		return wayValue // as a rule in hexadecimal
	case !c.binary, c.what == shapeText, c.what == shapeJSON:
		return wayLook
	}
	return wayValue
}
