package real

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"syscall"
	"time"
)

// prepareTLS writes what a server needs to speak TLS with clients that have a certificate, and returns its options.
func (p *Postgres) prepareTLS(clients []byte, attr *syscall.SysProcAttr) ([]string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, p.port, err = net.SplitHostPort(l.Addr().String())
	if err := l.Close(); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	cert, key, err := loopbackCert()
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"server.crt": cert, "server.key": key, "clients.crt": string(clients),
		"data/pg_hba.conf": "local all all trust\nhostssl all gate 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 cert\nhostssl all all ::1/128 cert\n",
	} {
		file := p.dir + "/" + name
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, err
		}
		if c := attr.Credential; c != nil {
			if err := os.Chown(file, int(c.Uid), int(c.Gid)); err != nil {
				return nil, err
			}
		}
	}
	return []string{"-p", p.port, "-c", "listen_addresses=localhost", "-c", "ssl=on", "-c", "ssl_cert_file=" + p.dir + "/server.crt",
		"-c", "ssl_key_file=" + p.dir + "/server.key", "-c", "ssl_ca_file=" + p.dir + "/clients.crt"}, nil
}

// loopbackCert is a certificate for localhost, and its key.
func loopbackCert() (cert, private string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), nil
}

// Authority is the certificate, in PEM, of an authority that never signed anything.
func Authority() ([]byte, error) {
	cert, _, err := loopbackCert()
	return []byte(cert), err
}
