// Package remote opens sessions on SSH hosts, each with a credential made for it alone.
//
// For every session it dials the host, makes a key that never leaves memory, has it certified for a
// minute, one login, the address that connection comes from and, for a command, exactly that command. So
// it is the host that enforces what was admitted, and what is stolen opens nothing else.
package remote

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// Grant is what a certificate shall allow.
type Grant struct {
	Login         string        // the one principal
	ForceCommand  string        // exactly what the host runs, whatever is asked of it; "" for a shell
	SourceAddress []string      // where the connection comes from
	Validity      time.Duration // from now
	KeyID         string        // what the host's log shows
	Pty           bool          // a terminal was asked for
	// PortForwarding lets the connection listen on the host's loopback interface, by which a shell asks.
	PortForwarding bool
}

// Minter signs the certificate for one connection.
type Minter interface {
	SignTarget(ctx context.Context, key ssh.PublicKey, g Grant) (*ssh.Certificate, error)
}

// Config is one SSH host. At least one of HostCAs, HostKeys and KnownHosts says how it is known.
type Config struct {
	Name  string // of the target
	Addr  string // host:port; the port defaults to 22
	Login string // user for requests that name none; "" makes a login necessary

	HostCAs    []ssh.PublicKey // whose host certificates for one of HostNames are accepted
	HostNames  []string        // default: Name and the host of Addr
	HostKeys   []ssh.PublicKey // pinned keys
	KnownHosts []string        // lines of a known_hosts file, for the host of Addr

	Minter Minter
	KeyID  string // the certificates' key id; default "sallyport"
	// SourceAddress is where hosts see the gate come from, when there is address translation on the
	// way; default the local address of each connection.
	SourceAddress []string

	// Guard is how the commands of terminals are known: "hook" (the host's bash or zsh asks before each, or no terminal is
	// opened), "screen" (they are read off the terminal), "none" (nobody looks). Default: hook, and screen where the
	// host allows no forward or its login shell is no bash 5.1 or newer.
	Guard string

	DialTimeout time.Duration // until the TCP connection stands; default 10 s
	OpenTimeout time.Duration // from then until the session runs; default 20 s
	KeepAlive   time.Duration // between questions whether the host still lives; default 15 s. Three unanswered end it

	Log *slog.Logger // default: nothing is logged
}

// Remote is a target of kind ssh. It is safe for concurrent use.
type Remote struct {
	c     Config
	hosts *hostKeys
	fell  atomic.Bool // the last terminal had no hook
}

// validity of a certificate. Hosts look at it once, when the connection is made.
const validity = time.Minute

var loginName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$`)

// New checks c. It dials nothing.
func New(c Config) (*Remote, error) {
	wrong := func(format string, args ...any) (*Remote, error) {
		return nil, fmt.Errorf("target %q: "+format, append([]any{c.Name}, args...)...)
	}
	if c.Minter == nil {
		return wrong("no minter: there is nobody to certify keys for it")
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil && c.Addr != "" {
		c.Addr = net.JoinHostPort(strings.Trim(c.Addr, "[]"), "22")
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil || host == "" || port == "" {
		return wrong("address %q: want host:port", c.Addr)
	}
	if c.Login != "" && !loginName.MatchString(c.Login) {
		return wrong("login %q: not a user name", c.Login)
	}
	switch c.Guard {
	case "", "hook", "screen", "none":
	default:
		return wrong("guard %q: want hook, screen or none", c.Guard)
	}
	if len(c.HostNames) == 0 {
		c.HostNames = []string{c.Name, host}
	}
	if c.KeyID == "" {
		c.KeyID = "sallyport"
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.DialTimeout, 10 * time.Second}, {&c.OpenTimeout, 20 * time.Second}, {&c.KeepAlive, 15 * time.Second}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	hosts, err := newHostKeys(c)
	if err != nil {
		return wrong("%w", err)
	}
	return &Remote{c: c, hosts: hosts}, nil
}

// Guard is what a terminal's shell will probably be guarded by: "hook" until it turns out that no hook can be had, then
// "screen". What it is indeed, the process tells.
func (r *Remote) Guard() string {
	switch {
	case r.c.Guard != "":
		return r.c.Guard
	case r.fell.Load():
		return "screen"
	}
	return "hook"
}
