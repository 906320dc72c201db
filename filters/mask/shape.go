package mask

import (
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// A shape is what is known of every match of a regular expression, in bytes.
type shape struct {
	first, second [256]bool // what can be its first byte, and the one after that, be it of the match or not
	eats          [256]bool // what it can consume
	min, max      int       // its length; max is unbounded from patternMax on
}

var anyByte = func() (t [256]bool) {
	for i := range t {
		t[i] = true
	}
	return t
}()

func union(a, b [256]bool) [256]bool {
	for i := range a {
		a[i] = a[i] || b[i]
	}
	return a
}

// emptyShape matches the empty string: anything may come next.
func emptyShape() shape { return shape{first: anyByte, second: anyByte} }

// shapeOf walks re, which is simplified.
func shapeOf(re *syntax.Regexp) shape {
	switch re.Op {
	case syntax.OpLiteral:
		s := emptyShape()
		for _, r := range re.Rune {
			s = follow2(s, literalShape(r, re.Flags&syntax.FoldCase != 0))
		}
		return s
	case syntax.OpCharClass:
		return classShape(re.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return shape{first: anyByte, second: anyByte, eats: anyByte, min: 1, max: utf8.UTFMax}
	case syntax.OpCapture:
		return shapeOf(re.Sub[0])
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		return repeatShape(re)
	case syntax.OpConcat:
		s := emptyShape()
		for _, sub := range re.Sub {
			s = follow2(s, shapeOf(sub))
		}
		return s
	case syntax.OpAlternate:
		s := shapeOf(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			s = either(s, shapeOf(sub))
		}
		return s
	}
	return emptyShape() // anchors and boundaries
}

func repeatShape(re *syntax.Regexp) shape {
	s := shapeOf(re.Sub[0])
	switch re.Op {
	case syntax.OpQuest:
		return either(s, emptyShape())
	case syntax.OpStar:
		s = either(s, emptyShape())
	}
	s.second = anyByte
	s.max = patternMax
	return s
}

func either(a, b shape) shape {
	return shape{
		first: union(a.first, b.first), second: union(a.second, b.second), eats: union(a.eats, b.eats),
		min: min(a.min, b.min), max: max(a.max, b.max),
	}
}

// follow2 is a and then b.
func follow2(a, b shape) shape {
	s := shape{first: a.first, second: a.second, eats: union(a.eats, b.eats), min: a.min + b.min, max: min(a.max+b.max, patternMax)}
	switch {
	case a.max == 0:
		s.first, s.second = b.first, b.second
	case a.min == 0:
		s.first, s.second = union(a.first, b.first), anyByte
	case a.min == 1 && a.max == 1:
		s.second = b.first
	case a.min == 1:
		s.second = anyByte
	}
	return s
}

func literalShape(r rune, fold bool) shape {
	rs := []rune{r, r}
	if fold {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			rs = append(rs, f, f)
		}
	}
	return classShape(rs)
}

// classShape is one rune out of the ranges rs. Beyond ASCII it is told apart by length only.
func classShape(rs []rune) shape {
	s := shape{min: utf8.UTFMax}
	if len(rs) == 0 {
		return shape{min: patternMax, max: patternMax}
	}
	for i := 0; i < len(rs); i += 2 {
		lo, hi := rs[i], rs[i+1]
		s.min = min(s.min, max(1, utf8.RuneLen(lo)))
		s.max = max(s.max, max(utf8.RuneLen(hi), 1))
		for r := lo; r <= min(hi, utf8.RuneSelf-1); r++ {
			s.first[r], s.eats[r] = true, true
		}
		if hi >= utf8.RuneSelf {
			s.max = utf8.UTFMax
			for c := utf8.RuneSelf; c < 256; c++ {
				s.first[c], s.eats[c] = true, true
			}
		}
	}
	if s.max == 1 {
		s.second = anyByte
		return s
	}
	s.second = anyByte
	return s
}
