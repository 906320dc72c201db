// Package sshd is the front door: it listens, authenticates, routes, and runs the sessions that join the
// other rooms.
//
// A connection goes through, in this order: [Server.Serve] accepts it within limits (startups.go),
// handshake.go authenticates it, conn.go dispatches its channels, route.go finds their target. A session
// (session.go) is then opened, decided on by [Gate.Admit], recorded, masked and relayed. Forwards
// (forward.go) to an SSH target are terminated here and go the same way; `gate` is served by commands.go.
//
// Nothing is trusted but what the handshake proved, which travels in ssh.Permissions alone.
package sshd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("sshd: server closed")

// Options are the parts a Server is made of. All are required unless they say otherwise.
type Options struct {
	// Name is the host name of this gate.
	Name string
	// HostSigners returns the keys and certificates to prove that this is host name: a certificate
	// first, the bare key after it for clients that pin it.
	HostSigners func(ctx context.Context, name string) ([]ssh.Signer, error)
	// Authenticate checks a key that a client offers; see [certs.UserChecker.Check].
	Authenticate func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error)
	// Enrich adds what the gate's configuration knows of an identity, such as groups. Optional.
	Enrich func(certs.Identity) certs.Identity
	// Revoked tells whether a certificate that was valid at the handshake has been revoked since.
	Revoked func(*ssh.Certificate) bool
	// Delegate certifies the key of an agent that a human hands a part of their rights; see
	// [certs.Authority.SignDelegated]. Optional: without it nobody can.
	Delegate func(ctx context.Context, by certs.Proven, key ssh.PublicKey, o certs.DelegateOptions) (*ssh.Certificate, error)
	// SignIn makes out who a person is whom no certificate proves yet, and certifies their key; see signin.go.
	// Optional: without it nobody comes in without a certificate.
	SignIn  *SignIn
	Targets *Directory
	Gate    *Gate
	Desk    *policies.Desk
	Ledger  *ledger.Ledger
	Archive *replay.Archive
	// EssentialGroups may open sessions when others are refused for want of room for recordings.
	EssentialGroups []string
	// Masks masks every output.
	Masks *mask.Engine
	// MaskStyle says how values are replaced for an identity on a target, in a terminal or without one; 0 is the
	// engine's own style. Optional.
	MaskStyle func(id certs.Identity, t policies.Target, terminal bool) mask.Style
	// MaskHold is how long undecided bytes may wait before they are masked.
	MaskHold time.Duration
	// Degrade lets sessions go on when they can no longer be recorded.
	Degrade bool
	// TunnelRoot is what proves this gate's TLS certificates inside tunnels, in PEM.
	TunnelRoot []byte
	// ConsoleURL is where approvers answer in a browser; shown to them. Optional.
	ConsoleURL string

	HandshakeTimeout          time.Duration
	MaxStartups               int
	MaxStartupsPerSource      int
	MaxConnectionsPerIdentity int
	MaxSessionsPerConnection  int
	KeepAlive                 time.Duration
	// RevocationCheck is how often the certificates of live connections are looked at again. Default 2s.
	RevocationCheck time.Duration

	// Meter counts. Optional.
	Meter Meter

	Log *slog.Logger
}

// A Server is the gate's SSH side.
type Server struct {
	o        Options
	startups *startups
	signIns  *startups // people who are signing in
	lines    *limiter  // of the log, that whoever is refused can cause

	wg     sync.WaitGroup // all connections
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu         sync.Mutex
	closed     bool
	listeners  map[net.Listener]bool
	conns      map[*connection]bool
	identities map[string]int      // open connections by identity key
	sessions   map[string]*session // by id
}

// New returns a Server that serves nothing yet.
func New(o Options) *Server {
	if o.RevocationCheck == 0 {
		o.RevocationCheck = 2 * time.Second
	}
	if o.Meter == nil {
		o.Meter = unmetered{}
	}
	o.Gate.meter = o.Meter
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Server{
		o: o, startups: newStartups(o.MaxStartups, o.MaxStartupsPerSource), ctx: ctx, cancel: cancel,
		signIns:   newStartups(maxSignIns, maxSignInsPerSource),
		lines:     newLimiter(linesPerSource, linesInAll),
		listeners: map[net.Listener]bool{}, conns: map[*connection]bool{},
		identities: map[string]int{}, sessions: map[string]*session{},
	}
}

// Serve accepts connections from l until Shutdown or Close, and returns ErrServerClosed then.
func (s *Server) Serve(l net.Listener) error {
	if !s.track(l) {
		l.Close()
		return ErrServerClosed
	}
	s.wg.Go(s.watchCertificates)
	s.wg.Go(func() { s.watchFloods(s.ctx) })
	for backoff := time.Duration(0); ; {
		c, err := l.Accept()
		if err != nil {
			if s.isClosed() {
				return ErrServerClosed
			}
			var ne net.Error
			if !errors.As(err, &ne) {
				return fmt.Errorf("accept: %w", err)
			}
			// Out of descriptors, or a client that was gone again: wait, so as not to spin.
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			s.o.Log.Warn("accept failed, trying again", "error", err, "in", backoff)
			select {
			case <-time.After(backoff):
			case <-s.ctx.Done():
			}
			continue
		}
		backoff = 0
		s.begin(c)
	}
}

// begin gives c a place among those that authenticate, or turns it away.
func (s *Server) begin(c net.Conn) {
	if tc, ok := c.(*net.TCPConn); ok {
		// A vanished client is found by the kernel; one that is suspended stays.
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: s.o.KeepAlive, Interval: s.o.KeepAlive, Count: 3})
	}
	source := sourceOf(c.RemoteAddr())
	w := newWire(c)
	place, err := s.startups.begin(source, func() { w.closeFor(errGaveWay) })
	if err != nil {
		s.refused(s.o.Log, source.String(), "connection turned away", "source", source, "reason", err.Error())
		s.o.Meter.Handshake("turned_away", 0)
		turnAway(c)
		return
	}
	s.wg.Go(func() {
		defer s.startups.end(place)
		defer w.wait()
		s.serveConn(s.ctx, w, nil, func() { s.startups.end(place) })
	})
}

// turnAway tells c why, as RFC 4253 section 4.2 lets a server say a line before its version, and closes
// it. A socket's buffer takes one line without waiting.
func turnAway(c net.Conn) {
	_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = c.Write([]byte("Too many connections are waiting to authenticate from here.\r\n"))
	c.Close()
}

func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = true
	return true
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// errStopping is why sessions end when the gate does.
var errStopping = publicError("the gate is stopping")

// Shutdown stops accepting, ends what runs with a reason that its clients see and its recordings hold,
// and waits for all of it, or for ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	s.cancel(errStopping)
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }() // ends with the last connection
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.ssh.Close()
	}
	s.mu.Unlock()
	return ctx.Err()
}

// Kill ends the session called id; by and reason are shown to its client and stand in its record. It
// reports whether there was one on this gate.
func (s *Server) Kill(id, by, reason string) bool {
	s.mu.Lock()
	ss := s.sessions[id]
	s.mu.Unlock()
	if ss == nil {
		return false
	}
	ss.cancel(&killedError{by: by, reason: reason})
	return true
}

// A killedError is why somebody ended a session.
type killedError struct{ by, reason string }

// PublicText says who and why.
func (e *killedError) PublicText() string { return e.Error() }

func (e *killedError) Error() string {
	msg := "ended by " + policies.Render([]byte(e.by))
	if e.reason != "" {
		msg += ": " + policies.Render([]byte(e.reason))
	}
	return msg
}

// watchCertificates ends connections whose certificate was revoked after the handshake, with all that
// runs in them. A certificate that runs out ends its connection when nothing runs there any more: sessions
// outlive its validity, which is asked for again when one begins (see fresh), but not its revocation.
func (s *Server) watchCertificates() {
	tick := time.NewTicker(s.o.RevocationCheck)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		open := slices.Collect(maps.Keys(s.conns))
		s.mu.Unlock()
		for _, c := range open {
			switch err := c.fresh(); {
			case err == errRevoked:
				c.log.Warn("connection ended: certificate revoked")
				c.cancel(err)
			case err != nil && c.channels.Load() == 0:
				c.cancel(err)
			}
		}
	}
}
