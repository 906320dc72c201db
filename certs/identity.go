package certs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

// IdentityExtension names the extension of a user certificate that holds the identity as JSON. The
// name ends in @sallyport as PROTOCOL.certkeys asks of everything that is not OpenSSH's own.
const IdentityExtension = "identity@sallyport"

// Kinds of identities.
const (
	Human = "human"
	Agent = "agent"
)

// Bounds of an identity, in bytes unless it says otherwise. 255 for the subject is OpenID Connect
// Core section 2; 254 for an e-mail address is RFC 5321 section 4.5.3.1.3, less the brackets.
const (
	maxIssuer       = 512
	maxSubject      = 255
	maxName         = 128
	maxEmail        = 254
	maxGroup        = 256
	maxGroups       = 256 // how many
	maxChain        = 2   // identities: the one that acts and the one on whose behalf
	maxIdentityJSON = 16 << 10
)

// An Identity is who is on the line, as an issuer proved it. It is plain data; the zero value is
// nobody and is refused everywhere.
type Identity struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
	// Name is for people to read. It is not unique and decides nothing.
	Name string `json:"name"`
	// Email is set only when the issuer said email_verified: true.
	Email  string   `json:"email,omitempty"`
	Kind   string   `json:"kind"` // [Human] or [Agent]
	Groups []string `json:"groups,omitempty"`
	// OnBehalfOf is the principal an agent acts for; nil when it acts for itself.
	OnBehalfOf *Identity `json:"on_behalf_of,omitempty"`
}

// Key is what identifies the identity for good: issuer, "#", subject. An issuer's URL has no
// fragment, so the first "#" always ends it.
func (id Identity) Key() string { return id.Issuer + "#" + id.Subject }

// String names the identity in logs and key ids: its name, and whom it acts for.
func (id Identity) String() string {
	if id.OnBehalfOf == nil {
		return id.Name
	}
	return id.Name + " for " + id.OnBehalfOf.Name
}

// Validate reports whether the identity may be put into a certificate or taken out of one.
func (id Identity) Validate() error { return id.validate(maxChain) }

func (id Identity) validate(depth int) error {
	if depth == 0 {
		return errors.New("chain of delegation is too long")
	}
	if err := id.validateFields(); err != nil {
		return err
	}
	if len(id.Groups) > maxGroups {
		return fmt.Errorf("more than %d groups", maxGroups)
	}
	for _, g := range id.Groups {
		if err := checkIdentifier("group", g, maxGroup); err != nil {
			return err
		}
	}
	if id.OnBehalfOf == nil {
		return nil
	}
	if id.Kind != Agent {
		return errors.New("only an agent acts on behalf of somebody")
	}
	if err := id.OnBehalfOf.validate(depth - 1); err != nil {
		return fmt.Errorf("on behalf of: %w", err)
	}
	return nil
}

func (id Identity) validateFields() error {
	if err := checkIdentifier("issuer", id.Issuer, maxIssuer); err != nil {
		return err
	}
	if err := checkIdentifier("subject", id.Subject, maxSubject); err != nil {
		return err
	}
	if strings.Contains(id.Issuer, "#") {
		return errors.New("issuer has a fragment")
	}
	if id.Name == "" || len(id.Name) > maxName || id.Name != cleanName(id.Name) {
		return errors.New("name is empty, too long or has characters that cannot be shown")
	}
	if id.Email != "" {
		if err := checkEmail(id.Email); err != nil {
			return err
		}
	}
	if id.Kind != Human && id.Kind != Agent {
		return errors.New("kind is neither human nor agent")
	}
	return nil
}

// checkIdentifier refuses what must be compared byte by byte and could deceive: cleaning it instead
// would let "dba\x00" become "dba".
func checkIdentifier(what, s string, limit int) error {
	switch {
	case s == "":
		return fmt.Errorf("%s is empty", what)
	case len(s) > limit:
		return fmt.Errorf("%s is longer than %d bytes", what, limit)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not UTF-8", what)
	case strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0:
		return fmt.Errorf("%s has characters that cannot be shown", what)
	}
	return nil
}

func checkEmail(s string) error {
	if err := checkIdentifier("email", s, maxEmail); err != nil {
		return err
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" || strings.ContainsAny(domain, "@") || strings.ContainsAny(s, " ,<>\"") {
		return errors.New("email is not an address")
	}
	return nil
}

// cleanName keeps what a terminal and a page can show without being led astray: no control
// characters, no bidirectional or zero-width ones, no runs of spaces, at most maxName bytes.
func cleanName(s string) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return -1
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	for len(s) > maxName {
		_, n := utf8.DecodeLastRuneInString(s)
		s = strings.TrimRight(s[:len(s)-n], " ")
	}
	return s
}

// Principal is the one principal of the identity's certificates: its name in lower-case ASCII, all
// else a dash. It tells people whose certificate it is and decides nothing.
func (id Identity) Principal() string {
	p := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_', r == '@', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, id.Name)
	p = strings.Trim(p, "-.")
	if p == "" {
		return "id-" + fingerprint([]byte(id.Key()))[:12]
	}
	return p[:min(len(p), 64)]
}

// IdentityOf gives the identity in a user certificate's signed extension. It does not check the
// certificate: [UserChecker.Check] does. An extension that is missing, too long, not exactly one
// JSON object of known fields, or not a valid identity is an error.
func IdentityOf(cert *ssh.Certificate) (Identity, error) {
	raw, ok := cert.Extensions[IdentityExtension]
	if !ok {
		return Identity{}, fmt.Errorf("certificate has no %s extension", IdentityExtension)
	}
	id, err := parseIdentity(raw)
	if err != nil {
		return Identity{}, fmt.Errorf("extension %s: %w", IdentityExtension, err)
	}
	return id, nil
}

func parseIdentity(raw string) (Identity, error) {
	var id Identity
	if err := decodeOnly(raw, "an identity", maxIdentityJSON, &id); err != nil {
		return Identity{}, err
	}
	return id, id.Validate()
}

// decodeOnly reads exactly one JSON object of known fields into v. What names it in errors.
func decodeOnly(raw, what string, limit int, v any) error {
	if len(raw) > limit {
		return errors.New("too long")
	}
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return errors.New("not " + what + " in JSON") // encoding/json would quote the value
	}
	if dec.More() || dec.InputOffset() != int64(len(raw)) {
		return errors.New("more than one value")
	}
	return nil
}

func (id Identity) encode() (string, error) {
	if err := id.Validate(); err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	b, err := json.Marshal(id)
	if err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	if len(b) > maxIdentityJSON {
		return "", fmt.Errorf("identity is longer than %d bytes: too many groups", maxIdentityJSON)
	}
	return string(b), nil
}
