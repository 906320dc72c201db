package postgres

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// What sessions log in with.
const (
	// CredentialPassword is a role made for the session, with a password that reaches the server as a SCRAM
	// verifier only. It is the default.
	CredentialPassword = "password"
	// CredentialCertificate is a role made for the session, which has no password and proves itself by a client
	// certificate.
	CredentialCertificate = "certificate"
	// CredentialLogin is the login itself, by a client certificate in its name: no role is made, and
	// session_user is the login.
	CredentialLogin = "login"
)

// A Signer certifies the key of one session for the role that it logs in as. It returns the chain in DER, the
// leaf first.
type Signer func(ctx context.Context, key crypto.PublicKey, role string, validity time.Duration) ([][]byte, error)

// checkCredential tells whether sessions can log in as c says, with what the admin's connection string says of
// the server.
func (c *Config) checkCredential(admin *pgconn.Config) error {
	switch c.Credential {
	case "", CredentialPassword:
		return nil
	case CredentialCertificate, CredentialLogin:
	default:
		return fmt.Errorf("%q is not a credential: write password, certificate or login", c.Credential)
	}
	if c.Sign == nil {
		return errors.New("nobody signs client certificates")
	}
	// Whoever answers in the server's place must not get a session that believes in it.
	verified := func(t *tls.Config) bool { return t != nil && (!t.InsecureSkipVerify || t.VerifyPeerCertificate != nil) }
	ok := verified(admin.TLSConfig)
	for _, f := range admin.Fallbacks {
		ok = ok && verified(f.TLSConfig)
	}
	if !ok {
		return fmt.Errorf("credential %s needs TLS with a server that is verified: sslmode=verify-full and sslrootcert in the url", c.Credential)
	}
	return nil
}

// A minted credential is what one session logs in with.
type minted struct {
	name, password string
	login          string
	account        *account         // that made the role; nil: none was made
	certificate    *tls.Certificate // nil: the password
}

// certify makes a key for m and has it signed. The key never leaves this process.
func (t *Target) certify(ctx context.Context, m *minted) error {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	chain, err := t.c.Sign(ctx, pub, m.name, loginWithin)
	if err != nil {
		return fmt.Errorf("sign a certificate for the session: %w", err)
	}
	m.certificate = &tls.Certificate{Certificate: chain, PrivateKey: key}
	return nil
}

// configure makes c a login with m: with nothing of what the admin's account proves itself by.
func (m *minted) configure(c *pgconn.Config) {
	c.User, c.Password = m.name, m.password
	with := func(was *tls.Config) *tls.Config {
		if was == nil {
			return nil
		}
		now := was.Clone()
		now.Certificates, now.GetClientCertificate = nil, nil
		if m.certificate != nil {
			// Whatever authorities the server names: there is one certificate, and it is for this server.
			now.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.certificate, nil }
		}
		return now
	}
	c.TLSConfig = with(c.TLSConfig)
	for i, f := range c.Fallbacks {
		now := *f
		now.TLSConfig = with(f.TLSConfig)
		c.Fallbacks[i] = &now
	}
}

// adminPassword is a password that a file holds.
func adminPassword(text []byte) string { return strings.TrimRight(string(text), "\r\n") }
