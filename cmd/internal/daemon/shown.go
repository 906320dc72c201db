package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
)

const (
	// readEvery is how often the gate looks for sessions that have ended, to make what was on their screens
	// searchable. One at a time: it must not be felt.
	readEvery = 5 * time.Second
	// otherGates is how long a session of another gate must have ended before this one does it.
	otherGates = time.Hour
	// maxShown bounds the text of one session that can be searched, in bytes.
	maxShown = 4 << 20
	// reelAt is the size from which a recording is prepared for playing before anybody asks, in bytes.
	reelAt = 8 << 20
)

// readRecordings reads recordings in the background, each once: their text into the ledger, and of long ones where
// a player can begin.
func (d *Daemon) readRecordings(ctx context.Context) {
	t := time.NewTicker(readEvery)
	defer t.Stop()
	failed := map[string]time.Time{} // when to try again
	grown := map[string]int64{}      // live sessions, and how much of them was prepared
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		ids, err := d.ledger.UnshownSessions(ctx, d.config.Gate.Name, time.Now().Add(-otherGates))
		if err != nil && ctx.Err() == nil {
			d.log.Error("sessions to be read could not be listed", "error", err)
		}
		for _, id := range ids {
			if ctx.Err() != nil || time.Now().Before(failed[id]) {
				continue
			}
			delete(failed, id)
			if err := ReadShown(ctx, d.ledger, d.archive.OpenAt, id); err != nil && ctx.Err() == nil {
				d.log.Error("what a session showed cannot be searched yet", "session", id, "error", err)
				failed[id] = time.Now().Add(10 * time.Minute)
				continue
			}
			delete(grown, id)
			d.prepare(ctx, id, reelAt)
		}
		d.prepareLive(ctx, grown)
	}
}

// prepareLive reads on in long sessions that run here, so that looking at one does not begin with its first hour.
func (d *Daemon) prepareLive(ctx context.Context, grown map[string]int64) {
	live, err := d.ledger.LiveSessions(ctx, d.config.Gate.Name)
	if err != nil {
		return // told by whatever else needs the ledger
	}
	for _, s := range live {
		info, err := os.Stat(filepath.Join(d.config.Recordings.Spool, s.ID+".cast"))
		if err == nil && info.Size() >= grown[s.ID]+reelAt {
			grown[s.ID] = info.Size()
			d.prepare(ctx, s.ID, 0)
		}
	}
}

// prepare makes the reel of a recording that has at least so many bytes of output.
func (d *Daemon) prepare(ctx context.Context, id string, least int64) {
	if s, err := d.ledger.Session(ctx, id); err != nil || s.BytesOut < least {
		return
	}
	if _, err := d.reels.View(ctx, id, true, time.Hour); err != nil && ctx.Err() == nil {
		d.log.Warn("recording not prepared for playing", "session", id, "error", err)
	}
}

// ReadShown puts what was on a session's screen into the ledger, where it can be found.
func ReadShown(ctx context.Context, l *ledger.Ledger, open reel.OpenFunc, id string) error {
	s, err := l.Session(ctx, id)
	if err != nil {
		return err
	}
	if err := l.BeginShown(ctx, id); err != nil {
		return err
	}
	r, err := open(ctx, id, 0)
	if errors.Is(err, replay.ErrNoSession) {
		return l.EndShown(ctx, id, ledger.ShownMissing)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	whole, err := reel.Text(r, maxShown, func(lines []reel.Line) error {
		add := make([]ledger.ShownLine, len(lines))
		for i, line := range lines {
			add[i] = ledger.ShownLine{Offset: line.At, Text: line.Text}
		}
		return l.AddShown(ctx, id, s.Started, add)
	})
	if err != nil {
		return err
	}
	state := ledger.ShownAll
	if !whole {
		state = ledger.ShownPartly
	}
	return l.EndShown(ctx, id, state)
}
