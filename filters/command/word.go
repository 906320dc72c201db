package command

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// What a word is beyond its text.
type flags uint8

const (
	unknown flags = 1 << iota // parts are known only to the shell that runs it
	lead                      // it may begin with anything, a dash included, or become several words or none
	glob                      // may become names of files
	ansi                      // has $'' or $"", which dash reads as a $ and a string
	number                    // unknown, but made of digits only
	stream                    // the name of a process substitution
	split                     // may become several words or none
)

// arg is one word as far as it is known: text is its value, with what is unknown as it stands in the source.
type arg struct {
	text  string
	flags flags
}

func literal(s string) arg { return arg{text: s} }

func (a arg) is(f flags) bool { return a.flags&f != 0 }

// valueOf returns the value of a word without brace expansion.
func valueOf(word *syntax.Word) arg {
	if len(word.Parts) == 1 {
		if lit, ok := word.Parts[0].(*syntax.Lit); ok && !strings.ContainsAny(lit.Value, `\*?[`) {
			return arg{text: lit.Value}
		}
	}
	var v value
	v.parts(word.Parts, false)
	a := arg{text: v.b.String(), flags: v.flags}
	if a.text == "[" || a.text == "[[" {
		a.flags &^= glob | lead
	}
	return a
}

// value collects a word's value.
type value struct {
	b     strings.Builder
	flags flags
}

func (v *value) parts(parts []syntax.WordPart, quoted bool) {
	for _, part := range parts {
		v.part(part, quoted)
	}
}

func (v *value) part(part syntax.WordPart, quoted bool) {
	switch p := part.(type) {
	case *syntax.Lit:
		v.lit(p.Value, quoted)
	case *syntax.SglQuoted:
		if !p.Dollar {
			v.b.WriteString(p.Value)
			return
		}
		v.flags |= ansi
		s, ok := ansiC(p.Value)
		if !ok {
			v.unknown("", quoted)
		}
		v.b.WriteString(s)
	case *syntax.DblQuoted:
		if p.Dollar {
			v.flags |= ansi
		}
		v.parts(p.Parts, true)
	case *syntax.ParamExp:
		if numeric(p) {
			v.flags |= number
			v.b.WriteString("$" + paramName(p))
			return
		}
		v.unknown("$"+paramName(p), quoted)
	case *syntax.CmdSubst:
		v.unknown("$(...)", quoted)
	case *syntax.ArithmExp:
		// Its value may have a sign.
		if v.b.Len() == 0 {
			v.flags |= unknown
		}
		v.flags |= number
		v.b.WriteString("$((...))")
	case *syntax.ProcSubst:
		v.flags |= stream
		v.b.WriteString("/dev/fd/63")
	case *syntax.ExtGlob:
		v.pattern()
		v.flags |= unknown
		v.b.WriteString(p.Op.String() + p.Pattern.Value + ")")
	default:
		v.unknown("?", false)
	}
}

// unknown notes a part that the shell will replace. Unquoted, it is split into words.
func (v *value) unknown(shown string, quoted bool) {
	if !quoted {
		v.flags |= split
	}
	if !quoted || v.b.Len() == 0 {
		v.flags |= lead
	}
	v.flags |= unknown
	v.b.WriteString(shown)
}

func (v *value) pattern() {
	if v.b.Len() == 0 {
		v.flags |= lead
	}
	v.flags |= glob
}

// lit adds a literal, with backslashes removed as the shell removes them.
func (v *value) lit(s string, quoted bool) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s) && (!quoted || strings.IndexByte("$`\"\\", s[i+1]) >= 0):
			i++
			v.b.WriteByte(s[i])
		case !quoted && (c == '*' || c == '?' || c == '['):
			v.pattern()
			v.b.WriteByte(c)
		default:
			v.b.WriteByte(c)
		}
	}
}

func paramName(p *syntax.ParamExp) string {
	if p.Param == nil {
		return "?"
	}
	return p.Param.Value
}

// numeric reports whether p always expands to digits: a special parameter that is one, or a length.
func numeric(p *syntax.ParamExp) bool {
	if p.Param == nil || p.Excl || p.Width || p.IsSet || p.Index != nil || p.Slice != nil || p.Repl != nil ||
		p.Exp != nil || p.Names != 0 || p.Flags != nil || len(p.Modifiers) > 0 || p.NestedParam != nil {
		return false
	}
	if p.Length {
		return true
	}
	switch p.Param.Value {
	case "?", "#", "$", "!":
		return true
	}
	return false
}

// ansiC decodes the inside of $'...' as bash does. It is not ok where shells differ on what comes out.
func ansiC(s string) (string, bool) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if j := strings.IndexByte(`abeEfnrtv\'"?`, s[i]); j >= 0 {
			b.WriteByte("\a\b\x1b\x1b\f\n\r\t\v\\'\"?"[j])
			continue
		}
		n, ok := ansiNumber(s[i:], &b)
		if !ok {
			return b.String(), false
		}
		i += n - 1
	}
	out := b.String()
	return out, utf8.ValidString(out) && strings.IndexByte(out, 0) < 0
}

// ansiNumber decodes the escape after a backslash at the start of s as \nnn, \xHH, \uHHHH or \UHHHHHHHH, and returns
// how much of s it used.
func ansiNumber(s string, b *strings.Builder) (int, bool) {
	start, base, most := 1, 16, 2
	switch s[0] {
	case 'x':
	case 'u':
		most = 4
	case 'U':
		most = 8
	case '0', '1', '2', '3', '4', '5', '6', '7':
		start, base, most = 0, 8, 3
	default: // \cX, and what bash leaves as it is and others do not
		return 0, false
	}
	end := start
	for end < len(s) && end < start+most && isDigit(s[end], base) {
		end++
	}
	n, err := strconv.ParseUint(s[start:end], base, 32)
	if err != nil || n > utf8.MaxRune {
		return 0, false
	}
	if most > 3 {
		b.WriteRune(rune(n))
	} else {
		b.WriteByte(byte(n))
	}
	return end, true
}

func isDigit(c byte, base int) bool {
	if base == 8 {
		return c >= '0' && c <= '7'
	}
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// maxBraces bounds the words that one word with braces becomes.
const maxBraces = 64

func hasBraces(word *syntax.Word) bool {
	for _, part := range word.Parts {
		if lit, ok := part.(*syntax.Lit); ok && strings.IndexByte(lit.Value, '{') >= 0 {
			return true
		}
	}
	return false
}

// words returns the values that word becomes. Braces are expanded as bash and zsh do; dash takes them literally, which
// names a program or file that hardly exists. A sequence, or more than maxBraces words, is one unknown word.
func words(dst []arg, word *syntax.Word) []arg {
	if !hasBraces(word) {
		return append(dst, valueOf(word))
	}
	copied := &syntax.Word{Parts: word.Parts}
	if !syntax.SplitBraces(copied) {
		return append(dst, valueOf(word))
	}
	all, ok := braces(copied.Parts, nil)
	if !ok {
		return append(dst, arg{text: valueOf(word).text, flags: unknown | lead | split})
	}
	for _, parts := range all {
		a := valueOf(&syntax.Word{Parts: parts})
		// An empty word made of braces vanishes.
		if a.text != "" {
			dst = append(dst, a)
		}
	}
	return dst
}

// braces returns the cartesian product of the brace expansions in parts.
func braces(parts []syntax.WordPart, prefix []syntax.WordPart) ([][]syntax.WordPart, bool) {
	for i, part := range parts {
		exp, ok := part.(*syntax.BraceExp)
		if !ok {
			prefix = append(prefix[:len(prefix):len(prefix)], part)
			continue
		}
		if exp.Sequence {
			return nil, false
		}
		var all [][]syntax.WordPart
		for _, elem := range exp.Elems {
			heads, ok := braces(elem.Parts, prefix)
			if !ok {
				return nil, false
			}
			for _, head := range heads {
				tails, ok := braces(parts[i+1:], head)
				if all = append(all, tails...); !ok || len(all) > maxBraces {
					return nil, false
				}
			}
		}
		return all, true
	}
	return [][]syntax.WordPart{prefix}, true
}
