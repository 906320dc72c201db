package console

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

const (
	signinTime    = 10 * time.Minute // from "sign in" to coming back from the provider
	exchangeTime  = 20 * time.Second // for the provider to answer
	maxDiscovery  = 1 << 20          // bytes of an answer of the provider
	maxReturnPath = 2048
	maxCode       = 4096
	callbackPath  = "/signin/callback"
)

// signin is the OpenID Connect authorization code flow with PKCE (RFC 7636), state and nonce. What
// must survive the trip to the provider travels in a sealed cookie of the browser that began, so that
// nobody can fill a table here by beginning and never returning.
type signin struct {
	o        SignIn
	redirect string
	seal     cipher.AEAD // of this process: a trip begun before a restart starts again
	now      func() time.Time

	group    singleflight.Group
	mu       sync.Mutex
	endpoint *oauth2.Endpoint // from discovery, once it succeeded
}

// A trip is what a browser takes along to the provider.
type trip struct {
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Return   string    `json:"r"`
	Expires  time.Time `json:"e"`
}

func newSignin(c *Console) (*signin, error) {
	var key [32]byte
	rand.Read(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &signin{o: c.o.SignIn, redirect: c.origin() + callbackPath, seal: seal, now: c.now}, nil
}

// discover finds the provider's endpoints and keeps them. Whoever comes while it is under way waits for
// the same answer.
func (s *signin) discover(ctx context.Context) (*oauth2.Endpoint, error) {
	s.mu.Lock()
	known := s.endpoint
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	v, err, _ := s.group.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTime)
		defer cancel()
		p, err := oidc.NewProvider(oidc.ClientContext(ctx, s.client()), s.o.Issuer)
		if err != nil {
			return nil, err
		}
		e := p.Endpoint()
		s.mu.Lock()
		s.endpoint = &e
		s.mu.Unlock()
		return &e, nil
	})
	if err != nil {
		return nil, fmt.Errorf("discover %s: %w", s.o.Issuer, err)
	}
	return v.(*oauth2.Endpoint), nil
}

// client bounds what the provider may send.
func (s *signin) client() *http.Client {
	c := *s.o.Client
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	c.Transport = bounded{next}
	return &c
}

type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxDiscovery), res.Body}
	}
	return res, err
}

func (s *signin) config(e *oauth2.Endpoint) *oauth2.Config {
	return &oauth2.Config{
		ClientID: s.o.ClientID, ClientSecret: s.o.ClientSecret,
		Endpoint: *e, RedirectURL: s.redirect, Scopes: s.o.Scopes,
	}
}

// begin returns where to send the browser, and what it takes along.
func (s *signin) begin(ctx context.Context, back string) (to, cookie string, err error) {
	e, err := s.discover(ctx)
	if err != nil {
		return "", "", err
	}
	t := trip{
		State: randomID(), Nonce: randomID(), Verifier: oauth2.GenerateVerifier(),
		Return: localPath(back), Expires: s.now().Add(signinTime),
	}
	b, err := json.Marshal(t)
	if err != nil {
		return "", "", err
	}
	to = s.config(e).AuthCodeURL(t.State, oauth2.S256ChallengeOption(t.Verifier), oidc.Nonce(t.Nonce))
	return to, base64.RawURLEncoding.EncodeToString(s.seal.Seal(nil, nil, b, []byte(s.redirect))), nil
}

// errTrip is what a person can mend by signing in again.
var errTrip = errors.New("this sign-in was begun in another browser, too long ago, or before the gate was restarted")

// resume opens what begin sealed, for the browser that holds it and the state that came back.
func (s *signin) resume(cookie, state string) (trip, error) {
	var t trip
	raw, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		return t, errTrip
	}
	b, err := s.seal.Open(nil, nil, raw, []byte(s.redirect))
	if err != nil || json.Unmarshal(b, &t) != nil || !s.now().Before(t.Expires) {
		return t, errTrip
	}
	if t.State == "" || subtle.ConstantTimeCompare([]byte(t.State), []byte(state)) != 1 {
		return t, errTrip
	}
	return t, nil
}

// finish redeems a code and returns whom the provider vouches for.
func (s *signin) finish(ctx context.Context, t trip, code string) (certs.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	e, err := s.discover(ctx)
	if err != nil {
		return certs.Identity{}, err
	}
	token, err := s.config(e).Exchange(oidc.ClientContext(ctx, s.client()), code, oauth2.VerifierOption(t.Verifier))
	if err != nil {
		return certs.Identity{}, fmt.Errorf("redeem the code: %w", exchangeError(err))
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return certs.Identity{}, errors.New("the provider sent no ID token; is the scope openid allowed for this client?")
	}
	id, verified, err := s.o.Verifier.Verify(ctx, raw)
	if err != nil {
		return certs.Identity{}, fmt.Errorf("verify the ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(t.Nonce)) != 1 {
		return certs.Identity{}, errors.New("the ID token was made for another sign-in (nonce)")
	}
	if id.Issuer != s.o.Issuer {
		return certs.Identity{}, fmt.Errorf("the ID token is of issuer %q", id.Issuer)
	}
	return id, nil
}

// exchangeError keeps the provider's code and drops its body, which may repeat the secret.
func exchangeError(err error) error {
	var e *oauth2.RetrieveError
	if !errors.As(err, &e) {
		return err
	}
	if e.ErrorCode != "" {
		return fmt.Errorf("the provider answered %q", e.ErrorCode)
	}
	return fmt.Errorf("the provider answered status %d", e.Response.StatusCode)
}

// localPath returns where to go after signing in: a path of this console, or its first page.
func localPath(p string) string {
	if len(p) > maxReturnPath || len(p) == 0 || p[0] != '/' || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t\x00") {
		return "/"
	}
	u, err := url.ParseRequestURI(p)
	if err != nil || u.Host != "" || u.Scheme != "" || strings.HasPrefix(u.Path, "//") || strings.Contains(u.Path, "\\") {
		return "/"
	}
	if u.Path == "/signout" || strings.HasPrefix(u.Path, "/signin") || strings.HasPrefix(u.Path, "/static") {
		return "/"
	}
	return p
}

// signinView is what the sign-in page shows.
type signinView struct {
	Return string
	Issuer string // host of the provider
	Left   bool   // has just signed out
	Wrong  string // what went wrong with the last try
}

func (c *Console) signinPage(w http.ResponseWriter, r *http.Request) {
	if c.signedIn(r, true) != nil {
		http.Redirect(w, r, localPath(r.URL.Query().Get("return")), http.StatusSeeOther)
		return
	}
	c.renderSignin(w, r, http.StatusOK, signinView{
		Return: localPath(r.URL.Query().Get("return")), Left: r.URL.Query().Get("left") != "",
	})
}

func (c *Console) renderSignin(w http.ResponseWriter, r *http.Request, status int, v signinView) {
	v.Issuer = c.o.SignIn.Issuer
	if u, err := url.Parse(c.o.SignIn.Issuer); err == nil && u.Host != "" {
		v.Issuer = u.Host
	}
	c.render(w, r, nil, status, "signin", "Sign in", v)
}

func (c *Console) signinStart(w http.ResponseWriter, r *http.Request) {
	back := localPath(r.URL.Query().Get("return"))
	to, cookie, err := c.signin.begin(r.Context(), back)
	if err != nil {
		c.log().ErrorContext(r.Context(), "console: sign-in cannot begin", "err", err)
		c.renderSignin(w, r, http.StatusBadGateway, signinView{Return: back, Wrong: "The identity provider does not answer. Try again; if it lasts, its operator or the gate's can tell why."})
		return
	}
	c.setCookie(w, cookieSignin, cookie, signinTime)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (c *Console) signinCallback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	t, err := c.signin.resume(c.cookie(r, cookieSignin), q.Get("state"))
	c.setCookie(w, cookieSignin, "", 0)
	if err != nil {
		c.log().WarnContext(r.Context(), "console: sign-in refused", "err", err, "addr", clientAddr(r))
		c.renderSignin(w, r, http.StatusBadRequest, signinView{Return: "/", Wrong: "That sign-in could not be finished: " + err.Error() + ". Please begin again."})
		return
	}
	if code := q.Get("error"); code != "" || len(q.Get("code")) == 0 || len(q.Get("code")) > maxCode {
		c.log().WarnContext(r.Context(), "console: the provider refused a sign-in", "code", brief(64, code), "addr", clientAddr(r))
		c.renderSignin(w, r, http.StatusForbidden, signinView{Return: t.Return, Wrong: "The identity provider refused: " + refusedBecause(code) + "."})
		return
	}
	id, err := c.signin.finish(r.Context(), t, q.Get("code"))
	if err != nil {
		c.log().WarnContext(r.Context(), "console: sign-in refused", "err", err, "addr", clientAddr(r))
		c.renderSignin(w, r, http.StatusForbidden, signinView{Return: t.Return, Wrong: "Your sign-in was not accepted. The gate's log says why; the usual cause is a provider or an account this gate does not know."})
		return
	}
	c.enter(w, r, id, t.Return)
}

func refusedBecause(code string) string {
	switch code {
	case "":
		return "it sent no code"
	case "access_denied":
		return "access was denied"
	}
	return brief(64, code)
}

// enter signs a browser in under a new id, whatever it had before, and goes on to where it wanted to.
func (c *Console) enter(w http.ResponseWriter, r *http.Request, id certs.Identity, back string) {
	v := Viewer{Principal: principal(&id), Addr: clientAddr(r)}
	if err := c.audit(r.Context(), v, "console.signin", ledger.Session{}, nil); err != nil {
		c.log().ErrorContext(r.Context(), "console: sign-in not audited", "err", err)
		c.renderSignin(w, r, http.StatusServiceUnavailable, signinView{Return: back, Wrong: "The gate cannot write its audit log now, so nobody can sign in."})
		return
	}
	if old := c.cookie(r, cookieSession); old != "" {
		c.sessions.drop(old)
	}
	c.setCookie(w, cookieSession, c.sessions.add(v), c.o.Lifetime)
	http.Redirect(w, r, back, http.StatusSeeOther)
}

// signout takes a form, so that no link or image elsewhere signs anybody out.
func (c *Console) signout(w http.ResponseWriter, r *http.Request, v *visit) error {
	c.sessions.drop(c.cookie(r, cookieSession))
	c.setCookie(w, cookieSession, "", 0)
	w.Header().Set("Clear-Site-Data", `"cache"`)
	http.Redirect(w, r, "/signin?left=1", http.StatusSeeOther)
	return nil
}

// signedIn returns who sent r, nil when nobody is signed in.
func (c *Console) signedIn(r *http.Request, touch bool) *signedIn {
	id := c.cookie(r, cookieSession)
	if id == "" {
		return nil
	}
	return c.sessions.get(id, touch)
}

// principal is an identity in the words of policies.
func principal(id *certs.Identity) policies.Principal {
	p := policies.Principal{Key: id.Key(), Name: id.Name, Email: id.Email, Kind: id.Kind, Groups: id.Groups}
	if id.OnBehalfOf != nil {
		by := principal(id.OnBehalfOf)
		p.OnBehalfOf = &by
	}
	return p
}
