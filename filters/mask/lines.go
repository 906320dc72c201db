package mask

import (
	"slices"

	"github.com/sallyport-ssh/sallyport/filters/term"
)

const (
	// maxJoined is how many rows are looked at as one line of text.
	maxJoined = 32
	// narrow rows are filled by words by chance.
	narrow = 20
)

// A line is text on a screen: columns x0 to x1 of the rows from y to end, one after the other.
type line struct{ y, end, x0, x1 int }

// linesOf returns the lines of view: its rows, joined where text goes on, and where the screen is divided into panes
// by vertical bars, what is wrapped inside a pane.
func (v *Screen) linesOf(view *term.Screen) []line {
	v.lines = v.lines[:0]
	cols, rows := view.Size()
	for y := 0; y < rows; {
		end := lineEnd(view, y)
		v.lines = append(v.lines, line{y, end, 0, cols})
		y = end
	}
	for y := 0; y < rows; {
		v.bars = barsOf(v.bars[:0], view, y)
		end := y + 1
		if end < rows { // a bar has more than one row
			v.bars = slices.DeleteFunc(v.bars, func(x int) bool { return !isBar(view.Cells(end)[x].Rune) })
		}
		for len(v.bars) > 0 && end < rows && !slices.ContainsFunc(v.bars, func(x int) bool { return !isBar(view.Cells(end)[x].Rune) }) {
			end++
		}
		x := 0
		for _, bar := range append(v.bars, cols) {
			if end-y > 1 && bar-x >= narrow {
				v.paneLines(view, line{y, end, x, bar})
			}
			x = bar + 1
		}
		y = end
	}
	return v.lines
}

// paneLines adds the lines that are wrapped in the pane p: text that fills a row of it and goes on in the next.
func (v *Screen) paneLines(view *term.Screen, p line) {
	for y := p.y; y < p.end; {
		end := y + 1
		for end < p.end && end-y < maxJoined && goesOn(view, end, p.x0, p.x1) {
			end++
		}
		if end-y > 1 {
			v.lines = append(v.lines, line{y, end, p.x0, p.x1})
		}
		y = end
	}
}

// goesOn says whether text fills the row before y between columns x0 and x1 and goes on in row y. One blank may stand at
// the margin.
func goesOn(view *term.Screen, y, x0, x1 int) bool {
	before, after := view.Cells(y - 1)[x0:x1], view.Cells(y)[x0:x1]
	n := len(before)
	if n < 2 || before[n-1].Rune != ' ' && after[0].Rune != ' ' {
		return n >= 2
	}
	return before[n-1].Rune != ' ' && after[1].Rune != ' ' || before[n-2].Rune != ' ' && after[0].Rune != ' '
}

// barsOf appends the columns of row y that have a vertical bar.
func barsOf(dst []int, view *term.Screen, y int) []int {
	for x, c := range view.Cells(y) {
		if isBar(c.Rune) {
			dst = append(dst, x)
		}
	}
	return dst
}

func isBar(r rune) bool { return r == '│' || r == '┃' || r == '║' || r == '|' }

// lineEnd returns the row after the line of text that starts at row y. Programs that draw every row themselves
// do not wrap: text that fills a row and goes on at the start of the next is one line as well.
func lineEnd(view *term.Screen, y int) int {
	cols, rows := view.Size()
	end := y + 1
	for end < rows && end-y < maxJoined && !view.Wrapped(end-1) {
		if cols < narrow || !goesOn(view, end, 0, cols) {
			break
		}
		end++
	}
	for end < rows && end-y < maxJoined && view.Wrapped(end-1) {
		end++
	}
	return end
}
