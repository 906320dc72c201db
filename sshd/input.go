package sshd

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/sallyport-ssh/sallyport/shells"
)

// maxTypeahead is how much a person may type while their command is held; more waits in SSH's window.
const maxTypeahead = 64 << 10

// errInterrupted ends a session whose user pressed Ctrl-C while it waited for an approval.
var errInterrupted = publicError("interrupted while waiting for an approval")

// A typeahead reads what is typed in a terminal before its process runs, so that Ctrl-C is heard while
// somebody waits. It keeps the rest for the process.
type typeahead struct {
	mu    sync.Mutex
	moved *sync.Cond
	buf   []byte
	err   error
}

// newTypeahead reads from r until its end; interrupt is called for each ^C among what comes.
func newTypeahead(r io.Reader, interrupt func()) *typeahead {
	t := new(typeahead)
	t.moved = sync.NewCond(&t.mu)
	go func() { // ends with r, which the session closes
		p := make([]byte, 4<<10)
		for {
			n, err := r.Read(p)
			if bytes.IndexByte(p[:n], 3) >= 0 {
				interrupt()
			}
			if !t.add(p[:n], err) {
				return
			}
		}
	}()
	return t
}

func (t *typeahead) add(p []byte, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.buf) > maxTypeahead && t.err == nil {
		t.moved.Wait()
	}
	if t.err != nil {
		return false
	}
	t.buf = append(t.buf, p...)
	t.err = err
	t.moved.Broadcast()
	return err == nil
}

// close wakes whoever waits; the reader's own end follows from its channel's.
func (t *typeahead) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = nil
	t.err = io.EOF
	t.moved.Broadcast()
}

func (t *typeahead) Read(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.buf) == 0 && t.err == nil {
		t.moved.Wait()
	}
	if len(t.buf) == 0 {
		return 0, t.err
	}
	n := copy(p, t.buf)
	t.buf = t.buf[n:]
	t.moved.Broadcast()
	return n, nil
}

// listen begins to hear Ctrl-C, for a session in a terminal that waits before its process runs.
func (s *session) listen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked.pty != nil && s.process == nil {
		s.hear()
	}
}

// hear begins to read what is typed. The lock is held.
func (s *session) hear() {
	if s.early != nil {
		return
	}
	s.early = newTypeahead(s.ch, func() {
		s.mu.Lock()
		waiting, g := s.process == nil, s.lines
		s.mu.Unlock()
		switch {
		case waiting:
			s.cancel(errInterrupted)
		case g != nil:
			g.interrupted()
		}
	})
}

// copyInput gives the process what the client sends. The end of input is not the end of the session.
func (s *session) copyInput(p shells.Process) {
	in := p.Stdin()
	defer in.Close()
	var to io.Writer = struct{ io.Writer }{in}
	if s.asked.pty != nil {
		to = typist{in, s.out}
	} else if s.piped != nil {
		to = s.piped
	}
	var from io.Reader = onlyReader{s.ch}
	s.mu.Lock()
	if s.lines != nil {
		s.hear()
	}
	if s.early != nil {
		from = s.early
	}
	g := s.lines
	s.mu.Unlock()
	if g != nil {
		var unrecorded *recordError
		if err := g.run(s.ctx, to, s.early); errors.As(err, &unrecorded) {
			s.cancel(err)
		}
		return
	}
	_, _ = io.CopyBuffer(to, from, make([]byte, chunk))
}

// A typist tells the masker what is typed before its echo comes back, so that the echo is not delayed.
type typist struct {
	to  io.Writer
	out *output
}

func (t typist) Write(p []byte) (int, error) {
	t.out.typed(p)
	return t.to.Write(p)
}
