package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// tokenLife is how long a session's token lives: the shortest that API servers grant
// (k8s.io/kubernetes/pkg/registry/core/serviceaccount, MinTokenAge).
const tokenLife = 10 * time.Minute

// A bearer holds what one session proves itself with.
type bearer struct {
	t  *Target
	id Identity

	mu    sync.Mutex
	token string // of the service account
	until time.Time
}

// authorize makes r the session's: as its user, or with its own token.
func (b *bearer) authorize(ctx context.Context, r *http.Request) error {
	for name := range r.Header {
		if strings.HasPrefix(name, "Impersonate-") || strings.HasPrefix(name, "X-Remote-") {
			r.Header.Del(name)
		}
	}
	r.Header.Del("Authorization")
	r.Header.Set("User-Agent", agent(r.Header.Get("User-Agent"), b.id.Session))
	if b.t.c.ServiceAccount != "" {
		token, err := b.own(ctx)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
	if err := b.t.c.prove(r); err != nil {
		return err
	}
	r.Header.Set("Impersonate-User", b.id.User)
	for _, g := range b.id.Groups {
		r.Header.Add("Impersonate-Group", b.t.c.GroupPrefix+g)
	}
	for key, v := range b.id.Extra {
		r.Header.Set("Impersonate-Extra-Sallyport-"+key, printable(v))
	}
	return nil
}

// agent adds the session to what a client calls itself, for the server's audit log.
func agent(client, session string) string {
	return strings.TrimSpace(printable(client) + " sallyport-session/" + session)
}

// printable is what of s may stand in a header and in a log.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
	return s[:min(len(s), 256)]
}

// prove makes r the gate's own.
func (c Config) prove(r *http.Request) error {
	if c.Credential.Token == nil {
		return nil
	}
	token, err := c.Credential.Token()
	if err != nil {
		return &Error{Target: c.Name, Public: "the gate cannot prove itself to the API server", Err: err}
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// own is the session's token, made anew when most of its life is over.
func (b *bearer) own(ctx context.Context) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.token != "" && time.Until(b.until) > tokenLife/5 {
		return b.token, nil
	}
	token, until, err := b.t.mint(ctx, b.id.Session)
	if err != nil {
		return "", &Error{Target: b.t.c.Name, Public: "the API server gives no token for this session", Err: err}
	}
	b.token, b.until = token, until
	return token, nil
}

// mint asks for a token of the service account (TokenRequest, authentication.k8s.io/v1).
func (t *Target) mint(ctx context.Context, session string) (string, time.Time, error) {
	namespace, name, _ := strings.Cut(t.c.ServiceAccount, "/")
	body := fmt.Sprintf(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":%d}}`, int(tokenLife.Seconds()))
	u := *t.base
	u.Path += "/api/v1/namespaces/" + namespace + "/serviceaccounts/" + name + "/token"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader([]byte(body)))
	if err != nil {
		return "", time.Time{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", agent("", session))
	if err := t.c.prove(r); err != nil {
		return "", time.Time{}, err
	}
	resp, err := t.gate.RoundTrip(r)
	if err != nil {
		return "", time.Time{}, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status struct {
			Token               string
			ExpirationTimestamp time.Time
		}
	}
	if resp.StatusCode != http.StatusCreated {
		return "", time.Time{}, fmt.Errorf("the server answers %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
		return "", time.Time{}, errors.New("the server's answer cannot be read") // never with its text: a token may be in it
	}
	if answer.Status.Token == "" {
		return "", time.Time{}, errors.New("the server's answer holds no token")
	}
	return answer.Status.Token, answer.Status.ExpirationTimestamp, nil
}
