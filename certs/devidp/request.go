package devidp

import (
	"net/url"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// request is a sign-in that was begun. It is an op.AuthRequest; op gets copies, storage keeps the
// original under its lock.
type request struct {
	id, client, redirect, state, nonce, challenge string

	created      time.Time
	scopes       []string
	responseType oidc.ResponseType
	responseMode oidc.ResponseMode

	browser string // cookie of the browser that opened the sign-in page; only it may go on
	user    string // "" until somebody continued
	at      time.Time
}

func (r *request) copy() *request { c := *r; return &c }

func (r *request) GetID() string                      { return r.id }
func (r *request) GetACR() string                     { return "" }
func (r *request) GetAMR() []string                   { return nil }
func (r *request) GetAudience() []string              { return []string{r.client} }
func (r *request) GetAuthTime() time.Time             { return r.at }
func (r *request) GetClientID() string                { return r.client }
func (r *request) GetNonce() string                   { return r.nonce }
func (r *request) GetRedirectURI() string             { return r.redirect }
func (r *request) GetResponseType() oidc.ResponseType { return r.responseType }
func (r *request) GetResponseMode() oidc.ResponseMode { return r.responseMode }
func (r *request) GetScopes() []string                { return r.scopes }
func (r *request) GetState() string                   { return r.state }
func (r *request) GetSubject() string                 { return r.user }
func (r *request) Done() bool                         { return r.user != "" }
func (r *request) GetCodeChallenge() *oidc.CodeChallenge {
	return &oidc.CodeChallenge{Challenge: r.challenge, Method: oidc.CodeChallengeMethodS256}
}

// origin is where the browser goes in the end.
func (r *request) origin() string {
	u, err := url.Parse(r.redirect)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// formAction is the origin as the pages' policy must name it, because browsers hold redirects after a
// form to form-action as well. The policy's grammar has no IPv6 addresses (CSP level 3 section 2.3.1),
// so those get their scheme.
func (r *request) formAction() string {
	o := r.origin()
	if scheme, host, _ := strings.Cut(o, "://"); strings.HasPrefix(host, "[") {
		return scheme + ":"
	}
	return o
}

// direct is an op.IDTokenRequest for [Provider.Token].
type direct struct {
	user, audience string
	at             time.Time
}

func (d *direct) GetAMR() []string       { return nil }
func (d *direct) GetAudience() []string  { return []string{d.audience} }
func (d *direct) GetAuthTime() time.Time { return d.at }
func (d *direct) GetClientID() string    { return d.audience }
func (d *direct) GetScopes() []string    { return []string{oidc.ScopeOpenID} }
func (d *direct) GetSubject() string     { return d.user }

// client is an op.Client. Access tokens are opaque: as JWTs of this issuer they would pass for ID
// tokens where somebody does not look closely.
type client struct {
	id, issuer string
	kind       op.ApplicationType
	redirects  []string
	grants     []oidc.GrantType
	lifetime   time.Duration
}

func (c *client) GetID() string                       { return c.id }
func (c *client) RedirectURIs() []string              { return c.redirects }
func (c *client) PostLogoutRedirectURIs() []string    { return nil }
func (c *client) ApplicationType() op.ApplicationType { return c.kind }
func (c *client) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodNone }
func (c *client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (c *client) GrantTypes() []oidc.GrantType         { return c.grants }
func (c *client) LoginURL(id string) string            { return c.issuer + "/login?id=" + url.QueryEscape(id) }
func (c *client) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeBearer }
func (c *client) IDTokenLifetime() time.Duration       { return c.lifetime }
func (c *client) DevMode() bool                        { return false }
func (c *client) IsScopeAllowed(s string) bool         { return s == "groups" }
func (c *client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (c *client) ClockSkew() time.Duration             { return 0 }

func (c *client) RestrictAdditionalIdTokenScopes() func([]string) []string     { return sameScopes }
func (c *client) RestrictAdditionalAccessTokenScopes() func([]string) []string { return sameScopes }

func sameScopes(s []string) []string { return s }
