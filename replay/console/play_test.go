package console

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
	"unicode"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
)

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"ls -l": "ls -l", "été 漢字": "été 漢字", "a\nb\x1b[2J": "a↵ b⟨ESC⟩[2J", "a\u202eb\u200b\u00a0": "a⟨U+202E⟩b⟨U+200B⟩⟨U+00A0⟩",
		"\xff\x00\x7f": `⟨\xff⟩⟨NUL⟩⟨DEL⟩`, "\u3164\u2800": "⟨U+3164⟩⟨U+2800⟩",
	} {
		if got := plain(in); got != want {
			t.Errorf("plain(%q) = %q, want %q", in, got, want)
		}
	}
	if got := brief(5, "123456"); got != "1234…" {
		t.Errorf("brief: %q", got)
	}
}

var ours = regexp.MustCompile(`<span class="(?:ctl|ctl nl|uni)" title="[^"<>]*">([^<>]*)</span>`)

// What exact shows can be read back: no byte of the text is lost, and none is shown as another's.
func FuzzExact(f *testing.F) {
	f.Add("rm -rf /srv\n  # \u202esafe\u200b \x1b[2J\xff <b>&amp;</b> ")
	f.Fuzz(func(t *testing.T, in string) {
		out := string(exact(in))
		rest := ours.ReplaceAllString(out, "")
		if strings.ContainsAny(rest, "<>") {
			t.Fatalf("%q leaves markup: %q", in, rest)
		}
		for _, r := range out {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%q leaves %U", in, r)
			}
		}
		if back := readBack(out); back != in {
			t.Errorf("%q is read back as %q", in, back)
		}
	})
}

// readBack undoes exact as a careful reader would.
func readBack(out string) string {
	var b strings.Builder
	for out != "" {
		m := ours.FindStringSubmatchIndex(out)
		if m == nil || m[0] > 0 {
			end := len(out)
			if m != nil {
				end = m[0]
			}
			b.WriteString(strings.ReplaceAll(html.UnescapeString(out[:end]), "\n", ""))
			out = out[end:]
			continue
		}
		b.WriteString(meaning(html.UnescapeString(out[m[2]:m[3]])))
		out = out[m[1]:]
	}
	return b.String()
}

func meaning(shown string) string {
	var n rune
	switch name := strings.Trim(shown, "⟨⟩"); {
	case shown == "↵":
		return "\n"
	case shown == "·":
		return " "
	case !strings.HasPrefix(shown, "⟨") || name == "":
		return shown
	case strings.HasPrefix(name, `\x`):
		fmt.Sscanf(name, `\x%02x`, &n)
		return string([]byte{byte(n)})
	case strings.HasPrefix(name, "U+"):
		fmt.Sscanf(name, "U+%X", &n)
		return string(n)
	case name == "DEL":
		return "\x7f"
	default:
		for i, c := range controlNames {
			if c == name {
				return string(rune(i))
			}
		}
		return shown
	}
}

// played is what the player gets of a recording.
// A segmented recording as the player reads it: see the rules in asciinema-player's segmented format, version 1.
type segmented struct {
	index  playIndex
	starts []float64
	events [][3]any // of all segments
	output string
}

// loadSegments reads an index and all its segments, and fails where the player would.
func (b *browser) loadSegments(id, idle string) (s segmented) {
	t := b.f.t
	t.Helper()
	res := b.get("/sessions/" + id + "/play?idle=" + idle)
	if err := json.Unmarshal([]byte(text(res)), &s.index); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("index: %s %v", res.Status, err)
	}
	duration, _ := s.index.Duration.Float64()
	for n, seg := range s.index.Segments {
		start, _ := seg.Start.Float64()
		if n == 0 && start != 0 || n > 0 && start <= s.starts[n-1] || start >= duration {
			t.Errorf("segment %d starts at %v of %v, after %v", n, start, duration, s.starts)
		}
		s.starts = append(s.starts, start)
	}
	for n, seg := range s.index.Segments {
		var p struct {
			Snapshot struct {
				Cols, Rows int
				Init       *string
			}
			Events [][3]any
		}
		res := b.get("/sessions/" + id + "/" + seg.URL)
		if err := json.Unmarshal([]byte(text(res)), &p); err != nil || p.Snapshot.Cols < 1 || p.Snapshot.Rows < 1 || p.Snapshot.Init == nil || len(p.Events) == 0 {
			t.Fatalf("segment %d: %s %v %.300s", n, res.Status, err, text(res))
		}
		if p.Events[0][0].(float64) != s.starts[n] {
			t.Errorf("segment %d starts at %v with an event of %v", n, s.starts[n], p.Events[0][0])
		}
		last := s.starts[n]
		for _, e := range p.Events {
			at := e[0].(float64)
			if at < last || n+1 < len(s.starts) && at >= s.starts[n+1] || at > duration {
				t.Errorf("segment %d has an event at %v after %v", n, at, last)
			}
			last = at
			if e[1] == "o" {
				s.output += e[2].(string)
			}
		}
		if n == len(s.starts)-1 && last != duration {
			t.Errorf("the last event is at %v of %v", last, duration)
		}
		s.events = append(s.events, p.Events...)
	}
	return s
}

// What the player gets fits its rules, and is what was shown, with pauses cut or not.
func TestPlay(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	whole := b.loadSegments(adas, "0")
	if !strings.Contains(whole.output, "git status --short") || !strings.Contains(whole.output, "logout") || whole.index.How != reel.Whole {
		t.Errorf("%q: %.300q", whole.index.How, whole.output)
	}
	short := b.loadSegments(adas, "2")
	if short.output != whole.output || short.index.Length != whole.index.Length {
		t.Error("what is shown depends on how long pauses last")
	}
	a, _ := whole.index.Duration.Float64()
	if b, _ := short.index.Duration.Float64(); b >= a/2 || len(short.index.Cuts) < 5 {
		t.Errorf("with pauses cut it takes %v of %v", b, a)
	}
	hostile := b.loadSegments("20261124s00mal00005e", "0")
	if m := regexp.MustCompile("[\x07\u0080-\u009f]|\x1b[\\]P]|\x1b\\[[0-9;>]*[cnt]").FindString(hostile.output); m != "" || !strings.Contains(hostile.output, "still readable") {
		t.Errorf("%q gets through: %q", m, hostile.output)
	}
	for _, q := range []string{"/play?idle=1", "/segments/0", "/segments/0?idle=0&end=-1&n=1&e=0", "/segments/9?idle=0&end=1&n=1&e=0", "/segments/0?idle=0&end=1&n=7&e=0", "/segments/-1?idle=0&end=1&n=1&e=0", "/segments/x?idle=0&end=1&n=1&e=0"} {
		if res := b.get("/sessions/" + adas + q); res.StatusCode != http.StatusBadRequest && res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", q, res.Status)
		}
	}
	if res := f.signIn("mallory").get("/sessions/" + adas + "/" + whole.index.Segments[0].URL); res.StatusCode != http.StatusForbidden {
		t.Errorf("a segment for somebody without the right: %s", res.Status)
	}
}

// One look at a recording is one event, however many segments it takes; another look is another.
func TestPlayIsWrittenDown(t *testing.T) {
	now := time.Now()
	var mu sync.Mutex
	f := newFixture(t, func(o *Options) {
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	f.seed()
	b := f.signIn("grace")
	played := func() int {
		e, _, err := f.ledger.Audit(t.Context(), ledger.AuditFilter{Kind: "recording.played", SessionID: adas})
		if err != nil {
			t.Fatal(err)
		}
		return len(e)
	}
	url := b.loadSegments(adas, "0").index.Segments[0].URL
	b.loadSegments(adas, "2")
	if n := played(); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	mu.Lock()
	now = now.Add(watchTime + time.Second)
	mu.Unlock()
	b.get("/sessions/" + adas + "/" + url) // nobody gets around it by leaving the index out
	if n := played(); n != 2 {
		t.Errorf("%d events after a while, want 2", n)
	}
	f.signIn("grace").get("/sessions/" + adas + "/" + url)
	if n := played(); n != 3 {
		t.Errorf("%d events with another browser, want 3", n)
	}
}

func TestLive(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	const id = "20261124s00gra00003c"
	req, _ := http.NewRequest("GET", f.url+"/sessions/"+id+"/live", nil)
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	next := func() string {
		for lines.Scan() {
			if s := lines.Text(); s != "" {
				return s
			}
		}
		return ""
	}
	if got := next(); !strings.Contains(got, `"cols":100`) || !strings.Contains(got, "PostgreSQL database dump") {
		t.Fatalf("opening: %q", got)
	}
	f.shelf.add(id, []byte(`[0.25,"o","more\u001b]52;c;eA==\u0007\r\n"]`+"\n"), false)
	if got := next(); !strings.Contains(got, `"o","more\r\n"]`) {
		t.Errorf("event: %q", got)
	}
	f.shelf.add(id, []byte(`[0.25,"x","0"]`+"\n"), true)
	if got := next() + next() + next(); !strings.Contains(got, "event: done") {
		t.Errorf("end: %q", got)
	}
	if e, _, err := f.ledger.Audit(t.Context(), ledger.AuditFilter{Kind: "recording.followed", SessionID: id}); err != nil || len(e) != 1 {
		t.Errorf("audit: %v %v", e, err)
	}
	if res := b.get("/sessions/" + adas + "/live"); res.StatusCode != http.StatusNotFound {
		t.Errorf("live view of an ended session: %s", res.Status)
	}
}

// broken is a store that fails in the middle of a recording.
type broken struct{ *shelf }

func (b broken) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	r, err := b.shelf.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(r, 1000), iotest.ErrReader(errors.New("store is gone")))), nil
}

// A download that breaks off does not look like a whole file, and a player is told.
func TestRecordingBreaksOff(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Recordings = broken{o.Recordings.(*shelf)} })
	f.seed()
	b := f.signIn("grace")
	req, err := http.NewRequest("GET", f.url+"/sessions/"+adas+"/recording.cast", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.Do(req)
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("the download ends as if it were whole")
	}
	if res := b.get("/sessions/" + adas + "/play"); res.StatusCode != http.StatusInternalServerError {
		t.Errorf("the player gets %s", res.Status)
	}
	if !strings.Contains(f.log.String(), "store is gone") {
		t.Error("the log does not say why")
	}
}

func TestTooManyStreams(t *testing.T) {
	l := limiter{max: 2}
	for who, want := range map[string]int{"a": 2, "b": 1} {
		for i := range want {
			if !l.take(who) {
				t.Errorf("number %d of %s is refused", i+1, who)
			}
		}
	}
	if l.take("a") {
		t.Error("a third is let in")
	}
	l.give("a")
	l.give("b")
	if !l.take("a") || l.take("a") || len(l.now) != 1 {
		t.Error("what was given back counts again, and nothing is kept for those who have nothing")
	}
}

// A server that stops ends the pages that update by themselves, and does not wait for them for ever.
func TestShutdownEndsStreams(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	req, err := http.NewRequest("GET", f.url+"/sessions/20261124s00gra00003c/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := f.server.Config.Shutdown(ctx); err != nil {
		t.Errorf("it waits for a live view: %v", err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Errorf("the live view breaks off: %v", err)
	}
}
