package sshd

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/shells"
)

// forward serves a channel of type "direct-tcpip" (RFC 4254 section 7.2): -W, -L, -D and -J. A forward
// to a target that speaks SSH is terminated here; one to a raw target is relayed where a policy says so.
func (c *connection) forward(nc ssh.NewChannel) {
	var m struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(nc.ExtraData(), &m); err != nil || len(m.Host) > 255 || m.Port > 65535 {
		_ = nc.Reject(ssh.ConnectionFailed, "sallyport: the forward cannot be read")
		return
	}
	t, err := c.srv.o.Targets.routeForward(m.Host, m.Port)
	if err != nil {
		c.refused("forward refused", "host", brief(m.Host), "port", m.Port)
		_ = nc.Reject(ssh.Prohibited, "sallyport: "+show(err.Error()))
		return
	}
	switch {
	case t.Dial != nil:
		c.forwardRaw(nc, t)
	case t.Postgres != nil:
		c.forwardPostgres(nc, t)
	case t.Kube != nil:
		c.forwardKube(nc, t)
	default:
		c.jump(nc, t)
	}
}

// jump terminates a forward to t: the client speaks SSH with this gate, which proves itself as t, and
// what it does there goes the way of every session.
func (c *connection) jump(nc ssh.NewChannel, t *Target) {
	f := &forward{c: c, target: t}
	err := c.srv.o.Gate.Admit(c.ctx, Operation{
		SessionID: NewSessionID(), ConnectionID: c.id, Principal: c.principal, Target: t.Target,
		Action: "forward:open", Facts: map[string]any{"source": c.source.String()}, Unheld: true,
	}, f)
	if err != nil {
		_ = nc.Reject(ssh.Prohibited, "sallyport: "+publicText(err))
		return
	}
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(requests) // ends with the channel
	c.srv.serveConn(c.ctx, innerConn{Channel: ch, local: c.ssh.LocalAddr(), remote: c.ssh.RemoteAddr()},
		&inner{outer: c, target: t}, func() {})
}

// A forward is the witness of a jump, which has no recording of its own: the sessions inside it have.
type forward struct {
	c      *connection
	target *Target
}

func (f *forward) Decided(op Operation, d policies.Decision) error {
	if d.Effect == policies.EffectDeny {
		f.c.srv.o.Gate.denied(op.Principal.Key)
		return f.c.auditDenied(op, d)
	}
	return nil
}

// Held and Answered are never called: a jump is unheld.
func (f *forward) Held(Operation, policies.Hold)                  {}
func (f *forward) Answered(Operation, policies.Hold, error) error { return nil }

// forwardRaw relays bytes that nobody looks at, to a target of kind tcp. It is a session like any
// other; its record has the times and sizes.
func (c *connection) forwardRaw(nc ssh.NewChannel, t *Target) {
	s := &session{c: c, id: NewSessionID(), route: route{target: t}, started: time.Now()}
	s.asked = asked{kind: "forward", command: t.Address}
	s.ctx, s.cancel = context.WithCancelCause(c.ctx)
	defer s.cancel(nil)
	c.srv.remembered(s, func() { s.relayRaw(nc) })
}

func (s *session) relayRaw(nc ssh.NewChannel) {
	var err error
	defer func() { s.seal(shells.Exit{}, err) }()
	err = s.c.srv.o.Gate.Admit(s.ctx, Operation{
		SessionID: s.id, ConnectionID: s.c.id, Principal: s.c.principal, Target: s.route.target.Target,
		Action: "forward:raw", Text: s.route.target.Address, Facts: map[string]any{"source": s.c.source.String()}, Unheld: true,
	}, s)
	if err != nil {
		_ = nc.Reject(ssh.Prohibited, "sallyport: "+publicText(err))
		return
	}
	up, err := s.route.target.Dial(s.ctx)
	if err != nil {
		err = &targetError{target: s.route.target.Name, err: err}
		_ = nc.Reject(ssh.ConnectionFailed, "sallyport: "+publicText(err))
		return
	}
	defer up.Close()
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(requests) // ends with the channel
	err = s.copyRaw(ch, up)
}

// copyRaw copies both ways until both have ended, and notes how much went through once a second.
func (s *session) copyRaw(ch ssh.Channel, up net.Conn) error {
	stop := context.AfterFunc(s.ctx, func() { ch.Close(); up.Close() })
	defer stop()
	var sent, received atomic.Int64
	done := make(chan struct{})
	var meter sync.WaitGroup
	meter.Go(func() { s.meter(&sent, &received, done) })
	var both sync.WaitGroup
	both.Go(func() {
		pour(counter{up, &sent}, ch)
		closeWrite(up)
	})
	both.Go(func() {
		pour(counter{ch, &received}, up)
		_ = ch.CloseWrite()
	})
	both.Wait()
	close(done)
	meter.Wait()
	if why := cause(s.ctx); why != nil {
		return why
	}
	return nil
}

// pourMost is how much is read at once while much comes.
const pourMost = 256 << 10

var pourBuffers = sync.Pool{New: func() any { return new([pourMost]byte) }}

// pour copies until either side ends. A read that fills its buffer is followed by one with a large buffer, as more has
// most likely come; whatever waits has a small one, as a tunnel may be idle for days.
func pour(to io.Writer, from io.Reader) {
	small := make([]byte, chunk)
	for {
		n, err := from.Read(small)
		if !passedOn(to, small[:n]) {
			return
		}
		if n == len(small) && err == nil && !pourMuch(to, from) || err != nil {
			return
		}
	}
}

// pourMuch copies while there is much, and reports whether it may go on.
func pourMuch(to io.Writer, from io.Reader) bool {
	large := pourBuffers.Get().(*[pourMost]byte)
	defer pourBuffers.Put(large)
	for {
		n, err := from.Read(large[:])
		if !passedOn(to, large[:n]) || err != nil {
			return false
		}
		if n < len(large) {
			return true
		}
	}
}

func passedOn(to io.Writer, p []byte) bool {
	if len(p) == 0 {
		return true
	}
	_, err := to.Write(p)
	return err == nil
}

// meter records the sizes while they change, and at the end.
func (s *session) meter(sent, received *atomic.Int64, done <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last [2]int64
	for running := true; running; {
		select {
		case <-tick.C:
		case <-done:
			running = false
		}
		now := [2]int64{sent.Load(), received.Load()}
		if now == last && running {
			continue
		}
		last = now
		text := fmt.Sprintf("%d bytes sent, %d bytes received\r\n", now[0], now[1])
		err := s.recorded(s.recording.Note("sizes", map[string]any{"sent": now[0], "received": now[1]}))
		if err == nil {
			err = s.recordOutput(cast.Gate, []byte(text))
		}
		if err != nil {
			s.cancel(err)
		}
	}
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n *atomic.Int64
}

func (c counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// onlyReader hides WriteTo, so that CopyBuffer uses its buffer.
type onlyReader struct{ io.Reader }

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	c.Close()
}
