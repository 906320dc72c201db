package command

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// Parse returns the facts of text, a command as given to `sh -c`, by the default [Table].
func Parse(text string) *Facts { return Default().Parse(text) }

// ParseLine is [Parse] for a line typed at the prompt of an interactive shell, which reads more into it than `sh -c`.
func ParseLine(text string) *Facts { return Default().ParseLine(text) }

// Parse returns the facts of text, a command as given to `sh -c`. It never fails: what cannot be understood is Opaque.
// It is safe for concurrent use.
func (t *Table) Parse(text string) *Facts {
	f := &Facts{Text: text}
	w := walker{table: t, f: f}
	w.text(text)
	w.finish()
	return f
}

// ParseLine is Parse for a line typed at the prompt of an interactive shell. There, history expansion may replace any
// part of the line and zsh runs what stands in a comment; a line with either is opaque.
func (t *Table) ParseLine(text string) *Facts {
	f := t.Parse(text)
	if why := interactive(text); why != "" {
		f.opaque(why)
	}
	if strings.Contains(text, "#") && badText(text) == "" && hasComment(text) {
		f.opaque("zsh at a prompt runs what stands in a comment")
	}
	return f
}

// hasComment reports whether text has a comment, or may have one.
func hasComment(text string) bool {
	p := syntax.NewParser(syntax.Variant(syntax.LangBash), syntax.KeepComments(true))
	found := false
	file, err := p.Parse(&reader{rest: text}, "")
	if err != nil {
		return true
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		_, comment := n.(*syntax.Comment)
		found = found || comment
		return true
	})
	return found
}

// interactive says why an interactive shell may read text differently from `sh -c`, or "".
func interactive(text string) string {
	if strings.HasPrefix(text, "^") {
		return "history expansion: ^ at the start of the line"
	}
	if i := strings.IndexByte(text, '!'); i >= 0 {
		for ; i < len(text); i++ {
			if text[i] == '!' && i+1 < len(text) && !strings.ContainsRune(" \t\n=", rune(text[i+1])) {
				return "history expansion: ! before " + fmt.Sprintf("%q", text[i+1:i+2])
			}
		}
	}
	return ""
}

// Fields returns the words of text if it is exactly one simple command, as bash has it in BASH_COMMAND in a DEBUG trap:
// no list, pipe, redirection, assignment or substitution, and no word that is not literal after quotes and escapes are
// removed. A command with $a in it, with a glob or a brace expansion is not ok: the words that will run are unknown.
func Fields(text string) (words []string, ok bool) {
	if badText(text) != "" {
		return nil, false
	}
	file, err := parseShell(text)
	if err != nil || len(file.Stmts) != 1 {
		return nil, false
	}
	s := file.Stmts[0]
	call, isCall := s.Cmd.(*syntax.CallExpr)
	if !isCall || s.Negated || s.Background || s.Coprocess || s.Disown || len(s.Redirs) > 0 || len(call.Assigns) > 0 {
		return nil, false
	}
	for _, word := range call.Args {
		a := valueOf(word)
		if a.flags != 0 || hasBraces(word) {
			return nil, false
		}
		words = append(words, a.text)
	}
	return words, len(words) > 0
}

// badText says why text cannot be read as a shell command at all, or "".
func badText(text string) string {
	if len(text) > MaxText {
		return fmt.Sprintf("longer than %d bytes", MaxText)
	}
	plain := true
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == 0:
			return "NUL byte"
		case c < ' ' && c != '\n' && c != '\t', c == 0x7f:
			// The parser drops some of these, shells drop others, and terminals act on them.
			return fmt.Sprintf("control character 0x%02x", c)
		case c >= utf8.RuneSelf:
			plain = false
		}
	}
	if !plain && !utf8.ValidString(text) {
		return "not valid UTF-8"
	}
	return ""
}

// errDeep ends the parser when a text nests beyond what the stack should hold.
var errDeep = errors.New("nested too deeply")

// maxFrames bounds the parser's stack. It descends by recursion without a limit of its own; a level of nesting costs
// it 4 to 8 frames.
const maxFrames = 1200

// reader hands text to the parser and looks at the stack each time the parser, somewhere down in its recursion, comes
// back for more. The parser reads at most a kilobyte at a time, so it cannot descend far between two looks.
type reader struct {
	rest  string
	begun bool
}

func (r *reader) Read(p []byte) (int, error) {
	if r.begun {
		var frames [maxFrames]uintptr
		if runtime.Callers(0, frames[:]) == maxFrames {
			return 0, errDeep
		}
	}
	r.begun = true
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if len(r.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

var parsers = sync.Pool{New: func() any {
	return syntax.NewParser(syntax.Variant(syntax.LangBash))
}}

// parseShell parses text as bash. A panic in the parser is an error like any other.
func parseShell(text string) (file *syntax.File, err error) {
	p := parsers.Get().(*syntax.Parser)
	defer func() {
		if r := recover(); r != nil {
			file, err = nil, errors.New("the parser failed")
			return // p may be broken: it is not put back
		}
		parsers.Put(p)
	}()
	return p.Parse(&reader{rest: text}, "")
}

// parseWhy makes a reason of a parser's error. The text of the command is not part of it but for what the parser
// quotes, which is a token.
func parseWhy(err error) string {
	if errors.Is(err, errDeep) {
		return errDeep.Error()
	}
	msg := err.Error()
	if len(msg) > 120 {
		msg = strings.ToValidUTF8(msg[:120], "") + "..."
	}
	return "cannot be parsed: " + msg
}
