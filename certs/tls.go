package certs

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	casapi "github.com/smallstep/certificates/cas/apiv1"
)

// Validities of TLS certificates.
const (
	ServerValidity    = 24 * time.Hour // of what proves a target's name inside a tunnel
	MaxClientValidity = time.Hour      // of what a session proves itself with to a target
)

// A Client is what a certificate says of a session to its target.
type Client struct {
	Name     string        // the common name: the account, or the user as the target shall know them
	Groups   []string      // organizations: Kubernetes' groups
	Validity time.Duration // 0: one minute, at most an hour
	KeyID    string        // names identity and session, for the ledger
}

var serverName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// SignServer certifies the key with which this gate proves, inside a tunnel, that it is the target of those
// names. It gives the chain in DER, the leaf first, the root not in it.
func (a *Authority) SignServer(ctx context.Context, pub crypto.PublicKey, names []string) ([][]byte, error) {
	if len(names) == 0 || len(names) > 64 || slices.ContainsFunc(names, func(n string) bool { return !serverName.MatchString(n) }) {
		return nil, errors.New("sign server: not names of a host")
	}
	now := a.now()
	return a.signTLS(ctx, KindServer, names, "", &x509.Certificate{
		PublicKey: pub, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: now.Add(-a.options.Backdate), NotAfter: now.Add(ServerValidity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	})
}

// SignClient certifies a key for one session with a target that trusts this authority's X.509 root. It gives the
// chain in DER, the leaf first, the root not in it.
func (a *Authority) SignClient(ctx context.Context, pub crypto.PublicKey, c Client) ([][]byte, error) {
	c.Validity = orElse(c.Validity, time.Minute)
	if c.Name == "" || len(c.Name) > 256 || c.Validity < 0 || c.Validity > MaxClientValidity {
		return nil, fmt.Errorf("sign client: want a name, and a validity of at most %v", MaxClientValidity)
	}
	now := a.now()
	return a.signTLS(ctx, KindClient, []string{c.Name}, c.KeyID, &x509.Certificate{
		PublicKey: pub, Subject: pkix.Name{CommonName: c.Name, Organization: c.Groups},
		NotBefore: now.Add(-a.options.Backdate), NotAfter: now.Add(c.Validity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	})
}

func (a *Authority) signTLS(ctx context.Context, kind string, names []string, id string, t *x509.Certificate) ([][]byte, error) {
	resp, err := a.x509.CreateCertificate(&casapi.CreateCertificateRequest{Lifetime: t.NotAfter.Sub(t.NotBefore), Template: t})
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", kind, err)
	}
	leaf := resp.Certificate
	chain := [][]byte{leaf.Raw}
	for _, c := range resp.CertificateChain {
		chain = append(chain, c.Raw)
	}
	if id == "" {
		id = leaf.Subject.CommonName
	}
	err = a.issued(ctx, Issued{
		Kind: kind, Serial: leaf.SerialNumber.Text(16), KeyID: id, Principals: names, Fingerprint: fingerprint(leaf.RawSubjectPublicKeyInfo),
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	})
	if err != nil {
		return nil, err
	}
	return chain, nil
}
