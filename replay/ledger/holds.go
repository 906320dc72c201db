package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

// MaxHolds bounds how many holds one call of Holds returns, also when its filter sets no limit.
const MaxHolds = 10000

var _ policies.Store = (*Ledger)(nil)

// holdBody is the part of a hold that is never searched for and never changes.
type holdBody struct {
	Principal     policies.Principal `json:"principal"`
	Target        policies.Target    `json:"target"`
	Facts         json.RawMessage    `json:"facts"`
	Policy        policies.Ref       `json:"policy"`
	Terms         policies.Terms     `json:"terms"`
	Justification string             `json:"justification,omitempty"`
	Screen        string             `json:"screen,omitempty"`
}

// PutHold implements [policies.Store].
func (l *Ledger) PutHold(ctx context.Context, h policies.Hold) error {
	err := l.putHold(ctx, h)
	if errors.Is(err, ErrExists) {
		err = policies.ErrHoldExists
	}
	return wrap("put hold", err)
}

func (l *Ledger) putHold(ctx context.Context, h policies.Hold) error {
	if h.State != policies.StatePending && h.State != "" {
		return fmt.Errorf("a new hold is %s: %w", h.State, ErrInvalid)
	}
	if len(h.Text) > MaxText {
		return fmt.Errorf("text of %d bytes, at most %d: %w", len(h.Text), MaxText, ErrTooLong)
	}
	var c check
	facts := json.RawMessage(c.object("facts", h.Facts))
	if c.err != nil {
		return c.err
	}
	body := holdBody{h.Principal, h.Target, facts, h.Policy, h.Terms, h.Justification, h.Screen}
	sum := sha256.Sum256([]byte(h.Text))
	args := []any{
		c.need("hold id", h.ID), c.key("session id", h.SessionID), c.key("connection id", h.ConnectionID), c.key("gate", h.Gate),
		c.need("principal", h.Principal.Key), c.key("target", h.Target.Name), c.need("action", h.Action), []byte(h.Text), sum[:],
		micros(h.Asked), micros(h.Expires), c.answers(h.Answers), c.json("hold", body, 2*MaxFacts), micros(time.Now()),
	}
	if c.err != nil {
		return c.err
	}
	err := l.durably(ctx, func(t tx) error {
		_, err := t.exec(ctx, `INSERT INTO holds (id, session_id, connection_id, gate, principal_key, target, action, text,
			text_sha256, state, asked, expires, answers, body, changed)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending', $10, $11, $12, $13, $14)`, args...)
		if err != nil {
			return err
		}
		return t.holdEvent(ctx, h.ID, string(policies.StatePending))
	})
	if err == nil {
		l.changed(topicHolds, h.ID)
	}
	return err
}

// answers is the JSON of a hold's answers, with times as exact as all others.
func (c *check) answers(all []policies.Answer) string {
	kept := make([]policies.Answer, len(all))
	for i, a := range all {
		a.At = fromMicros(micros(a.At))
		kept[i] = a
	}
	return c.json("answers", kept, MaxFacts)
}

// AnswerHold implements [policies.Store].
func (l *Ledger) AnswerHold(ctx context.Context, id string, a policies.Answer, next policies.State) (policies.Hold, error) {
	var h policies.Hold
	err := l.changeHold(ctx, id, policies.StatePending, func(now *policies.Hold) {
		now.Answers = append(now.Answers, a)
		now.State = next
		if next != policies.StatePending {
			now.Ended = fromMicros(micros(a.At))
		}
		h = *now
	})
	if err != nil {
		return policies.Hold{}, wrap("answer hold", err)
	}
	for i := range h.Answers {
		h.Answers[i].At = fromMicros(micros(h.Answers[i].At))
	}
	return h, nil
}

// EndHold implements [policies.Store].
func (l *Ledger) EndHold(ctx context.Context, id string, from, to policies.State, why string) error {
	if len(why) > MaxNote {
		return wrap("end hold", fmt.Errorf("reason of %d bytes, at most %d: %w", len(why), MaxNote, ErrTooLong))
	}
	return wrap("end hold", l.changeHold(ctx, id, from, func(h *policies.Hold) {
		if h.State == policies.StatePending && to != policies.StatePending {
			h.Ended = fromMicros(micros(time.Now()))
		}
		h.State = to
		if why != "" {
			h.Why = clean(why)
		}
	}))
}

// changeHold applies change to a hold that is in state from. Between the look and the change nobody
// else changes it.
func (l *Ledger) changeHold(ctx context.Context, id string, from policies.State, change func(*policies.Hold)) error {
	err := l.durably(ctx, func(t tx) error {
		h, err := scanHold(func(dest ...any) error {
			return t.row(ctx, t.forUpdate(selectHolds+" WHERE id = $1"), []any{id}, dest...)
		})
		if errors.Is(err, ErrNotFound) {
			return policies.ErrNoHold
		}
		if err != nil {
			return err
		}
		if h.State != from {
			return policies.ErrNotPending
		}
		change(&h)
		var c check
		args := []any{
			id, string(h.State), micros(h.Ended), micros(h.CoversUntil()), micros(time.Now()), c.text("reason", h.Why, MaxNote),
			c.answers(h.Answers), coveredSession(h),
		}
		if c.err != nil {
			return c.err
		}
		err = found(t.exec(ctx, `UPDATE holds SET state = $2, ended = $3, granted_until = $4, changed = $5, why = $6, answers = $7,
			granted_session = $8 WHERE id = $1`, args...))
		if err != nil {
			return err
		}
		return t.holdEvent(ctx, id, eventOf(h))
	})
	if err == nil {
		l.changed(topicHolds, id)
	}
	return err
}

// coveredSession is the one session that the approval of h covers; "" for those of any.
func coveredSession(h policies.Hold) string {
	if h.Covers() == policies.ScopeSession {
		return h.SessionID
	}
	return ""
}

// eventOf names what became of h with its last change.
func eventOf(h policies.Hold) string {
	if h.State == policies.StatePending {
		return "answered"
	}
	return string(h.State)
}

const selectHolds = `SELECT id, session_id, connection_id, gate, action, text, state, asked, expires, ended, why, answers, body FROM holds`

// Hold implements [policies.Store].
func (l *Ledger) Hold(ctx context.Context, id string) (policies.Hold, error) {
	h, err := scanHold(func(dest ...any) error { return l.row(ctx, selectHolds+" WHERE id = $1", []any{id}, dest...) })
	if errors.Is(err, ErrNotFound) {
		err = policies.ErrNoHold
	}
	return h, wrap("hold", err)
}

// FindGrant implements [policies.Store].
func (l *Ledger) FindGrant(ctx context.Context, q policies.GrantQuery) (policies.Hold, error) {
	sum := sha256.Sum256([]byte(q.Text))
	h, err := scanHold(func(dest ...any) error {
		return l.row(ctx, selectHolds+` WHERE principal_key = $1 AND text_sha256 = $2 AND granted_until > $3 AND target = $4
			AND action = $5 AND text = $6 AND state IN ('approved', 'consumed') AND granted_session IN ('', $7)
			ORDER BY asked DESC, n DESC LIMIT 1`,
			[]any{q.Principal, sum[:], micros(q.Now), q.Target, q.Action, []byte(q.Text), q.Session}, dest...)
	})
	if errors.Is(err, ErrNotFound) {
		err = policies.ErrNoGrant
	}
	return h, wrap("find grant", err)
}

// Holds implements [policies.Store]; it returns at most MaxHolds.
func (l *Ledger) Holds(ctx context.Context, f policies.HoldFilter) ([]policies.Hold, error) {
	all, err := l.holds(ctx, f)
	return all, wrap("holds", err)
}

func (l *Ledger) holds(ctx context.Context, f policies.HoldFilter) ([]policies.Hold, error) {
	w := &where{kind: l.kind}
	if len(f.States) > 0 {
		in := ""
		for _, s := range f.States {
			in += ", " + w.arg(string(s))
		}
		w.and("state IN (" + in[2:] + ")")
	}
	w.between("asked", f.Since, time.Time{})
	n := f.Limit
	if n <= 0 || n > MaxHolds {
		n = MaxHolds
	}
	rows, err := l.query(ctx, selectHolds+w.String()+" ORDER BY asked DESC, n DESC LIMIT "+strconv.Itoa(n), w.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []policies.Hold
	for rows.Next() {
		h, err := scanHold(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, named(rows.Err())
}

// HoldChanges implements [policies.Store]. On SQLite, changes by other processes on the same file
// arrive within a second as well.
func (l *Ledger) HoldChanges(ctx context.Context) (<-chan string, error) {
	c, err := l.changes.subscribe(ctx, topicHolds)
	return c, wrap("watch holds", err)
}

func scanHold(scan func(...any) error) (policies.Hold, error) {
	var h policies.Hold
	var text []byte
	var asked, expires, ended int64
	var answers, body string
	err := scan(&h.ID, &h.SessionID, &h.ConnectionID, &h.Gate, &h.Action, &text, &h.State, &asked, &expires, &ended,
		&h.Why, &answers, &body)
	if err != nil {
		return policies.Hold{}, err
	}
	h.Text = string(text)
	h.Asked, h.Expires, h.Ended = fromMicros(asked), fromMicros(expires), fromMicros(ended)
	var b holdBody
	if err := json.Unmarshal([]byte(body), &b); err != nil {
		return policies.Hold{}, fmt.Errorf("hold %s: %w", h.ID, err)
	}
	if h.Facts, err = parseObject(string(b.Facts)); err != nil {
		return policies.Hold{}, fmt.Errorf("facts of hold %s: %w", h.ID, err)
	}
	if err := json.Unmarshal([]byte(answers), &h.Answers); err != nil {
		return policies.Hold{}, fmt.Errorf("answers of hold %s: %w", h.ID, err)
	}
	if len(h.Answers) == 0 {
		h.Answers = nil
	}
	h.Principal, h.Target, h.Policy, h.Terms, h.Justification, h.Screen =
		b.Principal, b.Target, b.Policy, b.Terms, b.Justification, b.Screen
	return h, nil
}
