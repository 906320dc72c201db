package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// putTimeout bounds one attempt to store a segment, tellTimeout one to hand over a seal.
const (
	putTimeout  = time.Minute
	tellTimeout = 30 * time.Second
	maxBackoff  = time.Minute
)

// encoders compress segments, beside sessions that run: at the fastest level, which takes less time than the
// default (1.1 to 1.3 times less where it was tried) and makes a log no larger, and source code a twentieth. They are kept small: 4 MiB of window say nothing about
// such output that 1 MiB does not.
var encoders = sync.Pool{New: func() any {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
}}

// shipLoop hands recordings that have something to ship to the shippers.
func (a *Archive) shipLoop() {
	defer close(a.jobs)
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-t.C:
		}
		for _, r := range a.takeShippable(time.Now()) {
			select {
			case a.jobs <- r:
			case <-a.ctx.Done():
				return
			}
		}
	}
}

// takeShippable claims the recordings that are due.
func (a *Archive) takeShippable(now time.Time) (due []*Recording) {
	a.mu.Lock()
	all := make([]*Recording, 0, len(a.pending))
	for r := range a.pending {
		all = append(all, r)
	}
	a.mu.Unlock()
	for _, r := range all {
		r.mu.Lock()
		if r.shippable(now) {
			r.working = true
			due = append(due, r)
		}
		r.mu.Unlock()
	}
	return due
}

func (r *Recording) shippable(now time.Time) bool {
	switch {
	case r.working, now.Before(r.retryAt):
		return false
	case r.ended:
		return true
	case r.durable <= r.shipped:
		return false
	}
	return r.durable-r.shipped >= shipAtOnce || now.Sub(r.behind) >= r.a.o.ShipAfter
}

// shipper works on one recording at a time. One that fails is put off; it keeps nobody else waiting.
func (a *Archive) shipper() {
	for r := range a.jobs {
		r.settle(r.work(a.ctx))
	}
}

// work does what there is to do for a recording: seal it if it should be, hand over the seal, ship, and
// remove it from the spool when all of that is done.
func (r *Recording) work(ctx context.Context) error {
	r.mu.Lock()
	ended := r.ended
	r.mu.Unlock()
	if ended {
		if !r.task.TryLock() {
			return nil // End is at it
		}
		err := r.finish(ctx)
		r.task.Unlock()
		switch {
		case r.aside():
			return nil
		case err != nil:
			// What is there can be shipped all the same, up to its last checkpoint.
			if err = errors.Join(err, r.ship(ctx)); r.aside() {
				return nil
			}
			return err
		}
	}
	if err := r.ship(ctx); err != nil {
		if r.aside() {
			return nil
		}
		return err
	}
	return r.leave(ctx)
}

// settle ends a piece of work that was claimed by setting working.
func (r *Recording) settle(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.working = false
	if err == nil {
		r.attempts, r.retryAt = 0, time.Time{}
		r.a.mu.Lock()
		if !r.ended && r.durable <= r.shipped {
			delete(r.a.pending, r)
		}
		r.a.mu.Unlock()
		return
	}
	r.a.mu.Lock()
	r.a.pending[r] = true
	r.a.mu.Unlock()
	if r.a.ctx.Err() != nil {
		return // the archive closes
	}
	wait := min(time.Second<<min(r.attempts, 10), maxBackoff)
	r.retryAt = time.Now().Add(wait/2 + rand.N(wait/2))
	if r.attempts++; r.attempts%16 == 1 {
		r.a.alarm(r.id, "ship", err)
	} else {
		r.a.stats.failures.Add(1)
	}
}

// finish is called with task held. It sees to it that an ended recording is sealed and that OnSeal has taken the seal.
func (r *Recording) finish(ctx context.Context) error {
	r.mu.Lock()
	seal, told := r.seal, r.told
	r.mu.Unlock()
	if seal == nil {
		if err := r.sealRemains(ctx); err != nil {
			return err
		}
		r.mu.Lock()
		seal = r.seal
		r.mu.Unlock()
	}
	if told {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	if err := r.a.o.OnSeal(ctx, *seal); err != nil {
		return fmt.Errorf("hand over the seal: %w", err)
	}
	r.mu.Lock()
	r.told = true
	r.mu.Unlock()
	return nil
}

// ship stores what is durable and not yet in the store.
func (r *Recording) ship(ctx context.Context) error {
	for {
		r.mu.Lock()
		from, to := r.shipped, r.durable
		r.mu.Unlock()
		if from < 0 {
			if err := r.yield(ctx, to); err != nil {
				return fmt.Errorf("ask the store: %w", err)
			}
			covered, err := r.a.lib.covered(ctx, r.id)
			if err != nil {
				return fmt.Errorf("ask the store: %w", err)
			}
			from = r.advance(covered)
		}
		if from >= to {
			return nil
		}
		to = min(to, from+segmentSize)
		if err := r.put(ctx, from, to); err != nil {
			return err
		}
		r.advance(to)
	}
}

// put stores one segment.
func (r *Recording) put(ctx context.Context, from, to int64) error {
	f, err := os.Open(r.a.path(r.id))
	if err != nil {
		return fmt.Errorf("ship: %w", err)
	}
	defer f.Close()
	raw := make([]byte, to-from)
	if _, err := io.ReadFull(io.NewSectionReader(f, from, to-from), raw); err != nil {
		return fmt.Errorf("ship: %w", err)
	}
	e := encoders.Get().(*zstd.Encoder)
	data := e.EncodeAll(raw, nil)
	encoders.Put(e)
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	if err := r.a.o.Store.Put(ctx, segmentKey(r.id, from, to), data, r.a.o.Keep.put(time.Now())); err != nil {
		return fmt.Errorf("ship: %w", err)
	}
	r.a.stats.segments.Add(1)
	r.a.stats.shipped.Add(uint64(to - from))
	return nil
}

// advance notes how much is in the store.
func (r *Recording) advance(to int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shipped = max(r.shipped, to)
	switch {
	case r.size <= r.shipped:
		r.behind = time.Time{}
	case !r.dirtyAt.IsZero():
		r.behind = r.dirtyAt
	default:
		r.behind = time.Now() // being flushed: written within the last second
	}
	return r.shipped
}

// leave removes a recording from the spool when everything about it is done, and the store says that it still
// has all it was given: a bucket may have been emptied since.
func (r *Recording) leave(ctx context.Context) error {
	r.mu.Lock()
	done := r.seal != nil && r.told && r.shipped >= r.seal.Size
	size := r.size
	r.mu.Unlock()
	if !done {
		return nil
	}
	covered, err := r.a.lib.covered(ctx, r.id)
	if err != nil {
		return fmt.Errorf("ask the store: %w", err)
	}
	if covered < size {
		r.mu.Lock()
		r.shipped = covered
		r.mu.Unlock()
		return fmt.Errorf("the store has lost bytes from %d on, which it is given again", covered)
	}
	if err := os.Remove(r.a.path(r.id)); err != nil {
		return fmt.Errorf("remove from spool: %w", err)
	}
	r.a.used.Add(-size)
	r.a.drop(r)
	return nil
}

// sealRemains seals what a dead gate, or a recorder that failed, left.
func (r *Recording) sealRemains(ctx context.Context) error {
	f, err := os.OpenFile(r.a.path(r.id), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	defer f.Close()
	m, err := cast.Examine(io.NewSectionReader(f, 0, 1<<62), cast.VerifyOptions{Roots: r.a.o.Roots, Session: r.id})
	if errors.Is(err, cast.ErrUnsigned) {
		return r.setAside(err)
	}
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := r.allowCut(ctx, m); err != nil {
		return err
	}
	seal, err := r.sealWith(ctx, m, f)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.a.used.Add(seal.Size - r.size)
	r.size = seal.Size
	r.sealed(seal)
	r.a.o.Log.Warn("recording was sealed after a failure", "session", r.id, "state", string(seal.State), "dropped_bytes", m.Dropped)
	return nil
}

func (r *Recording) sealWith(ctx context.Context, m *cast.Remains, f *os.File) (Seal, error) {
	if m.Report.Sealed && m.Dropped == 0 {
		return *m.Report.Seal, f.Sync()
	}
	key, chain, err := r.a.o.Signer.NewSessionKey(ctx, r.id)
	if err != nil {
		return Seal{}, fmt.Errorf("session key: %w", err)
	}
	o := cast.RecoverOptions{Key: key, Chain: chain, Reason: "the gate that recorded it died"}
	r.mu.Lock()
	if r.err != nil {
		o.Reason, o.Failed = r.end.Reason, r.err.Error()
	}
	r.mu.Unlock()
	seal, err := m.Seal(f, o)
	if err != nil {
		return Seal{}, err
	}
	return seal, f.Sync()
}
