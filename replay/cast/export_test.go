package cast_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

func TestSanitize(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"text and colour", "a\x1b[1;31mb\x1b[0mc\r\n", "a\x1b[1;31mb\x1b[0mc\r\n"},
		{"true colour with colons", "\x1b[38:2::1:2:3mx", "\x1b[38:2::1:2:3mx"},
		{"cursor and erase", "\x1b[2J\x1b[1;1H\x1b[K", "\x1b[2J\x1b[1;1H\x1b[K"},
		{"alternate screen", "\x1b[?1049hx\x1b[?1049l", "\x1b[?1049hx\x1b[?1049l"},
		{"line drawing", "\x1b(0lqk\x1b(B", "\x1b(0lqk\x1b(B"},
		{"clipboard by BEL", "a\x1b]52;c;aGk=\x07b", "ab"},
		{"clipboard by ST", "a\x1b]52;c;aGk=\x1b\\b", "ab"},
		{"link", "\x1b]8;;http://x/\x1b\\click\x1b]8;;\x1b\\", "click"},
		{"title", "\x1b]0;owned\x07$ ", "$ "},
		{"string without end", "a\x1b]0;rest is hidden", "a"},
		{"string ended by another sequence", "\x1b]0;x\x1b[31mred", "\x1b[31mred"},
		{"device attributes", "\x1b[c\x1b[>c\x1b[0c", ""},
		{"status report", "\x1b[5n\x1b[6n\x1b[?6n", ""},
		{"DECRQSS and sixel", "\x1bP$qm\x1b\\\x1bPq#0\x1b\\x", "x"},
		{"answerback", "a\x05b", "ab"},
		{"window operations", "\x1b[21t\x1b[8;9999;9999t", ""},
		{"mouse, focus, paste, keyboard", "\x1b[?1000h\x1b[?1004h\x1b[?2004h\x1b[?1h\x1b[>4;2m\x1b[>1u\x1b=", ""},
		{"modes in a list", "\x1b[?25;1000h", ""},
		{"C1 as UTF-8", "a\u009b31mb\u009d0;x\u009cc\u0085", "a\x1b[31mbc"},
		{"C1 as bytes", "a\x9b6nb", "a\ufffd6nb"},
		{"bell, nul, delete", "a\x07\x00\x7fb", "ab"},
		{"full reset", "\x1bc", "\x1b[m\x1b[r\x1b[H\x1b[2J"},
		{"number out of proportion", "\x1b[999999999999999999Cx", "x"},
		{"deep parameters", "\x1b[" + strings.Repeat("1;", 1000) + "mx", "x"},
		{"control inside a sequence", "\x1b[3\r1mx", "\r\x1b[31mx"},
		{"cancelled sequence", "\x1b[31\x18mx", "mx"},
		{"bidi", "a\u202eb\u2066c", "abc"},
		{"rune", "é€😀", "é€😀"},
		{"broken rune", "\xf0\x9fx", "\ufffd\ufffdx"},
		{"highlight tracking", "\x1b[1;2;3;4;5Tx", "x"},
		{"margins by private restore", "\x1b[?1000r\x1b[?1000s", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(cast.NewSanitizer().Append(nil, []byte(tt.in))); got != tt.want {
				t.Errorf("%q becomes %q, want %q", tt.in, got, tt.want)
			}
			s, split := cast.NewSanitizer(), []byte(nil)
			for i := range len(tt.in) {
				split = s.Append(split, []byte(tt.in[i:i+1]))
			}
			if string(split) != tt.want {
				t.Errorf("byte by byte %q becomes %q, want %q", tt.in, split, tt.want)
			}
		})
	}
}

func TestSanitizerResets(t *testing.T) {
	s := cast.NewSanitizer()
	if got := s.Reset(s.Append(nil, []byte("plain"))); string(got) != "plain" {
		t.Errorf("plain text is followed by %q", got)
	}
	out := s.Reset(s.Append(nil, []byte("\x1b[?1049h\x1b[?25l\x1b[31m")))
	for _, want := range []string{"\x1b[?1049l", "\x1b[?25h", "\x1b[m"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%q does not undo with %q", out, want)
		}
	}
}

// FuzzSanitize: nothing dangerous comes through, however it is cut, and what came through is left alone.
func FuzzSanitize(f *testing.F) {
	f.Add([]byte("a\x1b]52;c;x\x07\x1b[31mb\xc2\x9b6n"), 3)
	f.Add([]byte("\x1bP\x1b\x1b[\x1b]x\xc2\x1b[6n"), 1)
	f.Fuzz(func(t *testing.T, p []byte, cut int) {
		once := cast.NewSanitizer().Append(nil, p)
		s := cast.NewSanitizer()
		at := min(max(cut, 0), len(p))
		if got := s.Append(s.Append(nil, p[:at]), p[at:]); !bytes.Equal(got, once) {
			t.Fatalf("cut at %d: %q, whole: %q", at, got, once)
		}
		if again := cast.NewSanitizer().Append(nil, once); !bytes.Equal(again, once) {
			t.Fatalf("%q, again %q", once, again)
		}
		for _, bad := range []string{"\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\xc2\x9b", "\xc2\x9d", "\x05", "\x07"} {
			if bytes.Contains(once, []byte(bad)) {
				t.Fatalf("%q holds %q", once, bad)
			}
		}
	})
}

func export(t *testing.T, b []byte, f func(io.Writer, *cast.Reader) error) string {
	t.Helper()
	r, err := cast.NewReader(bytes.NewReader(b))
	must(t, err)
	var out bytes.Buffer
	must(t, f(&out, r))
	return out.String()
}

func TestExportV2(t *testing.T) {
	out := export(t, sample(t, newAuthority(t), session), cast.ExportV2)
	want := `{"version":2,"width":100,"height":30,"timestamp":1795507200,"command":"cat  ]0;x f","title":"demo"}
[0.004938, "o", "\u001b[20h"]
[0.006172, "o", "$ caf"]
[0.007407, "o", "oops ` + "\ufffd\ufffd \ufffd" + `\n"]
[0.008641, "o", "é"]
[0.008641, "o", " \u001b[1mx\u001b[0m\r\n"]
[0.01358, "i", "ls\r"]
[0.014814, "r", "120x40"]
[0.016049, "m", "rm -rf /srv"]
[0.019753, "o", "end "]
[0.020987, "o", "` + "\ufffd\ufffd" + `"]
`
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestExportText(t *testing.T) {
	a := newAuthority(t)
	var b bytes.Buffer
	w := newWriter(t, &b, a, session)
	for _, p := range []string{
		"\x1b]0;t\x07$ lz\b\x1b[Ks -l\r\n", "one\r\n", "10%\r20%\r100%\n", "\x1b[31mred\x1b[0m caf\xc3", "\xa9\n",
		"abcdef\x1b[3D\x1b[P\x1b[1@X\n", "\x1b[2J\x1b[Htop", "\x1b[5;1Hbelow",
	} {
		must(t, w.Output(cast.Stdout, []byte(p)))
	}
	_, err := w.Close(cast.End{})
	must(t, err)
	want := "$ ls -l\none\n100%\nred café\nabcXef\ntop\nbelow\n"
	if got := export(t, b.Bytes(), cast.ExportText); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestExportJSON(t *testing.T) {
	out := export(t, sample(t, newAuthority(t), session), cast.ExportJSON)
	var stderr, kinds []string
	for line := range strings.Lines(out) {
		var e struct {
			T                             float64
			Code, Stream, Kind, Data, B64 string
			Note                          any
		}
		must(t, json.Unmarshal([]byte(line), &e))
		if e.Stream == "stderr" {
			stderr = append(stderr, line)
		}
		if e.Code == "#" {
			kinds = append(kinds, e.Kind)
		}
	}
	if len(stderr) != 1 || !strings.Contains(stderr[0], `"b64":"b29wcyD//iDvv70K"`) {
		t.Errorf("stderr = %q", stderr)
	}
	if got := strings.Join(kinds, " "); got != "meta check check op check seal" {
		t.Errorf("kinds = %s", got)
	}
}

func TestReaderOfOthers(t *testing.T) {
	const published = `{"version": 3, "term": {"cols": 80, "rows": 24, "type": "xterm-256color"}, "timestamp": 1504467315, "title": "Demo", "env": {"SHELL": "/bin/zsh"}}
# event stream follows the header
[0.248, "o", "\u001b[1;31mHello \u001b[32mWorld!\u001b[0m\n"]
[1.001, "o", "That was ok\rThis is better."]
[3.500, "m", ""]
[0.143, "o", "Now... "]
# terminal window resized to 90 cols and 30 rows
[2.050, "r", "90x30"]
[1.541, "o", "Bye! \ud83d\ude00"]
[0.887, "x", "0"]
`
	r, err := cast.NewReader(strings.NewReader(published))
	must(t, err)
	var got strings.Builder
	var last cast.Event
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		got.WriteByte(e.Code)
		if e.Code == 'r' && (e.Cols != 90 || e.Rows != 30) {
			t.Errorf("size %dx%d", e.Cols, e.Rows)
		}
		if last = e; e.Code == 'o' && strings.HasPrefix(string(e.Data), "Bye") && string(e.Data) != "Bye! 😀" {
			t.Errorf("data %q", e.Data)
		}
	}
	if got.String() != "#oomo#rox" || last.At.Milliseconds() != 9370 {
		t.Errorf("codes %s, last at %v", got.String(), last.At)
	}
}

func TestHostileRecordings(t *testing.T) {
	const head = "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n"
	for _, tt := range []struct{ name, in string }{
		{"empty", ""},
		{"not JSON", "hello\n"},
		{"version 2", "{\"version\":2,\"width\":80,\"height\":24}\n"},
		{"deep header", strings.Repeat("[", 1<<16) + "\n"},
		{"endless header", "{" + strings.Repeat(" ", 2<<20)},
		{"endless line", head + "[0, \"o\", \"" + strings.Repeat("x", 2<<20)},
		{"negative interval", head + "[-1, \"o\", \"x\"]\n"},
		{"endless interval", head + "[1e400, \"o\", \"x\"]\n"},
		{"huge interval", head + "[99999999999999999999, \"o\", \"x\"]\n"},
		{"NaN", head + "[NaN, \"o\", \"x\"]\n"},
		{"leading zero", head + "[01, \"o\", \"x\"]\n"},
		{"object", head + "{\"a\":1}\n"},
		{"two elements", head + "[1, \"o\"]\n"},
		{"four elements", head + "[1, \"o\", \"x\", 1]\n"},
		{"trailing bytes", head + "[1, \"o\", \"x\"] [\n"},
		{"bare control", head + "[1, \"o\", \"\x1b[31m\"]\n"},
		{"not UTF-8", head + "[1, \"o\", \"\xff\"]\n"},
		{"bad escape", head + "[1, \"o\", \"\\x41\"]\n"},
		{"size", head + "[1, \"r\", \"99999999999x1\"]\n"},
		{"exit", head + "[1, \"x\", \"abc\"]\n"},
		{"deep note", head + "#sp {\"k\":\"op\",\"d\":" + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}\n"},
		{"note that is no object", head + "#sp 1\n"},
		{"announcement without event", head + "#sp {\"k\":\"next\",\"s\":\"e\"}\n#sp {\"k\":\"next\",\"s\":\"e\"}\n"},
		{"announcement of another event", head + "#sp {\"k\":\"next\",\"s\":\"e\"}\n[0, \"r\", \"1x1\"]\n"},
		{"too many bytes noted", head + "#sp {\"k\":\"next\",\"b\":\"////\"}\n[0, \"o\", \"\ufffd\"]\n"},
		{"long tail", head + "#sp {\"k\":\"tail\",\"s\":\"o\",\"b\":\"//////////\"}\n"},
		{"truncated last line", head + "[0, \"o\", \"x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := cast.NewReader(strings.NewReader(tt.in))
			for err == nil {
				_, err = r.Next()
			}
			var bad *cast.FormatError
			if !errors.As(err, &bad) || bad.Line < 1 {
				t.Errorf("error %v, want a FormatError", err)
			}
		})
	}
}

// FuzzReader: any file is read to an end or refused, and Verify agrees with nothing that was not signed.
func FuzzReader(f *testing.F) {
	a := newAuthority(f)
	f.Add(sample(f, a, session))
	f.Add([]byte("{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n[0.5e1, \"o\", \"\\ud83d\"]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := cast.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		at := int64(0)
		for {
			e, err := r.Next()
			if err != nil {
				break
			}
			if e.Code != '#' && int64(e.At) < at {
				t.Fatal("time goes back")
			}
			if e.Code != '#' {
				at = int64(e.At)
			}
		}
		stranger := newAuthority(t)
		if r := verify(t, stranger, b, cast.VerifyOptions{}); r.OK() {
			t.Fatal("nobody signed this")
		}
	})
}
