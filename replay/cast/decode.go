package cast

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

var errNoEvent = errors.New("is no event: want [interval, \"code\", \"data\"]")

// parseEvent takes an event's line apart: the interval in microseconds, the code, and the text, appended to
// dst. It accepts what the published format allows and nothing else.
func parseEvent(dst, line []byte) (us int64, code byte, text []byte, err error) {
	p := parser{b: line}
	if !p.token('[') {
		return 0, 0, dst, errNoEvent
	}
	us, err = p.micros()
	if err != nil {
		return 0, 0, dst, err
	}
	if !p.token(',') {
		return 0, 0, dst, errNoEvent
	}
	var few [8]byte
	c, err := p.text(few[:0])
	if err != nil {
		return 0, 0, dst, err
	}
	if len(c) != 1 || !p.token(',') {
		return 0, 0, dst, errNoEvent
	}
	if text, err = p.text(dst); err != nil {
		return 0, 0, dst, err
	}
	if !p.token(']') || p.space() != len(line) {
		return 0, 0, dst, errNoEvent
	}
	return us, c[0], text, nil
}

type parser struct {
	b []byte
	i int
}

func (p *parser) space() int {
	for p.i < len(p.b) && (p.b[p.i] == ' ' || p.b[p.i] == '\t' || p.b[p.i] == '\r' || p.b[p.i] == '\n') {
		p.i++
	}
	return p.i
}

func (p *parser) token(c byte) bool {
	if p.space() == len(p.b) || p.b[p.i] != c {
		return false
	}
	p.i++
	return true
}

// micros reads a JSON number of seconds. Plain decimals are read exactly to the microsecond, others through
// a float. What is negative, not finite or longer than ten years is refused.
func (p *parser) micros() (int64, error) {
	start := p.space()
	whole, frac, digits, plain := int64(0), int64(0), 0, true
	seenDot := false
	for ; p.i < len(p.b); p.i++ {
		c := p.b[p.i]
		switch {
		case c >= '0' && c <= '9' && !seenDot:
			if whole = whole*10 + int64(c-'0'); whole > maxSeconds {
				return 0, fmt.Errorf("has an interval of more than ten years")
			}
		case c >= '0' && c <= '9':
			if digits++; digits <= 6 {
				frac = frac*10 + int64(c-'0')
			}
		case c == '.' && !seenDot:
			seenDot = true
		case c == 'e' || c == 'E' || c == '-' || c == '+':
			plain = false
		default:
			return p.number(start, whole, frac, digits, plain, seenDot)
		}
	}
	return 0, errNoEvent
}

const maxSeconds = 10 * 366 * 24 * 3600

func (p *parser) number(start int, whole, frac int64, digits int, plain, dot bool) (int64, error) {
	text := p.b[start:p.i]
	if !json.Valid(text) || len(text) > 64 {
		return 0, fmt.Errorf("has an interval that is no number")
	}
	if !plain {
		f, err := strconv.ParseFloat(string(text), 64)
		if err != nil || f < 0 || f > maxSeconds {
			return 0, fmt.Errorf("has an interval outside of 0 to ten years")
		}
		return int64(f*1e6 + 0.5), nil
	}
	for ; dot && digits < 6; digits++ {
		frac *= 10
	}
	return whole*1e6 + frac, nil
}

// text reads a JSON string and appends what it says.
func (p *parser) text(dst []byte) ([]byte, error) {
	if !p.token('"') {
		return dst, errNoEvent
	}
	for p.i < len(p.b) {
		start := p.i
		for p.i < len(p.b) && p.b[p.i] != '"' && p.b[p.i] != '\\' && p.b[p.i] >= 0x20 {
			p.i++
		}
		run := p.b[start:p.i]
		if !utf8.Valid(run) {
			return dst, fmt.Errorf("holds bytes that are not UTF-8")
		}
		dst = append(dst, run...)
		if p.i == len(p.b) {
			break
		}
		switch c := p.b[p.i]; {
		case c == '"':
			p.i++
			return dst, nil
		case c < 0x20:
			return dst, fmt.Errorf("holds a bare control character")
		}
		var err error
		if dst, err = p.escape(dst); err != nil {
			return dst, err
		}
	}
	return dst, fmt.Errorf("holds a string without an end")
}

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (p *parser) escape(dst []byte) ([]byte, error) {
	if p.i+1 >= len(p.b) {
		return dst, fmt.Errorf("ends in an escape")
	}
	c := p.b[p.i+1]
	if c != 'u' {
		if escapes[c] == 0 {
			return dst, fmt.Errorf("holds an escape that JSON does not have")
		}
		p.i += 2
		return append(dst, escapes[c]), nil
	}
	r, ok := p.hex(p.i + 2)
	if !ok {
		return dst, fmt.Errorf("holds a \\u without four hexadecimal digits")
	}
	p.i += 6
	if utf16.IsSurrogate(r) {
		low, ok := rune(0), false
		if p.i+1 < len(p.b) && p.b[p.i] == '\\' && p.b[p.i+1] == 'u' {
			low, ok = p.hex(p.i + 2)
		}
		if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
			p.i += 6
		}
	}
	return utf8.AppendRune(dst, r), nil
}

func (p *parser) hex(at int) (r rune, ok bool) {
	if at+4 > len(p.b) {
		return 0, false
	}
	for _, c := range p.b[at : at+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// restore puts back the bytes that text shows as U+FFFD; see damage.
func restore(text, bad []byte) ([]byte, error) {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r != utf8.RuneError:
			out = append(out, text[i:i+size]...)
		case len(bad) == 0:
			return nil, fmt.Errorf("has more replaced bytes than were noted")
		default:
			if bad[0] == 0 {
				out = append(out, "\uFFFD"...)
			} else {
				out = append(out, bad[0])
			}
			bad = bad[1:]
		}
		i += size
	}
	if len(bad) > 0 {
		return nil, fmt.Errorf("has fewer replaced bytes than were noted")
	}
	return out, nil
}

// comment is a comment line of ours.
type comment struct {
	K string          `json:"k"`
	T json.Number     `json:"t"`
	D json.RawMessage `json:"d"`
	S string          `json:"s"`
	B string          `json:"b"`
}

const commentPrefix = "#sp "

func parseComment(line []byte) (c comment, err error) {
	body := line[len(commentPrefix):]
	if err := checkDepth(body, maxDepth); err != nil {
		return c, err
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return c, fmt.Errorf("is a comment that holds no JSON object")
	}
	if !reserved[c.K] && !validKind(c.K) {
		return c, fmt.Errorf("is a comment of no kind")
	}
	return c, nil
}

func (c comment) stream(missing Stream) (Stream, error) {
	if c.S == "" {
		return missing, nil
	}
	switch s := Stream(c.S[0]); s {
	case Stdout, Stderr, Stdin, Gate:
		if len(c.S) == 1 {
			return s, nil
		}
	}
	return 0, fmt.Errorf("names no stream")
}

func (c comment) bytes() ([]byte, error) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(c.B)
	if err != nil {
		return nil, fmt.Errorf("holds bytes that are no base64")
	}
	return b, nil
}

// checkDepth refuses JSON that is nested deeper than limit, before anything recursive looks at it.
func checkDepth(b []byte, limit int) error {
	depth, inText := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return fmt.Errorf("is nested deeper than %d", limit)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("line %d, byte %d: %s", e.Line, e.Offset, e.Why)
}
