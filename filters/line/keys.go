package line

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A keyState is where in a sequence of keys the next byte falls.
type keyState uint8

const (
	ground keyState = iota
	escape
	control // CSI
	single  // SS3: one byte follows
	report  // OSC, DCS and the like, with which terminals answer
	reportEsc
	quoted   // after Ctrl-V: one byte is taken as it is
	prefixed // after Ctrl-X
	pasting
	collecting // a paste, from its first newline on
)

const maxKeyParams = 32

var pasteEnd = []byte("\x1b[201~")

// Keys takes what the client sent. It returns what may be sent on at once and how much of p that used up; stop is set
// when the next key would run something. The rest of p is to be given again when that was decided. Keys also returns
// after an interrupt, so that the screen can come to rest before more is typed.
func (r *Reader) Keys(p []byte) (send []byte, used int, stop *Stop) {
	for i, b := range p {
		if r.key == collecting {
			if s := r.collect(b); s != nil {
				return send, i + 1, s
			}
			continue
		}
		if r.key == pasting && (b == '\r' || b == '\n') && !r.foreign() {
			r.key, r.pasted = collecting, append([]byte(nil), b)
			continue
		}
		if k, stops := r.stops(b); stops {
			r.begin()
			literal := r.key == quoted
			if r.key != pasting {
				r.key = ground
			}
			return send, i + 1, &Stop{Kind: k, Key: []byte{b}, Literal: literal}
		}
		r.step(b)
		send = append(send, b)
		if b == 0x03 || b == 0x1c { // the shell is given time to begin anew
			return send, i + 1, nil
		}
	}
	return send, len(p), nil
}

// stops says whether b would run something where it stands.
func (r *Reader) stops(b byte) (Kind, bool) {
	if r.foreign() {
		return Accept, b == '\r' || b == '\n'
	}
	if r.key == pasting {
		return 0, false
	}
	switch b {
	case '\r', '\n':
		return Accept, true
	case 0x0f:
		return Keep, true
	case 0x04:
		return Flush, !r.empty()
	}
	switch r.key {
	case single:
		return Accept, b == 'M' // Enter of the keypad
	case escape:
		switch b {
		case 'a', 'A':
			return Keep, true
		case '#':
			return Accept, true // makes the line a comment and runs it
		case 'v':
			return Edit, true
		}
		return Expand, strings.IndexByte("[O]P^_X\x1b", b) < 0 && r.risky()
	case prefixed:
		return Edit, b == 0x05
	case ground:
		return Expand, (b == '\t' || b == 0x18) && r.risky()
	}
	return 0, false
}

// empty says whether the line is certainly empty, and continues nothing.
func (r *Reader) empty() bool {
	return r.known && len(r.text) == 0 && !r.left && r.carry == "" && (r.lastRow == "" || r.row() != r.lastRow)
}

// risky says whether working the line out would run something.
func (r *Reader) risky() bool {
	for _, s := range []string{string(r.text), r.row()} {
		for _, sign := range []string{"$(", "`", "<(", ">(", "=(", "${", "$[", "(e:"} {
			if strings.Contains(s, sign) {
				return true
			}
		}
	}
	return false
}

func (r *Reader) step(b byte) {
	if b == 0x03 || b == 0x1c {
		r.key, r.part = ground, nil
		r.Interrupted()
		return
	}
	switch r.key {
	case ground:
		r.plainKey(b)
	case escape:
		r.escaped(b)
	case control:
		r.controlKey(b)
	case single:
		r.key = ground
		r.named(b)
	case report, reportEsc:
		if b == 0x07 || r.key == reportEsc {
			r.key = ground
		} else if b == 0x1b {
			r.key = reportEsc
		}
	case quoted, prefixed:
		r.key = ground
		r.lose()
	case pasting:
		r.pasteKey(b)
	}
}

// begin notes what the row looks like before the first key of a line changes it.
func (r *Reader) begin() {
	if r.began {
		return
	}
	r.began = true
	r.base, r.rest = r.around()
	if r.marks < 0 {
		r.marks = countMarks(r.base)
	}
	stays := r.lastRow != "" && r.row() == r.lastRow
	if r.left || stays {
		r.known, r.base = false, r.lastBase
	}
	if r.gaveUp && r.carry != "" && r.carryBase != "" && r.base == r.carryBase && !stays {
		r.carry = "" // the shell is back at its prompt: what was begun is given up
	}
}

// lose is for keys that change the line in a way that is not followed.
func (r *Reader) lose() {
	r.begin()
	r.known = false
}

func (r *Reader) plainKey(b byte) {
	switch {
	case len(r.part) > 0 || b >= utf8.RuneSelf:
		r.runeByte(b)
	case b >= ' ' && b < 0x7f:
		r.insert(rune(b))
	case b == 0x1b:
		r.key, r.params = escape, r.params[:0]
	case b == 0x16:
		r.key = quoted
		r.lose()
	case b == 0x18:
		r.key = prefixed
		r.lose()
	default:
		r.controlChar(b)
	}
}

// runeByte collects a character of several bytes.
func (r *Reader) runeByte(b byte) {
	r.part = append(r.part, b)
	switch {
	case utf8.FullRune(r.part):
		c, n := utf8.DecodeRune(r.part)
		whole := n == len(r.part)
		r.part = nil
		if c == utf8.RuneError || !whole || !unicode.IsPrint(c) {
			r.typed++
			r.lose()
			return
		}
		r.insert(c)
	case len(r.part) >= utf8.UTFMax:
		r.part = nil
		r.lose()
	}
}

func (r *Reader) insert(c rune) {
	r.begin()
	r.typed++
	if len(r.text)*utf8.UTFMax >= MaxLine {
		r.long = true
		return
	}
	r.text = append(r.text, 0)
	copy(r.text[r.at+1:], r.text[r.at:])
	r.text[r.at] = c
	r.at++
}

// controlChar does what the editors of shells agree on.
func (r *Reader) controlChar(b byte) {
	switch b {
	case 0x7f, 0x08:
		if r.begin(); r.at > 0 {
			r.text = append(r.text[:r.at-1], r.text[r.at:]...)
			r.at--
		}
	case 0x15: // Ctrl-U: bash cuts up to the cursor, zsh all
		if r.at != len(r.text) {
			r.lose()
		}
		r.text, r.at = r.text[:0], 0
	case 0x0b:
		r.text = r.text[:r.at]
	case 0x01:
		r.at = 0
	case 0x05:
		r.at = len(r.text)
	case 0x02:
		r.named('D')
	case 0x06:
		r.named('C')
	case 0x0c, 0x11, 0x13: // redraw, XON, XOFF
	case 0x04: // on a line that is empty
	default:
		r.lose()
	}
}

// named does a key that has a name: the arrows, Home, End.
func (r *Reader) named(b byte) {
	switch b {
	case 'C':
		r.at = min(r.at+1, len(r.text))
	case 'D':
		r.at = max(r.at-1, 0)
	case 'H':
		r.at = 0
	case 'F':
		r.at = len(r.text)
	default:
		r.lose()
	}
}

func (r *Reader) escaped(b byte) {
	r.key = ground
	switch b {
	case '[':
		r.key = control
	case 'O':
		r.key = single
	case ']', 'P', '^', '_', 'X':
		r.key = report
	case 0x1b:
		r.key = escape
	case 'q', 'Q', 'g', 'G': // zsh puts the line aside, and brings it back after the next
		r.begin()
		r.known, r.left = false, true
	default:
		r.lose()
	}
}

func (r *Reader) controlKey(b byte) {
	if b < 0x40 || b > 0x7e {
		if r.params = append(r.params, b); len(r.params) > maxKeyParams {
			r.key = ground
			r.lose()
		}
		return
	}
	r.key = ground
	switch p := string(r.params); {
	case b == '~' && p == "200" && r.screen.BracketsPaste():
		r.key = pasting
	case b == '~' && p == "201":
	case b == '~' && (p == "1" || p == "7"):
		r.named('H')
	case b == '~' && (p == "4" || p == "8"):
		r.named('F')
	case b == '~' && p == "3":
		if r.begin(); r.at < len(r.text) {
			r.text = append(r.text[:r.at], r.text[r.at+1:]...)
		}
	case p == "" && (b == 'I' || b == 'O'): // the window has, or has not, the focus
	case b == 'R' || b == 'c' || b == 'n' || b == 't' || b == 'y': // a terminal's answer
	case p != "":
		r.lose()
	default:
		r.named(b)
	}
}

// pasteKey takes a byte of a paste in which there was no newline yet.
func (r *Reader) pasteKey(b byte) {
	if r.params = append(r.params, b); bytes.HasSuffix(r.params, pasteEnd) {
		r.key = ground
		return
	}
	if len(r.params) > 64 {
		r.params = append(r.params[:0], r.params[len(r.params)-len(pasteEnd):]...)
	}
	if b == 0x1b || bytes.HasPrefix(pasteEnd, r.params[max(0, bytes.LastIndexByte(r.params, 0x1b)):]) && bytes.IndexByte(r.params, 0x1b) >= 0 {
		return // may be the end
	}
	if len(r.part) > 0 || b >= utf8.RuneSelf {
		r.runeByte(b)
		return
	}
	if b >= ' ' && b < 0x7f {
		r.insert(rune(b))
		return
	}
	r.lose()
}

// collect keeps what is pasted behind a newline until the end of the paste.
func (r *Reader) collect(b byte) *Stop {
	r.pasted = append(r.pasted, b)
	if !bytes.HasSuffix(r.pasted, pasteEnd) {
		if len(r.pasted) < MaxLine {
			return nil
		}
		r.long = true
	}
	r.key = ground
	return &Stop{Kind: Paste, Key: r.pasted}
}

// pastedText is what was collected, with newlines as shells take them.
func (r *Reader) pastedText() string {
	s := string(bytes.TrimSuffix(r.pasted, pasteEnd))
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

// insertPaste puts it into the line.
func (r *Reader) insertPaste() {
	if r.at != len(r.text) {
		r.known = false
	}
	for _, c := range r.pastedText() {
		if c != '\n' && !unicode.IsPrint(c) {
			r.known = false
		}
		r.text = append(r.text, c)
	}
	r.at, r.pasted = len(r.text), nil
}
