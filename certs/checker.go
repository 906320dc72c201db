package certs

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Critical options of OpenSSH's PROTOCOL.certkeys.
const (
	forceCommandOption  = "force-command"
	sourceAddressOption = "source-address"
)

// maxCertificateLife bounds what the gate takes from its own CA: what [Authority.SignUser] can make.
const maxCertificateLife = MaxValidity + MaxBackdate

// A CertError is a certificate that was refused. Its text names nothing secret and may be logged; to
// the client, SSH says no more than "permission denied".
type CertError struct {
	Serial uint64 // 0 if it was no certificate
	KeyID  string // as the certificate claims, not proved: print it with %q
	Why    string
	// Ours: our user CA did sign it, so that whoever offers it may be told why.
	Ours bool
}

func (e *CertError) Error() string {
	if e.Serial == 0 && e.KeyID == "" {
		return e.Why
	}
	return fmt.Sprintf("certificate %x (%q): %s", e.Serial, e.KeyID, e.Why)
}

// A UserChecker decides which client certificates the gate takes. It is safe for concurrent use.
type UserChecker struct {
	authorities [][]byte // keys in wire format
	revoked     func(*ssh.Certificate) bool
	now         func() time.Time
}

// NewUserChecker takes the keys that sign user certificates ([Authority.UserCA], never its TargetCA)
// and a callback that says what was revoked; nil revokes nothing. The callback is asked only about
// certificates whose signature holds.
func NewUserChecker(authorities []ssh.PublicKey, revoked func(*ssh.Certificate) bool) (*UserChecker, error) {
	if len(authorities) == 0 {
		return nil, errors.New("no authority for user certificates: nobody could come in")
	}
	c := &UserChecker{revoked: revoked, now: time.Now}
	for _, a := range authorities {
		if _, ok := a.(*ssh.Certificate); ok {
			return nil, errors.New("an authority must be a key, not a certificate")
		}
		c.authorities = append(c.authorities, a.Marshal())
	}
	return c, nil
}

// Check is an ssh.ServerConfig.PublicKeyCallback. What it proves travels in the permissions alone:
// it is called for keys that are only offered, too, and has no other effect (CVE-2024-45337). After
// the handshake, [ProvenBy] takes it out of them again.
func (c *UserChecker) Check(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, &CertError{Why: "only certificates are taken: get one with `sallyport login`, or from POST /v1/certificates"}
	}
	if err := c.checkAuthority(cert); err != nil {
		return nil, &CertError{Serial: cert.Serial, KeyID: cert.KeyId, Why: err.Error()}
	}
	proven, err := c.check(conn, cert)
	if err != nil {
		return nil, &CertError{Serial: cert.Serial, KeyID: cert.KeyId, Why: err.Error(), Ours: signed(cert)}
	}
	p := &ssh.Permissions{
		Extensions: wantedExtensions(cert),
		ExtraData:  map[any]any{provenKey{}: proven},
	}
	if s, ok := cert.CriticalOptions[sourceAddressOption]; ok {
		p.CriticalOptions = map[string]string{sourceAddressOption: s} // x/crypto enforces it once more
	}
	return p, nil
}

// check asks everything else of a certificate. Who signed it was asked first, so that nothing of a
// stranger's certificate is looked at further.
func (c *UserChecker) check(conn ssh.ConnMetadata, cert *ssh.Certificate) (Proven, error) {
	if err := checkShape(cert); err != nil {
		return Proven{}, err
	}
	// Times, principals and signature: x/crypto's CheckCert. It does not ask IsUserAuthority and takes
	// a certificate without principals; both are asked above.
	cc := ssh.CertChecker{
		SupportedCriticalOptions: []string{sourceAddressOption, DelegationOption},
		Clock:                    c.now,
	}
	if err := cc.CheckCert(cert.ValidPrincipals[0], cert); err != nil {
		return Proven{}, errors.New(strings.TrimPrefix(err.Error(), "ssh: "))
	}
	if s, ok := cert.CriticalOptions[sourceAddressOption]; ok {
		if err := checkSource(conn.RemoteAddr(), s); err != nil {
			return Proven{}, err
		}
	}
	if c.revoked != nil && c.revoked(cert) {
		return Proven{}, errors.New("revoked")
	}
	id, err := IdentityOf(cert)
	if err != nil {
		return Proven{}, err
	}
	d, err := DelegationOf(cert)
	if err != nil {
		return Proven{}, err
	}
	if err := d.consistent(id); err != nil {
		return Proven{}, err
	}
	return Proven{Identity: id, Certificate: cert, Delegation: d}, nil
}

func (c *UserChecker) checkAuthority(cert *ssh.Certificate) error {
	if _, nested := cert.SignatureKey.(*ssh.Certificate); nested || cert.SignatureKey == nil || cert.Signature == nil {
		return errors.New("signed by a certificate, or by nobody")
	}
	if _, nested := cert.Key.(*ssh.Certificate); nested {
		return errors.New("a certificate for a certificate")
	}
	signer := cert.SignatureKey.Marshal()
	if !slices.ContainsFunc(c.authorities, func(a []byte) bool { return bytes.Equal(a, signer) }) {
		return errors.New("not signed by this gate's user CA")
	}
	if cert.CertType != ssh.UserCert {
		return errors.New("not a user certificate")
	}
	return CheckUserKey(cert.Key)
}

// signed reports whether the key that cert names as its signer's did sign it. That is asked last of a
// certificate that is good, and of one that is not before anybody is told why: what a stranger writes into
// one must not be answered.
func signed(cert *ssh.Certificate) bool {
	unsigned := *cert
	unsigned.Signature = nil
	text := unsigned.Marshal()
	text = text[:len(text)-4] // the length of the signature, PROTOCOL.certkeys
	return cert.SignatureKey.Verify(text, cert.Signature) == nil
}

// checkShape holds a certificate to what our CA makes, so that a signature got by some other way opens
// no more doors than it must.
func checkShape(cert *ssh.Certificate) error {
	if n := len(cert.ValidPrincipals); n != 1 {
		return fmt.Errorf("%d principals; exactly one is taken", n)
	}
	if err := checkPrincipal("principal", cert.ValidPrincipals[0]); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(cert.CriticalOptions)) {
		switch name {
		case sourceAddressOption, DelegationOption:
		case forceCommandOption:
			return errors.New("force-command: user certificates of this gate never carry one")
		default:
			return fmt.Errorf("unknown critical option %q", name)
		}
	}
	if cert.ValidBefore <= cert.ValidAfter || cert.ValidBefore-cert.ValidAfter > uint64(maxCertificateLife/time.Second) {
		return fmt.Errorf("valid for longer than %v, or for no time at all", maxCertificateLife)
	}
	if len(cert.Reserved) > 0 {
		return errors.New("reserved field is not empty")
	}
	return nil
}

// wantedExtensions passes on what the gate acts on. Above all not no-touch-required, by which x/crypto
// would stop asking hardware keys for a touch.
func wantedExtensions(cert *ssh.Certificate) map[string]string {
	out := map[string]string{}
	for _, name := range []string{"permit-pty", "permit-port-forwarding", IdentityExtension} {
		if v, ok := cert.Extensions[name]; ok {
			out[name] = v
		}
	}
	return out
}

type provenKey struct{}

// Proven is what a finished handshake proved.
type Proven struct {
	Identity    Identity
	Certificate *ssh.Certificate
	Delegation  *Delegation // what narrows it; nil: nothing does
}

// Expires is when the certificate ends: nothing new begins by it after that.
func (p Proven) Expires() time.Time { return time.Unix(int64(p.Certificate.ValidBefore), 0) }

// ProvenBy gives what [UserChecker.Check] put into the permissions of a connection
// (ssh.ServerConn.Permissions). False: they are somebody else's, and nothing is proved.
func ProvenBy(p *ssh.Permissions) (Proven, bool) {
	if p == nil {
		return Proven{}, false
	}
	v, ok := p.ExtraData[provenKey{}].(Proven)
	return v, ok
}
