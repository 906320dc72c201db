package reel

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// namedKeys are what terminals send for keys that have a name, as xterm does. Longer ones stand first.
var namedKeys = []struct{ sends, name string }{
	{"\x1b[200~", ""}, {"\x1b[201~", ""}, // around what is pasted
	{"\x1b[3~", "⌦"}, {"\x1b[5~", "⇞"}, {"\x1b[6~", "⇟"}, {"\x1b[1~", "⇱"}, {"\x1b[4~", "⇲"},
	{"\x1b[A", "↑"}, {"\x1b[B", "↓"}, {"\x1b[C", "→"}, {"\x1b[D", "←"}, {"\x1b[H", "⇱"}, {"\x1b[F", "⇲"},
	{"\x1bOA", "↑"}, {"\x1bOB", "↓"}, {"\x1bOC", "→"}, {"\x1bOD", "←"}, {"\x1bOH", "⇱"}, {"\x1bOF", "⇲"},
	{"\r", "⏎"}, {"\n", "⏎"}, {"\t", "⇥"}, {"\x7f", "⌫"}, {"\b", "⌫"}, {"\x1b", "⎋"},
}

// keyNames writes what was typed for people: characters as they are, other keys by a sign, and nothing in it acts.
func keyNames(typed string) string {
	var b strings.Builder
	for typed != "" && b.Len() < maxLabel {
		typed = typed[keyName(&b, typed):]
	}
	if typed != "" {
		b.WriteString("…")
	}
	return b.String()
}

// keyName writes the first key of typed, and returns how many bytes it took.
func keyName(b *strings.Builder, typed string) int {
	for _, k := range namedKeys {
		if strings.HasPrefix(typed, k.sends) {
			b.WriteString(k.name)
			return len(k.sends)
		}
	}
	r, n := utf8.DecodeRuneInString(typed)
	switch {
	case r < 0x20:
		b.WriteString("^" + string(r+'@'))
	case r >= 0x80 && r < 0xa0, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f, r >= 0x200b && r <= 0x200f, r == 0xfeff:
		fmt.Fprintf(b, "⟨U+%04X⟩", r)
	default:
		b.WriteString(typed[:n])
	}
	return n
}
