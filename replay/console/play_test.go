package console

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func cleaned(chunks ...string) string {
	var t terminal
	var b []byte
	for _, c := range chunks {
		b = t.clean(b, c)
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
	f.Add(hostileOutput, 7)
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
func played(t *testing.T, recording string, limit int64) (header string, events [][3]any, ending string) {
	t.Helper()
	p, err := newPlayback(strings.NewReader(recording), limit)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	p.copy(w) // the error is for the log; the last line tells it
	w.Flush()
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for _, l := range lines[1:] {
		if strings.HasPrefix(l, "# ") {
			ending = l[2:]
			continue
		}
		var e [3]any
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		events = append(events, e)
	}
	return lines[0], events, ending
}

const castHeader = `{"version":3,"term":{"cols":80,"rows":24}}` + "\n"

func TestPlayback(t *testing.T) {
	for _, tt := range []struct{ name, in, header, events, ending string }{
		{"ordinary", castHeader + `[0.5,"o","a"]` + "\n" + `[1,"o","b"]` + "\n", "80,\"rows\":24", `[[0.5 o a] [1 o b]]`, "end"},
		{"no events", castHeader, "", `[]`, "end"},
		{"last line cut", castHeader + `[0.5,"o","a"]` + "\n" + `[1,"o","b`, "", `[[0.5 o a]]`, "end"},
		{"broken JSON", castHeader + `[0.5,"o","a"]` + "\n" + `[1,"o",}` + "\n" + `[1,"o","c"]` + "\n", "", `[[0.5 o a]]`, "damaged"},
		{"time goes back", castHeader + `[0.5,"o","a"]` + "\n" + `[-9,"o","b"]` + "\n", "", `[[0.5 o a]]`, "damaged"},
		{"time without end", castHeader + `[0.5,"o","a"]` + "\n" + `[1e300,"o","b"]` + "\n", "", `[[0.5 o a]]`, "damaged"},
		{"deep nesting", castHeader + `[0.5,"o","a"]` + "\n" + strings.Repeat("[", 5000) + "\n", "", `[[0.5 o a]]`, "damaged"},
		{"endless line", castHeader + `[0.5,"o","` + strings.Repeat("a", 2<<20) + `"]` + "\n", "", `[]`, "damaged"},
		{"huge at the start", `{"version":3,"term":{"cols":4000000000,"rows":4000000000}}` + "\n", `"cols":500,"rows":200`, `[]`, "end"},
		{"huge resize", castHeader + `[0,"r","9999x9999"]` + "\n" + `[0,"r","0x0"]` + "\n", "", `[[0 r 500x200] [0 r 1x1]]`, "end"},
		{"input is not shown", castHeader + `[0.5,"i","secret"]` + "\n", "", `[]`, "end"},
		{"unknown codes are dropped", castHeader + `[0.5,"z","<script>"]` + "\n", "", `[]`, "end"},
		{"marker", castHeader + `[0.5,"m","\u001b]0;x\u0007\u202e<b>"]` + "\n", "", `[[0.5 m ⟨ESC⟩]0;x⟨BEL⟩⟨U+202E⟩<b>]]`, "end"},
		{"exit", castHeader + `[0.5,"x","3"]` + "\n", "", `[[0.5 x 3]]`, "end"},
		{"sequence over two events", castHeader + `[0.5,"o","a\u001b]0;ti"]` + "\n" + `[0.5,"o","tle\u0007b\u001b[3"]` + "\n" + `[0.5,"o","1mc"]` + "\n", "", "[[0.5 o a] [0.5 o b] [0.5 o \x1b[31mc]]", "end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header, events, ending := played(t, tt.in, 1<<30)
			if got := fmt.Sprint(events); got != tt.events || ending != tt.ending || !strings.Contains(header, tt.header) {
				t.Errorf("got %s %.300s %q", header, got, ending)
			}
		})
	}
	if _, err := newPlayback(strings.NewReader("<html>"), 1); err == nil {
		t.Error("something that is no recording is played")
	}
	if _, _, ending := played(t, castHeader+strings.Repeat(`[0.1,"o","0123456789"]`+"\n", 100), 95); ending != "cut" {
		t.Errorf("over the limit: %q", ending)
	}
	_, events, _ := played(t, castHeader+strings.Repeat(`[0,"r","80x24"]`+"\n"+`[0,"m","x"]`+"\n", 6000), 1<<30)
	if len(events) != maxResizes+maxMarkers {
		t.Errorf("%d resizes and markers", len(events))
	}
}

// A real recording comes out as it was shown.
func TestPlaybackOfRecording(t *testing.T) {
	data := record(t, "20261124s00ada00001a", cast.Header{Cols: 100, Rows: 30}, time.Now(), []script{
		{time.Second, "hé"}, {2 * time.Second, "marker:op"}, {3 * time.Second, "\x1b[31mred\r\n"}, {4 * time.Second, "resize:120x40"},
	}, true)
	_, events, ending := played(t, string(data), 1<<20)
	if got, want := fmt.Sprint(events), "[[1 o hé] [1 m op] [1 o \x1b[31mred\r\n] [1 r 120x40]"; !strings.HasPrefix(got, want) || ending != "end" {
		t.Errorf("got %q %q, want %q", got, ending, want)
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

func TestOpeningKeepsTheEnd(t *testing.T) {
	o := opening{text: []byte(newlineMode)}
	for i := range 40_000 {
		o.add(playEvent{Code: 'o', Text: fmt.Sprintf("line %d of a long session\r\n", i)})
	}
	if len(o.text) > 2*keepInit || !strings.HasSuffix(string(o.text), "line 39999 of a long session\r\n") || !strings.HasPrefix(string(o.text), newlineMode+"line ") {
		t.Errorf("%d bytes from %.40q", len(o.text), o.text)
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
	if body := text(b.get("/sessions/" + adas + "/play")); !strings.HasSuffix(body, "# damaged\n") {
		t.Errorf("the player gets %q", body)
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
