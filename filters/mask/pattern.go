package mask

import (
	"errors"
	"regexp"
	"regexp/syntax"
)

// patternMax is the longest line that an operator's pattern sees from its first byte on.
const patternMax = 4 << 10

// A pattern is an operator's regular expression, tried where its first two bytes can stand and on no more
// text than it can consume.
type pattern struct {
	re     *regexp.Regexp // \A, one byte of context, the pattern
	group  int            // of the part that is masked
	at     anchor         // bytes it can start with
	eats   [256]bool      // bytes it can consume at all
	max    int            // longest match in bytes, at most patternMax
	min    int
	prefix string // literal it always starts with
}

func newPattern(p Pattern) (*detector, error) {
	re, err := syntax.Parse(p.Regex, syntax.Perl)
	if err != nil {
		return nil, err
	}
	c, err := compilePattern(p.Regex, re)
	if err != nil {
		return nil, err
	}
	return &detector{
		name: p.Name, version: 1,
		anchors: []anchor{c.at},
		find:    c.find,
		keep:    bytesOf(" \t"),
	}, nil
}

func compilePattern(text string, re *syntax.Regexp) (*pattern, error) {
	sh := shapeOf(re.Simplify())
	if sh.min == 0 {
		return nil, errors.New("it matches the empty string")
	}
	if sh.min < 2 {
		return nil, errors.New("it matches a single byte")
	}
	c := &pattern{at: sh.anchor(), eats: sh.eats, min: sh.min, max: min(sh.max, patternMax)}
	c.eats['\n'], c.eats[esc] = false, false
	compiled, err := regexp.Compile(`\A(?s:.)(?:` + text + `)`)
	if err != nil {
		return nil, err
	}
	c.re = compiled
	c.group = max(0, compiled.SubexpIndex("secret"))
	if lit := leading(re); len(lit) < sh.max {
		c.prefix = lit
	}
	return c, nil
}

// leading is the literal that every match of re starts with.
func leading(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return string(re.Rune)
		}
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if shapeOf(sub).max > 0 {
				return leading(sub)
			}
		}
	case syntax.OpCapture:
		return leading(re.Sub[0])
	}
	return ""
}

// find tries the pattern at b[i]. It sees one byte before, for \b and ^, and one after the last that it can
// consume, for \b and $.
func (c *pattern) find(w *window, i int) match {
	b := w.b
	if i < w.floor || i == 0 || b[i] >= 0x80 && b[i] < 0xc0 && b[i-1] >= 0x80 {
		return match{}
	}
	end := i
	for end < len(b) && end-i < c.max && c.eats[b[end]] {
		end++
	}
	show := i + max(firstRune(b[i:]), len(c.prefix))
	if end == len(b) && !w.final {
		if n := min(len(c.prefix), end-i); string(b[i:i+n]) != c.prefix[:n] {
			return match{}
		}
		return undecided(i, min(show, end), min(max(show, i+c.min/2), end))
	}
	if end-i < c.min {
		return match{}
	}
	return c.try(b, i, min(end+1, len(b)), show)
}

func (c *pattern) try(b []byte, i, end, show int) match {
	text := b[i-1 : end]
	if b[i-1] >= 0x80 { // the rest of a rune, which the one byte of context must not be
		text = append([]byte{' '}, b[i:end]...)
	}
	m := c.re.FindSubmatchIndex(text)
	if m == nil || m[1] > end-i+1 {
		return match{}
	}
	from, to := i-1+m[0]+1, i-1+m[1]
	if c.group > 0 && m[2*c.group] >= 0 {
		from, to = i-1+m[2*c.group], i-1+m[2*c.group+1]
		show = max(show, from)
	}
	return found(from, show, to)
}
