package replay

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// Options configure an Archive. SpoolDir, Store and Signer are required.
type Options struct {
	SpoolDir string      // made 0700 if missing; on a local disk; one archive at a time
	Store    store.Store // where recordings go in the end
	Signer   Signer
	Roots    *x509.CertPool // of Signer's chains; nil: recordings are checked, their keys are not
	Gate     string         // this gate's name, in recordings and logs
	Log      *slog.Logger   // nil: none

	// OnSeal hears of every seal, at least once: from End or, when it failed there, later and again until
	// it returns nil. A recording leaves the spool only after that.
	OnSeal func(context.Context, Seal) error
	// OnAlarm hears of what an operator must know. It must not block.
	OnAlarm func(Alarm)

	SpoolLimit int64         // bytes; new sessions are refused at nine tenths of it, recordings fail at it. Default 8 GiB
	MinFree    int64         // bytes free on the spool's disk below which new sessions are refused. Default 256 MiB, at most a twentieth of the disk
	Checkpoint time.Duration // how old an unsigned byte may grow. Default 500 ms, at most 700 ms
	ShipAfter  time.Duration // how old an unshipped byte may grow. Default 3 s
	Shippers   int           // segments under way at once. Default 16
	Keep       Keep
}

// Keep says how the store is to hold on to what is shipped. The zero value leaves that to the store.
type Keep struct {
	Lock       time.Duration // object lock, from the time of shipping
	Governance bool          // a lock that privileged users of the store can lift; else nobody can
	LegalHold  bool
}

func (k Keep) put(now time.Time) store.PutOptions {
	o := store.PutOptions{ContentType: "application/zstd", LegalHold: k.LegalHold}
	if k.Lock > 0 {
		o.RetainUntil, o.Governance = now.Add(k.Lock), k.Governance
	}
	return o
}

// Alarm is something an operator must know.
type Alarm struct {
	Session string // "" when it is about the archive as a whole
	What    string // one of Alarms
	Err     error
}

// Alarms are what an alarm can be about: writing, flushing and sealing a recording, shipping it, damage that
// was set aside, and no room left in the spool.
var Alarms = []string{"record", "sync", "seal", "ship", "quarantine", "room"}

// What the archive does when nothing else is said.
const (
	defaultSpoolLimit = 8 << 30
	defaultCheckpoint = 500 * time.Millisecond
	maxCheckpoint     = 700 * time.Millisecond
	defaultShipAfter  = 3 * time.Second
	defaultShippers   = 16
	tick              = 250 * time.Millisecond

	signAfter    = 256 << 10 // unsigned bytes at which a checkpoint is written at once
	maxUnsynced  = 4 << 20   // bytes not known to be on disk at which a writer has to wait for the disk
	segmentSize  = 4 << 20   // bytes of a recording in one segment, at most
	shipAtOnce   = 1 << 20   // unshipped bytes at which a segment is shipped before its time
	syncAllAbove = 64        // recordings to flush at which the whole filesystem is flushed instead
)

var sessionID = regexp.MustCompile(`^[0-9a-z]{6,40}$`)

// Archive writes, ships, finds and opens recordings. Its methods are safe for concurrent use. Lock order:
// Recording.mu before Archive.mu.
type Archive struct {
	o     Options
	lib   *Library
	dir   *os.File // the spool; holds its lock
	used  atomic.Int64
	room  room
	stats counters

	ctx    context.Context // of the background work
	cancel context.CancelFunc
	wg     sync.WaitGroup
	syncer chan struct{} // wakes the syncer before its time
	jobs   chan *Recording

	mu      sync.Mutex
	closed  bool
	newFile bool                  // the spool's directory has entries that were not flushed
	recs    map[string]*Recording // everything in the spool, sealed or not
	dirty   []*Recording          // has bytes to sign or flush, oldest first
	pending map[*Recording]bool   // has something to ship or to finish
}

type counters struct {
	started, sealed, failures, shipped, segments, quarantined atomic.Uint64
}

// Stats are figures for metrics.
type Stats struct {
	Live        int           // recordings of running sessions
	Waiting     int           // recordings that are sealed or broken and still in the spool
	SpoolBytes  int64         // bytes in the spool
	SpoolLimit  int64         // and how many there may be
	DiskFree    int64         // bytes free on the spool's disk
	Refusing    bool          // new sessions are refused, but for essential ones
	Behind      time.Duration // age of the oldest byte that is not in the store yet
	Started     uint64
	Sealed      uint64
	Failures    uint64 // attempts to record, flush, seal or ship that failed
	Segments    uint64 // shipped
	Shipped     uint64 // bytes of recordings shipped
	Quarantined uint64
}

// OpenArchive prepares the spool and starts the goroutines that flush and ship. Call Recover before the
// first Start, and Close at the end.
func OpenArchive(o Options) (*Archive, error) {
	if o.SpoolDir == "" || o.Store == nil || o.Signer == nil {
		return nil, errors.New("open archive: spool, store and signer are required")
	}
	o.defaults()
	a := &Archive{
		o: o, lib: &Library{Spool: o.SpoolDir, Store: o.Store, Roots: o.Roots},
		syncer: make(chan struct{}, 1), jobs: make(chan *Recording),
		recs: map[string]*Recording{}, pending: map[*Recording]bool{},
	}
	if err := a.lockSpool(); err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	a.reserve()
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.wg.Go(a.syncLoop)
	a.wg.Go(a.shipLoop)
	for range o.Shippers {
		a.wg.Go(a.shipper)
	}
	return a, nil
}

func (o *Options) defaults() {
	if o.SpoolLimit <= 0 {
		o.SpoolLimit = defaultSpoolLimit
	}
	if o.Checkpoint <= 0 {
		o.Checkpoint = defaultCheckpoint
	}
	o.Checkpoint = min(o.Checkpoint, maxCheckpoint)
	if o.ShipAfter <= 0 {
		o.ShipAfter = defaultShipAfter
	}
	if o.Shippers <= 0 {
		o.Shippers = defaultShippers
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnSeal == nil {
		o.OnSeal = func(context.Context, Seal) error { return nil }
	}
	if o.OnAlarm == nil {
		o.OnAlarm = func(Alarm) {}
	}
}

// lockSpool makes the spool where it is missing and takes its lock, which ends with the process.
func (a *Archive) lockSpool() error {
	if err := os.MkdirAll(filepath.Join(a.o.SpoolDir, quarantine), 0o700); err != nil {
		return err
	}
	if err := os.Chmod(a.o.SpoolDir, 0o700); err != nil {
		return err
	}
	dir, err := os.Open(a.o.SpoolDir)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("spool %s is in use by another gate", a.o.SpoolDir)
		}
		return fmt.Errorf("lock spool %s: %w", a.o.SpoolDir, err)
	}
	a.dir = dir
	return nil
}

// Start begins the recording of a session. It fails with [ErrSpoolFull] when the spool is nearly full.
func (a *Archive) Start(ctx context.Context, m Meta) (*Recording, error) {
	r, err := a.start(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("record session: %w", err)
	}
	return r, nil
}

func (a *Archive) start(ctx context.Context, m Meta) (*Recording, error) {
	if !sessionID.MatchString(m.SessionID) {
		return nil, ErrSessionID
	}
	if a.used.Load() >= a.limit(m.Essential) || !m.Essential && a.Refusing() {
		return nil, ErrSpoolFull
	}
	if m.Gate == "" {
		m.Gate = a.o.Gate
	}
	key, chain, err := a.o.Signer.NewSessionKey(ctx, m.SessionID)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	r := &Recording{a: a, id: m.SessionID, added: time.Now(), essential: m.Essential}
	if err := a.add(r); err != nil {
		return nil, err
	}
	if err := r.create(m, cast.WriterOptions{Session: m.SessionID, Key: key, Chain: chain}); err != nil {
		a.drop(r)
		return nil, err
	}
	a.stats.started.Add(1)
	return r, nil
}

// add makes the archive know r.
func (a *Archive) add(r *Recording) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return ErrClosed
	}
	if a.recs[r.id] != nil {
		return ErrExists
	}
	a.recs[r.id] = r
	return nil
}

func (a *Archive) drop(r *Recording) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.recs, r.id)
	delete(a.pending, r)
}

func (a *Archive) find(id string) *Recording {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.recs[id]
}

func (a *Archive) path(id string) string { return spoolPath(a.o.SpoolDir, id) }

// alarm counts a failure and tells the operator.
func (a *Archive) alarm(session, what string, err error) {
	a.stats.failures.Add(1)
	a.o.Log.Error("recording: "+what+" failed", "session", session, "error", err)
	a.o.OnAlarm(Alarm{Session: session, What: what, Err: err})
}

// Stats returns figures for metrics.
func (a *Archive) Stats() Stats {
	s := Stats{
		SpoolBytes: a.used.Load(), SpoolLimit: a.o.SpoolLimit, DiskFree: a.diskFree(), Refusing: a.Refusing(),
		Started: a.stats.started.Load(), Sealed: a.stats.sealed.Load(), Failures: a.stats.failures.Load(),
		Segments: a.stats.segments.Load(), Shipped: a.stats.shipped.Load(), Quarantined: a.stats.quarantined.Load(),
	}
	now := time.Now()
	for _, r := range a.all() {
		r.mu.Lock()
		if r.ended {
			s.Waiting++
		} else {
			s.Live++
		}
		if !r.behind.IsZero() {
			s.Behind = max(s.Behind, now.Sub(r.behind))
		}
		r.mu.Unlock()
	}
	return s
}

// Growing returns the recordings of the sessions that run here, by the session's id, and how many bytes of each are
// written.
func (a *Archive) Growing() map[string]int64 {
	growing := map[string]int64{}
	for _, r := range a.all() {
		r.mu.Lock()
		if r.w != nil && !r.ended {
			growing[r.id] = r.size
		}
		r.mu.Unlock()
	}
	return growing
}

func (a *Archive) all() []*Recording {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*Recording, 0, len(a.recs))
	for _, r := range a.recs {
		all = append(all, r)
	}
	return all
}

// Close takes no new recordings and ships what is sealed until ctx ends. What is left stays in the spool,
// signed and flushed, for the next Recover. It returns an error when that is anything.
func (a *Archive) Close(ctx context.Context) error {
	a.mu.Lock()
	again := a.closed
	a.closed = true
	a.mu.Unlock()
	if again {
		return nil
	}
	left := a.drain(ctx)
	a.cancel()
	a.wg.Wait()
	for _, r := range a.all() {
		r.abandon()
	}
	if err := a.dir.Close(); err != nil {
		return fmt.Errorf("close archive: %w", err)
	}
	if left > 0 {
		return fmt.Errorf("close archive: %d recordings stay in the spool: %w", left, context.Cause(ctx))
	}
	return nil
}

// drain waits until no sealed recording is in the spool, and returns how many still are.
func (a *Archive) drain(ctx context.Context) int {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		left := 0
		for _, r := range a.all() {
			r.mu.Lock()
			if r.ended {
				left++
			}
			r.mu.Unlock()
		}
		if left == 0 || ctx.Err() != nil {
			return left
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}
