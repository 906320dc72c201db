package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// MaxDeniedSources is how many sources get aggregated rows of their own per minute, kind and gate; all
// further ones share the row of source "other".
const MaxDeniedSources = 64

// An Event is something that somebody did to the gate itself or to the evidence: looked at a recording,
// signed in to the console, answered a hold, got a certificate, was turned away.
type Event struct {
	N         int64 // order; set by the ledger
	At        time.Time
	Kind      string // "recording.viewed", "login.denied": the callers' words
	Gate      string
	Actor     string // identity key; "" when nobody is proved
	ActorName string
	Source    string // address or address:port
	SessionID string
	Target    string
	Detail    map[string]any

	// Denied marks an event that anybody can cause at will. Such events are kept as one row per minute,
	// kind, gate and source network (IPv4 address, IPv6 /64), with the first event's other fields.
	Denied bool
	Count  int64     // events in this row; set by the ledger
	Last   time.Time // of the last of them; set by the ledger
}

// AddAudit stores an event; a zero At is now.
func (l *Ledger) AddAudit(ctx context.Context, e Event) error {
	return wrap("add audit event", l.addAudit(ctx, e))
}

const insertAudit = `INSERT INTO audit (at, last, count, kind, denied, gate, actor_key, actor_name, source, session_id,
	target, detail, minute, bucket) VALUES ($1, $1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
	ON CONFLICT (bucket) DO UPDATE SET count = audit.count + 1, last = excluded.last`

func (l *Ledger) addAudit(ctx context.Context, e Event) error {
	return l.atomically(ctx, func(t tx) error { return t.addAudit(ctx, e) })
}

func (t tx) addAudit(ctx context.Context, e Event) error {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	var c check
	at := micros(e.At)
	args := []any{
		at, c.need("kind", e.Kind), one(e.Denied), c.key("gate", e.Gate), c.key("actor", e.Actor),
		c.text("actor's name", e.ActorName, MaxKey), c.text("source", e.Source, MaxKey), c.key("session id", e.SessionID),
		c.key("target", e.Target), c.object("detail", e.Detail),
	}
	if c.err != nil {
		return c.err
	}
	// Exporters continue after the last number they saw, so numbers must appear in order.
	if err := t.serialise(ctx, "audit"); err != nil {
		return err
	}
	if !e.Denied {
		_, err := t.exec(ctx, insertAudit, append(args, nil, nil)...)
		return err
	}
	minute := at / time.Minute.Microseconds()
	source, err := t.deniedSource(ctx, e, minute)
	if err != nil {
		return err
	}
	args[6] = source
	_, err = t.exec(ctx, insertAudit, append(args, minute, bucket(minute, e, source))...)
	return err
}

// bucket is what events must share to share a row.
func bucket(minute int64, e Event, source string) string {
	return fmt.Sprintf("%d %q %q %q", minute, e.Kind, e.Gate, source)
}

// deniedSource is the network that e came from, or "other" when this minute has seen too many.
func (t tx) deniedSource(ctx context.Context, e Event, minute int64) (string, error) {
	source := network(e.Source)
	var known, all int64
	err := t.row(ctx, `SELECT (SELECT count(*) FROM audit WHERE bucket = $1),
		(SELECT count(*) FROM audit WHERE minute = $2 AND gate = $3 AND kind = $4)`,
		[]any{bucket(minute, e, source), minute, e.Gate, e.Kind}, &known, &all)
	if err != nil {
		return "", err
	}
	if known == 0 && all >= MaxDeniedSources {
		return "other", nil
	}
	return source, nil
}

// network is the part of an address that its owner cannot change at will.
func network(source string) string {
	var a netip.Addr
	if ap, err := netip.ParseAddrPort(source); err == nil {
		a = ap.Addr()
	} else if a, err = netip.ParseAddr(source); err != nil {
		return shorten(clean(source), 64)
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a.String()
	}
	return p.String()
}

// AuditFilter chooses audit events. The zero value chooses all.
type AuditFilter struct {
	Kind         string // exact
	Actor        string // key, or name
	Denied       bool   // only what anybody can cause, and was denied
	Source       string // exact
	SessionID    string
	Target       string
	Text         string // in the kind, actor's name, source, target or detail
	Since, Until time.Time
	Limit        int // rows; 0: DefaultLimit, at most MaxLimit
	Cursor       string
}

// Audit returns the events that f chooses, the last stored first, and the cursor of the next page, ""
// when there is none.
func (l *Ledger) Audit(ctx context.Context, f AuditFilter) ([]Event, string, error) {
	w := &where{kind: l.kind}
	w.equal("kind", f.Kind)
	if strings.Contains(f.Actor, "#") {
		w.equal("actor_key", f.Actor)
	} else {
		w.equal("actor_name", f.Actor)
	}
	if f.Denied {
		w.and("denied <> 0")
	}
	w.equal("source", f.Source)
	w.equal("session_id", f.SessionID)
	w.equal("target", f.Target)
	w.between("at", f.Since, f.Until)
	if err := w.contains(f.Text, "kind", "actor_name", "source", "target", "detail"); err != nil {
		return nil, "", wrap("audit", err)
	}
	if err := w.beforeNumber(f.Cursor); err != nil {
		return nil, "", wrap("audit", err)
	}
	n := limit(f.Limit)
	all, err := l.events(ctx, w.String()+" ORDER BY n DESC LIMIT "+strconv.Itoa(n+1), w.args...)
	if err != nil || len(all) <= n {
		return all, "", wrap("audit", err)
	}
	return all[:n], numberCursor(all[n-1].N), nil
}

// AuditAfter returns the events numbered above after, in the order they were stored, at most MaxLimit of
// them: what an exporter needs. A row of denied events is not given before its minute is over at now, and
// neither is what was stored after it, so that every count given is final.
func (l *Ledger) AuditAfter(ctx context.Context, after int64, now time.Time) ([]Event, error) {
	// A minute counts as over only when another has passed, for clocks that differ between gates.
	open := micros(now)/time.Minute.Microseconds() - 1
	all, err := l.events(ctx, ` WHERE n > $1 AND n < (SELECT coalesce(min(n), 9223372036854775807) FROM audit WHERE minute >= $2)
		ORDER BY n LIMIT `+strconv.Itoa(MaxLimit), after, open)
	return all, wrap("audit", err)
}

func (l *Ledger) events(ctx context.Context, tail string, args ...any) ([]Event, error) {
	rows, err := l.query(ctx, `SELECT n, at, last, count, kind, denied, gate, actor_key, actor_name, source, session_id,
		target, detail FROM audit`+tail, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Event
	for rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, named(rows.Err())
}

func scanEvent(rows *sql.Rows) (Event, error) {
	var e Event
	var at, last, denied int64
	var detail string
	err := rows.Scan(&e.N, &at, &last, &e.Count, &e.Kind, &denied, &e.Gate, &e.Actor, &e.ActorName, &e.Source,
		&e.SessionID, &e.Target, &detail)
	if err != nil {
		return Event{}, err
	}
	e.At, e.Last, e.Denied = fromMicros(at), fromMicros(last), denied != 0
	if e.Detail, err = parseObject(detail); err != nil {
		return Event{}, fmt.Errorf("detail of event %d: %w", e.N, err)
	}
	return e, nil
}
