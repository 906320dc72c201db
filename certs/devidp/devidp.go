// Package devidp is an OpenID Connect provider for development and tests: real discovery, keys,
// authorization code with PKCE and device flow (zitadel's op), and no passwords at all. Whoever
// reaches its sign-in page may continue as any of its users, so it refuses to be mounted under an
// issuer URL that is not on a loopback address.
package devidp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/certs/internal/keyfile"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The clients that the provider knows. Both are public and must use PKCE.
const (
	CLI     = "sallyport-cli"     // native: any port of a loopback address, path /callback; device flow
	Console = "sallyport-console" // web: Options.ConsoleRedirects
)

// Claims beyond those of OpenID Connect Core in the provider's ID tokens.
const (
	GroupsClaim     = "groups"         // list of strings
	KindClaim       = "sallyport_kind" // human or agent
	OnBehalfOfClaim = "on_behalf_of"   // an object with the principal's claims
)

// A User is somebody that one may continue as.
type User struct {
	Name       string // short, unique; the subject of the user's tokens
	Email      string // counts as verified; "" for none
	Groups     []string
	Kind       string // human or agent; "" is human
	OnBehalfOf string // Name of the user an agent acts for; "" for nobody
}

// Options of a [Provider].
type Options struct {
	// Issuer is the provider's URL, with the path it is mounted under: http://127.0.0.1:8022/oidc.
	Issuer string
	// Dir keeps the signing key, so that tokens outlive a restart.
	Dir   string
	Users []User
	// ConsoleRedirects are the redirect URLs of the web client.
	ConsoleRedirects []string
	// TokenLifetime of ID tokens; 0: ten minutes.
	TokenLifetime time.Duration
	// InsecureAllowRemote lets the issuer be on an address that others reach: everybody who does can
	// sign in as everybody.
	InsecureAllowRemote bool
}

const keyFile = "oidc_signing_key.pem"

// A Provider serves everything under its issuer's path. It is safe for concurrent use.
type Provider struct {
	issuer  string
	prefix  string // path of the issuer, without a slash at its end
	dir     string
	store   *storage
	op      *op.Provider
	handler http.Handler
}

// New makes a provider, with the signing key in o.Dir or a new one.
func New(o Options) (*Provider, error) {
	u, err := o.validate()
	if err != nil {
		return nil, fmt.Errorf("development identity provider: %w", err)
	}
	if err := keyfile.Dir(o.Dir); err != nil {
		return nil, fmt.Errorf("development identity provider: %w", err)
	}
	key, err := openKey(filepath.Join(o.Dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("development identity provider: %w", err)
	}
	if o.TokenLifetime == 0 {
		o.TokenLifetime = 10 * time.Minute
	}
	p := &Provider{issuer: o.Issuer, prefix: strings.TrimSuffix(u.Path, "/"), dir: o.Dir}
	p.store = newStorage(o, key)
	if p.op, err = p.newOP(); err != nil {
		return nil, fmt.Errorf("development identity provider: %w", err)
	}
	p.handler = p.routes()
	return p, nil
}

func (o Options) validate() (*url.URL, error) {
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("issuer %q is not a URL without query and fragment", o.Issuer)
	}
	if ip := net.ParseIP(u.Hostname()); !o.InsecureAllowRemote && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("issuer %q is not on a loopback address: anybody who reached it could sign in as anybody", o.Issuer)
	}
	if len(o.Users) == 0 {
		return nil, errors.New("no users")
	}
	seen := map[string]bool{}
	for _, user := range o.Users {
		if user.Name == "" || seen[user.Name] {
			return nil, fmt.Errorf("user name %q is empty or taken", user.Name)
		}
		seen[user.Name] = true
	}
	for _, user := range o.Users {
		if user.OnBehalfOf != "" && (!seen[user.OnBehalfOf] || user.Kind != "agent") {
			return nil, fmt.Errorf("user %q: on behalf of %q: only an agent acts for somebody, and for one of the users", user.Name, user.OnBehalfOf)
		}
	}
	return u, nil
}

func (p *Provider) newOP() (*op.Provider, error) {
	c := &op.Config{
		CodeMethodS256:  true,
		SupportedScopes: []string{"openid", "profile", "email", "groups"},
		SupportedClaims: []string{"sub", "aud", "exp", "iat", "iss", "nonce", "name", "preferred_username", "email", "email_verified",
			GroupsClaim, KindClaim, OnBehalfOfClaim},
		DeviceAuthorization: op.DeviceAuthorizationConfig{
			Lifetime:     requestLife,
			PollInterval: time.Second,
			UserFormPath: p.prefix + "/device",
			UserCode:     op.UserCodeBase20,
		},
	}
	rand.Read(c.CryptoKey[:])
	opts := []op.Option{op.WithCORSOptions(nil)} // no page of another origin has business here
	if strings.HasPrefix(p.issuer, "http:") {
		opts = append(opts, op.WithAllowInsecure())
	}
	return op.NewProvider(c, p.store, op.StaticIssuer(p.issuer), opts...)
}

// ServeHTTP serves the paths under the issuer's, and no others.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// Path is the path the provider must be mounted under, with a slash at its end.
func (p *Provider) Path() string { return p.prefix + "/" }

// Token mints an ID token for a user, as if the user had signed in at client audience. It is how an
// unattended development gate renews the certificates of its users.
func (p *Provider) Token(ctx context.Context, user, audience string) (string, error) {
	if p.store.user(user) == nil {
		return "", fmt.Errorf("development identity provider: no user %q", user)
	}
	r := &direct{user: user, audience: audience, at: time.Now()}
	c := p.store.clients[CLI]
	return op.CreateIDToken(ctx, p.issuer, r, c.IDTokenLifetime(), "", "", p.store, c)
}

// Rotate signs with a new key from now on. The old ones stay published if keep is true, and are
// withdrawn if not.
func (p *Provider) Rotate(keep bool) error {
	key, err := makeKey(filepath.Join(p.dir, keyFile))
	if err != nil {
		return fmt.Errorf("development identity provider: %w", err)
	}
	p.store.rotate(key, keep)
	return nil
}

func openKey(path string) (*signingKey, error) {
	b, err := keyfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s is not a key in PEM; remove it to have a new one made", path)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s is not a key; remove it to have a new one made", path)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s is not a P-256 key; remove it to have a new one made", path)
	}
	return newSigningKey(key)
}

func makeKey(path string) (*signingKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := keyfile.Write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	return newSigningKey(key)
}

func newSigningKey(key *ecdsa.PrivateKey) (*signingKey, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return &signingKey{id: hex.EncodeToString(sum[:8]), key: key}, nil
}
