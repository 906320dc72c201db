package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestTLS: a client that knows the root believes the gate to be the target and nobody else, and a target that knows it
// hears who the client is.
func TestTLS(t *testing.T) {
	a, err := OpenAuthority(filepath.Join(t.TempDir(), "ca"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	pair := func(chain [][]byte, err error, key *ecdsa.PrivateKey) tls.Certificate {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: chain, PrivateKey: key}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.RecordRoot())
	chain, err := a.SignServer(t.Context(), key.Public(), []string{"db", "db.internal"})
	server := pair(chain, err, key)
	chain, err = a.SignClient(t.Context(), key.Public(), Client{Name: "dev@example.com", Groups: []string{"users"}})
	client := pair(chain, err, key)

	for name, c := range map[string]struct {
		as     string
		server tls.Certificate
		client *tls.Certificate
		ok     bool
	}{
		"by name": {"db", server, &client, true}, "by the other name": {"db.internal", server, &client, true},
		"another name": {"web", server, &client, false}, "no client": {"db", server, nil, false},
		"a client's as a server's": {"dev@example.com", client, &client, false},
		"a server's as a client's": {"db", server, &server, false},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			heard := make(chan error, 1)
			s := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{c.server}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert})
			go func() { heard <- s.Handshake(); far.Close() }()
			cfg := &tls.Config{RootCAs: roots, ServerName: c.as}
			if c.client != nil {
				cfg.Certificates = []tls.Certificate{*c.client}
			}
			err := tls.Client(near, cfg).Handshake()
			near.Close()
			if serverErr := <-heard; (err == nil && serverErr == nil) != c.ok {
				t.Errorf("client: %v, server: %v", err, serverErr)
			}
			if c.ok {
				leaf := s.ConnectionState().PeerCertificates[0]
				if leaf.Subject.CommonName != "dev@example.com" || leaf.Subject.Organization[0] != "users" || time.Until(leaf.NotAfter) > 2*time.Minute {
					t.Errorf("the target hears %v until %v", leaf.Subject, leaf.NotAfter)
				}
			}
		})
	}
}

func TestTLSRefused(t *testing.T) {
	a, err := OpenAuthority(filepath.Join(t.TempDir(), "ca"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range [][]string{nil, {""}, {"a b"}, {"*.example.com"}, {"-a"}} {
		if _, err := a.SignServer(t.Context(), key.Public(), names); err == nil {
			t.Errorf("a server called %q was certified", names)
		}
	}
	for _, c := range []Client{{}, {Name: "a", Validity: 2 * time.Hour}, {Name: "a", Validity: -1}} {
		if _, err := a.SignClient(t.Context(), key.Public(), c); err == nil {
			t.Errorf("%+v was certified", c)
		}
	}
}
