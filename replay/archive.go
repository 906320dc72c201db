package replay

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// Options configure an Archive. SpoolDir, Store and Signer are required.
type Options struct {
	SpoolDir string      // made 0700 if missing; on a local disk
	Store    store.Store // where recordings go in the end
	Signer   Signer
	Roots    *x509.CertPool // of Signer's chains; nil: recordings are checked, their keys are not
	Gate     string         // this gate's name, in recordings and logs
	Log      *slog.Logger   // nil: none

	// OnSeal hears of every seal, at least once, from End or, when it failed there, later and again until
	// it returns nil. A recording leaves the spool only after that.
	OnSeal func(context.Context, Seal) error
	// OnAlarm hears of what an operator must know: a recording that failed, a store that does not take
	// segments, a recording set aside. It must not block.
	OnAlarm func(Alarm)

	SpoolLimit int64            // bytes; new sessions are refused at nine tenths of it, recordings fail at it. Default 8 GiB
	Checkpoint time.Duration    // how old an unsigned byte may grow. Default 500 ms, at most 1 s
	ShipAfter  time.Duration    // how old an unshipped byte may grow. Default 3 s
	Keep       store.PutOptions // how the store is to keep segments
}

// Alarm is something an operator must know.
type Alarm struct {
	Session string // "" when it is about the archive as a whole
	What    string // record, sync, ship, seal, quarantine, spool
	Err     error
}

// Archive writes, ships, finds and opens recordings.
type Archive struct{}

// OpenArchive prepares the spool and starts the goroutines that sync and ship. Call Recover before the
// first Start, and Close at the end.
func OpenArchive(o Options) (*Archive, error) { return nil, ErrClosed }

// Start begins the recording of a session. It fails with [ErrSpoolFull] when the spool is nearly full.
func (a *Archive) Start(ctx context.Context, m Meta) (*Recording, error) { return nil, ErrClosed }

// Recover seals and ships what former lives of this gate left in the spool. What is damaged is set aside
// and reported, joined with [ErrQuarantine], and stops nothing else.
func (a *Archive) Recover(ctx context.Context) error { return ErrClosed }

// Open returns the recording of a session as far as it is written: from the spool, or from the store.
func (a *Archive) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	return nil, ErrNoSession
}

// Follow is Open for a live session: reads wait for more, until the seal was read or ctx ends.
func (a *Archive) Follow(ctx context.Context, id string) (io.ReadCloser, error) {
	return nil, ErrNoSession
}

// Verify checks the recording of a session. An error means that nothing was decided.
func (a *Archive) Verify(ctx context.Context, id string) (cast.Report, error) {
	return cast.Report{}, ErrNoSession
}

// Sessions yields the ids of all recordings in the store and in the spool, each once, in order.
// Close stops taking recordings and ships what is sealed until ctx ends. What is left stays in the spool.
func (a *Archive) Close(ctx context.Context) error { return nil }

// Recording is one session's recording. It is safe for concurrent use. Its first error is sticky: every
// later call returns it, and the seal says truncated.
type Recording struct{}

// Output records p, exactly, as what the session put out on s. When it returns nil the bytes survive the
// death of this process.
func (r *Recording) Output(s Stream, p []byte) error { return ErrClosed }

// Input records what was typed. Call it only where policy asks for it: passwords are typed, too.
func (r *Recording) Input(p []byte) error { return ErrClosed }

// Resize records the terminal's new size in characters.
func (r *Recording) Resize(cols, rows uint32) error { return ErrClosed }

// Marker records a named point on the timeline.
func (r *Recording) Marker(label string) error { return ErrClosed }

// Note records a fact as JSON. Kinds are lower-case words: "op", "decision", "hold", "mask", ... Operations
// ("op") are counted. An error about v itself is not sticky.
func (r *Recording) Note(kind string, v any) error { return ErrClosed }

// Masked counts n values that were masked.
func (r *Recording) Masked(n int) {}

// End seals the recording, hands the seal to OnSeal and leaves the rest to the shippers. It must be called
// once for every recording, whatever happened.
func (r *Recording) End(ctx context.Context, e End) (Seal, error) { return Seal{}, ErrClosed }
