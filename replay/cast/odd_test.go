package cast_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// odd are recordings of sessions as nobody expects them.
var odd = map[string]func(t *testing.T, w *cast.Writer, c *clock){
	"nothing at all": func(*testing.T, *cast.Writer, *clock) {},
	"stderr only": func(t *testing.T, w *cast.Writer, _ *clock) {
		must(t, w.Output(cast.Stderr, []byte("bash: nosuch: command not found\n")))
	},
	"input only": func(t *testing.T, w *cast.Writer, _ *clock) {
		must(t, w.Input([]byte("ls\r")))
		must(t, w.Input([]byte("\xff\x00\x1b[A\r")))
	},
	"bytes that are no text": func(t *testing.T, w *cast.Writer, _ *clock) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		must(t, w.Output(cast.Stdout, all))
		must(t, w.Output(cast.Stdout, []byte("half a character: \xe2\x82")))
		must(t, w.Output(cast.Stderr, []byte("\xac and the rest of none\xf0\x9f")))
	},
	"huge sizes": func(t *testing.T, w *cast.Writer, _ *clock) {
		must(t, w.Resize(4294967295, 0))
		must(t, w.Resize(0, 4294967295))
		must(t, w.Resize(1, 1))
		must(t, w.Output(cast.Stdout, []byte("still here\r\n")))
	},
	"a day and a line": func(t *testing.T, w *cast.Writer, c *clock) {
		must(t, w.Output(cast.Stdout, []byte("before\r\n")))
		c.t = c.t.Add(26 * time.Hour)
		must(t, w.Output(cast.Stdout, []byte("after\r\n")))
	},
	"a clock that went back": func(t *testing.T, w *cast.Writer, c *clock) {
		must(t, w.Output(cast.Stdout, []byte("one\r\n")))
		c.t = c.t.Add(-time.Hour)
		must(t, w.Output(cast.Stdout, []byte("two\r\n")))
	},
}

// TestOddRecordings: each verifies, and each export of it is what its readers take.
func TestOddRecordings(t *testing.T) {
	a := newAuthority(t)
	for name, fill := range odd {
		t.Run(name, func(t *testing.T) {
			key, chain := a.sessionKey(t, session)
			c := &clock{t: epoch, step: 1234567 * time.Nanosecond}
			var b bytes.Buffer
			w, err := cast.NewWriter(&b, cast.WriterOptions{Session: session, Key: key, Chain: chain, Now: c.now, Header: cast.Header{Cols: 80, Rows: 24}})
			must(t, err)
			fill(t, w, c)
			zero := 0
			_, err = w.Close(cast.End{Status: &zero, Reason: "exit"})
			must(t, err)
			report, err := cast.Verify(bytes.NewReader(b.Bytes()), cast.VerifyOptions{Roots: a.roots})
			if err != nil || !report.OK() {
				t.Fatalf("%+v, %v", report, err)
			}
			export := func(f func(*bytes.Buffer, *cast.Reader) error) []byte {
				t.Helper()
				r, err := cast.NewReader(bytes.NewReader(b.Bytes()))
				must(t, err)
				var out bytes.Buffer
				must(t, f(&out, r))
				if !utf8.Valid(out.Bytes()) {
					t.Errorf("an export is no UTF-8: %q", out.Bytes())
				}
				return out.Bytes()
			}
			for line := range bytes.Lines(export(func(o *bytes.Buffer, r *cast.Reader) error { return cast.ExportJSON(o, r) })) {
				if !json.Valid(line) {
					t.Errorf("no JSON: %s", line)
				}
			}
			export(func(o *bytes.Buffer, r *cast.Reader) error { return cast.ExportText(o, r) })
			byAsciinema(t, export(func(o *bytes.Buffer, r *cast.Reader) error { return cast.ExportV2(o, r) }))
		})
	}
}

// byAsciinema has asciinema's own reader of version 2 put out a recording, and wants of it what its output events say.
func byAsciinema(t *testing.T, v2 []byte) {
	t.Helper()
	program, err := exec.LookPath("asciinema")
	if err != nil {
		if testing.Short() {
			return
		}
		t.Fatal("no asciinema: `make test` installs it")
	}
	want, last := "", 0.0
	for n, line := range strings.Split(strings.TrimSpace(string(v2)), "\n") {
		if n == 0 {
			continue
		}
		var at float64
		var code, text string
		must(t, json.Unmarshal([]byte(line), &[]any{&at, &code, &text}))
		if at < last {
			t.Errorf("time goes back: %s", line)
		}
		if last = at; code == "o" {
			want += text
		}
	}
	file := filepath.Join(t.TempDir(), "v2.cast")
	must(t, os.WriteFile(file, v2, 0o600))
	cmd := exec.Command(program, "cat", file)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+t.TempDir())
	ptmx, tty, err := pty.Open() // it wants a terminal, and puts out to where it is told
	must(t, err)
	defer ptmx.Close()
	defer tty.Close()
	cmd.Stdin, cmd.SysProcAttr = tty, &syscall.SysProcAttr{Setsid: true, Setctty: true}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	got, err := cmd.Output()
	if err != nil || string(got) != want {
		t.Errorf("asciinema cat: %v %s\ngot  %q\nwant %q", err, errs.String(), got, want)
	}
}
