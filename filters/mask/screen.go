package mask

import (
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/filters/term"
)

// maxJoined is how many rows are looked at as one line of text.
const maxJoined = 32

// A Screen looks again at what a terminal shows. A stream sees bytes in the order in which they come; a program
// that addresses the cursor, overwrites, or redraws in pieces can put a value on the screen that never passed by in
// one piece. The screen is told what came and what was shown of it, by Write, and asked by Look when the output
// pauses and nothing is held.
//
// It keeps two models of the terminal, of what came and of what was shown, and costs as much for every byte; Look
// costs the rows that changed. What has been scrolled away cannot be repainted. It works with same-width styles
// only: for style Token it does nothing. It is not safe for concurrent use.
type Screen struct {
	clear, shown *term.Screen
	stream       *Stream
	onHit        func(Hit)
	text         []byte  // of the rows that are looked at
	cells        []place // of every byte of text
	hide         []int   // of every byte of text: the number of the value it belongs to, 0 for none
	found        []Hit   // by number, from 1
	out          []byte  // scratch
}

type place struct{ x, y int }

// Screen makes the models of a terminal. Of o it heeds Style and Unmask, and tells OnHit of what it repaints: Line
// and Column are those of the screen.
func (e *Engine) Screen(cols, rows int, o StreamOptions) *Screen {
	v := &Screen{clear: term.New(cols, rows), shown: term.New(cols, rows), onHit: o.OnHit, found: make([]Hit, 1)}
	o.OnHit = func(h Hit) { v.found = append(v.found, h) }
	v.stream = e.Stream(o)
	v.stream.all = v.stream.all || v.stream.style == Token
	v.stream.hide = func(offset int64) {
		if offset >= 0 && offset < int64(len(v.hide)) {
			v.hide[offset] = len(v.found) - 1
		}
	}
	return v
}

// Write tells the screen of bytes that came, and of bytes that were shown: what a stream was given and what it
// returned.
func (v *Screen) Write(came, shown []byte) {
	if v.stream.all {
		return
	}
	v.clear.Write(came)
	v.shown.Write(shown)
}

// Resize tells it of a new size.
func (v *Screen) Resize(cols, rows int) {
	v.clear.Resize(cols, rows)
	v.shown.Resize(cols, rows)
}

// Changed says whether Look has something to do.
func (v *Screen) Changed() bool { return v.clear.Changed() }

// Look looks at the rows that changed since the last Look, and appends what has to be sent to the terminal, and
// recorded, to mask what the stream could not see; the cursor and the colours are left as they were. It returns how
// many values it masked. The screen takes what it returns as shown: do not Write it.
func (v *Screen) Look(dst []byte) (out []byte, repaired int) {
	if !v.clear.Changed() {
		return dst, 0
	}
	_, rows := v.clear.Size()
	start := len(dst)
	for y := 0; y < rows; {
		end := v.lineEnd(y)
		if v.changed(y, end) && v.examine(y, end) {
			if len(dst) == start {
				dst = v.shown.AppendStart(dst)
			}
			var n int
			dst, n = v.repaint(dst)
			repaired += n
		}
		y = end
	}
	if repaired > 0 {
		dst = v.shown.AppendRestore(dst)
	} else {
		dst = dst[:start]
	}
	v.clear.Clean()
	return dst, repaired
}

// lineEnd returns the row after the line of text that starts at row y. Programs that draw every row themselves
// do not wrap: text that fills a row and goes on at the start of the next is one line as well.
func (v *Screen) lineEnd(y int) int {
	const narrow = 20 // columns; words fill such rows by chance
	cols, rows := v.clear.Size()
	end := y + 1
	for end < rows && end-y < maxJoined && !v.clear.Wrapped(end-1) {
		if cols < narrow || v.clear.Cells(end - 1)[cols-1].Rune == ' ' || v.clear.Cells(end)[0].Rune == ' ' {
			break
		}
		end++
	}
	for end < rows && end-y < maxJoined && v.clear.Wrapped(end-1) {
		end++
	}
	return end
}

func (v *Screen) changed(from, to int) bool {
	for y := from; y < to; y++ {
		if v.clear.Dirty(y) {
			return true
		}
	}
	return false
}

// examine finds what has to be hidden in the rows from y to end, and says whether there is something.
func (v *Screen) examine(y, end int) bool {
	v.text, v.cells, v.found = v.text[:0], v.cells[:0], v.found[:1]
	for ; y < end; y++ {
		for x, c := range v.clear.Cells(y) {
			if c.Rune == 0 {
				continue
			}
			v.text = utf8.AppendRune(v.text, c.Rune)
			for len(v.cells) < len(v.text) {
				v.cells = append(v.cells, place{x, y})
			}
		}
	}
	v.hide = append(v.hide[:0], make([]int, len(v.text))...)
	v.out = v.stream.Append(v.out[:0], v.text)
	v.out = v.stream.Close(v.out)
	return len(v.found) > 1
}

// repaint hides what examine found and what is shown as it came, and returns how many values that were.
func (v *Screen) repaint(dst []byte) ([]byte, int) {
	cols, _ := v.shown.Size()
	last, n := 0, 0
	for i := 0; i < len(v.hide); i++ {
		p := v.cells[i]
		if v.hide[i] == 0 || i > 0 && v.cells[i-1] == p || !v.open(p) {
			continue
		}
		width := 1
		if p.x+1 < cols && v.clear.Cells(p.y)[p.x+1].Rune == 0 {
			width = 2
		}
		v.shown.Set(p.x, p.y, '*')
		dst = v.shown.AppendRepaint(dst, p.y, p.x, p.x+width)
		if v.hide[i] != last {
			last = v.hide[i]
			n++
			v.tell(last, p)
		}
	}
	return dst, n
}

// open says whether the cell at p is shown as it came.
func (v *Screen) open(p place) bool {
	c, s := v.clear.Cells(p.y)[p.x].Rune, v.shown.Cells(p.y)[p.x].Rune
	return c == s && c != '*' && c != ' '
}

func (v *Screen) tell(number int, p place) {
	if v.onHit == nil {
		return
	}
	h := v.found[number]
	h.Line, h.Column, h.Offset = int64(p.y+1), int64(p.x+1), 0
	v.onHit(h)
}
