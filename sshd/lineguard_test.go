package sshd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/command"
	"github.com/sallyport-ssh/sallyport/filters/line"
	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/local"
)

// A desk decides on lines: it refuses those that hold no, and has those wait that hold held.
type desk struct {
	t        testing.TB
	no, held string
	waiting  chan line.View
	answer   chan error

	refused chan line.View // if not nil: told of each

	mu    sync.Mutex
	lines []line.View
}

func (d *desk) decide(ctx context.Context, v line.View, _ *command.Facts) error {
	d.mu.Lock()
	d.lines = append(d.lines, v)
	d.mu.Unlock()
	if d.held != "" && strings.Contains(v.Text, d.held) {
		d.waiting <- v
		select {
		case err := <-d.answer:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if d.no != "" && strings.Contains(v.Text, d.no) || v.Seen == line.Differ || v.Seen == line.Hidden {
		if d.refused != nil {
			d.refused <- v
		}
		return errors.New("refused by a test")
	}
	return nil
}

func (d *desk) taken() []line.View {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.lines
	d.lines = nil
	return out
}

// A guarded terminal is a real shell in a sandbox behind a lineGuard.
type guarded struct {
	t     testing.TB
	d     *desk
	keysW *io.PipeWriter
	mu    sync.Mutex
	buf   bytes.Buffer
	moved chan struct{}
}

func openGuarded(t testing.TB, shell []string, d *desk) *guarded {
	t.Helper()
	l, err := local.New(local.Config{Name: "demo", Shell: shell, Env: []string{"PS1=$ "}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p, err := l.Open(t.Context(), shells.Request{Kind: shells.Shell, Pty: &shells.Pty{Term: "xterm", Cols: 100, Rows: 30}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	g := newLineGuard(100, 30, d.decide)
	g.quiet = 150 * time.Millisecond // other tests run beside this one
	pr, pw := io.Pipe()
	queue := newTypeahead(pr, g.interrupted)
	s := &guarded{t: t, d: d, keysW: pw, moved: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { g.run(ctx, p.Stdin(), queue) })
	wg.Go(func() { s.read(watched{p.Stdout(), g.output}) })
	t.Cleanup(func() { cancel(); p.Close(); pw.Close(); queue.close(); wg.Wait() })
	s.wait("$ ")
	return s
}

func (s *guarded) read(r io.Reader) {
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		s.mu.Lock()
		s.buf.Write(b[:n])
		s.mu.Unlock()
		select {
		case s.moved <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// wait returns what was shown up to and with want, and forgets it.
func (s *guarded) wait(want string) string {
	s.t.Helper()
	got, ok := s.waitUpTo(20*time.Second, want)
	if !ok {
		s.t.Fatalf("waited for %q, shown %q; lines %+v", want, s.text(), s.d.taken())
	}
	return got
}

// waitUpTo is wait, and false when it takes longer.
func (s *guarded) waitUpTo(d time.Duration, want string) (string, bool) {
	limit := time.NewTimer(d)
	defer limit.Stop()
	for {
		s.mu.Lock()
		if i := bytes.Index(s.buf.Bytes(), []byte(want)); i >= 0 {
			got := string(s.buf.Next(i + len(want)))
			s.mu.Unlock()
			return got, true
		}
		s.mu.Unlock()
		select {
		case <-s.moved:
		case <-limit.C:
			return "", false
		}
	}
}

func (s *guarded) keys(k string) {
	s.t.Helper()
	if _, err := io.WriteString(s.keysW, k); err != nil {
		s.t.Fatal(err)
	}
}

// settle waits until the shell is at its prompt again: a marker line has run.
func (s *guarded) settle() string {
	s.t.Helper()
	s.keys("echo ma''rk\r")
	got := s.wait("mark\r\n")
	s.wait("$ ")
	return got
}

func texts(views []line.View) (out []string) {
	for _, v := range views {
		if !strings.Contains(v.Text, "ma''rk") {
			out = append(out, string(v.Seen)+": "+v.Text)
		}
	}
	return out
}

var guardedShells = map[string][]string{
	"bash":    {"/bin/bash", "--norc", "--noprofile"},
	"zsh":     {"/usr/bin/zsh", "-f", "-o", "nopromptsp"},
	"dash":    {"/bin/dash"},
	"busybox": {"/bin/busybox", "sh"},
}

func editing(name string) bool { return name != "dash" }

// TestLinesAreSeen types into real shells and looks at what was decided on.
func TestLinesAreSeen(t *testing.T) {
	for name, shell := range guardedShells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &desk{t: t}
			s := openGuarded(t, shell, d)
			for _, tt := range []struct {
				keys string
				want []string
				only func(string) bool
			}{
				{"echo one\r", []string{"both: echo one"}, nil},
				{"echo two\n", []string{"both: echo two"}, nil},
				{"echo a\recho b\recho c\r", []string{"both: echo a", "both: echo b", "both: echo c"}, nil},
				{"\r", nil, nil},
				{"echo typo\x7f\x7f\x7f\x7fok\r", []string{"both: echo ok"}, nil},
				{"echo gone\x15echo here\r", []string{"both: echo here"}, nil},
				{"echo never\x03echo now\r", []string{"both: echo now"}, nil},
				{"echo in\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[3~E\x05\r", []string{"both: Echo in"}, func(n string) bool { return n == "bash" }},
				{"echo \\\rmore\r", []string{"both: echo \\\nmore"}, nil},
				{"echo 'open\rshut'\r", []string{"both: echo 'open\nshut'"}, nil},
				{"cat <<E\rhello\rE\r", []string{"both: cat <<E\nhello\nE"}, nil},
				{"echo " + strings.Repeat("0123456789", 30) + "\r", []string{"both: echo " + strings.Repeat("0123456789", 30)}, nil},
				{"echo ü 日本\r", []string{"both: echo ü 日本"}, func(n string) bool { return n == "bash" || n == "dash" }},
				{"echo again\r\x1b[A\r", []string{"both: echo again", "screen: echo again"}, editing},
				{"echo find me\r", []string{"both: echo find me"}, editing},
				{"\x12find\r", []string{"screen: echo find me"}, func(n string) bool { return n == "bash" || n == "zsh" }},
				{"ls /us\t\r", []string{"screen: ls /usr/"}, func(n string) bool { return n == "bash" || n == "zsh" || n == "busybox" }},
			} {
				if tt.only != nil && !tt.only(name) {
					continue
				}
				s.keys(tt.keys)
				s.settle()
				if got := texts(d.taken()); !slices.Equal(got, tt.want) {
					t.Errorf("keys %.60q\ngot  %.200q\nwant %.200q", tt.keys, got, tt.want)
				}
			}
		})
	}
}

// TestLinesRefused: a refused line does not run, in any shell, whatever runs it.
func TestLinesRefused(t *testing.T) {
	for name, shell := range guardedShells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &desk{t: t, no: "LEAK", refused: make(chan line.View, 99)}
			s := openGuarded(t, shell, d)
			for _, keys := range []string{
				"echo LEAK''ED\r", "echo LEAK''ED\n", "echo LEAK''ED\x0f", "echo ok\recho LEAK''ED\r", "echo LEAK''ED\recho x\r",
				"echo LEAK''ED\x04\x04", "echo \\\rLEAK''ED\r", "cat <<E\r$(echo LEAK''ED)\rE\r", "cat <<E\r$(echo LEAK''ED)\r\x04",
				"\x1b[200~echo LEAK''ED\recho LEAK''ED\r\x1b[201~\r", "echo LEAK''ED\x1ba", "echo LEAK''ED\x1b#",
				"echo x; echo \"LEAK''ED\r\"\r", "for i in 1; do\recho LEAK''ED\rdone\r", "echo LEAK''ED\x16\r\r",
				"ls $(echo LEAK''ED>&2)\t", "ls `echo LEAK''ED>&2`/\t", "echo LEAK''ED \\\r#\r",
			} {
				if name == "busybox" && strings.Contains(keys, "201~") {
					continue // to which these are other keys, and the line has no end
				}
				s.keys(keys)
				v := s.refusal(keys)
				if !strings.Contains(v.Text, "LEAK") {
					t.Errorf("keys %q: refused %+v", keys, v)
				}
				if got := s.settle(); strings.Contains(got, "LEAKED") {
					t.Errorf("keys %q let it run: %q", keys, got)
				}
			}
		})
	}
}

// refusal waits until a line was refused and the shell is back at its prompt.
func (s *guarded) refusal(keys string) line.View {
	s.t.Helper()
	v := s.refused(keys)
	s.mu.Lock() // prompts of earlier lines are not the one that is waited for
	if strings.Contains(s.buf.String(), "LEAKED") {
		s.t.Errorf("keys %q let it run: %q", keys, s.buf.String())
	}
	s.buf.Reset()
	s.mu.Unlock()
	for range 10 { // the one that is waited for may have come before this looked: an empty line asks for another
		if _, ok := s.waitUpTo(2*time.Second, "$ "); ok {
			return v
		}
		s.keys("\r")
	}
	s.t.Fatalf("keys %q: no prompt came back, shown %q", keys, s.text())
	return v
}

func (s *guarded) refused(keys string) line.View {
	s.t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case v := <-s.d.refused:
		return v
	case <-limit.C:
		s.t.Fatalf("keys %q: nothing was refused, lines %+v, shown %q", keys, s.d.taken(), s.text())
		return line.View{}
	}
}

// TestLinesHidden: without an echo no line passes, whatever the screen is made to look like.
func TestLinesHidden(t *testing.T) {
	d := &desk{t: t, refused: make(chan line.View, 9)}
	for _, hide := range []string{
		"stty -echo", "stty -echo; PS1='Password: $ '", "printf '[sudo] password for user: '; stty -echo", "stty -echo; printf '\\033[?1049h'",
		"stty -echo; sudo() { :; }; printf 'Password: '", "printf '\\033]0;'", "stty -echo -icanon",
	} {
		s := openGuarded(t, guardedShells["dash"], d)
		s.keys(hide + "\r")
		s.keys("echo LEAK''ED\r")
		if v := s.refused(hide); v.Seen != line.Hidden {
			t.Errorf("after %q: %+v", hide, v)
		}
		if strings.Contains(s.text(), "LEAKED") {
			t.Errorf("after %q it ran: %q", hide, s.text())
		}
	}
}

func (s *guarded) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// TestLineHeld: what is typed while a line is held is not sent, Ctrl-C takes the question back, and a line that changed
// meanwhile is asked about again.
func TestLineHeld(t *testing.T) {
	d := &desk{t: t, held: "held", waiting: make(chan line.View), answer: make(chan error), refused: make(chan line.View, 9)}
	s := openGuarded(t, guardedShells["bash"], d)
	s.keys("echo held\r")
	<-d.waiting
	s.keys("echo early\r")
	d.answer <- nil
	s.wait("\rheld\r\n")
	s.wait("\rearly\r\n")
	if got, want := texts(d.taken()), []string{"both: echo held", "both: echo early"}; !slices.Equal(got, want) {
		t.Errorf("decided on %q, want %q", got, want)
	}
	s.wait("$ ")
	s.keys("echo held \\\x7fLEAK''ED\r")
	<-d.waiting
	s.keys("echo more\r\x03")
	s.wait("$ ")
	if got := s.settle(); strings.Contains(got, "LEAKED") {
		t.Errorf("it ran although it was taken back: %q", got)
	}
	// Something in the background redraws the line while it waits.
	s.keys("(read x < /tmp/go; echo noise) 2>/dev/null &\r")
	s.keys("mkfifo /tmp/go; cat /dev/null\r")
	s.settle()
	d.taken()
	s.keys("echo held\r")
	v := <-d.waiting
	if v.Text != "echo held" {
		t.Errorf("held %+v", v)
	}
	d.answer <- nil
	s.wait("\rheld\r\n")
}

// TestLinesInFullScreenPrograms: editors and pagers get their keys, tmux is looked at like any shell, and what comes
// after them counts again.
func TestLinesInFullScreenPrograms(t *testing.T) {
	for _, tt := range []struct{ name, start, ready, leave string }{
		{"vim", "vim -u NONE -N /tmp/f\r", "\x1b[?1049h", "itext\rrm -rf /\r\x1b:q!\r"},
		{"less", "less /etc/passwd\r", "\x1b[?1049h", "\r/root\rq"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &desk{t: t, no: "LEAK", refused: make(chan line.View, 9)}
			s := openGuarded(t, guardedShells["bash"], d)
			s.keys(tt.start)
			s.wait(tt.ready)
			s.keys(tt.leave)
			s.wait("\x1b[?1049l")
			s.wait("$ ")
			if got := texts(d.taken()); len(got) != 1 {
				t.Errorf("decided on %q, want the start alone", got)
			}
			s.settle()
			// Keys that follow the program's end without a pause are the shell's.
			s.keys(tt.start)
			s.wait(tt.ready)
			s.keys(tt.leave + "echo LEAK''ED\r")
			s.refused(tt.leave)
			if strings.Contains(s.text(), "LEAKED") {
				t.Errorf("it ran: %q", s.text())
			}
		})
	}
	t.Run("tmux", func(t *testing.T) {
		d := &desk{t: t, no: "LEAK", refused: make(chan line.View, 9)}
		s := openGuarded(t, guardedShells["bash"], d)
		s.keys("tmux -f /dev/null new-session 'exec bash --norc --noprofile'\r")
		s.wait("\x1b[?1049h")
		s.wait("$ ")
		s.keys("echo in''side\r")
		s.wait("inside")
		s.keys("echo LEAK''ED\r")
		if v := s.refused("tmux"); v.Text != "echo LEAK''ED" {
			t.Errorf("refused %+v", v)
		}
		if strings.Contains(s.text(), "LEAKED") {
			t.Errorf("it ran: %q", s.text())
		}
	})
	t.Run("an editor from the line", func(t *testing.T) {
		d := &desk{t: t, refused: make(chan line.View, 9)}
		s := openGuarded(t, guardedShells["bash"], d)
		s.keys("export EDITOR=vim\r")
		s.settle()
		s.keys("echo x\x18\x05")
		if v := s.refused("Ctrl-X Ctrl-E"); v.Seen != line.Differ {
			t.Errorf("refused %+v", v)
		}
	})
}
