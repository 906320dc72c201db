package devidp

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	requestLife = 10 * time.Minute // of a sign-in that was begun, and of a device code
	accessLife  = 5 * time.Minute
	maxPending  = 1000 // sign-ins begun, device codes, access tokens: each
)

var (
	errUnknown = errors.New("unknown or expired")
	errFull    = errors.New("too many sign-ins at once")
)

// storage is an op.Storage in memory. Everything in it expires and is bounded.
type storage struct {
	users   []User
	clients map[string]*client
	now     func() time.Time

	mu       sync.Mutex
	signing  *signingKey
	former   []*signingKey // published still
	requests map[string]*request
	codes    map[string]string // code to request id
	devices  map[string]*device
	access   map[string]access
}

var (
	_ op.Storage                    = (*storage)(nil)
	_ op.DeviceAuthorizationStorage = (*storage)(nil)
	_ op.CanSetUserinfoFromRequest  = (*storage)(nil)
)

type access struct {
	user    string
	expires time.Time
}

type device struct {
	state    op.DeviceAuthorizationState
	userCode string
}

func newStorage(o Options, key *signingKey) *storage {
	cli := &client{id: CLI, kind: op.ApplicationTypeNative, lifetime: o.TokenLifetime, issuer: o.Issuer,
		redirects: []string{"http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost/callback"},
		grants:    []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeDeviceCode}}
	web := &client{id: Console, kind: op.ApplicationTypeWeb, lifetime: o.TokenLifetime, issuer: o.Issuer,
		redirects: o.ConsoleRedirects, grants: []oidc.GrantType{oidc.GrantTypeCode}}
	return &storage{
		users: slices.Clone(o.Users), clients: map[string]*client{CLI: cli, Console: web}, now: time.Now, signing: key,
		requests: map[string]*request{}, codes: map[string]string{}, devices: map[string]*device{}, access: map[string]access{},
	}
}

func (s *storage) user(name string) *User {
	i := slices.IndexFunc(s.users, func(u User) bool { return u.Name == name })
	if i < 0 {
		return nil
	}
	return &s.users[i]
}

// sweep drops what expired. Callers hold mu.
func (s *storage) sweep() {
	now := s.now()
	for id, r := range s.requests {
		if now.Sub(r.created) > requestLife {
			delete(s.requests, id)
		}
	}
	for code, id := range s.codes {
		if s.requests[id] == nil {
			delete(s.codes, code)
		}
	}
	for code, d := range s.devices {
		if now.After(d.state.Expires) {
			delete(s.devices, code)
		}
	}
	for id, a := range s.access {
		if now.After(a.expires) {
			delete(s.access, id)
		}
	}
}

// CreateAuthRequest begins a sign-in. PKCE is not optional here (RFC 9700 section 2.1.1).
func (s *storage) CreateAuthRequest(_ context.Context, a *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	if slices.Contains(a.Prompt, oidc.PromptNone) {
		return nil, oidc.ErrLoginRequired() // nobody stays signed in here
	}
	if a.CodeChallenge == "" || a.CodeChallengeMethod != oidc.CodeChallengeMethodS256 {
		return nil, oidc.ErrInvalidRequest().WithDescription("PKCE with S256 is required")
	}
	r := &request{id: rand.Text(), created: s.now(), client: a.ClientID, redirect: a.RedirectURI, state: a.State,
		nonce: a.Nonce, scopes: a.Scopes, responseType: a.ResponseType, responseMode: a.ResponseMode, challenge: a.CodeChallenge}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sweep(); len(s.requests) >= maxPending {
		return nil, errFull
	}
	s.requests[r.id] = r
	return r.copy(), nil
}

func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	r, ok := s.requests[id]
	if !ok {
		return nil, errUnknown
	}
	return r.copy(), nil
}

// AuthRequestByCode takes the code away: it counts once (RFC 6749 section 4.1.2), also when what
// follows fails.
func (s *storage) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	r, ok := s.requests[s.codes[code]]
	delete(s.codes, code)
	if !ok {
		return nil, errUnknown
	}
	return r.copy(), nil
}

func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests[id] == nil {
		return errUnknown
	}
	for c, other := range s.codes {
		if other == id {
			delete(s.codes, c)
		}
	}
	s.codes[code] = id
	return nil
}

func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.requests, id)
	s.sweep()
	return nil
}

func (s *storage) CreateAccessToken(_ context.Context, r op.TokenRequest) (string, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sweep(); len(s.access) >= maxPending {
		return "", time.Time{}, errFull
	}
	id, expires := rand.Text(), s.now().Add(accessLife)
	s.access[id] = access{r.GetSubject(), expires}
	return id, expires, nil
}

func (s *storage) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, id, subject, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	if a, ok := s.access[id]; !ok || a.user != subject {
		return errUnknown
	}
	return s.describe(info, subject)
}

func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, r op.IDTokenRequest, _ []string) error {
	return s.describe(info, r.GetSubject())
}

func (s *storage) describe(info *oidc.UserInfo, name string) error {
	u := s.user(name)
	if u == nil {
		return errUnknown
	}
	info.Subject = u.Name
	info.Name, info.PreferredUsername = u.Name, u.Name
	if u.Email != "" {
		info.Email, info.EmailVerified = u.Email, true
	}
	for k, v := range s.claims(*u) {
		info.AppendClaims(k, v)
	}
	if u.OnBehalfOf == "" {
		return nil
	}
	p := s.user(u.OnBehalfOf)
	principal := s.claims(*p)
	principal["sub"], principal["preferred_username"] = p.Name, p.Name
	if p.Email != "" {
		principal["email"], principal["email_verified"] = p.Email, true
	}
	info.AppendClaims(OnBehalfOfClaim, principal)
	return nil
}

// claims are a user's claims that OpenID Connect has no fields for.
func (s *storage) claims(u User) map[string]any {
	kind := u.Kind
	if kind == "" {
		kind = "human"
	}
	return map[string]any{GroupsClaim: append([]string{}, u.Groups...), KindClaim: kind}
}

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signing, nil
}

func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.ES256}, nil
}

func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := []op.Key{publicKey{s.signing}}
	for _, k := range s.former {
		keys = append(keys, publicKey{k})
	}
	return keys, nil
}

func (s *storage) rotate(k *signingKey, keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.former = append(s.former, s.signing)
	if !keep {
		s.former = nil
	}
	s.signing = k
}

func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if c, ok := s.clients[id]; ok {
		return c, nil
	}
	return nil, errUnknown
}

func (s *storage) StoreDeviceAuthorization(_ context.Context, clientID, code, userCode string, expires time.Time, scopes []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sweep(); len(s.devices) >= maxPending {
		return errFull
	}
	for _, d := range s.devices {
		if d.userCode == userCode {
			return op.ErrDuplicateUserCode
		}
	}
	s.devices[code] = &device{userCode: userCode, state: op.DeviceAuthorizationState{ClientID: clientID, Scopes: scopes, Expires: expires}}
	return nil
}

// GetDeviceAuthorizatonState is op's spelling. An answer is given out once.
func (s *storage) GetDeviceAuthorizatonState(_ context.Context, clientID, code string) (*op.DeviceAuthorizationState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	d, ok := s.devices[code]
	if !ok || d.state.ClientID != clientID {
		return nil, errUnknown
	}
	if d.state.Done || d.state.Denied {
		delete(s.devices, code)
	}
	state := d.state
	return &state, nil
}

// pendingDevice tells whether a user code waits for an answer.
func (s *storage) pendingDevice(userCode string) bool {
	return s.answerDevice(userCode, func(*op.DeviceAuthorizationState) {})
}

// answerDevice changes the state of the device that shows userCode, if it waits for an answer still.
func (s *storage) answerDevice(userCode string, f func(*op.DeviceAuthorizationState)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	for _, d := range s.devices {
		if d.userCode == userCode && !d.state.Done && !d.state.Denied {
			f(&d.state)
			return true
		}
	}
	return false
}

// normalCode takes a user code as people type it.
func normalCode(s string) string {
	s = strings.ToUpper(strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, s))
	if len(s) != 8 {
		return ""
	}
	return s[:4] + "-" + s[4:]
}

// What this provider does not do: refresh tokens, client secrets, introspection, JWT profile.

func (s *storage) CreateAccessAndRefreshTokens(context.Context, op.TokenRequest, string) (string, string, time.Time, error) {
	return "", "", time.Time{}, oidc.ErrUnsupportedGrantType()
}

func (s *storage) TokenRequestByRefreshToken(context.Context, string) (op.RefreshTokenRequest, error) {
	return nil, op.ErrInvalidRefreshToken
}

func (s *storage) TerminateSession(context.Context, string, string) error { return nil }

func (s *storage) RevokeToken(_ context.Context, id, _, _ string) *oidc.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.access, id)
	return nil
}

func (s *storage) GetRefreshTokenInfo(context.Context, string, string) (string, string, error) {
	return "", "", op.ErrInvalidRefreshToken
}

func (s *storage) AuthorizeClientIDSecret(context.Context, string, string) error {
	return errors.New("no client has a secret")
}

func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil // SetUserinfoFromRequest does it
}

func (s *storage) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errors.New("no introspection")
}

func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil
}

func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errUnknown
}

func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, oidc.ErrUnsupportedGrantType()
}

func (s *storage) Health(context.Context) error { return nil }

// signingKey is an op.SigningKey.
type signingKey struct {
	id  string
	key *ecdsa.PrivateKey
}

func (k *signingKey) ID() string                                  { return k.id }
func (k *signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.ES256 }
func (k *signingKey) Key() any                                    { return k.key }

// publicKey is an op.Key.
type publicKey struct{ k *signingKey }

func (p publicKey) ID() string                         { return p.k.id }
func (p publicKey) Algorithm() jose.SignatureAlgorithm { return jose.ES256 }
func (p publicKey) Use() string                        { return "sig" }
func (p publicKey) Key() any                           { return &p.k.key.PublicKey }
