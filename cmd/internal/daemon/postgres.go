package daemon

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/filters/sql/child"
	"github.com/sallyport-ssh/sallyport/filters/sql/grammar"
	"github.com/sallyport-ssh/sallyport/shells/postgres"
	"github.com/sallyport-ssh/sallyport/sshd"
)

// sweepTimeout bounds looking for what a former life of this gate left on a server. A server that is not
// there is no reason not to start.
const sweepTimeout = 5 * time.Second

func (d *Daemon) openPostgres(t config.Target, out *sshd.Target) error {
	masks, err := Masks(&d.config.Masking)
	if err != nil {
		return err
	}
	if d.parser == nil {
		d.parser = child.New(child.Options{Command: []string{"/proc/self/exe", grammar.Argument}})
	}
	p := t.Postgres
	c := postgres.Config{
		Name: t.Name, Gate: d.config.Gate.Name, Admin: p.URL, PasswordFile: p.PasswordFile, Databases: p.Databases, Logins: p.Logins,
		Parser: d.parser, Masks: masks, TLS: d.serverTLS(t.Name), Psql: true, Log: d.log, ConnectTimeout: p.ConnectTimeout.D(),
		Credential: p.Credential, Sign: d.signSession(t.Name), Writable: p.Writable, ShownRows: p.RecordedRows,
	}
	if c.TokenKey, err = tokenKey(d.config.Masking.TokenKeyFile); err != nil {
		return err
	}
	for _, column := range p.Protected {
		relation, name := column.Split()
		c.Protected = append(c.Protected, postgres.Protected{Relation: relation, Column: name, Style: column.Style})
	}
	target, err := postgres.New(c)
	if err != nil {
		return err
	}
	d.openers = append(d.openers, target.Close)
	out.Postgres, out.Login, out.Logins = target, p.Logins[0], p.Logins
	out.Opener = target.Psql(nil)
	if u, err := url.Parse(p.URL); err == nil && u.Port() != "" {
		out.Address = net.JoinHostPort(u.Hostname(), u.Port())
	}
	ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
	defer cancel()
	if err := target.Sweep(ctx); err != nil {
		d.log.Warn("roles of a former run were not swept", "target", t.Name, "error", err)
	}
	return nil
}

// signSession certifies keys of sessions for a target's roles.
func (d *Daemon) signSession(target string) postgres.Signer {
	return func(ctx context.Context, key crypto.PublicKey, role string, validity time.Duration) ([][]byte, error) {
		return d.authority.SignClient(ctx, key, certs.Client{Name: role, Validity: validity, KeyID: target + "/" + role})
	}
}

func tokenKey(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	key, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("masking.token_key_file: %w", err)
	}
	return key, nil
}

// serverTLS proves the gate to clients that speak TLS with the target inside the tunnel, by a certificate of
// the gate's authority that is renewed when half its life is gone.
func (d *Daemon) serverTLS(name string) *tls.Config {
	var mu sync.Mutex
	var current *tls.Certificate
	var renew time.Time
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"postgresql"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			if current != nil && time.Now().Before(renew) {
				return current, nil
			}
			pub, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return nil, err
			}
			// A forward is reached as localhost, or by the name of the target.
			chain, err := d.authority.SignServer(hello.Context(), pub, []string{name, "localhost"})
			if err != nil {
				return nil, err
			}
			current, renew = &tls.Certificate{Certificate: chain, PrivateKey: key}, time.Now().Add(certs.ServerValidity/2)
			return current, nil
		},
	}
}
