package dev

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs/devidp"
	"github.com/sallyport-ssh/sallyport/certs/login"
	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/cmd/internal/sshconfig"
)

// audience is what dev's tokens are for.
const audience = "sallyport"

// A workstation is what one of dev's users has: a directory with a key, a certificate, and what ssh needs
// to find the gate.
type workstation struct {
	user    config.User
	dir     string
	signer  ssh.Signer
	expires time.Time
}

func openWorkstation(dir string, u config.User) (*workstation, error) {
	w := &workstation{user: u, dir: filepath.Join(dir, u.Name)}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	w.signer, err = userKey(filepath.Join(w.dir, "id_ed25519"), u.Name)
	return w, err
}

func userKey(path, comment string) (ssh.Signer, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		return ssh.ParsePrivateKey(text)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return nil, err
	}
	if err := replaceFile(path, pem.EncodeToMemory(block)); err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return nil, err
	}
	return signer, replaceFile(path+".pub", ssh.MarshalAuthorizedKey(signer.PublicKey()))
}

// renew gets a fresh certificate the way everybody does: a token of the provider, and the endpoint.
func (w *workstation) renew(ctx context.Context, idp *devidp.Provider, gate string) error {
	token, err := idp.Token(ctx, w.user.Name, audience)
	if err != nil {
		return fmt.Errorf("token for %s: %w", w.user.Name, err)
	}
	answer, err := login.Exchange(ctx, &http.Client{Timeout: 10 * time.Second}, gate, token, w.signer, login.Limits{})
	if err != nil {
		return fmt.Errorf("certificate for %s: %w", w.user.Name, err)
	}
	w.expires = answer.Expires
	return replaceFile(filepath.Join(w.dir, "id_ed25519-cert.pub"), ssh.MarshalAuthorizedKey(answer.Certificate))
}

// writeConfig writes ssh_config and known_hosts.
func (w *workstation) writeConfig(gate string, addr net.Addr, targets []config.Target, hostCA []ssh.PublicKey) error {
	var known strings.Builder
	for _, key := range hostCA {
		// This file is for this ssh_config alone, which knows no host but the gate and what is behind it.
		fmt.Fprintf(&known, "@cert-authority * %s", ssh.MarshalAuthorizedKey(key))
	}
	if err := replaceFile(filepath.Join(w.dir, "known_hosts"), []byte(known.String())); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return err
	}
	c := sshconfig.Config{
		Comment: "Written by `sallyport dev`, which renews the certificate while it runs.",
		Alias:   "gate", Name: gate, Host: host, Port: port, Everywhere: true,
		Key: filepath.Join(w.dir, "id_ed25519"), Certificate: filepath.Join(w.dir, "id_ed25519-cert.pub"),
		KnownHosts: filepath.Join(w.dir, "known_hosts"),
	}
	for _, t := range targets {
		c.Targets = append(c.Targets, sshconfig.Target{Name: t.Name, Jump: t.Kind != "tcp"})
	}
	if err := c.Check(); err != nil {
		return fmt.Errorf("ssh_config: %w", err)
	}
	return replaceFile(filepath.Join(w.dir, "ssh_config"), []byte(c.String()))
}

// replaceFile writes a file that only its owner reads, whole or not at all.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
