package integration

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs"
)

var (
	shownURL   = regexp.MustCompile(`(?m)^ *(http://127\.0\.0\.1:\S+) *$`)
	shownCode  = regexp.MustCompile(`the code ([A-Z]{4}-[A-Z]{4})`)
	formAction = regexp.MustCompile(`action="([^"]*)"`)
	formHidden = regexp.MustCompile(`name="(id|user_code)" value="([^"]*)"`)
)

// cmdSignIn is a person with a browser: opens the address that a terminal shows, and signs in as USER, or
// refuses without one: sign-in TERM [USER].
func cmdSignIn(ts *testscript.TestScript, _ bool, args []string) {
	t := termsOf(ts)[args[0]]
	t.expect(ts, `^ *http://127\.0\.0\.1:\S+`)
	// The terminal has wrapped nothing: the address is one line of output.
	m := shownURL.FindStringSubmatch(t.text())
	if m == nil {
		ts.Fatalf("no address in:\n%s", t.text())
	}
	jar, err := cookiejar.New(nil)
	ts.Check(err)
	c := &http.Client{Jar: jar, Timeout: 20 * time.Second}
	resp, err := c.Get(m[1])
	ts.Check(err)
	page, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	ts.Check(err)
	to, field := formAction.FindSubmatch(page), formHidden.FindSubmatch(page)
	if to == nil || field == nil {
		ts.Fatalf("status %d, no form in %s", resp.StatusCode, page)
	}
	if code := shownCode.FindStringSubmatch(t.text()); code != nil && !strings.Contains(string(page), code[1]) {
		ts.Fatalf("the page does not show the code %s: %s", code[1], page)
	}
	u, err := resp.Request.URL.Parse(string(to[1]))
	ts.Check(err)
	form := url.Values{string(field[1]): {string(field[2])}}
	if len(args) > 1 {
		form.Set("user", args[1])
	} else {
		form.Set("deny", "1")
	}
	resp, err = c.PostForm(u.String(), form)
	ts.Check(err)
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); len(args) > 1 && resp.StatusCode != http.StatusOK {
		ts.Fatalf("status %d: %s", resp.StatusCode, body)
	}
}

// cmdRequest writes a request for a certificate with a token that dev's own provider could have made:
// request FILE CLAIM=VALUE... Values are JSON; iat and exp are seconds from now.
func cmdRequest(ts *testscript.TestScript, _ bool, args []string) {
	claims := map[string]any{
		"iss": ts.Getenv("URL") + "/oidc", "sub": "developer", "aud": "sallyport-cli", "email": "developer@example.com", "email_verified": true,
	}
	times := map[string]int64{"iat": 0, "exp": 300}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			times[name] = n
			continue
		}
		var v any
		ts.Check(json.Unmarshal([]byte(value), &v))
		claims[name] = v
	}
	for name, n := range times {
		claims[name] = time.Now().Unix() + n
	}
	token := signToken(ts, claims)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	ts.Check(err)
	signer, err := ssh.NewSignerFromSigner(key)
	ts.Check(err)
	proof, err := certs.Prove(token, signer)
	ts.Check(err)
	b, err := json.Marshal(certs.CertificateRequest{Token: token, Proof: proof, PublicKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// cmdPost sends a request for a certificate; the answer is the output.
func cmdPost(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("curl", "-sS", "-H", "Content-Type: application/json", "--data-binary", "@"+args[0], ts.Getenv("URL")+"/v1/certificates"))
}

func signToken(ts *testscript.TestScript, claims map[string]any) string {
	text := ts.ReadFile("d/oidc/oidc_signing_key.pem")
	block, _ := pem.Decode([]byte(text))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	ts.Check(err)
	var keys struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	resp, err := http.Get(ts.Getenv("URL") + "/oidc/keys")
	ts.Check(err)
	defer resp.Body.Close()
	ts.Check(json.NewDecoder(resp.Body).Decode(&keys))
	if len(keys.Keys) == 0 {
		ts.Fatalf("the provider has no keys")
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: keys.Keys[0].ID}}, nil)
	ts.Check(err)
	payload, err := json.Marshal(claims)
	ts.Check(err)
	signed, err := s.Sign(payload)
	ts.Check(err)
	token, err := signed.CompactSerialize()
	ts.Check(err)
	return token
}

// cmdExpire replaces the certificate beside a key by one that ended a minute ago: expire KEYFILE.
func cmdExpire(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0] + "-cert.pub")
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	ts.Check(err)
	cert := key.(*ssh.Certificate)
	cert.ValidBefore = uint64(time.Now().Add(-time.Minute).Unix())
	ca, err := ssh.ParsePrivateKey([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(cert.SignCert(rand.Reader, ca)) // by whom does not matter: it must be replaced
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+"-cert.pub"), ssh.MarshalAuthorizedKey(cert), 0o600))
}

// cmdAgent starts the real ssh-agent, which ends with the script, and sets $SSH_AUTH_SOCK.
func cmdAgent(ts *testscript.TestScript, _ bool, _ []string) {
	sock := ts.MkAbs("agent.sock")
	t := startTerm(ts, []string{"ssh-agent", "-D", "-a", sock})
	termsOf(ts)["ssh-agent"] = t
	t.expect(ts, `SSH_AUTH_SOCK=`)
	ts.Setenv("SSH_AUTH_SOCK", sock)
}
