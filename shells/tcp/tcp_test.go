package tcp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// listen serves each connection with serve, in a goroutine that the test waits for.
func listen(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func dial(t *testing.T, c Config) *Conn {
	t.Helper()
	c.Name = "db"
	target, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := target.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestNew(t *testing.T) {
	for _, tt := range []struct{ addr, want string }{
		{"db.example.org:5432", ""},
		{"[2001:db8::1]:5432", ""},
		{"", `target "db": address "": want host:port`},
		{"db.example.org", "want host:port"},
		{"2001:db8::1:5432", "want host:port"},
		{":5432", "host and port must both be given"},
		{"db.example.org:", "host and port must both be given"},
		{"db.example.org:0", "host and port must both be given"},
	} {
		target, err := New(Config{Name: "db", Addr: tt.addr})
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("New(%q): %v", tt.addr, err)
		case tt.want == "" && (target.c.DialTimeout != DefaultDialTimeout || target.c.KeepAlive != DefaultKeepAlive):
			t.Errorf("New(%q) has no default times: %+v", tt.addr, target.c)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("New(%q): %v, want %q", tt.addr, err, tt.want)
		}
	}
}

// TestHalfClose: the end of what is sent is not the end of what is read, and both are counted.
func TestHalfClose(t *testing.T) {
	addr := listen(t, func(c *net.TCPConn) {
		all, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		_, err = c.Write(bytes.ToUpper(all))
		if err != nil {
			t.Error(err)
		}
	})
	c := dial(t, Config{Addr: addr})
	sent := bytes.Repeat([]byte("some bytes "), 20_000) // more than a socket's buffers
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.Write(sent); err != nil {
			t.Error(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	got, err := io.ReadAll(c)
	wg.Wait()
	if err != nil || !bytes.Equal(got, bytes.ToUpper(sent)) {
		t.Fatalf("%d bytes came back, %v; want %d", len(got), err, len(sent))
	}
	s := c.Stats()
	if s.From != int64(len(sent)) || s.To != int64(len(sent)) || s.Opened.IsZero() || s.Lasted <= 0 {
		t.Errorf("%+v", s)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
	first := c.Stats()
	if again := c.Stats(); again != first || first.From != s.From {
		t.Errorf("a closed connection still counts: %+v, %+v", first, again)
	}
}

// TestCopiesAreCounted: io.Copy must not go past the counters by the socket's own ReadFrom and WriteTo.
func TestCopiesAreCounted(t *testing.T) {
	addr := listen(t, func(c *net.TCPConn) {
		if _, err := io.Copy(c, c); err != nil {
			t.Error(err)
		}
	})
	c := dial(t, Config{Addr: addr})
	if n, err := io.Copy(c, strings.NewReader("through io.Copy")); err != nil || n != 15 {
		t.Fatal(n, err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var back bytes.Buffer
	if _, err := io.Copy(&back, c); err != nil || back.String() != "through io.Copy" {
		t.Fatalf("%q, %v", back.String(), err)
	}
	if s := c.Stats(); s.To != 15 || s.From != 15 {
		t.Errorf("%+v", s)
	}
}

// TestCloseRead: what is not wanted any more does not keep the target from being written to.
func TestCloseRead(t *testing.T) {
	got := make(chan string, 1)
	addr := listen(t, func(c *net.TCPConn) {
		all, _ := io.ReadAll(c)
		got <- string(all)
	})
	c := dial(t, Config{Addr: addr})
	if err := c.CloseRead(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("Read after CloseRead: %d, %v", n, err)
	}
	if _, err := io.WriteString(c, "still"); err != nil {
		t.Error(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	if s := <-got; s != "still" {
		t.Errorf("the target got %q", s)
	}
}

// TestCloseUnblocks: Close from elsewhere ends a read that waits.
func TestCloseUnblocks(t *testing.T) {
	release := make(chan struct{})
	addr := listen(t, func(c *net.TCPConn) {
		_, _ = c.Write([]byte("x"))
		<-release
	})
	defer close(release)
	c := dial(t, Config{Addr: addr})
	var b [1]byte
	if _, err := c.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.Read(b[:]); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the read that waited: %v", err)
		}
	})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// TestIdle: a connection on which nothing moves ends. On a slow machine that may be while bytes still do.
func TestIdle(t *testing.T) {
	release := make(chan struct{})
	addr := listen(t, func(c *net.TCPConn) {
		_, _ = io.CopyN(c, c, 3)
		<-release
	})
	defer close(release)
	c := dial(t, Config{Addr: addr, IdleTimeout: 50 * time.Millisecond})
	var b [1]byte
	for range 3 {
		_, err := c.Write([]byte("x"))
		if err == nil {
			_, err = c.Read(b[:])
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	if _, err := c.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an idle connection gives %v", err)
	}
}

// TestErrors: the one who connects is told what is wrong in words that name no address; the log gets both.
func TestErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := l.Addr().String()
	l.Close()
	for _, tt := range []struct {
		name, addr, want string
		timeout          time.Duration
	}{
		{"nobody listens", refused, "the target cannot be reached: it refused the connection", 0},
		{"no such name", "no-such-host.invalid:5432", "the target cannot be reached: its name does not resolve", 0},
		{"no answer", refused, "the target cannot be reached: it did not answer in time", time.Nanosecond},
		{"no route", "255.255.255.255:1", "the target cannot be reached: the network says no", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target, err := New(Config{Name: "db", Addr: tt.addr, DialTimeout: tt.timeout})
			if err != nil {
				t.Fatal(err)
			}
			_, err = target.Dial(t.Context())
			var e *Error
			if !errors.As(err, &e) || e.PublicText() != tt.want || e.Target != "db" || errors.Unwrap(e) == nil {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if host, _, _ := net.SplitHostPort(tt.addr); strings.Contains(e.PublicText(), host) {
				t.Errorf("%q names the address", e.PublicText())
			}
			if !strings.HasPrefix(e.Error(), `target "db": `+tt.want+": ") {
				t.Errorf("the log gets %q", e)
			}
		})
	}
}

// TestDialCanceled: who gives up gets the reason for which they did.
func TestDialCanceled(t *testing.T) {
	target, err := New(Config{Name: "db", Addr: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("the session ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := target.Dial(ctx); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}
