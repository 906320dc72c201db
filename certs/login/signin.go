package login

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/sallyport-ssh/sallyport/certs"
	"golang.org/x/oauth2"
)

//go:embed done.html
var donePage string

// doneStyle is the SHA-256 of the style in done.html, for the page's policy; a test holds them together.
const doneStyle = "QTWWaSZNPkxxWoYOvlE2ZDZLg5M1PUFu/0siHpV12Rg="

// A signIn is one attempt at an issuer that was found.
type signIn struct {
	http     *http.Client
	show     func(address, code string) // sends the person to the issuer; code is "" where there is none
	issuer   string
	provider *oidc.Provider
	config   oauth2.Config
}

func discover(ctx context.Context, client *http.Client, info certs.LoginInfo) (*signIn, error) {
	u, err := url.Parse(info.Issuer)
	if err != nil || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return nil, fmt.Errorf("the issuer %q is not an https address", info.Issuer)
	}
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, client), info.Issuer)
	if err != nil {
		return nil, fmt.Errorf("the issuer %s cannot be reached: %s", info.Issuer, printable(err.Error()))
	}
	scopes := info.Scopes
	if len(scopes) == 0 {
		scopes = []string{"profile", "email"}
	}
	if !slices.Contains(scopes, oidc.ScopeOpenID) {
		scopes = append([]string{oidc.ScopeOpenID}, scopes...)
	}
	s := &signIn{http: client, issuer: info.Issuer, provider: p}
	s.config = oauth2.Config{ClientID: info.ClientID, Endpoint: p.Endpoint(), Scopes: scopes}
	for _, e := range []string{s.config.Endpoint.AuthURL, s.config.Endpoint.TokenURL} {
		if err := webAddress(e); err != nil {
			return nil, err
		}
	}
	s.config.Endpoint.AuthStyle = oauth2.AuthStyleInParams // a public client has no secret to try headers with
	return s, nil
}

// browser runs the authorization code flow with PKCE and a loopback redirect (RFC 8252 section 7.3).
func (s *signIn) browser(ctx context.Context) (string, error) {
	l, err := listenLoopback()
	if err != nil {
		return "", err
	}
	s.config.RedirectURL = "http://" + l.Addr().String() + "/callback"
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	back := &callback{state: state, issuer: s.issuer, got: make(chan answer, 1)}
	server := &http.Server{Handler: back, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		server.Shutdown(end) // lets the page that says "done" out
		server.Close()
		<-served
	}()

	s.show(s.config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), "")
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case a := <-back.got:
		if a.err != nil {
			return "", a.err
		}
		return s.exchange(ctx, a.code, verifier, nonce)
	}
}

func listenLoopback() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		return l, nil
	}
	if l, err6 := net.Listen("tcp", "[::1]:0"); err6 == nil {
		return l, nil
	}
	return nil, fmt.Errorf("no port to take the answer on (%w); use --device", err)
}

// exchange redeems the code, and checks that the token answers this very sign-in.
func (s *signIn) exchange(ctx context.Context, code, verifier, nonce string) (string, error) {
	t, err := s.config.Exchange(oidc.ClientContext(ctx, s.http), code, oauth2.VerifierOption(verifier))
	if err != nil {
		return "", oauthError(err)
	}
	raw, id, err := s.idToken(ctx, t)
	if err != nil {
		return "", err
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 {
		return "", errors.New("the issuer's token answers another sign-in (nonce)")
	}
	return raw, nil
}

func (s *signIn) idToken(ctx context.Context, t *oauth2.Token) (string, *oidc.IDToken, error) {
	raw, ok := t.Extra("id_token").(string)
	if !ok {
		return "", nil, errors.New("the issuer sent no ID token")
	}
	v := s.provider.VerifierContext(oidc.ClientContext(ctx, s.http), &oidc.Config{ClientID: s.config.ClientID})
	id, err := v.Verify(ctx, raw)
	if err != nil {
		return "", nil, fmt.Errorf("the issuer's ID token does not hold: %s", printable(err.Error()))
	}
	return raw, id, nil
}

// device runs the device authorization flow (RFC 8628).
func (s *signIn) device(ctx context.Context) (string, error) {
	if s.config.Endpoint.DeviceAuthURL == "" {
		return "", errors.New("the issuer has no device flow; leave out --device")
	}
	ctx = oidc.ClientContext(ctx, s.http)
	d, err := s.config.DeviceAuth(ctx)
	if err != nil {
		return "", oauthError(err)
	}
	if err := webAddress(d.VerificationURI); err != nil {
		return "", err
	}
	if d.Interval < 1 || d.Interval > 60 {
		d.Interval = 5 // RFC 8628 section 3.2; oauth2 makes a ticker of it, which panics below zero
	}
	to := d.VerificationURI
	if d.VerificationURIComplete != "" && webAddress(d.VerificationURIComplete) == nil {
		to = d.VerificationURIComplete
	}
	s.show(to, d.UserCode)
	t, err := s.config.DeviceAccessToken(ctx, d)
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return "", errors.New("the code expired before anybody signed in")
		}
		return "", oauthError(err)
	}
	raw, _, err := s.idToken(ctx, t)
	return raw, err
}

// webAddress holds an address that the issuer names to what may be opened in a browser and be sent
// secrets.
func webAddress(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return fmt.Errorf("the issuer names %q, which is not an https address", printable(s))
	}
	return nil
}

// DeviceToken signs a person in at the issuer by the device authorization flow (RFC 8628) and returns the ID token. Show is
// called once, with the address to open and the code that the page there must show. The token is not checked against
// anything but the issuer: what it says is for [certs.Verifier] to judge.
func DeviceToken(ctx context.Context, client *http.Client, info certs.LoginInfo, show func(address, code string)) (string, error) {
	s, err := discover(ctx, client, info)
	if err != nil {
		return "", err
	}
	s.show = show
	return s.device(ctx)
}

// oauthError says what an issuer answered without quoting a whole body, in which codes could stand.
func oauthError(err error) error {
	var re *oauth2.RetrieveError
	if !errors.As(err, &re) {
		return fmt.Errorf("the issuer does not answer: %s", printable(err.Error()))
	}
	switch re.ErrorCode {
	case "access_denied":
		return errors.New("the sign-in was refused")
	case "expired_token":
		return errors.New("the code expired before anybody signed in")
	case "":
		return fmt.Errorf("the issuer answered with status %d", re.Response.StatusCode)
	}
	return fmt.Errorf("the issuer says %s: %s", printable(re.ErrorCode), printable(re.ErrorDescription))
}

// callback takes the browser's answer, once. Any page and any local program can call it, so what
// lacks the state is answered and otherwise ignored.
type callback struct {
	state, issuer string
	got           chan answer // holds one
}

type answer struct {
	code string
	err  error
}

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+doneStyle+"'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	q := r.URL.Query()
	if r.Method != http.MethodGet || r.URL.Path != "/callback" || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(c.state)) != 1 {
		http.Error(w, "This is not the sign-in that was begun here.", http.StatusBadRequest)
		return
	}
	select {
	case c.got <- c.read(q):
	default: // answered before
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, donePage)
}

// read takes the code, and the issuer where it is named (RFC 9207).
func (c *callback) read(q url.Values) answer {
	if iss := q.Get("iss"); iss != "" && iss != c.issuer {
		return answer{err: errors.New("another issuer answered (RFC 9207)")}
	}
	if e := q.Get("error"); e != "" {
		return answer{err: fmt.Errorf("the issuer says %s: %s", printable(e), printable(q.Get("error_description")))}
	}
	if q.Get("code") == "" {
		return answer{err: errors.New("the issuer sent no code")}
	}
	return answer{code: q.Get("code")}
}
