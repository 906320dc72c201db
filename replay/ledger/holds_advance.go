package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

var _ policies.AdvanceStore = (*Ledger)(nil)

// MaxAdvances bounds how many approvals in advance are looked at; more cannot be open at once.
const MaxAdvances = 1000

const selectAdvances = "SELECT id, text, body, starts, ends, uses, used, revoked, revoked_by FROM advances"

// PutAdvance implements [policies.AdvanceStore].
func (l *Ledger) PutAdvance(ctx context.Context, a policies.Advance) error {
	err := l.putAdvance(ctx, a)
	if errors.Is(err, ErrExists) {
		err = policies.ErrHoldExists
	}
	return wrap("put advance", err)
}

func (l *Ledger) putAdvance(ctx context.Context, a policies.Advance) error {
	if len(a.Text) > MaxText {
		return fmt.Errorf("text of %d bytes, at most %d: %w", len(a.Text), MaxText, ErrTooLong)
	}
	body := a
	body.Text = "" // which JSON could not hold exactly
	var c check
	args := []any{
		c.need("advance id", a.ID), []byte(a.Text), c.json("advance", body, MaxFacts), micros(a.From), micros(a.Until), a.Uses, micros(a.Made),
	}
	if c.err != nil {
		return c.err
	}
	return l.durably(ctx, func(t tx) error {
		if err := t.serialise(ctx, "advances"); err != nil {
			return err
		}
		var open int
		if err := t.row(ctx, "SELECT count(*) FROM advances WHERE ends > $1 AND revoked = 0", args[6:], &open); err != nil {
			return err
		}
		if open >= MaxAdvances {
			return fmt.Errorf("%d approvals in advance are open: %w", open, ErrTooLong)
		}
		_, err := t.exec(ctx, "INSERT INTO advances (id, text, body, starts, ends, uses) VALUES ($1, $2, $3, $4, $5, $6)", args[:6]...)
		return err
	})
}

// Advance implements [policies.AdvanceStore].
func (l *Ledger) Advance(ctx context.Context, id string) (policies.Advance, error) {
	a, err := scanAdvance(func(dest ...any) error { return l.row(ctx, selectAdvances+" WHERE id = $1", []any{id}, dest...) })
	if errors.Is(err, ErrNotFound) {
		err = policies.ErrNoAdvance
	}
	return a, wrap("advance", err)
}

// Advances implements [policies.AdvanceStore].
func (l *Ledger) Advances(ctx context.Context, endsAfter time.Time) ([]policies.Advance, error) {
	rows, err := l.query(ctx, selectAdvances+" WHERE ends > $1 ORDER BY n DESC LIMIT 2000", micros(endsAfter))
	if err != nil {
		return nil, wrap("advances", err)
	}
	defer rows.Close()
	var all []policies.Advance
	for rows.Next() {
		a, err := scanAdvance(rows.Scan)
		if err != nil {
			return nil, wrap("advances", err)
		}
		all = append(all, a)
	}
	return all, wrap("advances", named(rows.Err()))
}

// UseAdvance implements [policies.AdvanceStore].
func (l *Ledger) UseAdvance(ctx context.Context, id string, at time.Time) error {
	return wrap("use advance", l.changeAdvance(ctx, id, `UPDATE advances SET used = used + 1
		WHERE id = $1 AND revoked = 0 AND starts <= $2 AND ends > $2 AND (uses = 0 OR used < uses)`, micros(at)))
}

// RevokeAdvance implements [policies.AdvanceStore].
func (l *Ledger) RevokeAdvance(ctx context.Context, id, by string, at time.Time) error {
	var c check
	name := c.text("name", by, MaxKey)
	if c.err != nil {
		return wrap("revoke advance", c.err)
	}
	return wrap("revoke advance", l.changeAdvance(ctx, id,
		"UPDATE advances SET revoked = $2, revoked_by = $3 WHERE id = $1 AND revoked = 0", micros(at), name))
}

// changeAdvance runs one update that tells by its condition whether it may.
func (l *Ledger) changeAdvance(ctx context.Context, id, update string, args ...any) error {
	return l.durably(ctx, func(t tx) error {
		err := found(t.exec(ctx, update, append([]any{id}, args...)...))
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		var n int
		if err := t.row(ctx, "SELECT count(*) FROM advances WHERE id = $1", []any{id}, &n); err != nil {
			return err
		}
		if n == 0 {
			return policies.ErrNoAdvance
		}
		return policies.ErrNotOpen
	})
}

func scanAdvance(scan func(...any) error) (policies.Advance, error) {
	var a policies.Advance
	var id, body, by string
	var text []byte
	var from, until, revoked int64
	var uses, used int
	if err := scan(&id, &text, &body, &from, &until, &uses, &used, &revoked, &by); err != nil {
		return a, err
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		return policies.Advance{}, fmt.Errorf("advance %s: %w", id, err)
	}
	a.ID, a.Text, a.Uses, a.Used, a.RevokedBy = id, string(text), uses, used, by
	a.From, a.Until, a.Revoked = fromMicros(from), fromMicros(until), fromMicros(revoked)
	a.Made = fromMicros(micros(a.Made))
	return a, nil
}
