package postgres

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// What a connection can begin with, in the place of a version.
const (
	codeCancel = 80877102
	codeSSL    = 80877103
	codeGSS    = 80877104
)

// maxStartup is MAX_STARTUP_PACKET_LENGTH of PostgreSQL.
const maxStartup = 10000

// startupTimeout bounds everything until the client has said what it wants.
const startupTimeout = 30 * time.Second

// A startup is what a client said before it was let in.
type startup struct {
	conn        net.Conn // the client's, TLS in it or not
	minor       int      // of protocol version 3
	user        string
	database    string
	settings    map[string]string
	protocol    []string // _pq_ options, none of which is known
	unmask      bool
	reason      string
	cancel      bool // it is a CancelRequest, for key
	key         cancelKey
	application string
}

// A startupError is told to the client.
type startupError struct{ code, message, hint string }

func (e *startupError) Error() string { return e.message }

// errNothing is a client that left before it said anything.
var errNothing = errors.New("the client left before it said anything")

// greet hears the client until it has said what it wants: it may ask for encryption first. TLS is begun on
// the bare connection, of which nothing beyond the request was read: bytes sent in clear behind the request
// can only break the handshake.
func (t *Target) greet(ctx context.Context, c net.Conn) (*startup, error) {
	if err := c.SetDeadline(time.Now().Add(startupTimeout)); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		timer := time.AfterFunc(startupTimeout, func() { c.Close() })
		defer timer.Stop()
	} else {
		defer c.SetDeadline(time.Time{})
	}
	encrypted := false
	for range 4 { // SSL, GSS, and then the startup message
		head := make([]byte, 4)
		if _, err := io.ReadFull(c, head[:1]); err != nil {
			return nil, errNothing
		}
		if head[0] == 0x16 && !encrypted { // a TLS handshake record: direct TLS of version 17
			inner, err := t.direct(ctx, &unread{Conn: c, first: head[:1]})
			if err != nil {
				return nil, err
			}
			c, encrypted = inner, true
			continue
		}
		code, rest, err := readStartup(c, head)
		if err != nil {
			return nil, err
		}
		switch {
		case code == codeSSL && !encrypted && t.c.TLS != nil:
			if _, err := c.Write([]byte{'S'}); err != nil {
				return nil, err
			}
			inner := tls.Server(c, t.c.TLS)
			if err := inner.HandshakeContext(ctx); err != nil {
				return nil, fmt.Errorf("TLS: %w", err)
			}
			c, encrypted = inner, true
		case code == codeSSL, code == codeGSS:
			if _, err := c.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		case code == codeCancel:
			if len(rest) != 8 {
				return nil, errProtocol
			}
			return &startup{conn: c, cancel: true, key: cancelKey{binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])}}, nil
		default:
			s, err := parseStartup(code, rest)
			if s != nil {
				s.conn = c
			}
			return s, err
		}
	}
	return nil, fmt.Errorf("%w: too many requests before the startup message", errProtocol)
}

// direct is TLS without asking, which must say by ALPN what it is for.
func (t *Target) direct(ctx context.Context, c net.Conn) (net.Conn, error) {
	if t.c.TLS == nil {
		return nil, fmt.Errorf("%w: TLS, which this target does not speak", errProtocol)
	}
	inner := tls.Server(c, t.c.TLS)
	if err := inner.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	if inner.ConnectionState().NegotiatedProtocol != "postgresql" {
		return nil, fmt.Errorf("%w: direct TLS without ALPN postgresql", errProtocol)
	}
	return inner, nil
}

// unread is a connection of which the first bytes were read already.
type unread struct {
	net.Conn
	first []byte
}

func (u *unread) Read(p []byte) (int, error) {
	if len(u.first) > 0 {
		n := copy(p, u.first)
		u.first = u.first[n:]
		return n, nil
	}
	return u.Conn.Read(p)
}

// readStartup reads a message without a type, of which the first byte is in head.
func readStartup(c io.Reader, head []byte) (code uint32, rest []byte, err error) {
	if _, err := io.ReadFull(c, head[1:]); err != nil {
		return 0, nil, err
	}
	n := int(int32(binary.BigEndian.Uint32(head)))
	if n < 8 || n > maxStartup {
		return 0, nil, fmt.Errorf("%w: a startup message of %d bytes", errProtocol, n)
	}
	b := make([]byte, n-4)
	if _, err := io.ReadFull(c, b); err != nil {
		return 0, nil, err
	}
	return binary.BigEndian.Uint32(b), b[4:], nil
}

// parseStartup reads names and values. A *startupError comes with a startup, so that it can be told.
func parseStartup(version uint32, rest []byte) (*startup, error) {
	s := &startup{minor: int(version & 0xffff), settings: map[string]string{}}
	if version>>16 != 3 {
		return s, &startupError{"0A000", fmt.Sprintf("unsupported frontend protocol %d.%d: server supports 3.0", version>>16, s.minor), ""}
	}
	b := &body{p: rest}
	for {
		name := b.text()
		if b.bad {
			return s, &startupError{"08P01", "invalid startup packet layout: expected terminator as last byte", ""}
		}
		if name == "" {
			break
		}
		value := b.text()
		if err := s.parameter(name, value); err != nil {
			return s, err
		}
	}
	if len(b.p) > 0 || b.bad {
		return s, &startupError{"08P01", "invalid startup packet layout: expected terminator as last byte", ""}
	}
	if s.user == "" {
		return s, &startupError{"28000", "no PostgreSQL user name specified in startup packet", ""}
	}
	if s.database == "" {
		s.database = s.user
	}
	return s, nil
}

// parameter reads one. What could change more than how results look is refused, not dropped.
func (s *startup) parameter(name, value string) error {
	switch name = strings.ToLower(name); {
	case name == "user":
		s.user = value
	case name == "database":
		s.database = value
	case name == "options":
		return s.options(value)
	case name == "replication":
		if !slices.Contains([]string{"false", "off", "no", "0"}, strings.ToLower(value)) {
			return &startupError{"42501", "replication is not let through", "Connect without replication."}
		}
	case strings.HasPrefix(name, "_pq_."):
		s.protocol = append(s.protocol, name)
	default:
		return s.set(name, value)
	}
	return nil
}

// set takes a setting, if it is one that anybody may have.
func (s *startup) set(name, value string) error {
	switch {
	case name == "sallyport.unmask":
		s.unmask = slices.Contains([]string{"on", "true", "1", "yes"}, strings.ToLower(value))
	case name == "sallyport.reason":
		s.reason = value
	case sql.HarmlessSetting(name):
		if name == "application_name" {
			s.application = value
		}
		s.settings[name] = value
	default:
		return &startupError{"42501", fmt.Sprintf("the setting %q cannot be given at startup through this gate", name), "Use SET, which is decided on like any statement."}
	}
	return nil
}

// options reads what PGOPTIONS holds: -c name=value and --name=value, with backslashes before what is meant
// as it stands (pg_split_opts).
func (s *startup) options(text string) error {
	words := splitOptions(text)
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "-c" && i+1 < len(words):
			i++
			w = words[i]
		case strings.HasPrefix(w, "-c"):
			w = w[2:]
		case strings.HasPrefix(w, "--"):
			w = w[2:]
		default:
			return &startupError{"42501", fmt.Sprintf("the option %q cannot be given at startup through this gate", w), "Use -c name=value."}
		}
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return &startupError{"42601", fmt.Sprintf("option %q requires a value", w), ""}
		}
		if err := s.set(strings.ToLower(strings.ReplaceAll(name, "-", "_")), value); err != nil {
			return err
		}
	}
	return nil
}

func splitOptions(text string) []string {
	var words []string
	var word strings.Builder
	in, escaped := false, false
	for _, c := range []byte(text) {
		switch {
		case escaped:
			word.WriteByte(c)
			escaped = false
		case c == '\\':
			in, escaped = true, true
		case c == ' ' || c >= '\t' && c <= '\r':
			if in {
				words = append(words, word.String())
				word.Reset()
			}
			in = false
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if in {
		words = append(words, word.String())
	}
	return words
}

// place says where a client goes: the login that it asked for, if it is one, else the default; the database
// that it asked for, unless it named none. A client without -d asks for one called like the user.
func (t *Target) place(s *startup) (login, database string, err error) {
	login, database = t.c.Logins[0], t.c.Databases[0]
	if slices.Contains(t.c.Logins, s.user) {
		login = s.user
	}
	switch {
	case slices.Contains(t.c.Databases, s.database):
		database = s.database
	case s.database != s.user && s.database != t.c.Name:
		return "", "", &startupError{"3D000", fmt.Sprintf("database %q is not behind this gate", s.database), "There is " + strings.Join(t.c.Databases, ", ") + "."}
	}
	return login, database, nil
}
