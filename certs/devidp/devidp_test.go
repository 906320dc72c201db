package devidp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/sallyport-ssh/sallyport/certs/devidp"
	"golang.org/x/oauth2"
)

var users = []devidp.User{
	{Name: "developer", Email: "developer@example.org", Groups: []string{"developers"}},
	{Name: "agent", Kind: "agent", OnBehalfOf: "developer", Groups: []string{"agents"}},
	{Name: "approver", Email: "approver@example.org", Groups: []string{"approvers", "auditors"}},
}

const consoleBack = "http://127.0.0.1:8022/signed-in"

type provider struct {
	*devidp.Provider
	issuer, dir string
}

func newProvider(t *testing.T) provider {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p := provider{issuer: server.URL + "/oidc", dir: filepath.Join(t.TempDir(), "idp")}
	p.Provider = open(t, p.issuer, p.dir)
	mux.Handle(p.Path(), p)
	return p
}

func open(t *testing.T, issuer, dir string) *devidp.Provider {
	t.Helper()
	p, err := devidp.New(devidp.Options{Issuer: issuer, Dir: dir, Users: users, ConsoleRedirects: []string{consoleBack}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// browser follows redirects within the provider, and stops at those that leave it.
func (p provider) browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), p.issuer) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

func body(t *testing.T, resp *http.Response, err error) (int, string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (p provider) client(t *testing.T, id, redirect string) (oauth2.Config, *oidc.Provider) {
	t.Helper()
	found, err := oidc.NewProvider(t.Context(), p.issuer)
	if err != nil {
		t.Fatal(err)
	}
	e := found.Endpoint()
	e.AuthStyle = oauth2.AuthStyleInParams
	return oauth2.Config{ClientID: id, RedirectURL: redirect, Endpoint: e, Scopes: []string{"openid", "profile", "email", "groups"}}, found
}

// begin opens the sign-in page and gives the id in it.
func (p provider) begin(t *testing.T, b *http.Client, address string) string {
	t.Helper()
	resp, err := b.Get(address)
	status, page := body(t, resp, err)
	_, rest, ok := strings.Cut(page, `name="id" value="`)
	id, _, _ := strings.Cut(rest, `"`)
	if status != http.StatusOK || !ok {
		t.Fatalf("status %d: %s", status, page)
	}
	return id
}

func (p provider) login(t *testing.T, b *http.Client, id, user string) (code, state string, status int) {
	t.Helper()
	resp, err := b.PostForm(p.issuer+"/login", url.Values{"id": {id}, "user": {user}})
	status, _ = body(t, resp, err)
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	return to.Query().Get("code"), to.Query().Get("state"), status
}

func TestCodeFlow(t *testing.T) {
	p := newProvider(t)
	for _, tt := range []struct{ client, redirect, user, want string }{
		{devidp.CLI, "http://127.0.0.1:49999/callback", "developer", `developer developer@example.org true [developers] human <nil>`},
		{devidp.CLI, "http://[::1]:49999/callback", "agent", `agent  false [agents] agent map[email:developer@example.org email_verified:true groups:[developers] preferred_username:developer sallyport_kind:human sub:developer]`},
		{devidp.Console, consoleBack, "approver", `approver approver@example.org true [approvers auditors] human <nil>`},
	} {
		c, found := p.client(t, tt.client, tt.redirect)
		b, verifier := p.browser(t), oauth2.GenerateVerifier()
		id := p.begin(t, b, c.AuthCodeURL("st", oidc.Nonce("no"), oauth2.S256ChallengeOption(verifier)))
		code, state, _ := p.login(t, b, id, tt.user)
		if state != "st" {
			t.Fatalf("state %q", state)
		}
		tok, err := c.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := tok.Extra("id_token").(string)
		idt, err := found.Verifier(&oidc.Config{ClientID: tt.client}).Verify(t.Context(), raw)
		if err != nil || idt.Nonce != "no" || idt.Subject != tt.user {
			t.Fatalf("%+v, %v", idt, err)
		}
		if got := describe(t, idt); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
		if _, err := c.Exchange(t.Context(), code, oauth2.VerifierOption(verifier)); err == nil {
			t.Error("the code counts twice")
		}
		if strings.Count(tok.AccessToken, ".") == 2 {
			t.Error("the access token is a JWT that could pass for an ID token")
		}
		info, err := found.UserInfo(t.Context(), oauth2.StaticTokenSource(tok))
		if err != nil || info.Subject != tt.user {
			t.Errorf("userinfo %+v, %v", info, err)
		}
	}
}

func describe(t *testing.T, tok *oidc.IDToken) string {
	t.Helper()
	var c map[string]any
	if err := tok.Claims(&c); err != nil {
		t.Fatal(err)
	}
	email, _ := c["email"].(string)
	verified, _ := c["email_verified"].(bool)
	return fmt.Sprintf("%v %s %v %v %v %v", c["preferred_username"], email, verified, c[devidp.GroupsClaim], c[devidp.KindClaim], c[devidp.OnBehalfOfClaim])
}

// TestRefuses: what a page of another origin, another browser or a careless client might try.
func TestRefuses(t *testing.T) {
	p := newProvider(t)
	c, _ := p.client(t, devidp.CLI, "http://127.0.0.1:49999/callback")
	verifier := oauth2.GenerateVerifier()
	good := c.AuthCodeURL("st", oauth2.S256ChallengeOption(verifier))

	t.Run("no PKCE", func(t *testing.T) {
		resp, err := p.browser(t).Get(c.AuthCodeURL("st"))
		body(t, resp, err)
		if to := resp.Header.Get("Location"); !strings.Contains(to, "error=invalid_request") {
			t.Errorf("went to %q", to)
		}
	})
	t.Run("plain PKCE", func(t *testing.T) {
		resp, err := p.browser(t).Get(c.AuthCodeURL("st") + "&code_challenge=abc&code_challenge_method=plain")
		body(t, resp, err)
		if to := resp.Header.Get("Location"); !strings.Contains(to, "error=invalid_request") {
			t.Errorf("went to %q", to)
		}
	})
	for _, redirect := range []string{"http://evil.example/callback", "http://127.0.0.1:49999/other", "https://127.0.0.1.evil.example/callback", consoleBack} {
		t.Run("redirect to "+redirect, func(t *testing.T) {
			c := c
			c.RedirectURL = redirect
			resp, err := p.browser(t).Get(c.AuthCodeURL("st", oauth2.S256ChallengeOption(verifier)))
			if status, page := body(t, resp, err); status != http.StatusBadRequest || resp.Header.Get("Location") != "" {
				t.Errorf("status %d, to %q: %s", status, resp.Header.Get("Location"), page)
			}
		})
	}
	t.Run("wrong verifier", func(t *testing.T) {
		b := p.browser(t)
		code, _, _ := p.login(t, b, p.begin(t, b, good), "developer")
		if _, err := c.Exchange(t.Context(), code, oauth2.VerifierOption(oauth2.GenerateVerifier())); err == nil {
			t.Error("taken")
		}
		if _, err := c.Exchange(t.Context(), code, oauth2.VerifierOption(verifier)); err == nil {
			t.Error("the code counts after a wrong verifier")
		}
	})
	t.Run("another browser", func(t *testing.T) {
		mine, theirs := p.browser(t), p.browser(t)
		id := p.begin(t, mine, good)
		if _, _, status := p.login(t, theirs, id, "approver"); status != http.StatusBadRequest {
			t.Errorf("signs in with status %d", status)
		}
		p.login(t, mine, id, "developer")
		resp, err := theirs.Get(p.issuer + "/authorize/callback?id=" + url.QueryEscape(id))
		if status, _ := body(t, resp, err); status != http.StatusBadRequest || resp.Header.Get("Location") != "" {
			t.Errorf("takes the code: status %d, to %q", status, resp.Header.Get("Location"))
		}
	})
	t.Run("another origin", func(t *testing.T) {
		b := p.browser(t)
		id := p.begin(t, b, good)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.issuer+"/login", strings.NewReader(url.Values{"id": {id}, "user": {"approver"}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://evil.example")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		resp, err := b.Do(r)
		if status, _ := body(t, resp, err); status != http.StatusForbidden {
			t.Errorf("status %d", status)
		}
	})
	t.Run("no such user", func(t *testing.T) {
		b := p.browser(t)
		if _, _, status := p.login(t, b, p.begin(t, b, good), "root"); status != http.StatusBadRequest {
			t.Errorf("status %d", status)
		}
	})
	t.Run("sign-in by GET", func(t *testing.T) {
		b := p.browser(t)
		id := p.begin(t, b, good)
		resp, err := b.Get(p.issuer + "/login?user=approver&id=" + url.QueryEscape(id))
		body(t, resp, err)
		resp, err = b.Get(p.issuer + "/authorize/callback?id=" + url.QueryEscape(id))
		if status, _ := body(t, resp, err); status != http.StatusBadRequest {
			t.Errorf("status %d, to %q", status, resp.Header.Get("Location"))
		}
	})
	t.Run("silent sign-in", func(t *testing.T) {
		resp, err := p.browser(t).Get(good + "&prompt=none")
		body(t, resp, err)
		if to := resp.Header.Get("Location"); !strings.Contains(to, "error=login_required") {
			t.Errorf("went to %q", to)
		}
	})
}

func TestPagesArePolicedAndEscaped(t *testing.T) {
	p := newProvider(t)
	c, _ := p.client(t, devidp.CLI, "http://127.0.0.1:49999/callback")
	for path, want := range map[string]string{
		c.AuthCodeURL("st", oauth2.S256ChallengeOption("v")): "form-action 'self' http://127.0.0.1:49999",
		p.issuer + "/device": "form-action 'self'",
		p.issuer + "/device?user_code=%3Cscript%3Ealert(1)%3C/script%3E": "default-src 'none'",
		p.issuer + "/login?id=%22%3E%3Cscript%3E":                        "frame-ancestors 'none'",
	} {
		resp, err := p.browser(t).Get(path)
		_, page := body(t, resp, err)
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, want) || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if strings.Contains(page, "<script") || !strings.Contains(page, "Development only") {
			t.Errorf("%s: %s", path, page)
		}
	}
	resp, err := http.Get(p.issuer + "/pages.css")
	if status, css := body(t, resp, err); status != 200 || !strings.Contains(css, "prefers-color-scheme: dark") {
		t.Errorf("style: %d", status)
	}
}

func TestTokenAndRotation(t *testing.T) {
	p := newProvider(t)
	verify := func(raw string) error {
		found, err := oidc.NewProvider(t.Context(), p.issuer) // anew: no cached keys
		if err != nil {
			t.Fatal(err)
		}
		_, err = found.Verifier(&oidc.Config{ClientID: devidp.CLI}).Verify(t.Context(), raw)
		return err
	}
	mint := func(p *devidp.Provider) string {
		raw, err := p.Token(t.Context(), "agent", devidp.CLI)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	first := mint(p.Provider)
	if err := verify(first); err != nil {
		t.Error(err)
	}
	if err := verify(mint(open(t, p.issuer, p.dir))); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if info, err := os.Stat(filepath.Join(p.dir, "oidc_signing_key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := p.Rotate(true); err != nil {
		t.Fatal(err)
	}
	if err := verify(first); err != nil {
		t.Errorf("old token, old key kept: %v", err)
	}
	if err := p.Rotate(false); err != nil {
		t.Fatal(err)
	}
	if err := verify(first); err == nil {
		t.Error("old token, old key withdrawn: taken")
	}
	if err := verify(mint(p.Provider)); err != nil {
		t.Errorf("new key: %v", err)
	}
	if _, err := p.Token(t.Context(), "root", devidp.CLI); err == nil {
		t.Error("a token for nobody")
	}
}

func TestNewRefuses(t *testing.T) {
	with := func(f func(*devidp.Options)) devidp.Options {
		o := devidp.Options{Issuer: "http://127.0.0.1:8022/oidc", Dir: filepath.Join(t.TempDir(), "idp"), Users: users}
		f(&o)
		return o
	}
	bad := t.TempDir()
	if err := os.Chmod(bad, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bad, "oidc_signing_key.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		o    devidp.Options
		want string
	}{
		{with(func(o *devidp.Options) { o.Issuer = "https://id.example.org/oidc" }), "not on a loopback address"},
		{with(func(o *devidp.Options) { o.Issuer = "http://0.0.0.0:8022/oidc" }), "not on a loopback address"},
		{with(func(o *devidp.Options) { o.Issuer = "http://localhost.example.org/oidc" }), "not on a loopback address"},
		{with(func(o *devidp.Options) { o.Issuer = "/oidc" }), "is not a URL"},
		{with(func(o *devidp.Options) { o.Users = nil }), "no users"},
		{with(func(o *devidp.Options) { o.Users = []devidp.User{{Name: "a"}, {Name: "a"}} }), "empty or taken"},
		{with(func(o *devidp.Options) { o.Users = []devidp.User{{Name: "a", Kind: "agent", OnBehalfOf: "b"}} }), "only an agent acts"},
		{with(func(o *devidp.Options) { o.Users = []devidp.User{{Name: "b"}, {Name: "a", OnBehalfOf: "b"}} }), "only an agent acts"},
		{with(func(o *devidp.Options) { o.Dir = bad }), "remove it to have a new one made"},
	} {
		if _, err := devidp.New(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.want)
		}
	}
	if _, err := devidp.New(with(func(o *devidp.Options) { o.Issuer, o.InsecureAllowRemote = "https://id.example.org/oidc", true })); err != nil {
		t.Errorf("allowed by name: %v", err)
	}
}

func TestDiscovery(t *testing.T) {
	p := newProvider(t)
	resp, err := http.Get(p.issuer + "/.well-known/openid-configuration")
	_, doc := body(t, resp, err)
	var d map[string]any
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		"issuer": p.issuer, "authorization_endpoint": p.issuer + "/authorize", "token_endpoint": p.issuer + "/oauth/token",
		"jwks_uri": p.issuer + "/keys", "device_authorization_endpoint": p.issuer + "/device_authorization",
	} {
		if d[k] != want {
			t.Errorf("%s is %v, want %s", k, d[k], want)
		}
	}
	if fmt.Sprint(d["code_challenge_methods_supported"]) != "[S256]" || fmt.Sprint(d["id_token_signing_alg_values_supported"]) != "[ES256]" {
		t.Errorf("%s", doc)
	}
	resp, err = http.Get(strings.TrimSuffix(p.issuer, "/oidc") + "/v1/other")
	if status, _ := body(t, resp, err); status != http.StatusNotFound {
		t.Errorf("a path of another's: %d", status)
	}
}
