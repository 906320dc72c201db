package postgres

import (
	"context"
	"io"
)

// maxAhead is how much a client may send while a statement of its waits for a human.
const maxAhead = 1 << 20

// ahead reads the client. While a statement is held it goes on reading, so that a client that leaves is
// noticed; what it reads then is kept. It is used by one goroutine, but for the read that is under way.
type ahead struct {
	r    io.Reader
	kept []byte
	err  error
	busy chan result // a read under way; nil: none
	buf  []byte
}

type result struct {
	n   int
	err error
}

func newAhead(r io.Reader) *ahead { return &ahead{r: r} }

// Read returns what was kept, then what comes.
func (a *ahead) Read(p []byte) (int, error) {
	if a.busy != nil {
		a.take(<-a.busy)
	}
	if len(a.kept) > 0 {
		n := copy(p, a.kept)
		if a.kept = a.kept[n:]; len(a.kept) == 0 {
			a.kept = nil
		}
		return n, nil
	}
	if a.err != nil {
		return 0, a.err
	}
	return a.r.Read(p)
}

func (a *ahead) take(r result) {
	a.busy = nil
	a.kept = append(a.kept, a.buf[:r.n]...)
	if r.err != nil {
		a.err = r.err
	}
}

// watch reads until done is closed. It calls gone when the client has left: when its input ends, or it says
// Terminate while nothing else is under way.
func (a *ahead) watch(done <-chan struct{}, gone context.CancelCauseFunc) {
	for {
		if a.busy == nil && a.err == nil && len(a.kept) < maxAhead {
			busy := make(chan result, 1)
			a.busy = busy
			if a.buf == nil {
				a.buf = make([]byte, smallBuffer)
			}
			go func() { n, err := a.r.Read(a.buf); busy <- result{n, err} }() // ends with the client
		}
		select {
		case <-done:
			return
		case r := <-a.busy: // nil, and never ready, when there is none
			a.take(r)
			if a.err != nil || len(a.kept) == header && a.kept[0] == 'X' {
				gone(errGone)
				return
			}
		}
	}
}
