package sshd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/policies"
)

// A connection is one authenticated SSH connection. Its sessions share its id.
type connection struct {
	srv         *Server
	ssh         *ssh.ServerConn
	id          string
	identity    certs.Identity
	principal   policies.Principal
	certificate *ssh.Certificate
	proven      certs.Proven // as the handshake left it, without what the configuration adds
	source      netip.Addr
	inner       *inner // set when it runs inside a forward
	route       route
	log         *slog.Logger

	ctx      context.Context
	cancel   context.CancelCauseFunc
	channels atomic.Int32
	all      *atomic.Int32 // channels of this connection and of those inside it, or around it
	idle     chan struct{} // told when channels falls to zero
	noMore   atomic.Bool   // no-more-sessions@openssh.com
	first    bool          // a session was opened; used by serve's loop alone
	wg       sync.WaitGroup
	parked   parked
}

// inner says where a connection inside a forward comes from and goes to.
type inner struct {
	outer  *connection
	target *Target
}

// serveConn runs one connection from handshake to end. When it returns, nothing of it is left.
// Authenticated is called once the client has proved who it is and may come in.
func (s *Server) serveConn(ctx context.Context, nc net.Conn, in *inner, authenticated func()) {
	defer nc.Close()
	begun, source := time.Now(), sourceOf(nc.RemoteAddr())
	limit := newDeadline(nc, s.o.HandshakeTimeout)
	host, signIn := s.o.Name, s.newSigningIn(ctx, nc, limit, authenticated)
	if in != nil {
		host, signIn = in.target.Name, nil
	}
	defer signIn.end()
	config, err := s.config(ctx, host, signIn)
	if err != nil {
		limit.timer.Stop()
		s.o.Log.Error("connection refused", "error", err)
		return
	}
	conn, channels, requests, err := handshake(nc, config, limit)
	if err != nil {
		s.o.Meter.Handshake("failed", time.Since(begun))
		s.refused(s.o.Log, source.String(), "handshake failed", "source", source, "error", brief(err.Error()))
		return
	}
	defer conn.Close()
	if who, ok := signedInBy(conn.Permissions); ok {
		s.o.Meter.Handshake("ok", time.Since(begun))
		s.serveSignedIn(ctx, conn, channels, requests, who)
		return
	}
	c, err := s.newConnection(ctx, conn, in)
	if err != nil {
		s.o.Meter.Handshake("refused", time.Since(begun))
		s.refused(s.o.Log, source.String(), "connection refused", "source", source, "user", brief(conn.User()), "error", brief(err.Error()))
		refuseAll(conn, channels, requests, err)
		return
	}
	authenticated()
	s.o.Meter.Handshake("ok", time.Since(begun))
	s.o.Meter.Connection(1)
	defer s.o.Meter.Connection(-1)
	defer s.forget(c)
	c.serve(channels, requests)
}

// newConnection turns what the handshake proved into a connection.
func (s *Server) newConnection(ctx context.Context, conn *ssh.ServerConn, in *inner) (*connection, error) {
	proven, ok := certs.ProvenBy(conn.Permissions)
	if !ok {
		return nil, publicError("the handshake proved no identity")
	}
	id := proven.Identity
	if s.o.Enrich != nil {
		id = s.o.Enrich(id)
	}
	c := &connection{
		srv: s, ssh: conn, id: NewSessionID(), identity: id, principal: principalOf(id),
		certificate: proven.Certificate, proven: proven, source: sourceOf(conn.RemoteAddr()), inner: in, idle: make(chan struct{}, 1),
		all: new(atomic.Int32),
	}
	c.principal.Delegation = delegationOf(proven.Delegation)
	var err error
	if in == nil {
		c.route, err = s.o.Targets.routeUser(conn.User())
	} else {
		c.id, c.all = in.outer.id, in.outer.all
		c.route, err = in.target.route(conn.User())
		// The same in every respect: a policy that let the outer one jump must not find an agent where
		// it saw a human, or other groups.
		if !reflect.DeepEqual(c.principal, in.outer.principal) {
			err = publicError("the inner connection has another identity than the outer one")
		}
	}
	if err != nil {
		return nil, err
	}
	if s.o.Revoked(c.certificate) {
		return nil, errRevoked
	}
	c.log = s.o.Log.With("connection", c.id, "identity", id.String(), "source", c.source)
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	return c, s.remember(c)
}

func (s *Server) remember(c *connection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errStopping
	}
	// A connection inside another counts with it.
	if c.inner == nil {
		if s.identities[c.principal.Key] >= s.o.MaxConnectionsPerIdentity {
			return publicf("you have %d connections open, which is the limit", s.o.MaxConnectionsPerIdentity)
		}
		s.identities[c.principal.Key]++
	}
	s.conns[c] = true
	return nil
}

func (s *Server) forget(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if c.inner != nil {
		return
	}
	if s.identities[c.principal.Key]--; s.identities[c.principal.Key] == 0 {
		delete(s.identities, c.principal.Key)
	}
}

// refusalGrace is how long a client that may do nothing has to ask, and to read why not.
const refusalGrace = 10 * time.Second

// refuseAll answers the first thing a client asks for with why, and ends the connection: a client shows
// the reason a channel was refused for, but not the one a connection was closed for.
func refuseAll(conn *ssh.ServerConn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request, why error) {
	timer := time.AfterFunc(refusalGrace, func() { conn.Close() })
	defer timer.Stop()
	go ssh.DiscardRequests(requests) // ends with the connection, which the caller closes
	for nc := range channels {
		_ = nc.Reject(ssh.Prohibited, "sallyport: "+publicText(why))
		if nc.ChannelType() == "session" || nc.ChannelType() == "direct-tcpip" {
			return
		}
	}
}

// serve dispatches until the client leaves or something ends the connection.
func (c *connection) serve(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	c.log.Info("connected", "target", c.ssh.User(), "key", c.certificate.KeyId, "client", show(string(c.ssh.ClientVersion())))
	stop := context.AfterFunc(c.ctx, func() { c.close() })
	c.wg.Go(func() { c.globalRequests(requests) })
	for nc := range channels {
		c.channel(nc)
	}
	c.cancel(errClientLeft)
	c.wg.Wait()
	stop()
	c.log.Info("disconnected", "reason", context.Cause(c.ctx).Error())
}

var errClientLeft = publicError("the client left")

// closeGrace is how long sessions have to tell their clients why, once the connection must end.
const closeGrace = 3 * time.Second

// close ends the transport when the sessions have said their last word, or after closeGrace.
func (c *connection) close() {
	if cause := context.Cause(c.ctx); cause == errClientLeft {
		c.ssh.Close()
		return
	}
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	for waiting := true; waiting && c.channels.Load() > 0; {
		select {
		case <-c.idle:
		case <-grace.C:
			waiting = false
		}
	}
	c.ssh.Close()
}

// globalRequests answers what concerns the whole connection (RFC 4254 section 4). Nothing is granted:
// remote forwards and streamlocal are refused; keep-alives get the failure that OpenSSH gives them too.
func (c *connection) globalRequests(requests <-chan *ssh.Request) {
	for r := range requests {
		switch r.Type {
		case "no-more-sessions@openssh.com":
			c.noMore.Store(true)
		case "keepalive@openssh.com":
		default:
			c.refused("global request refused", "type", brief(r.Type))
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
}

// channel opens or refuses one channel.
func (c *connection) channel(nc ssh.NewChannel) {
	var serve func(ssh.NewChannel)
	switch t := nc.ChannelType(); {
	// The request comes by another way than the channels do, and may overtake the session before it.
	case t == "session" && c.first && c.noMore.Load():
		_ = nc.Reject(ssh.Prohibited, "sallyport: this client said that it wants no more sessions")
		return
	case t == "session":
		c.first = true
		serve = c.session
	case t == "direct-tcpip" && c.inner == nil:
		serve = c.forward
	case t == "direct-tcpip":
		_ = nc.Reject(ssh.Prohibited, "sallyport: a jump ends at its target; forward from the gate instead")
		return
	default:
		c.refused("channel refused", "type", brief(t))
		_ = nc.Reject(ssh.Prohibited, "sallyport: channels of this type are not let through")
		return
	}
	err := c.fresh()
	if err == nil && c.srv.o.Gate.denials.full(c.principal.Key) {
		err = errTooManyRefused
	}
	if err != nil {
		_ = nc.Reject(ssh.Prohibited, "sallyport: "+publicText(err))
		return
	}
	c.channels.Add(1)
	if int(c.all.Add(1)) > c.srv.o.MaxSessionsPerConnection {
		c.channelDone()
		_ = nc.Reject(ssh.ResourceShortage, fmt.Sprintf("sallyport: %d sessions are open on this connection, which is the limit", c.srv.o.MaxSessionsPerConnection))
		return
	}
	c.wg.Go(func() {
		defer c.channelDone()
		serve(nc)
	})
}

func (c *connection) channelDone() {
	c.all.Add(-1)
	if c.channels.Add(-1) > 0 {
		return
	}
	select {
	case c.idle <- struct{}{}:
	default:
	}
}

// fresh refuses new work on a connection whose certificate has run out or was revoked meanwhile.
func (c *connection) fresh() error {
	if before := c.certificate.ValidBefore; before != ssh.CertTimeInfinity && uint64(time.Now().Unix()) >= before {
		return publicError("your certificate has expired; get a new one and connect again")
	}
	if c.srv.o.Revoked(c.certificate) {
		return errRevoked
	}
	return nil
}

var errRevoked = publicError("the certificate was revoked")

// refused logs what this connection was refused.
func (c *connection) refused(msg string, args ...any) {
	c.srv.refused(c.log, c.principal.Key, msg, args...)
}

// principalOf is an identity as policies know it.
func principalOf(id certs.Identity) policies.Principal {
	p := policies.Principal{Key: id.Key(), Name: id.Name, Email: id.Email, Kind: id.Kind, Groups: id.Groups}
	if id.OnBehalfOf != nil {
		for1 := principalOf(*id.OnBehalfOf)
		p.OnBehalfOf = &for1
	}
	return p
}

// delegationOf is what narrows a certificate, as policies know it.
func delegationOf(d *certs.Delegation) *policies.Delegation {
	if d == nil {
		return nil
	}
	return &policies.Delegation{Targets: d.Targets, Actions: d.Actions}
}

// show is text for the log or a terminal: what a peer said in it cannot move either.
func show(text string) string { return policies.Render([]byte(text)) }

// maxShown bounds what of a peer's one word is repeated, in bytes.
const maxShown = 256

// brief is show for what a peer may make as long as a packet, 256 KiB.
func brief(text string) string {
	if len(text) <= maxShown {
		return show(text)
	}
	return show(strings.ToValidUTF8(text[:maxShown], "")) + "…"
}
