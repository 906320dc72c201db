// Package tcp opens raw connections to declared addresses and says what went over them.
//
// Nothing here looks at the bytes: that a raw connection may be made at all is for a policy to say.
package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Default times, used where a Config says zero.
const (
	DefaultDialTimeout = 10 * time.Second
	DefaultKeepAlive   = 30 * time.Second
)

// Config is one declared address.
type Config struct {
	Name        string        // of the target, for errors
	Addr        string        // host:port
	DialTimeout time.Duration // until the connection stands; default 10 s
	KeepAlive   time.Duration // between TCP keepalive probes on an idle connection; default 30 s
	IdleTimeout time.Duration // without a byte in either direction, after which the connection ends; 0: never
}

// Target dials one declared address. It is safe for concurrent use.
type Target struct{ c Config }

// New checks c. It dials nothing.
func New(c Config) (*Target, error) {
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return nil, fmt.Errorf("target %q: address %q: want host:port: %w", c.Name, c.Addr, err)
	}
	if host == "" || port == "" || port == "0" {
		return nil, fmt.Errorf("target %q: address %q: host and port must both be given", c.Name, c.Addr)
	}
	if c.DialTimeout <= 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	if c.KeepAlive <= 0 {
		c.KeepAlive = DefaultKeepAlive
	}
	return &Target{c: c}, nil
}

// An Error is a connection that could not be made. Public may be shown to the user; Err is for the log.
type Error struct {
	Target string
	Public string
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("target %q: %s: %v", e.Target, e.Public, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// PublicText is what may be shown to the user.
func (e *Error) PublicText() string { return e.Public }

// Dial connects. Errors are [*Error], but for ctx's own.
func (t *Target) Dial(ctx context.Context) (*Conn, error) {
	d := net.Dialer{Timeout: t.c.DialTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: t.c.KeepAlive, Interval: t.c.KeepAlive, Count: 3,
	}}
	c, err := d.DialContext(ctx, "tcp", t.c.Addr)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &Error{Target: t.c.Name, Public: "the target cannot be reached: " + reason(err), Err: err}
	}
	conn := &Conn{Conn: c, tcp: c.(*net.TCPConn), opened: time.Now(), idle: t.c.IdleTimeout}
	conn.touch()
	return conn, nil
}

// reason is the cause in words that name no address.
func reason(err error) string {
	var dns *net.DNSError
	var ne net.Error
	switch {
	case errors.As(err, &dns):
		return "its name does not resolve"
	case errors.As(err, &ne) && ne.Timeout():
		return "it did not answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "it refused the connection"
	}
	return "the network says no"
}

// Conn is a connection that counts. Each direction ends alone: CloseWrite tells the target that no more
// comes while its answer still flows, CloseRead the reverse.
type Conn struct {
	net.Conn // an interface: TCPConn's ReadFrom and WriteTo would go past the counters
	tcp      *net.TCPConn
	opened   time.Time
	idle     time.Duration
	in, out  atomic.Int64
	endOnce  sync.Once
	ended    atomic.Int64 // nanoseconds from opened, 0 while open
	closeErr error
}

// Stats is what went over a connection. From is what the target sent, To what it was sent, in bytes.
type Stats struct {
	From, To int64
	Opened   time.Time
	Lasted   time.Duration // until Close, or until now
}

// Stats may be called at any time.
func (c *Conn) Stats() Stats {
	d := time.Duration(c.ended.Load())
	if d == 0 {
		d = time.Since(c.opened)
	}
	return Stats{From: c.in.Load(), To: c.out.Load(), Opened: c.opened, Lasted: d}
}

// Read counts what the target sends.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.tcp.Read(p)
	if n > 0 {
		c.in.Add(int64(n))
		c.touch()
	}
	return n, err
}

// Write counts what the target is sent.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.tcp.Write(p)
	if n > 0 {
		c.out.Add(int64(n))
		c.touch()
	}
	return n, err
}

// touch puts the idle end off. It is one cheap call: the deadline lives in the runtime's timers.
func (c *Conn) touch() {
	if c.idle > 0 {
		c.SetDeadline(time.Now().Add(c.idle))
	}
}

// CloseWrite tells the target that no more comes; what it still sends can be read.
func (c *Conn) CloseWrite() error { return c.tcp.CloseWrite() }

// CloseRead says that no more is wanted from the target; it can still be written to.
func (c *Conn) CloseRead() error { return c.tcp.CloseRead() }

// Close ends both directions. It is idempotent.
func (c *Conn) Close() error {
	c.endOnce.Do(func() {
		c.ended.Store(max(1, int64(time.Since(c.opened))))
		c.closeErr = c.tcp.Close()
	})
	return c.closeErr
}
