// Package postgres stands between a client and a PostgreSQL server, and speaks both sides of the protocol.
//
// Every statement is put before a [Guard] before a byte of it, or of anything batched with it, is sent; what
// is sent are the client's own bytes. Every value on its way back is masked. A statement that is refused is
// replaced by one that the server refuses too, so that transactions and pipelines end up in the state that
// an error leaves, by the server's own account; the client sees one error, which says why.
//
// The server is logged in to as a role made for the session and dropped with it, or as the login itself by a
// certificate made for the session. What the proxy does not
// understand is refused: README.md says what that is.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"crypto/tls"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/filters/sql"
	"github.com/sallyport-ssh/sallyport/filters/sql/child"
)

// A Parser reads statements; package child has one.
type Parser interface {
	Read(ctx context.Context, text string, s sql.Session) (*child.Reading, error)
}

// Config is one server.
type Config struct {
	Name string // of the target
	Gate string // that roles are made by; those of its former life are swept

	// Admin is the connection string of the account that makes roles, as libpq knows them: it needs
	// CREATEROLE and membership, with the admin option, in every role of Logins.
	Admin        string
	PasswordFile string // of that account; "": what Admin or the environment says

	Credential string // what sessions log in with: CredentialPassword and its like
	Sign       Signer // of client certificates, where Credential asks for them
	Writable   bool   // sessions may write at any time; else only what says that it does, once it was admitted

	Databases []string // that may be asked for; the first is the default. Empty: that of Admin
	Logins    []string // roles that a session may be; the first is the default

	Protected []Protected // columns that are masked whatever they hold
	Parser    Parser
	Masks     *mask.Engine
	TokenKey  []byte      // of style token, at least 16 bytes where a column has it
	ShownRows int         // of each result, in what a player shows; 0: the first 10
	TLS       *tls.Config // towards clients; nil: plain, inside the SSH tunnel
	Psql      bool        // sessions of psql on the gate, in a sandbox
	Log       *slog.Logger

	ConnectTimeout time.Duration // default 10s
	MaxMessage     int           // bytes that one message of a client may have; default 64 MiB and some
}

// Protected is a column that is masked by its origin.
type Protected struct {
	Relation string // schema.table
	Column   string
	Style    string // stars, last4, token or null
}

// A Target is a server. It is safe for concurrent use.
type Target struct {
	c     Config
	admin *pgconn.Config
	role  string // prefix of the roles that it makes

	mu       sync.Mutex
	admins   map[string]*account // by database
	sessions map[cancelKey]*session
	catalogs map[string]*catalog
	psql     *psqlBox
	closed   bool
}

// DefaultMaxMessage is a little more than 64 MiB, which clients may count on.
const DefaultMaxMessage = 65 << 20

// New checks c. Nothing is connected to before the first session, except to sweep; see [Target.Sweep].
func New(c Config) (*Target, error) {
	if c.Parser == nil || c.Masks == nil {
		return nil, errors.New("postgres: no parser or no masks")
	}
	if c.ShownRows < 0 || c.ShownRows > MaxShownRows {
		return nil, fmt.Errorf("%d rows of each result cannot be shown: at most %d can", c.ShownRows, MaxShownRows)
	}
	admin, err := pgconn.ParseConfig(c.Admin)
	if err != nil {
		return nil, errors.New("the admin's connection string cannot be read") // err may quote it
	}
	if c.PasswordFile != "" {
		text, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("the admin's password: %w", err)
		}
		admin.Password = adminPassword(text)
	}
	if err := c.checkCredential(admin); err != nil {
		return nil, err
	}
	if len(c.Databases) == 0 {
		c.Databases = []string{admin.Database}
	}
	if len(c.Logins) == 0 {
		return nil, errors.New("no logins: name the roles that sessions may be")
	}
	if slices.Contains(append(slices.Clone(c.Logins), c.Databases...), "") {
		return nil, errors.New("a login or database without a name")
	}
	for _, p := range c.Protected {
		style, err := parseStyle(p.Style)
		if err != nil {
			return nil, err
		}
		if *style == styleToken && len(c.TokenKey) < 16 {
			return nil, errors.New("a protected column of style token needs a key of at least 16 bytes")
		}
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	if c.MaxMessage <= 0 {
		c.MaxMessage = DefaultMaxMessage
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	admin.ConnectTimeout = c.ConnectTimeout
	t := &Target{c: c, admin: admin, role: rolePrefix(c.Gate, c.Name), admins: map[string]*account{},
		sessions: map[cancelKey]*session{}, catalogs: map[string]*catalog{}}
	if c.Psql {
		if t.psql, err = newPsql(t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Close ends what the target itself holds. Sessions are their callers' to end, before.
func (t *Target) Close() error {
	t.mu.Lock()
	t.closed = true
	admins := t.admins
	t.admins = map[string]*account{}
	t.mu.Unlock()
	for _, a := range admins {
		a.close()
	}
	if t.psql != nil {
		return t.psql.close()
	}
	return nil
}

// Guarded tells whether there are protected columns.
func (t *Target) Guarded() bool { return len(t.c.Protected) > 0 }

// A Guard decides on what a session does, and writes it down.
type Guard interface {
	// Open decides on the session, when the client has said what it wants. An error refuses it.
	Open(ctx context.Context, o Opening, held func(Held)) error
	// Admit decides on one statement; it may block for as long as a human takes. Its id is given to
	// Done. A [*Refusal] refuses the statement; any other error ends the session.
	Admit(ctx context.Context, s Statement, held func(Held)) (id string, err error)
	// Done says how an admitted statement ended.
	Done(r Result) error
	// Show appends to what a player shows of the session. It is masked already.
	Show(text []byte) error
	// Commit makes last what was said before by the same goroutine: nothing of an admitted statement is
	// sent, and nothing that it led to is shown, before Commit has returned nil.
	Commit() error
	// Close is called when the session has ended, and after that nothing is.
	Close()
	// Clear is whether the client may see what would be masked; the record never has it.
	Clear() bool
}

// An Opening is what a client asks for.
type Opening struct {
	Database, Login string
	Application     string // application_name
	Unmask          bool   // asked for by options=-csallyport.unmask=on
	Reason          string // in the client's own words: options=-csallyport.reason=...
}

// A Statement is put before the guard.
type Statement struct {
	Action string
	Text   string         // the exact statement; for a portal, with the bound values below it
	Facts  map[string]any // without the text; never to be changed
	Form   *Form
	Apart  string // what of the text is not that of all statements of its form: numbers in it, and values bound to it
}

// A Form is what statements of a session have in common that differ in nothing but their numbers and the values bound
// to them: their action, and their facts.
type Form struct {
	Text   string // of the first, without values that are bound
	Memory any    // of the guard's, for the goroutine that calls Admit
}

// Held is told to the client while a human is asked. Lines are for people; JSON, if not empty, is for programs.
type Held struct {
	Message, Detail, Hint string
}

// A Refusal is why a statement does not run, in words for the client.
type Refusal struct {
	Message string
	Hint    string
	Code    string // SQLSTATE; "" is 42501, insufficient_privilege
	Err     error
}

func (r *Refusal) Error() string { return r.Message }
func (r *Refusal) Unwrap() error { return r.Err }

// A Result is how an admitted statement ended.
type Result struct {
	ID       string
	Tag      string // as "SELECT 3"; "" when it failed
	Code     string // SQLSTATE of its error; "" when it did not fail
	Rows     int64
	Bytes    int64
	Masked   int64 // values
	Duration time.Duration
}
