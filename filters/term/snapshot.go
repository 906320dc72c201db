package term

import (
	"strconv"
	"unicode/utf8"
)

// AppendSnapshot appends what makes a terminal of this size, just reset, show the same screen and go on from the
// same state: both screens, the cursor and the saved one, margins, modes and character sets. Combining
// characters and the places of tabs, which the model does not know, are not in it.
func (s *Screen) AppendSnapshot(dst []byte) []byte {
	dst = append(dst, "\x1bc"...)
	if s.inAlt {
		dst = s.appendLines(dst, s.main)
		dst = append(dst, "\x1b[m\x1b[?1047h\x1b[H"...)
	}
	dst = s.appendLines(dst, s.lines)
	dst = append(s.appendCursor(dst, s.saved), "\x1b7"...)
	if s.top != 0 || s.bottom != s.rows-1 {
		dst = strconv.AppendInt(append(dst, "\x1b["...), int64(s.top+1), 10)
		dst = append(strconv.AppendInt(append(dst, ';'), int64(s.bottom+1), 10), 'r')
	}
	dst = s.appendCursor(dst, s.cur)
	for _, m := range []struct {
		on  bool
		seq string
	}{{s.nowrap, "\x1b[?7l"}, {s.insert, "\x1b[4h"}, {s.newline, "\x1b[20h"}, {s.hidden, "\x1b[?25l"}, {s.reversed, "\x1b[?5h"}} {
		if m.on {
			dst = append(dst, m.seq...)
		}
	}
	return dst
}

// appendLines draws rows from the top, which are blank.
func (s *Screen) appendLines(dst []byte, lines []row) []byte {
	var pen Pen
	for y, line := range lines {
		n := len(line.cells)
		for n > 0 && line.cells[n-1] == (Cell{Rune: ' '}) {
			n--
		}
		if n == 0 {
			continue
		}
		dst = strconv.AppendInt(append(dst, "\x1b["...), int64(y+1), 10)
		dst = append(dst, 'H')
		for _, c := range line.cells[:n] {
			if c.Rune == 0 {
				continue
			}
			if c.Pen != pen {
				pen = c.Pen
				dst = AppendPen(dst, pen)
			}
			dst = utf8.AppendRune(dst, c.Rune)
		}
	}
	return append(dst, "\x1b[m"...)
}

// appendCursor puts the cursor where c has it, with its pen and character sets. Margins are set already.
func (s *Screen) appendCursor(dst []byte, c cursor) []byte {
	y := c.y
	dst = append(dst, "\x1b[?6l\x1b(B\x1b)B\x0f"...)
	if c.origin {
		dst = append(dst, "\x1b[?6h"...)
		y = max(0, y-s.top)
	}
	dst = strconv.AppendInt(append(dst, "\x1b["...), int64(y+1), 10)
	dst = append(strconv.AppendInt(append(dst, ';'), int64(c.x+1), 10), 'H')
	if c.pending { // only writing the last column makes it so
		cells := s.lines[c.y].cells
		x := s.cols - 1
		if cells[x].Rune == 0 && x > 0 {
			x--
			dst = append(dst, '\b')
		}
		dst = utf8.AppendRune(AppendPen(dst, cells[x].Pen), max(cells[x].Rune, ' '))
	}
	for i, set := range []byte{'(', ')'} {
		if c.graphic[i] {
			dst = append(dst, 0x1b, set, '0')
		}
	}
	if c.shift == 1 {
		dst = append(dst, 0x0e)
	}
	return appendPenOf(dst, c)
}
