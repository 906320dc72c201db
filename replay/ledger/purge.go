package ledger

import (
	"context"
	"strconv"
	"time"
)

// Purgeable returns, of the sessions that ended before a time and whose recordings are not marked as purged,
// the last seal each has, numbered above after, in the order of the chain and at most MaxLimit of them.
func (l *Ledger) Purgeable(ctx context.Context, before time.Time, after int64) ([]Seal, error) {
	all, err := l.sealsWhere(ctx, `n > $1 AND at < $2 AND state <> 'purged'
		AND NOT EXISTS (SELECT 1 FROM seals later WHERE later.session_id = seals.session_id AND later.n > seals.n)
		ORDER BY n LIMIT `+strconv.Itoa(MaxLimit), after, micros(before))
	return all, wrap("recordings to purge", err)
}

// PurgedSeals returns the marks of purged recordings numbered above after, at most MaxLimit of them.
func (l *Ledger) PurgedSeals(ctx context.Context, after int64) ([]Seal, error) {
	all, err := l.sealsWhere(ctx, "n > $1 AND state = 'purged' ORDER BY n LIMIT "+strconv.Itoa(MaxLimit), after)
	return all, wrap("purged recordings", err)
}

// MarkPurged appends to the chain of seals that a recording is removed on purpose, and stores the event that
// says by whom, both or neither. It comes before the removal: what cannot be written down is not done.
func (l *Ledger) MarkPurged(ctx context.Context, s Seal, at time.Time, e Event) error {
	err := l.atomically(ctx, func(t tx) error {
		_, err := t.appendSeal(ctx, Seal{SessionID: s.SessionID, Hash: s.Hash, State: Purged, At: at})
		if err != nil {
			return err
		}
		if err := t.forgetShown(ctx, s.SessionID, ShownMissing); err != nil { // what was on the screen goes with it
			return err
		}
		return t.addAudit(ctx, e)
	})
	return wrap("mark as purged", err)
}
