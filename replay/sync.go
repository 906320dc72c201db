package replay

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// syncLoop signs and flushes what was written: one goroutine for all recordings.
func (a *Archive) syncLoop() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-t.C:
		case <-a.syncer:
		}
		a.syncDue(time.Now())
		a.restock()
	}
}

func (a *Archive) wakeSyncer() {
	select {
	case a.syncer <- struct{}{}:
	default:
	}
}

// syncDue takes the recordings that are due from the list, signs what they wrote, and flushes it.
func (a *Archive) syncDue(now time.Time) {
	var batch []flush
	for _, r := range a.takeDue(now) {
		if f, ok := r.sign(); ok {
			batch = append(batch, f)
		}
	}
	a.mu.Lock()
	newFile := a.newFile
	a.newFile = false
	a.mu.Unlock()
	if len(batch) > syncAllAbove {
		a.flushAll(batch)
		return
	}
	if newFile {
		if err := a.dir.Sync(); err != nil {
			a.alarm("", "sync", err)
		}
	}
	a.flushEach(batch)
}

// flush is a file that is signed up to an offset and has to get there on disk.
type flush struct {
	r  *Recording
	f  *os.File
	to int64
}

// takeDue returns the recordings whose oldest unflushed byte is old enough, or that are far ahead.
func (a *Archive) takeDue(now time.Time) []*Recording {
	a.mu.Lock()
	list := a.dirty
	a.dirty = nil
	a.mu.Unlock()
	var due, later []*Recording
	for _, r := range list {
		r.mu.Lock()
		if now.Sub(r.dirtyAt) >= a.o.Checkpoint || r.size-r.durable >= signAfter || r.f == nil {
			r.queued = false
			due = append(due, r)
		} else {
			later = append(later, r)
		}
		r.mu.Unlock()
	}
	a.mu.Lock()
	a.dirty = append(later, a.dirty...)
	a.mu.Unlock()
	return due
}

// sign writes a checkpoint and says what has to be flushed.
func (r *Recording) sign() (flush, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dirtyAt = time.Time{}
	if r.f == nil || r.err != nil {
		return flush{}, false // sealed meanwhile, or broken
	}
	if err := r.w.Checkpoint(); err != nil {
		r.fail("record", err)
		return flush{}, false
	}
	r.wroteCheckpoint()
	return flush{r: r, f: r.f, to: r.size}, true
}

// wroteCheckpoint accounts for a checkpoint, which makes nothing dirty.
func (r *Recording) wroteCheckpoint() {
	r.account()
	if r.watch != nil {
		close(r.watch)
		r.watch = nil
	}
}

// flushEach flushes files side by side, so that the journal takes them together.
func (a *Archive) flushEach(batch []flush) {
	var wg sync.WaitGroup
	lanes := min(8, len(batch))
	for lane := range lanes {
		wg.Go(func() {
			for i := lane; i < len(batch); i += lanes {
				batch[i].done(batch[i].f.Sync())
			}
		})
	}
	wg.Wait()
}

// flushAll flushes the spool's filesystem, which for many files costs less than each of them.
func (a *Archive) flushAll(batch []flush) {
	if err := unix.Syncfs(int(a.dir.Fd())); err != nil {
		a.alarm("", "sync", err)
		a.flushEach(batch) // finds out whose it was
		return
	}
	for _, f := range batch {
		f.done(nil)
	}
}

func (f flush) done(err error) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	if f.r.f == nil {
		return // sealed meanwhile, which flushed it
	}
	if err != nil {
		f.r.fail("sync", err)
		return
	}
	f.r.flushed(f.to)
}
