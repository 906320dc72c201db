package term

import (
	"strconv"
	"unicode/utf8"
)

// A state of the parser, after the one of DEC's terminals (ECMA-48).
type state uint8

const (
	ground state = iota
	escape
	charset    // ESC ( ) and the like: one byte follows
	control    // CSI
	text       // OSC, DCS, APC, PM, SOS: skipped
	textEscape // ESC inside one: \ ends it
)

const maxParams = 64 // bytes; longer control sequences are skipped

// Write draws p. It never fails.
func (s *Screen) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		if s.state == ground && s.npart == 0 && !s.insert && !s.cur.graphic[s.cur.shift] {
			if n := s.putText(p[i:]); n > 0 {
				i += n
				continue
			}
		}
		s.step(p[i])
		i++
	}
	return len(p), nil
}

func (s *Screen) step(c byte) {
	if s.npart > 0 && s.state == ground {
		if s.join(c) {
			return
		}
	}
	switch {
	case s.state == text || s.state == textEscape:
		s.skipText(c)
	case c == 0x1b:
		s.state, s.params = escape, s.params[:0]
	case c == 0x18 || c == 0x1a:
		s.state = ground
	case c < 0x20:
		s.c0(c)
	case s.state == ground:
		s.ground(c)
	case s.state == escape:
		s.esc(c)
	case s.state == charset:
		s.designate(c)
	case s.state == control:
		s.csi(c)
	}
}

// join adds c to a character that is not complete, and says whether it belonged to it.
func (s *Screen) join(c byte) bool {
	if c&0xc0 != 0x80 {
		s.npart = 0
		s.put(utf8.RuneError)
		return false
	}
	s.part[s.npart] = c
	s.npart++
	if p := s.part[:s.npart]; utf8.FullRune(p) {
		r, n := utf8.DecodeRune(p)
		if n == 1 { // not a character after all
			r = utf8.RuneError
		}
		s.npart = 0
		s.put(r)
	}
	return true
}

func (s *Screen) ground(c byte) {
	switch {
	case c < 0x7f:
		s.put(rune(c))
	case c >= 0xc2 && c < 0xf5:
		s.part[0], s.npart = c, 1
	case c >= 0x80:
		s.put(utf8.RuneError)
	}
}

// skipText skips what belongs to a string up to BEL or ST.
func (s *Screen) skipText(c byte) {
	switch {
	case c == 0x07 || c == 0x18 || c == 0x1a:
		s.state = ground
	case c == 0x1b:
		s.state = textEscape
	case s.state == textEscape && c == '\\':
		s.state = ground
	case s.state == textEscape: // an escape ends a string as well
		s.state, s.params = escape, s.params[:0]
		s.esc(c)
	}
}

func (s *Screen) c0(c byte) {
	switch c {
	case '\b':
		s.moveBy(-1, 0)
	case '\t':
		s.moveBy(8-s.cur.x%8, 0)
	case '\n', '\v', '\f':
		s.cur.pending = false
		if s.newline {
			s.cur.x = 0
		}
		s.feed()
	case '\r':
		s.cur.x, s.cur.pending = 0, false
	case 0x0e:
		s.cur.shift = 1
	case 0x0f:
		s.cur.shift = 0
	}
}

func (s *Screen) esc(c byte) {
	s.state = ground
	switch c {
	case '[':
		s.state = control
	case ']', 'P', 'X', '^', '_':
		s.state = text
	case '(', ')', '*', '+', '#', '%', '-', '.', '/', ' ':
		s.state, s.params = charset, append(s.params[:0], c)
	case '7':
		s.saved = s.cur
	case '8':
		s.restore()
	case 'D':
		s.feed()
	case 'E':
		s.cur.x = 0
		s.feed()
	case 'M':
		s.reverseFeed()
	case 'c':
		s.reset()
	}
	s.cur.pending = s.cur.pending && c != 'D' && c != 'E' && c != 'M'
}

func (s *Screen) reverseFeed() {
	if s.cur.y == s.top {
		if s.cur.frame != 0 {
			s.loseFrame() // the real cursor may have moved up
		}
		s.scroll(s.top, s.bottom, -1)
	} else if s.cur.y > 0 {
		s.cur.y--
	}
}

// designate is the end of ESC ( c and its like.
func (s *Screen) designate(c byte) {
	s.state = ground
	switch s.params[0] {
	case '(':
		s.cur.graphic[0] = c == '0'
	case ')':
		s.cur.graphic[1] = c == '0'
	}
}

func (s *Screen) csi(c byte) {
	if c < 0x40 {
		if len(s.params) <= maxParams {
			s.params = append(s.params, c)
		}
		return
	}
	s.state = ground
	if c == 0x7f || len(s.params) > maxParams {
		return
	}
	p := s.params
	if len(p) > 0 && (p[0] == '?' || p[0] == '>' || p[0] == '<' || p[0] == '=') {
		if p[0] == '?' && (c == 'h' || c == 'l') {
			s.privateModes(arguments(p[1:]), c == 'h')
		}
		return
	}
	if len(p) > 0 && p[len(p)-1] < 0x30 { // with an intermediate: none that draws
		if p[len(p)-1] == '!' && c == 'p' {
			s.softReset()
		}
		return
	}
	s.control(c, arguments(p))
}

// args are the numbers of a control sequence.
type args struct {
	v   [32]int
	n   int
	sub uint32 // bit k: a colon stands before argument k
}

// at is argument k, or def where it is missing or 0.
func (a *args) at(k, def int) int {
	if k >= a.n || a.v[k] == 0 {
		return def
	}
	return a.v[k]
}

func arguments(p []byte) (a args) {
	a.n = 1
	for _, c := range p {
		switch {
		case c >= '0' && c <= '9':
			if a.v[a.n-1] < 1<<16 {
				a.v[a.n-1] = a.v[a.n-1]*10 + int(c-'0')
			}
		case a.n == len(a.v):
			return a
		default:
			if c == ':' {
				a.sub |= 1 << a.n
			}
			a.n++
		}
	}
	return a
}

// control does what a control sequence without a private marker says.
func (s *Screen) control(c byte, a args) {
	n := a.at(0, 1)
	switch c {
	case 'A':
		s.moveBy(0, -n)
	case 'B', 'e':
		s.moveBy(0, n)
	case 'C', 'a':
		s.moveBy(n, 0)
	case 'D':
		s.moveBy(-n, 0)
	case 'E':
		s.moveBy(-s.cols, n)
	case 'F':
		s.moveBy(-s.cols, -n)
	case 'G', '`':
		s.cur.x, s.cur.pending = clamp(n-1, 0, s.cols-1), false
	case 'H', 'f':
		s.moveTo(a.at(1, 1)-1, n-1)
	case 'I':
		s.moveBy((s.cur.x/8+n)*8-s.cur.x, 0)
	case 'Z':
		s.moveBy(max(0, (s.cur.x+7)/8-n)*8-s.cur.x, 0)
	case 'd':
		s.moveTo(s.cur.x, n-1)
	case 'm':
		s.sgr(s.params)
	case 'r':
		s.region(n-1, a.at(1, s.rows)-1)
	case 's':
		s.saved = s.cur
	case 'u':
		s.restore()
	case 'h', 'l':
		s.modes(a, c == 'h')
	default:
		s.edit(c, n, a.v[0])
	}
}

// edit does the control sequences that change cells; raw is the argument without its default.
func (s *Screen) edit(c byte, n, raw int) {
	x, y := s.cur.x, s.cur.y
	inRegion := y >= s.top && y <= s.bottom
	switch {
	case c == 'J':
		s.eraseDisplay(raw)
	case c == 'K' && raw == 0:
		s.erase(y, x, s.cols)
	case c == 'K' && raw == 1:
		s.erase(y, 0, x+1)
	case c == 'K' && raw == 2:
		s.erase(y, 0, s.cols)
	case c == 'X':
		s.erase(y, x, min(x+n, s.cols))
	case c == '@':
		n = min(n, s.cols-x)
		copy(s.lines[y].cells[x+n:], s.lines[y].cells[x:])
		s.erase(y, x, x+n)
	case c == 'P':
		n = min(n, s.cols-x)
		copy(s.lines[y].cells[x:], s.lines[y].cells[x+n:])
		s.erase(y, s.cols-n, s.cols)
	case c == 'L' && inRegion:
		s.scroll(y, s.bottom, -n)
	case c == 'M' && inRegion:
		s.scroll(y, s.bottom, n)
	case c == 'S':
		s.scroll(s.top, s.bottom, n)
	case c == 'T':
		s.scroll(s.top, s.bottom, -n)
	case c == 'b' && s.last != 0:
		for range min(n, s.cols*s.rows) {
			s.put(s.last)
		}
		return
	default:
		return
	}
	s.cur.pending = false
}

func (s *Screen) eraseDisplay(how int) {
	from, to := 0, s.rows-1
	switch how {
	case 0:
		s.erase(s.cur.y, s.cur.x, s.cols)
		from = s.cur.y + 1
	case 1:
		s.erase(s.cur.y, 0, s.cur.x+1)
		to = s.cur.y - 1
	case 2:
	default:
		return
	}
	s.clearRows(from, to)
}

func (s *Screen) region(top, bottom int) {
	bottom = min(bottom, s.rows-1)
	if top >= bottom {
		return
	}
	s.top, s.bottom = top, bottom
	s.moveTo(0, 0)
}

func (s *Screen) softReset() {
	s.cur.pen, s.cur.origin, s.insert, s.nowrap, s.hidden = Pen{}, false, false, false, false
	s.cur.graphic, s.cur.shift, s.cur.line = [2]bool{}, 0, 0
	s.top, s.bottom = 0, s.rows-1
}

func (s *Screen) modes(a args, on bool) {
	for _, m := range a.v[:a.n] {
		switch m {
		case 4:
			s.insert = on
		case 20:
			s.newline = on
		}
	}
}

func (s *Screen) privateModes(a args, on bool) {
	for _, m := range a.v[:a.n] {
		switch m {
		case 5:
			s.reversed = on
		case 25:
			s.hidden = !on
		case 6:
			s.cur.origin = on
			s.moveTo(0, 0)
		case 7:
			s.nowrap = !on
		case 2004:
			s.paste = on
		case 47, 1047:
			s.switchTo(on)
		case 1048:
			s.saveOrRestore(on)
		case 1049:
			if on {
				s.saved = s.cur
			}
			s.switchTo(on)
			if !on {
				s.restore()
			}
		}
	}
}

func (s *Screen) saveOrRestore(save bool) {
	if save {
		s.saved = s.cur
	} else {
		s.restore()
	}
}

// sgr sets the pen. Colours are written 38;5;n, 38;2;r;g;b, or with colons between; underlines 4 or 4:n.
func (s *Screen) sgr(p []byte) {
	a := arguments(p)
	for i := 0; i < a.n; {
		n := 1
		for i+n < a.n && a.sub&(1<<(i+n)) != 0 {
			n++
		}
		if n == 1 && (a.v[i] == 38 || a.v[i] == 48 || a.v[i] == 58) {
			_, used := colour(a.v[i+1:a.n], false)
			n += used
		}
		s.attribute(a.v[i], a.v[i+1:i+n], a.sub&(1<<(i+1)) != 0)
		i += n
	}
}

// attribute sets one attribute with what belongs to it.
func (s *Screen) attribute(v int, more []int, colons bool) {
	pen := &s.cur.pen
	switch {
	case v == 0:
		*pen, s.cur.line = Pen{}, 0
	case v == 4:
		s.underline(more)
	case v >= 1 && v <= 9:
		pen.Flags |= 1 << (v - 1)
	case v == 21:
		pen.Flags |= flagDouble
	case v == 22:
		pen.Flags &^= 1<<0 | 1<<1
	case v == 24:
		pen.Flags &^= flagUnderline | flagDouble | curlMask
	case v >= 23 && v <= 29:
		pen.Flags &^= 1 << (v - 21)
	case v >= 30 && v <= 37:
		pen.FG = palette | Color(v-30)
	case v >= 40 && v <= 47:
		pen.BG = palette | Color(v-40)
	case v == 53:
		pen.Flags |= flagOverline
	case v == 55:
		pen.Flags &^= flagOverline
	case v >= 90 && v <= 97:
		pen.FG = palette | Color(v-82)
	case v >= 100 && v <= 107:
		pen.BG = palette | Color(v-92)
	case v == 38 || v == 39:
		pen.FG, _ = colour(more, colons)
	case v == 48 || v == 49:
		pen.BG, _ = colour(more, colons)
	case v == 58 || v == 59:
		s.cur.line, _ = colour(more, colons)
	}
}

// underline is SGR 4, or 4:n with the shape n: 0 none, 1 a line, 2 two, 3 a wave, and so on.
func (s *Screen) underline(more []int) {
	f := &s.cur.pen.Flags
	*f = *f&^(curlMask|flagDouble) | flagUnderline
	switch {
	case len(more) == 0 || more[0] == 1:
	case more[0] == 0:
		*f &^= flagUnderline
	default:
		*f |= uint16(more[0]&7) << curlShift
	}
}

// colour reads what follows 38, 48 or 58: 5;n, or 2;r;g;b. With colons a colour space, mostly empty, stands before r.
func colour(v []int, colons bool) (c Color, used int) {
	switch {
	case len(v) >= 2 && v[0] == 5:
		return palette | Color(v[1]&0xff), 2
	case colons && len(v) >= 5 && v[0] == 2:
		return rgbOf(v[2:]), 5
	case len(v) >= 4 && v[0] == 2:
		return rgbOf(v[1:]), 4
	}
	return 0, len(v)
}

func rgbOf(v []int) Color {
	return rgb | Color(v[0]&0xff)<<16 | Color(v[1]&0xff)<<8 | Color(v[2]&0xff)
}

// AppendPen appends the control sequence that sets p, whatever was set before.
func AppendPen(dst []byte, p Pen) []byte {
	dst = append(dst, "\x1b[0"...)
	for k := range 9 {
		if p.Flags&(1<<k) != 0 {
			dst = strconv.AppendInt(append(dst, ';'), int64(k+1), 10)
		}
		if curl := p.Flags & curlMask >> curlShift; 1<<k == flagUnderline && curl != 0 && p.Flags&flagUnderline != 0 {
			dst = strconv.AppendInt(append(dst, ':'), int64(curl), 10)
		}
	}
	if p.Flags&flagDouble != 0 {
		dst = append(dst, ";21"...)
	}
	if p.Flags&flagOverline != 0 {
		dst = append(dst, ";53"...)
	}
	dst = appendColour(dst, "38", p.FG)
	dst = appendColour(dst, "48", p.BG)
	return append(dst, 'm')
}

func appendColour(dst []byte, what string, c Color) []byte {
	switch {
	case c&palette != 0:
		dst = append(append(append(dst, ';'), what...), ";5;"...)
		return strconv.AppendInt(dst, int64(c&0xff), 10)
	case c&rgb != 0:
		dst = append(append(append(dst, ';'), what...), ";2"...)
		for shift := 16; shift >= 0; shift -= 8 {
			dst = strconv.AppendInt(append(dst, ';'), int64(c>>shift&0xff), 10)
		}
	}
	return dst
}
