package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/sallyport-ssh/sallyport/certs"
	"golang.org/x/crypto/ssh"
)

const maxAnswer = 256 << 10 // bytes of an answer from the gate

// Limits ask the gate for less than it would give.
type Limits struct {
	TTL           time.Duration // 0: the gate's default
	SourceAddress []string      // nil: anywhere
}

// An Answer is a certificate and what goes with it.
type Answer struct {
	Certificate *ssh.Certificate
	Expires     time.Time
	KnownHosts  []string // @cert-authority lines
	Gates       []string // host:port
}

// A GateError is a refusal by the gate.
type GateError struct {
	Status int
	certs.ErrorAnswer
}

func (e *GateError) Error() string {
	s := "the gate says: " + e.Message
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap gives the certs.Reason.
func (e *GateError) Unwrap() error { return e.ErrorAnswer.Error }

// Exchange hands a token to the gate and gets a certificate for the key. The private key stays here;
// the gate gets a signature over the token.
func Exchange(ctx context.Context, client *http.Client, gate, token string, key ssh.Signer, l Limits) (Answer, error) {
	proof, err := certs.Prove(token, key)
	if err != nil {
		return Answer{}, fmt.Errorf("prove possession of the key: %w", err)
	}
	req := certs.CertificateRequest{Token: token, Proof: proof, SourceAddress: l.SourceAddress,
		PublicKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))}
	if l.TTL != 0 {
		req.TTL = l.TTL.String()
	}
	var got certs.CertificateAnswer
	if err := call(ctx, client, http.MethodPost, gate, "/v1/certificates", req, &got); err != nil {
		return Answer{}, err
	}
	cert, err := checkCertificate(got.Certificate, key.PublicKey())
	if err != nil {
		return Answer{}, fmt.Errorf("the gate's answer: %w", err)
	}
	a := Answer{Certificate: cert, Expires: time.Unix(int64(cert.ValidBefore), 0), Gates: got.Gates, KnownHosts: got.KnownHosts}
	for _, s := range append(a.KnownHosts, a.Gates...) {
		if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return Answer{}, errors.New("the gate's answer has characters that cannot be shown")
		}
	}
	for _, s := range a.KnownHosts {
		if !strings.HasPrefix(s, "@cert-authority ") {
			return Answer{}, errors.New("the gate's answer has a known_hosts line that is no @cert-authority")
		}
	}
	return a, nil
}

func checkCertificate(line string, want ssh.PublicKey) (*ssh.Certificate, error) {
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("not a certificate")
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok || cert.CertType != ssh.UserCert {
		return nil, errors.New("not a user certificate")
	}
	if !bytes.Equal(cert.Key.Marshal(), want.Marshal()) {
		return nil, errors.New("a certificate for another key")
	}
	return cert, nil
}

// Info asks the gate how people sign in.
func Info(ctx context.Context, client *http.Client, gate string) (certs.LoginInfo, error) {
	var info certs.LoginInfo
	err := call(ctx, client, http.MethodGet, gate, "/v1/login", nil, &info)
	return info, err
}

// checkGate holds the gate's address to what a token may be sent to.
func checkGate(gate string) error {
	u, err := url.Parse(gate)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("gate %q is not an address such as https://gate.example.org", gate)
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("gate %q: use https; a token sent by http can be read on the way", gate)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// call speaks to the gate. Redirects are not followed: they would carry the token elsewhere.
func call(ctx context.Context, client *http.Client, method, gate, path string, body, answer any) error {
	if err := checkGate(gate); err != nil {
		return err
	}
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(gate, "/")+path, &b)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("the gate cannot be reached: %w", err)
	}
	defer resp.Body.Close()
	return decode(resp, answer)
}

func decode(resp *http.Response, answer any) error {
	if t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return fmt.Errorf("no gate answers there (status %d, not JSON)", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the gate's answer: %w", err)
	}
	if len(raw) > maxAnswer {
		return errors.New("the gate's answer is too long")
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(raw, answer); err != nil {
			return errors.New("the gate's answer cannot be understood; is it of another version?")
		}
		return nil
	}
	e := &GateError{Status: resp.StatusCode}
	if err := json.Unmarshal(raw, &e.ErrorAnswer); err != nil || e.Message == "" {
		return fmt.Errorf("no gate answers there (status %d)", resp.StatusCode)
	}
	e.Message, e.Hint = printable(e.Message), printable(e.Hint)
	return e
}

// printable keeps what somebody else wrote from acting on the terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	return s[:min(len(s), 4096)]
}
