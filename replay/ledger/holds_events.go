package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

// A HoldEvent is one thing that became of a hold: its new state, "answered" while it waits for further answers, or
// "escalated". They are kept for whoever tells others of them, and come in the order of N.
type HoldEvent struct {
	N     int64
	Hold  string
	Event string
	At    time.Time
}

// holdEvent stores an event together with the change that it is about.
func (t tx) holdEvent(ctx context.Context, id, event string) error {
	// Readers continue after the last number they saw, so numbers must appear in order.
	if err := t.serialise(ctx, "hold events"); err != nil {
		return err
	}
	if _, err := t.exec(ctx, "INSERT INTO hold_events (hold_id, event, at) VALUES ($1, $2, $3)", id, event, micros(time.Now())); err != nil {
		return err
	}
	return t.notify(ctx, topicHolds, id)
}

// TouchHold implements [policies.Store].
func (l *Ledger) TouchHold(ctx context.Context, id, event string) error {
	var c check
	c.need("hold id", id)
	c.need("event", event)
	if c.err != nil {
		return wrap("touch hold", c.err)
	}
	err := l.durably(ctx, func(t tx) error {
		var state string
		err := t.row(ctx, t.forUpdate("SELECT state FROM holds WHERE id = $1"), []any{id}, &state)
		switch {
		case errors.Is(err, ErrNotFound):
			return policies.ErrNoHold
		case err != nil:
			return err
		case state != string(policies.StatePending):
			return policies.ErrNotPending
		}
		return t.holdEvent(ctx, id, event)
	})
	if err == nil {
		l.changed(topicHolds, id)
	}
	return wrap("touch hold", err)
}

// HoldEvents returns the events numbered above after, in order, at most limit of them.
func (l *Ledger) HoldEvents(ctx context.Context, after int64, limit int) ([]HoldEvent, error) {
	rows, err := l.query(ctx, "SELECT n, hold_id, event, at FROM hold_events WHERE n > $1 ORDER BY n LIMIT "+strconv.Itoa(limit), after)
	if err != nil {
		return nil, wrap("hold events", err)
	}
	defer rows.Close()
	var all []HoldEvent
	for rows.Next() {
		var e HoldEvent
		var at int64
		if err := rows.Scan(&e.N, &e.Hold, &e.Event, &at); err != nil {
			return nil, wrap("hold events", err)
		}
		e.At = fromMicros(at)
		all = append(all, e)
	}
	return all, wrap("hold events", named(rows.Err()))
}

// LeaseReader makes owner the one that reads the events for name until a time, and returns the last event that is done
// with. It is not ok while another owner has the lease. A name that is new begins with what comes next.
func (l *Ledger) LeaseReader(ctx context.Context, name, owner string, until time.Time) (after int64, ok bool, err error) {
	var c check
	args := []any{c.need("reader", name), c.need("owner", owner), micros(until), micros(time.Now())}
	if c.err != nil {
		return 0, false, wrap("lease reader", c.err)
	}
	err = l.durably(ctx, func(t tx) error {
		_, err := t.exec(ctx, `INSERT INTO hold_readers (name, n, owner, until)
			SELECT $1, coalesce(max(n), 0), $2, 0 FROM hold_events WHERE true ON CONFLICT (name) DO NOTHING`, args[0], args[1])
		if err != nil {
			return err
		}
		err = found(t.exec(ctx, "UPDATE hold_readers SET owner = $2, until = $3 WHERE name = $1 AND (owner = $2 OR until <= $4)", args...))
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		ok = true
		return t.row(ctx, "SELECT n FROM hold_readers WHERE name = $1", args[:1], &after)
	})
	return after, ok && err == nil, wrap("lease reader", err)
}

// ErrLease says that somebody else reads in this name now.
var ErrLease = errors.New("another gate has the lease")

// AdvanceReader says that owner has done with the event n; ErrLease if it is not the one that reads.
func (l *Ledger) AdvanceReader(ctx context.Context, name, owner string, n int64) error {
	err := l.durably(ctx, func(t tx) error {
		return found(t.exec(ctx, "UPDATE hold_readers SET n = $3 WHERE name = $1 AND owner = $2 AND n < $3", name, owner, n))
	})
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("reader %s: %w", name, ErrLease)
	}
	return wrap("advance reader", err)
}
