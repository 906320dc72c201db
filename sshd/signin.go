package sshd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs"
)

// LoginName is the user name by which people come who have no certificate yet: `ssh login@gate > id-cert.pub`. They prove a
// key, sign in at their identity provider in a browser, and are given a certificate for that key. Nothing else can be
// done on such a connection.
const LoginName = "login"

// Bounds of sign-ins by SSH.
const (
	signInTime          = 5 * time.Minute // that a person has in the browser
	maxSignIns          = 100             // at a time; the oldest of the busiest source gives way
	maxSignInsPerSource = 5
	certifyTime         = 30 * time.Second
)

// SignIn is what [Options.SignIn] needs.
type SignIn struct {
	// Identify sends a person to their identity provider, by an address and a code that show passes on, and waits until
	// they have signed in there. What it returns has been verified. Errors whose text may be shown have a PublicText.
	Identify func(ctx context.Context, show func(address, code string)) (certs.Identity, error)
	// Certify signs the person's key, which was proved.
	Certify func(ctx context.Context, id certs.Identity, key ssh.PublicKey) (*ssh.Certificate, error)
	// KnownHosts are the lines by which the person's ssh trusts this gate from now on.
	KnownHosts func() []string
}

// signingIn is one connection's way in without a certificate.
type signingIn struct {
	srv    *Server
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	limit  *deadline
	proved func() // a key was proved: the connection's place among the startups is given back

	mu    sync.Mutex
	place *startup // among those who sign in
	nc    net.Conn
}

// newSigningIn is nil where nobody can sign in.
func (s *Server) newSigningIn(ctx context.Context, nc net.Conn, limit *deadline, proved func()) *signingIn {
	if s.o.SignIn == nil {
		return nil
	}
	l := &signingIn{srv: s, limit: limit, proved: proved, nc: nc}
	l.ctx, l.cancel = context.WithCancel(ctx)
	return l
}

// end gives back what a sign-in took.
func (l *signingIn) end() {
	if l == nil {
		return
	}
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.place != nil {
		l.srv.signIns.end(l.place)
	}
}

type publicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error)

// orElse takes keys of whoever comes as login, and leaves everybody else to certificates. A key that is offered is not
// proved: x/crypto goes on to the second step, and so to this very closure, only with one whose signature held, and lets
// nobody change the user name between them.
func (l *signingIn) orElse(certificates publicKeyCallback) publicKeyCallback {
	return func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if meta.User() != LoginName {
			return certificates(meta, key)
		}
		if cert, ok := key.(*ssh.Certificate); ok {
			key = cert.Key // of an old certificate, whose key the signature proves all the same
		}
		if err := certs.CheckUserKey(key); err != nil {
			return nil, &ssh.BannerError{Err: err, Message: "sallyport: " + show(err.Error()) + "\r\n"}
		}
		return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{
			KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
				return l.identify(ask, key)
			},
		}}
	}
}

// identify has the person sign in while their client waits.
func (l *signingIn) identify(ask ssh.KeyboardInteractiveChallenge, key ssh.PublicKey) (*ssh.Permissions, error) {
	if err := l.begin(); err != nil {
		_, _ = ask("", "sallyport: "+publicText(err), nil, nil) // a client that is gone needs to know nothing
		return nil, err
	}
	ctx, cancel := context.WithTimeout(l.ctx, signInTime)
	defer cancel()
	id, err := l.srv.o.SignIn.Identify(ctx, func(address, code string) {
		// Without a question the client shows this and answers at once (RFC 4256 section 3.2).
		_, lost := ask("", fmt.Sprintf("Sign in at:\n\n  %s\n\nand check that it shows the code %s\n", show(address), show(code)), nil, nil)
		if lost != nil {
			cancel()
		}
	})
	if err != nil {
		_, _ = ask("", "sallyport: "+publicText(err), nil, nil)
		return nil, err
	}
	return &ssh.Permissions{ExtraData: map[any]any{signedInKey{}: signedIn{identity: id, key: key}}}, nil
}

var errManySignIns = publicError("too many people are signing in from your address; try again in some minutes")

// begin takes a place among those who sign in, and the time that people need.
func (l *signingIn) begin() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.place != nil {
		return publicError("you have tried before on this connection; connect again")
	}
	place, err := l.srv.signIns.begin(sourceOf(l.nc.RemoteAddr()), func() { l.nc.Close() })
	if err != nil {
		return errManySignIns
	}
	l.place = place
	if !l.limit.extend(signInTime + certifyTime) {
		return errors.New("too late")
	}
	l.proved()
	return nil
}

type signedInKey struct{}

// signedIn is what a sign-in proved.
type signedIn struct {
	identity certs.Identity
	key      ssh.PublicKey
}

func signedInBy(p *ssh.Permissions) (signedIn, bool) {
	if p == nil {
		return signedIn{}, false
	}
	v, ok := p.ExtraData[signedInKey{}].(signedIn)
	return v, ok
}

// serveSignedIn hands the certificate over on the first session, and ends the connection.
func (s *Server) serveSignedIn(ctx context.Context, conn *ssh.ServerConn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request, who signedIn) {
	timer := time.AfterFunc(certifyTime, func() { conn.Close() })
	defer timer.Stop()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	go ssh.DiscardRequests(requests) // ends with the connection, which the caller closes
	for nc := range channels {
		if nc.ChannelType() != "session" {
			_ = nc.Reject(ssh.Prohibited, "sallyport: whoever signs in gets a certificate, and connects again with it")
			continue
		}
		ch, asks, err := nc.Accept()
		if err != nil {
			return
		}
		var a asked
		if a.prepare(asks, func(string) {}) {
			go ssh.DiscardRequests(asks) // ends with the channel
			s.handOver(ctx, ch, a, who)
		}
		ch.Close()
		return
	}
}

// handOver prints the certificate, alone on the standard output.
func (s *Server) handOver(ctx context.Context, ch ssh.Channel, a asked, who signedIn) {
	var out, notes io.Writer = ch, ch.Stderr()
	if a.pty != nil {
		out = crlf{ch}
		notes = out
	}
	status := uint32(0)
	ctx, cancel := context.WithTimeout(ctx, certifyTime)
	defer cancel()
	cert, err := s.o.SignIn.Certify(ctx, who.identity, who.key)
	if err != nil {
		s.o.Log.Error("certificate refused", "identity", who.identity.Key(), "error", err)
		fmt.Fprintf(notes, "sallyport: %s\n", publicText(err))
		status = 1
	} else {
		until := time.Unix(int64(cert.ValidBefore), 0)
		fmt.Fprintf(notes, "sallyport: you are %s until %s\n", show(who.identity.String()), until.Format(time.RFC3339))
		for _, line := range s.o.SignIn.KnownHosts() {
			fmt.Fprintf(notes, "sallyport: this gate, for known_hosts: %s\n", line)
		}
		fmt.Fprintln(out, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(cert))))
	}
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status})) // the client may be gone
}
