package line

import (
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/filters/command"
)

// A step is what the target writes (>), or what the client types (<), or what it was decided to run (!).
func play(t *testing.T, r *Reader, steps []string) (View, *Stop) {
	t.Helper()
	var v View
	var stop *Stop
	for _, s := range steps {
		switch s[0] {
		case '>':
			r.Output([]byte(s[1:]))
		case '!':
			if stop == nil {
				t.Fatalf("%q: nothing was stopped", s)
			}
			r.Accepted(*stop, r.Look(*stop), command.Parse(s[1:]))
		case '<':
			var used int
			p := []byte(s[1:])
			for len(p) > 0 {
				if _, used, stop = r.Keys(p); stop != nil && used < len(p) {
					t.Fatalf("%q: stopped after %d bytes", s, used)
				}
				p = p[used:]
			}
		}
	}
	if stop != nil {
		v = r.Look(*stop)
	}
	return v, stop
}

func TestLook(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []string
		seen  Seen
		text  string
	}{
		{"typed", []string{">user@h:~$ ", "<ls", ">ls", "<\r"}, Both, "ls"},
		{"not echoed yet", []string{">user@h:~$ ", "<ls\r"}, Hidden, "ls"},
		{"late echo", []string{">user@h:~$ ", "<ls\r", ">ls"}, Both, "ls"},
		{"typed before the prompt", []string{"<ls", ">ls\r\nuser@h:~$ ls", "<\r"}, Both, "ls"},
		{"something else is shown", []string{">$ ", "<ls", ">rm -rf /", "<\r"}, Differ, "ls"},
		{"more is shown", []string{">$ ", "<ls", ">rm -rf / ls", "<\r"}, Differ, "ls"},
		{"a buffer that was not empty", []string{">$ ", "<x", ">x", "<\r", "!x", ">\r\n$ rm -rf / ", "<y", ">y", "<\r"}, Differ, "y"},
		{"the same with a mark in it", []string{">$ ", "<x", ">x", "<\r", "!x", ">\r\n$ rm -rf / #$ ", "<y", ">y", "<\r"}, Differ, "y"},
		{"a buffer and Enter alone", []string{">$ ", "<x", ">x", "<\r", "!x", ">\r\n$ rm -rf /", "<\r"}, Screen, "rm -rf /"},
		{"after Ctrl-O", []string{">$ ", "<x", ">x", "<\x0f", "!x", ">\r\n$ rm -rf /", "<\r"}, Screen, "rm -rf /"},
		{"stars", []string{">Password: ", "<secret", ">******", "<\r"}, Hidden, "secret"},
		{"recalled", []string{">$ ", "<\x1b[A", ">make", "<\r"}, Screen, "make"},
		{"searched", []string{">$ ", "<\x12ma", ">\r(reverse-i-search)`ma': make all", "<\r"}, Screen, "make all"},
		{"completed", []string{">$ ", "<ls /us\t", ">ls /usr/", "<\r"}, Screen, "ls /usr/"},
		{"recalled, and nothing is shown", []string{">$ ", "<\x1b[A", "<\r"}, Differ, ""},
		{"Enter alone", []string{">$ ", "<\r"}, Nothing, ""},
		{"yes", []string{">Go on? [Y/n] ", "<y", ">y", "<\r"}, Nothing, "y"},
		{"a command called y", []string{">$ ", "<x", ">x", "<\r", "!x", ">\r\n$ ", "<y", ">y", "<\r"}, Both, "y"},
		{"a prompt at the right", []string{">\x1b[1;70H12:30\r% ", "<ls", ">ls", "<\r"}, Both, "ls"},
		{"no sign in the prompt", []string{">➜  dir git:(main) ✗ ", "<ls", ">ls", "<\r"}, Both, "ls"},
		{"wrapped", []string{">$ ", "<" + strings.Repeat("x", 100), ">" + strings.Repeat("x", 100), "<\r"}, Both, strings.Repeat("x", 100)},
		{"invisible characters", []string{">$ ", "<l\u200bs", ">ls", "<\r"}, Screen, "ls"},
		{"a combining character", []string{">$ ", "<e\u0301cho", ">e\u0301cho", "<\r"}, Differ, "e\u0301cho"},
		{"not UTF-8", []string{">$ ", "<l\xffs", ">ls", "<\r"}, Screen, "ls"},
		{"a split escape", []string{">$ ", "<ab\x1b", "<[", "<D", "<x", ">axb\b", "<\r"}, Both, "axb"},
		{"Enter in an escape", []string{">$ ", "<ls", ">ls", "<\x1b[\r"}, Both, "ls"},
		{"a faked alternate screen", []string{">$ \x1b[?1049h$ ", "<ls", ">ls", "<\r"}, Both, "ls"},
		{"an editor from the line", []string{">$ ", "<vx", ">vx\x1b[?1049h", "<:wq\r"}, Differ, "vx:wq"},
		{"a paste of two lines", []string{">\x1b[?2004h$ ", "<\x1b[200~ls\nrm x\n\x1b[201~"}, Both, "ls\nrm x\n"},
		{"a paste nobody asked for", []string{">$ ", "<\x1b[200~ls", ">^[[200~ls", "<\n"}, Screen, "^[[200~ls"},
		{"the end of input on a line", []string{">$ ", "<ls", ">ls", "<\x04"}, Both, "ls"},
		{"the keypad's Enter", []string{">$ ", "<ls", ">ls", "<\x1bOM"}, Both, "ls"},
		{"a line put aside by zsh", []string{">$ ", "<rm x", ">rm x", "<\x1bq", ">\r$ \x1b[K", "<ls", ">ls", "<\r"}, Screen, "ls"},
		{"an interrupt that was ignored", []string{">$ ", "<rm ", ">rm ", "<\x03", "<x", ">x", "<\r"}, Screen, "rm x"},
		{"too long", []string{">$ ", "<" + strings.Repeat("x", MaxLine), "<\r"}, Differ, ""},
	} {
		r := New(80, 24)
		v, stop := play(t, r, tt.steps)
		if stop == nil || v.Seen != tt.seen || tt.text != "" && v.Text != tt.text {
			t.Errorf("%s: stop %v, %+v; want %s %q", tt.name, stop, v, tt.seen, tt.text)
		}
	}
}

func TestUnfinished(t *testing.T) {
	for s, want := range map[string]bool{
		`ls \`: true, `ls \\`: false, `ls # \`: false, `echo 'a`: true, `echo "a`: true, "cat <<E": true, "cat <<E\nx\nE": false,
		"for i in 1; do": true, "if true; then": true, "ls": false, `echo $'a\'`: false, "ls &&": true, "{ ls": true, "!! 'x": false,
		`rm -rf / "'" 'x`: true, "((1": false,
	} {
		if got := unfinished(s); got != want {
			t.Errorf("unfinished(%q) = %v", s, got)
		}
	}
}

// TestIsSecret: a password goes to what asked for it, and no command goes as a password.
func TestIsSecret(t *testing.T) {
	for _, tt := range []struct {
		name, ran, prompt, typed string
		want                     bool
	}{
		{"sudo", "sudo ls", "[sudo] password for bob: ", "hunter2 x", true},
		{"a passphrase", "ssh-add k", "Enter passphrase for /home/bob/k: ", "correct horse", true},
		{"nothing asked for one", "ls", "Password: ", "hunter2", false},
		{"the echo was switched off", "sudo -v; stty -echo", "Password: ", "hunter2", false},
		{"a prompt that asks for none", "sudo ls", "$ ", "hunter2", false},
		{"a prompt with a mark in it", "sudo ls", "Password: $ ", "hunter2", false},
		{"a command", "sudo ls", "Password: ", "rm -rf /", false},
		{"a file to run", "sudo ls", "Password: ", "/tmp/x", false},
		{"a script that asks", "./deploy", "Password: ", "hunter2", false},
	} {
		r := New(80, 24)
		_, _ = play(t, r, []string{">$ ", "<" + tt.ran, ">" + tt.ran, "<\r", "!" + tt.ran, ">\r\n" + tt.prompt})
		v, stop := play(t, r, []string{"<" + tt.typed, "<\r"})
		if stop == nil || v.Seen != Hidden {
			t.Fatalf("%s: %+v", tt.name, v)
		}
		if got := r.IsSecret(v); got != tt.want {
			t.Errorf("%s: IsSecret = %v", tt.name, got)
		}
		for range maxSecrets {
			r.Secret()
		}
		if r.IsSecret(v) {
			t.Errorf("%s: it asks without an end", tt.name)
		}
	}
}

// FuzzKeys: however keys are cut into reads, the same of them is sent and the same keys stop; none is lost.
func FuzzKeys(f *testing.F) {
	f.Add([]byte("ls\r\x1b[200~a\nb\x1b[201~\x03\x04\x0f\x16\r\x1bOM\x1b\xff"), uint8(3), true)
	f.Add([]byte("\x1b[200~a\x1b[201\x1b[201~\xe6\x97\xa5\x1b]11;?\x07"), uint8(1), true)
	f.Fuzz(func(t *testing.T, p []byte, n uint8, paste bool) {
		run := func(size int) string {
			r := New(20, 5)
			if paste {
				r.Output([]byte("\x1b[?2004h$ "))
			}
			var out strings.Builder
			for i := 0; i < len(p); i += size {
				for rest := p[i:min(i+size, len(p))]; len(rest) > 0; {
					send, used, stop := r.Keys(rest)
					out.Write(send)
					rest = rest[used:]
					if stop != nil {
						r.Look(*stop)
						r.Accepted(*stop, View{Seen: Both}, nil)
						out.WriteString("|")
						out.Write(stop.Key)
					}
				}
			}
			out.Write(r.pasted)
			return out.String()
		}
		whole, parts := run(max(len(p), 1)), run(int(n)+1)
		if whole != parts {
			t.Errorf("whole %q, in parts %q", whole, parts)
		}
		if got := strings.ReplaceAll(whole, "|", ""); got != strings.ReplaceAll(string(p), "|", "") {
			t.Errorf("keys %q became %q", p, got)
		}
	})
}
