package mask

import (
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// A shape is what is known of every match of a regular expression, in bytes.
type shape struct {
	at       [4][256]bool // what can be its first bytes, as far as it has any
	eats     [256]bool    // what it can consume
	min, max int          // its length; max is unbounded from patternMax on
}

// anchor is where a match can start. Beyond the shortest match anything can follow.
func (s *shape) anchor() (a anchor) {
	a.lane = laneOperator
	for k := range a.at {
		a.at[k] = setAny
		if k < s.min {
			a.at[k] = &s.at[k]
		}
	}
	return a
}

func union(a *[256]bool, b [256]bool) {
	for i := range a {
		a[i] = a[i] || b[i]
	}
}

// shapeOf walks re, which is simplified.
func shapeOf(re *syntax.Regexp) shape {
	switch re.Op {
	case syntax.OpLiteral:
		var s shape
		for _, r := range re.Rune {
			s = s.then(literalShape(r, re.Flags&syntax.FoldCase != 0))
		}
		return s
	case syntax.OpCharClass:
		return classShape(re.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return classShape([]rune{0, unicode.MaxRune})
	case syntax.OpCapture:
		return shapeOf(re.Sub[0])
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		return repeatShape(re)
	case syntax.OpConcat:
		var s shape
		for _, sub := range re.Sub {
			s = s.then(shapeOf(sub))
		}
		return s
	case syntax.OpAlternate:
		s := shapeOf(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			s = s.or(shapeOf(sub))
		}
		return s
	case syntax.OpNoMatch:
		return shape{min: patternMax, max: patternMax}
	}
	return shape{} // anchors and boundaries
}

func repeatShape(re *syntax.Regexp) shape {
	s := shapeOf(re.Sub[0])
	if re.Op != syntax.OpQuest {
		for range 3 { // what four bytes can see of any number of times
			more := s.or(shape{})
			s = s.then(more)
		}
		s.max = patternMax
	}
	if re.Op != syntax.OpPlus {
		s = s.or(shape{})
	}
	return s
}

func (s shape) or(o shape) shape {
	for k := range s.at {
		union(&s.at[k], o.at[k])
	}
	union(&s.eats, o.eats)
	s.min, s.max = min(s.min, o.min), max(s.max, o.max)
	return s
}

// then is s followed by o.
func (s shape) then(o shape) shape {
	r := shape{at: s.at, eats: s.eats, min: min(s.min+o.min, patternMax), max: min(s.max+o.max, patternMax)}
	union(&r.eats, o.eats)
	for k := range r.at {
		for n := s.min; n <= min(s.max, k); n++ { // s is n bytes long
			union(&r.at[k], o.at[k-n])
		}
	}
	return r
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

// classShape is one rune out of the ranges rs. Bytes beyond ASCII are not told apart; one that is no UTF-8
// matches as a rune of one byte.
func classShape(rs []rune) shape {
	if len(rs) == 0 {
		return shape{min: patternMax, max: patternMax}
	}
	s := shape{min: 1, max: 1}
	for i := 0; i < len(rs); i += 2 {
		lo, hi := rs[i], rs[i+1]
		for r := lo; r <= min(hi, utf8.RuneSelf-1); r++ {
			s.at[0][r] = true
		}
		if hi < utf8.RuneSelf {
			continue
		}
		s.max = utf8.UTFMax
		for c := utf8.RuneSelf; c < 256; c++ {
			for k := range s.at {
				s.at[k][c] = true
			}
		}
	}
	for k := range s.at {
		union(&s.eats, s.at[k])
	}
	return s
}
