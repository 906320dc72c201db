package postgres

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/integration/real"
)

// An issuer signs certificates of clients.
type issuer struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{key, cert}
}

// pem is what a server trusts.
func (i *issuer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

// signer signs; late moves the time that a certificate is good for.
func (i *issuer) signer(late time.Duration) Signer {
	return func(_ context.Context, key crypto.PublicKey, role string, validity time.Duration) ([][]byte, error) {
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: role}, NotBefore: time.Now().Add(late - time.Minute),
			NotAfter: time.Now().Add(late + validity), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, i.cert, key, i.key)
		return [][]byte{der}, err
	}
}

// admin writes the certificate of the operator's own account, and returns the parameters that name it.
func (i *issuer) admin(t *testing.T, role string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := i.signer(0)(t.Context(), key.Public(), role, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"crt": {Type: "CERTIFICATE", Bytes: chain[0]}, "key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "user=" + role + "&sslcert=" + dir + "/crt&sslkey=" + dir + "/key"
}

// TestCertificates logs sessions in by certificates, on a server that takes nothing else.
func TestCertificates(t *testing.T) {
	runtime.LockOSThread() // PostgreSQL ends with the thread that started it
	trusted, other := newIssuer(t), newIssuer(t)
	pg, err := real.StartPostgresTLS(trusted.pem())
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Stop()
	ctx := t.Context()
	admin := trusted.admin(t, "tester")
	direct, err := pgx.Connect(ctx, pg.TLS("postgres", admin))
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(ctx)
	if _, err := direct.Exec(ctx, "create role app login; create role boss login"); err != nil {
		t.Fatal(err)
	}
	otherRoot := strings.Replace(pg.TLS("postgres", admin), pg.Dir()+"/server.crt", filepath.Join(t.TempDir(), "other.crt"), 1)
	_, file, _ := strings.Cut(otherRoot, "sslrootcert=")
	file, _, _ = strings.Cut(file, "&")
	if err := os.WriteFile(file, other.pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, url, credential string
		sign                  Signer
		user                  string // of session_user, as far as it is known; "": refused
	}{
		{"a role of its own", pg.TLS("postgres", admin), CredentialCertificate, trusted.signer(0), "sallyport_"},
		{"the login itself", pg.TLS("postgres", admin), CredentialLogin, trusted.signer(0), "app"},
		{"expired", pg.TLS("postgres", admin), CredentialLogin, trusted.signer(-10 * time.Minute), ""},
		{"not yet", pg.TLS("postgres", admin), CredentialCertificate, trusted.signer(10 * time.Minute), ""},
		{"of somebody else", pg.TLS("postgres", admin), CredentialLogin, other.signer(0), ""},
		{"in another name", pg.TLS("postgres", admin), CredentialLogin, func(ctx context.Context, key crypto.PublicKey, _ string, v time.Duration) ([][]byte, error) {
			return trusted.signer(0)(ctx, key, "boss", v)
		}, ""},
		{"a server that is another", otherRoot, CredentialLogin, trusted.signer(0), ""},
		{"a password where a certificate is asked for", pg.TLS("postgres", admin), CredentialPassword, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := serveOne(t, Config{Admin: tt.url, Credential: tt.credential, Sign: tt.sign})
			c, err := pgx.Connect(t.Context(), "host="+dir+" user=app dbname=postgres sslmode=disable")
			if tt.user == "" {
				if code(err) != "08006" {
					t.Errorf("got %v", err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else {
				defer c.Close(t.Context())
				var session, current, dn string
				if err := c.QueryRow(t.Context(), "select session_user, current_user").Scan(&session, &current); err != nil {
					t.Fatal(err)
				}
				if err := direct.QueryRow(t.Context(), "select client_dn from pg_stat_ssl where pid = $1", c.PgConn().PID()).Scan(&dn); err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(session, tt.user) || current != "app" || dn != "/CN="+session {
					t.Errorf("session_user %q, current_user %q, certificate of %q", session, current, dn)
				}
				ctx, cancel := context.WithCancel(t.Context())
				go func() { // ends with the statement
					for c.PgConn().CancelRequest(ctx) == nil && ctx.Err() == nil {
					}
				}()
				if _, err := c.Exec(t.Context(), "select pg_sleep(600)"); code(err) != "57014" {
					t.Errorf("cancelled: %v", err)
				}
				cancel()
			}
			var n int
			if err := direct.QueryRow(t.Context(), "select count(*) from pg_roles where starts_with(rolname, 'sallyport_')").Scan(&n); tt.credential == CredentialLogin && (err != nil || n != 0) {
				t.Errorf("%d roles were made, %v", n, err)
			}
		})
	}
}

// serveOne serves a target on a socket, and returns its directory.
func serveOne(t *testing.T, c Config) string {
	t.Helper()
	engine, err := mask.New(mask.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.Name, c.Gate, c.Parser, c.Masks, c.Logins = "db", t.Name(), parser, engine, []string{"app", "boss"}
	target, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "pg")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = target.Serve(context.Background(), conn, &guard{}) // what the client is told is what counts
				conn.Close()
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait(); target.Close(); os.RemoveAll(dir) })
	return dir
}

// TestCredentialNeedsVerifiedServer refuses configurations in which a session would believe in any server.
func TestCredentialNeedsVerifiedServer(t *testing.T) {
	engine, err := mask.New(mask.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"disable", "prefer", "require"} {
		_, err := New(Config{Admin: "postgres://gate@localhost/x?sslmode=" + mode, Logins: []string{"app"}, Parser: parser, Masks: engine,
			Credential: CredentialLogin, Sign: newIssuer(t).signer(0)})
		if err == nil || !strings.Contains(err.Error(), "verify-full") {
			t.Errorf("%s: %v", mode, err)
		}
	}
}
