package mask

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
	"github.com/sallyport-ssh/sallyport/filters/mask/internal/corpus"
)

func fuzzEngine(t testing.TB) *Engine {
	return engine(t, Config{
		TokenKey: []byte("0123456789abcdef"),
		Literals: []string{"Project Falcon", "日本語だ"},
		Patterns: []Pattern{{"employee", `\bEMP-\d{6}\b`}, {"case", `(?i)case\s+(?P<secret>[a-z0-9]+)!`}},
		Fields:   []string{"ssn", "address", "a"},
	})
}

func seeds(f *testing.F) {
	for _, rows := range detectorRows {
		for _, r := range rows {
			f.Add([]byte(r.in), uint64(1))
		}
	}
	for _, vs := range vendorExamples() {
		f.Add([]byte(vs[0]), uint64(2))
	}
	for line := range strings.Lines(privateKeys) {
		f.Add([]byte(strings.NewReplacer("¶", "\n", "~", strings.Repeat("MIIEpAIBAAKCAQEA", 4)).Replace(line)), uint64(8))
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		text, _ := corpus.Labelled(r, 5)
		f.Add([]byte(text), r.Uint64())
	}
	for _, s := range []string{
		"Project Falcon EMP-123456 case x12! \"ssn\": \"1\\\"2\", \"address\" : 12.5e3", "日本語だ", "\x1b[31m4111\x1b[0m111111111111", "a,b\n1,2\n\"x,\"\"y\",3\n\n", "x | ssn\n--+--\n 1 | 2\n",
		"\x1b]8;;http://u:p@h\x1b\\x", "\x1b[?1049h", "@@@@", "a@b.c@d.com", "+1+1+1", "eyJeyJeyJ.eyJ.",
	} {
		f.Add([]byte(s), uint64(7))
	}
}

// cutUp feeds p to s in chunks that the seed chooses.
func cutUp(s *Stream, p []byte, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	var out []byte
	for len(p) > 0 {
		n := 1
		if r.IntN(3) > 0 {
			n = 1 + r.IntN(min(len(p), 40))
		}
		out, p = s.Append(out, p[:n]), p[n:]
	}
	return s.Close(out)
}

// FuzzWhole: what is masked in one go is masked as in a stream, and a place that [Engine.Next] does not name is not.
func FuzzWhole(f *testing.F) {
	seeds(f)
	e := fuzzEngine(f)
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		for _, style := range []Style{Stars, Last4, Token} {
			s := e.Stream(StreamOptions{Style: style})
			want := cutUp(s, in, seed)
			for range 2 { // it can be used again
				if got := s.Whole(nil, in); !bytes.Equal(got, want) {
					t.Fatalf("style %d: %q became %q, in a stream %q", style, in, got, want)
				}
			}
			b := append(append([]byte{'\n'}, in...), '\n')
			if at := e.Next(b, 0); at == len(b) && bytes.IndexByte(in, esc) < 0 && !bytes.Equal(want, in) {
				t.Fatalf("nobody would have looked at %q, which becomes %q", in, want)
			}
		}
	})
}

// FuzzChunks: however the input is cut, the output is the same.
func FuzzChunks(f *testing.F) {
	seeds(f)
	e := fuzzEngine(f)
	f.Fuzz(func(t *testing.T, p []byte, seed uint64) {
		for _, st := range []Style{Stars, Last4, Token} {
			s := e.Stream(StreamOptions{Style: st})
			want := s.Close(s.Append(nil, p))
			if got := cutUp(s, p, seed); !bytes.Equal(got, want) {
				t.Fatalf("%v %q, seed %d:\n cut   %q\n whole %q", st, p, seed, got, want)
			}
		}
	})
}

// FuzzWidth: stars take as many columns as what they stand for, newlines stay, and where nothing was found nothing
// has changed.
func FuzzWidth(f *testing.F) {
	seeds(f)
	e := fuzzEngine(f)
	f.Fuzz(func(t *testing.T, p []byte, seed uint64) {
		s := e.Stream(StreamOptions{})
		out := cutUp(s, p, seed)
		if len(s.Hits()) == 0 && !bytes.Equal(out, p) {
			t.Fatalf("nothing found, but %q became %q", p, out)
		}
		in, got := bytes.Split(p, []byte("\n")), bytes.Split(out, []byte("\n"))
		if len(in) != len(got) {
			t.Fatalf("%q became %q", p, out)
		}
		for i := range in {
			if utf8.Valid(in[i]) && !bytes.ContainsRune(in[i], 0x200d) && columns(in[i]) != columns(got[i]) {
				t.Fatalf("line %q of %d columns became %q of %d", in[i], columns(in[i]), got[i], columns(got[i]))
			}
		}
	})
}

func columns(p []byte) (n int) {
	for _, r := range string(p) {
		n += max(runewidth.RuneWidth(r), 0)
		if r < ' ' || r == 0x7f {
			n++
		}
	}
	return n
}

// FuzzLeak: of secrets in any surroundings no six characters in a row come out; of a card nothing beyond the
// first six and the last four digits.
func FuzzLeak(f *testing.F) {
	f.Add([]byte("x "), []byte(" y"), uint64(1))
	f.Add([]byte("\"k\": \""), []byte("\","), uint64(2))
	f.Add([]byte("a,"), []byte("\r\n"), uint64(3))
	f.Add([]byte("\x1b[1m"), []byte("\x1b[m"), uint64(4))
	f.Add([]byte("日本 "), []byte(" 日本"), uint64(5))
	e := fuzzEngine(f)
	f.Fuzz(func(t *testing.T, before, after []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		v := corpus.Any(r)
		if !alone(before, after) || v.Kind == "card" && hasDigit(append(bytes.Clone(before), after...)) {
			return
		}
		in := append(append(bytes.Clone(before), v.Value...), after...)
		for _, st := range []Style{Stars, Last4, Token} {
			s := e.Stream(StreamOptions{Style: st})
			out := cutUp(s, in, seed)
			if bytes.Contains(before, []byte(v.Secret)) || bytes.Contains(after, []byte(v.Secret)) {
				return
			}
			if shown := v.Shown(string(out), st == Last4); shown != "" && !bytes.Contains(before, []byte(shown)) && !bytes.Contains(after, []byte(shown)) {
				t.Fatalf("%v: %s in %q: %q is in %q", st, v.Kind, in, shown, out)
			}
		}
	})
}

// alone says whether a value between before and after stands for itself: in a longer word, a number, an
// escape or a string that goes on it would be something else.
func alone(before, after []byte) bool {
	const glue = "@._%+-/:=$~#\\&'\"(\x1b"
	if n := len(before); n > 0 {
		c := before[n-1]
		if isWord(c) || strings.IndexByte(glue, c) >= 0 && c != '"' && c != '=' && c != '(' {
			return false
		}
		k := n
		for k > 0 && n-k < 200 && (is(before[k-1], clDigit) || strings.IndexByte(" \t.,;*-+()/", before[k-1]) >= 0) {
			k--
		}
		if k < n-1 || bytes.IndexByte(before, esc) >= 0 || bytes.Contains(before, []byte("://")) || bytes.Contains(before, []byte("@")) {
			return false
		}
	}
	if len(after) > 0 {
		c := after[0]
		if isWord(c) || c >= 0x80 || strings.IndexByte(glue, c) >= 0 && c != '"' {
			return false
		}
		if len(after) > 1 && (c == ' ' || c == '-' || c == '.') && isWord(after[1]) {
			return false
		}
	}
	return true
}

// FuzzExpire: a stream whose time runs out at any point shows no more of a secret than one that waits.
func FuzzExpire(f *testing.F) {
	for i := range 30 {
		f.Add(uint64(i), i)
	}
	e := fuzzEngine(f)
	f.Fuzz(func(t *testing.T, seed uint64, at int) {
		r := rand.New(rand.NewPCG(seed, 1))
		v := corpus.Any(r)
		if v.Kind == "email" || v.Kind == "literal" {
			return // the words before the "@" are shown when time runs out
		}
		in := []byte("say " + v.Value + "\n")
		at = 1 + (at%len(in)+len(in))%len(in)
		s := e.Stream(StreamOptions{})
		out := s.Append(nil, in[:min(at, len(in))])
		out = s.Expire(out)
		out = s.Close(s.Append(out, in[min(at, len(in)):]))
		if shown := v.Shown(string(out), false); shown != "" {
			t.Fatalf("%s %q expired at %d: %q is in %q", v.Kind, in, at, shown, out)
		}
	})
}

// TestLabelled masks texts whose secrets are known and compares with the truth, byte for byte.
func TestLabelled(t *testing.T) {
	e := engine(t, Config{})
	r := rand.New(rand.NewPCG(11, 12))
	found, missed := map[string]int{}, map[string]int{}
	for range 3000 {
		text, values := corpus.Labelled(r, 12)
		s := e.Stream(StreamOptions{})
		out := string(s.Close(s.Append(nil, []byte(text))))
		if len(out) != len(text) {
			t.Fatalf("length of %q changed: %q", text, out)
		}
		for _, v := range values {
			if shown := v.Shown(out[v.At:v.At+len(v.Value)], false); shown != "" {
				missed[v.Kind]++
				t.Errorf("%s %q shows %q in %q", v.Kind, v.Value, shown, out[max(0, v.At-20):v.At+len(v.Value)+20])
			} else {
				found[v.Kind]++
			}
		}
		if clean := corpus.Blank(text, values); corpus.Blank(out, values) != clean {
			got, want := strings.Split(out, "\n"), strings.Split(text, "\n")
			for i, line := range strings.Split(corpus.Blank(out, values), "\n") {
				if line != strings.Split(clean, "\n")[i] {
					t.Errorf("bytes beside the secrets changed: %v\n got %q\nwant %q", s.Hits(), got[i], want[i])
				}
			}
		}
		if t.Failed() {
			break
		}
	}
	t.Log("found", fmt.Sprint(found), "missed", fmt.Sprint(missed))
}
