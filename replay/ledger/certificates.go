package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Purpose is what a certificate is good for.
type Purpose string

// The purposes of certificates.
const (
	ForUser     Purpose = "user"     // a client on its way to the gate
	ForHost     Purpose = "host"     // the gate, towards clients
	ForTarget   Purpose = "target"   // the gate, towards a target
	ForRecorder Purpose = "recorder" // the key that signs a recording
)

// A Certificate is one that the gate's authority issued.
type Certificate struct {
	Serial      string // decimal
	Purpose     Purpose
	IdentityKey string // "" for hosts
	Name        string // of the identity, for people
	Principal   string
	Fingerprint string // of the key, "SHA256:..."
	ValidFrom   time.Time
	ValidTo     time.Time
	SessionID   string // it was issued for, or ""
	Issued      time.Time
}

// AddCertificate stores that a certificate was issued; call it before the certificate leaves the gate.
// ErrExists if the authority used that serial for the same purpose before.
func (l *Ledger) AddCertificate(ctx context.Context, c Certificate) error {
	return wrap("add certificate", l.addCertificate(ctx, c))
}

func (l *Ledger) addCertificate(ctx context.Context, v Certificate) error {
	var c check
	args := []any{
		c.serial(v.Serial), oneOf(&c, "purpose", v.Purpose, ForUser, ForHost, ForTarget, ForRecorder),
		c.key("identity", v.IdentityKey), c.text("name", v.Name, MaxKey), c.text("principal", v.Principal, MaxKey),
		c.need("fingerprint", v.Fingerprint), micros(v.ValidFrom), micros(v.ValidTo), c.key("session id", v.SessionID),
		micros(v.Issued),
	}
	if c.err != nil {
		return c.err
	}
	_, err := l.exec(ctx, `INSERT INTO certificates (serial, purpose, identity_key, name, principal, fingerprint, valid_from,
		valid_to, session_id, issued) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, args...)
	return err
}

// serial is a decimal number as SSH and X.509 have them; the ledger compares the digits.
func (c *check) serial(s string) string {
	if c.err != nil {
		return s
	}
	if s == "" || len(s) > 64 || strings.Trim(s, "0123456789") != "" || len(s) > 1 && s[0] == '0' {
		c.err = fmt.Errorf("serial %q is not a decimal number: %w", shorten(clean(s), 64), ErrInvalid)
	}
	return s
}

// CertificateFilter chooses certificates. The zero value chooses all.
type CertificateFilter struct {
	Serial       string
	Fingerprint  string
	Identity     string // key
	SessionID    string
	Purpose      Purpose
	ValidAt      time.Time // zero: whenever
	Since, Until time.Time // issued in [Since, Until)
	Limit        int       // rows; 0: DefaultLimit, at most MaxLimit
	Cursor       string
}

// Certificates returns the certificates that f chooses, newest first, and the cursor of the next page,
// "" when there is none.
func (l *Ledger) Certificates(ctx context.Context, f CertificateFilter) ([]Certificate, string, error) {
	w := &where{kind: l.kind}
	w.equal("serial", f.Serial)
	w.equal("fingerprint", f.Fingerprint)
	w.equal("identity_key", f.Identity)
	w.equal("session_id", f.SessionID)
	w.equal("purpose", string(f.Purpose))
	w.between("issued", f.Since, f.Until)
	if at := micros(f.ValidAt); at != 0 {
		w.and("valid_from <= ? AND valid_to > ?", at, at)
	}
	if err := w.beforeNumber(f.Cursor); err != nil {
		return nil, "", wrap("certificates", err)
	}
	page, next, err := l.certificates(ctx, w, limit(f.Limit))
	return page, next, wrap("certificates", err)
}

func (l *Ledger) certificates(ctx context.Context, w *where, n int) ([]Certificate, string, error) {
	rows, err := l.query(ctx, `SELECT n, serial, purpose, identity_key, name, principal, fingerprint, valid_from, valid_to,
		session_id, issued FROM certificates`+w.String()+" ORDER BY n DESC LIMIT "+strconv.Itoa(n+1), w.args...)
	if err != nil {
		return nil, "", err
	}
	defer rows.Close()
	var page []Certificate
	var last int64
	for rows.Next() {
		var c Certificate
		var number, from, to, issued int64
		err := rows.Scan(&number, &c.Serial, &c.Purpose, &c.IdentityKey, &c.Name, &c.Principal, &c.Fingerprint, &from, &to,
			&c.SessionID, &issued)
		if err != nil {
			return nil, "", err
		}
		if len(page) == n {
			return page, numberCursor(last), nil
		}
		c.ValidFrom, c.ValidTo, c.Issued = fromMicros(from), fromMicros(to), fromMicros(issued)
		page, last = append(page, c), number
	}
	return page, "", named(rows.Err())
}

// A Revocation takes back certificates: every one that has its Serial, its key's Fingerprint or its
// IdentityKey. At least one of the three is set; if several are, each counts on its own.
type Revocation struct {
	N           int64  // order in which revocations were made; set by the ledger
	Serial      string // decimal
	Fingerprint string // "SHA256:..."
	IdentityKey string
	Reason      string
	By          string // key of who revoked
	At          time.Time
	Expires     time.Time // it counts until then; zero: for ever
}

// Revoke stores a revocation, which every gate on this ledger sees at its next IsRevoked or
// Revocations; RevocationChanges tells when to look.
func (l *Ledger) Revoke(ctx context.Context, r Revocation) error {
	return wrap("revoke", l.revoke(ctx, r))
}

func (l *Ledger) revoke(ctx context.Context, r Revocation) error {
	var c check
	if r.Serial != "" {
		c.serial(r.Serial)
	}
	if r.Serial+r.Fingerprint+r.IdentityKey == "" || r.At.IsZero() {
		return fmt.Errorf("names no certificate, key or identity, or no time: %w", ErrInvalid)
	}
	args := []any{
		r.Serial, c.key("fingerprint", r.Fingerprint), c.key("identity", r.IdentityKey), c.text("reason", r.Reason, MaxNote),
		c.key("revoked by", r.By), micros(r.At), micros(r.Expires),
	}
	if c.err != nil {
		return c.err
	}
	err := l.durably(ctx, func(t tx) error {
		// Readers continue after the last number they saw, so numbers must appear in order.
		if err := t.serialise(ctx, "revocations"); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `INSERT INTO revocations (serial, fingerprint, identity_key, reason, revoked_by, at, expires)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`, args...); err != nil {
			return err
		}
		return t.notify(ctx, topicRevocations, "")
	})
	if err == nil {
		l.changed(topicRevocations, "")
	}
	return err
}

// IsRevoked says whether a certificate is revoked at now, by its serial, its key or its identity; ""
// matches nothing. On an error the caller must treat it as revoked.
func (l *Ledger) IsRevoked(ctx context.Context, serial, fingerprint, identityKey string, now time.Time) (bool, error) {
	var n int64
	err := l.row(ctx, `SELECT
		(SELECT count(*) FROM revocations WHERE serial = $1 AND serial <> '' AND (expires = 0 OR expires > $4)) +
		(SELECT count(*) FROM revocations WHERE fingerprint = $2 AND fingerprint <> '' AND (expires = 0 OR expires > $4)) +
		(SELECT count(*) FROM revocations WHERE identity_key = $3 AND identity_key <> '' AND (expires = 0 OR expires > $4))`,
		[]any{serial, fingerprint, identityKey, micros(now)}, &n)
	if err != nil {
		return true, wrap("is revoked", err)
	}
	return n > 0, nil
}

// Revocations returns the revocations numbered above after, in the order they were made, at most
// MaxLimit of them: call it again with the last N until it returns none. Expired ones are included.
func (l *Ledger) Revocations(ctx context.Context, after int64) ([]Revocation, error) {
	all, err := l.revocations(ctx, after)
	return all, wrap("revocations", err)
}

func (l *Ledger) revocations(ctx context.Context, after int64) ([]Revocation, error) {
	rows, err := l.query(ctx, `SELECT n, serial, fingerprint, identity_key, reason, revoked_by, at, expires FROM revocations
		WHERE n > $1 ORDER BY n LIMIT `+strconv.Itoa(MaxLimit), after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Revocation
	for rows.Next() {
		var r Revocation
		var at, expires int64
		if err := rows.Scan(&r.N, &r.Serial, &r.Fingerprint, &r.IdentityKey, &r.Reason, &r.By, &at, &expires); err != nil {
			return nil, err
		}
		r.At, r.Expires = fromMicros(at), fromMicros(expires)
		all = append(all, r)
	}
	return all, named(rows.Err())
}
