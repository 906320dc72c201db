// Package term is a model of a terminal's screen: what a person sees after the bytes of a session.
//
// It knows what programs use to draw: cursor addressing, erasing, scrolling regions, insertion and deletion, the
// alternate screen, wide characters, wrapping with its pending state. It never answers a query, keeps no
// scrollback and no strings of the program (titles, images, clipboard), and its memory is the screen's.
package term

import (
	"slices"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// MaxSide bounds the columns and the rows of a screen.
const MaxSide = 1000

// A Color is 0 for the default, or made of a palette index or an RGB value.
type Color uint32

const (
	palette Color = 1 << 24
	rgb     Color = 2 << 24
)

// A Pen is how a cell looks.
type Pen struct {
	FG, BG Color
	Flags  uint16 // bits 0 to 8: SGR 1 to 9 is on; then the flags below
}

// Flags of a Pen beyond SGR 9.
const (
	flagDouble    = 1 << 9  // SGR 21
	flagOverline  = 1 << 10 // SGR 53
	flagUnderline = 1 << 3  // SGR 4
	curlShift     = 11      // three bits: the n of SGR 4:n where it is above 1
	curlMask      = 7 << curlShift
)

// A Cell is one column of one row. Rune is 0 in the second column of a wide character and ' ' where nothing
// was written.
type Cell struct {
	Rune rune
	Pen  Pen
}

// A row is a line of the screen.
type row struct {
	cells   []Cell
	frame   int32 // of the cursor when it was written
	dirty   bool  // it has changed since Clean
	wrapped bool  // its text goes on in the next row
}

type cursor struct {
	x, y    int
	pending bool // the next character wraps
	pen     Pen
	line    Color // of underlines
	origin  bool
	graphic [2]bool // G0, G1 is the set of line drawing
	shift   int     // the set in use
	// frame is 0 where the row of the cursor on the real screen is known: the program put it there. Before, a
	// session has begun on whatever row the person's cursor was, and only distances to rows that were written in
	// the same frame are known.
	frame int32
}

// lostFrame is of rows that cannot be found on the real screen.
const lostFrame = -1

// A Screen is the state of a terminal. It is not safe for concurrent use.
type Screen struct {
	cols, rows  int
	main, alt   []row
	lines       []row // main or alt
	inAlt       bool
	cur, saved  cursor
	top, bottom int // scrolling region, rows
	nowrap      bool
	insert      bool
	newline     bool // a line feed returns as well (LNM)
	hidden      bool // the cursor is
	reversed    bool // the whole screen is
	leaving     func(y int)
	last        rune // for REP
	changed     bool
	frames      int32 // the last one given
	paintY      int   // of the real cursor while repaints are made
	paste       bool  // the program asked to be told what is pasted

	state  state
	params []byte // of a control sequence
	part   [utf8.UTFMax]byte
	npart  int
}

// New makes an empty screen.
func New(cols, rows int) *Screen {
	s := &Screen{}
	s.cols, s.rows = clamp(cols, 1, MaxSide), clamp(rows, 1, MaxSide)
	s.loseFrame()
	s.main = s.blankRows()
	s.lines = s.main
	s.bottom = s.rows - 1
	return s
}

// loseFrame is called when it is no longer known how far the cursor is from what was written before.
func (s *Screen) loseFrame() {
	s.frames++
	s.cur.frame = s.frames
}

func clamp(v, lo, hi int) int { return max(lo, min(v, hi)) }

func (s *Screen) blankRows() []row {
	rows := make([]row, s.rows)
	all := make([]Cell, s.rows*s.cols)
	for i := range rows {
		rows[i] = row{cells: all[i*s.cols : (i+1)*s.cols : (i+1)*s.cols], frame: s.cur.frame}
	}
	s.blank(all)
	return rows
}

// blank erases cells with the current background.
func (s *Screen) blank(cells []Cell) {
	if len(cells) == 0 {
		return
	}
	cells[0] = Cell{' ', Pen{BG: s.cur.pen.BG}}
	for n := 1; n < len(cells); n *= 2 {
		copy(cells[n:], cells[:n])
	}
}

// Resize changes the size and keeps what is on the screen at the top left, as xterm does. Other terminals wrap it
// anew: until a row is written again it is not known where it stands.
func (s *Screen) Resize(cols, rows int) {
	cols, rows = clamp(cols, 1, MaxSide), clamp(rows, 1, MaxSide)
	if cols == s.cols && rows == s.rows {
		return
	}
	shift := max(0, s.cur.y-rows+1) // the cursor's row stays
	oldMain, oldAlt := s.main, s.alt
	s.cols, s.rows = cols, rows
	move := func(old []row, shift int) []row {
		if old == nil {
			return nil
		}
		rs := s.blankRows()
		for y := range rs {
			if y+shift < len(old) {
				copy(rs[y].cells, old[y+shift].cells)
			}
			rs[y].dirty, rs[y].frame = true, lostFrame
		}
		return rs
	}
	s.main, s.alt = move(oldMain, shift), move(oldAlt, shift)
	s.lines = s.main
	if s.inAlt {
		s.lines = s.alt
	}
	s.cur.y -= shift
	s.cur.x, s.cur.y, s.cur.pending = clamp(s.cur.x, 0, cols-1), clamp(s.cur.y, 0, rows-1), false
	s.saved.x, s.saved.y = clamp(s.saved.x, 0, cols-1), clamp(s.saved.y, 0, rows-1)
	s.top, s.bottom = 0, rows-1
	s.changed = true
	s.loseFrame()
	s.saved.frame = s.cur.frame
}

// Size is columns and rows.
func (s *Screen) Size() (cols, rows int) { return s.cols, s.rows }

// Changed says whether a row has changed since Clean.
func (s *Screen) Changed() bool { return s.changed }

// Dirty says whether row y has changed since Clean.
func (s *Screen) Dirty(y int) bool { return s.lines[y].dirty }

// Wrapped says whether the text of row y was wrapped into the next.
func (s *Screen) Wrapped(y int) bool { return s.lines[y].wrapped }

// Ground says whether the bytes so far end between characters and control sequences, where others may be put in.
func (s *Screen) Ground() bool { return s.state == ground && s.npart == 0 }

// Reachable says whether it is known where row y is on the real screen, seen from the cursor.
func (s *Screen) Reachable(y int) bool {
	return s.lines[y].frame == s.cur.frame && !(s.cur.origin && s.cur.frame != 0)
}

// Clone makes a copy that shares nothing.
func (s *Screen) Clone() *Screen {
	c := *s
	c.main, c.alt = cloneRows(s.main), cloneRows(s.alt)
	c.lines = c.main
	if c.inAlt {
		c.lines = c.alt
	}
	c.params = append([]byte(nil), s.params...)
	return &c
}

func cloneRows(rs []row) []row {
	if rs == nil {
		return nil
	}
	out := make([]row, len(rs))
	all := make([]Cell, 0, len(rs)*len(rs[0].cells))
	for y, r := range rs {
		n := len(all)
		all = append(all, r.cells...)
		out[y] = r
		out[y].cells = all[n:len(all):len(all)]
	}
	return out
}

// Same says whether s and o, which were given bytes of the same layout, show the same and will go on alike.
func (s *Screen) Same(o *Screen) bool {
	if s.cur != o.cur || s.saved != o.saved || s.cols != o.cols || s.rows != o.rows || s.inAlt != o.inAlt || s.top != o.top || s.bottom != o.bottom ||
		s.nowrap != o.nowrap || s.insert != o.insert || !s.Ground() || !o.Ground() {
		return false
	}
	return sameRows(s.main, o.main) && sameRows(s.alt, o.alt)
}

func sameRows(a, b []row) bool {
	for y := range a {
		if a[y].wrapped != b[y].wrapped || a[y].frame != b[y].frame || !slices.Equal(a[y].cells, b[y].cells) {
			return false
		}
	}
	return len(a) == len(b)
}

// Clean forgets what has changed.
func (s *Screen) Clean() {
	for y := range s.lines {
		s.lines[y].dirty = false
	}
	s.changed = false
}

// Cells are those of row y. They are the screen's own.
func (s *Screen) Cells(y int) []Cell { return s.lines[y].cells }

// Cursor is where the next character goes, from 0, and whether it will wrap before it.
func (s *Screen) Cursor() (x, y int, pending bool) { return s.cur.x, s.cur.y, s.cur.pending }

// Alternate says whether the alternate screen is shown.
func (s *Screen) Alternate() bool { return s.inAlt }

// BracketsPaste says whether the program asked for marks around what is pasted (mode 2004).
func (s *Screen) BracketsPaste() bool { return s.paste }

// Text is row y without the blanks at its end.
func (s *Screen) Text(y int) string {
	var b []byte
	n := 0
	for _, c := range s.lines[y].cells {
		if c.Rune == 0 {
			continue
		}
		b = utf8.AppendRune(b, c.Rune)
		if c.Rune != ' ' {
			n = len(b)
		}
	}
	return string(b[:n])
}

// drawing is DEC's set of special graphics, from 0x60 on.
var drawing = []rune("◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")

// OnLeaving has f called with each row that is about to scroll off the top of the main screen, while it still
// is there. It is how a reader sees all lines of a session and keeps none.
func (s *Screen) OnLeaving(f func(y int)) { s.leaving = f }

// put writes a character at the cursor.
func (s *Screen) put(r rune) {
	w := runewidth.RuneWidth(r)
	if w == 0 {
		return // combining: the cell keeps its base
	}
	if s.cur.graphic[s.cur.shift] && r >= 0x60 && r < 0x7f {
		r = drawing[r-0x60]
	}
	if w > s.cols {
		return
	}
	if s.cur.pending || s.cur.x+w > s.cols {
		s.wrap()
	}
	line := &s.lines[s.cur.y]
	if s.insert {
		copy(line.cells[min(s.cur.x+w, s.cols):], line.cells[s.cur.x:])
	}
	s.unpair(line, s.cur.x)
	s.unpair(line, s.cur.x+w-1)
	line.cells[s.cur.x] = Cell{r, s.cur.pen}
	if w == 2 {
		line.cells[s.cur.x+1] = Cell{0, s.cur.pen}
	}
	s.touch(s.cur.y)
	s.last = r
	if s.cur.x+w >= s.cols {
		s.cur.x, s.cur.pending = s.cols-1, !s.nowrap
		return
	}
	s.cur.x += w
}

// putText is put for printable ASCII, as many as there are at the front of p; it returns how many those are.
func (s *Screen) putText(p []byte) (n int) {
	for n < len(p) && p[n] >= ' ' && p[n] < 0x7f {
		if s.cur.pending {
			s.wrap()
		}
		line, x := &s.lines[s.cur.y], s.cur.x
		room := min(s.cols-x, len(p)-n)
		k := 0
		for k < room && p[n+k] >= ' ' && p[n+k] < 0x7f {
			k++
		}
		s.unpair(line, x)
		s.unpair(line, x+k-1)
		for i, c := range p[n : n+k] {
			line.cells[x+i] = Cell{rune(c), s.cur.pen}
		}
		s.touch(s.cur.y)
		n += k
		s.last = rune(p[n-1])
		if s.cur.x = x + k; s.cur.x >= s.cols {
			s.cur.x, s.cur.pending = s.cols-1, !s.nowrap
		}
	}
	return n
}

// unpair blanks the other half of a wide character of which column x is about to be overwritten.
func (s *Screen) unpair(line *row, x int) {
	if line.cells[x].Rune == 0 && x > 0 {
		line.cells[x-1].Rune = ' '
	}
	if x+1 < s.cols && line.cells[x+1].Rune == 0 {
		line.cells[x+1].Rune = ' '
	}
}

func (s *Screen) wrap() {
	if s.nowrap {
		s.cur.x = max(0, s.cols-2)
		s.cur.pending = false
		return
	}
	s.lines[s.cur.y].wrapped = true
	s.cur.x, s.cur.pending = 0, false
	s.feed()
}

func (s *Screen) touch(y int) {
	s.lines[y].dirty, s.changed = true, true
	s.lines[y].frame = s.cur.frame
}

// feed moves the cursor one row down, and scrolls at the bottom.
func (s *Screen) feed() {
	switch {
	case s.cur.y == s.bottom:
		s.scroll(s.top, s.bottom, 1)
	case s.cur.y < s.rows-1:
		s.cur.y++
	}
}

// scroll moves the rows from top to bottom up by n, down where n is negative. Rows that only move have not
// changed.
func (s *Screen) scroll(top, bottom, n int) {
	height := bottom - top + 1
	n = clamp(n, -height, height)
	region := s.lines[top : bottom+1]
	if s.leaving != nil && top == 0 && !s.inAlt {
		for y := range n {
			s.leaving(y)
		}
	}
	if n == 1 {
		first := region[0]
		copy(region, region[1:])
		region[height-1] = first
		s.clearRows(bottom, bottom)
	} else if n > 0 {
		rotate(region, n)
		s.clearRows(bottom-n+1, bottom)
	} else if n < 0 {
		rotate(region, height+n)
		s.clearRows(top, top-n-1)
	}
}

// rotate moves the first n rows to the end.
func rotate(rs []row, n int) {
	reverse(rs[:n])
	reverse(rs[n:])
	reverse(rs)
}

func reverse(rs []row) {
	for i, j := 0, len(rs)-1; i < j; i, j = i+1, j-1 {
		rs[i], rs[j] = rs[j], rs[i]
	}
}

func (s *Screen) clearRows(from, to int) {
	for y := max(from, 0); y <= min(to, s.rows-1); y++ {
		s.blank(s.lines[y].cells)
		s.lines[y].dirty, s.lines[y].wrapped, s.lines[y].frame = false, false, s.cur.frame
	}
}

// erase blanks columns from x0 to x1 of row y.
func (s *Screen) erase(y, x0, x1 int) {
	if x0 >= x1 {
		return
	}
	line := &s.lines[y]
	s.unpair(line, x0)
	s.unpair(line, x1-1)
	s.blank(line.cells[x0:x1])
	if x1 == s.cols {
		line.wrapped = false
	}
	s.touch(y)
}

// moveTo puts the cursor at column x and row y of the screen, or of the region in origin mode.
func (s *Screen) moveTo(x, y int) {
	lo, hi := 0, s.rows-1
	if s.cur.origin {
		lo, hi = s.top, s.bottom
		y += lo
	}
	s.cur.x, s.cur.y, s.cur.pending, s.cur.frame = clamp(x, 0, s.cols-1), clamp(y, lo, hi), false, 0
}

// moveBy moves the cursor, not across the margins of the region.
func (s *Screen) moveBy(dx, dy int) {
	y := s.cur.y + dy
	if s.cur.y >= s.top && s.cur.y <= s.bottom {
		y = clamp(y, s.top, s.bottom)
	}
	if s.cur.frame != 0 && (y < 0 || y >= s.rows || y != s.cur.y+dy) {
		s.loseFrame() // the real screen may have had room
	}
	s.cur.x, s.cur.y, s.cur.pending = clamp(s.cur.x+dx, 0, s.cols-1), clamp(y, 0, s.rows-1), false
}

// switchTo shows the alternate screen, cleared, or the main one.
func (s *Screen) switchTo(alt bool) {
	if alt == s.inAlt {
		return
	}
	s.inAlt = alt
	if alt {
		s.alt = s.blankRows()
		s.lines = s.alt
	} else {
		s.lines, s.alt = s.main, nil
	}
	s.top, s.bottom = 0, s.rows-1
	for y := range s.lines {
		s.lines[y].dirty = true
	}
	s.changed = true
}

// restore puts the saved cursor back. What is saved is a place on the real screen, where other rows may be now.
func (s *Screen) restore() {
	s.cur = s.saved
	if s.cur.frame != 0 {
		s.loseFrame()
	}
}

// reset is RIS.
func (s *Screen) reset() {
	leaving := s.leaving
	*s = *New(s.cols, s.rows)
	s.leaving, s.changed = leaving, true
	s.moveTo(0, 0)
	s.clearRows(0, s.rows-1)
}
