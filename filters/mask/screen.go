package mask

import (
	"bytes"
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/filters/term"
)

// A Screen looks again at what a terminal shows. A stream sees bytes in the order in which they come; a program
// that addresses the cursor, overwrites, or redraws in pieces can put a value on the screen that never passed by in
// one piece. The screen is told what came and what was shown of it, by Write, and asked by Look when the output
// pauses.
//
// It keeps a model of the terminal, and two, of what came and of what was shown, from the first masked value on until
// both are the same again. Look costs the rows that changed. What has been scrolled away cannot be repainted, nor what
// stands where the screen is not known (see term.Screen.Reachable). It works with same-width styles only: for style
// Token it does nothing. It is not safe for concurrent use.
type Screen struct {
	clear  *term.Screen // what came; the same as shown while nothing has been masked
	shown  *term.Screen
	late   []byte // what came and was not yet shown, while they are the same
	stream *Stream
	onHit  func(Hit)
	text   []byte  // of the rows that are looked at
	cells  []place // of every byte of text
	hide   []int   // of every byte of text: the number of the value it belongs to, 0 for none
	found  []Hit   // by number, from 1
	lines  []line  // scratch
	bars   []int   // scratch
	out    []byte  // scratch
}

type place struct{ x, y int }

// Screen makes the model of a terminal. Of o it heeds Style and Unmask, and tells OnHit of what it repaints: Line
// and Column are those of the screen.
func (e *Engine) Screen(cols, rows int, o StreamOptions) *Screen {
	v := &Screen{shown: term.New(cols, rows), onHit: o.OnHit, found: make([]Hit, 1)}
	v.clear = v.shown
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
	if v.clear != v.shown {
		v.clear.Write(came)
		v.shown.Write(shown)
		return
	}
	if len(v.late) > 0 {
		v.late = append(v.late, came...)
		came = v.late
	}
	if bytes.HasPrefix(came, shown) {
		v.shown.Write(shown)
		v.late = append(v.late[:0], came[len(shown):]...)
		return
	}
	v.shown = v.clear.Clone()
	v.clear.Write(came)
	v.shown.Write(shown)
	v.late = v.late[:0]
}

// Plain tells it of bytes that are not the program's, and were shown as they are.
func (v *Screen) Plain(p []byte) {
	if v.stream.all {
		return
	}
	v.shown.Write(p)
	if v.clear != v.shown {
		v.clear.Write(p)
	}
}

// Resize tells it of a new size.
func (v *Screen) Resize(cols, rows int) {
	v.shown.Resize(cols, rows)
	if v.clear != v.shown {
		v.clear.Resize(cols, rows)
	}
}

// Changed says whether Look has something to do.
func (v *Screen) Changed() bool { return v.clear.Changed() || v.shown.Changed() }

// Look looks at the rows that changed since the last Look, and appends what has to be sent to the terminal, and
// recorded, to mask what the stream could not see; the cursor, its looks and its modes are left as they were. It returns
// how many values it masked. The screen takes what it returns as shown: do not Write it. It does nothing in the middle of
// a control sequence.
//
// Settled says that all that came has been shown or masked. While something is held, what the person sees is all that can
// be looked at, and the rows are looked at once more.
func (v *Screen) Look(dst []byte, settled bool) (out []byte, repaired int) {
	if !v.Changed() || !v.shown.Ground() {
		return dst, 0
	}
	view := v.clear
	if !settled {
		view = v.shown
	}
	start := len(dst)
	for _, l := range v.linesOf(view) {
		if !v.changed(l.y, l.end) || !v.examine(view, l) {
			continue
		}
		if len(dst) == start {
			dst = v.shown.AppendStart(dst)
		}
		var n int
		dst, n = v.repaint(dst, view)
		repaired += n
	}
	if repaired > 0 {
		dst = v.shown.AppendRestore(dst)
	} else {
		dst = dst[:start]
	}
	if settled {
		v.clear.Clean()
		v.shown.Clean()
		v.join()
	}
	return dst, repaired
}

// join makes the two models one again when nothing that was masked is left on the screen.
func (v *Screen) join() {
	if v.clear != v.shown && v.clear.Same(v.shown) {
		v.shown = v.clear
	}
}

func (v *Screen) changed(from, to int) bool {
	for y := from; y < to; y++ {
		if v.clear.Dirty(y) || v.shown.Dirty(y) {
			return true
		}
	}
	return false
}

// examine finds what has to be hidden in the line l of view, and says whether there is something.
func (v *Screen) examine(view *term.Screen, l line) bool {
	v.text, v.cells, v.found = v.text[:0], v.cells[:0], v.found[:1]
	for y := l.y; y < l.end; y++ {
		for x, c := range view.Cells(y)[l.x0:l.x1] {
			if c.Rune == 0 {
				continue
			}
			v.text = utf8.AppendRune(v.text, c.Rune)
			for len(v.cells) < len(v.text) {
				v.cells = append(v.cells, place{l.x0 + x, y})
			}
		}
	}
	v.hide = append(v.hide[:0], make([]int, len(v.text))...)
	v.out = v.stream.Append(v.out[:0], v.text)
	v.out = v.stream.Close(v.out)
	return len(v.found) > 1
}

// repaint hides what examine found in view and what is shown as it came, and returns how many values that were.
func (v *Screen) repaint(dst []byte, view *term.Screen) ([]byte, int) {
	cols, _ := v.shown.Size()
	last, n := 0, 0
	for i := 0; i < len(v.hide); i++ {
		p := v.cells[i]
		if v.hide[i] == 0 || i > 0 && v.cells[i-1] == p || !v.open(view, p) {
			continue
		}
		if v.clear == v.shown {
			v.clear = v.shown.Clone()
			v.clear.Write(v.late)
			v.late = v.late[:0]
		}
		width := 1
		if p.x+1 < cols && view.Cells(p.y)[p.x+1].Rune == 0 {
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

// open says whether the cell at p is shown as it came, and can be repainted.
func (v *Screen) open(view *term.Screen, p place) bool {
	c, s := view.Cells(p.y)[p.x].Rune, v.shown.Cells(p.y)[p.x].Rune
	return c == s && c != '*' && c != ' ' && v.shown.Reachable(p.y)
}

func (v *Screen) tell(number int, p place) {
	if v.onHit == nil {
		return
	}
	h := v.found[number]
	h.Line, h.Column, h.Offset = int64(p.y+1), int64(p.x+1), 0
	v.onHit(h)
}
