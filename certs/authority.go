package certs

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"time"

	"golang.org/x/crypto/ssh"
)

// Options of an [Authority].
type Options struct {
	Backdate    time.Duration
	Validity    time.Duration
	MaxValidity time.Duration
	OnIssue     func(ctx context.Context, i Issued) error
}

// Issued describes a certificate that was just signed.
type Issued struct {
	Kind                string // "user", "host", "target", "recorder"
	Serial              uint64
	KeyID               string
	Principals          []string
	Identity            string // Identity.Key for "user"
	Fingerprint         string
	NotBefore, NotAfter time.Time
	SourceAddress       []string
}

// UserOptions of one user certificate.
type UserOptions struct {
	Validity      time.Duration
	SourceAddress []string
}

// A Grant is what a certificate for a target allows.
type Grant struct {
	Login         string
	ForceCommand  string
	SourceAddress []string
	Validity      time.Duration
	KeyID         string
}

// An Authority holds the keys.
type Authority struct{}

func OpenAuthority(dir string, o Options) (*Authority, error) { return nil, errors.New("unfinished") }
func (a *Authority) UserCA() []ssh.PublicKey                  { return nil }
func (a *Authority) TargetCA() []ssh.PublicKey                { return nil }
func (a *Authority) HostCA() []ssh.PublicKey                  { return nil }
func (a *Authority) RecordRoot() *x509.Certificate            { return nil }
func (a *Authority) SignUser(ctx context.Context, id Identity, key ssh.PublicKey, o UserOptions) (*ssh.Certificate, error) {
	return nil, errors.New("unfinished")
}
func (a *Authority) SignHost(ctx context.Context, key ssh.PublicKey, names []string, validity time.Duration) (*ssh.Certificate, error) {
	return nil, errors.New("unfinished")
}
func (a *Authority) SignTarget(ctx context.Context, key ssh.PublicKey, g Grant) (*ssh.Certificate, error) {
	return nil, errors.New("unfinished")
}
func (a *Authority) SignRecorder(ctx context.Context, pub ed25519.PublicKey, sessionID string) ([][]byte, error) {
	return nil, errors.New("unfinished")
}
func (a *Authority) Close() error { return nil }

func fingerprint(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
