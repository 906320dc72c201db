package sql

import "strings"

// Shape takes the whole numbers out of a text: two texts of one shape differ in nothing else, and [Read] finds the
// same in both. Values are the numbers, as they stand in the text, between blanks. Ok is false for a text that is too
// long, or that has anything in it whose cutting depends on more than the bytes beside it: quotes, comments, dollars,
// backslashes, and whatever is not ASCII.
//
// A number here has at most nine digits, so that it is an integer constant to PostgreSQL's grammar, whichever it is,
// and no letter, digit, underscore or point beside it: t1, 1.5, 1e5, 0x1F and 1_000 stay as they are.
func Shape(text string) (shape, values string, ok bool) {
	if len(text) > maxShaped {
		return "", "", false
	}
	b, v := make([]byte, 0, len(text)), make([]byte, 0, 32)
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case !shapely[c], i+1 < len(text) && (c == '-' && text[i+1] == '-' || c == '/' && text[i+1] == '*'):
			return "", "", false
		case !joins[c]:
			b = append(b, c)
			i++
			continue
		}
		end := i
		number := true
		for end < len(text) && joins[text[end]] {
			number = number && text[end] >= '0' && text[end] <= '9'
			end++
		}
		if number && end-i <= maxDigits {
			b = append(b, '?')
			v = append(append(v, ' '), text[i:end]...)
		} else {
			b = append(b, text[i:end]...)
		}
		i = end
	}
	return string(b), string(v), true
}

const (
	maxShaped = 4 << 10
	maxDigits = 9 // 2,147,483,647 has ten
)

// Shaped tells whether what was read of one text of a shape holds for all: it is one statement of the kinds in which no
// number changes what is read.
func Shaped(all []Statement) bool {
	if len(all) != 1 {
		return false
	}
	switch s := &all[0]; s.Verb {
	case "SELECT", "INSERT", "UPDATE", "DELETE":
		return s.Inner == nil && s.CopyOut == nil && len(s.Settings) == 0
	}
	return false
}

// joins are the bytes of words and numbers.
var joins, shapely = func() (j, s [256]bool) {
	for c := range 128 {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == '.':
			j[c], s[c] = true, true
		case strings.IndexByte(" \n\t\r,()=<>+-*/%;", byte(c)) >= 0:
			s[c] = true
		}
	}
	return j, s
}()
