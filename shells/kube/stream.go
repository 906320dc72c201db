package kube

import (
	"io"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/mask"
)

// masked is a writer that masks on the way, and does not keep undecided bytes for ever.
type masked struct {
	to     func([]byte) error
	mu     sync.Mutex
	m      *mask.Stream
	buf    []byte
	timer  *time.Timer
	due    time.Time
	closed bool
	err    error
}

func newMasked(e *mask.Engine, o mask.StreamOptions, hidden func(string), to func([]byte) error) *masked {
	o.OnHit = func(h mask.Hit) { hidden(h.Detector) }
	return &masked{m: e.Stream(o), to: to}
}

func (s *masked) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.buf = s.m.Append(s.buf[:0], p)
	if s.show(); s.err != nil {
		return 0, s.err
	}
	s.arm()
	return len(p), nil
}

func (s *masked) show() {
	if len(s.buf) > 0 {
		s.err = s.to(s.buf)
	}
}

// arm gives undecided bytes their time.
func (s *masked) arm() {
	if s.m.Held() == 0 {
		return
	}
	wait := s.m.Patience()
	s.due = time.Now().Add(wait)
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.expire)
		return
	}
	s.timer.Reset(wait)
}

func (s *masked) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.err != nil || s.m.Held() == 0 || time.Now().Before(s.due) {
		return
	}
	s.buf = s.m.Expire(s.buf[:0])
	s.show()
}

// Close decides on what is left. No more is written after it.
func (s *masked) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.err
	}
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.err == nil {
		s.buf = s.m.Close(s.buf[:0])
		s.show()
	}
	return s.err
}

// copyText copies logs and the like.
func copyText(w io.Writer, r io.Reader, e *mask.Engine, o mask.StreamOptions, hidden func(string)) error {
	m := newMasked(e, o, hidden, func(p []byte) error { _, err := w.Write(p); return err })
	_, err := io.CopyBuffer(struct{ io.Writer }{m}, struct{ io.Reader }{r}, make([]byte, 32<<10))
	if closed := m.Close(); err == nil {
		err = closed
	}
	return err
}
