package sshd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/cpu"

	"github.com/sallyport-ssh/sallyport/certs"
)

// version is what the gate says before anything is proved; it tells an attacker no more than it must. Its
// beginning is what OpenSSH's client goes by: only then does it say when nobody reads its output any more,
// without which `ssh target yes | head` never ends, and that it wants no more sessions.
const version = "SSH-2.0-OpenSSH_Sallyport"

// maxAuthTries bounds the keys a client may offer. An agent full of keys offers them all, and ours may
// be the last; OpenSSH clients stop by themselves.
const maxAuthTries = 20

// algorithms is what the gate offers, best first: a key exchange that a quantum computer cannot undo
// later, curve25519 for clients that lack it, and ciphers that authenticate what they encrypt.
// AES-GCM comes alone where the processor has AES: the first cipher of the client's list that is offered
// here wins, OpenSSH's list begins with chacha20, and x/crypto has no assembly for it on amd64.
func algorithms() ssh.Config {
	c := ssh.Config{
		KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519},
		Ciphers:      []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM},
		// Never used with these ciphers, but a list must not be empty.
		MACs: []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
	}
	if !hasAES() {
		c.Ciphers = append([]string{ssh.CipherChaCha20Poly1305}, c.Ciphers...)
	}
	return c
}

func hasAES() bool {
	return cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ || cpu.ARM64.HasAES && cpu.ARM64.HasPMULL || cpu.S390X.HasAES
}

// userAlgorithms are the signatures that clients may prove their key with.
func userAlgorithms() []string {
	return []string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoECDSA256,
		ssh.KeyAlgoECDSA384, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512,
	}
}

// config is made for each connection, so that a renewed host certificate is used at once. Name is the
// host that the client means to reach; signIn, which may be nil, lets people in who have no certificate yet.
func (s *Server) config(ctx context.Context, name string, signIn *signingIn) (*ssh.ServerConfig, error) {
	signers, err := s.o.HostSigners(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("host key for %q: %w", name, err)
	}
	c := &ssh.ServerConfig{
		Config:                  algorithms(),
		ServerVersion:           version,
		MaxAuthTries:            maxAuthTries,
		PublicKeyAuthAlgorithms: userAlgorithms(),
		PublicKeyCallback:       s.authenticate,
	}
	if signIn != nil {
		c.PublicKeyCallback = signIn.orElse(s.authenticate)
	}
	for _, signer := range signers {
		c.AddHostKey(signer)
	}
	return c, nil
}

// authenticate looks at a key that is offered, not yet proved: it has no effect but its result. Whoever
// offers a certificate that the gate would take at another time, or from elsewhere, is told why not; the
// rest gets the client's own "Permission denied", and the log has the reason.
func (s *Server) authenticate(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	perms, err := s.o.Authenticate(meta, key)
	var refused *certs.CertError
	if errors.As(err, &refused) {
		source := sourceOf(meta.RemoteAddr())
		s.refused(s.o.Log, source.String(), "certificate refused", "source", source, "user", brief(meta.User()), "error", brief(refused.Error()))
		if refused.Ours {
			return nil, &ssh.BannerError{Err: err, Message: "sallyport: your certificate was refused: " + show(refused.Why) + "\r\n"}
		}
	}
	return perms, err
}

// A deadline closes a connection that has not authenticated in time.
type deadline struct {
	timer  *time.Timer
	within time.Duration
}

func newDeadline(c net.Conn, within time.Duration) *deadline {
	return &deadline{timer: time.AfterFunc(within, func() { c.Close() }), within: within}
}

// extend gives more time, counted from now; it reports false if it is too late.
func (d *deadline) extend(within time.Duration) bool {
	if !d.timer.Stop() {
		return false
	}
	d.within = within
	d.timer.Reset(within)
	return true
}

// handshake runs everything before authentication has succeeded, within limit.
func handshake(c net.Conn, config *ssh.ServerConfig, limit *deadline) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	conn, channels, requests, err := ssh.NewServerConn(c, config)
	late := !limit.timer.Stop()
	if late && err == nil {
		conn.Close()
	}
	if late {
		err = fmt.Errorf("not authenticated within %v", limit.within)
	}
	// Why this side closed it says more than that it is closed.
	if w, ok := c.(*wire); ok && err != nil {
		if why := w.why.Load(); why != nil {
			err = *why
		}
	}
	return conn, channels, requests, err
}
