package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	return s.wait(fmt.Sprintf("mark%d\r\n", marks))
}

func TestTryGuard(t *testing.T) {
	l := newLocal(t, Config{})
	a := &asker{no: "bad"}
	s := openScreen(t, l, a)
	for _, k := range []string{"f() { echo in f; }; f; f", "ls /"} {
		t.Logf("%q => %q", k, s.line(k))
	}
	s = openScreen(t, l, a)
	for _, k := range []string{"declare -n POSIXLY_CORRECT=foo", "unset() { echo EVIL; }; return() { echo EVIL2; }; ls /", "FUNCNEST=1; ls", "bad; echo EVIL", "unset BASH_COMMAND", "BASH_COMMAND=5 ls /", "alias [[=true; ls /", "FUNCNAME=3", "PS4='$(echo EVIL >&2)'; set -x; set +x", "ulimit -n 9; ls /; bad"} {
		t.Logf("%q => %q", k, s.line(k))
	}
	for _, c := range a.commands() {
		t.Logf("asked %q", c)
	}
}
