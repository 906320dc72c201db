package sshd

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/filters/term"
	"github.com/sallyport-ssh/sallyport/shells"
)

// A shownChannel is the client's side of a session: what it was shown. Slow is how long it takes to take it.
type shownChannel struct {
	ssh.Channel
	slow atomic.Int64 // nanoseconds
	err  bytes.Buffer

	mu  sync.Mutex
	out bytes.Buffer
}

func (c *shownChannel) shown() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

func (c *shownChannel) Write(p []byte) (int, error) {
	if slow := c.slow.Load(); slow > 0 {
		time.Sleep(time.Duration(slow)) // of the bubble
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *shownChannel) Stderr() io.ReadWriter { return &c.err }

// shownOutput is the output of a session that is not recorded. The engine has to be made outside of a bubble.
func shownOutput(t *testing.T, e *mask.Engine, pty *shells.Pty) (*output, *shownChannel) {
	t.Helper()
	ch := new(shownChannel)
	s := &session{ch: ch, c: &connection{srv: &Server{o: Options{Masks: e, MaskHold: 100 * time.Millisecond}}}}
	s.asked.pty = pty
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.out = newOutput(s, ch, ch.Stderr())
	t.Cleanup(func() {
		if err := s.out.stdout.close(); err != nil {
			t.Error(err)
		}
	})
	return s.out, ch
}

func testMasks(t *testing.T) *mask.Engine {
	t.Helper()
	e, err := mask.New(mask.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func write(t *testing.T, st *stream, text string) {
	t.Helper()
	if err := st.write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

var tty = &shells.Pty{Term: "xterm", Cols: 40, Rows: 6}

// TestOnlySilenceCounts: bytes are masked when the program has said nothing more for their time, however long its
// client takes to take what it said before.
func TestOnlySilenceCounts(t *testing.T) {
	e := testMasks(t)
	for _, tt := range []struct {
		name, want  string
		pty         *shells.Pty
		slow, pause time.Duration
	}{
		{"soon enough", "no card 4111 1111 12\r\n", tty, 0, 90 * time.Millisecond},
		{"too late", "no card 4111 11** *2\r\n", tty, 0, 110 * time.Millisecond},
		{"a slow client", "no card 4111 1111 12\r\n", tty, time.Second, 90 * time.Millisecond},
		{"a slow client, too late", "no card 4111 11** *2\r\n", tty, time.Second, 110 * time.Millisecond},
		{"nobody looks", "no card 4111 1111 12\r\n", nil, 0, 1900 * time.Millisecond},
		{"nobody looks, too late", "no card 4111 11** *2\r\n", nil, 0, 2100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, ch := shownOutput(t, e, tt.pty)
				ch.slow.Store(int64(tt.slow))
				write(t, o.stdout, "no card 4111 1111 1")
				ch.slow.Store(0)
				time.Sleep(tt.pause)
				synctest.Wait()
				write(t, o.stdout, "2\r\n")
				if got := ch.shown(); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestWhatWasReadIsNotMasked: a timer that goes off while a chunk waits for a slow client of another stream finds that
// the program was not silent.
func TestWhatWasReadIsNotMasked(t *testing.T) {
	o, ch := shownOutput(t, testMasks(t), tty)
	write(t, o.stdout, "4111 1111 1")
	o.mu.Lock() // as the writer of stderr has it
	done := make(chan error)
	go func() { done <- o.stdout.write([]byte("2\r\n")) }()
	for o.stdout.coming.Load() == 0 {
		runtime.Gosched()
	}
	o.stdout.due(time.Now().Add(time.Hour))
	o.mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := ch.shown(); got != "4111 1111 12\r\n" {
		t.Errorf("got %q", got)
	}
}

// TestALateTimerWaitsOnceMore: where the machine had no time for the timer, it had none to read either.
func TestALateTimerWaitsOnceMore(t *testing.T) {
	e := testMasks(t)
	synctest.Test(t, func(t *testing.T) {
		o, ch := shownOutput(t, e, tty)
		write(t, o.stdout, "4111 1111 1")
		o.mu.Lock()
		o.stdout.due(time.Now().Add(300 * time.Millisecond)) // late by 200
		o.mu.Unlock()
		if got := ch.shown(); got != "4111 11" {
			t.Errorf("late: %q", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := ch.shown(); got != "4111 11** *" {
			t.Errorf("then: %q", got)
		}
	})
}

func TestALastWordWaitsAMoment(t *testing.T) {
	e := testMasks(t)
	synctest.Test(t, func(t *testing.T) {
		o, ch := shownOutput(t, e, tty)
		write(t, o.stdout, "login: jane")
		if got := ch.shown(); got != "login: j" {
			t.Errorf("at once: %q", got)
		}
		time.Sleep(mask.WarmWait + time.Millisecond)
		synctest.Wait()
		if got := ch.shown(); got != "login: jane" {
			t.Errorf("then: %q", got)
		}
	})
}

// shownScreen is what the person sees.
func shownScreen(p string) string {
	s := term.New(int(tty.Cols), int(tty.Rows))
	s.Write([]byte(p))
	var rows []string
	for y := range int(tty.Rows) {
		rows = append(rows, s.Text(y))
	}
	return strings.TrimRight(strings.Join(rows, "|"), "|")
}

const inPieces = "\x1b[1;9H11111111\x1b[1;1H41111111\x1b[3;1H$ "

func TestTheScreenIsLookedAtAfterABurst(t *testing.T) {
	e := testMasks(t)
	synctest.Test(t, func(t *testing.T) {
		o, ch := shownOutput(t, e, tty)
		write(t, o.stdout, inPieces)
		if got := shownScreen(ch.shown()); got != "4111111111111111||$" {
			t.Errorf("at once %q", got)
		}
		time.Sleep(lookAfter + time.Millisecond)
		synctest.Wait()
		if got := shownScreen(ch.shown()); got != "411111**********||$" {
			t.Errorf("then %q", got)
		}
		before := ch.shown()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := ch.shown(); got != before {
			t.Errorf("later %q", got[len(before):])
		}
	})
}

func TestTheScreenOfAProgramThatIsNeverSilent(t *testing.T) {
	e := testMasks(t)
	for _, tick := range []string{"\x1b[5;1H|", "\x1b[5;1Hword"} { // the second leaves bytes that wait
		synctest.Test(t, func(t *testing.T) {
			o, ch := shownOutput(t, e, tty)
			write(t, o.stdout, inPieces)
			for range 30 {
				time.Sleep(10 * time.Millisecond)
				write(t, o.stdout, tick)
			}
			if got := shownScreen(ch.shown()); !strings.HasPrefix(got, "411111**********|") {
				t.Errorf("%q: %q", tick, got)
			}
		})
	}
}

// TestNoRepaintInsideAnEscape: nothing is put in between the bytes of a control sequence, a title or a character.
func TestNoRepaintInsideAnEscape(t *testing.T) {
	e := testMasks(t)
	for _, cut := range []string{"\x1b", "\x1b[", "\x1b[3", "\x1b]0;ti", "\x1b]0;title\x1b", "\x1bP1$", "\xe6", "\xe6\x97"} {
		synctest.Test(t, func(t *testing.T) {
			o, ch := shownOutput(t, e, tty)
			write(t, o.stdout, inPieces+cut)
			time.Sleep(time.Second)
			synctest.Wait()
			got := ch.shown()
			for i := range len(got) {
				s := term.New(40, 6)
				s.Write([]byte(got[:i]))
				if !s.Ground() && strings.HasPrefix(got[i:], "\x1b[1;7H") {
					t.Errorf("%q: repainted in the middle, after %q", cut, got[:i])
				}
			}
		})
	}
}

func TestResizeIsKnownToTheScreen(t *testing.T) {
	e := testMasks(t)
	synctest.Test(t, func(t *testing.T) {
		o, ch := shownOutput(t, e, &shells.Pty{Term: "xterm", Cols: 10, Rows: 6})
		write(t, o.stdout, "\x1b[H\x1b[2J")
		o.resize(40, 6)
		write(t, o.stdout, "\x1b[H\x1b[2J"+inPieces)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := shownScreen(ch.shown()); got != "411111**********||$" {
			t.Errorf("got %q", got)
		}
	})
}

// TestUnmaskShowsWhatItNames: the client sees the named in clear, and all else as the record has it.
func TestUnmaskShowsWhatItNames(t *testing.T) {
	e := testMasks(t)
	const in = "jane@example.com 4111111111111111\r\n"
	for _, tt := range []struct {
		names []string
		want  string
	}{
		{[]string{"email"}, "jane@example.com 411111**********\r\n"},
		{[]string{"card"}, "j***@*******.*** 4111111111111111\r\n"},
		{[]string{"*"}, in},
	} {
		o, ch := shownOutput(t, e, nil)
		o.unmask(tt.names)
		write(t, o.stdout, in)
		if got := ch.shown(); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.names, got, tt.want)
		}
		if n := o.stdout.record.mask.Hits(); n["email"] != 1 || n["card"] != 1 {
			t.Errorf("%v: the record masks %v", tt.names, n)
		}
	}
}
