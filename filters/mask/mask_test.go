package mask

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func engine(t testing.TB, c Config) *Engine {
	t.Helper()
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// whole masks in as one chunk.
func whole(e *Engine, o StreamOptions, in string) string {
	s := e.Stream(o)
	return string(s.Close(s.Append(nil, []byte(in))))
}

// everyCut fails if some way of cutting in gives something else than want: single bytes, and every cut in two.
func everyCut(t testing.TB, e *Engine, o StreamOptions, in, want string) {
	t.Helper()
	s := e.Stream(o)
	var out []byte
	for i := range len(in) {
		out = s.Append(out, []byte(in[i:i+1]))
	}
	if out = s.Close(out); string(out) != want {
		t.Errorf("%v, single bytes of %q:\n got %q\nwant %q", o.Style, in, out, want)
	}
	for i := 1; i < len(in); i++ {
		out = s.Append(out[:0], []byte(in[:i]))
		out = s.Append(out, []byte(in[i:]))
		if out = s.Close(out); string(out) != want {
			t.Fatalf("%v, %q cut before byte %d:\n got %q\nwant %q", o.Style, in, i, out, want)
		}
	}
}

// j joins parts: no test file holds a token that a scanner would take for a real one.
func j(parts ...string) string { return strings.Join(parts, "") }

type row struct{ in, want string } // want empty: unchanged

func (r row) check(t *testing.T, e *Engine, name string) {
	t.Helper()
	want := r.want
	if want == "" {
		want = r.in
	}
	if got := whole(e, StreamOptions{}, r.in); got != want {
		t.Errorf("%s: %q\n got %q\nwant %q", name, r.in, got, want)
	}
	for _, st := range []Style{Stars, Last4, Token} {
		o := StreamOptions{Style: st}
		everyCut(t, e, o, r.in, whole(e, o, r.in))
	}
}

func TestDetectors(t *testing.T) {
	e := engine(t, Config{TokenKey: []byte("0123456789abcdef")})
	for name, rows := range detectorRows {
		t.Run(name, func(t *testing.T) {
			for _, r := range rows {
				r.check(t, e, name)
				if r.want == "" {
					continue
				}
				s := e.Stream(StreamOptions{})
				s.Close(s.Append(nil, []byte(r.in)))
				if s.Hits()[name] == 0 {
					t.Errorf("%q: hits %v do not name %s", r.in, s.Hits(), name)
				}
			}
		})
	}
	for _, d := range Detectors() {
		if _, ok := vendorExamples()[d.Name]; ok {
			continue
		}
		if len(detectorRows[d.Name]) == 0 {
			t.Errorf("detector %q has no examples", d.Name)
		}
	}
}

func TestStyles(t *testing.T) {
	e := engine(t, Config{TokenKey: []byte("0123456789abcdef")})
	for _, tt := range []struct {
		style    Style
		in, want string
	}{
		{Last4, "4111 1111 1111 1111", "4111 11** **** 1111"},
		{Last4, "DE89 3704 0044 0532 0130 00\n", "DE89 **** **** **** **30 00\n"},
		{Last4, "123-45-6789", "***-**-6789"},
		{Last4, "jane@example.com", "j***@*******.***"},
	} {
		if got := whole(e, StreamOptions{Style: tt.style}, tt.in); got != tt.want {
			t.Errorf("%v of %q: got %q, want %q", tt.style, tt.in, got, tt.want)
		}
	}
}

func TestTokensAreEqualForEqualValues(t *testing.T) {
	e := engine(t, Config{Style: Token, TokenKey: []byte("0123456789abcdef")})
	a := whole(e, StreamOptions{}, "4111-1111-1111-1111")
	b := whole(e, StreamOptions{}, "4111 1111 1111 1111")
	c := whole(e, StreamOptions{}, "4111111111111111")
	if a != b || b != c || !strings.HasPrefix(a, "card:") || len(a) != len("card:")+tokenDigits {
		t.Errorf("tokens of one card: %q %q %q", a, b, c)
	}
	other := engine(t, Config{Style: Token, TokenKey: []byte("fedcba9876543210")})
	if d := whole(other, StreamOptions{}, "4111111111111111"); d == c {
		t.Errorf("another key gives the same token %q", d)
	}
	if d := whole(e, StreamOptions{}, "5555555555554444"); d == c {
		t.Errorf("another card gives the same token %q", d)
	}
	if j := whole(e, StreamOptions{}, `{"n": 4111111111111111}`); j != `{"n": "`+c+`"}` {
		t.Errorf("a JSON number becomes %s", j)
	}
}

func TestEscapesInsideValues(t *testing.T) {
	e := engine(t, Config{TokenKey: []byte("0123456789abcdef")})
	for _, tt := range []row{
		{"\x1b[31m4111\x1b[m1111\x1b[1;32m11111111\x1b[m ok", "\x1b[31m4111\x1b[m11**\x1b[1;32m********\x1b[m ok"},
		{"jane@\x1b[01;31m\x1b[Kexample\x1b[m\x1b[K.com\r\n", "j***@\x1b[01;31m\x1b[K*******\x1b[m\x1b[K.***\r\n"},
		{"4111\x1b[5C111111111111", ""},                                // moves the cursor: two things on the screen
		{"\x1b]0;jane@example.com\a$ ", "\x1b]0;j***@*******.***\a$ "}, // a title
		{"\x1b(B\x1b[?25l4111111111111111\x1b[?25h", "\x1b(B\x1b[?25l411111**********\x1b[?25h"},
		{"\x1b", ""}, {"\x1b[", ""}, {"\x1b[31", ""}, {"a\x1b\x1b[31mb", ""}, {"\x1b[31\r\n", ""},
	} {
		tt.check(t, e, "escapes")
	}
}

func TestTheEchoOfTypingIsNeverHeld(t *testing.T) {
	s := engine(t, Config{}).Stream(StreamOptions{})
	for _, c := range "cd /srv/some_longword && ls -l 12 + 34567; make test-all x.y.z\r" {
		p := []byte(string(c))
		s.Typed(p)
		if got := s.Append(nil, p); string(got) != string(p) {
			t.Fatalf("echo of %q: got %q, held %d", p, got, s.Held())
		}
	}
}

func TestColdBytesAreNotHeld(t *testing.T) {
	for _, in := range []string{"$ ", "Password: ", "~/src (main) $ ", "\x1b[1;1H\x1b[2J", "x", "\r\n", "100%", "login as: "} {
		s := engine(t, Config{}).Stream(StreamOptions{})
		if got := s.Append(nil, []byte(in)); string(got) != in || s.Held() != 0 || s.Patience() != 0 {
			t.Errorf("%q: got %q, held %d", in, got, s.Held())
		}
	}
}

func TestExpire(t *testing.T) {
	e := engine(t, Config{})
	for _, tt := range []struct{ name, in, first, expired, rest, last string }{
		{"card", "4111 1111 1", "4111 11", "** *", "111 1111\n", "*** ****\n"},
		{"card that is none", "4111 1111 1", "4111 11", "** *", "2\n", "2\n"},
		{"word", "hello", "h", "ello", " x", " x"},
		{"e-mail", "jane@exa", "j", "***@***", "mple.com ", "****.*** "},
		{"key", j("AK", "IA", "ABCD"), "A", "KIA****", "EFGH" + "IJKLMNOP ", "************ "},
	} {
		s := e.Stream(StreamOptions{})
		if got := s.Append(nil, []byte(tt.in)); string(got) != tt.first {
			t.Errorf("%s: first %q, want %q", tt.name, got, tt.first)
		}
		if s.Patience() == 0 || s.Held() == 0 {
			t.Errorf("%s: nothing held", tt.name)
		}
		if got := s.Expire(nil); strings.ReplaceAll(string(got), "@", "*") != strings.ReplaceAll(tt.expired, "@", "*") {
			t.Errorf("%s: expired %q, want %q", tt.name, got, tt.expired)
		}
		if s.Held() != 0 || s.Patience() != 0 {
			t.Errorf("%s: still holds %d", tt.name, s.Held())
		}
		if got := s.Close(s.Append(nil, []byte(tt.rest))); string(got) != tt.last {
			t.Errorf("%s: rest %q, want %q", tt.name, got, tt.last)
		}
	}
}

func TestUnmask(t *testing.T) {
	e := engine(t, Config{Literals: []string{"Falcon"}})
	in := "jane@example.com 4111111111111111 Falcon"
	for _, tt := range []struct {
		off  []string
		want string
	}{
		{[]string{"email"}, "jane@example.com 411111********** F*****"},
		{[]string{"literal", "card"}, "j***@*******.*** 4111111111111111 Falcon"},
		{[]string{"*"}, in},
	} {
		if got := whole(e, StreamOptions{Unmask: tt.off}, in); got != tt.want {
			t.Errorf("unmask %v: %q, want %q", tt.off, got, tt.want)
		}
	}
}

func TestOnHitSaysWhere(t *testing.T) {
	e := engine(t, Config{})
	in := strings.Repeat("some text\n", 1000) + "ab jane@example.com\n" + strings.Repeat("x\n", 5000) + "4111111111111111"
	for _, chunk := range []int{1, 7, 4096, len(in)} {
		var got []string
		s := e.Stream(StreamOptions{OnHit: func(h Hit) {
			got = append(got, fmt.Sprintf("%s %d:%d %d", h.Detector, h.Line, h.Column, h.Length))
		}})
		var out []byte
		for p := []byte(in); len(p) > 0; {
			n := min(chunk, len(p))
			out, p = s.Append(out, p[:n]), p[n:]
		}
		s.Close(out)
		if want := "[email 1001:4 16 card 6002:1 16]"; fmt.Sprint(got) != want {
			t.Errorf("chunks of %d: %v, want %v", chunk, got, want)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"unknown detector", Config{Detectors: []string{"cards"}}, `"cards" is not known`},
		{"mixed", Config{Detectors: []string{"-card", "email"}}, "mixes"},
		{"token without key", Config{Style: Token}, "16 bytes"},
		{"short literal", Config{Literals: []string{"abc"}}, "literals[0]"},
		{"pattern", Config{Patterns: []Pattern{{"a", "b{2"}, {"x", "("}}}, `patterns[1].regex of "x"`},
		{"empty pattern", Config{Patterns: []Pattern{{"x", "a*"}}}, "empty string"},
		{"nameless", Config{Patterns: []Pattern{{"", "abc"}}}, "name"},
		{"field", Config{Fields: []string{"a\"b"}}, "fields[0]"},
	} {
		_, err := New(tt.c)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want it to say %q", tt.name, err, tt.want)
		}
	}
}

func TestMemoryDoesNotGrowWithTheStream(t *testing.T) {
	s := engine(t, Config{}).Stream(StreamOptions{})
	var out []byte
	line := []byte("\x1b[32m2026-01-02 some text eyJhbGciOiJIUzI1NiJ9 4111 1111 x\x1b[m\r\n")
	for range 20000 {
		out = s.Append(out[:0], line)
	}
	for range 100 {
		out = s.Append(out[:0], bytes.Repeat([]byte("A"), 40000))
	}
	if n := cap(s.buf) + cap(s.aside) + 16*cap(s.inserts); n > 64<<10 {
		t.Errorf("a stream of 5 MB keeps %d bytes", n)
	}
}

// vendorExamples are one value for every prefix in tokens, made up from its alphabet.
func vendorExamples() map[string][]string {
	r := rand.New(rand.NewPCG(1, 2))
	out := map[string][]string{}
	for _, t := range tokens {
		var set []byte
		for c := range 256 {
			if t.set[c] && isWord(byte(c)) {
				set = append(set, byte(c))
			}
		}
		for {
			v := make([]byte, t.min)
			for i := range v {
				v[i] = set[r.IntN(len(set))]
			}
			if t.set['.'] && t.check != nil {
				v[t.min/3] = '.'
			}
			if t.check == nil || t.check(v) {
				out[t.name] = append(out[t.name], t.prefix+string(v))
				break
			}
		}
	}
	return out
}

func TestVendorTokens(t *testing.T) {
	e := engine(t, Config{})
	for name, values := range vendorExamples() {
		for _, v := range values {
			for _, around := range [][2]string{{"", ""}, {"key=", "\n"}, {`{"k":"`, `"}`}, {"export K='", "'"}, {"see ", ". Then"}, {"(", ")"}} {
				in := around[0] + v + around[1]
				s := e.Stream(StreamOptions{})
				got := string(s.Close(s.Append(nil, []byte(in))))
				if s.Hits()[name] != 1 {
					t.Errorf("%s in %q: hits %v", name, in, s.Hits())
				}
				if len(got) != len(in) || leak(got, v[len(v)-8:]) {
					t.Errorf("%s: %q gives %q", name, in, got)
				}
				everyCut(t, e, StreamOptions{}, in, got)
			}
			if short := " " + v[:len(v)-len(v)/2] + " "; whole(e, StreamOptions{}, short) != short && name != "jwt" {
				if got := whole(e, StreamOptions{Unmask: []string{name}}, short); got == short {
					t.Errorf("%s: half of one, %q, is masked", name, short)
				}
			}
		}
	}
}

// leak says whether six bytes in a row of secret are in out.
func leak(out, secret string) bool {
	for i := 0; i+6 <= len(secret); i++ {
		if strings.Contains(out, secret[i:i+6]) {
			return true
		}
	}
	return false
}
