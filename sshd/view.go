package sshd

import (
	"time"

	"github.com/sallyport-ssh/sallyport/filters/mask"
)

const (
	// lookAfter is how long a program must be silent before its screen is looked at again.
	lookAfter = 25 * time.Millisecond
	// lookLatest is how long one that is never silent can put that off.
	lookLatest = 150 * time.Millisecond
	// unwatched is how long bytes wait that would be masked, in a session without a terminal. Nobody looks at a
	// cursor there, and a star in the middle of a tarball costs more than a pause.
	unwatched = 2 * time.Second
)

// A view is one masked rendering of a stream: the one that is recorded, or the one that a client sees who may see
// some of it in clear.
type view struct {
	mask    *mask.Stream
	screen  *mask.Screen // nil without a terminal
	hold    time.Duration
	pty     bool
	buf     []byte
	due     time.Time // when what is held is masked; zero: nothing is held
	last    time.Time // the program was last heard
	changed time.Time // since when the screen was not looked at; zero: it was
}

// newView makes a view of a stream that is masked as o says. Hold bounds the time for which bytes wait.
func newView(e *mask.Engine, o mask.StreamOptions, hold time.Duration, size *[2]uint32) view {
	v := view{mask: e.Stream(o), hold: hold, pty: size != nil}
	if size != nil {
		cols, rows := screenSize(size[0], size[1])
		v.screen = e.Screen(cols, rows, o)
	}
	return v
}

// screenSize is the size of a terminal that was given as cols and rows; 0 is one that was not known.
func screenSize(cols, rows uint32) (int, int) {
	if cols == 0 || rows == 0 {
		return 80, 24
	}
	return int(cols), int(rows)
}

// write returns what may be shown now that p has come. It is valid until the next call of the view.
func (v *view) write(p []byte) []byte {
	v.buf = v.mask.Append(v.buf[:0], p)
	if v.screen != nil {
		v.screen.Write(p, v.buf)
	}
	return v.buf
}

// heard gives what is held its time, from now on: the program was heard, and the client has been written to.
func (v *view) heard(now time.Time) {
	v.last, v.due = now, time.Time{}
	if v.mask.Held() > 0 {
		v.due = now.Add(v.patience())
	}
	v.drawn(now)
}

func (v *view) patience() time.Duration {
	wait := v.mask.Patience()
	if wait == mask.HotWait && !v.pty {
		return unwatched
	}
	return min(wait, v.hold)
}

// expire masks what is held when its time has run out.
func (v *view) expire(now time.Time) []byte {
	if v.due.IsZero() || now.Before(v.due) {
		return nil
	}
	// On a machine that is too busy to read what the program wrote, the timer is late as well.
	if wait := v.patience(); v.mask.Patience() == mask.HotWait && now.Sub(v.due) > wait/2 {
		v.due = now.Add(wait)
		return nil
	}
	if out := v.flush(); out != nil {
		v.drawn(now)
		return out
	}
	return nil
}

// drawn notes that the screen may have changed.
func (v *view) drawn(now time.Time) {
	if v.screen != nil && v.changed.IsZero() && v.screen.Changed() {
		v.changed = now
	}
}

// flush masks what is held.
func (v *view) flush() []byte {
	v.due = time.Time{}
	if v.mask.Held() == 0 {
		return nil
	}
	v.buf = v.mask.Expire(v.buf[:0])
	if v.screen != nil {
		v.screen.Write(nil, v.buf)
	}
	return v.buf
}

// close returns what the end of the stream decides.
func (v *view) close() []byte {
	v.buf = v.mask.Close(v.buf[:0])
	if v.screen != nil {
		v.screen.Write(nil, v.buf)
	}
	return v.buf
}

// look returns what repaints values that the stream could not see, and how many those are, when it is time to.
func (v *view) look(now time.Time) ([]byte, int) {
	if at := v.lookAt(); at.IsZero() || now.Before(at) {
		return nil, 0
	}
	settled := v.mask.Held() == 0
	out, n := v.screen.Look(v.buf[:0], settled)
	v.buf, v.changed = out, time.Time{}
	if !settled {
		v.changed = now
	}
	return out, n
}

// lookAt is when the screen is to be looked at: when the program has been silent for a moment and nothing is held, or
// when that takes too long. Zero: it has not changed.
func (v *view) lookAt() time.Time {
	switch {
	case v.changed.IsZero():
		return time.Time{}
	case v.mask.Held() > 0 || v.last.Sub(v.changed) > lookLatest:
		return v.changed.Add(lookLatest)
	}
	return v.last.Add(lookAfter)
}

// next is when something is to be done unless the program is heard; zero: nothing is.
func (v *view) next() time.Time {
	at := v.lookAt()
	if at.IsZero() || !v.due.IsZero() && v.due.Before(at) {
		return v.due
	}
	return at
}
