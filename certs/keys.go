package certs

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/certs/internal/keyfile"
	"golang.org/x/crypto/ssh"
)

// Files of an authority's directory. Private keys are in OpenSSH's format, so that ssh-keygen reads
// them; beside each lies its .pub. The marker is written last: with it, everything must be there and
// belong together; without it, a first start was cut short, and what is missing is made.
const (
	fileUserCA       = "user_ca"
	fileTargetCA     = "target_ca"
	fileHostCA       = "host_ca"
	fileRoot         = "x509_root"
	fileIntermediate = "x509_intermediate"
	fileMarker       = "complete"
)

// caKeys is what an authority's directory holds.
type caKeys struct {
	user, target, host ed25519.PrivateKey
	intermediateKey    ed25519.PrivateKey
	root, intermediate *x509.Certificate
}

// openKeys reads the keys in dir, making them if this is the first start. Two processes that start
// at once make one set between them.
func openKeys(dir string, now time.Time) (*caKeys, error) {
	if err := keyfile.Dir(dir); err != nil {
		return nil, err
	}
	unlock, err := keyfile.Lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d := keyDir{path: dir, now: now}
	if d.fresh, err = missing(filepath.Join(dir, fileMarker)); err != nil {
		return nil, err
	}
	k := &caKeys{}
	for _, f := range []struct {
		name string
		key  *ed25519.PrivateKey
	}{{fileUserCA, &k.user}, {fileTargetCA, &k.target}, {fileHostCA, &k.host}, {fileIntermediate, &k.intermediateKey}} {
		if *f.key, err = d.key(f.name); err != nil {
			return nil, err
		}
	}
	if err := d.certificates(k); err != nil {
		return nil, err
	}
	if err := k.distinct(); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if d.fresh {
		return k, keyfile.Write(filepath.Join(dir, fileMarker), []byte("All keys of this directory belong together. Do not remove this file.\n"), 0o600)
	}
	return k, nil
}

// distinct refuses a directory where one key was copied over another: a stolen user certificate
// would then open targets.
func (k *caKeys) distinct() error {
	all := []ed25519.PrivateKey{k.user, k.target, k.host, k.intermediateKey}
	for i, a := range all {
		for _, b := range all[i+1:] {
			if a.Equal(b) {
				return errors.New("two of the authority's keys are the same; each must be its own")
			}
		}
	}
	return nil
}

type keyDir struct {
	path  string
	fresh bool // keys that are missing may be made
	now   time.Time
}

func (d keyDir) file(name string) string { return filepath.Join(d.path, name) }

// key reads a private key, or makes it where that is allowed.
func (d keyDir) key(name string) (ed25519.PrivateKey, error) {
	b, err := keyfile.Read(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		if d.fresh {
			return d.makeKey(name)
		}
		return nil, fmt.Errorf("%s is missing: restore it from a backup, or move %s away to start with new keys, which every client and target must then be told to trust", d.file(name), d.path)
	}
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParseRawPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s is not a private key without passphrase in OpenSSH's format", d.file(name))
	}
	ed, ok := key.(*ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is not an Ed25519 key", d.file(name))
	}
	return *ed, nil
}

func (d keyDir) makeKey(name string) (ed25519.PrivateKey, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	comment := "sallyport " + name
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return nil, err
	}
	if err := keyfile.Write(d.file(name), pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	p, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, err
	}
	line := strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(p)), "\n") + " " + comment + "\n"
	return key, keyfile.Write(d.file(name+".pub"), []byte(line), 0o644)
}

// certificates reads the X.509 chain, or makes it. The root's key signs one intermediate and is then
// not needed again: its file may be kept offline.
func (d keyDir) certificates(k *caKeys) error {
	root, inter := d.file(fileRoot+".crt"), d.file(fileIntermediate+".crt")
	none, err := missing(inter)
	if err != nil {
		return err
	}
	if none && d.fresh {
		if err := d.makeCertificates(k.intermediateKey.Public()); err != nil {
			return err
		}
	}
	if k.root, err = readCertificate(root); err != nil {
		return err
	}
	if k.intermediate, err = readCertificate(inter); err != nil {
		return err
	}
	pub, _ := k.intermediate.PublicKey.(ed25519.PublicKey)
	if !pub.Equal(k.intermediateKey.Public()) {
		return fmt.Errorf("%s is not the certificate of %s", inter, d.file(fileIntermediate))
	}
	pool := x509.NewCertPool()
	pool.AddCert(k.root)
	if _, err := k.intermediate.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: d.now, KeyUsages: anyUsage}); err != nil {
		return fmt.Errorf("%s: %w", inter, err)
	}
	return nil
}

// makeCertificates writes the root first: an intermediate that lies there has its root beside it.
func (d keyDir) makeCertificates(pub crypto.PublicKey) error {
	rootKey, err := d.key(fileRoot)
	if err != nil {
		return err
	}
	root, err := signRoot(rootKey, d.now)
	if err != nil {
		return err
	}
	inter, err := signIntermediate(root, rootKey, pub, d.now)
	if err != nil {
		return err
	}
	if err := keyfile.Write(d.file(fileRoot+".crt"), encodeCertificate(root), 0o644); err != nil {
		return err
	}
	return keyfile.Write(d.file(fileIntermediate+".crt"), encodeCertificate(inter), 0o644)
}

func encodeCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func readCertificate(path string) (*x509.Certificate, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%s is not one certificate in PEM", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func missing(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}
