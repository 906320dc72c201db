package events

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// SyslogOptions say where a syslog server is. Messages have the form of RFC 5424.
type SyslogOptions struct {
	Network  string // "tcp", "tls", "udp" or "unix"
	Address  string // host:port, or the path of a socket
	TLS      *tls.Config
	Hostname string // of the messages; "" is this machine's
	Facility int    // RFC 5424 table 1; 0 becomes 13, log audit
}

// Syslog sends events to a syslog server.
//
// Over TCP and TLS each batch has a connection of its own (RFC 6587 and RFC 5425 framing by octet count), which is
// closed in one direction when all is sent; the batch counts as taken when the server has closed the other.
// A server does that when it has read to the end. Syslog has no other word for "taken". A datagram has none:
// over UDP, and over a unix socket of datagrams, what is sent counts as taken.
type Syslog struct{ o SyslogOptions }

const auditFacility = 13

// NewSyslog checks the options. It does not talk to the server.
func NewSyslog(o SyslogOptions) (*Syslog, error) {
	switch o.Network {
	case "tcp", "tls", "udp":
		if _, _, err := net.SplitHostPort(o.Address); err != nil {
			return nil, fmt.Errorf("syslog: %q is not host:port", o.Address)
		}
	case "unix":
		if o.Address == "" {
			return nil, errors.New("syslog: the path of the socket is missing")
		}
	default:
		return nil, fmt.Errorf("syslog: network %q, want tcp, tls, udp or unix", o.Network)
	}
	if o.Hostname == "" {
		o.Hostname, _ = os.Hostname()
	}
	if o.Facility == 0 {
		o.Facility = auditFacility
	}
	return &Syslog{o: o}, nil
}

// Send sends lines as messages.
func (s *Syslog) Send(ctx context.Context, lines [][]byte) error {
	if err := s.send(ctx, lines); err != nil {
		return fmt.Errorf("syslog: %w", err)
	}
	return nil
}

func (s *Syslog) send(ctx context.Context, lines [][]byte) error {
	conn, datagrams, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if datagrams {
		return s.sendDatagrams(conn, lines)
	}
	var framed bytes.Buffer
	for _, line := range lines {
		m := s.message(line)
		framed.WriteString(strconv.Itoa(len(m)) + " ")
		framed.Write(m)
	}
	if _, err := conn.Write(framed.Bytes()); err != nil {
		return cause(ctx, err)
	}
	return cause(ctx, taken(conn))
}

func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// dial connects, and says whether each write is one message.
func (s *Syslog) dial(ctx context.Context) (conn net.Conn, datagrams bool, err error) {
	var d net.Dialer
	switch s.o.Network {
	case "tls":
		t := tls.Dialer{NetDialer: &d, Config: s.o.TLS}
		conn, err = t.DialContext(ctx, "tcp", s.o.Address)
		return conn, false, err
	case "unix":
		conn, err = d.DialContext(ctx, "unixgram", s.o.Address)
		if err == nil {
			return conn, true, nil
		}
		conn, err = d.DialContext(ctx, "unix", s.o.Address)
		return conn, false, err
	}
	conn, err = d.DialContext(ctx, s.o.Network, s.o.Address)
	return conn, s.o.Network == "udp", err
}

// taken says that nothing more comes, and waits until the other side has read all of it and says the same.
func taken(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("a %T cannot be closed in one direction", conn)
	}
	if err := half.CloseWrite(); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(conn, 64<<10))
	if err == nil && n == 64<<10 {
		err = errors.New("the server talks back")
	}
	return err
}

// maxDatagram is what RFC 5426 section 3.2 wants every receiver to take, with room for ours: no event is larger
// than a loopback or a jumbo frame's datagram by much, and one that is gets cut.
const maxDatagram = 60 << 10

func (s *Syslog) sendDatagrams(conn net.Conn, lines [][]byte) error {
	for _, line := range lines {
		m := s.message(line)
		if _, err := conn.Write(m[:min(len(m), maxDatagram)]); err != nil {
			return err
		}
	}
	return nil
}

// message is a line as RFC 5424 section 6 has it: PRI, version, time, host, program, process, id of the message, no
// structured data, and the event.
func (s *Syslog) message(line []byte) []byte {
	var e struct {
		Severity int   `json:"severity_id"`
		Time     int64 `json:"time"`
		Metadata struct {
			Code string `json:"event_code"`
		} `json:"metadata"`
	}
	_ = json.Unmarshal(line, &e) // it is ours
	pri := s.o.Facility*8 + severities[min(max(e.Severity, 0), len(severities)-1)]
	at := time.UnixMilli(e.Time).UTC().Format("2006-01-02T15:04:05.000Z")
	m := fmt.Appendf(nil, "<%d>1 %s %s sallyport %d %s - ", pri, at, word(s.o.Hostname, 255), os.Getpid(), word(e.Metadata.Code, 32))
	return append(m, line...)
}

// severities are syslog's for OCSF's: unknown, informational, low, medium, high, critical, fatal.
var severities = [...]int{6, 6, 5, 4, 3, 2, 1}

// word is text as a field of a header may be: printable ASCII, "-" for nothing.
func word(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, text)
	if text == "" {
		return "-"
	}
	return text[:min(len(text), limit)]
}

// Close does nothing: connections end with their batch.
func (*Syslog) Close() error { return nil }
