package cast

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// plain tells the ASCII bytes that stand for themselves in a JSON string. DEL does not: a recording looked
// at with cat must do nothing to the terminal.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendText appends p as the inside of a JSON string. Each byte that is not part of valid UTF-8 becomes
// one U+FFFD. Control characters (C0, DEL, C1), line separators and bidirectional controls are escaped.
func appendText(dst, p []byte) []byte {
	dst = slices.Grow(dst, len(p)+len(p)/8+16)
	for i := 0; i < len(p); {
		c := p[i]
		if c < utf8.RuneSelf {
			if !plain[c] {
				dst = append(dst, controls[c]...)
				i++
				continue
			}
			start := i
			for i++; len(p)-i >= 8 && allPlain(binary.LittleEndian.Uint64(p[i:])); i += 8 {
			}
			for ; i < len(p) && p[i] < utf8.RuneSelf && plain[p[i]]; i++ {
			}
			dst = append(dst, p[start:i]...)
			continue
		}
		r, size := utf8.DecodeRune(p[i:])
		switch {
		case size == 1: // not UTF-8
			dst = append(dst, "\uFFFD"...)
		case needsEscape(r):
			dst = append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		default:
			dst = append(dst, p[i:i+size]...)
		}
		i += size
	}
	return dst
}

// allPlain is plain for eight bytes at a time, most of a log's.
func allPlain(x uint64) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, slash := x^(ones*'"'), x^(ones*'\\')
	// Below 0x20 and the two characters borrow into the high bit; what is above 0x7e has it or carries into it.
	return (x|(x+ones)|(x-ones*0x20)|(quote-ones)|(slash-ones))&highs == 0
}

// controls are the escapes of the ASCII bytes that do not stand for themselves.
var controls = func() (t [utf8.RuneSelf]string) {
	for c := range t {
		t[c] = "\\u00" + hexDigits[c>>4:c>>4+1] + hexDigits[c&15:c&15+1]
	}
	t['"'], t['\\'], t['\n'], t['\r'], t['\t'] = `\"`, `\\`, `\n`, `\r`, `\t`
	return t
}()

// needsEscape tells the printable-looking runes beyond ASCII that act on a terminal, on a line reader or
// on the order in which text is shown.
func needsEscape(r rune) bool {
	switch {
	case r >= 0x80 && r < 0xa0:
		return true
	case r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// damage returns what restores p from its text: one byte for each U+FFFD the text will hold, in order. It is
// the byte that was replaced, or 0 for a U+FFFD that was there. For valid UTF-8 that is nothing.
func damage(dst, p []byte) []byte {
	if utf8.Valid(p) {
		return dst
	}
	for i := 0; i < len(p); {
		if p[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRune(p[i:])
		if r == utf8.RuneError {
			if size == 1 {
				dst = append(dst, p[i])
			} else {
				dst = append(dst, 0)
			}
		}
		i += size
	}
	return dst
}

// whole returns how many bytes of p do not belong to a rune that later bytes could complete.
func whole(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		c := p[len(p)-n]
		if utf8.RuneStart(c) {
			if c >= 0xc0 && !utf8.FullRune(p[len(p)-n:]) {
				return len(p) - n
			}
			break
		}
	}
	return len(p)
}

// appendMicros appends a count of microseconds as seconds, exactly.
func appendMicros(dst []byte, us int64) []byte {
	dst = appendInt(dst, us/1e6)
	frac := us % 1e6
	if frac == 0 {
		return dst
	}
	var d [7]byte
	d[0] = '.'
	for i := 6; i > 0; i-- {
		d[i] = byte('0' + frac%10)
		frac /= 10
	}
	n := len(d)
	for d[n-1] == '0' {
		n--
	}
	return append(dst, d[:n]...)
}

func appendInt(dst []byte, v int64) []byte {
	var d [20]byte
	i := len(d)
	for {
		i--
		d[i] = byte('0' + v%10)
		v /= 10
		if v == 0 {
			return append(dst, d[i:]...)
		}
	}
}

func appendBase64(dst, p []byte) []byte {
	return base64.RawStdEncoding.AppendEncode(dst, p)
}
