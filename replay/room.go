package replay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A full disk must not lock out whoever could empty it. So new sessions are refused while there is still
// room for those that run; when the disk is full nevertheless, those end; and a reserve that was allocated
// beforehand is given up, so that essential sessions, and whatever else the gate keeps on that disk, go on.

// reserveName is the file in the spool that holds the reserve.
const reserveName = ".reserve"

// maxReserve bounds the reserve; a fiftieth of the disk and of the spool's limit do as well.
const maxReserve = 64 << 20

// defaultMinFree is what Options.MinFree is at most when nothing is said.
const defaultMinFree = 256 << 20

// room is what is known of the space that is left.
type room struct {
	gone atomic.Bool // the disk was full: only essential recordings go on, until there is space again

	mu   sync.Mutex
	size int64 // of the reserve; 0 when it is given up
	want int64
}

// limit is how many bytes the spool may hold for a recording to begin or go on.
func (a *Archive) limit(essential bool) int64 {
	if essential {
		return a.o.SpoolLimit + a.o.SpoolLimit/10
	}
	return a.o.SpoolLimit
}

// Refusing says that new sessions are refused for want of room, but for essential ones.
func (a *Archive) Refusing() bool {
	return a.room.gone.Load() || a.used.Load() >= a.o.SpoolLimit/10*9 || a.diskFree() < a.o.MinFree
}

// diskFree returns the bytes that are free on the spool's disk; 0 when that cannot be told.
func (a *Archive) diskFree() int64 {
	free, _ := a.disk()
	return free
}

func (a *Archive) disk() (free, total int64) {
	var st unix.Statfs_t
	if unix.Statfs(a.o.SpoolDir, &st) != nil {
		return 0, 0
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize
}

// reserve decides how much is kept back and allocates it.
func (a *Archive) reserve() {
	_, total := a.disk()
	if a.o.MinFree <= 0 {
		a.o.MinFree = min(defaultMinFree, total/20)
	}
	a.room.want = min(maxReserve, total/50, a.o.SpoolLimit/50)
	if err := a.stock(); err != nil {
		a.alarm("", "room", fmt.Errorf("allocate the reserve: %w", err))
		a.room.gone.Store(errors.Is(err, unix.ENOSPC))
	}
}

// stock allocates the reserve. A filesystem that cannot allocate has none.
func (a *Archive) stock() error {
	a.room.mu.Lock()
	defer a.room.mu.Unlock()
	f, err := os.OpenFile(a.reservePath(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), 0, 0, a.room.want)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), a.room.want == 0:
		return os.Remove(f.Name())
	case err != nil:
		return errors.Join(err, os.Remove(f.Name()))
	}
	a.room.size = a.room.want
	return nil
}

func (a *Archive) reservePath() string { return filepath.Join(a.o.SpoolDir, reserveName) }

// giveUp removes the reserve, and reports whether that made room.
func (a *Archive) giveUp() bool {
	a.room.mu.Lock()
	defer a.room.mu.Unlock()
	had := a.room.size > 0
	if err := os.Remove(a.reservePath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	a.room.size = 0
	return had
}

// noRoom is told of a disk that is full.
func (a *Archive) noRoom(err error) {
	if a.room.gone.Swap(true) {
		return
	}
	a.giveUp()
	a.alarm("", "room", err)
}

// restock allocates the reserve again when there is space, and lets sessions in again.
func (a *Archive) restock() {
	if !a.room.gone.Load() || a.diskFree() < a.o.MinFree+2*a.room.want {
		return
	}
	if err := a.stock(); err != nil {
		return // looked at again at the next tick
	}
	a.room.gone.Store(false)
	a.o.Log.Info("the spool's disk has room again")
}

// spoolFile writes a recording's file. What is essential is written on into the reserve.
type spoolFile struct {
	f *os.File
	r *Recording
}

func (s spoolFile) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	if err == nil || !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return n, err
	}
	s.r.a.noRoom(err)
	if !s.r.essential {
		return n, err
	}
	more, err := s.f.Write(p[n:])
	return n + more, err
}
