package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// testIssuer is an OpenID Connect provider of which everything can be bent.
type testIssuer struct {
	t      testing.TB
	server *httptest.Server

	mu   sync.Mutex
	keys map[string]crypto.Signer // by key id

	down      atomic.Bool
	keysDown  atomic.Bool
	discovery atomic.Int32 // requests
	fetches   atomic.Int32
	document  atomic.Pointer[string] // instead of the discovery document
	keySet    atomic.Pointer[string] // instead of the keys
}

func newTestIssuer(t testing.TB) *testIssuer {
	t.Helper()
	is := &testIssuer{t: t, keys: map[string]crypto.Signer{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", is.discover)
	mux.HandleFunc("/keys", is.serveKeys)
	is.server = httptest.NewServer(mux)
	t.Cleanup(is.server.Close)
	is.addKey("k1", elliptic.P256())
	return is
}

func (is *testIssuer) url() string { return is.server.URL }

func (is *testIssuer) discover(w http.ResponseWriter, _ *http.Request) {
	is.discovery.Add(1)
	if is.down.Load() {
		http.Error(w, "secret-in-body", http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if d := is.document.Load(); d != nil {
		io.WriteString(w, *d)
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"issuer": is.url(), "jwks_uri": is.url() + "/keys"})
}

func (is *testIssuer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	is.fetches.Add(1)
	if is.keysDown.Load() {
		http.Error(w, "secret-in-body", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if d := is.keySet.Load(); d != nil {
		io.WriteString(w, *d)
		return
	}
	is.mu.Lock()
	defer is.mu.Unlock()
	var set jose.JSONWebKeySet
	for id, k := range is.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{KeyID: id, Key: k.Public(), Use: "sig"})
	}
	json.NewEncoder(w).Encode(set)
}

func (is *testIssuer) addKey(id string, c elliptic.Curve) crypto.Signer {
	is.t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		is.t.Fatal(err)
	}
	is.put(id, k)
	return k
}

func (is *testIssuer) put(id string, k crypto.Signer) {
	is.mu.Lock()
	defer is.mu.Unlock()
	is.keys[id] = k
}

func (is *testIssuer) removeKey(id string) {
	is.mu.Lock()
	defer is.mu.Unlock()
	delete(is.keys, id)
}

// claims are those of a good token, changed by f.
func (is *testIssuer) claims(now time.Time, f func(map[string]any)) map[string]any {
	c := map[string]any{
		"iss": is.url(), "sub": "248289", "aud": "sallyport", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"name": "Ada Lovelace", "email": "ada@example.org", "email_verified": true, "groups": []string{"dba", "dev"},
	}
	if f != nil {
		f(c)
	}
	return c
}

func (is *testIssuer) sign(c map[string]any) string {
	return is.signWith("k1", jose.ES256, nil, "JWT", c)
}

// signWith signs with key id's key, or with key if that is not nil.
func (is *testIssuer) signWith(id string, alg jose.SignatureAlgorithm, key any, typ string, c map[string]any) string {
	is.t.Helper()
	if key == nil {
		is.mu.Lock()
		key = is.keys[id]
		is.mu.Unlock()
	}
	o := &jose.SignerOptions{}
	if typ != "" {
		o = o.WithType(jose.ContentType(typ))
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: id}}, o)
	if err != nil {
		is.t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		is.t.Fatal(err)
	}
	j, err := s.Sign(b)
	if err != nil {
		is.t.Fatal(err)
	}
	raw, err := j.CompactSerialize()
	if err != nil {
		is.t.Fatal(err)
	}
	return raw
}

func (is *testIssuer) config() IssuerConfig {
	return IssuerConfig{URL: is.url(), Audiences: []string{"sallyport", "sallyport-cli"}, Kind: Human}
}

func newVerifier(t testing.TB, c ...IssuerConfig) *Verifier {
	t.Helper()
	v, err := NewVerifier(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// unsigned writes a token in parts, as no library would.
func unsigned(head string, c map[string]any, sig string) string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(head)) + "." + e(b) + "." + sig
}

func TestVerify(t *testing.T) {
	is := newTestIssuer(t)
	v := newVerifier(t, is.config())
	now := time.Now()
	id, tok, err := v.Verify(t.Context(), is.sign(is.claims(now, func(c map[string]any) { c["jti"], c["nonce"] = "j1", "n1" })))
	if err != nil {
		t.Fatal(err)
	}
	want := Identity{Issuer: is.url(), Subject: "248289", Name: "Ada Lovelace", Email: "ada@example.org", Kind: Human, Groups: []string{"dba", "dev"}}
	if fmt.Sprint(id) != fmt.Sprint(want) || id.Email != want.Email || len(id.Groups) != 2 || id.Key() != want.Key() {
		t.Errorf("identity %+v, want %+v", id, want)
	}
	if tok.ID != "j1" || tok.Nonce != "n1" || tok.Subject != "248289" || tok.IssuedAt.Unix() != now.Unix() || len(tok.Audience) != 1 {
		t.Errorf("token %+v", tok)
	}
}

// TestVerifyRefuses: each kind of wrong token has its own reason, and no error quotes the token.
func TestVerifyRefuses(t *testing.T) {
	is, other := newTestIssuer(t), newTestIssuer(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	is.put("r1", rsaKey)
	c := is.config()
	c.RequireEmail = true
	c.Algorithms = []string{"ES256"}
	v := newVerifier(t, c)
	now := time.Now()
	with := func(f func(map[string]any)) string { return is.sign(is.claims(now, f)) }
	set := func(k string, val any) string { return with(func(c map[string]any) { c[k] = val }) }
	without := func(k string) string { return with(func(c map[string]any) { delete(c, k) }) }
	good := with(nil)
	parts := strings.Split(good, ".")

	for _, tt := range []struct {
		name string
		raw  string
		want Reason
	}{
		{"empty", "", ErrMalformed},
		{"garbage", "secret-garbage", ErrMalformed},
		{"three parts of garbage", "secret.secret.secret", ErrMalformed},
		{"five parts (JWE)", good + ".x.y", ErrMalformed},
		{"JSON serialization", `{"payload":"x","signatures":[]}`, ErrMalformed},
		{"header is no object", base64.RawURLEncoding.EncodeToString([]byte("[]")) + "." + parts[1] + "." + parts[2], ErrMalformed},
		{"padded", parts[0] + "=." + parts[1] + "." + parts[2], ErrMalformed},
		{"oversize", set("bulk", strings.Repeat("x", MaxToken)), ErrTooLarge},
		{"logout token", is.signWith("k1", jose.ES256, nil, "logout+jwt", is.claims(now, nil)), ErrMalformed},
		{"DPoP proof", is.signWith("k1", jose.ES256, nil, "dpop+jwt", is.claims(now, nil)), ErrMalformed},
		{"issuer unknown", other.sign(other.claims(now, nil)), ErrIssuer},
		{"issuer with a slash", set("iss", is.url()+"/"), ErrIssuer},
		{"issuer in other case", set("iss", strings.ToUpper(is.url())), ErrIssuer},
		{"issuer a list", set("iss", []string{is.url()}), ErrIssuer},
		{"issuer only as ISS", with(func(c map[string]any) { c["ISS"] = c["iss"]; delete(c, "iss") }), ErrIssuer},
		{"issuer missing", without("iss"), ErrIssuer},
		{"alg none", unsigned(`{"alg":"none","typ":"JWT"}`, is.claims(now, nil), ""), ErrAlgorithm},
		{"alg None", unsigned(`{"alg":"None"}`, is.claims(now, nil), "AAAA"), ErrAlgorithm},
		{"alg missing", unsigned(`{}`, is.claims(now, nil), "AAAA"), ErrAlgorithm},
		{"alg HS256 with a public key", is.signWith("k1", jose.HS256, []byte("public key as a shared secret, 32 bytes"), "JWT", is.claims(now, nil)), ErrAlgorithm},
		{"alg RS256, not allowed here", is.signWith("r1", jose.RS256, nil, "JWT", is.claims(now, nil)), ErrAlgorithm},
		{"signature of another token", parts[0] + "." + parts[1] + "." + strings.Split(set("sub", "1"), ".")[2], ErrSignature},
		{"signature empty", parts[0] + "." + parts[1] + ".", ErrSignature},
		{"signed by another issuer", other.sign(is.claims(now, nil)), ErrSignature},
		{"unknown key", is.signWith("k9", jose.ES256, other.keys["k1"], "JWT", is.claims(now, nil)), ErrSignature},
		{"key in the header", embedded(t, is.claims(now, nil)), ErrSignature},
		{"audience other", set("aud", "grafana"), ErrAudience},
		{"audience list of others", set("aud", []string{"grafana", "argo"}), ErrAudience},
		{"audience ours and another", set("aud", []string{"sallyport", "grafana"}), ErrAudience},
		{"audience missing", without("aud"), ErrAudience},
		{"audience empty", set("aud", []string{}), ErrAudience},
		{"audience a prefix", set("aud", "sally"), ErrAudience},
		{"audience a number", set("aud", 7), ErrClaims},
		{"expired", set("exp", now.Add(-time.Minute).Unix()), ErrExpired},
		{"expiry missing", without("exp"), ErrClaims},
		{"expiry a string", set("exp", "9999999999"), ErrClaims},
		{"expiry huge", set("exp", 1e300), ErrClaims},
		{"expiry null", set("exp", nil), ErrClaims},
		{"not yet valid", set("nbf", now.Add(2*time.Minute).Unix()), ErrNotYetValid},
		{"issued in the future", set("iat", now.Add(2*time.Minute).Unix()), ErrNotYetValid},
		{"issued missing", without("iat"), ErrClaims},
		{"too old", with(func(c map[string]any) { c["iat"], c["exp"] = now.Add(-2*time.Hour).Unix(), now.Add(time.Hour).Unix() }), ErrTooOld},
		{"email_verified a string", set("email_verified", "true"), ErrEmailNotVerified},
		{"email_verified a number", set("email_verified", 1), ErrEmailNotVerified},
		{"email_verified false", set("email_verified", false), ErrEmailNotVerified},
		{"email_verified missing", without("email_verified"), ErrEmailNotVerified},
		{"email missing", without("email"), ErrEmailNotVerified},
		{"email a list", set("email", []string{"a@b.c"}), ErrClaims},
		{"email two addresses", set("email", "a@b.c,root@b.c"), ErrClaims},
		{"email with newline", set("email", "a@b.c\nroot@b.c"), ErrClaims},
		{"subject missing", without("sub"), ErrClaims},
		{"subject a number", set("sub", 1), ErrClaims},
		{"subject with NUL", set("sub", "root\x00"), ErrClaims},
		{"subject too long", set("sub", strings.Repeat("s", 256)), ErrClaims},
		{"groups a map", set("groups", map[string]any{"dba": true}), ErrClaims},
		{"groups of numbers", set("groups", []any{"dev", 7}), ErrClaims},
		{"group with zero width", set("groups", []string{"dba\u200b"}), ErrClaims},
		{"group empty", set("groups", []string{""}), ErrClaims},
		{"too many groups", set("groups", make([]string, maxGroups+1)), ErrClaims},
		{"name a number", set("preferred_username", 7), ErrClaims},
		{"human on behalf", set("on_behalf_of", "somebody"), ErrClaims},
		{"on behalf of a number", set("on_behalf_of", 7), ErrClaims},
		{"act a string", set("act", "bot"), ErrClaims},
		{"act without sub", set("act", map[string]any{"name": "bot"}), ErrClaims},
		{"act of another issuer", set("act", map[string]any{"sub": "1", "iss": other.url()}), ErrClaims},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v.issuers[is.url()].fetch.SetBurst(1000) // this table asks for many unknown keys at once
			id, tok, err := v.Verify(t.Context(), tt.raw)
			var te *TokenError
			if !errors.As(err, &te) || te.Reason != tt.want || !errors.Is(err, tt.want) || tok != nil || id.Key() != "#" {
				t.Fatalf("Verify = %+v, %v, %v (%#v); want %s", id, tok, err, te, tt.want)
			}
			for _, secret := range []string{"secret", "eyJ", parts[1][:20], "ada@", "248289"} {
				if strings.Contains(err.Error(), secret) || te.Err != nil && strings.Contains(te.Err.Error(), secret) {
					t.Errorf("error quotes the token: %v (%v)", err, te.Err)
				}
			}
		})
	}
	if _, _, err := v.Verify(t.Context(), good); err != nil {
		t.Errorf("after all that, the good token: %v", err)
	}
}

// embedded is a token that brings its own key in the header (RFC 7515 section 4.1.3).
func embedded(t *testing.T, c map[string]any) string {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	j, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := j.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestClaimMapping(t *testing.T) {
	is := newTestIssuer(t)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	is.put("e1", edKey)
	now := time.Now()
	for _, tt := range []struct {
		name   string
		config func(*IssuerConfig)
		claims func(map[string]any)
		want   string // Name|Email|Kind|Groups|on behalf of
	}{
		{"unverified e-mail does not count", nil, func(c map[string]any) { c["email_verified"] = "true" }, "Ada Lovelace||human|dba dev|"},
		{"preferred name", nil, func(c map[string]any) { c["preferred_username"] = "ada" }, "ada|ada@example.org|human|dba dev|"},
		{"cleaned name", nil, func(c map[string]any) { c["name"] = " A\u202eda\x1b[2J\n  L\u200b " }, "Ada[2J L|ada@example.org|human|dba dev|"},
		{"long name", nil, func(c map[string]any) { c["name"] = strings.Repeat("é", 200) }, strings.Repeat("é", 64) + "|ada@example.org|human|dba dev|"},
		{"nothing but a subject", nil, func(c map[string]any) { delete(c, "name"); delete(c, "email"); delete(c, "groups") }, "248289||human||"},
		{"one group", nil, func(c map[string]any) { c["groups"] = "dba" }, "Ada Lovelace|ada@example.org|human|dba|"},
		{"dotted paths", func(c *IssuerConfig) {
			c.Claims = Claims{Name: "profile.nick", Email: "profile.mail", Groups: "realm_access.roles"}
		}, func(c map[string]any) {
			c["profile"] = map[string]any{"nick": "al", "mail": "al@example.org", "email_verified": true}
			c["realm_access"] = map[string]any{"roles": []string{"ops"}}
		}, "al|al@example.org|human|ops|"},
		{"the flag beside another e-mail does not count", func(c *IssuerConfig) { c.Claims.Email = "profile.mail" },
			func(c map[string]any) { c["profile"] = map[string]any{"mail": "root@example.org"} }, "Ada Lovelace||human|dba dev|"},
		{"a claim with dots in its name", func(c *IssuerConfig) { c.Claims.Groups = "https://example.org/groups" },
			func(c map[string]any) { c["https://example.org/groups"] = []string{"x"} }, "Ada Lovelace|ada@example.org|human|x|"},
		{"kind by claim", func(c *IssuerConfig) { c.Claims.Kind = "sallyport_kind" }, func(c map[string]any) { c["sallyport_kind"] = "agent" }, "Ada Lovelace|ada@example.org|agent|dba dev|"},
		{"kind by default", func(c *IssuerConfig) { c.Claims.Kind = "sallyport_kind" }, nil, "Ada Lovelace|ada@example.org|human|dba dev|"},
		{"on behalf of a subject", func(c *IssuerConfig) { c.Kind = Agent }, func(c map[string]any) { c["on_behalf_of"] = "7" }, "Ada Lovelace|ada@example.org|agent|dba dev|7/7/human"},
		{"on behalf of an object", func(c *IssuerConfig) { c.Kind = Agent }, func(c map[string]any) {
			c["on_behalf_of"] = map[string]any{"sub": "7", "name": "Bob", "email": "bob@example.org", "email_verified": "true"}
		}, "Ada Lovelace|ada@example.org|agent|dba dev|7/Bob/human"},
		{"act: the subject is the principal", nil, func(c map[string]any) {
			c["act"] = map[string]any{"sub": "bot-1", "name": "Build bot", "act": map[string]any{"sub": "older"}}
		}, "Build bot||agent||248289/Ada Lovelace/human"},
		{"act of the same issuer", nil, func(c map[string]any) { c["act"] = map[string]any{"sub": "bot-1", "iss": is.url()} }, "bot-1||agent||248289/Ada Lovelace/human"},
		{"two audiences allowed", func(c *IssuerConfig) { c.OtherAudiences = []string{"grafana"} }, func(c map[string]any) { c["aud"] = []string{"sallyport", "grafana"} }, "Ada Lovelace|ada@example.org|human|dba dev|"},
		{"within the skew", nil, func(c map[string]any) {
			c["exp"], c["nbf"] = now.Add(-10*time.Second).Unix(), now.Add(10*time.Second).Unix()
		}, "Ada Lovelace|ada@example.org|human|dba dev|"},
		{"dates with fractions", nil, func(c map[string]any) { c["iat"] = float64(now.Unix()) + 0.5 }, "Ada Lovelace|ada@example.org|human|dba dev|"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := is.config()
			if tt.config != nil {
				tt.config(&c)
			}
			raw := is.signWith("e1", jose.EdDSA, nil, "", is.claims(now, tt.claims))
			id, _, err := newVerifier(t, c).Verify(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join([]string{id.Name, id.Email, id.Kind, strings.Join(id.Groups, " "), ""}, "|")
			if p := id.OnBehalfOf; p != nil {
				got += p.Subject + "/" + p.Name + "/" + p.Kind
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestVerifierConfig(t *testing.T) {
	good := IssuerConfig{URL: "https://id.example.org", Audiences: []string{"a"}, Kind: Human}
	with := func(f func(*IssuerConfig)) IssuerConfig { c := good; f(&c); return c }
	for _, tt := range []struct {
		c    IssuerConfig
		want string
	}{
		{with(func(c *IssuerConfig) { c.URL = "http://id.example.org" }), "use https"},
		{with(func(c *IssuerConfig) { c.URL = "https://id.example.org?x=1" }), "neither query nor fragment"},
		{with(func(c *IssuerConfig) { c.URL = "https://id.example.org#" }), "neither query nor fragment"},
		{with(func(c *IssuerConfig) { c.URL = "https://u:p@id.example.org" }), "not an absolute URL"},
		{with(func(c *IssuerConfig) { c.URL = "id.example.org" }), "not an absolute URL"},
		{with(func(c *IssuerConfig) { c.Audiences = nil }), "audiences: name at least one"},
		{with(func(c *IssuerConfig) { c.Audiences = []string{""} }), "audiences: name at least one"},
		{with(func(c *IssuerConfig) { c.Kind = "" }), "kind: say human or agent"},
		{with(func(c *IssuerConfig) { c.Kind = "robot" }), `"robot" is neither`},
		{with(func(c *IssuerConfig) { c.Algorithms = []string{"none"} }), `"none" is not one of`},
		{with(func(c *IssuerConfig) { c.Algorithms = []string{"HS256"} }), `"HS256" is not one of`},
		{with(func(c *IssuerConfig) { c.MaxAge = -time.Second }), "max_age"},
		{with(func(c *IssuerConfig) { c.Skew = time.Hour }), "skew"},
	} {
		if _, err := NewVerifier([]IssuerConfig{tt.c}, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want an error with %q", tt.c, err, tt.want)
		}
	}
	if _, err := NewVerifier([]IssuerConfig{good, good}, nil); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same issuer twice: %v", err)
	}
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time          { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }

func TestKeyRotation(t *testing.T) {
	is := newTestIssuer(t)
	v := newVerifier(t, is.config())
	c := &clock{t: time.Now()}
	v.now = c.now
	verify := func(id string) error {
		return second2(v.Verify(t.Context(), is.signWith(id, jose.ES256, nil, "JWT", is.claims(c.now(), nil))))
	}
	if err := verify("k1"); err != nil {
		t.Fatal(err)
	}
	is.addKey("k2", elliptic.P256())
	if err := verify("k2"); err != nil {
		t.Errorf("a new key at once: %v", err)
	}
	old := is.signWith("k1", jose.ES256, nil, "JWT", is.claims(c.now().Add(keysRefresh), nil))
	is.removeKey("k1")
	c.advance(keysRefresh + time.Second)
	if err := second2(v.Verify(t.Context(), old)); !errors.Is(err, ErrSignature) {
		t.Errorf("a key withdrawn %v ago: %v, want %v", keysRefresh, err, ErrSignature)
	}
	before := is.fetches.Load()
	for range 50 {
		forged := is.signWith("kx", jose.ES256, is.keys["k2"], "JWT", is.claims(c.now(), nil))
		if err := second2(v.Verify(t.Context(), forged)); !errors.Is(err, ErrSignature) {
			t.Fatalf("a forged key id: %v", err)
		}
	}
	if n := is.fetches.Load() - before; n > keysBurst {
		t.Errorf("50 forged key ids made the gate fetch keys %d times", n)
	}
	if err := verify("k2"); err != nil {
		t.Errorf("a known key after the flood: %v", err)
	}
}

func second2[A, B any](_ A, _ B, err error) error { return err }

// TestIssuerDown: an issuer that is down at start, and later, disturbs nobody else and comes back.
func TestIssuerDown(t *testing.T) {
	down, up := newTestIssuer(t), newTestIssuer(t)
	down.down.Store(true)
	v := newVerifier(t, down.config(), up.config())
	c := &clock{t: time.Now()}
	v.now = c.now
	verify := func(is *testIssuer) error {
		return second2(v.Verify(t.Context(), is.sign(is.claims(c.now(), nil))))
	}
	for range 20 {
		err := verify(down)
		if !errors.Is(err, ErrUnreachable) {
			t.Fatalf("down: %v, want %v", err, ErrUnreachable)
		}
		if te := (*TokenError)(nil); errors.As(err, &te) && strings.Contains(te.Err.Error(), "secret-in-body") {
			t.Errorf("the log would hold the issuer's body: %v", te.Err)
		}
		if err := verify(up); err != nil {
			t.Fatalf("up: %v", err)
		}
	}
	if n := down.discovery.Load(); n != 1 {
		t.Errorf("asked the issuer %d times within the first second", n)
	}
	down.down.Store(false)
	c.advance(2 * time.Second)
	if err := verify(down); err != nil {
		t.Errorf("back again: %v", err)
	}

	up.down.Store(true)
	up.keysDown.Store(true)
	c.advance(keysRefresh + time.Second)
	if err := verify(up); err != nil {
		t.Errorf("down while its keys are in grace: %v", err)
	}
	c.advance(keysGrace)
	if err := verify(up); !errors.Is(err, ErrUnreachable) {
		t.Errorf("down for longer than the grace: %v", err)
	}
}

// TestKeysDown: discovery answers and the keys do not; the former keys stand in.
func TestKeysDown(t *testing.T) {
	is := newTestIssuer(t)
	v := newVerifier(t, is.config())
	c := &clock{t: time.Now()}
	v.now = c.now
	verify := func() error { return second2(v.Verify(t.Context(), is.sign(is.claims(c.now(), nil)))) }
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	is.keysDown.Store(true)
	c.advance(keysRefresh + time.Second)
	for range 2 * keysBurst { // beyond the limit on fetches as well
		if err := verify(); err != nil {
			t.Fatalf("keys down: %v", err)
		}
	}
	fresh := newVerifier(t, is.config())
	for range 2 * keysBurst {
		if err := second2(fresh.Verify(t.Context(), is.sign(is.claims(c.now(), nil)))); !errors.Is(err, ErrUnreachable) {
			t.Fatalf("keys down from the start: %v, want %v", err, ErrUnreachable)
		}
	}
}

func TestHostileIssuer(t *testing.T) {
	for _, tt := range []struct {
		name     string
		document string
		keys     string
	}{
		{"names another issuer", `{"issuer":"https://example.org","jwks_uri":"{{url}}/keys"}`, ""},
		{"keys over http elsewhere", `{"issuer":"{{url}}","jwks_uri":"http://192.0.2.1/keys"}`, ""},
		{"keys from a file", `{"issuer":"{{url}}","jwks_uri":"file:///etc/passwd"}`, ""},
		{"no keys named", `{"issuer":"{{url}}"}`, ""},
		{"endless document", strings.Repeat(" ", maxResponse+1), ""},
		{"endless keys", "", strings.Repeat(" ", maxResponse+1)},
		{"document is no JSON", "<html>", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := newTestIssuer(t)
			if tt.document != "" {
				d := strings.ReplaceAll(tt.document, "{{url}}", is.url())
				is.document.Store(&d)
			}
			if tt.keys != "" {
				is.keySet.Store(&tt.keys)
			}
			v := newVerifier(t, is.config())
			if err := second2(v.Verify(t.Context(), is.sign(is.claims(time.Now(), nil)))); !errors.Is(err, ErrUnreachable) {
				t.Errorf("%v, want %v", err, ErrUnreachable)
			}
		})
	}
}

func TestConcurrentVerify(t *testing.T) {
	is := newTestIssuer(t)
	v := newVerifier(t, is.config())
	raw := is.sign(is.claims(time.Now(), nil))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := second2(v.Verify(t.Context(), raw)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := is.discovery.Load(); n != 1 {
		t.Errorf("%d discoveries", n)
	}
}

// FuzzVerify: no bytes that the issuer did not sign are ever an identity, and every refusal has a
// reason and quotes nothing.
func FuzzVerify(f *testing.F) {
	is := newTestIssuer(f)
	good := is.sign(is.claims(time.Now(), nil))
	v := newVerifier(f, is.config())
	f.Add(good)
	f.Add(good[:len(good)-2])
	f.Add("a.b.c")
	f.Add(unsigned(`{"alg":"none"}`, is.claims(time.Now(), nil), ""))
	f.Fuzz(func(t *testing.T, raw string) {
		_, _, err := v.Verify(t.Context(), raw)
		if err == nil && raw != good {
			t.Fatalf("taken: %q", raw)
		}
		var te *TokenError
		if err != nil && !errors.As(err, &te) {
			t.Fatalf("untyped: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	is := newTestIssuer(b)
	v := newVerifier(b, is.config())
	raw := is.sign(is.claims(time.Now(), nil))
	b.ReportAllocs()
	for b.Loop() {
		if err := second2(v.Verify(b.Context(), raw)); err != nil {
			b.Fatal(err)
		}
	}
}
