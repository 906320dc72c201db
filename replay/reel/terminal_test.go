package reel

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func cleaned(chunks ...string) string {
	var t terminal
	var b []byte
	for _, c := range chunks {
		b = t.clean(b, []byte(c))
	}
	return string(b)
}

func TestTerminal(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "hello\r\nwörld 漢字 🙂\t|", "hello\r\nwörld 漢字 🙂\t|"},
		{"colour", "\x1b[1;38;2;10;20;30mred\x1b[0m", "\x1b[1;38;2;10;20;30mred\x1b[0m"},
		{"colons", "\x1b[4:3m", "\x1b[4:3m"},
		{"cursor and erase", "\x1b[2J\x1b[H\x1b[10;5Hx\x1b[K\x1b[3A", "\x1b[2J\x1b[H\x1b[10;5Hx\x1b[K\x1b[3A"},
		{"alternate screen", "\x1b[?1049h\x1b[?25l\x1b[?1049l", "\x1b[?1049h\x1b[?25l\x1b[?1049l"},
		{"newline mode", "\x1b[20h", "\x1b[20h"},
		{"line drawing", "\x1b(0lqk\x1b(B", "\x1b(0lqk\x1b(B"},
		{"save, restore, reverse index, reset", "\x1b7\x1b8\x1bM\x1bc", "\x1b7\x1b8\x1bM\x1bc"},
		{"cursor shape, soft reset", "\x1b[2 q\x1b[!p", "\x1b[2 q\x1b[!p"},
		{"title", "a\x1b]0;owned\x07b\x1b]2;owned\x1b\\c", "abc"},
		{"clipboard", "a\x1b]52;c;b3duZWQ=\x07b", "ab"},
		{"link", "\x1b]8;;https://evil.example\x1b\\text\x1b]8;;\x1b\\", "text"},
		{"device queries", "a\x1b[c\x1b[>c\x1b[=c\x1b[5n\x1b[6n\x1b[?6n\x1b[x\x1bZb\x05", "ab"},
		{"window operations", "a\x1b[8;9999;9999t\x1b[21tb", "ab"},
		{"device control, application, privacy, start of string", "a\x1bPq#0;2\x1b\\b\x1b_x\x1b\\c\x1b^y\x1b\\d\x1bXz\x1b\\e", "abcde"},
		{"C1", "a\u009b31mb\u009d0;t\u009c", "a\ufffd31mb\ufffd0;t\ufffd"},
		{"bell and NUL", "a\x07\x00\x05b", "ab"},
		{"huge parameter", "\x1b[99999999999999999999C", "\x1b[9999C"},
		{"repeat is bounded", "x\x1b[9999b", "x\x1b[512b"},
		{"many parameters", "\x1b[" + strings.Repeat("1;", 500) + "1m", ""},
		{"too many parameters", "\x1b[" + strings.Repeat("1;", 40) + "1m", "\x1b[" + strings.Repeat("1;", 31) + "1m"},
		{"sequence too long", "a\x1b[" + strings.Repeat("0", 300) + "mb", "ab"},
		{"unknown final", "a\x1b[5yb", "ab"},
		{"unknown private", "a\x1b[>4;2mb", "ab"},
		{"escape ends a sequence", "a\x1b[31\x1b[32mb", "a\x1b[32mb"},
		{"cancel ends a sequence", "a\x1b[31\x18mb", "amb"},
		{"control inside a sequence acts", "a\x1b[3\r1mb", "a\r\x1b[31mb"},
		{"not ASCII inside a sequence", "a\x1b[3é1mb", "a1mb"},
		{"open title does not swallow the rest", "a\x1b]0;" + strings.Repeat("x", 5000) + "end", "a" + strings.Repeat("x", 5000+2-4096) + "end"},
		{"escape inside a title begins anew", "\x1b]0;x\x1b[31mred", "\x1b[31mred"},
		{"cut off", "a\x1b[3", "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := cleaned(tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// acts matches what a terminal might answer, keep or hand to its window.
var acts = regexp.MustCompile("\x1b[\\]PX^_Z]|\x1b\\[[0-9;:?>=]*[cntxy]|[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f\u0080-\u009f]")

func FuzzTerminal(f *testing.F) {
	f.Add("plain \x1b[31mred\x1b[0m", 3)
	f.Add("\x1b]0;<script>\x07\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\\x1bP$qm\x1b\\\x1b[8;9999;9999t\u009b31m\x1b[99999999b", 7)
	f.Add("\x1b]52;c;AAAA\x07\x1b[6n\x1b\x1b\x1b[", 1)
	f.Fuzz(func(t *testing.T, in string, at int) {
		in = strings.ToValidUTF8(in, "\ufffd")
		whole := cleaned(in)
		if m := acts.FindString(strings.NewReplacer("\x0e", "", "\x0f", "").Replace(whole)); m != "" {
			t.Errorf("%q lets %q through", in, m)
		}
		if !utf8.ValidString(whole) {
			t.Errorf("%q becomes %q", in, whole)
		}
		if again := cleaned(whole); again != whole {
			t.Errorf("%q becomes %q, and that %q", in, whole, again)
		}
		at = max(0, min(at, len(in)))
		for at < len(in) && !utf8.RuneStart(in[at]) {
			at++
		}
		if split := cleaned(in[:at], in[at:]); split != whole {
			t.Errorf("%q split at %d becomes %q, whole %q", in, at, split, whole)
		}
	})
}
