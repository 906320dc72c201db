package reel

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds on what a recorded program can make the player's terminal do.
const (
	maxSequence  = 256  // bytes of one escape sequence; longer ones are dropped
	maxParams    = 32   // parameters of one control sequence
	maxParam     = 9999 // the largest parameter: no screen is larger
	maxRepeat    = 512  // the same of REP, seven bytes of which would be ten thousand characters
	maxStringLen = 4096 // bytes of an OSC or DCS string before it counts as never ended
)

// A terminal passes on of a program's output what draws, and nothing that acts: no title, clipboard,
// link, device query, window operation, device control string or bell. It is one stream's state, so
// that a sequence split over two events is still one. Its zero value is ready.
//
// The input is text in which bytes that were not UTF-8 have become U+FFFD already.
type terminal struct {
	seq    []byte // the escape sequence being read, from ESC on
	state  termState
	strLen int // bytes of the string being skipped
}

type termState int

const (
	ground  termState = iota
	escape            // after ESC, perhaps with intermediates
	csi               // after ESC [
	skip              // inside OSC, DCS, SOS, PM or APC
	skipEsc           // the same, after an ESC that may begin ST
	drain             // inside a control sequence that is too long
)

// clean appends what may be shown of text.
func (t *terminal) clean(dst, text []byte) []byte {
	for len(text) > 0 {
		if t.state == ground {
			n := drawn(text)
			dst, text = append(dst, text[:n]...), text[n:]
			if len(text) == 0 {
				break
			}
		}
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		switch t.state {
		case ground:
			dst = t.ground(dst, r)
		case escape:
			dst = t.escape(dst, r)
		case csi, drain:
			dst = t.control(dst, r)
		default:
			dst = t.skipString(dst, r)
		}
	}
	return dst
}

// drawn is how many bytes from the start are printable ASCII.
func drawn(text []byte) int {
	for i, c := range text {
		if c < 0x20 || c > 0x7e {
			return i
		}
	}
	return len(text)
}

func (t *terminal) ground(dst []byte, r rune) []byte {
	switch {
	case r == 0x1b:
		t.begin()
		return dst
	case r >= 0x20 && r < 0x7f, r >= 0xa0:
		return appendRune(dst, r)
	case r == '\b', r == '\t', r == '\n', r == '\v', r == '\f', r == '\r', r == 0x0e, r == 0x0f:
		return append(dst, byte(r))
	case r >= 0x80:
		return append(dst, "\ufffd"...) // C1: terminals differ; shown, so that it is not overlooked
	}
	return dst // NUL, BEL, ENQ and the others draw nothing
}

func (t *terminal) begin() {
	t.state, t.seq = escape, append(t.seq[:0], 0x1b)
}

// escape reads what follows ESC (ECMA-48 5.3): intermediates and one final byte.
func (t *terminal) escape(dst []byte, r rune) []byte {
	if dst, done := t.interrupted(dst, r); done {
		return dst
	}
	switch {
	case r == '[' && len(t.seq) == 1:
		t.state, t.seq = csi, append(t.seq, '[')
		return dst
	case strings.ContainsRune("]PX^_", r) && len(t.seq) == 1:
		t.state, t.strLen = skip, 0
		return dst
	case r >= 0x20 && r < 0x30 && len(t.seq) < 4:
		t.seq = append(t.seq, byte(r))
		return dst
	}
	t.state = ground
	if r < 0x30 || r > 0x7e {
		return dst
	}
	if t.seq = append(t.seq, byte(r)); escapeAllowed(t.seq[1:]) {
		return append(dst, t.seq...)
	}
	return dst
}

// escapeAllowed knows the escapes that draw: save and restore, index, next line, tab set, reverse
// index, keypad modes, full reset, charset selection, alignment test.
func escapeAllowed(s []byte) bool {
	if len(s) == 1 {
		return strings.IndexByte("78DEHM=>cNO", s[0]) >= 0
	}
	return len(s) == 2 && (strings.IndexByte("()*+", s[0]) >= 0 || string(s) == "#8")
}

// control reads a control sequence (ECMA-48 5.4) and passes it on whole, or not at all.
func (t *terminal) control(dst []byte, r rune) []byte {
	if dst, done := t.interrupted(dst, r); done {
		return dst
	}
	switch {
	case r >= 0x20 && r < 0x40:
		if len(t.seq) >= maxSequence {
			t.state = drain
		}
		if t.state == csi {
			t.seq = append(t.seq, byte(r))
		}
		return dst
	case r >= 0x40 && r <= 0x7e:
		kept := t.state == csi
		t.state = ground
		if kept {
			return appendControl(dst, string(t.seq[2:]), byte(r))
		}
		return dst
	}
	t.state = ground // not a control sequence after all
	return dst
}

// interrupted handles what ends or passes through any sequence: ESC begins a new one, CAN and SUB
// abort, other control characters act at once, as on a VT.
func (t *terminal) interrupted(dst []byte, r rune) ([]byte, bool) {
	switch {
	case r == 0x1b:
		t.begin()
	case r == 0x18 || r == 0x1a:
		t.state = ground
	case r < 0x20:
		dst = t.ground(dst, r)
	case r == 0x7f:
	default:
		return dst, false
	}
	return dst, true
}

// skipString drops a string up to BEL, ST, CAN or SUB. One that does not end is given up after
// maxStringLen, so that an open title cannot hide the rest of a session.
func (t *terminal) skipString(dst []byte, r rune) []byte {
	if t.strLen++; t.strLen > maxStringLen {
		t.state = ground
		return t.ground(dst, r)
	}
	switch {
	case r == 0x07 || r == 0x18 || r == 0x1a || r == 0x9c:
		t.state = ground
	case t.state == skipEsc && r == '\\':
		t.state = ground
	case t.state == skipEsc:
		t.begin()
		return t.escape(dst, r)
	case r == 0x1b:
		t.state = skipEsc
	}
	return dst
}

// appendControl writes the control sequence if it draws, its parameters bounded.
func appendControl(dst []byte, params string, final byte) []byte {
	prefix := ""
	if params != "" && strings.IndexByte("?><=", params[0]) >= 0 {
		prefix, params = params[:1], params[1:]
	}
	inter := strings.TrimLeft(params, "0123456789;:")
	params = params[:len(params)-len(inter)]
	if !controlAllowed(prefix, inter, final) {
		return dst
	}
	limit := maxParam
	if final == 'b' {
		limit = maxRepeat
	}
	dst = append(append(dst, "\x1b["...), prefix...)
	dst = appendParams(dst, params, limit)
	return append(append(dst, inter...), final)
}

func controlAllowed(prefix, inter string, final byte) bool {
	switch prefix + inter {
	case "":
		return strings.IndexByte("@ABCDEFGHIJKLMPSTXZ`abdefghlmrsu", final) >= 0
	case "?":
		return strings.IndexByte("hlJK", final) >= 0
	case "!":
		return final == 'p'
	case " ":
		return final == 'q'
	}
	return false
}

func appendParams(dst []byte, params string, limit int) []byte {
	count := 0
	for len(params) > 0 {
		end := strings.IndexAny(params, ";:")
		number, sep := params, ""
		if end >= 0 {
			number, sep = params[:end], params[end:end+1]
		}
		params = params[len(number)+len(sep):]
		if number != "" {
			n, err := strconv.Atoi(number)
			if err != nil || n > limit {
				n = limit
			}
			dst = strconv.AppendInt(dst, int64(n), 10)
		}
		if count++; count == maxParams {
			return dst
		}
		dst = append(dst, sep...)
	}
	return dst
}

func appendRune(dst []byte, r rune) []byte {
	if r < 0x80 {
		return append(dst, byte(r))
	}
	return append(dst, string(r)...)
}
