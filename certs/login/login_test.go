package login_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/certs/devidp"
	"github.com/sallyport-ssh/sallyport/certs/login"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// newGate serves provider and certificates, as dev mode does. wrap may bend what the gate answers.
func newGate(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	mux := http.NewServeMux()
	var h http.Handler = mux
	if wrap != nil {
		h = wrap(mux)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	issuer := server.URL + "/oidc"
	idp, err := devidp.New(devidp.Options{Issuer: issuer, Dir: filepath.Join(t.TempDir(), "idp"),
		Users: []devidp.User{{Name: "developer", Email: "developer@example.org", Groups: []string{"developers"}}, {Name: "approver"}}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := certs.NewVerifier([]certs.IssuerConfig{{URL: issuer, Audiences: []string{devidp.CLI}, Kind: certs.Human}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := certs.OpenAuthority(filepath.Join(t.TempDir(), "ca"), certs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := certs.NewHandler(certs.HandlerOptions{Verifier: v, Authority: a, HostPatterns: []string{"*"}, GateNames: []string{"127.0.0.1:2222"},
		Log: slog.New(slog.DiscardHandler), Login: certs.LoginInfo{Issuer: issuer, ClientID: devidp.CLI, Scopes: []string{"openid", "email"}}})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle(idp.Path(), idp)
	mux.Handle("/v1/", handler)
	return server.URL
}

var action = regexp.MustCompile(`action="([^"]*)"`)
var hidden = regexp.MustCompile(`name="(id|user_code)" value="([^"]*)"`)

// browse is a person with a browser: opens the address, and continues as user.
func browse(address, user string) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	c := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	resp, err := c.Get(address)
	if err != nil {
		return err
	}
	page, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return err
	}
	to, field := action.FindSubmatch(page), hidden.FindSubmatch(page)
	if to == nil || field == nil {
		return fmt.Errorf("status %d, no form in %s", resp.StatusCode, page)
	}
	u, err := resp.Request.URL.Parse(string(to[1]))
	if err != nil {
		return err
	}
	form := url.Values{string(field[1]): {string(field[2])}}
	if user == "" {
		form.Set("deny", "1")
	} else {
		form.Set("user", user)
	}
	resp, err = c.PostForm(u.String(), form)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return nil
}

// person opens addresses as the desktop would, in the background.
type person struct {
	user string
	wg   sync.WaitGroup
	mu   sync.Mutex
	err  error
}

func (p *person) open(address string) error {
	p.wg.Go(func() {
		err := browse(address, p.user)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.err = errors.Join(p.err, err)
	})
	return nil
}

func (p *person) check(t *testing.T) {
	t.Helper()
	p.wg.Wait()
	if p.err != nil {
		t.Error(p.err)
	}
}

func TestBrowserToFile(t *testing.T) {
	gate := newGate(t, nil)
	file := filepath.Join(t.TempDir(), "new", "id")
	var out bytes.Buffer
	var first ssh.PublicKey
	for range 2 { // the second time with the key of the first
		p := &person{user: "developer"}
		r, err := login.Run(t.Context(), login.Options{Gate: gate, Write: file, OpenBrowser: p.open, Out: &out, TTL: 5 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		p.check(t)
		id, err := certs.IdentityOf(r.Certificate)
		if err != nil || id.Name != "developer" || id.Email != "developer@example.org" || time.Until(r.Expires) > 5*time.Minute {
			t.Errorf("%+v, %v, expires %v", id, err, r.Expires)
		}
		if first != nil && !bytes.Equal(first.Marshal(), r.Certificate.Key.Marshal()) {
			t.Error("the key was replaced")
		}
		first = r.Certificate.Key
		if r.KeyFile != file || r.CertFile != file+"-cert.pub" || !strings.HasPrefix(r.KnownHosts[0], "@cert-authority * ") {
			t.Errorf("%+v", r)
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	saved, err := os.ReadFile(file + "-cert.pub")
	if err != nil || !bytes.HasPrefix(saved, []byte("ssh-ed25519-cert-v01@openssh.com ")) {
		t.Errorf("%q, %v", saved, err)
	}
	if !strings.Contains(out.String(), gate+"/oidc/authorize?") {
		t.Errorf("the address is not shown: %s", &out)
	}
}

func TestBrowserToAgent(t *testing.T) {
	gate := newGate(t, nil)
	socket := filepath.Join(t.TempDir(), "agent")
	keyring := agent.NewKeyring()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			agent.ServeAgent(keyring, c)
			c.Close()
		}
	})
	defer wg.Wait()
	defer l.Close()
	other, _, err := newAgentKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := keyring.Add(agent.AddedKey{PrivateKey: other, Comment: "mine"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p := &person{user: "approver"}
		r, err := login.Run(t.Context(), login.Options{Gate: gate, Agent: true, AgentSocket: socket, OpenBrowser: p.open})
		if err != nil {
			t.Fatal(err)
		}
		p.check(t)
		keys, err := keyring.List()
		if err != nil || len(keys) != 2 || keys[0].Comment != "mine" || !bytes.Equal(keys[1].Marshal(), r.Certificate.Marshal()) {
			t.Errorf("agent holds %v, %v", keys, err)
		}
	}
}

func newAgentKey() (ed25519.PrivateKey, ed25519.PublicKey, error) {
	pub, key, err := ed25519.GenerateKey(nil)
	return key, pub, err
}

func TestDevice(t *testing.T) {
	gate := newGate(t, nil)
	for _, tt := range []struct{ user, want string }{{"approver", ""}, {"", "the sign-in was refused"}} {
		p := &person{user: tt.user}
		var out bytes.Buffer
		r, err := login.Run(t.Context(), login.Options{Gate: gate, Device: true, Write: filepath.Join(t.TempDir(), "id"), OpenBrowser: p.open, Out: &out})
		p.check(t)
		if !regexp.MustCompile(`code [B-Z]{4}-[B-Z]{4}`).MatchString(out.String()) {
			t.Errorf("no code shown: %s", &out)
		}
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("refused: %v, want %q", err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if id, err := certs.IdentityOf(r.Certificate); err != nil || id.Name != "approver" {
			t.Errorf("%+v, %v", id, err)
		}
	}
}

// TestCallback: the answer must carry this sign-in's state, come from its issuer, and bring a token
// with its nonce; what anybody else sends to the port is ignored.
func TestCallback(t *testing.T) {
	send := func(address string, change func(url.Values)) (int, error) {
		auth, err := url.Parse(address)
		if err != nil {
			return 0, err
		}
		back := auth.Query().Get("redirect_uri")
		q := url.Values{"state": {auth.Query().Get("state")}, "code": {"invented"}}
		change(q)
		resp, err := http.Get(back + "?" + q.Encode())
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	gate := newGate(t, nil)
	for _, tt := range []struct {
		name   string
		change func(url.Values)
		want   string
	}{
		{"an invented code", func(url.Values) {}, "the issuer says invalid_grant"},
		{"an error", func(q url.Values) { q.Set("error", "access_denied\x1b[2J") }, "the issuer says access_denied?[2J"},
		{"no code", func(q url.Values) { q.Del("code") }, "sent no code"},
		{"another issuer", func(q url.Values) { q.Set("iss", "https://evil.example") }, "another issuer answered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			open := func(address string) error { _, err := send(address, tt.change); return err }
			_, err := login.Run(t.Context(), login.Options{Gate: gate, Write: filepath.Join(t.TempDir(), "id"), OpenBrowser: open})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	t.Run("a stranger first", func(t *testing.T) {
		p := &person{user: "developer"}
		open := func(address string) error {
			for _, change := range []func(url.Values){func(q url.Values) { q.Set("state", "guessed") }, func(q url.Values) { q.Del("state") }} {
				if code, err := send(address, change); err != nil || code != http.StatusBadRequest {
					t.Errorf("a stranger is answered %d, %v", code, err)
				}
			}
			return p.open(address)
		}
		if _, err := login.Run(t.Context(), login.Options{Gate: gate, Write: filepath.Join(t.TempDir(), "id"), OpenBrowser: open}); err != nil {
			t.Error(err)
		}
		p.check(t)
	})
	t.Run("another nonce", func(t *testing.T) {
		p := &person{user: "developer"}
		open := func(address string) error {
			u, err := url.Parse(address)
			if err != nil {
				return err
			}
			q := u.Query()
			q.Set("nonce", "of-another-sign-in")
			u.RawQuery = q.Encode()
			return p.open(u.String())
		}
		_, err := login.Run(t.Context(), login.Options{Gate: gate, Write: filepath.Join(t.TempDir(), "id"), OpenBrowser: open})
		if err == nil || !strings.Contains(err.Error(), "another sign-in (nonce)") {
			t.Errorf("%v", err)
		}
		p.check(t)
	})
}

func TestNobodySignsIn(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gave := errors.New("interrupted")
	open := func(string) error { cancel(gave); return errors.New("no display") }
	var out bytes.Buffer
	_, err := login.Run(ctx, login.Options{Gate: newGate(t, nil), Write: filepath.Join(t.TempDir(), "id"), OpenBrowser: open, Out: &out})
	if !errors.Is(err, gave) || !strings.Contains(out.String(), "open the address yourself") {
		t.Errorf("%v, %s", err, &out)
	}
}

// TestHostileGate: a gate that answers wrongly gets nothing onto the disk or the terminal.
func TestHostileGate(t *testing.T) {
	_, otherPub, err := newAgentKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := ssh.NewPublicKey(otherPub)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*certs.CertificateAnswer)) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/certificates" {
					h.ServeHTTP(w, r)
					return
				}
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r)
				var a certs.CertificateAnswer
				json.Unmarshal(rec.Body.Bytes(), &a)
				f(&a)
				w.Header().Set("Content-Type", "application/json")
				json.NewEncoder(w).Encode(a)
			})
		}
	}
	answer := func(status int, kind, body string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/certificates" {
					h.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", kind)
				w.Header().Set("Location", "/v1/certificates")
				w.WriteHeader(status)
				io.WriteString(w, body)
			})
		}
	}
	for _, tt := range []struct {
		name string
		wrap func(http.Handler) http.Handler
		want string
	}{
		{"a certificate for another key", change(func(a *certs.CertificateAnswer) { a.Certificate = recertify(t, a.Certificate, other) }), "another key"},
		{"a plain key", change(func(a *certs.CertificateAnswer) { a.Certificate = string(ssh.MarshalAuthorizedKey(other)) }), "not a user certificate"},
		{"two lines", change(func(a *certs.CertificateAnswer) { a.Certificate += "\n" + string(ssh.MarshalAuthorizedKey(other)) }), "not a certificate"},
		{"escapes", change(func(a *certs.CertificateAnswer) { a.Gates = []string{"\x1b]52;c;x\a"} }), "cannot be shown"},
		{"a known_hosts line for everything", change(func(a *certs.CertificateAnswer) {
			a.KnownHosts = []string{"* " + string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(other)))}
		}), "no @cert-authority"},
		{"endless", answer(200, "application/json", strings.Repeat(" ", 300<<10)), "too long"},
		{"a web page", answer(200, "text/html", "<html>"), "no gate answers there"},
		{"a redirect", answer(307, "application/json", "{}"), "no gate answers there (status 307)"},
		{"escapes in an error", answer(400, "application/json", `{"error":"x","message":"a\u001b[2Jb"}`), "a?[2Jb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &person{user: "developer"}
			file := filepath.Join(t.TempDir(), "id")
			_, err := login.Run(t.Context(), login.Options{Gate: newGate(t, tt.wrap), Write: file, OpenBrowser: p.open})
			p.check(t)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.ContainsRune(err.Error(), '\x1b') {
				t.Errorf("%q, want %q", err, tt.want)
			}
			if _, err := os.Stat(file + "-cert.pub"); err == nil {
				t.Error("a certificate was written")
			}
		})
	}
}

// recertify swaps the key in a certificate, which a gate that mixes up its callers would do.
func recertify(t *testing.T, line string, key ssh.PublicKey) string {
	k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Error(err)
		return ""
	}
	c := k.(*ssh.Certificate)
	c.Key = key
	return string(ssh.MarshalAuthorizedKey(c))
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "id")
	rsaFile := filepath.Join(t.TempDir(), "rsa")
	if err := os.WriteFile(rsaFile, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	loose := filepath.Join(t.TempDir(), "loose")
	if err := os.WriteFile(loose, []byte("not a key"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	for _, tt := range []struct {
		o    login.Options
		want string
	}{
		{login.Options{Gate: "http://gate.example.org", Write: file}, "use https"},
		{login.Options{Gate: "gate.example.org", Write: file}, "is not an address"},
		{login.Options{Gate: "https://u:p@gate.example.org", Write: file}, "is not an address"},
		{login.Options{Gate: "https://gate.example.org", Write: file, Agent: true}, "not both"},
		{login.Options{Gate: "https://gate.example.org", Agent: true}, "no ssh-agent is running"},
		{login.Options{Gate: "http://127.0.0.1:1", Write: rsaFile}, "is not an Ed25519 key"},
		{login.Options{Gate: "http://127.0.0.1:1", Write: loose}, "chmod 0600"},
		{login.Options{Gate: "http://127.0.0.1:1", Write: file}, "the gate cannot be reached"},
		{login.Options{Gate: "http://127.0.0.1:1", Write: file, Issuer: "http://id.example.org", ClientID: "x"}, "is not an https address"},
	} {
		if _, err := login.Run(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.want)
		}
	}
}

func TestDonePageStyle(t *testing.T) {
	page, err := os.ReadFile("done.html")
	if err != nil {
		t.Fatal(err)
	}
	_, style, _ := bytes.Cut(page, []byte("<style>"))
	style, _, ok := bytes.Cut(style, []byte("</style>"))
	source, err := os.ReadFile("signin.go")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(style)
	if want := `doneStyle = "` + base64.StdEncoding.EncodeToString(sum[:]) + `"`; !ok || !bytes.Contains(source, []byte(want)) {
		t.Errorf("the page's style changed; set %s", want)
	}
}
