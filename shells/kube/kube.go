// Package kube is the way to a Kubernetes API server: a proxy that has every request decided on, masks every
// answer, and proves itself to the server as the one who asks.
//
// The client speaks HTTP/1.1 or HTTP/2 inside a tunnel, with TLS or without; its own credentials and its wishes
// to be somebody else count for nothing.
package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/kube"
	"github.com/sallyport-ssh/sallyport/filters/mask"
)

// Config is one API server.
type Config struct {
	Name   string         // of the target, for errors
	Server string         // https://host:port, with a path where there is a prefix
	CAs    *x509.CertPool // nil: the system's
	// ServerName is what the server's certificate must say; default the host of Server.
	ServerName string
	Credential Credential // the gate's own, which mints those of sessions
	// ServiceAccount, as namespace/name, makes sessions act with a token of that account. Empty: sessions act as the
	// user, by impersonation.
	ServiceAccount string
	// GroupPrefix stands before the names of groups, so that nobody is in a group of the cluster's by its name alone;
	// default "sallyport:".
	GroupPrefix string

	// Certificate proves the target's name to clients. It is asked for at every handshake.
	Certificate func(ctx context.Context) (*tls.Certificate, error)

	DialTimeout   time.Duration // until the TCP connection stands; default 10 s
	AnswerTimeout time.Duration // until the server begins to answer; default 60 s
}

// A Credential is how the gate itself proves who it is: a certificate, or a bearer token that is read anew when it
// is needed.
type Credential struct {
	Certificate *tls.Certificate
	Token       func() (string, error)
}

// Identity is who acts, in the words of the cluster.
type Identity struct {
	User    string            // for example an e-mail address
	Groups  []string          // without prefix
	Extra   map[string]string // keys of letters, digits and dashes, such as "session"
	Session string            // id, for the server's log
}

// A Session is where requests are decided on and written down.
type Session interface {
	// Admit returns nil when r may be sent now. It may wait for a human, who is then shown what shown returns.
	Admit(ctx context.Context, r *kube.Request, shown func(context.Context) string) error
	// Record writes a piece of the session's transcript, masked, before the client sees it.
	Record(text []byte) error
	// Done tells how r ended.
	Done(r *kube.Request, d Done) error
	// Masks is what answers to r are masked with.
	Masks(r *kube.Request) (*mask.Engine, mask.StreamOptions)
	// Masked counts a value.
	Masked(detector string)
	// Terminal makes a session of an exec or attach, calls run in it, and seals its record with the status that run
	// returns: the command's, nil where the server did not say. The context of run ends with that session.
	Terminal(ctx context.Context, r *kube.Request, to Streams, run func(context.Context, Terminal) (status *int, err error)) error
}

// Streams are the two ends of an exec or attach.
type Streams struct {
	Stdout, Stderr io.Writer      // the client
	Stdin          io.WriteCloser // the command
}

// Done is how a request ended.
type Done struct {
	Status int           // HTTP; 0 if there was no answer
	Bytes  int64         // of the body, as shown; of a tunnel, to the client
	Sent   int64         // of the body, or through a tunnel to the server
	SHA256 string        // of the body as shown, hexadecimal; "" where there was none
	Took   time.Duration // until the last byte
	Err    error         // why it broke off
}

// A Terminal is the session of one exec or attach.
type Terminal interface {
	// Output masks p, writes it down and shows it.
	Output(stderr bool, p []byte) error
	// Drained shows what waited for more. No output comes after it.
	Drained() error
	// Input passes p on to the command: at once, or when it was decided on.
	Input(p []byte) error
	// InputEnded passes that on.
	InputEnded() error
	Resize(cols, rows uint16) error
}

// Target is one API server. It is safe for concurrent use.
type Target struct {
	c        Config
	base     *url.URL
	gate     *http.Transport // proves itself as the gate, to mint tokens
	plain    *http.Transport // for sessions: HTTP/2 where the server has it
	upgrades *http.Transport // for sessions: HTTP/1.1, for exec, attach and port-forward
	refusals refusals
	box      *box // nil: no kubectl on the gate
}

// New checks c. It dials nothing.
func New(c Config) (*Target, error) {
	wrong := func(format string, args ...any) (*Target, error) {
		return nil, fmt.Errorf("target %q: "+format, append([]any{c.Name}, args...)...)
	}
	base, err := url.Parse(c.Server)
	if err != nil || base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return wrong("server %q: want https://host:port", c.Server)
	}
	if c.Credential.Certificate == nil && c.Credential.Token == nil {
		return wrong("no credential: there is nothing to prove the gate with")
	}
	if c.Certificate == nil {
		return wrong("no certificate: there is nothing to prove its name with")
	}
	if c.ServiceAccount != "" && strings.Count(c.ServiceAccount, "/") != 1 {
		return wrong("service account %q: want namespace/name", c.ServiceAccount)
	}
	if c.GroupPrefix == "" {
		c.GroupPrefix = "sallyport:"
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	// A session with a token of its own must not come over a connection that proves the gate: a server asks for
	// certificates first.
	gate := c.Credential.Certificate
	session := gate
	if c.ServiceAccount != "" {
		session = nil
	}
	t := &Target{
		c: c, base: base, gate: c.transport(gate, "http/1.1"),
		plain: c.transport(session, "h2", "http/1.1"), upgrades: c.transport(session, "http/1.1"),
	}
	t.plain.ForceAttemptHTTP2 = true
	return t, nil
}

func (c Config) transport(proof *tls.Certificate, protocols ...string) *http.Transport {
	conf := &tls.Config{RootCAs: c.CAs, ServerName: c.ServerName, MinVersion: tls.VersionTLS12, NextProtos: protocols}
	if proof != nil {
		conf.Certificates = []tls.Certificate{*proof}
	}
	d := net.Dialer{Timeout: orElse(c.DialTimeout, 10*time.Second), KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext: d.DialContext, TLSClientConfig: conf, TLSHandshakeTimeout: orElse(c.AnswerTimeout, time.Minute),
		ResponseHeaderTimeout: orElse(c.AnswerTimeout, time.Minute), IdleConnTimeout: 90 * time.Second,
		MaxIdleConnsPerHost: 16, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}
}

func orElse(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Close ends idle connections, and kubectl's sandbox.
func (t *Target) Close() {
	if t.box != nil {
		t.box.close()
	}
	t.gate.CloseIdleConnections()
	t.plain.CloseIdleConnections()
	t.upgrades.CloseIdleConnections()
}

// An Error is a request that got no answer. Public may be shown to the user; Err is for the log.
type Error struct {
	Target string
	Public string
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("target %q: %s: %v", e.Target, e.Public, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// PublicText is what may be shown to the user.
func (e *Error) PublicText() string { return e.Public }

// unreachable says in words that name no address why err came.
func (t *Target) unreachable(err error) error {
	var ca x509.UnknownAuthorityError
	var name x509.HostnameError
	var timeout net.Error
	public := "the API server cannot be reached"
	switch {
	case errors.As(err, &ca), errors.As(err, &name):
		public = "the API server's certificate is not the one this gate knows"
	case errors.As(err, &timeout) && timeout.Timeout():
		public = "the API server does not answer in time"
	}
	return &Error{Target: t.c.Name, Public: public, Err: err}
}
