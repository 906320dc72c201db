package certs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/time/rate"
)

// Bounds on what an issuer may do to the gate.
const (
	maxResponse  = 1 << 20          // bytes of discovery document or key set
	fetchTimeout = 10 * time.Second // one request to the issuer, body included
	keysRefresh  = 10 * time.Minute // how long fetched keys count before they are fetched anew
	keysGrace    = time.Hour        // how long they count when the issuer cannot be reached
	retryFirst   = time.Second      // wait after a first failed discovery, doubled until
	retryMost    = 30 * time.Second
	keysEvery    = 10 * time.Second // unknown key ids may cause one fetch in this time,
	keysBurst    = 6                // after a few at once
)

// An issuer is one provider: its configuration and, once reached, its keys.
type issuer struct {
	config IssuerConfig
	client *http.Client
	now    func() time.Time
	fetch  *rate.Limiter // fetches of keys; forged key ids must not turn the gate against the issuer

	turn chan struct{} // holds one token; its holder discovers or refreshes

	mu     sync.Mutex
	keys   *keySet       // nil before discovery
	old    *keySet       // what keys was before; stands in while the new keys cannot be fetched
	wait   time.Duration // backoff after failures
	retry  time.Time     // no attempt before
	failed error         // what the last attempt met
}

// A keySet is the issuer's keys as of one discovery.
type keySet struct {
	remote  *oidc.RemoteKeySet
	since   time.Time
	fetched atomic.Bool // the keys came at least once
}

func newIssuer(c IssuerConfig, client *http.Client, now func() time.Time) *issuer {
	is := &issuer{config: c, now: now, turn: make(chan struct{}, 1)}
	is.fetch = rate.NewLimiter(rate.Every(keysEvery), keysBurst)
	if client == nil {
		client = &http.Client{}
	}
	base := client.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	is.client = &http.Client{Transport: bounded{base}, Timeout: fetchTimeout}
	return is
}

// payload gives the body of a token whose signature one of the issuer's keys made.
func (is *issuer) payload(ctx context.Context, raw string) ([]byte, error) {
	set, err := is.keySet(ctx)
	if err != nil {
		return nil, err
	}
	body, err := is.check(ctx, set, raw)
	if errors.Is(err, ErrUnreachable) && !set.fetched.Load() {
		if old := is.standIn(set); old != nil {
			return is.check(ctx, old, raw)
		}
	}
	return body, err
}

func (is *issuer) check(ctx context.Context, set *keySet, raw string) ([]byte, error) {
	watch := &watched{set: set.remote}
	v := oidc.NewVerifier(is.config.URL, watch, &oidc.Config{
		SkipClientIDCheck:    true, // several audiences: IssuerConfig.checkAudience
		SkipExpiryCheck:      true, // with the configured skew: IssuerConfig.checkTimes
		SupportedSigningAlgs: is.config.Algorithms,
	})
	if _, err := v.Verify(ctx, raw); err != nil {
		if watch.payload != nil { // the signature holds, and what it covers is not an ID token
			return nil, refuse(ErrClaims, "", "the token's claims are of the wrong type")
		}
		return nil, is.explain(set, watch.err, err)
	}
	return watch.payload, nil
}

// explain tells what went wrong from what the keys said (nil if they were not asked) and what go-oidc
// made of it.
func (is *issuer) explain(set *keySet, keys, err error) error {
	var fe *fetchError
	switch {
	case keys == nil:
		return &TokenError{Reason: ErrMalformed, Message: "the token is not a signed JWT", Err: err}
	case errors.As(keys, &fe), errors.Is(keys, errLimited) && !set.fetched.Load(),
		errors.Is(keys, context.Canceled), errors.Is(keys, context.DeadlineExceeded):
		return is.unreachable(keys)
	}
	return &TokenError{Reason: ErrSignature, Message: "the token's signature was made by no key of its issuer",
		Hint: "sign in again; keys that the issuer changed a moment ago count within seconds", Err: keys}
}

func (is *issuer) unreachable(err error) error {
	return &TokenError{Reason: ErrUnreachable, Message: "the token's issuer cannot be reached to check it",
		Hint: "try again in a moment", Err: err}
}

// keySet gives the keys in force, discovering or refreshing them where needed. Keys grow old on
// purpose: one that the issuer withdrew must stop counting even if no unknown key ever comes along.
func (is *issuer) keySet(ctx context.Context) (*keySet, error) {
	if set := is.current(keysRefresh); set != nil {
		return set, nil
	}
	select {
	case is.turn <- struct{}{}:
		defer func() { <-is.turn }()
	case <-ctx.Done():
		return nil, is.unreachable(ctx.Err())
	}
	if set := is.current(keysRefresh); set != nil { // somebody else's turn did it
		return set, nil
	}
	set, err := is.renew(ctx)
	if err == nil {
		return set, nil
	}
	if set := is.current(keysGrace); set != nil {
		return set, nil
	}
	return nil, is.unreachable(err)
}

func (is *issuer) current(age time.Duration) *keySet {
	is.mu.Lock()
	defer is.mu.Unlock()
	if is.keys == nil || is.now().Sub(is.keys.since) > age {
		return nil
	}
	return is.keys
}

// standIn gives the keys before set, while they still count.
func (is *issuer) standIn(set *keySet) *keySet {
	is.mu.Lock()
	defer is.mu.Unlock()
	if is.keys != set || is.old == nil || is.now().Sub(is.old.since) > keysGrace {
		return nil
	}
	return is.old
}

// renew makes an attempt to reach the issuer, unless the last one failed too short a while ago.
func (is *issuer) renew(ctx context.Context) (*keySet, error) {
	is.mu.Lock()
	last, retry := is.failed, is.retry
	is.mu.Unlock()
	if is.now().Before(retry) {
		return nil, last
	}
	set, err := is.discover(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, err // the one who asked went away: that says nothing of the issuer
	}
	is.mu.Lock()
	defer is.mu.Unlock()
	if err != nil {
		is.wait = min(max(2*is.wait, retryFirst), retryMost)
		is.failed, is.retry = err, is.now().Add(is.wait)
		return nil, err
	}
	if is.keys != nil && is.keys.fetched.Load() {
		is.old = is.keys
	}
	is.keys, is.failed, is.wait, is.retry = set, nil, 0, time.Time{}
	return set, nil
}

// discover reads the issuer's configuration (OpenID Connect Discovery section 4) and makes an empty
// set that fetches keys when it is first asked.
func (is *issuer) discover(ctx context.Context) (*keySet, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, is.client), is.config.URL)
	if err != nil {
		return nil, fmt.Errorf("discover %s: %w", is.config.URL, err)
	}
	var doc struct {
		Keys string `json:"jwks_uri"`
	}
	if err := p.Claims(&doc); err != nil {
		return nil, fmt.Errorf("discover %s: %w", is.config.URL, err)
	}
	if err := sameSecurity(is.config.URL, doc.Keys); err != nil {
		return nil, fmt.Errorf("discover %s: %w", is.config.URL, err)
	}
	set := &keySet{since: is.now()}
	c := &http.Client{Transport: limited{is.client.Transport, is.fetch, set}, Timeout: fetchTimeout}
	set.remote = oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), c), doc.Keys)
	return set, nil
}

// sameSecurity refuses an https issuer whose keys would come over http.
func sameSecurity(issuer, keys string) error {
	i, err := url.Parse(issuer)
	if err != nil {
		return err
	}
	k, err := url.Parse(keys)
	if err != nil || k.Host == "" {
		return errors.New("jwks_uri is not a URL")
	}
	if k.Scheme == "https" || k.Scheme == "http" && i.Scheme == "http" && isLoopback(k.Hostname()) {
		return nil
	}
	return errors.New("jwks_uri is not https")
}

// watched tells apart a signature that does not hold from keys that could not be fetched: go-oidc
// makes one text of both.
type watched struct {
	set     *oidc.RemoteKeySet
	payload []byte
	err     error
}

func (w *watched) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	w.payload, w.err = w.set.VerifySignature(ctx, jwt)
	return w.payload, w.err
}

// A fetchError is a request to an issuer that brought nothing usable. It holds no body: what stands
// there is the issuer's, and goes into no log.
type fetchError struct {
	url string
	err error
}

func (e *fetchError) Error() string { return fmt.Sprintf("fetch %s: %v", e.url, e.err) }
func (e *fetchError) Unwrap() error { return e.err }

// bounded reads whole responses of at most maxResponse bytes, and takes nothing but 200: redirects
// are not followed.
type bounded struct{ base http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	u := r.URL.Redacted()
	resp, err := b.base.RoundTrip(r)
	if err != nil {
		return nil, &fetchError{u, err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &fetchError{u, fmt.Errorf("status %d", resp.StatusCode)}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return nil, &fetchError{u, err}
	}
	if len(body) > maxResponse {
		return nil, &fetchError{u, fmt.Errorf("response is larger than %d bytes", maxResponse)}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// errLimited means keys were fetched moments ago, so an unknown key id is most likely forged.
var errLimited = errors.New("keys were fetched a moment ago")

// limited fetches keys, not too often, and notes that they came.
type limited struct {
	base  http.RoundTripper
	limit *rate.Limiter
	set   *keySet
}

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	if !l.limit.Allow() {
		return nil, errLimited
	}
	resp, err := l.base.RoundTrip(r)
	if err == nil {
		l.set.fetched.Store(true)
	}
	return resp, err
}
