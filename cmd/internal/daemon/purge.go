package daemon

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// A Purge removes recordings whose time is over.
type Purge struct {
	Ledger  *ledger.Ledger
	Library *replay.Library
	Event   ledger.Event        // who does it; the rest is filled in
	Why     string              // stands in each event
	DryRun  bool                // say what would be removed, and remove nothing
	Each    func(PurgedSession) // told of every recording looked at; nil: nobody
}

// PurgedSession is what became of one recording.
type PurgedSession struct {
	Session string    `json:"session"`
	Sealed  time.Time `json:"sealed"`
	Objects int       `json:"objects"`
	Removed bool      `json:"removed"`
	Kept    string    `json:"kept,omitempty"` // why it was not removed
	Error   string    `json:"error,omitempty"`
}

// PurgeCount counts what became of recordings.
type PurgeCount struct{ Removed, Kept, Failed int }

// Run purges every recording that was sealed before a time, and completes purges that were interrupted. One
// that is retained, or cannot be removed, keeps no other from it.
func (p *Purge) Run(ctx context.Context, before time.Time) (PurgeCount, error) {
	var n PurgeCount
	if !p.DryRun {
		if err := p.complete(ctx); err != nil {
			return n, err
		}
	}
	for after := int64(0); ; {
		page, err := p.Ledger.Purgeable(ctx, before, after)
		if err != nil || len(page) == 0 {
			return n, err
		}
		for _, s := range page {
			after = s.N
			n.add(p.one(ctx, s))
			if ctx.Err() != nil {
				return n, context.Cause(ctx)
			}
		}
	}
}

func (n *PurgeCount) add(s PurgedSession) {
	switch {
	case s.Error != "":
		n.Failed++
	case s.Kept != "":
		n.Kept++
	default:
		n.Removed++
	}
}

// One purges the recording of one session, however old it is.
func (p *Purge) One(ctx context.Context, sessionID string) (n PurgeCount, err error) {
	seals, err := p.Ledger.SealsOf(ctx, sessionID)
	if err != nil {
		return n, err
	}
	if len(seals) == 0 {
		return n, fmt.Errorf("session %s has no sealed recording in this ledger", sessionID)
	}
	n.add(p.one(ctx, seals[len(seals)-1]))
	return n, nil
}

func (p *Purge) one(ctx context.Context, s ledger.Seal) PurgedSession {
	out := PurgedSession{Session: s.SessionID, Sealed: s.At}
	err := p.Library.Removable(ctx, s.SessionID)
	if err == nil && !p.DryRun && s.State != ledger.Purged {
		err = p.Ledger.MarkPurged(ctx, s, time.Now(), p.event(s))
	}
	if err == nil && !p.DryRun {
		out.Objects, err = p.Library.Remove(ctx, s.SessionID)
	}
	var kept *store.RetainedError
	switch {
	case errors.As(err, &kept):
		out.Kept = kept.Error()
	case errors.Is(err, replay.ErrSpooled):
		out.Kept = err.Error()
	case err != nil:
		out.Error = err.Error()
	default:
		out.Removed = !p.DryRun
	}
	if p.Each != nil {
		p.Each(out)
	}
	return out
}

func (p *Purge) event(s ledger.Seal) ledger.Event {
	e := p.Event
	e.Kind, e.SessionID = "recording.purged", s.SessionID
	detail := map[string]any{"why": p.Why, "seal": hex.EncodeToString(s.Hash), "state": string(s.State), "sealed": s.At.Format(time.RFC3339)}
	for k, v := range p.Event.Detail {
		detail[k] = v
	}
	e.Detail = detail
	return e
}

// complete removes what a purge that was interrupted had marked and left. Where nothing is left that costs a
// listing for each purged recording of the last days.
func (p *Purge) complete(ctx context.Context) error {
	const recent = 3 * 24 * time.Hour
	for after := int64(0); ; {
		page, err := p.Ledger.PurgedSeals(ctx, after)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, s := range page {
			if after = s.N; time.Since(s.At) > recent {
				continue
			}
			if _, err := p.Library.Remove(ctx, s.SessionID); err != nil && !errors.Is(err, store.ErrRetained) {
				return err
			}
		}
	}
}

// purgeEvery is how often the gate looks for recordings whose time is over.
const purgeEvery = time.Hour

// purgeLoop purges while the gate runs, where the configuration says how long recordings are kept.
func (d *Daemon) purgeLoop(ctx context.Context) {
	keep := d.config.Recordings.Retention.D()
	if keep <= 0 {
		return
	}
	p := &Purge{
		Ledger: d.ledger, Library: d.library, Why: fmt.Sprintf("older than recordings.retention, %v", keep),
		Event: ledger.Event{Gate: d.config.Gate.Name, ActorName: "gate " + d.config.Gate.Name},
		Each: func(s PurgedSession) {
			if s.Kept != "" || s.Error != "" {
				d.log.Warn("recording not purged", "session", s.Session, "kept", s.Kept, "error", s.Error)
			}
		},
	}
	t := time.NewTicker(purgeEvery)
	defer t.Stop()
	for {
		n, err := p.Run(ctx, time.Now().Add(-keep))
		if err != nil && ctx.Err() == nil {
			d.log.Error("purge of old recordings", "error", err)
		}
		d.metrics.Purged(n.Removed, n.Kept, n.Failed)
		if n != (PurgeCount{}) {
			d.log.Info("old recordings purged", "removed", n.Removed, "kept", n.Kept, "failed", n.Failed)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
