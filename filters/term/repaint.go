package term

import (
	"strconv"
	"unicode/utf8"
)

// AppendRepaint appends what draws the cells of columns x0 to x1 of row y as they are in the model, wherever the
// cursor is. Several may follow each other; [Screen.AppendRestore] ends them.
func (s *Screen) AppendRepaint(dst []byte, y, x0, x1 int) []byte {
	dst = s.appendMove(dst, x0, y)
	var pen Pen
	for x := x0; x < x1; x++ {
		c := s.lines[y].cells[x]
		if c.Rune == 0 {
			continue
		}
		if x == x0 || c.Pen != pen {
			pen = c.Pen
			dst = AppendPen(dst, pen)
		}
		dst = utf8.AppendRune(dst, c.Rune)
	}
	return dst
}

// AppendStart appends what has to precede repaints, if anything.
func (s *Screen) AppendStart(dst []byte) []byte {
	if s.insert {
		dst = append(dst, "\x1b[4l"...)
	}
	return dst
}

// AppendRestore appends what puts the cursor, its pending wrap and its pen back.
func (s *Screen) AppendRestore(dst []byte) []byte {
	if s.cur.pending {
		x := s.cols - 1
		if s.lines[s.cur.y].cells[x].Rune == 0 && x > 0 {
			x--
		}
		dst = s.AppendRepaint(dst, s.cur.y, x, s.cols)
	} else {
		dst = s.appendMove(dst, s.cur.x, s.cur.y)
	}
	if s.insert {
		dst = append(dst, "\x1b[4h"...)
	}
	return AppendPen(dst, s.cur.pen)
}

func (s *Screen) appendMove(dst []byte, x, y int) []byte {
	if s.cur.origin {
		y -= s.top
	}
	dst = strconv.AppendInt(append(dst, "\x1b["...), int64(y+1), 10)
	dst = strconv.AppendInt(append(dst, ';'), int64(x+1), 10)
	return append(dst, 'H')
}

// Set changes the character of a cell and leaves its looks. Both columns of a wide character become r.
func (s *Screen) Set(x, y int, r rune) {
	cells := s.lines[y].cells
	cells[x].Rune = r
	if x+1 < s.cols && cells[x+1].Rune == 0 {
		cells[x+1].Rune = r
	}
}
