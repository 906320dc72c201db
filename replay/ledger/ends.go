package ledger

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// An EndRequest asks the gate that a session runs on to end it.
type EndRequest struct {
	N         int64 // order; set by the ledger
	SessionID string
	By        string // key of who asks; the caller has made sure that they may
	Reason    string // shown to the one whose session it is
	At        time.Time
}

// RequestEnd stores a request and tells the gates. ErrNotFound if there is no such session, ErrEnded if
// it is not live.
func (l *Ledger) RequestEnd(ctx context.Context, r EndRequest) error {
	return wrap("request end", l.requestEnd(ctx, r))
}

func (l *Ledger) requestEnd(ctx context.Context, r EndRequest) error {
	var c check
	if r.At.IsZero() {
		return fmt.Errorf("no time: %w", ErrInvalid)
	}
	args := []any{c.need("session id", r.SessionID), c.key("requested by", r.By), c.text("reason", r.Reason, MaxNote), micros(r.At)}
	if c.err != nil {
		return c.err
	}
	err := l.atomically(ctx, func(t tx) error {
		// Readers continue after the last number they saw, so numbers must appear in order.
		if err := t.serialise(ctx, "end requests"); err != nil {
			return err
		}
		var state State
		if err := t.row(ctx, "SELECT state FROM sessions WHERE id = $1", []any{r.SessionID}, &state); err != nil {
			return err
		}
		if state != Live {
			return fmt.Errorf("session %s is %s: %w", r.SessionID, state, ErrEnded)
		}
		if _, err := t.exec(ctx, "INSERT INTO end_requests (session_id, requested_by, reason, at) VALUES ($1, $2, $3, $4)", args...); err != nil {
			return err
		}
		return t.notify(ctx, topicEnds, "")
	})
	if err == nil {
		l.changed(topicEnds, "")
	}
	return err
}

// EndRequests returns the requests numbered above after that are about sessions of a gate which are
// still live, in the order they were made, at most MaxLimit of them.
func (l *Ledger) EndRequests(ctx context.Context, gate string, after int64) ([]EndRequest, error) {
	all, err := l.endRequests(ctx, gate, after)
	return all, wrap("end requests", err)
}

func (l *Ledger) endRequests(ctx context.Context, gate string, after int64) ([]EndRequest, error) {
	rows, err := l.query(ctx, `SELECT r.n, r.session_id, r.requested_by, r.reason, r.at FROM end_requests r
		JOIN sessions s ON s.id = r.session_id WHERE r.n > $1 AND s.gate = $2 AND s.state = 'live'
		ORDER BY r.n LIMIT `+strconv.Itoa(MaxLimit), after, gate)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []EndRequest
	for rows.Next() {
		var r EndRequest
		var at int64
		if err := rows.Scan(&r.N, &r.SessionID, &r.By, &r.Reason, &at); err != nil {
			return nil, err
		}
		r.At = fromMicros(at)
		all = append(all, r)
	}
	return all, named(rows.Err())
}

// EndRequestChanges sends whenever requests may have been added, by any gate, until ctx ends; then it is
// closed. It is used like RevocationChanges.
func (l *Ledger) EndRequestChanges(ctx context.Context) (<-chan string, error) {
	c, err := l.changes.subscribe(ctx, topicEnds)
	return c, wrap("watch end requests", err)
}
