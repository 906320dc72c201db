package sql

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds on what the grammar is given. The first parses in well under a second; beyond the others its
// recursion would end in a stack overflow, which only ends the process it runs in, but costs a new one.
const (
	MaxText    = 1 << 20 // bytes
	MaxNesting = 400     // of brackets, anywhere in the text
	MaxTerms   = 20000   // operators, anywhere in the text
)

// Session is what of a session's state changes how its statements are cut.
type Session struct {
	// PlainBackslash is standard_conforming_strings: a backslash in '...' is a character like any other.
	// False also when it is not certain.
	PlainBackslash bool
	// UTF8 says that the client's encoding is UTF-8. In others a byte of a character may look like a quote
	// or a backslash, and the server converts before it reads.
	UTF8 bool
}

// Check says why text must not be given to the grammar, or "". It looks at bytes only: text that passes
// means the same to the grammar as it does to the server.
func Check(text string, s Session) string {
	if len(text) > MaxText {
		return fmt.Sprintf("is longer than %d bytes", MaxText)
	}
	if !s.UTF8 {
		for i := 0; i < len(text); i++ {
			if text[i] >= utf8.RuneSelf {
				return "is not plain ASCII, and the client's encoding is not UTF8"
			}
		}
	} else if !utf8.ValidString(text) {
		return "is not valid UTF-8"
	}
	if strings.IndexByte(text, 0) >= 0 {
		return "holds a zero byte"
	}
	// Without a backslash both settings cut a text alike: they differ in nothing else, and U&'' is an error
	// where it could differ.
	if !s.PlainBackslash && strings.IndexByte(text, '\\') >= 0 {
		return "has a backslash while standard_conforming_strings is off, or may be"
	}
	return deep(text)
}

// deep counts brackets and operators, wherever they stand: in a string or comment they cost nothing, and a
// text with so many there is rare.
func deep(text string) string {
	nesting, deepest, terms := 0, 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '(', '[':
			if nesting++; nesting > deepest {
				deepest = nesting
			}
		case ')', ']':
			nesting--
		case '+', '-', '*', '/', '%', '^', '<', '>', '=', '~', '!', '@', '#', '&', '|', ':':
			terms++
		}
	}
	terms += keywords(text)
	switch {
	case deepest > MaxNesting:
		return fmt.Sprintf("nests brackets more than %d deep", MaxNesting)
	case terms > MaxTerms:
		return fmt.Sprintf("has more than %d operators", MaxTerms)
	}
	return ""
}

// keywords counts the words that chain like operators do.
func keywords(text string) int {
	if len(text) < MaxTerms {
		return 0
	}
	upper, n := strings.ToUpper(text), 0
	for _, w := range []string{"AND", "OR", "NOT", "UNION", "EXCEPT", "INTERSECT", "JOIN", "CASE", "COLLATE", "IS", "IN", "LIKE", "BETWEEN", "AT"} {
		n += strings.Count(upper, w)
	}
	return n
}
