package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys knows one host.
type hostKeys struct {
	cas    []ssh.PublicKey
	names  []string
	pinned []ssh.PublicKey
	known  ssh.HostKeyCallback // nil: no lines
	algs   []string            // what to ask the host for, best first
}

// Algorithms of host keys. A key that is known decides which of them can be asked for.
var (
	certAlgs = []string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}
	rsaAlgs = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
)

func newHostKeys(c Config) (*hostKeys, error) {
	h := &hostKeys{cas: c.HostCAs, names: c.HostNames, pinned: c.HostKeys}
	if len(c.HostCAs)+len(c.HostKeys)+len(c.KnownHosts) == 0 {
		return nil, errors.New("nothing says how the host is known: give a host CA, its keys, or known_hosts lines")
	}
	if len(c.HostCAs) > 0 {
		h.algs = append(h.algs, certAlgs...)
	}
	for _, ca := range c.HostCAs {
		if _, nested := ca.(*ssh.Certificate); nested {
			return nil, errors.New("a host CA must be a plain key, not a certificate")
		}
	}
	for _, k := range c.HostKeys {
		if _, cert := k.(*ssh.Certificate); cert {
			return nil, errors.New("a pinned host key must be a plain key, not a certificate")
		}
		h.want(k.Type())
	}
	if len(c.KnownHosts) > 0 {
		if err := h.read(c.KnownHosts); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// want adds the algorithms of a type of key.
func (h *hostKeys) want(typ string) {
	add := []string{typ}
	if typ == ssh.KeyAlgoRSA {
		add = rsaAlgs
	}
	for _, a := range add {
		if !slices.Contains(h.algs, a) {
			h.algs = append(h.algs, a)
		}
	}
}

// read takes known_hosts lines.
func (h *hostKeys) read(lines []string) error {
	for i, line := range lines {
		marker, _, key, _, _, err := ssh.ParseKnownHosts([]byte(line + "\n"))
		switch {
		case errors.Is(err, io.EOF):
			continue // a comment
		case err != nil:
			return fmt.Errorf("known_hosts line %d: %w", i+1, err)
		case marker == "cert-authority":
			for _, a := range certAlgs {
				if !slices.Contains(h.algs, a) {
					h.algs = append([]string{a}, h.algs...)
				}
			}
		case marker == "":
			h.want(key.Type())
		}
	}
	// The package reads files only.
	f, err := os.CreateTemp("", "known_hosts")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		return err
	}
	h.known, err = knownhosts.New(f.Name())
	return err
}

// check is an [ssh.HostKeyCallback].
func (h *hostKeys) check(addr string, remote net.Addr, key ssh.PublicKey) error {
	why := "it is none of the keys pinned for this target"
	if cert, ok := key.(*ssh.Certificate); ok {
		if why = h.checkCert(cert); why == "" {
			return nil
		}
	}
	for _, k := range h.pinned {
		if bytes.Equal(k.Marshal(), key.Marshal()) {
			return nil
		}
	}
	if h.known != nil {
		err := h.known(addr, remote, key)
		if err == nil {
			return nil
		}
		var changed *knownhosts.KeyError
		var revoked *knownhosts.RevokedError
		switch {
		case errors.As(err, &revoked):
			why = "it is marked as revoked"
		case errors.As(err, &changed) && len(changed.Want) > 0:
			why = "known_hosts has another one: it CHANGED"
		case errors.As(err, &changed):
			why = "known_hosts has none for this host"
		}
	}
	plain := key
	if cert, ok := key.(*ssh.Certificate); ok {
		plain = cert.Key
	}
	return &HostKeyError{Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(plain), Why: why}
}

// checkCert is "" when a host certificate is good.
func (h *hostKeys) checkCert(cert *ssh.Certificate) string {
	if cert.CertType != ssh.HostCert {
		return "its certificate is not one for hosts"
	}
	trusted := slices.ContainsFunc(h.cas, func(ca ssh.PublicKey) bool {
		return bytes.Equal(ca.Marshal(), cert.SignatureKey.Marshal())
	})
	if !trusted {
		return "its certificate is signed by a CA that is not trusted for this target, " + ssh.FingerprintSHA256(cert.SignatureKey)
	}
	if len(cert.ValidPrincipals) == 0 {
		return "its certificate names no host"
	}
	checker := &ssh.CertChecker{}
	why := "its certificate is for another host"
	for _, name := range h.names {
		if !slices.Contains(cert.ValidPrincipals, name) {
			continue
		}
		err := checker.CheckCert(name, cert)
		if err == nil {
			return ""
		}
		why = "its certificate is not valid now, or not well signed"
	}
	return why
}
