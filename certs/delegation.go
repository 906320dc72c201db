package certs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// DelegationOption names the critical option of a certificate that a human handed to an agent. It is critical, not an
// extension, so that whoever does not know it refuses the certificate instead of overlooking what narrows it
// (PROTOCOL.certkeys).
const DelegationOption = "delegation@sallyport"

// DelegatedIssuer is the issuer of agents that a human vouched for, and no identity provider. It is no address, so that
// no provider that could be configured can have it.
const DelegatedIssuer = "urn:sallyport:delegated"

// Bounds of a [Delegation].
const (
	maxScope          = 64 // targets, and actions, each
	maxScopeWord      = 255
	maxDelegationJSON = 16 << 10 // bytes of the option
)

// A Delegation narrows what the holder of a certificate may do to a part of what the human may who handed it on.
type Delegation struct {
	// Targets it may reach; nil: all that the human may.
	Targets []string `json:"targets,omitempty"`
	// Actions it may ask for, by the names of actions or groups of actions in the policies' schema; nil: all.
	Actions []string `json:"actions,omitempty"`
	// Parent is the serial number, in decimal, of the certificate that the human came with. When that is revoked, so is
	// what was made from it.
	Parent string `json:"parent"`
}

func (d Delegation) validate() error {
	if len(d.Targets) > maxScope || len(d.Actions) > maxScope {
		return fmt.Errorf("more than %d targets or actions", maxScope)
	}
	for _, word := range slices.Concat(d.Targets, d.Actions) {
		if err := checkIdentifier("target or action", word, maxScopeWord); err != nil {
			return err
		}
	}
	if _, err := strconv.ParseUint(d.Parent, 10, 64); err != nil {
		return errors.New("no serial number of a certificate that it was made from")
	}
	return nil
}

func (d Delegation) encode() (string, error) {
	if err := d.validate(); err != nil {
		return "", fmt.Errorf("delegation: %w", err)
	}
	b, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("delegation: %w", err)
	}
	if len(b) > maxDelegationJSON {
		return "", fmt.Errorf("delegation: longer than %d bytes", maxDelegationJSON)
	}
	return string(b), nil
}

// DelegationOf gives what narrows a certificate, or nil if nothing does. It does not check the certificate.
func DelegationOf(cert *ssh.Certificate) (*Delegation, error) {
	raw, ok := cert.CriticalOptions[DelegationOption]
	if !ok {
		return nil, nil
	}
	var d Delegation
	if err := decodeOnly(raw, "a delegation", maxDelegationJSON, &d); err != nil {
		return nil, fmt.Errorf("critical option %s: %w", DelegationOption, err)
	}
	if err := d.validate(); err != nil {
		return nil, fmt.Errorf("critical option %s: %w", DelegationOption, err)
	}
	return &d, nil
}

// consistent holds identity and delegation together: one without the other is no certificate that we made.
func (d *Delegation) consistent(id Identity) error {
	if d == nil && id.Issuer == DelegatedIssuer {
		return errors.New("an identity that a human vouched for, without what narrows it")
	}
	if d != nil && (id.Issuer != DelegatedIssuer || id.OnBehalfOf == nil) {
		return errors.New("a delegation to somebody whom no human vouched for")
	}
	return nil
}

// DelegateOptions of one certificate for an agent.
type DelegateOptions struct {
	// Name of the agent, for people and policies. It tells agents of one human apart.
	Name string
	// Scope is what it may do; Parent is filled in.
	Scope Delegation
	// Validity; 0: that of certificates that ask for none, or what is left of the human's. More than is left is an error.
	Validity time.Duration
	// SourceAddress the certificate may be used from, within what the human's own may be; nil: the same.
	SourceAddress []string
}

// SignDelegated certifies a key of an agent that a human, proved by a handshake, hands a part of their own rights. The
// certificate names both, and ends no later than the human's own.
func (a *Authority) SignDelegated(ctx context.Context, by Proven, key ssh.PublicKey, o DelegateOptions) (*ssh.Certificate, error) {
	human := by.Identity
	if human.Kind != Human || by.Certificate == nil {
		return nil, &DelegationError{"only people hand on what they may do"}
	}
	if err := CheckUserKey(key); err != nil {
		return nil, &DelegationError{err.Error()}
	}
	if bytes.Equal(key.Marshal(), by.Certificate.Key.Marshal()) {
		return nil, &DelegationError{"that is your own key; make one for the agent, with ssh-keygen -t ed25519"}
	}
	agent := Identity{
		Issuer: DelegatedIssuer, Subject: fingerprint([]byte(human.Key()))[:16] + "/" + o.Name, Name: o.Name, Kind: Agent, OnBehalfOf: &human,
	}
	if err := agent.Validate(); err != nil {
		return nil, &DelegationError{"the agent's name: " + err.Error()}
	}
	o.Scope.Parent = strconv.FormatUint(by.Certificate.Serial, 10)
	option, err := o.Scope.encode()
	if err != nil {
		return nil, &DelegationError{err.Error()}
	}
	validity, err := a.delegatedValidity(by, o.Validity)
	if err != nil {
		return nil, err
	}
	sources, err := narrowed(by.Certificate, o.SourceAddress)
	if err != nil {
		return nil, err
	}
	return a.signUser(ctx, agent, key, validity, sources, map[string]string{DelegationOption: option})
}

// A DelegationError is why nothing is handed on. Its text is for whoever asked.
type DelegationError struct{ why string }

func (e *DelegationError) Error() string { return e.why }

// PublicText says the same.
func (e *DelegationError) PublicText() string { return e.why }

// delegatedValidity is at most what is left of the human's certificate.
func (a *Authority) delegatedValidity(by Proven, asked time.Duration) (time.Duration, error) {
	left := by.Expires().Sub(a.now()).Truncate(time.Second)
	validity := orElse(asked, min(a.options.Validity, left))
	switch {
	case left < time.Minute:
		return 0, &DelegationError{"your own certificate ends within a minute; get a new one first"}
	case validity > left:
		return 0, &DelegationError{fmt.Sprintf("it cannot outlive your own certificate, which ends in %v; sign in for longer, with sallyport login --ttl", left)}
	case validity < time.Minute:
		return 0, &DelegationError{"it must be good for a minute at least"}
	}
	return validity, nil
}

// narrowed gives the addresses that a certificate made from parent may be used from: parent's own, or fewer.
func narrowed(parent *ssh.Certificate, asked []string) ([]netip.Prefix, error) {
	var within []netip.Prefix
	if s, ok := parent.CriticalOptions[sourceAddressOption]; ok {
		var err error
		if within, err = sourceAddress(strings.Split(s, ",")); err != nil {
			return nil, err
		}
	}
	wanted, err := sourceAddress(asked)
	if err != nil {
		return nil, &DelegationError{err.Error()}
	}
	if len(wanted) == 0 {
		return within, nil
	}
	for _, w := range wanted {
		if within != nil && !slices.ContainsFunc(within, func(p netip.Prefix) bool { return p.Bits() <= w.Bits() && p.Contains(w.Addr()) }) {
			return nil, &DelegationError{fmt.Sprintf("%v is not within the addresses that your own certificate may be used from", w)}
		}
	}
	return wanted, nil
}
