package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// What changes are told about.
const (
	topicHolds       = "holds"
	topicRevocations = "revocations"
	topicEnds        = "ends"
)

const (
	// channel is the name that PostgreSQL sessions listen to.
	channel = "sallyport_ledger"
	// maxWaiting bounds the changes that wait for a slow receiver; more are dropped.
	maxWaiting = 4096
	// pollEvery is how soon changes by other processes on the same SQLite file are seen.
	pollEvery = 250 * time.Millisecond
	// lookBack is how far before the last look a missed change may be dated: transactions that took
	// long to commit, and clocks of other gates.
	lookBack = time.Minute
)

// errClosed: the ledger was closed.
var errClosed = errors.New("the ledger is closed")

// A hub tells subscribers of this process what changed, by whichever process. Its goroutines start with
// the first subscriber; close ends them and waits.
type hub struct {
	self string // tells this process's notifications from those of others
	// watch reports the changes that other processes make, until ctx ends. It calls ready once, when
	// no change from then on will be missed or when it failed, in which case it returns.
	watch func(ctx context.Context, ready func(error), tell func(topic, id string))

	ctx    context.Context // ends with the ledger
	cancel context.CancelFunc
	wg     sync.WaitGroup

	starting sync.Mutex // held while the first subscriber starts watch; before mu

	mu      sync.Mutex
	subs    map[*subscriber]struct{}
	running bool
}

func newHub(watch func(context.Context, func(error), func(topic, id string))) *hub {
	ctx, cancel := context.WithCancel(context.Background())
	return &hub{self: rand.Text(), watch: watch, ctx: ctx, cancel: cancel, subs: make(map[*subscriber]struct{})}
}

func (h *hub) close() {
	h.mu.Lock()
	h.cancel()
	h.mu.Unlock()
	h.wg.Wait()
}

// tell hands a change to those who asked for its topic. It never waits.
func (h *hub) tell(topic, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if s.topic == topic {
			s.add(id)
		}
	}
}

// subscribe returns the identifiers that tell is given for topic, until ctx or the hub ends.
func (h *hub) subscribe(ctx context.Context, topic string) (<-chan string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := h.start(ctx); err != nil {
		return nil, err
	}
	s := &subscriber{topic: topic, wake: make(chan struct{}, 1), waiting: make(map[string]bool), out: make(chan string)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return nil, errClosed
	}
	h.subs[s] = struct{}{}
	h.wg.Go(func() {
		defer close(s.out)
		s.pump(ctx, h.ctx)
		h.mu.Lock()
		delete(h.subs, s)
		h.mu.Unlock()
	})
	return s.out, nil
}

// start begins to watch, if nobody has, and returns when it does.
func (h *hub) start(ctx context.Context) error {
	h.starting.Lock()
	defer h.starting.Unlock()
	h.mu.Lock()
	if h.running || h.ctx.Err() != nil {
		h.mu.Unlock()
		return nil
	}
	ready := make(chan error, 1)
	watchCtx, stop := context.WithCancel(h.ctx)
	h.running = true
	h.wg.Go(func() {
		defer stop()
		h.watch(watchCtx, func(err error) { ready <- err }, h.tell)
		h.mu.Lock()
		h.running = false
		h.mu.Unlock()
	})
	h.mu.Unlock()
	select {
	case err := <-ready:
		return err
	case <-ctx.Done():
		stop()
		return context.Cause(ctx)
	}
}

// A subscriber gets each changed identifier once, however often it changed while it was not looking.
type subscriber struct {
	topic string
	wake  chan struct{}
	out   chan string

	mu      sync.Mutex
	order   []string
	waiting map[string]bool
}

func (s *subscriber) add(id string) {
	s.mu.Lock()
	if !s.waiting[id] && len(s.order) < maxWaiting {
		s.waiting[id] = true
		s.order = append(s.order, id)
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscriber) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.order
	s.order = nil
	clear(s.waiting)
	return ids
}

func (s *subscriber) pump(ctx, hubCtx context.Context) {
	for {
		for _, id := range s.take() {
			select {
			case s.out <- id:
			case <-ctx.Done():
				return
			case <-hubCtx.Done():
				return
			}
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		case <-hubCtx.Done():
			return
		}
	}
}

// changed tells this process; notify tells the others.
func (l *Ledger) changed(topic, id string) { l.changes.tell(topic, id) }

// notify tells other gates when the transaction commits. On SQLite they see it by themselves.
func (t tx) notify(ctx context.Context, topic, id string) error {
	if t.l.kind != inPostgres {
		return nil
	}
	_, err := t.exec(ctx, "SELECT pg_notify($1, $2)", channel, t.l.changes.self+" "+topic+" "+id)
	return err
}

// serialise makes transactions that name the same thing commit one after the other, in the order of the
// numbers they draw. SQLite has one writer anyway.
func (t tx) serialise(ctx context.Context, what string) error {
	if t.l.kind != inPostgres {
		return nil
	}
	_, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('sallyport ledger'), hashtext($1))", what)
	return err
}

// RevocationChanges sends whenever revocations may have been added, by any gate, until ctx ends; then it
// is closed. Look at Revocations once after the call, and again each time; and now and then by a timer,
// because a broken connection can swallow a message.
func (l *Ledger) RevocationChanges(ctx context.Context) (<-chan string, error) {
	c, err := l.changes.subscribe(ctx, topicRevocations)
	return c, wrap("watch revocations", err)
}

// missed tells of what may have changed since.
func (l *Ledger) missed(ctx context.Context, since time.Time, tell func(topic, id string)) error {
	rows, err := l.query(ctx, "SELECT id FROM holds WHERE changed >= $1 ORDER BY changed DESC LIMIT 4096", micros(since.Add(-lookBack)))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		tell(topicHolds, id)
	}
	tell(topicRevocations, "")
	tell(topicEnds, "")
	return named(rows.Err())
}

// pollSQLite looks for commits of other processes. The version that SQLite gives a connection changes
// only with commits that are not its own, and all of this process's go through one connection.
func (l *Ledger) pollSQLite(ctx context.Context, ready func(error), tell func(topic, id string)) {
	var seen int64
	if err := l.w.QueryRowContext(ctx, "PRAGMA data_version").Scan(&seen); err != nil {
		ready(err)
		return
	}
	ready(nil)
	last := time.Now()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var version int64
		now := time.Now()
		err := l.w.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version)
		if err != nil || version == seen {
			continue // an error passes, or shows in the calls that have somebody to tell
		}
		if l.missed(ctx, last, tell) == nil {
			seen, last = version, now
		}
	}
}

// listenPostgres listens on a connection of its own and connects again when that is lost.
func (l *Ledger) listenPostgres(ctx context.Context, c *pgx.ConnConfig, ready func(error), tell func(topic, id string)) {
	last := time.Now()
	first := true
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		conn, err := listen(ctx, c)
		if first {
			ready(err)
			if err != nil {
				return
			}
		}
		if err == nil {
			if first || l.missed(ctx, last, tell) == nil {
				first, wait = false, 100*time.Millisecond
				last = l.receive(ctx, conn, tell)
			}
			closeConn(conn)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func listen(ctx context.Context, c *pgx.ConnConfig) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, c.Copy())
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		closeConn(conn)
		return nil, named(err)
	}
	return conn, nil
}

// closeConn says good-bye, but does not wait for an answer that may never come.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn.Close(ctx)
}

// receive passes notifications on until the connection fails, and returns when it was last known to
// work. A quiet connection is tried twice a minute.
func (l *Ledger) receive(ctx context.Context, conn *pgx.Conn, tell func(topic, id string)) time.Time {
	alive := time.Now()
	for {
		waitCtx, cancel := context.WithTimeout(ctx, 30*time.Second)
		n, err := conn.WaitForNotification(waitCtx)
		quiet := waitCtx.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && (!quiet || !answers(ctx, conn)) {
			return alive
		}
		alive = time.Now()
		if n == nil {
			continue
		}
		from, rest, _ := strings.Cut(n.Payload, " ")
		if topic, id, ok := strings.Cut(rest, " "); ok && from != l.changes.self {
			tell(topic, id)
		}
	}
}

func answers(ctx context.Context, conn *pgx.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return !conn.IsClosed() && conn.Ping(ctx) == nil
}
