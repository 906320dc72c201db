package remote

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// An Error is a session that could not be opened or was lost. Public is one line that may be shown to the
// user: it holds nothing the host said. Err is for the log; what the host said is escaped there.
type Error struct {
	Target string
	Public string
	Err    error
}

func (e *Error) Error() string {
	s := "target " + strconv.Quote(e.Target) + ": " + e.Public
	if e.Err != nil {
		s += ": " + escape(e.Err.Error())
	}
	return s
}
func (e *Error) Unwrap() error { return e.Err }

// PublicText is what may be shown to the user.
func (e *Error) PublicText() string { return e.Public }

// escape makes what a host said harmless in a log and on a screen, and short.
func escape(s string) string {
	const most = 1000
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	q := strconv.QuoteToGraphic(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// dialReason says in words that name no address why no connection stands.
func dialReason(err error) string {
	var dns *net.DNSError
	var ne net.Error
	switch {
	case errors.As(err, &dns):
		return "the host's name does not resolve"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the host is up but nothing listens there: is its sshd running?"
	case errors.As(err, &ne) && ne.Timeout():
		return "the host did not answer in time"
	}
	return "the host cannot be reached"
}

// handshakeReason is the same for the SSH handshake.
func handshakeReason(err error) string {
	var key *HostKeyError
	switch {
	case errors.As(err, &key):
		return key.Public()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "the host accepted the connection and then did not answer in time"
	case strings.Contains(err.Error(), "unable to authenticate"):
		return "the host does not accept the gate's certificate: its sshd must trust the gate's CA for targets (TrustedUserCAKeys) and know the login"
	case strings.Contains(err.Error(), "no common algorithm"):
		return "the host offers only algorithms that are no longer safe"
	}
	return "the host ended the connection before a session was open"
}

// HostKeyError is a host that did not prove to be the one meant.
type HostKeyError struct {
	Type, Fingerprint string // of the key it offered
	Why               string
}

func (e *HostKeyError) Error() string {
	return fmt.Sprintf("host key %s %s: %s", e.Type, e.Fingerprint, e.Why)
}

// Public is the sentence for the user.
func (e *HostKeyError) Public() string {
	return fmt.Sprintf("the host offered a key that is not known for it (%s %s: %s); nothing was sent. If the host was "+
		"reinstalled, an administrator must compare this fingerprint on the host and change the target's configuration", e.Type, e.Fingerprint, e.Why)
}
