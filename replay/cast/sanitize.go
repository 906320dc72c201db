package cast

import (
	"unicode/utf8"
)

// A Sanitizer passes on what of a recorded output may act on the terminal of who looks at it: text, colours,
// cursor movement, erasing, scrolling, the alternate screen. Everything else is dropped: titles, clipboard,
// links and every other string sequence, device queries, window and keyboard and mouse modes, C1 controls,
// bidirectional controls, and sequences that are malformed or out of proportion. It keeps state between calls,
// so that a sequence or a rune may be cut anywhere. Its output, sanitized again, is the same.
type Sanitizer struct {
	dst   []byte
	state scanState
	seq   []byte // of the sequence under way, without its introducer
	over  bool   // the sequence is too long to be believed
	rune  [utf8.UTFMax]byte
	n     int // bytes of rune
	dirty bool
	alt   bool
	text  *screenLine // plain text wanted instead
}

type scanState uint8

const (
	ground    scanState = iota
	escape              // behind ESC
	control             // behind CSI
	text                // in OSC, DCS, SOS, PM or APC, until ST or BEL
	maxSeq    = 96      // bytes of one control sequence
	maxNumber = 9999    // a parameter
)

// NewSanitizer returns a Sanitizer for one recording.
func NewSanitizer() *Sanitizer { return &Sanitizer{} }

// Append appends to dst what of p may be shown.
func (s *Sanitizer) Append(dst, p []byte) []byte {
	s.dst = dst
	for _, c := range p {
		s.byte(c)
	}
	dst, s.dst = s.dst, nil
	return dst
}

// Reset appends what brings a terminal back to its usual state after a recording that ended anywhere.
func (s *Sanitizer) Reset(dst []byte) []byte {
	if s.alt {
		dst = append(dst, "\x1b[?1049l"...)
	}
	if s.dirty {
		dst = append(dst, "\x0f\x1b(B\x1b[m\x1b[r\x1b[4l\x1b[20l\x1b[?5l\x1b[?6l\x1b[?7h\x1b[?25h"...)
	}
	text := s.text
	*s = Sanitizer{text: text}
	return dst
}

func (s *Sanitizer) byte(c byte) {
	if s.n > 0 || c >= utf8.RuneSelf {
		s.rune[s.n] = c
		s.n++
		for s.n > 0 && utf8.FullRune(s.rune[:s.n]) {
			r, size := utf8.DecodeRune(s.rune[:s.n])
			bad := r == utf8.RuneError && size == 1
			s.n = copy(s.rune[:], s.rune[size:s.n])
			switch {
			case r < utf8.RuneSelf:
				s.ascii(byte(r))
			case bad:
				s.wide(utf8.RuneError)
			default:
				s.wide(r)
			}
		}
		return
	}
	s.ascii(c)
}

// wide takes a rune beyond ASCII. C1 controls introduce what their ESC forms introduce, and are not passed on.
func (s *Sanitizer) wide(r rune) {
	c1 := r >= 0x80 && r < 0xa0
	switch {
	case s.state == text:
		if r == 0x9c {
			s.state = ground
		}
	case c1:
		s.state = ground
		s.introduce(byte(r - 0x40))
	case s.state != ground:
		s.state = ground
		s.show(r)
	default:
		s.show(r)
	}
}

func (s *Sanitizer) show(r rune) {
	if needsEscape(r) || r == 0x200e || r == 0x200f || r == 0x061c {
		return
	}
	if s.text != nil {
		s.text.put(r)
		return
	}
	s.dst = utf8.AppendRune(s.dst, r)
}

// introduce begins the sequence that ESC and c begin. It returns false when they begin none.
func (s *Sanitizer) introduce(c byte) bool {
	switch c {
	case '[':
		s.state, s.seq, s.over = control, s.seq[:0], false
	case ']', 'P', 'X', '^', '_':
		s.state = text
	default:
		return false
	}
	return true
}

func (s *Sanitizer) ascii(c byte) {
	switch {
	case c == 0x18 || c == 0x1a: // CAN, SUB end any sequence
		s.state = ground
	case c == 0x1b:
		s.state, s.seq, s.over = escape, s.seq[:0], false
	case s.state == text:
		if c == 0x07 {
			s.state = ground
		}
	case c < 0x20 || c == 0x7f:
		s.control(c)
	case s.state == escape:
		s.escaped(c)
	case s.state == control:
		s.collect(c)
	default:
		s.show(rune(c))
	}
}

// control passes on the control characters that move the cursor or choose a character set.
func (s *Sanitizer) control(c byte) {
	switch c {
	case '\b', '\t', '\n', '\v', '\f', '\r':
	case 0x0e, 0x0f:
		s.dirty = true
	default:
		return
	}
	if s.text != nil {
		s.text.control(c)
		return
	}
	s.dst = append(s.dst, c)
}

// escaped takes a byte behind ESC.
func (s *Sanitizer) escaped(c byte) {
	if c >= 0x20 && c < 0x30 { // an intermediate
		s.seq = append(s.seq, c)
		s.over = s.over || len(s.seq) > 1
		s.seq = s.seq[:1]
		return
	}
	if len(s.seq) == 0 && s.introduce(c) {
		return
	}
	s.state = ground
	if s.over || s.text != nil {
		return
	}
	switch {
	case len(s.seq) == 1 && (s.seq[0] == '(' || s.seq[0] == ')') && (c == '0' || c == 'A' || c == 'B'):
		s.dirty = true
		s.dst = append(s.dst, 0x1b, s.seq[0], c)
	case len(s.seq) > 0:
	case c == '7' || c == '8' || c == 'D' || c == 'E' || c == 'H' || c == 'M':
		s.dirty = true
		s.dst = append(s.dst, 0x1b, c)
	case c == 'c': // a full reset may do more than clear: load fonts, change modes of the keyboard
		s.dst = append(s.dst, "\x1b[m\x1b[r\x1b[H\x1b[2J"...)
	}
}

// collect takes a byte of a control sequence.
func (s *Sanitizer) collect(c byte) {
	if c < 0x40 {
		if len(s.seq) < maxSeq {
			s.seq = append(s.seq, c)
		} else {
			s.over = true
		}
		return
	}
	s.state = ground
	switch {
	case s.over:
	case s.text != nil:
		s.text.sequence(s.seq, c)
	case allowed(s.seq, c):
		s.dirty = true
		s.note(c)
		s.dst = append(append(append(s.dst, 0x1b, '['), s.seq...), c)
	}
}

// note remembers whether the alternate screen is shown.
func (s *Sanitizer) note(c byte) {
	switch string(s.seq) {
	case "?47", "?1047", "?1049":
		s.alt = c == 'h'
	}
}

// allowed tells the control sequences that do nothing but draw. ECMA-48 section 8.3, and the modes of xterm.
func allowed(seq []byte, final byte) bool {
	private := len(seq) > 0 && seq[0] == '?'
	if private {
		seq = seq[1:]
	}
	n, colon, ok := params(seq)
	if !ok || colon && final != 'm' {
		return false
	}
	switch final {
	case 'm':
		return !private && n <= 32
	case 'J', 'K':
		return n <= 1
	case 'h', 'l':
		return mode(string(seq), private)
	case 'H', 'f', 'r':
		return !private && n <= 2
	case 's', 'u':
		return !private && len(seq) == 0
	case 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'I', 'L', 'M', 'P', 'S', 'T', 'X', 'Z', '@', '`', 'a', 'b', 'd', 'e', 'g':
		return !private && n <= 1
	}
	return false
}

// mode tells the modes that concern drawing. Only one may be switched at a time, which is what programs do.
func mode(n string, private bool) bool {
	if !private {
		return n == "4" || n == "20" // insert, newline
	}
	switch n {
	case "5", "6", "7", "12", "25", "47", "1047", "1048", "1049":
		return true
	}
	return false
}

// params counts the parameters of a sequence and checks that each is a number in proportion.
func params(seq []byte) (n int, colon, ok bool) {
	if len(seq) == 0 {
		return 0, false, true
	}
	n = 1
	v := 0
	for _, c := range seq {
		switch {
		case c >= '0' && c <= '9':
			if v = v*10 + int(c-'0'); v > maxNumber {
				return 0, false, false
			}
		case c == ';' || c == ':':
			colon = colon || c == ':'
			n++
			v = 0
		default:
			return 0, false, false
		}
	}
	return n, colon, true
}
