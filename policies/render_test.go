package policies

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
)

func TestRender(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "rm -rf /srv/demo/old 2>&1 | tee '$x' \\`~", "rm -rf /srv/demo/old 2>&1 | tee '$x' \\`~"},
		{"empty", "", ""},
		{"override", "a\u202eb", "a⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩b"},
		{"isolate", "\u2066x\u2069", "⟨U+2066 LEFT-TO-RIGHT ISOLATE⟩x⟨U+2069 POP DIRECTIONAL ISOLATE⟩"},
		{"zero width", "r\u200bm \ufeff", "r⟨U+200B ZERO WIDTH SPACE⟩m ⟨U+FEFF ZERO WIDTH NO-BREAK SPACE⟩"},
		{"terminal escape", "x\x1b[2K\rls\x07", "x⟨U+001B ESCAPE⟩[2K⟨U+000D CARRIAGE RETURN⟩ls⟨U+0007 BELL⟩"},
		{"C1", "\u009b31m", "⟨U+009B CONTROL SEQUENCE INTRODUCER⟩31m"},
		{"newline and tab", "a\n\tb\x00\x7f", "a⟨U+000A LINE FEED⟩⟨U+0009 TAB⟩b⟨U+0000 NULL⟩⟨U+007F DELETE⟩"},
		{"not UTF-8", "a\xffb\xc3", "a⟨byte 0xFF⟩b⟨byte 0xC3⟩"},
		{"replacement character itself", "\ufffd", "⟨U+FFFD REPLACEMENT CHARACTER⟩"},
		{"forged mark", "⟨U+0041⟩", "⟨U+27E8 MATHEMATICAL LEFT ANGLE BRACKET⟩U+0041⟨U+27E9 MATHEMATICAL RIGHT ANGLE BRACKET⟩"},
		{"one Cyrillic letter", "/srv/dеmo", "/srv/d⟨U+0435 CYRILLIC SMALL LETTER IE⟩mo"},
		{"a whole word that looks Latin", "сс x", "⟨U+0441 CYRILLIC SMALL LETTER ES⟩⟨U+0441 CYRILLIC SMALL LETTER ES⟩ x"},
		{"honest Cyrillic", "cat привет/файл", "cat привет/файл"},
		{"honest Greek", "ls ελληνικά", "ls ελληνικά"},
		{"Greek among Cyrillic", "приветω", "⟨U+043F CYRILLIC SMALL LETTER PE⟩⟨U+0440 CYRILLIC SMALL LETTER ER⟩⟨U+0438 CYRILLIC SMALL LETTER I⟩⟨U+0432 CYRILLIC SMALL LETTER VE⟩⟨U+0435 CYRILLIC SMALL LETTER IE⟩⟨U+0442 CYRILLIC SMALL LETTER TE⟩⟨U+03C9 GREEK SMALL LETTER OMEGA⟩"},
		{"honest accents", "cat naïve-café e\u0301", "cat naïve-café e\u0301"},
		{"Japanese", "日本語テストの", "日本語テストの"},
		{"fullwidth", "ｒm", "⟨U+FF52 FULLWIDTH LATIN SMALL LETTER R⟩m"},
		{"mathematical", "𝐫𝐦", "⟨U+1D42B MATHEMATICAL BOLD SMALL R⟩⟨U+1D426 MATHEMATICAL BOLD SMALL M⟩"},
		{"spaces", "a\u00a0b\u3000", "a⟨U+00A0 NO-BREAK SPACE⟩b⟨U+3000 IDEOGRAPHIC SPACE⟩"},
		{"looks empty", "a\u3164\u2800", "a⟨U+3164 HANGUL FILLER⟩⟨U+2800 BRAILLE PATTERN BLANK⟩"},
		{"quotes and dashes", "“x” −r", "⟨U+201C LEFT DOUBLE QUOTATION MARK⟩x⟨U+201D RIGHT DOUBLE QUOTATION MARK⟩ ⟨U+2212 MINUS SIGN⟩r"},
		{"slash lookalike", "a∕b", "a⟨U+2215 DIVISION SLASH⟩b"},
		{"combining on punctuation", "/\u0338", "/⟨U+0338 COMBINING LONG SOLIDUS OVERLAY⟩"},
		{"a heap of combining", "e\u0301\u0302\u0303", "e\u0301\u0302⟨U+0303 COMBINING TILDE⟩"},
		{"right to left letters", "rm א", "rm ⟨U+05D0 HEBREW LETTER ALEF⟩"},
		{"tags", "a\U000e0041", "a⟨U+E0041 TAG LATIN CAPITAL LETTER A⟩"},
		{"variation selector", "a\ufe0f", "a⟨U+FE0F VARIATION SELECTOR-16⟩"},
		{"private use", "\ue000", "⟨U+E000 PRIVATE USE⟩"},
		{"unassigned", "\U000effff", "⟨U+EFFFF UNASSIGNED⟩"},
		{"emoji", "echo 👍", "echo 👍"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Render([]byte(tt.in)); got != tt.want {
				t.Errorf("Render(%q)\n got %s\nwant %s", tt.in, got, tt.want)
			}
		})
	}
}

func TestRenderLines(t *testing.T) {
	got := strings.Join(RenderLines([]byte("a\nb\n\nc")), "|")
	if want := "a⟨U+000A LINE FEED⟩|b⟨U+000A LINE FEED⟩|⟨U+000A LINE FEED⟩|c"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestRenderLookalikes holds the tables to their purpose: in a Latin word every foreign letter is marked, and what looks
// like ASCII punctuation is marked anywhere.
func TestRenderLookalikes(t *testing.T) {
	for r := range resemblesLatin {
		if got := Render([]byte("x" + string(r))); got == "x"+string(r) {
			t.Errorf("%U %c is shown as itself in a Latin word", r, r)
		}
		if got := Render([]byte(string(r))); unicode.IsLetter(r) && got == string(r) {
			t.Errorf("%U %c is shown as itself alone", r, r)
		}
	}
	for r := range resemblesASCII {
		if got := Render([]byte(string(r))); got == string(r) {
			t.Errorf("%U %c is shown as itself", r, r)
		}
	}
}

var markPattern = regexp.MustCompile(`⟨(?:byte 0x([0-9A-F]{2})|U\+([0-9A-F]{4,6}) [A-Z0-9 ,()-]+)⟩`)

// unrender gives back the bytes that Render was shown.
func unrender(t *testing.T, s string) string {
	return markPattern.ReplaceAllStringFunc(s, func(m string) string {
		sub := markPattern.FindStringSubmatch(m)
		if sub[1] != "" {
			b, err := strconv.ParseUint(sub[1], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			return string([]byte{byte(b)})
		}
		r, err := strconv.ParseUint(sub[2], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return string(rune(r))
	})
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{"rm -rf /", "d\u0435mo", "a\u202e\xff\x1b[31m⟨U+0041 X⟩", "e\u0301\u0302\u0303\u0304", "日本", "\u200b\U000e0001", "<script>&amp;"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out := Render(in)
		if back := unrender(t, out); back != string(in) {
			t.Fatalf("Render(%q) = %q, which reads as %q", in, out, back)
		}
		if !utf8.ValidString(out) {
			t.Fatalf("Render(%q) = %q is not UTF-8", in, out)
		}
		for _, r := range out {
			p, _ := bidi.LookupRune(r)
			if c := p.Class(); unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || c == bidi.R || c == bidi.AL {
				t.Fatalf("Render(%q) = %q lets %U through", in, out, r)
			}
		}
		if lines := strings.Join(RenderLines(in), ""); lines != out {
			t.Fatalf("RenderLines(%q) = %q, Render %q", in, lines, out)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	for name, s := range map[string]string{"ascii": "rm -rf /srv/demo/old && systemctl restart nginx", "cyrillic": "привет мир, и снова привет"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				Render([]byte(s))
			}
		})
	}
}
