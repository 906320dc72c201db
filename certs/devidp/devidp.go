// Package devidp is an OpenID Connect provider for development and tests.
package devidp

import (
	"context"
	"errors"
	"net/http"
)

// A User somebody may continue as.
type User struct {
	Name, Email string
	Groups      []string
	Kind        string // certs.Human or certs.Agent
	OnBehalfOf  string // Name of another user
}

// Options of a provider.
type Options struct {
	Issuer              string // e.g. http://127.0.0.1:8022/oidc
	Dir                 string // keeps the signing key
	Users               []User
	ConsoleRedirects    []string
	InsecureAllowRemote bool
}

// A Provider is an http.Handler for every path under the issuer's.
type Provider struct{}

func New(o Options) (*Provider, error)                               { return nil, errors.New("unfinished") }
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {}

// Token mints an ID token for a user.
func (p *Provider) Token(ctx context.Context, user, audience string) (string, error) {
	return "", errors.New("unfinished")
}

// Client IDs.
const (
	CLI     = "sallyport-cli"
	Console = "sallyport-console"
)
