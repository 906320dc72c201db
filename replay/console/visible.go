package console

import (
	"fmt"
	"html/template"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"

	"github.com/sallyport-ssh/sallyport/policies"
)

// exact renders bytes that a person must judge: every byte is there, in the order it is in memory,
// and what cannot be seen or could pass for something else is shown by name. Nothing is cut.
//
// Printable ASCII is itself. Control characters become their names (⟨ESC⟩), everything invisible or
// reordering its code point (⟨U+202E⟩), bytes that are not UTF-8 become ⟨\xff⟩, and letters outside ASCII
// stay readable but are marked with their code point, each in an element of its own so that no
// right-to-left letter moves its neighbours; those that can be taken for others show their code point.
func exact(text string) template.HTML {
	var b strings.Builder
	b.Grow(len(text) + len(text)/8)
	deceives := policies.Marked(text)
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n <= 1:
			named(&b, fmt.Sprintf("\\x%02x", text[i]), fmt.Sprintf("byte 0x%02x, not UTF-8", text[i]))
		case r == '\n':
			b.WriteString(`<span class="ctl nl" title="line feed">↵</span>` + "\n")
		case r < 0x20 || r == 0x7f:
			named(&b, controlName(r), fmt.Sprintf("%U, control character", r))
		case r == ' ' && lastOnLine(text[i:]):
			b.WriteString(`<span class="ctl" title="space at the end of the line">·</span>`)
		case r < 0x7f:
			template.HTMLEscape(&b, []byte{byte(r)})
		case deceives[i] && plainGlyph(r):
			named(&b, fmt.Sprintf("%U %c", r, isolated(r)), fmt.Sprintf("%U, can be taken for another character", r))
		case plainGlyph(r):
			fmt.Fprintf(&b, `<span class="uni" title="%U">%s</span>`, r, template.HTMLEscapeString(string(r)))
		default:
			named(&b, fmt.Sprintf("%U", r), fmt.Sprintf("%U, %s", r, whyHidden(r)))
		}
		i += n
	}
	return template.HTML(b.String()) // every piece above is either constant or escaped
}

// controlNames are those of ISO 646; fonts that draw Unicode's pictures of them are rare.
var controlNames = [...]string{
	"NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI",
	"DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
}

func controlName(r rune) string {
	if r == 0x7f {
		return "DEL"
	}
	return controlNames[r]
}

func named(b *strings.Builder, name, title string) {
	fmt.Fprintf(b, `<span class="ctl" title="%s">⟨%s⟩</span>`, title, name)
}

// lastOnLine tells whether the spaces that rest starts with end a line: they would not be seen.
func lastOnLine(rest string) bool {
	rest = strings.TrimLeft(rest, " ")
	return rest == "" || rest[0] == '\n' || rest[0] == '\r'
}

// plainGlyph tells whether r has a visible glyph of its own that neither joins the one before it
// nor moves what is around it.
func plainGlyph(r rune) bool {
	switch {
	case blank(r), !unicode.IsPrint(r), unicode.Is(unicode.M, r), unicode.Is(unicode.Variation_Selector, r):
		return false
	}
	return true
}

// blank holds the letters and symbols that Unicode calls printable and fonts show as nothing.
func blank(r rune) bool {
	switch r {
	case 0x115f, 0x1160, 0x17b4, 0x17b5, 0x2800, 0x3164, 0xffa0, 0x1d159:
		return true
	}
	return unicode.IsSpace(r)
}

func whyHidden(r rune) string {
	switch {
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x61c:
		return "changes the order in which text is shown"
	case unicode.Is(unicode.Cf, r):
		return "invisible"
	case blank(r):
		return "looks like a space"
	case unicode.Is(unicode.M, r):
		return "joins the character before it"
	case r >= 0x80 && r < 0xa0:
		return "control character"
	}
	return "has no glyph"
}

// isolated is r itself, or a placeholder where it would move what stands around it.
func isolated(r rune) rune {
	if p, _ := bidi.LookupRune(r); p.Class() == bidi.R || p.Class() == bidi.AL || p.Class() == bidi.AN {
		return '□'
	}
	return r
}

// strange counts the characters of text that exact shows in another shape or marks.
func strange(text string) (n int) {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if r > 0x7e || r < 0x20 && r != '\n' && r != '\t' {
			n++
		}
		i += size
	}
	return n
}

// plain makes one line of text fit for a label, a title or a table cell: control, bidirectional and
// zero-width characters become visible placeholders, and so do line breaks. It keeps
// the rest and cuts nothing; escaping is the template's work.
func plain(text string) string {
	clean := true
	for _, r := range text {
		if r != ' ' && (r < 0x21 || r > 0x7e) {
			clean = false
			break
		}
	}
	if clean {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n <= 1:
			fmt.Fprintf(&b, "⟨\\x%02x⟩", text[i])
		case r == '\n':
			b.WriteString("↵ ")
		case r < 0x20 || r == 0x7f:
			b.WriteString("⟨" + controlName(r) + "⟩")
		case r != ' ' && (blank(r) || !unicode.IsPrint(r)):
			fmt.Fprintf(&b, "⟨%U⟩", r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// brief is plain, cut to at most limit characters for a list. What must be judged is never cut.
func brief(limit int, text string) string {
	text = plain(text)
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-1]) + "…"
}
