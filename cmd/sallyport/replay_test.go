package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"github.com/sallyport-ssh/sallyport/filters/sql/grammar"
)

// TestMain lets a test start this binary as sallyport itself, for what needs a terminal of its own.
func TestMain(m *testing.M) {
	grammar.Intercept()
	if os.Getenv("SALLYPORT_AS_ITSELF") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hostileCast tries everything that a recorded program might try on who looks at it (class H of the attacks).
func hostileCast(t *testing.T) string {
	t.Helper()
	out := "\x1b]0;owned title\x07\x1b]52;c;b3duZWQ=\x07\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\\r\n" +
		"\x1b[c\x1b[>c\x1b[6n\x1b[?6n\x1b[5n\x1b[x\x1bZ\x05\x1bP$qm\x1b\\\x1bP+q544e\x1b\\\x1b[8;9999;9999t\x1b[21t\x1b[?1000h\x1b[?2004h\x1b[>4;2m\x1b[?1003h\u009b31mC1\u009d0;t\u009c\u0090q\u009c\r\n" +
		"\x1b[" + strings.Repeat("1;", 5000) + "mdeep\x1b[99999999999b\x1b[99999999;99999999H\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\\u202ereversed\u2066\r\n\x1b[31mred\x1b[0m\r\nstill readable\r\n"
	var b strings.Builder
	b.WriteString(`{"version":3,"term":{"cols":4000000000,"rows":4000000000,"type":"xterm"},"title":"\u001b]0;header\u0007","command":"\u001b[2Jx"}` + "\n")
	for _, e := range [][3]any{{0, "o", out}, {0, "r", "9999x9999"}, {0, "m", "\x1b]0;marker\x07"}, {0, "i", "typed\x1b[c"}, {0, "z", "unknown\x1b[c"}, {0, "o", "\x1b[6"}, {0, "o", "n and the end\r\n"}, {0, "x", "0"}} {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// acting matches what a terminal answers, keeps, or hands to its window.
var acting = regexp.MustCompile("\x1b[\\]PX^_Z]|\x1b\\[[0-9;:?>=]*[cntxq]|\x1b\\[\\?(1000|1003|2004)[hl]|\x05|\u0085|\u009b|\u009d|\u0090|\u202e|\u2066|owned|b3duZWQ|\x07|[0-9;]{200}")

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func itself(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "SALLYPORT_AS_ITSELF=1", "TERM=xterm-256color")
	return cmd
}

// A hostile recording that is played in a real terminal only draws, and leaves the terminal as it was.
func TestReplayInATerminal(t *testing.T) {
	cmd := itself(t, "replay", "--max", file(t, "hostile.cast", hostileCast(t)))
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	shown, err := io.ReadAll(tty)
	if err != nil && !errors.Is(err, syscall.EIO) { // how a terminal ends on Linux
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%q", err, shown)
	}
	if m := acting.Find(shown); m != nil {
		t.Errorf("%q gets through: %q", m, shown)
	}
	for _, want := range []string{"click", "still readable", "\x1b[31mred", "and the end", "\x1b[?25h"} {
		if !bytes.Contains(shown, []byte(want)) {
			t.Errorf("%q is missing from %q", want, shown)
		}
	}
}

// What cannot be played is refused with a sentence in which nothing acts, and never eats memory.
func TestReplayRefuses(t *testing.T) {
	head := `{"version":3,"term":{"cols":80,"rows":24}}` + "\n"
	for name, text := range map[string]string{
		"gzip":           "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + strings.Repeat("\x00", 4096),
		"zstd":           "\x28\xb5\x2f\xfd\x04\x00" + strings.Repeat("\x00", 4096),
		"an escape":      "\x1b]0;owned\x07\x1b[2J\n",
		"backward times": head + `[1,"o","shown first\r\n"]` + "\n" + `[-5,"o","x"]` + "\n",
		"broken JSON":    head + `[1,"o","shown first\r\n"]` + "\n" + "[1,\"o\"\x1b[2J\n",
		"endless line":   head + `[1,"o","shown first\r\n"]` + "\n" + `[1,"o","` + strings.Repeat("x", 2<<20),
		"deep":           head + `[1,"o","shown first\r\n"]` + "\n" + strings.Repeat("[", 1<<20) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			out, err := itself(t, "replay", "--max", file(t, "x.cast", text)).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || bytes.ContainsAny(out, "\x1b\x07\x00") {
				t.Errorf("%v: %q", err, out)
			}
			if strings.HasPrefix(text, head) && !bytes.Contains(out, []byte("shown first")) {
				t.Errorf("what comes before the damage is not shown: %q", out)
			}
			if len(out) > 4096 {
				t.Errorf("%d bytes of complaint", len(out))
			}
		})
	}
}

// Every form of export is what it says, and nothing in it acts when somebody looks at it.
func TestExportForms(t *testing.T) {
	cast := file(t, "hostile.cast", hostileCast(t))
	for _, format := range []string{"v2", "text", "jsonl"} {
		out, err := itself(t, "export", "--format", format, cast).Output()
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		if bytes.ContainsFunc(out, func(r rune) bool { return r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x202e }) {
			t.Errorf("%s holds control characters: %q", format, out)
		}
		if format == "text" {
			if !bytes.Contains(out, []byte("still readable\n")) || bytes.Contains(out, []byte("owned")) {
				t.Errorf("text: %q", out)
			}
			continue
		}
		for i, line := range bytes.Split(bytes.TrimSpace(out), []byte("\n")) {
			var v any
			if err := json.Unmarshal(line, &v); err != nil {
				t.Errorf("%s, line %d: %v", format, i+1, err)
			}
		}
	}
	if out, err := itself(t, "export", cast).Output(); err != nil || string(out) != hostileCast(t) {
		t.Errorf("v3 is not the recording itself: %v", err)
	}
}

// At a terminal the recording itself is shown as text, and not as what it would do.
func TestExportToATerminal(t *testing.T) {
	raw := `{"version":3,"term":{"cols":80,"rows":24}}` + "\n# \x1b]0;owned\x07\x1b[c comment\n"
	tty, err := pty.Start(itself(t, "export", file(t, "x.cast", raw)))
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	shown, err := io.ReadAll(tty)
	if err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if m := acting.Find(shown); m != nil || !bytes.Contains(shown, []byte("comment")) {
		t.Errorf("%q gets through: %q", m, shown)
	}
}
