package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/shells"
)

// badHost is a host that stops answering at one step, and a target that reaches it.
func badHost(t *testing.T, step string) *Remote {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	key := newSigner(t)
	var wg sync.WaitGroup
	t.Cleanup(func() { close(end); ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				stopAt(c, step, key, end)
			})
		}
	})
	r, err := New(Config{Name: "bad", Addr: ln.Addr().String(), Login: "root", HostKeys: []ssh.PublicKey{key.PublicKey()},
		Minter: &ca{signer: newSigner(t)}, OpenTimeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const evil = "\x1b]52;c;ZXZpbA==\x07 evil\r\nsecond line"

func stopAt(c net.Conn, step string, key ssh.Signer, end <-chan struct{}) {
	go func() { <-end; c.Close() }()
	switch step {
	case "accept":
		<-end
		return
	case "version":
		io.WriteString(c, "SSH-2.0-Bad\r\n")
		<-end
		return
	case "garbage":
		io.WriteString(c, strings.Repeat(evil, 1000)+"\n")
		return
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		if step == "auth" {
			<-end
		}
		if step == "deny" {
			return nil, errors.New(evil)
		}
		return nil, nil
	}, BannerCallback: func(ssh.ConnMetadata) string { return evil }}
	config.AddHostKey(key)
	conn, chans, reqs, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		switch step {
		case "channel":
			<-end
		case "reject":
			nc.Reject(ssh.Prohibited, evil)
		default:
			ch, reqs, err := nc.Accept()
			if err != nil {
				return
			}
			serveBadly(ch, reqs, step, end)
		}
	}
}

func serveBadly(ch ssh.Channel, reqs <-chan *ssh.Request, step string, end <-chan struct{}) {
	for req := range reqs {
		switch {
		case step == "request":
			<-end
		case req.Type != "exec":
			continue
		case step == "refuse":
			req.Reply(false, nil)
		default:
			req.Reply(true, nil)
			if step == "signal" {
				ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
					Name string
					Core bool
					Text string
					Lang string
				}{evil, true, evil, ""}))
			}
			ch.Close()
		}
	}
}

func TestStallsAndRefusals(t *testing.T) {
	for _, tt := range []struct{ step, want string }{
		{"accept", "did not answer in time"}, {"version", "did not answer in time"}, {"auth", "did not answer in time"},
		{"channel", "opens no session"}, {"request", "ended the connection"},
		{"garbage", "ended the connection"}, {"deny", "does not accept the gate's certificate"},
		{"reject", "opens no session"}, {"refuse", "does not run the command"},
	} {
		t.Run(tt.step, func(t *testing.T) {
			begin := time.Now()
			e := wantError(t, badHost(t, tt.step), command("true"), tt.want)
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
			if strings.ContainsAny(e.Error(), "\x1b\r\n\x07") {
				t.Errorf("the log gets raw bytes of the host's: %q", e.Error())
			}
		})
	}
}

func TestExitUntold(t *testing.T) {
	p, err := badHost(t, "silent").Open(t.Context(), command("true"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	io.Copy(io.Discard, p.Stdout())
	if e, err := p.Wait(t.Context()); err == nil {
		t.Errorf("Wait = %+v, want an error", e)
	}
}

func TestHostileExitSignal(t *testing.T) {
	got := run(t, badHost(t, "signal"), command("true"), nil).exit
	if got.Signal != "unknown@sallyport" || strings.ContainsAny(got.Message, "\x1b\r\n\x07") || !got.CoreDumped {
		t.Errorf("exit = %+v", got)
	}
}

func TestCancelWhileOpening(t *testing.T) {
	r := badHost(t, "accept")
	r.c.OpenTimeout = time.Hour
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user left")
	time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	if _, err := r.Open(ctx, command("true")); !errors.Is(err, why) {
		t.Errorf("Open = %v, want the cause", err)
	}
}

// wall is a relay in front of a host that can be made to swallow everything.
type wall struct {
	net.Listener
	mu   sync.Mutex
	shut bool
}

func newWall(t *testing.T, to string) *wall {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wall{Listener: ln}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				return
			}
			context.AfterFunc(ctx, func() { in.Close(); out.Close() })
			wg.Go(func() { io.Copy(w.through(in), out) })
			wg.Go(func() { io.Copy(w.through(out), in) })
		}
	})
	return w
}

type swallow struct {
	w *wall
	c net.Conn
}

func (w *wall) through(c net.Conn) io.Writer { return swallow{w, c} }

func (s swallow) Write(p []byte) (int, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.shut {
		return len(p), nil
	}
	return s.c.Write(p)
}

// TestVanished: a host that is there no more ends the session in bounded time, with a word.
func TestVanished(t *testing.T) {
	h := newHost(t)
	w := newWall(t, h.Addr)
	r := h.target(t, func(c *Config) { c.Addr = w.Addr().String(); c.KeepAlive = 50 * time.Millisecond })
	p, err := r.Open(t.Context(), command("echo up; sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := io.ReadFull(p.Stdout(), make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.shut = true
	w.mu.Unlock()
	io.Copy(io.Discard, p.Stdout())
	if _, err := p.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer any more") {
		t.Errorf("Wait = %v", err)
	}
}

func TestDropped(t *testing.T) {
	h := newHost(t)
	p, err := h.target(t).Open(t.Context(), command("echo up; sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := io.ReadFull(p.Stdout(), make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	h.Drop()
	io.Copy(io.Discard, p.Stdout())
	if _, err := p.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "was lost") {
		t.Errorf("Wait = %v", err)
	}
}

// TestNothingLeft: sessions leave no goroutine behind, whether they ended or were closed.
func TestNothingLeft(t *testing.T) {
	h := newHost(t)
	r := h.target(t)
	run(t, r, command("true"), nil)
	before := runtime.NumGoroutine()
	for i := range 20 {
		p, err := r.Open(t.Context(), shells.Request{Kind: shells.Exec, Command: "cat", Pty: &shells.Pty{Term: "dumb", Cols: uint32(i), Rows: 2}})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		p.Close()
		if _, err := p.Stdout().Read(make([]byte, 1)); err == nil {
			t.Error("read after Close")
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before+4 && time.Now().Before(deadline) { // x/crypto's own end a moment later
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before+4 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

func BenchmarkOpen(b *testing.B) {
	h := newHost(b)
	r := h.target(b)
	for b.Loop() {
		run(b, r, command("true"), nil)
	}
}
