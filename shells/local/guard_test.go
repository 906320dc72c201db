package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/shells"
)

// asker remembers what it was asked and refuses what holds a word of no.
type asker struct {
	mu    sync.Mutex
	asked []shells.Asked
	no    string
	hold  string        // what holds this waits for its context
	held  chan struct{} // closed when it waits
	ended chan error    // why it stopped waiting
}

func (a *asker) Ask(ctx context.Context, q shells.Asked) error {
	a.mu.Lock()
	a.asked = append(a.asked, q)
	a.mu.Unlock()
	if a.hold != "" && strings.Contains(q.Command, a.hold) {
		close(a.held)
		<-ctx.Done()
		a.ended <- ctx.Err()
		return ctx.Err()
	}
	if a.no != "" && strings.Contains(q.Command, a.no) {
		return errors.New("refused by a test: " + a.no)
	}
	return nil
}

func (a *asker) commands() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, q := range a.asked {
		out = append(out, q.Command)
	}
	return out
}

// screen drives a terminal.
type screen struct {
	t   testing.TB
	p   shells.Process
	mu  sync.Mutex
	buf bytes.Buffer
	new chan struct{}
	end chan struct{}
}

func openScreen(t testing.TB, l *Local, ask shells.Asker) *screen {
	t.Helper()
	p, err := l.Open(t.Context(), shells.Request{Kind: shells.Shell, Ask: ask, Pty: &shells.Pty{Term: "dumb", Cols: 200, Rows: 50}})
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, p: p, new: make(chan struct{}, 1), end: make(chan struct{})}
	go s.read()
	t.Cleanup(func() { p.Close(); <-s.end })
	s.wait("$ ")
	return s
}

func (s *screen) read() {
	defer close(s.end)
	b := make([]byte, 4096)
	for {
		n, err := s.p.Stdout().Read(b)
		s.mu.Lock()
		s.buf.Write(b[:n])
		s.mu.Unlock()
		select {
		case s.new <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// wait returns what was shown up to and with want, and forgets it.
func (s *screen) wait(want string) string {
	s.t.Helper()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	for {
		s.mu.Lock()
		if i := bytes.Index(s.buf.Bytes(), []byte(want)); i >= 0 {
			got := string(s.buf.Next(i + len(want)))
			s.mu.Unlock()
			return got
		}
		s.mu.Unlock()
		select {
		case <-s.new:
		case <-s.end:
			if !strings.Contains(s.text(), want) {
				s.t.Fatalf("the session ended; waited for %q, shown %q", want, s.text())
			}
		case <-limit.C:
			s.t.Fatalf("waited for %q, shown %q", want, s.text())
		}
	}
}

func (s *screen) keys(k string) {
	s.t.Helper()
	if _, err := s.p.Stdin().Write([]byte(k)); err != nil {
		s.t.Fatalf("typing %q: %v", k, err)
	}
}

var marks int

// line types k and Enter, and returns what was shown until a marker after it.
func (s *screen) line(k string) string {
	s.t.Helper()
	marks++
	s.keys(k + "\n")
	s.keys(fmt.Sprintf("echo ma''rk%d\n", marks))
	got := s.wait(fmt.Sprintf("mark%d\r\n", marks))
	s.wait("$ ") // keys mean other things before readline is back
	return got
}

// between returns the commands asked while f ran.
func (a *asker) between(f func()) []string {
	before := len(a.commands())
	f()
	return a.commands()[before:]
}

// TestAsked: what runs is asked, with the bytes that run, whatever the keys were.
func TestAsked(t *testing.T) {
	l := newLocal(t, Config{})
	if l.Guard() != "hook" {
		t.Fatalf("Guard() = %q", l.Guard())
	}
	a := &asker{}
	s := openScreen(t, l, a)
	big := strings.Repeat("x", 40_000)
	for _, tt := range []struct {
		keys string
		want []string // in any order where processes run beside each other
	}{
		{"ls /", []string{"ls /"}},
		{"echo a; echo b && echo c || echo d", []string{"echo a", "echo b", "echo c"}},
		{"echo one | cat | tr a b", []string{"echo one", "cat", "tr a b"}},
		{"for i in 1 2; do echo $i; done", []string{"echo $i", "echo $i"}},
		{"(cd /tmp; pwd)", []string{"cd /tmp", "pwd"}},
		{"echo $(id -u) `id -g`", []string{"echo $(id -u) `id -g`", "id -u", "id -g"}},
		{"cat <(echo sub)", []string{"cat <(echo sub)", "echo sub"}},
		{"cat <<E\nhello $(id -u)\nE", []string{"cat <<E\nhello $(id -u)\nE\n", "id -u"}},
		{"cat <<< here", []string{"cat <<< here"}},
		{"echo \"multi\nline\"", []string{"echo \"multi\nline\""}},
		{"echo back\\\nslash", []string{"echo backslash"}},
		{"f() { echo in f; }", []string{"f() { echo in f; }"}},
		{"f", []string{"f", "echo in f"}},
		{"f; f", []string{"f", "echo in f", "f", "echo in f"}},
		{"{ echo x; } > /tmp/out", []string{"{ echo x; } > /tmp/out", "echo x"}},
		{"while false; do :; done < /tmp/out", []string{"while false; do :; done < /tmp/out", "false"}},
		{"> /tmp/null", []string{"> /tmp/null"}},
		{"x=5 y=6", []string{"x=5 y=6"}},
		{"x=5 env > /dev/null", []string{"x=5 env > /dev/null"}},
		{"eval 'echo $x; echo two'", []string{"eval 'echo $x; echo two'", "echo $x", "echo two"}},
		{"alias q='echo hi;'", []string{"alias q='echo hi;'"}},
		{"q echo ho", []string{"echo hi", "echo ho"}},
		{"\\echo quoted", []string{"\\echo quoted"}},
		{"echo typo\x7f\x7f\x7f\x7fright", []string{"echo right"}},
		{"\x10\x01\x0bls /tmp", []string{"ls /tmp"}}, // Ctrl-P, Ctrl-A, Ctrl-K
		{"echo !echo:0", []string{"echo echo"}},
		{"\x12right\x05 now", []string{"echo right now"}}, // Ctrl-R, Ctrl-E
		{"\x1b[200~echo p1\necho p2\x1b[201~", []string{"echo p1", "echo p2"}},
		{"echo bg &", []string{"echo bg"}},
		{"wait", []string{"wait"}},
		{"[[ -e /tmp ]] && ((1)) && echo yes", []string{"echo yes"}},
		{"case x in x) echo matched;; esac", []string{"echo matched"}},
		{"bind -x '\"\\C-t\": echo bound'", []string{"bind -x '\"\\C-t\": echo bound'"}},
		{"\x14:", []string{"echo bound", ":"}},
		{"PS1='$(echo ps1 >&2)$ '", []string{"PS1='$(echo ps1 >&2)$ '", "echo ps1 1>&2", "echo ps1 1>&2"}},
		{"PS1='$ '", []string{"PS1='$ '"}},
		{"bash -c 'echo inside'", []string{"bash -c 'echo inside'"}}, // an interpreter: for the policy
		{"echo ü", []string{"echo ü"}},
		{"echo " + big + " | wc -c", []string{"echo " + big, "wc -c"}},
	} {
		got := a.between(func() { s.line(tt.keys) })
		got = slices.DeleteFunc(got, func(c string) bool { return strings.HasPrefix(c, "echo ma''rk") })
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("keys %.80q\nasked %.200q\nwant  %.200q", tt.keys, got, tt.want)
		}
	}
}

// TestRefused: a refused command does not run, nor what follows it on its line.
func TestRefused(t *testing.T) {
	l := newLocal(t, Config{})
	s := openScreen(t, l, &asker{no: "bad"})
	for _, k := range []string{
		"bad", "bad; echo LEAKED", "echo LEA''KED$(bad)", "true && bad || echo LEAKED", "for i in 1 2; do bad; echo LEAKED; done",
		"(bad); echo LEAKED", "{ echo LEAKED; } > /tmp/bad", "g() { bad; }", "f() { ba''d; bad; echo LEAKED; }", "eval bad; echo LEAKED",
		"cat <(bad); echo LEAKED", "trap '' INT; bad; echo LEAKED", "trap - INT",
	} {
		if got := s.line(k); strings.Contains(got, "\nLEAKED") || strings.Contains(got, "\rLEAKED") {
			t.Errorf("%q let more run: %q", k, got)
		} else if k != "trap - INT" && strings.Count(got, "refused by a test: bad") < 1 {
			t.Errorf("%q: no refusal in %q", k, got)
		}
	}
	s.keys("bad\n")
	s.wait("refused by a test: bad\r\n")
	s.keys("echo status $?.\n")
	s.wait("status 130.")
	s.wait("$ ")
	if strings.Contains(s.line("ls /tmp"), "bad") {
		t.Error("the redirection of a refused line was made")
	}
}

// TestGuardStands: what would put the guard out is refused, or stays without effect.
func TestGuardStands(t *testing.T) {
	l := newLocal(t, Config{})
	for _, k := range []string{
		"trap - DEBUG", "trap '' DEBUG", "trap DEBUG", "trap -- - debug", "trap 'bad' USR1", "trap bad RETURN", "trap bad EXIT",
		"t=trap; $t - DEBUG", "\"$t\" - DEBUG", "b=builtin; $b trap - DEBUG", "builtin trap - DEBUG", "command trap - DEBUG", "command -p builtin trap - DEBUG",
		"tr\"\"ap - DEBUG", "\\trap - DE\\BUG", "$'trap' - DEBUG", "d=DEBUG; trap - $d", "eval 'trap - DEBUG'", "alias u='trap - DEBUG'\nu",
		"f() { trap - DEBUG; }; f", "(trap - DEBUG; ba''d)", "echo $(trap - DEBUG; b''ad)",
		"shopt -u extdebug", "shopt -u -o functrace", "set +T", "set +o functrace", "set -o posix", "set +o history", "s=+T; set $s",
		"exec ls", "exec bash --norc", "exec 9>&-", "exec 9<>/tmp/f", "enable -n trap", "enable -n printf", "enable -f x y",
		"POSIXLY_CORRECT=1", "readonly POSIXLY_CORRECT", "declare -n POSIXLY_CORRECT=x",
		"unset BASH_COMMAND", "BASH_COMMAND=ls", "unset FUNCNAME", "FUNCNAME=__sallyport_prompt", "unset SRANDOM", "SRANDOM=5", "PS0=", "PS4='$(bad)'", "PROMPT_COMMAND=", "unset PROMPT_COMMAND PS0 PS4",
		"FUNCNEST=1", "unset -f __sallyport_guard", "__sallyport_ask() { :; }", "HISTCONTROL=ignorespace", "HISTSIZE=0", "BASH_ALIASES[echo]=bad",
		"printf() { :; }; read() { :; }; local() { :; }; set() { :; }; kill() { :; }; unset() { :; }; return() { :; }; builtin() { :; }",
		"alias [[=true printf=true read=true if=true local=true case=true", "set -x", "set +x", "set -euo pipefail", "set +euo pipefail", "set -f; set +f",
		"IFS=0123456789abcdefny", "unset IFS", "LC_ALL=xx", "shopt -s localvar_inherit", "ulimit -n 12", "declare -r __x=5", "TMOUT=1", "unset TMOUT",
		"history -c", "history -d 1", "fc -s", "suspend", "{ :; } 9<>/tmp/f", "{ bad; } 9<>/tmp/f", "cd /proc/self/fd",
	} {
		a := &asker{no: "bad"}
		s := openScreen(t, l, a)
		s.line(k)
		if got := a.between(func() { s.line("id -u > /dev/null; bad") }); !slices.Contains(got, "id -u > /dev/null") || !slices.Contains(got, "bad") {
			t.Errorf("after %q asked only %q; shown %q", k, got, s.text())
		}
		s.p.Close()
	}
}

// TestGuardGone: a shell whose guard is out of action is ended with a clear word.
func TestGuardGone(t *testing.T) {
	l := newLocal(t, Config{})
	for name, tt := range map[string]struct {
		fields []string
		want   string
	}{
		"trap gone":  {[]string{"PhimBHsT", "extdebug", ""}, "its trap is gone"},
		"trap other": {[]string{"PhimBHsT", "extdebug", "trap -- ':' DEBUG\n"}, "its trap is gone"},
		"off":        {[]string{"PhimBHsT", "cmdhist", "trap -- '\\__sallyport_guard' DEBUG\n"}, "switched off"},
		"forged":     {[]string{"A0123", "1", "/", "ls"}, "forged"},
	} {
		t.Run(name, func(t *testing.T) {
			s := openScreen(t, l, &asker{})
			g := s.p.(*terminal).guard
			g.handle(t.Context(), g.p.pid, tt.fields)
			<-s.end
			if _, err := s.p.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Wait = %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		s := openScreen(t, l, &asker{})
		g := s.p.(*terminal).guard
		if err := g.Line(t.Context(), "  900  rm -rf /srv\n"); err != nil {
			t.Fatal(err)
		}
		g.prompt(g.p.pid, "himBHsT", "extdebug", `trap -- '\__sallyport_guard' DEBUG`)
		if _, err := s.p.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "ran unasked") {
			t.Errorf("Wait = %v", err)
		}
	})
}

// TestThief: a program that inherited the descriptor cannot make the shell run what was refused.
func TestThief(t *testing.T) {
	l := newLocal(t, Config{})
	s := openScreen(t, l, &asker{no: "bad"})
	// A question of its own, whose answer is not read: it waits for whoever reads next.
	s.line(`perl -e 'open(F, "+<&=9"); syswrite(F, "A" . "0" x 16 . "\x{0}1\x{0}/\x{0}ls\x{0}"); sleep 1'`)
	s.keys("bad; echo LEA''KED\n")
	s.wait("refused by a test: bad")
	if got := s.line(":"); strings.Contains(got, "\nLEAKED") {
		t.Errorf("ran: %q", got)
	}
}

// TestPipelines: many shells ask over one socket, and each gets its own answer.
func TestPipelines(t *testing.T) {
	l := newLocal(t, Config{})
	a := &asker{no: "bad"}
	s := openScreen(t, l, a)
	n := len(a.between(func() {
		s.line("for i in $(seq 20); do echo $i | cat | cat | cat | cat | cat | cat | cat >/dev/null & done 2>/dev/null; wait")
	}))
	if want := 20*8 + 4; n != want {
		t.Errorf("%d commands asked, want %d", n, want)
	}
}

// TestWithdrawn: Ctrl-C while a command is held takes the question back and gives the prompt.
func TestWithdrawn(t *testing.T) {
	l := newLocal(t, Config{})
	for _, k := range []string{"held now", "echo x | held now", "(held now)", "echo $(held now)", "f() { :; }; held now"} {
		a := &asker{hold: "held now", held: make(chan struct{}), ended: make(chan error, 9)}
		if strings.HasPrefix(k, "f()") {
			a.hold = "f()"
		}
		s := openScreen(t, l, a)
		s.keys(k + "\n")
		<-a.held
		s.keys("\x03")
		if err := <-a.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%q: the question ended with %v", k, err)
		}
		if got := s.line("echo back"); !strings.Contains(got, "back") {
			t.Errorf("%q: %q", k, got)
		}
		s.p.Close()
	}
	// So does the end of the session.
	a := &asker{hold: "held", held: make(chan struct{}), ended: make(chan error, 9)}
	s := openScreen(t, l, a)
	s.keys("held\n")
	<-a.held
	s.p.Close()
	if err := <-a.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the question ended with %v", err)
	}
}

// TestScriptOnInput: a shell without a terminal that reads commands asks too, and ends at a refusal.
func TestScriptOnInput(t *testing.T) {
	l := newLocal(t, Config{})
	a := &asker{no: "bad"}
	got := run(t, l, shells.Request{Kind: shells.Shell, Ask: a}, strings.NewReader("echo one\nx=$(echo two)\nbad\necho LEAKED\n"))
	if got.out != "one\n" || !strings.Contains(got.err, "refused by a test") || got.exit.Status != 77 {
		t.Errorf("got %+v", got)
	}
	if want := []string{"echo one", "x=$(echo two)", "echo two", "bad"}; !slices.Equal(a.commands(), want) {
		t.Errorf("asked %q", a.commands())
	}
}

func TestCwdAndLine(t *testing.T) {
	l := newLocal(t, Config{})
	a := &asker{}
	s := openScreen(t, l, a)
	s.line("cd /tmp; echo there")
	a.mu.Lock()
	defer a.mu.Unlock()
	if q := a.asked[1]; q != (shells.Asked{Command: "echo there", Cwd: "/tmp", Line: "cd /tmp; echo there"}) {
		t.Errorf("asked %+v", q)
	}
}

func FuzzCutMessage(f *testing.F) {
	f.Add([]byte("A0123456789abcdef\x001\x00/\x00ls\x00R\x00"), 3)
	f.Add([]byte("L0\x00  1  x\n\x00zzz\x00"), 1)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		whole := cutAll(b)
		if at < 0 || at > len(b) {
			return
		}
		// However the bytes arrive, the messages are the same.
		var parts []string
		rest := []byte(nil)
		for _, p := range [][]byte{b[:at], b[at:]} {
			rest = append(rest, p...)
			for {
				m, after := cutMessage(rest)
				if m == nil {
					break
				}
				parts, rest = append(parts, strings.Join(m, "\x00")), after
			}
		}
		if !slices.Equal(whole, parts) {
			t.Errorf("whole %q, in parts %q", whole, parts)
		}
	})
}

func cutAll(b []byte) (out []string) {
	for {
		m, rest := cutMessage(b)
		if m == nil {
			return out
		}
		out, b = append(out, strings.Join(m, "\x00")), rest
	}
}

// BenchmarkAsk is one command of a guarded shell, from question to answer.
func BenchmarkAsk(b *testing.B) {
	l := newLocal(b, Config{})
	a := &asker{}
	s := openScreen(b, l, a)
	b.ResetTimer()
	n := len(a.between(func() {
		s.line(fmt.Sprintf("for i in $(seq %d); do %s done", b.N/100+1, strings.Repeat(":;", 100)))
	}))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/ask")
}
