package login

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/certs/internal/keyfile"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// OpenKey reads the Ed25519 key in a file, or makes one there (mode 0600) with its .pub beside it.
func OpenKey(path string) (ed25519.PrivateKey, error) {
	b, err := keyfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, err
	}
	raw, err := ssh.ParseRawPrivateKey(b)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("%s has a passphrase; name another file, in which a key will be made", path)
	}
	key, ok := raw.(*ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s is not an Ed25519 key; name another file, in which one will be made", path)
	}
	return *key, nil
}

func makeKey(path string) (ed25519.PrivateKey, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "sallyport")
	if err != nil {
		return nil, err
	}
	p, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, err
	}
	if err := keyfile.Write(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return key, keyfile.Write(path+".pub", ssh.MarshalAuthorizedKey(p), 0o644)
}

// CertificateFile is where ssh looks for the certificate of a key.
func CertificateFile(key string) string { return key + "-cert.pub" }

// WriteCertificate puts a certificate beside its key, whole or not at all.
func WriteCertificate(key string, cert *ssh.Certificate) error {
	return keyfile.Write(CertificateFile(key), ssh.MarshalAuthorizedKey(cert), 0o644)
}

// addToAgent gives key and certificate to the ssh-agent until the certificate expires, and takes away
// those that former sign-ins at the gate left: clients try an agent's keys in turn, and servers count.
func (o Options) addToAgent(ctx context.Context, key ed25519.PrivateKey, a Answer) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", o.AgentSocket)
	if err != nil {
		return fmt.Errorf("ssh-agent: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil { // an agent may ask its user
		return err
	}
	c := agent.NewClient(conn)
	comment := "sallyport " + o.Gate
	old, err := c.List()
	if err != nil {
		return fmt.Errorf("ssh-agent: %w", err)
	}
	for _, k := range old {
		if k.Comment == comment && strings.HasSuffix(k.Format, "-cert-v01@openssh.com") {
			if err := c.Remove(k); err != nil {
				return fmt.Errorf("ssh-agent: %w", err)
			}
		}
	}
	left := time.Until(a.Expires)
	if left < time.Second {
		return errors.New("the certificate has expired already; compare this machine's clock with the gate's")
	}
	err = c.Add(agent.AddedKey{PrivateKey: key, Certificate: a.Certificate, Comment: comment, LifetimeSecs: uint32(left / time.Second)})
	if err != nil {
		return fmt.Errorf("ssh-agent: %w", err)
	}
	return nil
}
