package term

import (
	"strconv"
	"unicode/utf8"
)

// AppendStart appends what has to precede repaints, if anything. The program must be between control sequences, see
// [Screen.Ground], and only rows that are [Screen.Reachable] can be repainted.
func (s *Screen) AppendStart(dst []byte) []byte {
	s.paintY = s.cur.y
	if s.insert {
		dst = append(dst, "\x1b[4l"...)
	}
	if s.cur.origin { // rows outside the region cannot be addressed
		dst = append(dst, "\x1b[?6l"...)
	}
	return dst
}

// AppendRepaint appends what draws the cells of columns x0 to x1 of row y as they are in the model, wherever the
// cursor is. Several may follow each other, after [Screen.AppendStart]; [Screen.AppendRestore] ends them.
func (s *Screen) AppendRepaint(dst []byte, y, x0, x1 int) []byte {
	dst = s.appendMove(dst, x0, y)
	return s.appendCells(dst, y, x0, x1)
}

func (s *Screen) appendCells(dst []byte, y, x0, x1 int) []byte {
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

// AppendRestore appends what puts the cursor, its pending wrap, its pen and its modes back.
func (s *Screen) AppendRestore(dst []byte) []byte {
	x, y := s.cur.x, s.cur.y
	if s.cur.pending {
		if x = s.cols - 1; s.lines[y].cells[x].Rune == 0 && x > 0 {
			x--
		}
	}
	if s.cur.origin { // which homes the cursor
		dst = append(dst, "\x1b[?6h"...)
		dst = appendAddress(dst, x, y-s.top)
	} else {
		dst = s.appendMove(dst, x, y)
	}
	if s.cur.pending {
		dst = s.appendCells(dst, y, x, s.cols)
	}
	if s.insert {
		dst = append(dst, "\x1b[4h"...)
	}
	return appendPenOf(dst, s.cur)
}

// appendPenOf is AppendPen with the colour of underlines, which cells do not keep.
func appendPenOf(dst []byte, c cursor) []byte {
	dst = AppendPen(dst, c.pen)
	if c.line != 0 {
		dst = append(appendColour(dst[:len(dst)-1], "58", c.line), 'm')
	}
	return dst
}

// appendMove moves the real cursor to x, y: to an address where it is known where the model's rows are, else by
// the distance.
func (s *Screen) appendMove(dst []byte, x, y int) []byte {
	from := s.paintY
	s.paintY = y
	if s.cur.frame == 0 {
		return appendAddress(dst, x, y)
	}
	if from != y {
		n, way := from-y, byte('A')
		if y > from {
			n, way = y-from, 'B'
		}
		dst = append(strconv.AppendInt(append(dst, "\x1b["...), int64(n), 10), way)
	}
	return append(strconv.AppendInt(append(dst, "\x1b["...), int64(x+1), 10), 'G')
}

func appendAddress(dst []byte, x, y int) []byte {
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
