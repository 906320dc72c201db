package kube

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/kube"
)

// quiet is where what the HTTP library says goes: it would write down what clients send.
var quiet = log.New(io.Discard, "", 0)

// A proxy serves one tunnel.
type proxy struct {
	t      *Target
	s      Session
	bearer *bearer
	wg     sync.WaitGroup // requests; a server does not wait for those that took their connection over
}

// Serve speaks HTTP with the client at the other end of c until either is gone or ctx ends, and closes c.
func (t *Target) Serve(ctx context.Context, c net.Conn, id Identity, s Session) error {
	p := &proxy{t: t, s: s, bearer: &bearer{t: t, id: id}}
	buffered := &peeked{Conn: c, r: bufio.NewReader(c), closed: make(chan struct{})}
	defer buffered.Close()
	stop := context.AfterFunc(ctx, func() { buffered.Close() })
	defer stop()
	first, err := buffered.r.Peek(1)
	if err != nil {
		return nil // nothing was asked
	}
	server := &http.Server{
		Handler: p, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 10 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    quiet,
	}
	l := &one{c: buffered}
	if first[0] == 0x16 { // a TLS record of a handshake (RFC 8446 section 5.1)
		server.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
			GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return t.c.Certificate(h.Context()) },
		}
		_ = server.ServeTLS(l, "", "")
	} else {
		_ = server.Serve(l)
	}
	<-buffered.closed
	server.Close()
	p.wg.Wait()
	return context.Cause(ctx)
}

// peeked is a connection of which the first byte was looked at.
type peeked struct {
	net.Conn
	r      *bufio.Reader
	once   sync.Once
	closed chan struct{}
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

func (p *peeked) Close() (err error) {
	p.once.Do(func() { err = p.Conn.Close(); close(p.closed) })
	return err
}

// one is a listener with one connection.
type one struct {
	mu sync.Mutex
	c  *peeked
}

// Accept returns the connection, and then an end: the server goes on serving it.
func (l *one) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c == nil {
		return nil, io.EOF
	}
	c := l.c
	l.c = nil
	return c, nil
}

func (l *one) Close() error   { return nil }
func (l *one) Addr() net.Addr { return &net.UnixAddr{Name: "tunnel", Net: "unix"} }

// ServeHTTP is the way of a request: read, decided on, sent, its answer masked, recorded and shown.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.wg.Add(1)
	defer p.wg.Done()
	began := time.Now()
	req, body, ok := p.understand(w, r)
	if !ok {
		return
	}
	err := p.t.refusals.before(p.bearer.id, r)
	if err == nil {
		err = p.s.Admit(r.Context(), req, func(ctx context.Context) string { return p.shown(ctx, r, req, body) })
	}
	if err != nil {
		p.t.refusals.remember(p.bearer.id, r, err)
		refuse(w, codeOf(err), req, public(err), causes(err)...)
		p.done(req, Done{Status: codeOf(err), Took: time.Since(began)})
		return
	}
	d := Done{Sent: int64(len(body))}
	whole := true
	if wantsUpgrade(r) {
		p.upgrade(w, r, req, &d)
	} else {
		whole = p.forward(w, r, req, body, &d)
	}
	d.Took = time.Since(began)
	p.done(req, d)
	if !whole {
		panic(http.ErrAbortHandler) // the client must not take what it has for the whole
	}
}

// done writes down how a request ended. There is nobody left to tell when that fails; the session ends by its own.
func (p *proxy) done(req *kube.Request, d Done) { _ = p.s.Done(req, d) }

// understand reads the request and its body. What it cannot read it refuses.
func (p *proxy) understand(w http.ResponseWriter, r *http.Request) (*kube.Request, []byte, bool) {
	req, err := kube.Parse(r.Method, r.URL)
	if err != nil {
		refuse(w, http.StatusBadRequest, nil, "this gate does not pass it on: "+err.Error())
		return nil, nil, false
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Impersonate-") {
			refuse(w, http.StatusForbidden, req, "nobody is somebody else through this gate (--as)")
			return nil, nil, false
		}
	}
	if wantsUpgrade(r) != interactive(req) {
		refuse(w, http.StatusBadRequest, req, "exec, attach and port-forward upgrade their connection, and nothing else does")
		return nil, nil, false
	}
	if r.Header.Get("Content-Encoding") != "" {
		refuse(w, http.StatusUnsupportedMediaType, req, "send the body as it is, without Content-Encoding")
		return nil, nil, false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, kube.MaxBody+1))
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, req, "the body did not come whole")
		return nil, nil, false
	case len(body) > kube.MaxBody:
		refuse(w, http.StatusRequestEntityTooLarge, req, fmt.Sprintf("the body is larger than %d bytes", kube.MaxBody))
		return nil, nil, false
	}
	req.Body(r.Header.Get("Content-Type"), body)
	return req, body, true
}

func interactive(req *kube.Request) bool {
	switch req.Action() {
	case "kube:exec", "kube:attach", "kube:portforward":
		return true
	}
	return false
}

// wantsUpgrade says whether the client asks for another protocol (RFC 9110 section 7.8).
func wantsUpgrade(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" || strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade")
}

// passed are the request headers that reach the server. All others end here.
var passed = []string{"Accept", "Content-Type", "User-Agent", "If-Match", "If-None-Match", "If-Modified-Since", "Kubectl-Command", "Kubectl-Session"}

// outgoing makes the request that the server gets.
func (p *proxy) outgoing(ctx context.Context, r *http.Request, req *kube.Request, body []byte) (*http.Request, error) {
	u := *p.t.base
	u.Path, u.RawPath, u.RawQuery = p.t.base.Path+r.URL.Path, "", r.URL.RawQuery
	if r.URL.RawPath != "" {
		u.RawPath = p.t.base.EscapedPath() + r.URL.RawPath
	}
	out, err := http.NewRequestWithContext(ctx, r.Method, u.String(), reader(body))
	if err != nil {
		return nil, err
	}
	for _, name := range passed {
		if v := r.Header[name]; len(v) > 0 {
			out.Header[name] = v
		}
	}
	if !req.Discovery() {
		out.Header.Set("Accept", readable(r.Header.Values("Accept")))
	}
	return out, p.bearer.authorize(ctx, out)
}

func reader(body []byte) io.Reader {
	if len(body) == 0 {
		return nil
	}
	return strings.NewReader(string(body))
}

// readable leaves of what a client accepts that which can be masked.
func readable(accept []string) string {
	var keep []string
	for _, part := range strings.Split(strings.Join(accept, ","), ",") {
		kind, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		switch strings.TrimSpace(kind) {
		case "application/json", "text/plain", "text/*", "*/*":
			keep = append(keep, strings.TrimSpace(part))
		}
	}
	if len(keep) == 0 {
		return "application/json"
	}
	return strings.Join(keep, ", ")
}

// target is how a request is named where it is shown.
func target(u *url.URL) string {
	if u.RawQuery == "" {
		return u.EscapedPath()
	}
	return u.EscapedPath() + "?" + u.RawQuery
}
