package certs_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/certs/devidp"
	"golang.org/x/crypto/ssh"
)

// gate is the whole of the HTTP side, as dev mode runs it: provider and certificates on one listener.
type gate struct {
	url       string
	idp       *devidp.Provider
	authority *certs.Authority
	log       *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *logBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func newGate(t testing.TB, change func(*certs.HandlerOptions, *certs.Options)) *gate {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	g := &gate{url: server.URL, log: &logBuffer{}}
	var err error
	g.idp, err = devidp.New(devidp.Options{Issuer: server.URL + "/oidc", Dir: filepath.Join(t.TempDir(), "idp"), Users: []devidp.User{
		{Name: "developer", Email: "developer@example.org", Groups: []string{"developers"}},
		{Name: "agent", Kind: "agent", OnBehalfOf: "developer", Groups: []string{"agents"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := certs.NewVerifier([]certs.IssuerConfig{{URL: server.URL + "/oidc", Audiences: []string{devidp.CLI},
		Claims: certs.Claims{Kind: devidp.KindClaim}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := certs.HandlerOptions{Verifier: verifier, GateNames: []string{"127.0.0.1:2222"}, HostPatterns: []string{"[127.0.0.1]:2222", "web1"},
		Login: certs.LoginInfo{Issuer: server.URL + "/oidc", ClientID: devidp.CLI, Scopes: []string{"openid"}},
		Log:   slog.New(slog.NewJSONHandler(g.log, nil)), Burst: 1000}
	var o certs.Options
	if change != nil {
		change(&h, &o)
	}
	if g.authority, err = certs.OpenAuthority(filepath.Join(t.TempDir(), "ca"), o); err != nil {
		t.Fatal(err)
	}
	h.Authority = g.authority
	handler, err := certs.NewHandler(h)
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle(g.idp.Path(), g.idp)
	mux.Handle("/v1/", handler)
	return g
}

func (g *gate) token(t testing.TB, user string) string {
	t.Helper()
	token, err := g.idp.Token(t.Context(), user, devidp.CLI)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request(t testing.TB, token string, key ssh.Signer) certs.CertificateRequest {
	t.Helper()
	proof, err := certs.Prove(token, key)
	if err != nil {
		t.Fatal(err)
	}
	return certs.CertificateRequest{Token: token, Proof: proof, PublicKey: string(ssh.MarshalAuthorizedKey(key.PublicKey()))}
}

// TestCurlAndSSHKeygen is the recipe of the README, to the letter, with the real tools.
func TestCurlAndSSHKeygen(t *testing.T) {
	g := newGate(t, nil)
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, ok := strings.Cut(string(readme), "<!-- recipe -->\n```sh\n")
	recipe, _, ok2 := strings.Cut(recipe, "```")
	if !ok || !ok2 {
		t.Fatal("no recipe in README.md")
	}
	for _, user := range []string{"developer", "agent"} {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", recipe)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GATE="+g.url, "TOKEN="+g.token(t, user))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-L", "-f", filepath.Join(dir, "id-cert.pub")).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "identity@sallyport") || !strings.Contains(string(out), user) {
			t.Errorf("ssh-keygen -L: %v\n%s", err, out)
		}
	}
	if !strings.Contains(g.log.String(), `"name":"agent for developer"`) {
		t.Errorf("log: %s", g.log)
	}
}

func TestCertificates(t *testing.T) {
	g := newGate(t, nil)
	signer := newSigner(t)
	req := request(t, g.token(t, "agent"), signer)
	req.TTL, req.SourceAddress = "5m", []string{"127.0.0.0/8"}
	var got certs.CertificateAnswer
	if code := g.post(t, req, nil, &got); code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(got.Certificate))
	if err != nil {
		t.Fatal(err)
	}
	cert := key.(*ssh.Certificate)
	id, err := certs.IdentityOf(cert)
	if err != nil || id.Name != "agent" || id.Kind != certs.Agent || id.OnBehalfOf == nil || id.OnBehalfOf.Email != "developer@example.org" ||
		id.OnBehalfOf.Kind != certs.Human || id.Groups[0] != "agents" {
		t.Errorf("identity %+v on behalf of %+v, %v", id, id.OnBehalfOf, err)
	}
	if cert.CriticalOptions["source-address"] != "127.0.0.0/8" || time.Until(got.Expires) > 5*time.Minute || got.Principal != "agent" ||
		got.Gates[0] != "127.0.0.1:2222" || !strings.HasPrefix(got.KnownHosts[0], "@cert-authority [127.0.0.1]:2222,web1 ssh-ed25519 ") {
		t.Errorf("answer %+v", got)
	}
}

// post gives the status, and the answer decoded into v.
func (g *gate) post(t testing.TB, body any, header http.Header, v any) int {
	t.Helper()
	b, raw := body.([]byte)
	if !raw {
		var err error
		if b, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"/v1/certificates", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		r.Header[k] = v
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatalf("status %d, answer is not JSON: %v", resp.StatusCode, err)
	}
	return resp.StatusCode
}

func TestCertificatesRefuses(t *testing.T) {
	g := newGate(t, nil)
	signer, other := newSigner(t), newSigner(t)
	token := g.token(t, "developer")
	with := func(f func(*certs.CertificateRequest)) certs.CertificateRequest {
		r := request(t, token, signer)
		f(&r)
		return r
	}
	proof := func(text, namespace string, key ssh.Signer) string {
		sig, err := sshsig.Sign(strings.NewReader(text), key, sshsig.HashSHA512, namespace)
		if err != nil {
			t.Fatal(err)
		}
		return string(sshsig.Armor(sig))
	}
	for _, tt := range []struct {
		name   string
		body   any
		header http.Header
		status int
		reason certs.Reason
	}{
		{"no body", []byte{}, nil, 400, certs.ErrRequest},
		{"not JSON", []byte("token=x"), nil, 400, certs.ErrRequest},
		{"JSON null", []byte("null"), nil, 400, certs.ErrRequest},
		{"unknown field", []byte(`{"token":"x","principal":"root"}`), nil, 400, certs.ErrRequest},
		{"two objects", []byte(`{}{}`), nil, 400, certs.ErrRequest},
		{"form", with(func(*certs.CertificateRequest) {}), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 415, certs.ErrContentType},
		{"huge", []byte(`{"token":"` + strings.Repeat("x", 70<<10) + `"}`), nil, 413, certs.ErrTooLarge},
		{"no token", with(func(r *certs.CertificateRequest) { r.Token = "" }), nil, 400, certs.ErrRequest},
		{"two tokens", with(func(*certs.CertificateRequest) {}), http.Header{"Authorization": {"Bearer x"}}, 400, certs.ErrRequest},
		{"basic auth", with(func(r *certs.CertificateRequest) { r.Token = "" }), http.Header{"Authorization": {"Basic x"}}, 400, certs.ErrRequest},
		{"no key", with(func(r *certs.CertificateRequest) { r.PublicKey = "" }), nil, 400, certs.ErrPublicKey},
		{"key with options", with(func(r *certs.CertificateRequest) { r.PublicKey = `command="x" ` + r.PublicKey }), nil, 400, certs.ErrPublicKey},
		{"two keys", with(func(r *certs.CertificateRequest) { r.PublicKey += r.PublicKey }), nil, 400, certs.ErrPublicKey},
		{"a private key", with(func(r *certs.CertificateRequest) { r.PublicKey = "-----BEGIN OPENSSH PRIVATE KEY-----" }), nil, 400, certs.ErrPublicKey},
		{"no proof", with(func(r *certs.CertificateRequest) { r.Proof = "" }), nil, 400, certs.ErrProof},
		{"proof by another key", with(func(r *certs.CertificateRequest) { r.Proof = proof(token, certs.ProofNamespace, other) }), nil, 400, certs.ErrProof},
		{"proof of another token", with(func(r *certs.CertificateRequest) { r.Proof = proof(token+"\n", certs.ProofNamespace, signer) }), nil, 400, certs.ErrProof},
		{"proof for git", with(func(r *certs.CertificateRequest) { r.Proof = proof(token, "git", signer) }), nil, 400, certs.ErrProof},
		{"somebody else's key", with(func(r *certs.CertificateRequest) {
			r.PublicKey = string(ssh.MarshalAuthorizedKey(other.PublicKey()))
		}), nil, 400, certs.ErrProof},
		{"ttl too long", with(func(r *certs.CertificateRequest) { r.TTL = "1000h" }), nil, 400, certs.ErrRequest},
		{"ttl negative", with(func(r *certs.CertificateRequest) { r.TTL = "-5m" }), nil, 400, certs.ErrRequest},
		{"ttl a number", with(func(r *certs.CertificateRequest) { r.TTL = "300" }), nil, 400, certs.ErrRequest},
		{"source a name", with(func(r *certs.CertificateRequest) { r.SourceAddress = []string{"localhost"} }), nil, 400, certs.ErrRequest},
		{"source nowhere", []byte(`{"token":"x","source_address":[]}`), nil, 400, certs.ErrPublicKey},
		{"token of another audience", request(t, audience(t, g, "grafana"), signer), nil, 401, certs.ErrAudience},
		{"token garbage", request(t, "garbage", signer), nil, 401, certs.ErrMalformed},
		{"token oversize", request(t, strings.Repeat("x", certs.MaxToken+1), signer), nil, 413, certs.ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got certs.ErrorAnswer
			if code := g.post(t, tt.body, tt.header, &got); code != tt.status || got.Error != tt.reason || got.Message == "" {
				t.Errorf("status %d, %+v; want %d, %s", code, got, tt.status, tt.reason)
			}
		})
	}
	if log := g.log.String(); strings.Contains(log, token) || strings.Contains(log, strings.Split(token, ".")[2]) || strings.Contains(log, "PRIVATE KEY") {
		t.Errorf("the log has a secret in it:\n%s", log)
	}
}

func audience(t *testing.T, g *gate, aud string) string {
	t.Helper()
	token, err := g.idp.Token(t.Context(), "developer", aud)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestLedgerDownWithholds(t *testing.T) {
	g := newGate(t, func(_ *certs.HandlerOptions, o *certs.Options) {
		o.OnIssue = func(context.Context, certs.Issued) error { return errors.New("database at secret-host is gone") }
	})
	var got certs.ErrorAnswer
	if code := g.post(t, request(t, g.token(t, "developer"), newSigner(t)), nil, &got); code != 500 || got.Error != certs.ErrInternal || strings.Contains(fmt.Sprint(got), "secret-host") {
		t.Errorf("status %d, %+v", code, got)
	}
	if !strings.Contains(g.log.String(), "secret-host") {
		t.Error("the operator's log does not say why")
	}
}

func TestRateLimit(t *testing.T) {
	g := newGate(t, func(h *certs.HandlerOptions, _ *certs.Options) { h.Burst, h.Rate = 3, 0.001 })
	for i := range 5 {
		resp, err := http.Get(g.url + "/v1/ca")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if want := map[bool]int{true: 200, false: 429}[i < 3]; resp.StatusCode != want {
			t.Errorf("request %d: %d, want %d", i, resp.StatusCode, want)
		}
	}
}

func TestCAAndLogin(t *testing.T) {
	g := newGate(t, nil)
	get := func(path string, v any) int {
		t.Helper()
		resp, err := http.Get(g.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	var ca certs.CAAnswer
	if get("/v1/ca", &ca) != 200 || ca.UserCA[0] == ca.TargetCA[0] || ca.HostCA[0] == ca.UserCA[0] {
		t.Errorf("%+v", ca)
	}
	if block, _ := pem.Decode([]byte(ca.RecordRoot)); block == nil || !bytes.Equal(block.Bytes, g.authority.RecordRoot().Raw) {
		t.Errorf("record root %q", ca.RecordRoot)
	}
	var info certs.LoginInfo
	if get("/v1/login", &info) != 200 || info.ClientID != devidp.CLI || info.Issuer != g.url+"/oidc" {
		t.Errorf("%+v", info)
	}
	var e certs.ErrorAnswer
	if get("/v1/certificates", &e) != 405 || get("/v1/nothing", &e) != 404 || e.Error != certs.ErrNotFound {
		t.Errorf("%+v", e)
	}
	resp, err := http.Post(g.url+"/v1/ca", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("POST /v1/ca: %d %s", resp.StatusCode, b)
	}
}

// BenchmarkCertificates is the whole endpoint: JSON, proof, token, signature, answer.
func BenchmarkCertificates(b *testing.B) {
	g := newGate(b, func(h *certs.HandlerOptions, _ *certs.Options) { h.Rate, h.Burst = 1e9, 1<<30 })
	req := request(b, g.token(b, "developer"), newSigner(b))
	b.ReportAllocs()
	for b.Loop() {
		var got certs.CertificateAnswer
		if code := g.post(b, req, nil, &got); code != http.StatusOK {
			b.Fatalf("status %d", code)
		}
	}
}
