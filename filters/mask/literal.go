package mask

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// minLiteral is the shortest literal that is taken: a shorter one would be found everywhere.
const minLiteral = 4

// literals are the operator's own values, by their first four bytes, the longest first.
type literals map[[minLiteral]byte][]string

func newLiterals(values []string) (*detector, error) {
	set := literals{}
	for i, v := range values {
		if len(v) < minLiteral || strings.ContainsAny(v, "\r\n\x1b") {
			return nil, bad("literals", i, "", "is not usable", fmt.Sprintf("a literal has at least %d bytes and is one line", minLiteral))
		}
		k := [minLiteral]byte([]byte(v))
		set[k] = append(set[k], v)
	}
	for _, vs := range set {
		slices.SortFunc(vs, func(a, b string) int { return len(b) - len(a) })
	}
	var as []anchor
	for k := range set {
		as = append(as, anchorOf(laneOperator, string(k[:])))
	}
	return &detector{
		name: "literal", version: 1,
		anchors: as,
		find:    set.find,
		keep:    bytesOf(" \t"),
	}, nil
}

// find looks for the longest literal at b[i]. Its first character is public.
func (l literals) find(w *window, i int) match {
	if i < w.floor {
		return match{}
	}
	b := w.b[i:]
	if len(b) < minLiteral {
		if !w.final && l.starts(string(b)) {
			return undecided(i, i+firstRune(b), i+firstRune(b))
		}
		return match{}
	}
	for _, v := range l[[minLiteral]byte(b)] {
		switch {
		case len(b) >= len(v) && string(b[:len(v)]) == v:
			return found(i, i+firstRune(b), i+len(v))
		case len(b) < len(v) && !w.final && v[:len(b)] == string(b):
			return undecided(i, i+firstRune(b), i+firstRune(b))
		}
	}
	return match{}
}

// firstRune is the length of the first rune of b, as far as it is there.
func firstRune(b []byte) int {
	_, n := utf8.DecodeRune(b)
	if !utf8.FullRune(b) {
		return len(b)
	}
	return n
}

// starts says whether a literal starts with p, which is shorter than every literal.
func (l literals) starts(p string) bool {
	for k := range l {
		if string(k[:len(p)]) == p {
			return true
		}
	}
	return false
}
