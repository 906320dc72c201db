package policies

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Problem is what is wrong with a policy file, and where.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`   // from 1
	Column int    `json:"column"` // from 1, in characters
	Policy string `json:"policy,omitempty"`
	What   string `json:"what"`
	Hint   string `json:"hint,omitempty"` // what to do
}

func (p Problem) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.What)
	if p.Hint != "" {
		s += "; " + p.Hint
	}
	return s
}

// Problems is everything that is wrong with a set of policies.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// err returns ps as an error, nil if nothing is wrong.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// token is a word of a policy: an identifier, a string with its quotes, or one punctuation character.
type token struct {
	text   string
	offset int
}

// tokens cuts Cedar text that has parsed already into words, to say where in it a problem is.
func tokens(text string, from, to int) []token {
	var out []token
	for i := from; i < to; {
		start := i
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
			continue
		case strings.HasPrefix(text[i:to], "//"):
			if n := strings.IndexByte(text[i:to], '\n'); n >= 0 {
				i += n
			} else {
				i = to
			}
			continue
		case c == '"':
			i = endOfString(text, i, to)
		case isWordByte(c):
			for i < to && isWordByte(text[i]) {
				i++
			}
		default:
			_, n := utf8.DecodeRuneInString(text[i:to])
			i += n
		}
		out = append(out, token{text[start:i], start})
	}
	return out
}

func isWordByte(c byte) bool {
	return c == '_' || c < utf8.RuneSelf && (unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c)))
}

func endOfString(text string, i, to int) int {
	for i++; i < to; i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return to
}

// position returns line and column of a byte offset.
func position(text string, offset int) (line, column int) {
	offset = min(offset, len(text))
	before := text[:offset]
	line = 1 + strings.Count(before, "\n")
	return line, 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}

// find returns where the words of want stand next to each other between from and to, or from if they do not.
func find(text string, from, to int, want ...string) int {
	ts := tokens(text, from, to)
	for i := 0; i+len(want) <= len(ts); i++ {
		match := true
		for j, w := range want {
			match = match && ts[i+j].text == w
		}
		if match {
			return ts[i].offset
		}
	}
	return from
}
