package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A ShownLine is a line of text that was on a session's screen.
type ShownLine struct {
	Offset time.Duration // into the session; kept to the millisecond
	Text   string
}

// ShownState says how much of a session's output can be found.
type ShownState int64

// The states of a session's output.
const (
	ShownNone    ShownState = iota // not read yet, or live
	ShownAll                       // all of it
	ShownPartly                    // up to a bound
	ShownMissing                   // there is no recording to read
)

// Bounds on a row of lines. Few lines to a row lead a hit to its moment, many make the index small.
const (
	shownBytes = 1500
	shownLines = 40
	maxShown   = 8192 // bytes of a line
)

// UnshownSessions returns the identifiers of sessions that have ended and whose output is not in the ledger yet, the
// first that ended first, at most MaxLimit: those of a gate, and those of any gate that ended before a time, whose
// own gate seems not to come back to them.
func (l *Ledger) UnshownSessions(ctx context.Context, gate string, others time.Time) ([]string, error) {
	rows, err := l.query(ctx, `SELECT id FROM sessions WHERE shown = 0 AND state <> 'live' AND state <> 'lost'
		AND (gate = $1 OR ended < $2) ORDER BY ended, id LIMIT `+strconv.Itoa(MaxLimit), gate, micros(others))
	if err != nil {
		return nil, wrap("sessions to read", err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, wrap("sessions to read", err)
		}
		ids = append(ids, id)
	}
	return ids, wrap("sessions to read", named(rows.Err()))
}

// BeginShown forgets what was stored of a session's output: storing it begins anew.
func (l *Ledger) BeginShown(ctx context.Context, sessionID string) error {
	err := l.atomically(ctx, func(t tx) error { return t.forgetShown(ctx, sessionID, ShownNone) })
	return wrap("forget output", err)
}

func (t tx) forgetShown(ctx context.Context, sessionID string, state ShownState) error {
	if _, err := t.exec(ctx, "DELETE FROM shown WHERE session_id = $1", sessionID); err != nil {
		return err
	}
	_, err := t.exec(ctx, "UPDATE sessions SET shown = $2 WHERE id = $1", sessionID, int64(state))
	return err
}

const insertShown = `INSERT INTO shown (session_id, at, text, marks) VALUES ($1, $2, $3, $4)`

// AddShown stores lines of a session's output, in order, all or none of them. Started is when the session did.
func (l *Ledger) AddShown(ctx context.Context, sessionID string, started time.Time, lines []ShownLine) error {
	err := l.atomically(ctx, func(t tx) error {
		for len(lines) > 0 {
			var row shownRow
			for len(lines) > 0 && row.takes(lines[0]) {
				row.add(lines[0])
				lines = lines[1:]
			}
			if err := t.addShown(ctx, sessionID, started, &row); err != nil {
				return err
			}
		}
		return nil
	})
	return wrap("add output", err)
}

func (t tx) addShown(ctx context.Context, sessionID string, started time.Time, row *shownRow) error {
	var c check
	at := micros(started) + row.marks[0]*1000
	marks := c.json("marks", row.marks, MaxFacts)
	args := []any{c.need("session id", sessionID), at, c.text("output", row.text.String(), MaxText), marks}
	if c.err != nil {
		return c.err
	}
	_, err := t.exec(ctx, insertShown, args...)
	return err
}

// shownRow gathers lines for one row.
type shownRow struct {
	text  strings.Builder
	marks []int64
}

func (r *shownRow) takes(l ShownLine) bool {
	return len(r.marks) == 0 || r.text.Len()+len(l.Text) < shownBytes && len(r.marks) < shownLines
}

func (r *shownRow) add(l ShownLine) {
	if len(r.marks) > 0 {
		r.text.WriteByte('\n')
	}
	r.text.WriteString(shorten(strings.ReplaceAll(l.Text, "\n", " "), maxShown))
	r.marks = append(r.marks, l.Offset.Milliseconds())
}

// EndShown stores how much of a session's output was stored.
func (l *Ledger) EndShown(ctx context.Context, sessionID string, state ShownState) error {
	return wrap("end output", found(l.exec(ctx, "UPDATE sessions SET shown = $2 WHERE id = $1", sessionID, int64(state))))
}

// Shown says how much of a session's output can be found.
func (l *Ledger) Shown(ctx context.Context, sessionID string) (ShownState, error) {
	var s int64
	err := l.row(ctx, "SELECT shown FROM sessions WHERE id = $1", []any{sessionID}, &s)
	return ShownState(s), wrap("state of output", err)
}

// A SavedSearch is a search that somebody gave a name. Query is the caller's.
type SavedSearch struct {
	Name, Query string
	At          time.Time
}

// Bounds on saved searches.
const (
	MaxSearches   = 100 // of one identity
	MaxSearchName = 100 // bytes
)

// SaveSearch keeps a search of an identity, in place of one of the same name. ErrTooLong if there are too many.
func (l *Ledger) SaveSearch(ctx context.Context, identity string, s SavedSearch) error {
	var c check
	args := []any{c.need("identity", identity), c.need("name", s.Name), c.text("query", s.Query, MaxNote), micros(s.At)}
	if c.err == nil && len(s.Name) > MaxSearchName {
		c.err = fmt.Errorf("name of %d bytes, at most %d: %w", len(s.Name), MaxSearchName, ErrTooLong)
	}
	if c.err != nil {
		return wrap("save search", c.err)
	}
	return wrap("save search", l.atomically(ctx, func(t tx) error {
		_, err := t.exec(ctx, `INSERT INTO saved_searches (identity_key, name, query, at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (identity_key, name) DO UPDATE SET query = excluded.query, at = excluded.at`, args...)
		if err != nil {
			return err
		}
		var n int
		err = t.row(ctx, "SELECT count(*) FROM saved_searches WHERE identity_key = $1", []any{identity}, &n)
		if err == nil && n > MaxSearches {
			err = fmt.Errorf("%d saved searches: %w", n, ErrTooLong)
		}
		return err
	}))
}

// DropSearch forgets a saved search. One that is not there is no error.
func (l *Ledger) DropSearch(ctx context.Context, identity, name string) error {
	_, err := l.exec(ctx, "DELETE FROM saved_searches WHERE identity_key = $1 AND name = $2", identity, name)
	return wrap("forget search", err)
}

// SavedSearches returns the searches of an identity, by name.
func (l *Ledger) SavedSearches(ctx context.Context, identity string) ([]SavedSearch, error) {
	rows, err := l.query(ctx, "SELECT name, query, at FROM saved_searches WHERE identity_key = $1 ORDER BY name", identity)
	if err != nil {
		return nil, wrap("saved searches", err)
	}
	defer rows.Close()
	var all []SavedSearch
	for rows.Next() {
		var s SavedSearch
		var at int64
		if err := rows.Scan(&s.Name, &s.Query, &at); err != nil {
			return nil, wrap("saved searches", err)
		}
		s.At = fromMicros(at)
		all = append(all, s)
	}
	return all, wrap("saved searches", named(rows.Err()))
}
