package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
)

const (
	// readEvery is how often the gate reads on in recordings, to make what is on their screens searchable. One at a
	// time: it must not be felt.
	readEvery = 3 * time.Second
	// readAtOnce bounds what is read of one recording before others have their turn, in bytes. A recording that was
	// shipped meanwhile takes up the spool's room for as long as it is held open here, and reading is slow.
	readAtOnce = 128 << 10
	// otherGates is how long a session of another gate must have ended before this one does it.
	otherGates = time.Hour
	// maxShown bounds the text of one session that can be searched, in bytes.
	maxShown = 4 << 20
	// maxScreens bounds how many screens of running sessions are kept in memory from one reading to the next; of
	// others what draws them is, which is small.
	maxScreens = 256
	// readAgain is how long one that could not be read is left alone.
	readAgain = time.Minute
	// reelAt is the size from which a recording is prepared for playing before anybody asks, in bytes.
	reelAt = 8 << 20
)

// A transcriber puts what is on the screens of sessions into the ledger, where it can be found, while they run. What it
// has read of a session that runs is in its memory: of one that another process began, it begins anew.
type transcriber struct {
	ledger *ledger.Ledger
	open   reel.OpenFunc
	began  time.Time

	running map[string]*transcript
	screens int                  // kept in memory
	failed  map[string]time.Time // when to try again
}

// A transcript is what was read of a session that runs.
type transcript struct {
	*reel.Transcript
	started time.Time // the session
	size    int64     // of the recording when it was last read
	rested  bool      // and all on its screen was told
	behind  bool      // there was more to read
}

// newTranscriber makes a transcriber of the recordings that open opens.
func newTranscriber(l *ledger.Ledger, open reel.OpenFunc) *transcriber {
	return &transcriber{ledger: l, open: open, began: time.Now(), running: map[string]*transcript{}, failed: map[string]time.Time{}}
}

// readRecordings reads recordings in the background: their text into the ledger, and of long ones where a player can
// begin.
func (d *Daemon) readRecordings(ctx context.Context) {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	t := newTranscriber(d.ledger, paced(d.archive.OpenAt))
	grown := map[string]int64{} // sessions that run, and how much of them was prepared
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		growing := d.archive.Growing()
		for id, size := range growing {
			if err := t.readOn(ctx, id, size); err != nil {
				if ctx.Err() == nil {
					d.log.Error("what a session shows cannot be searched yet", "session", id, "error", err)
				}
				break // the others most likely fail as well: the ledger is away
			}
			if size >= grown[id]+reelAt {
				grown[id] = size
				d.prepare(ctx, id, 0)
			}
		}
		ids, err := d.ledger.UnshownSessions(ctx, d.config.Gate.Name, time.Now().Add(-otherGates))
		if err != nil && ctx.Err() == nil {
			d.log.Error("sessions to be read could not be listed", "error", err)
		}
		for _, id := range ids {
			if ctx.Err() != nil || t.waits(id) {
				continue
			}
			if err := t.end(ctx, id); err != nil {
				if ctx.Err() == nil {
					d.log.Error("what a session showed cannot be searched yet", "session", id, "error", err)
				}
				continue
			}
			delete(grown, id)
			d.prepare(ctx, id, reelAt)
		}
		t.forget(growing, ids)
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

// waits says whether reading id failed a while ago.
func (t *transcriber) waits(id string) bool { return time.Now().Before(t.failed[id]) }

// readOn reads what a session that runs has shown since the last time, which costs no more when it is old. Size is its
// recording's.
func (t *transcriber) readOn(ctx context.Context, id string, size int64) error {
	if t.waits(id) {
		return nil
	}
	s := t.running[id]
	if s != nil && !s.behind && (s.size == size && s.rested || !s.Whole()) {
		return nil
	}
	if s == nil {
		var err error
		if s, err = t.begin(ctx, id); err != nil {
			return t.fail(id, err)
		}
	}
	rest := s.size == size && !s.behind || t.screens >= maxScreens
	if err := t.read(ctx, id, s, rest); err != nil {
		return t.fail(id, err)
	}
	s.size, s.rested = size, rest
	return nil
}

// begin begins to read a session. Only one that began before this process can have lines in the ledger.
func (t *transcriber) begin(ctx context.Context, id string) (*transcript, error) {
	row, err := t.ledger.Session(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, again := t.failed[id]; again || row.Started.Before(t.began) || row.State != ledger.Live {
		if err := t.ledger.BeginShown(ctx, id); err != nil {
			return nil, err
		}
	}
	delete(t.failed, id)
	s := &transcript{Transcript: reel.NewTranscript(maxShown), started: row.Started}
	t.running[id] = s
	return s, nil
}

// fail gives up what was read of a session. It is read anew after a while.
func (t *transcriber) fail(id string, err error) error {
	t.drop(id)
	t.failed[id] = time.Now().Add(readAgain)
	return err
}

// drop lets go of what was read of a session.
func (t *transcriber) drop(id string) {
	if s := t.running[id]; s != nil && s.Awake() {
		t.screens--
	}
	delete(t.running, id)
}

// read reads on in one recording.
func (t *transcriber) read(ctx context.Context, id string, s *transcript, rest bool) error {
	r, err := t.open(ctx, id, s.From())
	if err != nil {
		return err
	}
	defer r.Close()
	if s.Awake() {
		t.screens--
	}
	s.behind, err = s.Read(r, readAtOnce, rest, func(lines []reel.Line) error {
		add := make([]ledger.ShownLine, len(lines))
		for i, line := range lines {
			add[i] = ledger.ShownLine{Offset: line.At, Text: line.Text}
		}
		return t.ledger.AddShown(ctx, id, s.started, add)
	})
	if rest && !s.behind || !s.Whole() {
		s.Rest()
	}
	if s.Awake() {
		t.screens++
	}
	return err
}

// end reads the rest of a session that has ended: all of it, where it was not read while it ran.
func (t *transcriber) end(ctx context.Context, id string) error {
	s := t.running[id]
	if s == nil {
		var err error
		if s, err = t.begin(ctx, id); err != nil {
			return t.fail(id, err)
		}
	}
	for {
		err := t.read(ctx, id, s, true)
		if errors.Is(err, replay.ErrNoSession) {
			return t.ended(ctx, id, ledger.ShownMissing)
		}
		if err != nil {
			return t.fail(id, err)
		}
		if !s.behind {
			break
		}
	}
	if s.Whole() {
		return t.ended(ctx, id, ledger.ShownAll)
	}
	return t.ended(ctx, id, ledger.ShownPartly)
}

// ended writes down how much of a session can be found.
func (t *transcriber) ended(ctx context.Context, id string, state ledger.ShownState) error {
	if err := t.ledger.EndShown(ctx, id, state); err != nil {
		return t.fail(id, err)
	}
	t.drop(id)
	return nil
}

// forget drops what is known of sessions that neither run nor are to be read.
func (t *transcriber) forget(growing map[string]int64, ids []string) {
	for id := range t.running {
		if _, runs := growing[id]; !runs && !slices.Contains(ids, id) {
			t.drop(id)
		}
	}
	for id, at := range t.failed {
		if _, runs := growing[id]; !runs && !slices.Contains(ids, id) && time.Now().After(at) {
			delete(t.failed, id)
		}
	}
}
