package cast_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// streams reads a recording and joins the bytes of each stream.
func streams(t testing.TB, b []byte) map[cast.Stream][]byte {
	t.Helper()
	out := map[cast.Stream][]byte{}
	r, err := cast.NewReader(bytes.NewReader(b))
	must(t, err)
	for {
		e, err := r.Next()
		if err == io.EOF {
			return out
		}
		must(t, err)
		if e.Code == 'o' || e.Code == 'i' {
			out[e.Stream] = append(out[e.Stream], e.Data...)
		}
	}
}

// FuzzCuts: however output is cut into writes, a replay gives the same bytes back; what a player shows is
// valid UTF-8, and damaged only where the bytes are; and the recording verifies.
func FuzzCuts(f *testing.F) {
	f.Add([]byte("plain"), []byte{1, 2})
	f.Add([]byte("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), []byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1})
	f.Add([]byte("\xf0\x9f\x98\xc3\xa9\xff\xef\xbf\xbd\xed\xa0\x80\xc0\x80"), []byte{2, 129, 3, 1})
	f.Add([]byte("a\xe2\x80\xa8b\xc2\x9bc\x7f\x1b]52;c;x\x07\"\\\n"), []byte{200, 3})
	a := newAuthority(f)
	f.Fuzz(func(t *testing.T, p, cuts []byte) {
		var b bytes.Buffer
		w := newWriter(t, &b, a, session)
		want := map[cast.Stream][]byte{}
		for i := 0; len(p) > 0; i++ {
			n, s := len(p), cast.Stdout
			if i < len(cuts) {
				n = min(1+int(cuts[i]&0x1f), len(p))
				s = []cast.Stream{cast.Stdout, cast.Stdout, cast.Stderr, cast.Stdin}[cuts[i]>>6]
			}
			must(t, w.Output(s, p[:n]))
			want[s] = append(want[s], p[:n]...)
			p = p[n:]
			equal(t, streams(t, b.Bytes()), want) // also as a gate that died here leaves it
		}
		_, err := w.Close(cast.End{})
		must(t, err)
		equal(t, streams(t, b.Bytes()), want)
		if !utf8.Valid(b.Bytes()) {
			t.Error("the file is not UTF-8")
		}
		for s, p := range want {
			if utf8.Valid(p) && bytes.Contains(b.Bytes(), []byte("\uFFFD")) && len(want) == 1 && !bytes.Contains(p, []byte("\uFFFD")) {
				t.Errorf("whole runes of %s are shown as damaged", s)
			}
		}
		if r := verify(t, a, b.Bytes(), cast.VerifyOptions{}); r.State != cast.Complete {
			t.Errorf("%s: %s", r.State, r.Why)
		}
	})
}

func equal(t testing.TB, got, want map[cast.Stream][]byte) {
	t.Helper()
	for _, s := range []cast.Stream{cast.Stdout, cast.Stderr, cast.Stdin} {
		if !bytes.Equal(got[s], want[s]) {
			t.Fatalf("%s = %q, want %q", s, got[s], want[s])
		}
	}
}

func TestLargeOutputsOfAllBytes(t *testing.T) {
	a := newAuthority(t)
	var b bytes.Buffer
	w := newWriter(t, &b, a, session)
	p := make([]byte, 900<<10)
	for i := range p {
		p[i] = byte(i * 7 >> (i % 3))
	}
	runes := bytes.Repeat([]byte("x\u20ac"), 40<<10) // a rune lies over each chunk's end
	must(t, w.Output(cast.Stdout, runes))
	must(t, w.Output(cast.Stderr, p))
	_, err := w.Close(cast.End{})
	must(t, err)
	equal(t, streams(t, b.Bytes()), map[cast.Stream][]byte{cast.Stdout: runes, cast.Stderr: p})
	for line := range bytes.Lines(b.Bytes()) {
		if len(line) > cast.MaxLine/4 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

// TestNothingActsOnATerminal: looking at a recording with cat does nothing to the terminal and shows no
// text in another order than it is written.
func TestNothingActsOnATerminal(t *testing.T) {
	a := newAuthority(t)
	var all strings.Builder
	for r := rune(1); r < 0x3000; r++ {
		all.WriteRune(r)
	}
	var b bytes.Buffer
	key, chain := a.sessionKey(t, session)
	w, err := cast.NewWriter(&b, cast.WriterOptions{
		Session: session, Key: key, Chain: chain, Meta: map[string]string{"command": all.String()},
		Header: cast.Header{Title: all.String(), Command: all.String(), Type: all.String(), Env: map[string]string{"X": all.String()}},
	})
	must(t, err)
	must(t, w.Output(cast.Stdout, []byte(all.String())))
	must(t, w.Note("op", all.String()))
	must(t, w.Marker(all.String()[:3000]))
	_, err = w.Close(cast.End{Reason: all.String()[:2000]})
	must(t, err)
	for i, r := range b.String() {
		switch {
		case r < 0x20 && r != '\n', r == 0x7f, r >= 0x80 && r < 0xa0, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			t.Fatalf("%U at byte %d: %q", r, i, b.String()[max(0, i-60):i])
		}
	}
	r, err := cast.NewReader(&b)
	must(t, err)
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		var text string
		if e.Kind == "op" && (json.Unmarshal(e.JSON, &text) != nil || text != all.String()) {
			t.Error("the note is not what was noted")
		}
	}
}

// TestIntervalsDoNotDrift: the sum of rounded intervals stays within a microsecond of the time that passed.
func TestIntervalsDoNotDrift(t *testing.T) {
	a := newAuthority(t)
	var b bytes.Buffer
	key, chain := a.sessionKey(t, session)
	c := &clock{t: epoch, step: 333_333 * time.Nanosecond}
	w, err := cast.NewWriter(&b, cast.WriterOptions{Session: session, Key: key, Chain: chain, Now: c.now})
	must(t, err)
	start := epoch.Add(c.step)
	r, err := cast.NewReader(&b)
	must(t, err)
	for range 20000 {
		must(t, w.Output(cast.Stdout, []byte("x")))
		want := c.t.Sub(start)
		e, err := r.Next()
		for err == nil && e.Code != 'o' {
			e, err = r.Next()
		}
		must(t, err)
		if d := want - e.At; d < 0 || d >= time.Microsecond {
			t.Fatalf("event at %v, recorded at %v", want, e.At)
		}
	}
}

func TestClockThatGoesBack(t *testing.T) {
	a := newAuthority(t)
	var b bytes.Buffer
	key, chain := a.sessionKey(t, session)
	now := epoch
	w, err := cast.NewWriter(&b, cast.WriterOptions{Session: session, Key: key, Chain: chain, Now: func() time.Time { return now }})
	must(t, err)
	for _, d := range []time.Duration{time.Second, -time.Hour, 2 * time.Second} {
		now = epoch.Add(d)
		must(t, w.Output(cast.Stdout, []byte("x")))
	}
	if !strings.Contains(b.String(), "[1, \"o\", \"x\"]\n[0, \"o\", \"x\"]\n[1, \"o\", \"x\"]\n") {
		t.Errorf("recording:\n%s", b.String())
	}
}

func TestNotesThatAreRefused(t *testing.T) {
	a := newAuthority(t)
	var b bytes.Buffer
	w := newWriter(t, &b, a, session)
	deep := json.RawMessage(strings.Repeat("[", 100) + strings.Repeat("]", 100))
	for _, tt := range []struct {
		name, kind string
		v          any
		want       error
	}{
		{"a checkpoint", "check", 1, cast.ErrKind},
		{"a seal", "seal", 1, cast.ErrKind},
		{"announcing an event", "next", 1, cast.ErrKind},
		{"no kind", "", 1, cast.ErrKind},
		{"a kind that breaks out", `op","x":"`, 1, cast.ErrKind},
		{"too large", "op", strings.Repeat("x", cast.MaxNote), cast.ErrTooLarge},
		{"too large once it is escaped", "op", strings.Repeat("\u202e", cast.MaxNote/4), cast.ErrTooLarge},
		{"too deep", "op", deep, nil},
		{"no JSON", "op", func() {}, nil},
	} {
		size := b.Len()
		err := w.Note(tt.kind, tt.v)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
		if b.Len() != size || w.Err() != nil {
			t.Errorf("%s: the recording changed", tt.name)
		}
	}
	must(t, w.Note("op", json.RawMessage("{\n \"a\": 1\n}")))
	_, err := w.Close(cast.End{})
	must(t, err)
	if r := verify(t, a, b.Bytes(), cast.VerifyOptions{}); !r.OK() || r.Counts.Ops != 1 {
		t.Errorf("report = %+v", r)
	}
}

// faulty fails after some bytes, having kept those.
type faulty struct {
	bytes.Buffer
	left int
}

func (f *faulty) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.Buffer.Write(p[:n])
	f.left -= n
	if n < len(p) {
		return n, errors.New("disk full")
	}
	return n, nil
}

func TestErrorsStick(t *testing.T) {
	a := newAuthority(t)
	f := &faulty{left: 1400}
	w := newWriter(t, f, a, session)
	var first error
	for range 100 {
		if first = w.Output(cast.Stdout, []byte("0123456789")); first != nil {
			break
		}
	}
	if first == nil {
		t.Fatal("no error")
	}
	f.left = 1 << 20 // the disk has room again; the recording still lacks something
	for what, err := range map[string]error{
		"Output": w.Output(cast.Stdout, []byte("x")), "Input": w.Input([]byte("x")), "Resize": w.Resize(1, 1), "Marker": w.Marker("m"),
		"Note": w.Note("op", 1), "Exit": w.Exit(0), "Checkpoint": w.Checkpoint(),
	} {
		if err != first {
			t.Errorf("%s: %v, want the first error", what, err)
		}
	}
	if _, err := w.Close(cast.End{}); err != first {
		t.Errorf("Close: %v", err)
	}
}

func TestClosedIsClosed(t *testing.T) {
	a := newAuthority(t)
	var b bytes.Buffer
	w := newWriter(t, &b, a, session)
	_, err := w.Close(cast.End{})
	must(t, err)
	size := b.Len()
	if err := w.Output(cast.Stdout, []byte("x")); !errors.Is(err, cast.ErrClosed) || b.Len() != size {
		t.Errorf("error %v", err)
	}
}

// TestEveryByteAmongPlainOnes: writing looks at eight bytes at a time, and no byte hides among the others.
func TestEveryByteAmongPlainOnes(t *testing.T) {
	a := newAuthority(t)
	var out bytes.Buffer
	w := newWriter(t, &out, a, session)
	var want []byte
	for c := range 256 {
		for at := range 17 {
			p := bytes.Repeat([]byte("x"), 20)
			p[at] = byte(c)
			want = append(want, p...)
			must(t, w.Output(cast.Stdout, p))
		}
	}
	_, err := w.Close(cast.End{})
	must(t, err)
	for i, c := range out.Bytes() {
		if c < 0x20 && c != '\n' || c == 0x7f {
			t.Fatalf("byte %d of the file is %#x", i, c)
		}
	}
	if got := streams(t, out.Bytes())[cast.Stdout]; !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back changed, of %d", len(got), len(want))
	}
}
