// Package replay keeps the evidence of sessions.
//
// An [Archive] owns a spool directory and a [store.Store]. Each session has one [Recording], which is an
// asciicast v3 file with a signed hash chain (package cast). A call that records returns only after its
// bytes were handed to the kernel by write(2), so they survive a kill -9 of the gate; once a second, or
// after 256 KiB, they are signed and flushed to disk. What is on disk is shipped to the store as segments
// whose concatenation is the recording, for as long as it takes.
//
// Nothing is sealed as complete that is not: what a dead gate left behind is sealed as recovered or as
// truncated by [Archive.Recover], under a key of its own.
package replay

import (
	"context"
	"crypto/ed25519"
	"errors"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// Signer makes the key that signs one session's recording.
type Signer interface {
	// NewSessionKey returns a fresh key and the X.509 chain (DER, leaf first, root left out or last) that
	// certifies it for this session. The key lives in memory only.
	NewSessionKey(ctx context.Context, sessionID string) (key ed25519.PrivateKey, chain [][]byte, err error)
}

// Identity is who a recording says was on the line.
type Identity struct {
	Issuer     string    `json:"issuer"`
	Subject    string    `json:"subject"`
	Name       string    `json:"name,omitempty"`
	Email      string    `json:"email,omitempty"`
	Kind       string    `json:"kind"` // "human" or "agent"
	Groups     []string  `json:"groups,omitempty"`
	OnBehalfOf *Identity `json:"on_behalf_of,omitempty"`
}

// Meta is what is known of a session when it starts. It stands, signed, in the recording's first lines.
type Meta struct {
	SessionID    string            `json:"session"`
	ConnectionID string            `json:"connection,omitempty"`
	Gate         string            `json:"gate,omitempty"`
	Identity     Identity          `json:"identity"`
	Target       string            `json:"target"`
	TargetKind   string            `json:"target_kind"`
	Login        string            `json:"login,omitempty"`
	Kind         string            `json:"kind"` // shell, exec, subsystem, forward
	Command      string            `json:"command,omitempty"`
	Pty          bool              `json:"pty"`
	Term         string            `json:"term,omitempty"`
	Cols         uint32            `json:"cols,omitempty"`
	Rows         uint32            `json:"rows,omitempty"`
	Env          map[string]string `json:"env,omitempty"`
	Guard        string            `json:"guard,omitempty"` // how exactly commands were understood
	Started      time.Time         `json:"started"`         // zero: now
	ClientAddr   string            `json:"client_addr,omitempty"`

	// Essential lets the session start and go on although the spool has passed the mark at which others are
	// refused and its limit, by a tenth, and has it written to a reserve when the disk is full: an
	// administrator's way in.
	Essential bool `json:"essential,omitempty"`
}

// End says how a session ended.
type End struct {
	Status *int   // exit status; nil: there was none
	Signal string // RFC 4254 section 6.10 name without SIG
	Reason string // why, in a few words: "exit", "client left", "killed by approver@example.com: ..."
}

// Seal is the last line of a recording; see [cast.Seal].
type Seal = cast.Seal

// Stream names one direction of a session; see [cast.Stream].
type Stream = cast.Stream

// The streams a session records.
const (
	Stdout = cast.Stdout
	Stderr = cast.Stderr
)

// Errors that callers branch on.
var (
	ErrSpoolFull  = errors.New("the spool of recordings is full")
	ErrNoSession  = errors.New("no recording of that session")
	ErrSessionID  = errors.New("a session id is 6 to 40 of 0-9 and a-z")
	ErrExists     = errors.New("a recording of that session exists already")
	ErrClosed     = errors.New("the archive is closed")
	ErrQuarantine = errors.New("recording was damaged in the spool and set aside")
)
