package certs

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/smallstep/certificates/authority"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/authority/provisioner"
	casapi "github.com/smallstep/certificates/cas/apiv1"
	"github.com/smallstep/certificates/cas/softcas"
	"go.step.sm/crypto/sshutil"
	"golang.org/x/crypto/ssh"
)

// Defaults and bounds of [Options].
const (
	DefaultValidity    = 15 * time.Minute
	DefaultMaxValidity = 8 * time.Hour
	DefaultBackdate    = 30 * time.Second
	MaxBackdate        = time.Minute
	MaxValidity        = 24 * time.Hour // of user certificates, whatever is configured
	MaxTargetValidity  = 5 * time.Minute
	TargetValidity     = time.Minute
	HostValidity       = 30 * 24 * time.Hour
)

// maxForceCommand keeps a target's certificate inside one SSH packet of 32 KiB, which is what every
// implementation must take (RFC 4253 section 6.1), with room for the rest of it.
const maxForceCommand = 24 << 10

// Options of an [Authority]. The zero value is good for production.
type Options struct {
	// Backdate is how far before its making a certificate starts to be valid, for clocks that lag;
	// 0: 30 seconds, at most one minute.
	Backdate time.Duration
	// Validity of user certificates that ask for none; 0: 15 minutes.
	Validity time.Duration
	// MaxValidity that a user certificate may ask for; 0: 8 hours, at most 24.
	MaxValidity time.Duration
	// OnIssue is told of every certificate before it is handed out. An error withholds it: what is
	// not in the ledger was not issued.
	OnIssue func(ctx context.Context, i Issued) error
}

// Kinds of what is issued.
const (
	KindUser     = "user"
	KindHost     = "host"
	KindTarget   = "target"
	KindRecorder = "recorder"
	KindServer   = "server" // TLS, towards clients in a tunnel
	KindClient   = "client" // TLS, towards targets
)

// Issued describes a certificate that was just signed.
type Issued struct {
	Kind                string   // [KindUser] ...
	Serial              string   // hexadecimal
	KeyID               string   // readable
	Principals          []string // of SSH certificates; for a recorder its URI
	Identity            Identity // for KindUser, else zero
	Fingerprint         string   // of the certified key: SHA256:... for SSH keys
	SourceAddress       []string
	NotBefore, NotAfter time.Time
}

// UserOptions of one user certificate.
type UserOptions struct {
	Validity      time.Duration // 0: Options.Validity; more than Options.MaxValidity is an error
	SourceAddress []string      // addresses and networks it may be used from; nil: any
}

// A Grant is what a certificate for a target allows.
type Grant struct {
	Login         string        // the one principal: the account on the target
	ForceCommand  string        // exactly what the target must run, byte for byte; "" for a shell
	SourceAddress []string      // the gate's own; nil: any
	Validity      time.Duration // 0: one minute, at most five
	KeyID         string        // names identity and session, for the target's log
	Pty           bool          // a terminal may be had: by a shell, or by a command such as top
	// PortForwarding lets a shell's connection forward ports: the gate listens on the target's loopback interface, and
	// the shell asks there before it runs a command.
	PortForwarding bool
}

// An Authority holds the keys that sign. Behind it stand two of smallstep's, because one knows only
// one user key, and the key that lets users into the gate must not be the one that lets the gate
// into targets. It is safe for concurrent use.
type Authority struct {
	keys    *caKeys
	options Options
	gate    *authority.Authority // signs users and hosts
	targets *authority.Authority // signs for targets
	x509    *softcas.SoftCAS
	now     func() time.Time

	user, target, host ssh.PublicKey
}

// OpenAuthority opens the keys in dir, making them if there are none. Keys are in files of mode 0600
// in a directory of mode 0700; others are refused.
func OpenAuthority(dir string, o Options) (*Authority, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	keys, err := openKeys(dir, time.Now())
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	a := &Authority{keys: keys, options: o, now: time.Now}
	if err := a.embed(); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return a, nil
}

func (o Options) withDefaults() (Options, error) {
	o.Backdate = orElse(o.Backdate, DefaultBackdate)
	o.MaxValidity = orElse(o.MaxValidity, max(DefaultMaxValidity, o.Validity))
	o.Validity = orElse(o.Validity, min(DefaultValidity, o.MaxValidity))
	switch {
	case o.Backdate < 0 || o.Backdate > MaxBackdate:
		return o, fmt.Errorf("backdate %v is not between 0 and %v", o.Backdate, MaxBackdate)
	case o.MaxValidity < time.Minute || o.MaxValidity > MaxValidity:
		return o, fmt.Errorf("max_validity %v is not between 1m and %v", o.MaxValidity, MaxValidity)
	case o.Validity < time.Minute || o.Validity > o.MaxValidity:
		return o, fmt.Errorf("validity %v is not between 1m and %v", o.Validity, o.MaxValidity)
	}
	return o, nil
}

func orElse(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// embed starts smallstep's authorities on the keys. They keep no database: the ledger does.
func (a *Authority) embed() error {
	var err error
	a.x509, err = softcas.New(context.Background(), casapi.Options{
		Signer: a.keys.intermediateKey, CertificateChain: []*x509.Certificate{a.keys.intermediate},
	})
	if err != nil {
		return err
	}
	if a.gate, err = a.newEmbedded(authority.WithSSHUserSigner(a.keys.user), authority.WithSSHHostSigner(a.keys.host)); err != nil {
		return err
	}
	if a.targets, err = a.newEmbedded(authority.WithSSHUserSigner(a.keys.target)); err != nil {
		return err
	}
	for pub, key := range map[*ssh.PublicKey]ed25519.PrivateKey{&a.user: a.keys.user, &a.target: a.keys.target, &a.host: a.keys.host} {
		if *pub, err = ssh.NewPublicKey(key.Public()); err != nil {
			return err
		}
	}
	return nil
}

// embedding guards smallstep's constructor, which writes package variables without a lock.
var embedding sync.Mutex

func (a *Authority) newEmbedded(opts ...authority.Option) (*authority.Authority, error) {
	embedding.Lock()
	defer embedding.Unlock()
	return authority.NewEmbedded(append(opts,
		authority.WithQuietInit(),
		authority.WithConfig(&config.Config{AuthorityConfig: &config.AuthConfig{
			Backdate: &provisioner.Duration{Duration: a.options.Backdate},
		}}),
		authority.WithX509RootCerts(a.keys.root),
		authority.WithX509CAService(a.x509),
		authority.WithX509IntermediateCerts(a.keys.intermediate),
	)...)
}

// Close ends what smallstep's authorities hold open.
func (a *Authority) Close() error { return errors.Join(a.gate.Shutdown(), a.targets.Shutdown()) }

// UserCA are the keys whose user certificates the gate takes.
func (a *Authority) UserCA() []ssh.PublicKey { return []ssh.PublicKey{a.user} }

// TargetCA are the keys that targets put into TrustedUserCAKeys.
func (a *Authority) TargetCA() []ssh.PublicKey { return []ssh.PublicKey{a.target} }

// HostCA are the keys that clients put behind @cert-authority.
func (a *Authority) HostCA() []ssh.PublicKey { return []ssh.PublicKey{a.host} }

// RecordRoot is what recordings are verified against.
func (a *Authority) RecordRoot() *x509.Certificate { return a.keys.root }

// SignUser certifies a user's key: one principal, the identity in [IdentityExtension], a pty and port
// forwarding and nothing else.
func (a *Authority) SignUser(ctx context.Context, id Identity, key ssh.PublicKey, o UserOptions) (*ssh.Certificate, error) {
	if err := CheckUserKey(key); err != nil {
		return nil, err
	}
	validity := orElse(o.Validity, a.options.Validity)
	if validity < time.Minute || validity > a.options.MaxValidity {
		return nil, fmt.Errorf("validity %v is not between 1m and %v", validity, a.options.MaxValidity)
	}
	sources, err := sourceAddress(o.SourceAddress)
	if err != nil {
		return nil, err
	}
	return a.signUser(ctx, id, key, validity, sources, nil)
}

func (a *Authority) signUser(ctx context.Context, id Identity, key ssh.PublicKey, validity time.Duration, sources []netip.Prefix, critical map[string]string) (*ssh.Certificate, error) {
	text, err := id.encode()
	if err != nil {
		return nil, err
	}
	return a.signSSH(ctx, a.gate, &template{
		kind: KindUser, certType: ssh.UserCert, key: key, identity: id, sources: sources, validity: validity, critical: critical,
		keyID:      fmt.Sprintf("%s (%s, %s)", id, id.Kind, id.Key()),
		principals: []string{id.Principal()},
		extensions: map[string]string{"permit-pty": "", "permit-port-forwarding": "", IdentityExtension: text},
	})
}

// SignHost certifies a host key of the gate for the names clients may dial it by; validity 0 is 30 days.
func (a *Authority) SignHost(ctx context.Context, key ssh.PublicKey, names []string, validity time.Duration) (*ssh.Certificate, error) {
	if err := CheckUserKey(key); err != nil {
		return nil, err
	}
	if len(names) == 0 || len(names) > 256 { // zero would be good for every host
		return nil, fmt.Errorf("host certificate for %d names", len(names))
	}
	for _, n := range names {
		if err := checkPrincipal("host name", n); err != nil {
			return nil, err
		}
	}
	validity = orElse(validity, HostValidity)
	if validity < time.Minute || validity > 366*24*time.Hour {
		return nil, fmt.Errorf("validity %v of a host certificate is not between 1m and a year", validity)
	}
	return a.signSSH(ctx, a.gate, &template{
		kind: KindHost, certType: ssh.HostCert, key: key, validity: validity,
		keyID: "sallyport host " + names[0], principals: names,
	})
}

// SignTarget certifies a key of the gate's for one account on a target.
func (a *Authority) SignTarget(ctx context.Context, key ssh.PublicKey, g Grant) (*ssh.Certificate, error) {
	if err := CheckUserKey(key); err != nil {
		return nil, err
	}
	if err := checkPrincipal("login", g.Login); err != nil {
		return nil, err
	}
	if err := checkForceCommand(g.ForceCommand); err != nil {
		return nil, err
	}
	if err := checkIdentifier("key id", g.KeyID, 1024); err != nil {
		return nil, err
	}
	validity := orElse(g.Validity, TargetValidity)
	if validity < time.Second || validity > MaxTargetValidity {
		return nil, fmt.Errorf("validity %v of a target certificate is not between 1s and %v", validity, MaxTargetValidity)
	}
	sources, err := sourceAddress(g.SourceAddress)
	if err != nil {
		return nil, err
	}
	t := &template{kind: KindTarget, certType: ssh.UserCert, key: key, keyID: g.KeyID, sources: sources, validity: validity,
		principals: []string{g.Login}, forceCommand: g.ForceCommand}
	t.extensions = map[string]string{}
	if g.Pty {
		t.extensions["permit-pty"] = ""
	}
	if g.PortForwarding && g.ForceCommand == "" {
		t.extensions["permit-port-forwarding"] = ""
	}
	return a.signSSH(ctx, a.targets, t)
}

// checkForceCommand refuses what OpenSSH would cut short: auth-options.c hands the option to the
// shell as a C string, so the target would run the part before a NUL.
func checkForceCommand(s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return errors.New("command has a NUL byte, which no target can be given")
	}
	if len(s) > maxForceCommand {
		return fmt.Errorf("command is longer than %d bytes", maxForceCommand)
	}
	return nil
}

// checkPrincipal refuses what some implementation would read as several principals or as a pattern.
func checkPrincipal(what, s string) error {
	if err := checkIdentifier(what, s, 255); err != nil {
		return err
	}
	if strings.ContainsAny(s, ", *?!\"'") {
		return fmt.Errorf("%s %q has a comma, a space, a quote or a wildcard", what, s)
	}
	return nil
}

// template is a certificate to be.
type template struct {
	kind         string
	certType     uint32
	key          ssh.PublicKey
	keyID        string
	principals   []string
	sources      []netip.Prefix
	forceCommand string
	critical     map[string]string // options besides force-command and source-address
	extensions   map[string]string
	validity     time.Duration
	identity     Identity
}

// signSSH has smallstep sign. Its templates travel through JSON, which has no room for bytes that are
// not UTF-8, so they carry the type alone; fill writes the rest as it is.
func (a *Authority) signSSH(ctx context.Context, ca *authority.Authority, t *template) (*ssh.Certificate, error) {
	typ := sshutil.CertType(t.certType)
	opts, err := provisioner.TemplateSSHOptions(nil, sshutil.TemplateData{sshutil.TypeKey: typ.String()})
	if err != nil {
		return nil, err
	}
	cert, err := ca.SignSSH(ctx, t.key, provisioner.SignSSHOptions{CertType: typ.String()}, opts, fill{t, a.now(), a.options.Backdate})
	if err != nil {
		return nil, fmt.Errorf("sign %s certificate: %w", t.kind, err)
	}
	err = a.issued(ctx, Issued{
		Kind: t.kind, Serial: strconv.FormatUint(cert.Serial, 16), KeyID: t.keyID, Principals: t.principals,
		Identity: t.identity, Fingerprint: ssh.FingerprintSHA256(t.key), SourceAddress: texts(t.sources),
		NotBefore: time.Unix(int64(cert.ValidAfter), 0), NotAfter: time.Unix(int64(cert.ValidBefore), 0),
	})
	if err != nil {
		return nil, err
	}
	return cert, nil
}

func (a *Authority) issued(ctx context.Context, i Issued) error {
	if a.options.OnIssue == nil {
		return nil
	}
	if err := a.options.OnIssue(ctx, i); err != nil {
		return fmt.Errorf("the certificate is withheld, because its issue could not be recorded: %w", err)
	}
	return nil
}

// fill is a provisioner.SSHCertModifier.
type fill struct {
	*template
	now      time.Time
	backdate time.Duration
}

func (f fill) Modify(c *ssh.Certificate, _ provisioner.SignSSHOptions) error {
	var nonce [32]byte
	var serial [8]byte
	rand.Read(nonce[:]) // never fails: crypto/rand
	rand.Read(serial[:])
	c.Nonce = nonce[:]
	c.Serial = max(binary.BigEndian.Uint64(serial[:]), 1) // zero means none
	c.KeyId = f.keyID
	c.ValidPrincipals = f.principals
	c.ValidAfter = uint64(f.now.Add(-f.backdate).Unix())
	c.ValidBefore = uint64(f.now.Add(f.validity).Unix())
	c.Extensions = f.extensions
	c.CriticalOptions = map[string]string{}
	maps.Copy(c.CriticalOptions, f.critical)
	if f.forceCommand != "" {
		c.CriticalOptions[forceCommandOption] = f.forceCommand
	}
	if f.sources != nil {
		c.CriticalOptions[sourceAddressOption] = strings.Join(texts(f.sources), ",")
	}
	return nil
}

// CheckUserKey reports whether a certificate may be given for a key: Ed25519, ECDSA on P-256 or P-384,
// RSA from 2048 bits to 8192, and the first two in hardware. Never a certificate.
func CheckUserKey(key ssh.PublicKey) error {
	if key == nil {
		return errors.New("no public key")
	}
	switch t := key.Type(); t {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		return checkRSA(key)
	default:
		return fmt.Errorf("a key of type %q is not taken; make one with ssh-keygen -t ed25519", t)
	}
}

func checkRSA(key ssh.PublicKey) error {
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if k, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && k.N.BitLen() >= 2048 && k.N.BitLen() <= 8192 {
			return nil
		}
	}
	return errors.New("an RSA key must have from 2048 to 8192 bits; make one with ssh-keygen -t ed25519")
}

func fingerprint(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
