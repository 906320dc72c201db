package certs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// MaxToken bounds a token in bytes. Tokens with a few hundred groups are about 10 KiB.
const MaxToken = 16 << 10

// Defaults and bounds of an [IssuerConfig].
const (
	DefaultMaxAge = time.Hour
	DefaultSkew   = 30 * time.Second
	maxMaxAge     = 7 * 24 * time.Hour
	maxSkew       = 5 * time.Minute
)

// DefaultAlgorithms are accepted where an issuer names none. HS* and none never are: a shared secret
// proves nothing about who signed.
var DefaultAlgorithms = []string{"RS256", "ES256", "EdDSA", "PS256"}

var knownAlgorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// An IssuerConfig says which tokens of one OpenID Connect provider count, and as what.
type IssuerConfig struct {
	// URL is the issuer exactly as the tokens' iss names it: https, or http on a loopback address.
	URL string `yaml:"url"`
	// Audiences are the values of aud that mean this gate; at least one.
	Audiences []string `yaml:"audiences"`
	// OtherAudiences may stand in aud beside one of Audiences. A token that names any other audience
	// is refused (OpenID Connect Core 3.1.3.7): whoever it is for could hand it in here.
	OtherAudiences []string `yaml:"other_audiences"`
	// Kind is what the issuer's identities are, human or agent. It may be empty only if Claims.Kind
	// is set; then a token without that claim is refused.
	Kind string `yaml:"kind"`
	// Claims says where in a token the identity is.
	Claims Claims `yaml:"claims"`
	// Algorithms allowed for signatures; empty: [DefaultAlgorithms].
	Algorithms []string `yaml:"algorithms"`
	// MaxAge is how long after iat a token is taken; 0: one hour, at most a week.
	MaxAge time.Duration `yaml:"max_age"`
	// Skew is how far the issuer's clock may be off; 0: 30 seconds, at most 5 minutes.
	Skew time.Duration `yaml:"skew"`
	// RequireEmail refuses tokens whose e-mail is missing or not verified.
	RequireEmail bool `yaml:"require_email"`
}

// Claims maps an issuer's claims to an identity. Each is the name of a claim or a path of names with
// dots between ("profile.mail"); a claim whose own name has dots is found first.
type Claims struct {
	// Name: for people to read. Empty: preferred_username, name, the verified e-mail, sub.
	Name string `yaml:"name"`
	// Email; empty: email. It counts only if email_verified beside it is the boolean true.
	Email string `yaml:"email"`
	// Groups: a list of strings, or one; empty: groups.
	Groups string `yaml:"groups"`
	// Kind holds "human" or "agent"; empty: the issuer's Kind.
	Kind string `yaml:"kind"`
	// OnBehalfOf: the principal an agent acts for, as a subject of the same issuer or an object with
	// claims like the token's own. Empty: on_behalf_of. The claim act (RFC 8693 section 4.1) is
	// understood as well, and needs no configuration.
	OnBehalfOf string `yaml:"on_behalf_of"`
}

// A Token is what else a verified token said.
type Token struct {
	Issuer, Subject  string
	ID               string // jti, or ""
	Nonce            string // for the caller to compare, where it sent one
	Audience         []string
	IssuedAt, Expiry time.Time
}

// A Verifier turns ID tokens of any number of issuers into identities. It talks to an issuer when
// the first of its tokens comes, so that one that is down stops nobody else. It is safe for
// concurrent use.
type Verifier struct {
	issuers map[string]*issuer
	now     func() time.Time
}

// NewVerifier checks the configuration and makes a verifier. client is used for discovery and keys,
// with bounds of its own on time, size and redirects; nil means a default one.
func NewVerifier(issuers []IssuerConfig, client *http.Client) (*Verifier, error) {
	v := &Verifier{issuers: make(map[string]*issuer, len(issuers)), now: time.Now}
	for _, c := range issuers {
		c, err := c.withDefaults()
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", c.URL, err)
		}
		if _, dup := v.issuers[c.URL]; dup {
			return nil, fmt.Errorf("issuer %q: configured twice; list both audiences in one", c.URL)
		}
		v.issuers[c.URL] = newIssuer(c, client, func() time.Time { return v.now() })
	}
	return v, nil
}

func (c IssuerConfig) withDefaults() (IssuerConfig, error) {
	if c.Algorithms == nil {
		c.Algorithms = DefaultAlgorithms
	}
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.Skew == 0 {
		c.Skew = DefaultSkew
	}
	if c.Claims.Email == "" {
		c.Claims.Email = "email"
	}
	if c.Claims.Groups == "" {
		c.Claims.Groups = "groups"
	}
	if c.Claims.OnBehalfOf == "" {
		c.Claims.OnBehalfOf = "on_behalf_of"
	}
	return c, c.validate()
}

func (c IssuerConfig) validate() error {
	if err := checkIssuerURL(c.URL); err != nil {
		return err
	}
	if len(c.Audiences) == 0 || slices.Contains(c.Audiences, "") {
		return errors.New("audiences: name at least one; without it a token for any other service would do")
	}
	if c.Kind == "" && c.Claims.Kind == "" {
		return errors.New("kind: say human or agent, or name the claim that does in claims.kind")
	}
	if c.Kind != "" && c.Kind != Human && c.Kind != Agent {
		return fmt.Errorf("kind: %q is neither human nor agent", c.Kind)
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(knownAlgorithms, a) {
			return fmt.Errorf("algorithms: %q is not one of %s", a, strings.Join(knownAlgorithms, " "))
		}
	}
	if c.MaxAge < 0 || c.MaxAge > maxMaxAge {
		return fmt.Errorf("max_age: %v is not between 0 and %v", c.MaxAge, maxMaxAge)
	}
	if c.Skew < 0 || c.Skew > maxSkew {
		return fmt.Errorf("skew: %v is not between 0 and %v", c.Skew, maxSkew)
	}
	return nil
}

// checkIssuerURL holds an issuer to OpenID Connect Discovery section 3: https, no query, no fragment.
// Loopback may be http: there is no network to listen on.
func checkIssuerURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || len(s) > maxIssuer {
		return errors.New("url: not an absolute URL")
	}
	if u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		return errors.New("url: an issuer has neither query nor fragment")
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return errors.New("url: use https; http is for loopback addresses only")
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Verify checks a raw token, and gives the identity it proves. Every error is a [*TokenError].
//
// Nothing of the token counts before its signature holds, except to choose the issuer to ask.
func (v *Verifier) Verify(ctx context.Context, raw string) (Identity, *Token, error) {
	head, err := peek(raw)
	if err != nil {
		return Identity{}, nil, err
	}
	is, ok := v.issuers[head.issuer]
	if !ok {
		return Identity{}, nil, refuse(ErrIssuer, "sign in with an issuer this gate is configured for",
			"the token's issuer is not one this gate trusts")
	}
	id, tok, err := v.verify(ctx, is, head, raw)
	var te *TokenError
	if errors.As(err, &te) {
		te.Issuer = is.config.URL
	}
	return id, tok, err
}

func (v *Verifier) verify(ctx context.Context, is *issuer, head header, raw string) (Identity, *Token, error) {
	if !slices.Contains(is.config.Algorithms, head.alg) {
		return Identity{}, nil, refuse(ErrAlgorithm, "", "the token is not signed with an algorithm allowed for its issuer (%s)",
			strings.Join(is.config.Algorithms, ", "))
	}
	payload, err := is.payload(ctx, raw)
	if err != nil {
		return Identity{}, nil, err
	}
	c, err := parseClaims(payload)
	if err != nil {
		return Identity{}, nil, err
	}
	tok, err := is.config.token(c, v.now())
	if err != nil {
		return Identity{}, nil, err
	}
	id, err := is.config.identity(c)
	if err != nil {
		return Identity{}, nil, err
	}
	return id, tok, nil
}

// header is what may be known of a token before its signature is checked.
type header struct{ alg, issuer string }

// peek reads the parts of a compact JWS (RFC 7515 section 7.1) without believing them.
func peek(raw string) (header, error) {
	if len(raw) > MaxToken {
		return header{}, refuse(ErrTooLarge, "ask the issuer to put fewer groups into it", "the token is larger than %d bytes", MaxToken)
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return header{}, refuse(ErrMalformed, "send the ID token, not the access or refresh token", "the token is not a signed JWT")
	}
	head, err := decodePart(parts[0])
	if err != nil {
		return header{}, err
	}
	body, err := decodePart(parts[1])
	if err != nil {
		return header{}, err
	}
	if _, err := decodeBase64(parts[2]); err != nil {
		return header{}, err
	}
	if !tokenType(head["typ"]) {
		return header{}, refuse(ErrMalformed, "send the ID token", "the JWT is of a type that is no sign-in")
	}
	alg, _ := head["alg"].(string)
	iss, _ := body["iss"].(string)
	return header{alg: alg, issuer: iss}, nil
}

func decodePart(s string) (claims, error) {
	b, err := decodeBase64(s)
	if err != nil {
		return nil, err
	}
	return parseClaims(b)
}

// decodeBase64 takes one spelling only: Go's decoder skips newlines, and others leave bits over.
func decodeBase64(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, refuse(ErrMalformed, "", "the token is not base64url")
	}
	return b, nil
}

// tokenType refuses JWTs made for another use, such as logout tokens and DPoP proofs, which an issuer
// signs with the same keys (RFC 8725 section 3.11).
func tokenType(typ any) bool {
	if typ == nil {
		return true
	}
	s, ok := typ.(string)
	s = strings.TrimPrefix(strings.ToLower(s), "application/")
	return ok && (s == "jwt" || s == "at+jwt")
}

func parseClaims(b []byte) (claims, error) {
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.UseNumber()
	var c claims
	if err := dec.Decode(&c); err != nil || c == nil || dec.More() {
		return nil, refuse(ErrMalformed, "", "the token does not hold a JSON object")
	}
	return c, nil
}
