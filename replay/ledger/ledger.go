// Package ledger is the SQL store of what happened at the gates: sessions, operations, holds,
// certificates, revocations, seals and audit events. It is what listings and searches read, and the
// only state that several gates share besides the store of recordings.
//
// One file of SQLite serves one machine; one PostgreSQL serves any number of gates. Both hold the same
// tables and pass the same tests.
//
// The ledger is an index, not the evidence: a recording proves itself by its own signatures. What the
// ledger adds is the chain of seals, by which a recording that is gone is noticed.
//
// # Durability
//
// On PostgreSQL a method that returned nil is as durable as the server's synchronous_commit says. On
// SQLite a method that returned nil survives the death of the process; revocations and the answers and
// ends of holds survive a power cut as well, the rest may lose its last moments in one.
//
// # Limits
//
// Every text is bounded; one that is longer is refused with [ErrTooLong] and nothing is stored, so that
// no listing ever shows something shorter than what happened without saying so. The constants of this
// package are those bounds, in bytes. Listings shorten long texts to [ListText] and end them with "…".
//
// Text that is not UTF-8, and NUL, is stored with each such byte written as \xNN. Identifiers and keys
// are never changed: one that is not plain text is refused with [ErrInvalid]. The text of a hold keeps
// its exact bytes.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Bounds on what is stored, in bytes.
const (
	MaxKey   = 1024      // identifiers, keys, names, addresses
	MaxText  = 1 << 20   // the text of an operation or a hold, a command
	MaxFacts = 256 << 10 // facts and details, as JSON
	MaxNote  = 4096      // reasons and outcomes
)

// Bounds on what is read.
const (
	DefaultLimit = 50      // rows of a page when the filter names none
	MaxLimit     = 500     // rows of a page
	MaxQuery     = 256     // bytes of a text searched for
	ListText     = 256     // bytes of a long text in a listing of sessions
	SearchText   = 1024    // bytes of a long text in the results of a search
	MaxBatch     = 8 << 20 // bytes of operation texts in one page of Operations
)

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("not in the ledger")
	ErrExists   = errors.New("already in the ledger")
	// ErrEnded: the session has ended before, or the recording is sealed, and differently.
	ErrEnded = errors.New("already ended")
	// ErrInvalid: a required field is missing, or an identifier, filter or cursor makes no sense.
	ErrInvalid = errors.New("invalid")
	ErrTooLong = errors.New("too long for the ledger")
	// ErrNewer: the tables were made by a newer version of this program.
	ErrNewer = errors.New("the ledger was written by a newer version")
)

// Ledger is an open ledger. It is safe for concurrent use.
type Ledger struct {
	kind dialect
	w    *sql.DB // SQLite: exactly one connection, the one writer of this process
	r    *sql.DB // SQLite: readers, which never wait for the writer; PostgreSQL: the same as w

	observer atomic.Pointer[Observer]

	prepared   stmtCache // SQLite only; pgx keeps its own
	operations group     // SQLite only
	changes    *hub
}

// Open opens the ledger at url, "sqlite:PATH" or "postgres://...", and brings its tables up to date. A
// file that does not exist is made, readable by its owner only; its folder must exist. No error tells a
// password.
func Open(ctx context.Context, url string) (*Ledger, error) {
	var l *Ledger
	var err error
	switch scheme, rest, _ := strings.Cut(url, ":"); scheme {
	case "sqlite":
		l, err = openSQLite(rest)
	case "postgres", "postgresql":
		l, err = openPostgres(url)
	default:
		return nil, errors.New(`open ledger: want a URL that starts with "sqlite:" or "postgres://"`)
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if err := l.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger: %w", err), l.Close())
	}
	return l, nil
}

// An Observer is told of statements and transactions: whether they write, how long they took with all waiting,
// and how they failed. That something is not there, or is there already, is no failure. It must not block.
type Observer func(write bool, took time.Duration, err error)

// Observe has o told from now on.
func (l *Ledger) Observe(o Observer) { l.observer.Store(&o) }

func (l *Ledger) observed(write bool, since time.Time, err error) {
	o := l.observer.Load()
	if o == nil {
		return
	}
	for _, fine := range []error{ErrNotFound, ErrExists, ErrEnded, ErrInvalid, ErrTooLong} {
		if errors.Is(err, fine) {
			err = nil
		}
	}
	(*o)(write, time.Since(since), err)
}

// Close ends all subscriptions and closes the database. Calls still under way may fail.
func (l *Ledger) Close() error {
	l.changes.close()
	l.prepared.close()
	err := l.w.Close()
	if l.r != l.w {
		err = errors.Join(err, l.r.Close())
	}
	return err
}

// Ping says whether the database answers.
func (l *Ledger) Ping(ctx context.Context) error {
	return wrap("ping", l.w.PingContext(ctx))
}

// An Identity is a person or an agent, as the gate proved it.
type Identity struct {
	Issuer  string   `json:"issuer"`
	Subject string   `json:"subject"`
	Name    string   `json:"name,omitempty"`
	Email   string   `json:"email,omitempty"`
	Kind    string   `json:"kind,omitempty"` // human, agent
	Groups  []string `json:"groups,omitempty"`
	// OnBehalfOf goes on where an agent acts for an agent; see [Session].
	OnBehalfOf *Identity `json:"on_behalf_of,omitempty"`
}

// maxDelegation bounds how many identities may stand behind one another.
const maxDelegation = 8

// last is whom i acts for in the end, itself if for nobody.
func (i *Identity) last() (*Identity, error) {
	for range maxDelegation {
		if i.OnBehalfOf == nil {
			return i, nil
		}
		i = i.OnBehalfOf
	}
	return nil, fmt.Errorf("a chain of more than %d identities: %w", maxDelegation, ErrTooLong)
}

// Key is what the identity is known by: issuer#subject.
func (i Identity) Key() string { return i.Issuer + "#" + i.Subject }

// micros is t as it is stored; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros is the inverse of micros, to the microsecond and in UTC.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// wrap says what was being done, and passes nil on.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ledger: %s: %w", doing, err)
}
