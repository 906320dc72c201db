// Package login is the client's side of getting a certificate.
package login

import (
	"context"
	"errors"
	"net/http"
	"time"

	"golang.org/x/crypto/ssh"
)

// An Answer of POST /v1/certificates.
type Answer struct {
	Certificate string    `json:"certificate"` // authorized_keys format
	Expires     time.Time `json:"expires"`
	KnownHosts  []string  `json:"known_hosts"`
	Gates       []string  `json:"gates"`
}

// Exchange asks a gate for a certificate over signer's key.
func Exchange(ctx context.Context, client *http.Client, gate, token string, signer ssh.Signer) (Answer, error) {
	return Answer{}, errors.New("unfinished")
}
