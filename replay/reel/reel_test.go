package reel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/term"
)

// Segments are small here, so that a few thousand events make many.
func TestMain(m *testing.M) {
	segmentBytes, segmentEvents, segmentLength = 32<<10, 1024, 64<<10
	m.Run()
}

// A rack holds recordings in memory, some of which grow.
type rack struct {
	mu    sync.Mutex
	casts map[string][]byte
	reads []int64 // offsets that were opened
}

func (r *rack) open(_ context.Context, id string, from int64) (io.ReadCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.casts[id]
	if !ok {
		return nil, fs.ErrNotExist
	}
	r.reads = append(r.reads, from)
	return io.NopCloser(bytes.NewReader(b[from:])), nil
}

func (r *rack) put(id string, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.casts[id] = b
}

func shelf(t testing.TB, r *rack, dir string) *Shelf {
	t.Helper()
	s, err := OpenShelf(Options{Dir: dir, Open: r.open})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

const (
	head = `{"version":3,"term":{"cols":80,"rows":24}}` + "\n"
	seal = `#sp {"k":"seal"}` + "\n"
	id   = "20261124s00ada00001a"
)

func line(after float64, code, text string) string {
	b, _ := json.Marshal(text)
	return fmt.Sprintf("[%.6f,%q,%s]\n", after, code, b)
}

// session makes a recording of n lines of output with what else a recording has.
func session(n int, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	b.WriteString(head)
	for i := range n {
		text := fmt.Sprintf("\x1b[%dm%06d\x1b[m %s\r\n", 31+r.IntN(6), i, strings.Repeat("x", r.IntN(90)))
		switch r.IntN(40) {
		case 0:
			text = "\x1b[?1049h\x1b[2J\x1b[5;5Hfull screen"
		case 1:
			text = "\x1b[?1049l"
		case 2:
			b.WriteString(line(0.01, "o", "\x1b]0;a title that"))
			text = "goes on\x07after it"
		case 3:
			b.WriteString(line(0.01, "r", fmt.Sprintf("%dx%d", 60+r.IntN(60), 10+r.IntN(30))))
		case 4:
			b.WriteString(line(0, "m", fmt.Sprintf("marker %d", i)))
		case 5:
			b.WriteString(`#sp {"k":"op","t":1,"d":{}}` + "\n")
		case 6:
			b.WriteString(line(0.5, "i", "not shown"))
		case 7:
			fmt.Fprintf(&b, `#sp {"k":"check","masked":%d}`+"\n", i/50)
		}
		pause := float64(r.IntN(3)) / 1000
		if r.IntN(50) == 0 {
			pause = float64(r.IntN(9000)) / 1000
		}
		b.WriteString(line(pause, "o", text))
	}
	return b.String()
}

func view(t testing.TB, s *Shelf, live bool) View {
	t.Helper()
	v, err := s.View(t.Context(), id, live, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// whole plays a recording from its start.
func whole(t testing.TB, text string) (all []Event) {
	t.Helper()
	p, err := NewPlayback(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := p.Next()
		if err != nil {
			return all
		}
		p.sizes = 0 // they are counted by segment
		all = append(all, Event{At: e.At, Code: e.Code, Text: e.Text})
	}
}

// pieces plays all segments one behind the other, and checks each screen against the one before it.
func pieces(t testing.TB, s *Shelf, v View) (all []Event) {
	t.Helper()
	screen := term.New(int(v.Segments[0].Cols), int(v.Segments[0].Rows))
	for n := range v.Segments {
		r, err := s.Segment(t.Context(), id, v, n)
		if err != nil {
			t.Fatal(err)
		}
		fresh := term.New(int(r.Cols), int(r.Rows))
		fresh.Write([]byte(r.Screen))
		compare(t, n, fresh, screen)
		for first := true; ; first = false {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if first && n > 0 && e.At != r.Start {
				t.Errorf("segment %d begins at %v with an event of %v", n, r.Start, e.At)
			}
			if n+1 < len(v.Segments) && e.At >= v.Segments[n+1].Start {
				t.Errorf("an event of %v in segment %d, and the next begins at %v", e.At, n, v.Segments[n+1].Start)
			}
			draw(screen, e)
			all = append(all, Event{At: e.At, Code: e.Code, Text: e.Text})
		}
		r.Close()
	}
	return all
}

func draw(s *term.Screen, e Event) {
	switch e.Code {
	case 'o':
		s.Write([]byte(e.Text))
	case 'r':
		var cols, rows int
		fmt.Sscanf(e.Text, "%dx%d", &cols, &rows)
		s.Resize(cols, rows)
	}
}

func compare(t testing.TB, n int, got, want *term.Screen) {
	t.Helper()
	_, rows := want.Size()
	for y := range rows {
		if got.Text(y) != want.Text(y) {
			t.Fatalf("segment %d, row %d: %q, want %q", n, y, got.Text(y), want.Text(y))
		}
	}
}

func sameEvents(t testing.TB, got, want []Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("event %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

// However a recording is cut into segments, they play what the whole plays.
func TestSegments(t *testing.T) {
	text := session(6000, 7) + seal
	r := &rack{casts: map[string][]byte{id: []byte(text)}}
	s := shelf(t, r, t.TempDir())
	v := view(t, s, false)
	if len(v.Segments) < 5 || v.How != Whole || len(v.Markers) == 0 || len(v.Gaps) == 0 {
		t.Fatalf("%d segments, %q, %d markers, %d gaps", len(v.Segments), v.How, len(v.Markers), len(v.Gaps))
	}
	sameEvents(t, pieces(t, s, v), whole(t, text))
	masked := int64(0)
	for _, m := range v.Markers {
		masked += m.Masked
	}
	if last := v.Segments[len(v.Segments)-1].Masked; last == 0 || masked < last || masked > 6000/50 {
		t.Errorf("%d values masked, %d before the last segment", masked, last)
	}
	for i, seg := range v.Segments {
		if got := v.At(seg.Start); got != i {
			t.Errorf("At(%v) is %d, want %d", seg.Start, got, i)
		}
	}
	if got := v.At(time.Hour * 1000); got != len(v.Segments)-1 {
		t.Errorf("behind the end: segment %d", got)
	}
}

// A reel is found again in its file, also by another process, and what was written in part is made good.
func TestFileIsUsedAgain(t *testing.T) {
	text := session(4000, 8) + seal
	r := &rack{casts: map[string][]byte{id: []byte(text)}}
	dir := t.TempDir()
	want := view(t, shelf(t, r, dir), false)
	r.reads = nil
	again := shelf(t, r, dir)
	got := view(t, again, false)
	if fmt.Sprint(got) != fmt.Sprint(want) || len(r.reads) > 0 {
		t.Errorf("read again from %v, or another view", r.reads)
	}
	sameEvents(t, pieces(t, again, got), whole(t, text))

	path := filepath.Join(dir, id+".reel")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{len(b) - 1, len(b) / 2, 20, 1} {
		if err := os.WriteFile(path, b[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		mended := shelf(t, r, dir)
		v := view(t, mended, false)
		sameEvents(t, pieces(t, mended, v), whole(t, text))
		if v.How != Whole || fmt.Sprint(v.Segments) != fmt.Sprint(want.Segments) || fmt.Sprint(v.Gaps) != fmt.Sprint(want.Gaps) || fmt.Sprint(v.Markers) != fmt.Sprint(want.Markers) {
			t.Errorf("cut at %d: another reel", cut)
		}
	}
	if err := os.WriteFile(path, []byte("something else entirely"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v := view(t, shelf(t, r, dir), false); v.How != Whole || len(v.Segments) != len(want.Segments) {
		t.Error("a file that is no reel is not made anew")
	}
}

// A recording that grows is read on from where it was, wherever that was.
func TestGrows(t *testing.T) {
	text := session(4000, 9) + seal
	for _, reopen := range []bool{false, true} {
		r := &rack{casts: map[string][]byte{}}
		dir := t.TempDir()
		s := shelf(t, r, dir)
		for at := len(head); at < len(text); at += 30_011 {
			r.put(id, []byte(text[:at]))
			if v := view(t, s, true); v.How != Open {
				t.Fatalf("at %d: %q %s", at, v.How, v.Why)
			}
			if reopen {
				s = shelf(t, r, dir)
			}
		}
		r.put(id, []byte(text))
		r.reads = nil
		v := view(t, s, true)
		if v.How != Whole || !reopen && (len(r.reads) != 1 || r.reads[0] < int64(len(text)-60_000)) {
			t.Errorf("reopen %v: %q, read again from %v", reopen, v.How, r.reads)
		}
		sameEvents(t, pieces(t, s, v), whole(t, text))
	}
}

// A page that was given a view plays it to its end, whatever came since.
func TestOldView(t *testing.T) {
	text := session(3000, 10)
	r := &rack{casts: map[string][]byte{id: []byte(text[:len(text)/2])}}
	s := shelf(t, r, t.TempDir())
	old := view(t, s, true)
	want := whole(t, text[:len(text)/2])
	r.put(id, []byte(text+seal))
	now := view(t, s, true)
	if now.Length <= old.Length {
		t.Fatal("it did not grow")
	}
	now.Length = old.Length
	now.Segments = now.Segments[:len(old.Segments)]
	got := pieces(t, s, now)
	sameEvents(t, got[:min(len(got), len(want))], want)
}

// What gives no place to cut is cut anyway.
func TestNoPlaceToCut(t *testing.T) {
	for name, text := range map[string]string{
		"no time passes":            head + strings.Repeat(line(0, "o", strings.Repeat("all at once ", 50)+"\r\n"), 900) + seal,
		"a sequence without an end": head + line(0, "o", "\x1b[") + strings.Repeat(line(0.001, "o", strings.Repeat("1", 500)), 9000) + seal,
		"only small events":         head + strings.Repeat(line(0.001, "o", "x"), 9000) + seal,
		"nothing is shown":          head + line(1, "o", "x") + strings.Repeat(line(0.001, "i", strings.Repeat("k", 200)), 9000) + line(1, "o", "y") + seal,
		"resizes without end":       head + strings.Repeat(line(0, "r", "500x200")+line(0, "r", "1x1"), 4000) + seal,
	} {
		t.Run(name, func(t *testing.T) {
			r := &rack{casts: map[string][]byte{id: []byte(text)}}
			s := shelf(t, r, t.TempDir())
			v := view(t, s, false)
			if len(v.Segments) < 2 && !strings.HasPrefix(name, "resizes") && !strings.HasPrefix(name, "a sequence") || v.How != Whole {
				t.Fatalf("%d segments, %q", len(v.Segments), v.How)
			}
			got, want := pieces(t, s, v), whole(t, text)
			if len(got) != len(want) && !strings.HasPrefix(name, "resizes") {
				t.Errorf("%d events, want %d", len(got), len(want))
			}
			if n := len(v.Segments); n > 1 && v.Segments[n-1].From < int64(len(text)/2) {
				t.Errorf("the last of %d segments begins at %d of %d", n, v.Segments[n-1].From, len(text))
			}
			for i := 1; i < len(v.Segments); i++ {
				if v.Segments[i].Start <= v.Segments[i-1].Start {
					t.Errorf("segment %d begins no later than the one before", i)
				}
			}
		})
	}
}

func TestEnds(t *testing.T) {
	ok := line(1, "o", "fine")
	for name, tt := range map[string]struct {
		text string
		how  How
	}{
		"sealed":           {head + ok + seal, Whole},
		"no seal":          {head + ok, Open},
		"cut in a line":    {head + ok + `[1,"o","mid`, Open},
		"broken JSON":      {head + ok + "[1,\"o\",}\n" + ok + seal, Damaged},
		"time goes back":   {head + ok + line(-5, "o", "x") + seal, Damaged},
		"deep nesting":     {head + ok + strings.Repeat("[", 5000) + "\n", Damaged},
		"endless line":     {head + ok + `[0.5,"o","` + strings.Repeat("a", 2<<20) + `"]` + "\n", Damaged},
		"no recording":     {"<html>\n", Damaged},
		"nothing":          {"", Damaged},
		"compressed twice": {"\x1f\x8b\x08\x00\x00\x00\x00\x00", Damaged},
	} {
		t.Run(name, func(t *testing.T) {
			s := shelf(t, &rack{casts: map[string][]byte{id: []byte(tt.text)}}, t.TempDir())
			v := view(t, s, false)
			if v.How != tt.how || (v.Why != "") != (tt.how == Damaged) {
				t.Fatalf("%q %q, want %q", v.How, v.Why, tt.how)
			}
			if strings.HasPrefix(tt.text, head+ok) {
				if got := pieces(t, s, v); len(got) != 1 || got[0].Text != "fine" || v.Length != time.Second {
					t.Errorf("%v of %v", got, v.Length)
				}
			}
		})
	}
	s := shelf(t, &rack{}, t.TempDir())
	if _, err := s.View(t.Context(), id, false, time.Minute); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no recording: %v", err)
	}
	if _, err := s.View(t.Context(), "../../etc/passwd", false, time.Minute); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a path: %v", err)
	}
}

func TestCuts(t *testing.T) {
	v := View{Gaps: []Gap{{10 * time.Second, 5 * time.Second}, {20 * time.Second, time.Second}, {30 * time.Second, 60 * time.Second}}}
	for _, tt := range []struct{ limit, at, want time.Duration }{
		{0, 95 * time.Second, 95 * time.Second}, {2 * time.Second, 9 * time.Second, 9 * time.Second},
		{2 * time.Second, 12 * time.Second, 12 * time.Second}, {2 * time.Second, 14 * time.Second, 12 * time.Second},
		{2 * time.Second, 15 * time.Second, 12 * time.Second}, {2 * time.Second, 16 * time.Second, 13 * time.Second},
		{2 * time.Second, 60 * time.Second, 29 * time.Second}, {2 * time.Second, 91 * time.Second, 30 * time.Second},
	} {
		if got := v.Cuts(tt.limit).Played(tt.at); got != tt.want {
			t.Errorf("limit %v: %v is played at %v, want %v", tt.limit, tt.at, got, tt.want)
		}
	}
}

func TestLongestGaps(t *testing.T) {
	all := []Gap{{1, 5}, {2, 9}, {3, 1}, {4, 9}, {5, 7}}
	if got := fmt.Sprint(longest(all, 3)); got != "[{2ns 9ns} {4ns 9ns} {5ns 7ns}]" {
		t.Error(got)
	}
}

// The oldest reels go when there are too many, and a page that wants one gets it again.
func TestLimit(t *testing.T) {
	text := session(3000, 11) + seal
	r := &rack{casts: map[string][]byte{}}
	s, err := OpenShelf(Options{Dir: t.TempDir(), Open: r.open, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.put(id, []byte(text))
	view(t, s, false)
	s.Close()
	if files, err := os.ReadDir(s.o.Dir); err != nil || len(files) != 0 {
		t.Errorf("%d files, %v", len(files), err)
	}
	again := shelf(t, r, s.o.Dir)
	sameEvents(t, pieces(t, again, view(t, again, false)), whole(t, text))
}

// linesOf tells every line that was on the screen in a recording.
func linesOf(recording io.Reader, tell func(Line) error) error {
	p, err := NewPlayback(recording)
	if err != nil {
		return err
	}
	cols, rows := p.Size()
	return lines(term.New(int(cols), int(rows)), p.Next, tell)
}

func TestLines(t *testing.T) {
	for name, tt := range map[string]struct {
		in   []string // output, a second apart
		want string
	}{
		"plain":                   {[]string{"one\r\ntwo\r\n", "three"}, "one|two|three"},
		"typed bit by bit":        {[]string{"$ l\x08\x08\x08$ ls\r\nfile"}, "$ ls|file"},
		"an edited line":          {[]string{"$ rm -rf /\r\x1b[K$ ls\r\n"}, "$ ls"},
		"more than the screen":    {[]string{"1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7"}, "1|2|3|4|5|6|7"},
		"wrapped":                 {[]string{"0123456789abcdefghij!"}, "0123456789abcdefghij!"},
		"wrapped while it leaves": {[]string{"a\r\nb\r\nc\r\n0123456789abcdefghijklmno"}, "a|b|c|0123456789abcdefghijklmno"},
		"erased at once":          {[]string{"secret plan\x1b[2J\x1b[Hnothing"}, "secret plan|nothing"},
		"home and erase below":    {[]string{"secret plan\x1b[H\x1b[Jnothing"}, "secret plan|nothing"},
		"reset":                   {[]string{"before\x1bcafter"}, "before|after"},
		"alternate screen":        {[]string{"shell\r\n\x1b[?1049hvim text\x1b[?1049lshell again"}, "shell|vim text|shell again"},
		"told once":               {[]string{"same\r\n", "", "\x1b[7m", "x"}, "same|x"},
		"told again when new":     {[]string{"10 %", "\r20 %"}, "10 %|20 %"},
		"colours and titles":      {[]string{"\x1b]0;no\x07\x1b[31mred\x1b[m and not"}, "red and not"},
	} {
		t.Run(name, func(t *testing.T) {
			text := `{"version":3,"term":{"cols":10,"rows":4}}` + "\n"
			if strings.Contains(tt.want, "secret") || strings.Contains(tt.want, "red") || strings.Contains(tt.want, "shell") {
				text = `{"version":3,"term":{"cols":40,"rows":4}}` + "\n"
			}
			for _, o := range tt.in {
				text += line(1, "o", o)
			}
			var got []string
			if err := linesOf(strings.NewReader(text), func(l Line) error { got = append(got, l.Text); return nil }); err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, "|") != tt.want {
				t.Errorf("got %q, want %q", strings.Join(got, "|"), tt.want)
			}
		})
	}
}

func BenchmarkMake(b *testing.B) {
	text := []byte(session(100_000, 3) + seal)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		bu, err := newBuilder(bytes.NewReader(text))
		if err != nil {
			b.Fatal(err)
		}
		bu.saved = func() error { return nil }
		if err := bu.run(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLines(b *testing.B) {
	text := []byte(session(100_000, 3) + seal)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := linesOf(bytes.NewReader(text), func(Line) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func TestText(t *testing.T) {
	var b strings.Builder
	b.WriteString(head)
	for i := range 1000 {
		b.WriteString(line(1, "o", fmt.Sprintf("line %d\r\nagain\r\n", i)))
	}
	for _, tt := range []struct {
		limit, lines int
		whole        bool
	}{{1 << 20, 1000 + 16, true}, {100, 9, false}, {0, 0, false}} {
		var got []Line
		whole, err := Text(strings.NewReader(b.String()), tt.limit, func(l []Line) error { got = append(got, l...); return nil })
		if err != nil || whole != tt.whole || len(got) < tt.lines-10 || len(got) > tt.lines+10 {
			t.Errorf("limit %d: %d lines, whole %v, %v; want about %d, %v", tt.limit, len(got), whole, err, tt.lines, tt.whole)
		}
		for i := 1; i < len(got); i++ {
			if got[i].At < got[i-1].At {
				t.Fatalf("line %d comes before the one before it", i)
			}
		}
	}
	failed := errors.New("the ledger is away")
	if _, err := Text(strings.NewReader(b.String()), 1<<20, func([]Line) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}

// TestCutCharacter: a character whose rest is not written yet is none, and one whose rest never came, in the last of
// several segments, hides nothing that stands before it.
func TestCutCharacter(t *testing.T) {
	head := `{"version":3,"term":{"cols":80,"rows":24}}` + "\n"
	var text strings.Builder
	text.WriteString(head)
	for i := range 5000 {
		fmt.Fprintf(&text, "[0.01, \"o\", \"line %d of many that fill segments\\r\\n\"]\n", i)
	}
	text.WriteString("#sp {\"k\":\"tail\",\"s\":\"o\",\"b\":\"ww\"}\n")
	k := &rack{casts: map[string][]byte{"cutoff": []byte(text.String())}}
	s := shelf(t, k, t.TempDir())
	view := func(more bool) View {
		t.Helper()
		v, err := s.View(t.Context(), "cutoff", more, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	last := func(v View) string {
		t.Helper()
		r, err := s.Segment(t.Context(), "cutoff", v, len(v.Segments)-1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		all := ""
		for {
			e, err := r.Next()
			if err == io.EOF {
				return all
			}
			if err != nil {
				t.Fatal(err)
			}
			all += e.Text
		}
	}
	if v := view(true); len(v.Segments) < 2 || v.How != Open || !strings.HasSuffix(last(v), "line 4999 of many that fill segments\r\n") {
		t.Errorf("%d segments, %s, the last ends in %q", len(v.Segments), v.How, tailOf(last(v)))
	}
	k.put("cutoff", []byte(text.String()+"[0.5, \"o\", \"é, at last\\r\\n\"]\n#sp {\"k\":\"tail\",\"s\":\"o\",\"b\":\"ww\"}\n#sp {\"k\":\"seal\",\"v\":1}\n"))
	if v := view(true); v.How != Whole || !strings.HasSuffix(last(v), "line 4999 of many that fill segments\r\né, at last\r\n\ufffd") {
		t.Errorf("%s, the last ends in %q", v.How, tailOf(last(v)))
	}
}

func tailOf(s string) string { return s[max(0, len(s)-80):] }
