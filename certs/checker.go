package certs

import (
	"errors"

	"golang.org/x/crypto/ssh"
)

// A UserChecker is the whole of what a client certificate must satisfy.
type UserChecker struct{}

func NewUserChecker(authorities []ssh.PublicKey, revoked func(*ssh.Certificate) bool) (*UserChecker, error) {
	return nil, errors.New("unfinished")
}

// Check is an ssh.ServerConfig.PublicKeyCallback.
func (c *UserChecker) Check(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	return nil, errors.New("unfinished")
}

// Proven is what a handshake proved; take it with [ProvenBy].
type Proven struct {
	Identity    Identity
	Certificate *ssh.Certificate
}

// ProvenBy gives what Check put into the permissions of a finished handshake.
func ProvenBy(p *ssh.Permissions) (Proven, bool) { return Proven{}, false }
