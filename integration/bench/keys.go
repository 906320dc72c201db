package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// keys are paths of what the plain server and sshd use; the gate makes its own.
type keys struct {
	host, client           string // private keys
	authorized, knownHosts string
	clientPublic           string // its text
}

func makeKeys(dir string) (k keys, err error) {
	k = keys{
		host: filepath.Join(dir, "host_key"), client: filepath.Join(dir, "client_key"),
		authorized: filepath.Join(dir, "authorized_keys"), knownHosts: filepath.Join(dir, "known_hosts"),
	}
	host, err := writeKey(k.host)
	if err != nil {
		return k, err
	}
	if k.clientPublic, err = writeKey(k.client); err != nil {
		return k, err
	}
	// sshd reads authorized keys as the user who logs in.
	return k, errors.Join(os.WriteFile(k.authorized, []byte(k.clientPublic), 0o644), os.WriteFile(k.knownHosts, []byte("bench "+host), 0o600))
}

// writeKey makes an ed25519 key, as the gate has, and returns its public half.
func writeKey(path string) (public string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", err
	}
	return string(ssh.MarshalAuthorizedKey(key)), os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}

// freeAddr is one that nobody listens on now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// A tail keeps the end of what a program says, for errors.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}
