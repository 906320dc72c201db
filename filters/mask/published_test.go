package mask

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/filters/mask/internal/corpus"
)

// hidden says what of secret, which starts at byte at of in, still stands in out, whose bytes are those of in: letters
// and digits beyond the first show.
func hidden(in, out string, at, n, show int) (string, bool) {
	var open []byte
	for i := at + show; i < at+n; i++ {
		c := in[i]
		if c == '0' && strings.HasPrefix(out[at+show:], "00") { // a JSON number
			continue
		}
		if (is(c, clAlnum) || c >= 0x80 && !inGlue(in, i)) && i < len(out) && out[i] == c {
			open = append(open, c)
		}
	}
	return string(open), len(open) == 0
}

// inGlue says whether in[i] is of a blank or dash that does not break a line.
func inGlue(in string, i int) bool {
	for k := range min(i+1, 3) {
		if n, _ := glueAt([]byte(in), i-k); n > k {
			return true
		}
	}
	return false
}

// TestPublishedForms puts hundreds of values of every kind into every surrounding, plain and with colours inside, and
// demands that each is masked from its public prefix on, and nothing else.
func TestPublishedForms(t *testing.T) {
	e := engine(t, Config{})
	count := map[string]int{}
	for _, v := range corpus.Published(rand.New(rand.NewPCG(5, 6))) {
		for k, f := range corpus.Frames {
			if v.Avoids(f.Name) {
				continue
			}
			count[v.Kind]++
			checkPublished(t, e, v, f)
			if count[v.Kind]%101 == 0 {
				in := f.Before + v.Text + f.After
				everyCut(t, e, StreamOptions{}, in, whole(e, StreamOptions{}, in))
			}
			if k%7 == 0 {
				checkColoured(t, e, v, f)
			}
		}
		if t.Failed() && len(count) > 400 {
			break
		}
	}
	var kinds []string
	for k, n := range count {
		kinds = append(kinds, fmt.Sprintf("%s %d", k, n))
	}
	sort.Strings(kinds)
	t.Log(strings.Join(kinds, ", "))
}

func checkPublished(t *testing.T, e *Engine, v corpus.Form, f corpus.Frame) {
	t.Helper()
	in := f.Before + v.Text + f.After
	out := whole(e, StreamOptions{}, in)
	at := len(f.Before) + v.From
	if len(out) != len(in) && !strings.ContainsFunc(in, func(r rune) bool { return r >= 0x80 }) {
		t.Errorf("%s, %s: %q became %q", v.Kind, f.Name, in, out)
		return
	}
	if len(out) != len(in) { // wide characters inside, which become as many stars as columns
		if strings.Contains(out, v.Text[v.From+v.Show:v.To]) {
			t.Errorf("%s, %s: %q is in %q", v.Kind, f.Name, v.Text, out)
		}
		return
	}
	if open, ok := hidden(in, out, at, v.To-v.From, v.Show); !ok {
		t.Errorf("%s, %s: %q shows %q: %q", v.Kind, f.Name, in, open, out)
		return
	}
	if in[:at] != out[:at] || in[at+v.To-v.From:] != out[at+v.To-v.From:] {
		t.Errorf("%s, %s: what stands beside it changed:\n%q\n%q", v.Kind, f.Name, in, out)
	}
}

// checkColoured puts a colour into the middle of the value.
func checkColoured(t *testing.T, e *Engine, v corpus.Form, f corpus.Frame) {
	t.Helper()
	const on, off = "\x1b[01;31m\x1b[K", "\x1b[m\x1b[K"
	a, b := v.From+(v.To-v.From)/3, v.From+2*(v.To-v.From)/3
	in := f.Before + v.Text[:a] + on + v.Text[a:b] + off + v.Text[b:] + f.After
	out := whole(e, StreamOptions{}, in)
	plain := strings.NewReplacer(on, "", off, "").Replace(out)
	if want := whole(e, StreamOptions{}, f.Before+v.Text+f.After); plain != want || strings.Count(out, on) != strings.Count(in, on) {
		t.Errorf("%s, %s: coloured %q gives %q, want %q", v.Kind, f.Name, in, out, want)
	}
}
