package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/shells"
)

// asker remembers what it was asked, and refuses what holds a word of no.
type asker struct {
	no    string
	hold  string        // what holds this waits for its context
	held  chan struct{} // told when it waits
	ended chan error    // why it stopped waiting

	mu    sync.Mutex
	asked []shells.Asked
}

func (a *asker) Ask(ctx context.Context, q shells.Asked) error {
	a.mu.Lock()
	a.asked = append(a.asked, q)
	a.mu.Unlock()
	if a.hold != "" && strings.Contains(q.Command, a.hold) {
		a.held <- struct{}{}
		<-ctx.Done()
		a.ended <- ctx.Err()
		return ctx.Err()
	}
	if a.no != "" && strings.Contains(q.Command, a.no) {
		return errors.New("refused by a test: " + a.no)
	}
	return nil
}

func (a *asker) between(f func()) (out []string) {
	a.mu.Lock()
	n := len(a.asked)
	a.mu.Unlock()
	f()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range a.asked[n:] {
		if !strings.Contains(q.Command, "ma''rk") {
			out = append(out, q.Command)
		}
	}
	return out
}

// terminal drives a shell on a host.
type terminal struct {
	t     testing.TB
	p     shells.Process
	mu    sync.Mutex
	buf   bytes.Buffer
	moved chan struct{}
	end   chan struct{}
}

// prompt is how that of whoever runs the tests ends.
func prompt() string {
	if os.Geteuid() == 0 {
		return "# "
	}
	return "$ "
}

var hookHost = []string{"AllowTcpForwarding yes"}

func openTerminal(t testing.TB, r *Remote, ask shells.Asker) *terminal {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	p, err := r.Open(ctx, shells.Request{Kind: shells.Shell, Ask: ask, Pty: &shells.Pty{Term: "dumb", Cols: 200, Rows: 50}})
	if err != nil {
		t.Fatal(err)
	}
	s := &terminal{t: t, p: p, moved: make(chan struct{}, 1), end: make(chan struct{})}
	go s.read()
	t.Cleanup(func() { p.Close(); <-s.end })
	s.wait(prompt())
	return s
}

func (s *terminal) read() {
	defer close(s.end)
	b := make([]byte, 4096)
	for {
		n, err := s.p.Stdout().Read(b)
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

func (s *terminal) wait(want string) string {
	s.t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for {
		s.mu.Lock()
		if i := bytes.Index(s.buf.Bytes(), []byte(want)); i >= 0 {
			got := string(s.buf.Next(i + len(want)))
			s.mu.Unlock()
			return got
		}
		shown := s.buf.String()
		s.mu.Unlock()
		select {
		case <-s.moved:
		case <-limit.C:
			s.t.Fatalf("waited for %q, shown %q", want, shown)
		}
	}
}

// waitEnd waits until want was shown, or the session has ended.
func (s *terminal) waitEnd(want string) {
	s.t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for {
		s.mu.Lock()
		shown := s.buf.String()
		s.mu.Unlock()
		if strings.Contains(shown, want) {
			return
		}
		select {
		case <-s.end:
			return
		case <-s.moved:
		case <-limit.C:
			s.t.Fatalf("neither %q nor an end, shown %q", want, shown)
		}
	}
}

func (s *terminal) keys(k string) {
	s.t.Helper()
	if _, err := io.WriteString(s.p.Stdin(), k); err != nil {
		s.t.Fatalf("typing %q: %v", k, err)
	}
}

// line types k and Enter, and returns what was shown until a marker after it.
func (s *terminal) line(k string) string {
	s.t.Helper()
	s.keys(k + "\n")
	s.keys("echo ma''rk\n")
	got := s.wait("mark\r\n")
	s.wait(prompt())
	return got
}

func level(p shells.Process) string { return p.(interface{ Guard() string }).Guard() }

// TestHook: what runs in a terminal on the host is asked, with the bytes that run, whatever the keys were.
func TestHook(t *testing.T) {
	r := newHost(t, hookHost...).target(t)
	a := &asker{}
	s := openTerminal(t, r, a)
	if got := level(s.p); got != "hook" || r.Guard() != "hook" {
		t.Fatalf("guard %q, of the target %q", got, r.Guard())
	}
	big := strings.Repeat("x", 40_000)
	for _, tt := range []struct {
		keys string
		want []string
	}{
		{"ls /", []string{"ls /"}},
		{"echo a; echo b && echo c || echo d", []string{"echo a", "echo b", "echo c"}},
		{"echo one | cat | tr a b", []string{"echo one", "cat", "tr a b"}},
		{"for i in 1 2; do echo $i; done", []string{"echo $i", "echo $i"}},
		{"echo $(id -u) `id -g`", []string{"echo $(id -u) `id -g`", "id -u", "id -g"}},
		{"cat <(echo sub)", []string{"cat <(echo sub)", "echo sub"}},
		{"f() { echo in f; }", []string{"f() { echo in f; }"}},
		{"f; f", []string{"f", "echo in f", "f", "echo in f"}},
		{"{ echo x; } > /tmp/out", []string{"{ echo x; } > /tmp/out", "echo x"}},
		{"eval 'echo 1; echo 2'", []string{"eval 'echo 1; echo 2'", "echo 1", "echo 2"}},
		{"\x10\x01\x0bls /tmp", []string{"ls /tmp"}},
		{"echo bg &", []string{"echo bg"}},
		{"wait", []string{"wait"}},
		{"echo " + big + " | wc -c", []string{"echo " + big, "wc -c"}},
	} {
		got := a.between(func() { s.line(tt.keys) })
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("keys %.80q\nasked %.200q\nwant  %.200q", tt.keys, got, tt.want)
		}
	}
	s.keys("exit 3\n")
	<-s.end
	if e, err := s.p.Wait(t.Context()); err != nil || e.Status != 3 {
		t.Errorf("Wait = %+v, %v", e, err)
	}
}

// TestHookStands: a refused command does not run, and what would put the guard out is refused or stays without effect.
func TestHookStands(t *testing.T) {
	r := newHost(t, hookHost...).target(t)
	a := &asker{no: "bad"}
	s := openTerminal(t, r, a)
	for _, k := range []string{
		"bad; echo LEA''KED", "true && bad || echo LEA''KED", "(bad); echo LEA''KED", "echo LEA''KED$(bad)", "eval bad; echo LEA''KED",
		"trap '' INT; bad; echo LEA''KED", "{ echo LEA''KED; } > /tmp/bad", "echo x | bad | cat; echo LEA''KED",
	} {
		if got := s.line(k); strings.Contains(got, "\rLEAKED") || strings.Contains(got, "\nLEAKED") || !strings.Contains(got, "refused by a test") {
			t.Errorf("%q let more run: %q", k, got)
		}
	}
	s.p.Close()
	for _, k := range []string{
		"trap - DEBUG", "builtin trap - DEBUG", "eval 'trap - DEBUG'", "t=trap; $t - DEBUG", "shopt -u extdebug", "set +T", "set -o posix",
		"exec bash --norc", "enable -n exec", "POSIXLY_CORRECT=1", "unset BASH_COMMAND", "PROMPT_COMMAND=", "PS0=", "FUNCNEST=1",
		"__sallyport_port=1", "declare -r __sally''port_fd=2", "a=__sally; declare -r ${a}port_answer=yyyyyyyyyyyyyyyyyyyy",
		"a=__sally; declare -r ${a}port_fd=200", "a=__sally; declare -n ${a}port_fd=PATH", "a=__sally; unset -v ${a}port_token ${a}port_port",
		"exec() { :; }; printf() { :; }; read() { :; }; unset() { :; }", "alias exec=true printf=true read=true [[=true", "IFS=0123456789abcdef", "TMOUT=1",
		"ulimit -n 12", "set -euo pipefail", "history -c",
	} {
		a := &asker{no: "bad"}
		s := openTerminal(t, r, a)
		s.keys(k + "\n")
		s.keys("id -u; bad; echo LEA''KED\n")
		s.keys("echo ma''rk\n")
		if strings.Contains(k, "port_answer") || strings.Contains(k, "port_fd=200") { // nothing runs any more in this shell
			s.waitEnd("echo ma''rk\r\n")
		} else {
			s.waitEnd("mark\r\n")
		}
		s.mu.Lock()
		shown := s.buf.String()
		s.mu.Unlock()
		got := a.between(func() {})
		a.mu.Lock()
		all := len(a.asked)
		a.mu.Unlock()
		if strings.Contains(shown, "\rLEAKED") || strings.Contains(shown, "\nLEAKED") || all == 0 {
			t.Errorf("after %q it ran (asked %q): %q", k, got, shown)
		}
		s.p.Close()
	}
}

// TestHookWithdrawn: Ctrl-C while a command is held takes the question back and gives the prompt.
func TestHookWithdrawn(t *testing.T) {
	r := newHost(t, hookHost...).target(t)
	for _, k := range []string{"held now", "echo x | held now", "(held now)", "echo $(held now)"} {
		a := &asker{hold: "held now", held: make(chan struct{}, 9), ended: make(chan error, 9)}
		s := openTerminal(t, r, a)
		s.keys(k + "\n")
		<-a.held
		s.keys("\x03")
		if err := <-a.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%q: the question ended with %v", k, err)
		}
		s.wait(prompt())
		s.line("echo back")
		s.p.Close()
	}
	a := &asker{hold: "held", held: make(chan struct{}, 9), ended: make(chan error, 9)}
	s := openTerminal(t, r, a)
	s.keys("held\n")
	<-a.held
	s.p.Close()
	if err := <-a.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("at the end of the session the question ended with %v", err)
	}
}

// TestHookGone: a shell that does not ask any more is ended.
func TestHookGone(t *testing.T) {
	r := newHost(t, hookHost...).target(t)
	s := openTerminal(t, r, &asker{})
	s.p.(*process).hook.Prompt("himBHsT", "extdebug", "")
	<-s.end
	if _, err := s.p.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "its trap is gone") {
		t.Errorf("Wait = %v", err)
	}
	// So is one whose line runs unasked.
	s = openTerminal(t, r, &asker{})
	h := s.p.(*process).hook
	if err := h.Line(t.Context(), "  900  rm -rf /srv\n"); err != nil {
		t.Fatal(err)
	}
	s.keys("\n")
	<-s.end
	if _, err := s.p.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "ran unasked") {
		t.Errorf("Wait = %v", err)
	}
}

// TestHookStranger: who does not know the token is not listened to, and is gone soon.
func TestHookStranger(t *testing.T) {
	h := newHooks(&process{r: newHost(t).target(t)}, &asker{}, strings.Repeat("a", 32), nil)
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { h.connection(ours); ours.Close(); close(done) }()
	if _, err := io.WriteString(theirs, strings.Repeat("b", 32)+"\x00"); err != nil {
		t.Fatal(err)
	}
	<-done
	if n, err := theirs.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes were answered", n)
	}
}

// TestNoHook: where the host allows no forward, or its shell is no bash, a plain shell is opened or none.
func TestNoHook(t *testing.T) {
	for name, lines := range map[string][]string{
		"no forwarding": {"AllowTcpForwarding no"},
		"local only":    {"AllowTcpForwarding local"},
		"forced":        {"AllowTcpForwarding yes", "ForceCommand exec dash -i"},
		"off for all":   {"AllowTcpForwarding yes", "DisableForwarding yes"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, lines...)
			r := h.target(t)
			s := openTerminal(t, r, &asker{})
			if got := level(s.p); got != "screen" || r.Guard() != "screen" {
				t.Errorf("guard %q, of the target %q", got, r.Guard())
			}
			s.line("echo works")
			must := h.target(t, func(c *Config) { c.Guard = "hook" })
			_, err := must.Open(t.Context(), shells.Request{Kind: shells.Shell, Ask: &asker{}, Pty: &shells.Pty{Term: "dumb", Cols: 80, Rows: 24}})
			if err == nil || !strings.Contains(err.Error(), "can be made to ask") {
				t.Errorf("with guard hook: %v", err)
			}
		})
	}
}

// BenchmarkHook is one command of a guarded shell on a host, from question to answer.
func BenchmarkHook(b *testing.B) {
	r := newHost(b, hookHost...).target(b)
	a := &asker{}
	s := openTerminal(b, r, a)
	b.ResetTimer()
	n := len(a.between(func() { s.line("for i in {1..200}; do :; done") }))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/ask")
}

// TestAsOrdinaryUser: the throwaway host, and the hook on it, need no root.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // so does every other test
	}
	dir, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	bin := dir + "/remote.test"
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(bin, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", bin,
		"-test.v", "-test.run=^(TestHook|TestSFTP)$") // a shell of theirs says that they have none
	cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}
	out, err := cmd.CombinedOutput()
	for _, test := range []string{"TestHook", "TestSFTP"} {
		if err != nil || !bytes.Contains(out, []byte("--- PASS: "+test)) {
			t.Fatalf("as nobody: %v\n%s", err, out)
		}
	}
}
