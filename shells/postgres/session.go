package postgres

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// A session is one client on one server connection. Two goroutines carry it: one reads the client, decides
// and sends; the other reads the server, masks and shows.
type session struct {
	t     *Target
	guard Guard
	ctx   context.Context
	stop  context.CancelCauseFunc

	start   *startup
	login   string
	db      string
	role    string // the one made for it
	key     cancelKey
	server  net.Conn
	secret  []byte      // of the server's, for cancel requests
	tls     *tls.Config // of the server's, where it has it
	catalog *catalog
	guarded bool // the target has protected columns
	clear   bool // the client sees clear text

	in  *ahead // what the client sends
	out *output

	mu       sync.Mutex
	moved    *sync.Cond // told when queue gets shorter, or the session ends
	ended    bool
	queue    []*expected
	setters  int  // of queue, those that may change how statements are cut
	strings  bool // standard_conforming_strings
	utf8     bool // client_encoding
	asServer bool // settings that cut statements were never touched by this session
	prepared map[string]*prepared
	portals  map[string]*portal
	waiting  context.CancelCauseFunc // of the statement that is held; nil: none

	mode mode

	f frontend
	b backend
}

// errCanceled is a statement that its own client cancelled.
var errCanceled = errors.New("canceled by its client")

// errGone is a client that left while it waited.
var errGone = errors.New("the client left")

// Serve proves nothing of the client: who it is was proved before, by SSH. It returns when the session has
// ended and nothing of it is left: nil when the client ended it.
func (t *Target) Serve(ctx context.Context, c net.Conn, g Guard) error {
	defer g.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unblock := context.AfterFunc(ctx, func() { c.Close() })
	start, err := t.greet(ctx, c)
	var wrong *startupError
	switch {
	case errors.Is(err, errNothing):
		return nil
	case errors.As(err, &wrong) && start != nil && start.conn != nil:
		_, _ = start.conn.Write(errorReport("FATAL", wrong.code, wrong.message, wrong.hint))
		return err
	case err != nil:
		return err
	case start.cancel:
		t.cancel(start.key)
		return nil
	}
	unblock()
	return t.session(ctx, cancel, start, g)
}

// session lets the client in, logs in to the server, and relays.
func (t *Target) session(ctx context.Context, cancel context.CancelCauseFunc, start *startup, g Guard) error {
	s := &session{t: t, guard: g, ctx: ctx, stop: cancel, start: start, prepared: map[string]*prepared{},
		portals: map[string]*portal{}, guarded: len(t.c.Protected) > 0, asServer: true,
		mode: newMode(!t.c.Writable)}
	s.moved = sync.NewCond(&s.mu)
	s.in, s.out = newAhead(start.conn), &output{w: start.conn}
	defer context.AfterFunc(ctx, func() { s.farewell(); start.conn.Close() })()
	m, err := s.open()
	if m != nil {
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.c.ConnectTimeout)
			defer cancel()
			if err := m.drop(ctx); err != nil {
				t.c.Log.Error("a role was left; it is swept later", "target", t.c.Name, "role", m.name, "error", err)
			}
		}()
	}
	if err != nil {
		return s.refuseStart(err)
	}
	defer s.server.Close()
	defer t.forget(s)
	if err := s.welcome(); err != nil {
		return err
	}
	return s.relay()
}

// open decides on the session and logs in to the server.
func (s *session) open() (*minted, error) {
	var err error
	if s.login, s.db, err = s.t.place(s.start); err != nil {
		return nil, err
	}
	o := Opening{Database: s.db, Login: s.login, Application: s.start.application, Unmask: s.start.unmask, Reason: s.start.reason}
	if err := s.guard.Open(s.ctx, o, s.tell); err != nil {
		return nil, err
	}
	s.clear = s.guard.Clear()
	if s.catalog, err = s.t.catalog(s.db); err != nil {
		return nil, err
	}
	m, err := s.t.mint(s.ctx, s.db, s.login)
	if err != nil {
		return nil, err
	}
	s.role = m.name
	return m, s.dial(m)
}

// dial logs in. pgconn does what comes before the first ReadyForQuery; then the connection is ours.
func (s *session) dial(m *minted) error {
	c := s.t.admin.Copy()
	m.configure(c)
	c.Database = s.db
	c.RuntimeParams = s.start.settings
	c.MinProtocolVersion, c.MaxProtocolVersion = "3.0", "3.0"
	c.OnNotice, c.OnNotification, c.ValidateConnect, c.AfterConnect = nil, nil, nil, nil
	c.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(&oneByOne{r: r}, w)
	}
	conn, err := pgconn.ConnectConfig(s.ctx, c)
	if err != nil {
		return fmt.Errorf("log in for the session: %w", err)
	}
	// A write that took long, on a busy machine, leaves a reader of pgconn's own behind, which would take bytes
	// away from this session.
	if err := conn.SyncConn(s.ctx); err != nil {
		conn.Conn().Close()
		return fmt.Errorf("log in for the session: %w", err)
	}
	h, err := conn.Hijack()
	if err != nil {
		return fmt.Errorf("log in for the session: %w", err)
	}
	s.server, s.secret, s.tls = h.Conn, h.SecretKey, h.Config.TLSConfig
	var secret [4]byte
	rand.Read(secret[:])
	s.key = cancelKey{h.PID, binary.BigEndian.Uint32(secret[:])}
	s.t.remember(s)
	for name, value := range h.ParameterStatuses {
		s.status(name, value)
		if name == "default_transaction_read_only" {
			s.mode.reported, s.mode.lowered, s.mode.wish = true, value == "on", value == "on"
		}
		s.b.greeting = message(s.b.greeting, 'S', func(b []byte) []byte { return appendText(appendText(b, name), value) })
	}
	return nil
}

// status notes a setting that the server reports.
func (s *session) status(name, value string) {
	switch name {
	case "standard_conforming_strings":
		s.strings = value == "on"
	case "client_encoding":
		s.utf8 = strings.EqualFold(value, "UTF8")
	}
}

// oneByOne returns no more than one message by one read, so that nothing of the next is kept where it would
// be lost when the connection changes hands.
type oneByOne struct {
	r    io.Reader
	head [header]byte
	n    int // of head, read
	left int // of the body
}

func (o *oneByOne) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	want := o.left
	if want == 0 {
		want = header - o.n
	}
	n, err := o.r.Read(p[:min(len(p), want)])
	if o.left > 0 {
		o.left -= n
		return n, err
	}
	copy(o.head[o.n:], p[:n])
	if o.n += n; o.n == header {
		o.n = 0
		o.left = max(0, int(int32(binary.BigEndian.Uint32(o.head[1:])))-4)
	}
	return n, err
}

// welcome tells the client that it is in: the server's settings, its true process id, a secret of ours.
func (s *session) welcome() error {
	var b []byte
	if s.start.minor > 0 || len(s.start.protocol) > 0 {
		b = message(b, 'v', func(b []byte) []byte {
			b = binary.BigEndian.AppendUint32(b, 3<<16)
			b = binary.BigEndian.AppendUint32(b, uint32(len(s.start.protocol)))
			for _, o := range s.start.protocol {
				b = appendText(b, o)
			}
			return b
		})
	}
	b = append(b, 'R', 0, 0, 0, 8, 0, 0, 0, 0)
	b = append(b, s.b.greeting...)
	s.b.greeting = nil
	b = append(b, 'K', 0, 0, 0, 12)
	b = binary.BigEndian.AppendUint32(b, s.key.pid)
	b = binary.BigEndian.AppendUint32(b, s.key.secret)
	b = append(b, 'Z', 0, 0, 0, 5, 'I')
	return s.out.write(b)
}

// refuseStart tells a client why it was not let in. What went wrong inside is for the log.
func (s *session) refuseStart(err error) error {
	code, message, hint := "08006", "the gate could not log in to the database", "The gate's log has the reason."
	var wrong *startupError
	var refusal *Refusal
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &wrong):
		code, message, hint = wrong.code, wrong.message, wrong.hint
	case errors.As(err, &refusal):
		code, message, hint = refusal.code(), refusal.Message, refusal.Hint
	case errors.As(err, &pg) && pg.Code == "53300": // too_many_connections
		code, message, hint = pg.Code, pg.Message, ""
	}
	_ = s.out.write(errorReport("FATAL", code, message, hint)) // a client that left has no use for it
	return err
}

func (r *Refusal) code() string {
	if r.Code == "" {
		return "42501"
	}
	return r.Code
}

// relay runs both directions until one ends.
func (s *session) relay() error {
	var wg sync.WaitGroup
	end := func(err error) {
		s.stop(err)
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
		s.moved.Broadcast()
		s.server.Close()
		s.start.conn.Close()
	}
	stop := context.AfterFunc(s.ctx, func() { end(context.Cause(s.ctx)) })
	defer stop()
	wg.Go(func() { end(s.fromServer()) })
	err := s.fromClient()
	end(err)
	wg.Wait()
	if cause := context.Cause(s.ctx); !errors.Is(cause, errClientEnded) {
		return cause
	}
	return nil
}

// errClientEnded is the usual end.
var errClientEnded = errors.New("the client ended the session")

// farewell tells the client why its session is ended for it.
func (s *session) farewell() {
	cause := context.Cause(s.ctx)
	var public interface{ PublicText() string }
	if !errors.As(cause, &public) {
		return
	}
	_ = s.start.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_ = s.out.try(errorReport("FATAL", "57P01", public.PublicText(), ""))
}

// tell is a NOTICE about a statement that waits for a human.
func (s *session) tell(h Held) {
	r := report{severity: "NOTICE", code: "00000", message: h.Message, detail: h.Detail, hint: h.Hint}
	if err := s.out.write(r.encode(nil, 'N')); err != nil {
		s.stop(errGone)
	}
}

// cutting is what of the session's state changes how its statements are cut, with mu held.
func (s *session) cutting() sql.Session {
	sure := s.setters == 0 && !s.f.setting
	return sql.Session{PlainBackslash: s.strings && sure, UTF8: s.utf8 && sure}
}

// output writes whole messages to the client, from either goroutine.
type output struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *output) write(p []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, err := o.w.Write(p)
	return err
}

// try is write, unless somebody writes already.
func (o *output) try(p []byte) error {
	if !o.mu.TryLock() {
		return nil
	}
	defer o.mu.Unlock()
	_, err := o.w.Write(p)
	return err
}
