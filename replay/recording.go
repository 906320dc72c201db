package replay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// Recording is one session's recording. It is safe for concurrent use. Its first error is sticky: every
// later call returns it, and the seal says truncated.
type Recording struct {
	a     *Archive
	id    string
	added time.Time

	essential bool // see [Meta]

	task sync.Mutex // held while it is sealed; above mu

	mu      sync.Mutex
	w       *cast.Writer // nil for what a former life of the gate left
	f       *os.File     // nil once it is sealed
	err     error        // the first, wrapped
	ended   bool         // End was called, or the gate that recorded it died
	end     cast.End
	seal    *Seal
	told    bool          // OnSeal took the seal
	watch   chan struct{} // closed when there is more to read; nil: nobody waits
	dirtyAt time.Time     // since when there is something to sign or flush; zero: nothing
	queued  bool          // stands in Archive.dirty

	size     int64     // bytes in the file, whole lines
	durable  int64     // of these on disk; ends behind a checkpoint
	shipped  int64     // of these in the store; -1: ask it
	behind   time.Time // since when there is something that is not in the store; zero: there is not
	working  bool      // a shipper has it
	attempts int       // that failed in a row
	retryAt  time.Time
}

// create opens the spool file and writes the recording's beginning.
func (r *Recording) create(m Meta, o cast.WriterOptions) error {
	f, err := os.OpenFile(r.a.path(r.id), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return ErrExists
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.f = f
	if m.Started.IsZero() {
		m.Started = time.Now()
	}
	o.Meta = m
	o.Header = cast.Header{
		Cols: m.Cols, Rows: m.Rows, Type: m.Term, Timestamp: m.Started, Command: m.Command, Env: m.Env, Title: title(m),
	}
	r.w, err = cast.NewWriter(spoolFile{f, r}, o)
	if err == nil && !m.Pty {
		// Without a terminal a line feed alone ends a line: newline mode (ECMA-48 LNM) has players show it so.
		err = r.w.Output(cast.Gate, []byte("\x1b[20h"))
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	r.a.mu.Lock()
	r.a.newFile = true
	r.a.mu.Unlock()
	r.wrote()
	return nil
}

func title(m Meta) string {
	who := m.Identity.Email
	if who == "" {
		who = m.Identity.Subject
	}
	if m.Identity.OnBehalfOf != nil {
		who += " for " + m.Identity.OnBehalfOf.Email
	}
	return who + " on " + m.Target
}

// record runs one call of the writer and sees to what follows from it.
func (r *Recording) record(call func(*cast.Writer) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ready(); err != nil {
		return err
	}
	if err := call(r.w); err != nil {
		if r.w.Err() == nil {
			return err // about the argument; nothing was written
		}
		return r.fail("record", err)
	}
	r.wrote()
	return r.keepUp()
}

// ready says whether more may be recorded.
func (r *Recording) ready() error {
	switch {
	case r.err != nil:
		return r.err
	case r.ended:
		return cast.ErrClosed
	case r.a.used.Load() >= r.a.limit(r.essential), !r.essential && r.a.room.gone.Load():
		return r.fail("record", ErrSpoolFull)
	}
	return nil
}

// fail makes err sticky.
func (r *Recording) fail(what string, err error) error {
	if r.err == nil {
		r.err = fmt.Errorf("recording of session %s failed: %w", r.id, err)
		r.account()
		r.a.alarm(r.id, what, err)
	}
	return r.err
}

// wrote accounts for what was written, has it signed and flushed in time, and wakes who follows.
func (r *Recording) wrote() {
	r.account()
	if r.dirtyAt.IsZero() {
		r.dirtyAt = time.Now()
		r.queue()
		if r.behind.IsZero() {
			r.behind = r.dirtyAt
		}
	}
	if r.watch != nil {
		close(r.watch)
		r.watch = nil
	}
}

func (r *Recording) account() {
	if r.w == nil {
		return
	}
	size := r.w.Size()
	r.a.used.Add(size - r.size)
	r.size = size
}

// queue puts r where the syncer looks.
func (r *Recording) queue() {
	if r.queued {
		return
	}
	r.queued = true
	r.a.mu.Lock()
	r.a.dirty = append(r.a.dirty, r)
	r.a.mu.Unlock()
}

// keepUp signs after 256 KiB and has the syncer flush them. A writer that is far ahead of the disk waits
// for it: memory and what a power cut costs stay bounded.
func (r *Recording) keepUp() error {
	if r.w.Unsigned() < signAfter {
		return nil
	}
	if err := r.w.Checkpoint(); err != nil {
		return r.fail("record", err)
	}
	r.account()
	if r.size-r.durable < maxUnsynced {
		r.a.wakeSyncer()
		return nil
	}
	if err := r.f.Sync(); err != nil {
		return r.fail("sync", err)
	}
	r.flushed(r.size)
	return nil
}

// flushed notes that the file is on disk up to a checkpoint that ends at to.
func (r *Recording) flushed(to int64) {
	if to > r.durable {
		r.durable = to
	}
	if r.durable > r.shipped && r.behind.IsZero() {
		r.behind = time.Now()
	}
	r.a.mu.Lock()
	r.a.pending[r] = true
	r.a.mu.Unlock()
}

// Output records p, exactly, as what the session put out on s. When it returns nil the bytes survive the
// death of this process.
func (r *Recording) Output(s Stream, p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ready(); err != nil {
		return err
	}
	if err := r.w.Output(s, p); err != nil {
		return r.fail("record", err)
	}
	r.wrote()
	return r.keepUp()
}

// Input records what was typed. Call it only where policy asks for it: passwords are typed, too.
func (r *Recording) Input(p []byte) error {
	return r.record(func(w *cast.Writer) error { return w.Input(p) })
}

// Resize records the terminal's new size in characters.
func (r *Recording) Resize(cols, rows uint32) error {
	return r.record(func(w *cast.Writer) error { return w.Resize(cols, rows) })
}

// Marker records a named point on the timeline.
func (r *Recording) Marker(label string) error {
	return r.record(func(w *cast.Writer) error { return w.Marker(label) })
}

// Note records a fact as JSON. Kinds are lower-case words: "op", "decision", "hold", "mask", ... Operations
// ("op") are counted. An error about v itself is not sticky.
func (r *Recording) Note(kind string, v any) error {
	return r.record(func(w *cast.Writer) error { return w.Note(kind, v) })
}

// Later runs f, whose notes and output are kept back until Commit, or until something else is recorded: for
// what nobody acts on before. They may then be written together, with those of other goroutines.
func (r *Recording) Later(f func(Lines) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ready(); err != nil {
		return err
	}
	err := r.w.Gather(func() error { return f(Lines{r.w}) })
	if failed := r.w.Err(); failed != nil {
		return r.fail("record", failed)
	}
	return err
}

// Lines takes what [Recording.Later] keeps back.
type Lines struct{ w *cast.Writer }

// Note is [Recording.Note].
func (l Lines) Note(kind string, v any) error { return l.w.Note(kind, v) }

// Output is [Recording.Output].
func (l Lines) Output(s Stream, p []byte) error { return l.w.Output(s, p) }

// Commit writes what was kept back. When it returns nil, that survives the death of this process.
func (r *Recording) Commit() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ready(); err != nil {
		return err
	}
	if err := r.w.Flush(); err != nil {
		return r.fail("record", err)
	}
	if r.w.Size() == r.size {
		return nil
	}
	r.wrote()
	return r.keepUp()
}

// Masked counts n values that were masked.
func (r *Recording) Masked(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.w != nil && n > 0 {
		r.w.Masked(uint64(n))
	}
}

// Err returns the error that stopped the recording, or nil.
func (r *Recording) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// End seals the recording, hands the seal to OnSeal and leaves the rest to the shippers. It must be called
// once for every recording, whatever happened. A recording that failed is sealed as truncated. An error
// means that the seal, or OnSeal, failed: both are tried again until they succeed, after a restart as well.
func (r *Recording) End(ctx context.Context, e End) (Seal, error) {
	r.task.Lock()
	defer r.task.Unlock()
	r.mu.Lock()
	if r.ended || r.f == nil {
		r.mu.Unlock()
		return Seal{}, cast.ErrClosed
	}
	r.ended = true
	r.end = cast.End{Status: e.Status, Signal: e.Signal, Reason: e.Reason}
	r.sealOwn(e)
	r.flushed(r.durable) // from here on the shippers see to it
	r.mu.Unlock()
	if err := r.finish(ctx); err != nil {
		r.a.alarm(r.id, "seal", err)
		return Seal{}, fmt.Errorf("end recording: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return *r.seal, nil
}

// sealOwn seals with the session's own key. Where the recording had failed, or fails now, that is left to
// finish.
func (r *Recording) sealOwn(e End) {
	defer func() {
		r.f.Close()
		r.f = nil
		if r.watch != nil {
			close(r.watch)
			r.watch = nil
		}
	}()
	if r.err != nil {
		return
	}
	if err := r.exit(e); err != nil {
		r.fail("record", err)
		return
	}
	seal, err := r.w.Close(r.end)
	if err != nil {
		r.fail("seal", err)
		return
	}
	r.account()
	if err := r.f.Sync(); err != nil {
		// The bytes are in the page cache and will be shipped from there; the store makes them durable.
		r.a.alarm(r.id, "sync", err)
	}
	r.sealed(seal)
}

// exit records how the session's process ended. Players know a status only; a signal becomes what shells
// make of it.
func (r *Recording) exit(e End) error {
	if e.Signal != "" {
		if err := r.w.Note("exit", map[string]string{"signal": e.Signal}); err != nil {
			return err
		}
		return r.w.Exit(128 + signals[e.Signal])
	}
	if e.Status == nil {
		return nil
	}
	return r.w.Exit(*e.Status)
}

// signals are the numbers on Linux of the names in RFC 4254 section 6.10.
var signals = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12,
	"PIPE": 13, "ALRM": 14, "TERM": 15,
}

func (r *Recording) sealed(s Seal) {
	r.seal = &s
	r.a.stats.sealed.Add(1)
	r.flushed(s.Size)
}

// abandon signs and flushes what is there and closes the file: the archive closes, the session has not
// ended. The next Recover seals it.
func (r *Recording) abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil {
		return
	}
	if r.err == nil {
		err := r.w.Checkpoint()
		if err == nil {
			err = r.f.Sync()
		}
		if err != nil {
			r.a.alarm(r.id, "sync", err)
		}
		r.err = ErrClosed
	}
	r.f.Close()
	r.f = nil
}
