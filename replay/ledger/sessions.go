package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// State says how a session ended, or that it has not.
type State string

// The states of a session and of its recording.
const (
	Live      State = "live"
	Complete  State = "complete"  // ended, and all of it is recorded
	Recovered State = "recovered" // cut by a crash; the recording was sealed later, with all that was shown
	Truncated State = "truncated" // the recording is known to lack something
	Purged    State = "purged"    // of a seal alone: the recording was removed when its time was over
	Lost      State = "lost"      // the gate stopped without ending it, and nobody has sealed it since
)

// A Session is one identity on one target through one channel.
type Session struct {
	ID, ConnectionID, Gate string
	Identity               Identity  // its own OnBehalfOf is not stored
	OnBehalfOf             *Identity // nil: acts for nobody; searches find the last of a chain
	Target, TargetKind     string
	Login                  string
	Kind                   string // shell, exec, subsystem, forward
	Command                string // shortened to ListText by Sessions and LiveSessions
	ClientAddr             string
	Guard                  string
	Term                   string // "": no terminal
	Cols, Rows             uint32 // characters, at the start
	Started                time.Time

	Ended      time.Time // zero while live, and for a lost one whose end nobody knows
	State      State
	ExitStatus *int   // nil: none is known
	ExitSignal string // without SIG
	EndReason  string
	BytesOut   int64 // shown to the client
	Operations int64 // of these: Denied, Held
	Denied     int64
	Held       int64
	Masked     int64
	SealHash   []byte // final seal of the recording; nil until sealed
}

// End is how a session ended. State is [Complete], [Recovered] or [Truncated].
type End struct {
	Ended      time.Time
	State      State
	ExitStatus *int
	ExitSignal string
	Reason     string
	BytesOut   int64
	Masked     int64
	// SealHash is the final seal of the recording. When it is given, the chain of seals grows by it in
	// the same transaction, and AppendSeal is not needed.
	SealHash []byte
}

// StartSession stores a session that begins; its state is live, whatever s says. ErrExists if the
// identifier is taken.
func (l *Ledger) StartSession(ctx context.Context, s Session) error {
	return wrap("start session", l.startSession(ctx, s))
}

const insertSession = `INSERT INTO sessions (id, connection_id, gate, identity_key, issuer, subject, name, email,
	identity_kind, group_names, behalf_key, behalf_name, behalf_email, behalf, target, target_kind, login, kind, command,
	client_addr, guard, term, term_cols, term_rows, started, state)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
	$25, 'live')`

func (l *Ledger) startSession(ctx context.Context, s Session) error {
	var c check
	var behalf [4]string // key, name, e-mail, all of it
	if s.OnBehalfOf != nil {
		b, err := s.OnBehalfOf.last()
		if err != nil {
			return err
		}
		behalf = [4]string{
			c.key("identity acted for", b.Key()), c.text("name acted for", b.Name, MaxKey),
			c.text("email acted for", b.Email, MaxKey), c.json("identity acted for", s.OnBehalfOf, MaxFacts),
		}
	}
	if s.Started.IsZero() {
		return fmt.Errorf("no start time: %w", ErrInvalid)
	}
	groups := s.Identity.Groups
	if groups == nil {
		groups = []string{}
	}
	args := []any{
		c.need("session id", s.ID), c.key("connection id", s.ConnectionID), c.need("gate", s.Gate),
		c.need("identity", s.Identity.Key()), c.key("issuer", s.Identity.Issuer), c.key("subject", s.Identity.Subject),
		c.text("name", s.Identity.Name, MaxKey), c.text("email", s.Identity.Email, MaxKey),
		c.text("kind of identity", s.Identity.Kind, MaxKey), c.json("groups", groups, MaxFacts), behalf[0], behalf[1], behalf[2], behalf[3],
		c.key("target", s.Target), c.text("kind of target", s.TargetKind, MaxKey), c.text("login", s.Login, MaxKey),
		c.text("kind", s.Kind, MaxKey), c.text("command", s.Command, MaxText), c.text("client address", s.ClientAddr, MaxKey),
		c.text("guard", s.Guard, MaxKey), c.text("terminal", s.Term, MaxKey), s.Cols, s.Rows, micros(s.Started),
	}
	if c.err != nil {
		return c.err
	}
	_, err := l.exec(ctx, insertSession, args...)
	return err
}

// SetGuard stores how the commands of a live session are known, where that turned out differently than expected.
func (l *Ledger) SetGuard(ctx context.Context, id, guard string) error {
	var c check
	args := []any{c.need("session id", id), c.text("guard", guard, MaxKey)}
	if c.err != nil {
		return wrap("set guard", c.err)
	}
	_, err := l.exec(ctx, `UPDATE sessions SET guard = $2 WHERE id = $1 AND state = 'live'`, args...)
	return wrap("set guard", err)
}

// EndSession stores how a session ended. A session that was swept as lost may still end, once its
// recording is recovered. Ending it twice in the same way is not an error; in another is ErrEnded.
func (l *Ledger) EndSession(ctx context.Context, id string, e End) error {
	return wrap("end session", l.endSession(ctx, id, e))
}

const updateEnd = `UPDATE sessions SET ended = $2, state = $3, exit_status = $4, exit_signal = $5, end_reason = $6,
	bytes_out = $7, masked = $8, seal_hash = $9 WHERE id = $1 AND state IN ('live', 'lost')`

func (l *Ledger) endSession(ctx context.Context, id string, e End) error {
	var c check
	var seal any
	if len(e.SealHash) > 0 {
		seal = c.hash("seal", e.SealHash)
	}
	var status any
	if e.ExitStatus != nil {
		status = int64(*e.ExitStatus)
	}
	if e.Ended.IsZero() {
		return fmt.Errorf("no time of the end: %w", ErrInvalid)
	}
	args := []any{
		c.need("session id", id), micros(e.Ended), oneOf(&c, "state", e.State, Complete, Recovered, Truncated), status,
		c.text("exit signal", e.ExitSignal, MaxKey), c.text("reason", e.Reason, MaxNote), e.BytesOut, e.Masked, seal,
	}
	if c.err != nil {
		return c.err
	}
	return l.atomically(ctx, func(t tx) error {
		n, err := t.exec(ctx, updateEnd, args...)
		if err != nil {
			return err
		}
		if n == 0 {
			return t.sameEnd(ctx, id, e)
		}
		if seal == nil {
			return nil
		}
		_, err = t.appendSeal(ctx, Seal{SessionID: id, Hash: e.SealHash, State: e.State, At: e.Ended})
		return err
	})
}

// sameEnd tells an end that was stored before, and is stored again, from a contradiction.
func (t tx) sameEnd(ctx context.Context, id string, e End) error {
	var state State
	var seal []byte
	err := t.row(ctx, "SELECT state, seal_hash FROM sessions WHERE id = $1", []any{id}, &state, &seal)
	if err != nil {
		return err
	}
	if state != e.State || string(seal) != string(e.SealHash) {
		return fmt.Errorf("session %s is %s: %w", id, state, ErrEnded)
	}
	return nil
}

// SweepSessions marks every live session of a gate as lost and returns their identifiers. A gate calls
// it when it starts, before its first session: what its former life left behind is over. Calling it in
// the name of a gate that never came back does the same for that one.
func (l *Ledger) SweepSessions(ctx context.Context, gate string) ([]string, error) {
	ids, err := l.sweepSessions(ctx, gate)
	return ids, wrap("sweep sessions", err)
}

func (l *Ledger) sweepSessions(ctx context.Context, gate string) ([]string, error) {
	rows, err := l.w.QueryContext(ctx, `UPDATE sessions SET state = 'lost', end_reason = 'the gate stopped without ending it'
		WHERE gate = $1 AND state = 'live' RETURNING id`, gate)
	if err != nil {
		return nil, named(err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, named(rows.Err())
}

// SessionFilter chooses sessions. The zero value chooses all.
type SessionFilter struct {
	Text         string    // in the command, target, login, name, e-mail or identifier
	Identity     string    // key, name or e-mail, of the identity or of whom it acts for in the end
	Target       string    // name
	Gate         string    // name
	ConnectionID string    // exact
	State        State     // "": any
	Decision     string    // with at least one operation so decided: allow, deny, hold
	Since, Until time.Time // started in [Since, Until)
	Limit        int       // rows; 0: DefaultLimit, at most MaxLimit
	Cursor       string    // from the page before
}

// Sessions returns the sessions that f chooses, newest first, and the cursor of the next page, "" when
// there is none. Sessions that start while somebody turns pages change no page but the first.
func (l *Ledger) Sessions(ctx context.Context, f SessionFilter) ([]Session, string, error) {
	w, err := l.sessionWhere(f)
	if err != nil {
		return nil, "", wrap("sessions", err)
	}
	n := limit(f.Limit)
	// One row more than the page tells whether there is another page.
	q := selectSessions(fmt.Sprintf("substr(command, 1, %d)", ListText+1)) + w.String() +
		fmt.Sprintf(" ORDER BY started DESC, id DESC LIMIT %d", n+1)
	all, err := l.scanSessions(ctx, q, w.args...)
	for i := range all {
		all[i].Command = shorten(all[i].Command, ListText)
	}
	if err != nil || len(all) <= n {
		return all, "", wrap("sessions", err)
	}
	last := all[n-1]
	return all[:n], cursor{micros(last.Started), last.ID}.String(), nil
}

func (l *Ledger) sessionWhere(f SessionFilter) (*where, error) {
	w := &where{kind: l.kind}
	if err := w.contains(f.Text, "command", "target", "login", "name", "email", "id"); err != nil {
		return nil, err
	}
	w.identity(f.Identity)
	w.equal("target", f.Target)
	w.equal("gate", f.Gate)
	w.equal("connection_id", f.ConnectionID)
	w.equal("state", string(f.State))
	w.between("started", f.Since, f.Until)
	switch f.Decision {
	case "":
	case "allow":
		w.and("operations > denied + held")
	case "deny":
		w.and("denied > 0")
	case "hold":
		w.and("held > 0")
	default:
		return nil, fmt.Errorf("decision %q: %w", shorten(f.Decision, 64), ErrInvalid)
	}
	return w, w.before(f.Cursor, "started", "id")
}

// identity matches a key, and names and e-mails for people who search by hand.
func (w *where) identity(who string) {
	switch {
	case who == "":
	case strings.Contains(who, "#"):
		w.and("(identity_key = ? OR behalf_key = ?)", who, who)
	default:
		w.and("(name = ? OR email = ? OR subject = ? OR behalf_name = ? OR behalf_email = ?)", who, who, who, who, who)
	}
}

// LiveSessions returns the sessions that run now, newest first, at most MaxLimit of them; gate "" is
// every gate.
func (l *Ledger) LiveSessions(ctx context.Context, gate string) ([]Session, error) {
	s, _, err := l.Sessions(ctx, SessionFilter{State: Live, Gate: gate, Limit: MaxLimit})
	return s, err
}

// Session returns one session in full, or ErrNotFound.
func (l *Ledger) Session(ctx context.Context, id string) (Session, error) {
	all, err := l.scanSessions(ctx, selectSessions("command")+" WHERE id = $1", id)
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Session{}, wrap("session", err)
	}
	return all[0], nil
}

func selectSessions(command string) string {
	return `SELECT id, connection_id, gate, issuer, subject, name, email, identity_kind, group_names, behalf, target,
	target_kind, login, kind, ` + command + `, client_addr, guard, term, term_cols, term_rows, started, ended, state,
	exit_status, exit_signal, end_reason, bytes_out, operations, denied, held, masked, seal_hash FROM sessions`
}

// scanSessions reads what selectSessions selects.
func (l *Ledger) scanSessions(ctx context.Context, q string, args ...any) ([]Session, error) {
	rows, err := l.query(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Session
	for rows.Next() {
		s, err := scanSession(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, named(rows.Err())
}

func scanSession(rows *sql.Rows) (Session, error) {
	var s Session
	var groups, behalf string
	var started, ended int64
	var status sql.NullInt64
	err := rows.Scan(&s.ID, &s.ConnectionID, &s.Gate, &s.Identity.Issuer, &s.Identity.Subject, &s.Identity.Name,
		&s.Identity.Email, &s.Identity.Kind, &groups, &behalf, &s.Target, &s.TargetKind, &s.Login, &s.Kind, &s.Command,
		&s.ClientAddr, &s.Guard, &s.Term, &s.Cols, &s.Rows, &started, &ended, &s.State, &status, &s.ExitSignal,
		&s.EndReason, &s.BytesOut, &s.Operations, &s.Denied, &s.Held, &s.Masked, &s.SealHash)
	if err != nil {
		return Session{}, err
	}
	s.Started, s.Ended = fromMicros(started), fromMicros(ended)
	if status.Valid {
		n := int(status.Int64)
		s.ExitStatus = &n
	}
	if err := json.Unmarshal([]byte(groups), &s.Identity.Groups); err != nil {
		return Session{}, fmt.Errorf("groups of session %s: %w", s.ID, err)
	}
	if behalf != "" {
		if err := json.Unmarshal([]byte(behalf), &s.OnBehalfOf); err != nil {
			return Session{}, fmt.Errorf("identity acted for in session %s: %w", s.ID, err)
		}
	}
	return s, nil
}
