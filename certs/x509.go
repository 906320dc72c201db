package certs

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"time"

	casapi "github.com/smallstep/certificates/cas/apiv1"
)

const (
	rootValidity         = 20 * 365 * 24 * time.Hour
	intermediateValidity = 10 * 365 * 24 * time.Hour
	// RecorderValidity is how long a session's recording key may sign: longer than any session.
	RecorderValidity = 31 * 24 * time.Hour
)

// recorderUsage is id-kp-documentSigning (RFC 9336). A leaf without any extended key usage would be
// good for TLS too; with this one alone it is good for neither server nor client.
var recorderUsage = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}

var anyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}

var sessionID = regexp.MustCompile(`^[0-9a-z]{6,40}$`)

func signRoot(key ed25519.PrivateKey, now time.Time) (*x509.Certificate, error) {
	t := caTemplate("Sallyport Root CA", 1, now, rootValidity)
	return sign(t, t, key.Public(), key)
}

func signIntermediate(root *x509.Certificate, rootKey crypto.Signer, pub crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	return sign(caTemplate("Sallyport Intermediate CA", 0, now, intermediateValidity), root, pub, rootKey)
}

func caTemplate(name string, pathLen int, now time.Time, validity time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            pathLen,
		MaxPathLenZero:        pathLen == 0,
	}
}

func sign(t, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key) // serial and key id: made by it
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// SignRecorder certifies the key that signs one session's recording. It gives the chain in DER, the
// leaf first, the root not in it. The leaf is bound to the session by its one name, the URI
// sallyport:session:<id>, and is good for [RecorderValidity].
func (a *Authority) SignRecorder(ctx context.Context, pub ed25519.PublicKey, session string) ([][]byte, error) {
	if !sessionID.MatchString(session) {
		return nil, errors.New("sign recorder: not a session id")
	}
	if len(pub) != ed25519.PublicKeySize {
		return nil, errors.New("sign recorder: not an Ed25519 key")
	}
	now := a.now()
	resp, err := a.x509.CreateCertificate(&casapi.CreateCertificateRequest{
		Lifetime: RecorderValidity,
		Template: &x509.Certificate{
			PublicKey:             pub,
			Subject:               pkix.Name{CommonName: "sallyport session " + session},
			URIs:                  []*url.URL{recorderURI(session)},
			NotBefore:             now.Add(-a.options.Backdate),
			NotAfter:              now.Add(RecorderValidity),
			KeyUsage:              x509.KeyUsageDigitalSignature,
			UnknownExtKeyUsage:    []asn1.ObjectIdentifier{recorderUsage},
			BasicConstraintsValid: true,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("sign recorder: %w", err)
	}
	leaf := resp.Certificate
	chain := [][]byte{leaf.Raw}
	for _, c := range resp.CertificateChain {
		chain = append(chain, c.Raw)
	}
	err = a.issued(ctx, Issued{
		Kind: KindRecorder, Serial: leaf.SerialNumber.Text(16), KeyID: leaf.Subject.CommonName,
		Principals: []string{leaf.URIs[0].String()}, Fingerprint: fingerprint(pub),
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	})
	if err != nil {
		return nil, err
	}
	return chain, nil
}

func recorderURI(session string) *url.URL {
	return &url.URL{Scheme: "sallyport", Opaque: "session:" + session}
}

// VerifyRecorder gives the key that a chain made by [Authority.SignRecorder] certifies for a session,
// if the chain held at that time: for a recording, the time it was made.
func VerifyRecorder(root *x509.Certificate, chain [][]byte, session string, at time.Time) (ed25519.PublicKey, error) {
	if len(chain) < 1 || len(chain) > 4 {
		return nil, fmt.Errorf("recorder chain of %d certificates", len(chain))
	}
	certs := make([]*x509.Certificate, len(chain))
	between := x509.NewCertPool()
	for i, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("recorder chain: %w", err)
		}
		certs[i] = c
		between.AddCert(c)
	}
	leaf, roots := certs[0], x509.NewCertPool()
	roots.AddCert(root)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: anyUsage}); err != nil {
		return nil, fmt.Errorf("recorder chain: %w", err)
	}
	if leaf.IsCA || !slices.ContainsFunc(leaf.UnknownExtKeyUsage, recorderUsage.Equal) {
		return nil, errors.New("recorder chain: the certificate is not for recordings")
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != recorderURI(session).String() {
		return nil, errors.New("recorder chain: the certificate is for another session")
	}
	pub, ok := leaf.PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("recorder chain: not an Ed25519 key")
	}
	return pub, nil
}
