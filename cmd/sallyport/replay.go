package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

type replayCmd struct {
	placeFlags
	What  string        `arg:"" help:"Id of a session, or a file (- is standard input)." placeholder:"ID|FILE"`
	Speed float64       `help:"So many times as fast as it was." default:"1" placeholder:"N"`
	Idle  time.Duration `help:"Cut pauses to this; 0 leaves them." default:"2s" placeholder:"TIME"`
	Max   bool          `help:"As fast as it can be shown."`
}

// Help is the end of the command's help.
func (*replayCmd) Help() string {
	return "In a terminal: space pauses and goes on, . shows the next piece while paused, q quits. " + exitHelp
}

// Run plays a recording.
func (c *replayCmd) Run(ctx context.Context, k *kong.Context) error {
	if !(c.Speed > 0 && c.Speed <= 1e6) {
		return &exitError{exitUsage, fmt.Errorf("--speed %v makes no sense; 2 plays twice as fast, --max without pauses", c.Speed)}
	}
	if c.Idle < 0 {
		return &exitError{exitUsage, fmt.Errorf("--idle %v is negative; 2s cuts pauses to two seconds, 0 leaves them", c.Idle)}
	}
	recording, err := c.openRecording(ctx, c.What, "replay")
	if err != nil {
		return err
	}
	defer recording.Close()
	r, err := cast.NewReader(recording)
	if err != nil {
		return fmt.Errorf("recording %s: %w", show(c.What), err)
	}
	r.Lenient = true
	p := &player{speed: c.Speed, idle: c.Idle}
	if c.Max {
		p.speed = 0
	}
	if err := p.inTerminal(ctx, k, r); err != nil {
		return fmt.Errorf("recording %s: %w", show(c.What), err)
	}
	return nil
}

// inTerminal plays r where the program runs, and leaves the terminal as it was.
func (p *player) inTerminal(ctx context.Context, k *kong.Context, r *cast.Reader) error {
	p.out = k.Stdout
	in, out := os.Stdin, os.Stdout
	if k.Stdout != io.Writer(out) {
		return p.play(ctx, r)
	}
	t, err := openTerminal(ctx, in, out)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	p.keys, p.raw = t.keys, t.raw
	if h := r.Header; t.raw && h.Type != "" && t.cols > 0 && (int(h.Cols) > t.cols || int(h.Rows) > t.rows) {
		fmt.Fprintf(k.Stderr, "Recorded in a window of %dx%d; this one has %dx%d, and lines may break.\r\n", h.Cols, h.Rows, t.cols, t.rows)
	}
	return errors.Join(p.play(ctx, r), t.Close())
}

// isRecordingFile tells a file from a session's id. What could be both is a file where there is one.
func isRecordingFile(what string) bool {
	if what == "-" || !idForm.MatchString(what) {
		return true
	}
	info, err := os.Stat(what)
	return err == nil && info.Mode().IsRegular()
}

// openRecording opens a file, or a session's recording as far as it is written. Looking at a session is
// written down before anything is shown; how says what it is looked at for.
func (f placeFlags) openRecording(ctx context.Context, what, how string) (io.ReadCloser, error) {
	if what == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	if isRecordingFile(what) {
		file, err := os.Open(what)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%q is neither a file nor the id of a session; see sallyport sessions ls", what)
		}
		return file, err
	}
	var out io.ReadCloser
	err := f.withLedger(ctx, func(p *place, l *ledger.Ledger) error {
		s, err := l.Session(ctx, what)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		// A recording can outlive the ledger's row.
		s.ID = what
		lib, closeStore, err := p.openLibrary(ctx, nil)
		if err != nil {
			return err
		}
		recording, err := lib.Open(ctx, what)
		if err != nil {
			return errors.Join(sessionError(what, err), closeStore())
		}
		out = withClose(recording, closeStore)
		return p.auditView(ctx, l, s, how)
	})
	if err != nil && out != nil {
		out.Close()
	}
	return out, err
}

func (p *place) auditView(ctx context.Context, l *ledger.Ledger, s ledger.Session, how string) error {
	return p.audit(ctx, l, ledger.Event{
		Kind: "recording:view", SessionID: s.ID, Target: s.Target, Detail: map[string]any{"of": s.ID, "as": how},
	})
}

// withClose closes more than r.
func withClose(r io.ReadCloser, more func() error) io.ReadCloser { return &joined{r, more} }

type joined struct {
	io.ReadCloser
	more func() error
}

func (j *joined) Close() error { return errors.Join(j.ReadCloser.Close(), j.more()) }

type sessionsWatchCmd struct {
	placeFlags
	ID string `arg:"" help:"The session's id." placeholder:"ID"`
}

// Help is the end of the command's help.
func (*sessionsWatchCmd) Help() string {
	return "A session that runs is followed until it ends; one that has ended is played. q quits. " + exitHelp
}

// Run follows a session.
func (c *sessionsWatchCmd) Run(ctx context.Context, k *kong.Context) error {
	if err := checkID("session", c.ID, "sessions ls --state live"); err != nil {
		return err
	}
	return c.withLedger(ctx, func(p *place, l *ledger.Ledger) error {
		s, err := l.Session(ctx, c.ID)
		if err != nil {
			return sessionError(c.ID, err)
		}
		recording, pl, err := p.follow(ctx, l, s)
		if err != nil {
			return err
		}
		defer recording.Close()
		if err := p.auditView(ctx, l, s, "watch"); err != nil {
			return err
		}
		r, err := cast.NewReader(recording)
		if errors.Is(err, errQuit) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("recording %s: %w", c.ID, err)
		}
		r.Lenient = true
		if err := pl.inTerminal(ctx, k, r); err != nil {
			return fmt.Errorf("recording %s: %w", c.ID, err)
		}
		return nil
	})
}

// follow opens a session's recording: one that is written on this machine grows while it is read, any
// other is read as it is.
func (p *place) follow(ctx context.Context, l *ledger.Ledger, s ledger.Session) (io.ReadCloser, *player, error) {
	if s.State == ledger.Live {
		path := filepath.Join(p.config.Recordings.Spool, s.ID+".cast") // as package replay names it
		f, err := os.Open(path)
		if err == nil {
			pl := &player{live: true, past: []byte{}}
			return &follower{f: f, wait: func() error { return pl.waitForMore(ctx) }, ended: p.endOf(ctx, l, s.ID, path)}, pl, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		if s, err = l.Session(ctx, s.ID); err != nil {
			return nil, nil, err
		}
		if s.State == ledger.Live {
			return nil, nil, fmt.Errorf("session %s runs at gate %s, and its recording is not in the spool of this machine; follow it there, or in the console; sallyport replay %s shows what is stored of it", s.ID, show(s.Gate), s.ID)
		}
	}
	lib, closeStore, err := p.openLibrary(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	recording, err := lib.Open(ctx, s.ID)
	if err != nil {
		return nil, nil, errors.Join(sessionError(s.ID, err), closeStore())
	}
	return withClose(recording, closeStore), &player{speed: 1, idle: 2 * time.Second}, nil
}

// endOf tells whether nothing more will be written: the file has left the spool, or the ledger says so.
func (p *place) endOf(ctx context.Context, l *ledger.Ledger, id, path string) func() bool {
	var asked time.Time
	return func() bool {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return true
		}
		if time.Since(asked) < time.Second {
			return false
		}
		asked = time.Now()
		s, err := l.Session(ctx, id)
		return err == nil && s.State != ledger.Live
	}
}

// A follower reads a file that another process writes.
type follower struct {
	f     *os.File
	wait  func() error // called when there is nothing new
	ended func() bool
	last  bool // what is there now is all
}

// Read gives what was written.
func (w *follower) Read(p []byte) (int, error) {
	for {
		n, err := w.f.Read(p)
		if n > 0 || err != nil && err != io.EOF {
			return n, err
		}
		if w.last {
			return 0, io.EOF
		}
		if err := w.wait(); err != nil {
			return 0, err
		}
		w.last = w.ended()
	}
}

// Close closes the file.
func (w *follower) Close() error { return w.f.Close() }
