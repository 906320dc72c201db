package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// A player shows recordings on a terminal, or writes to a pipe what a terminal would show. What a recorded
// session wrote is data: only what draws gets through.
type player struct {
	out   io.Writer
	speed float64       // 1 is as it was; 0 as fast as it can be written
	idle  time.Duration // pauses are cut to this; 0: not at all
	keys  <-chan byte   // what is typed meanwhile; nil: nothing is
	raw   bool          // out is a terminal that takes a line feed literally

	// live shows at once what comes, and of what came before the first wait only the end.
	live bool
	past []byte // of what came before

	crlf   bool
	at     time.Duration // of the event shown last
	due    time.Time
	paused bool
}

// maxPast bounds how much of a live session's past is shown. It is more than any screen holds.
const maxPast = 256 << 10

// errQuit: who looks on has had enough.
var errQuit = errors.New("quit")

// play shows r to its end, to a q, or until ctx ends, which is no error.
func (p *player) play(ctx context.Context, r *cast.Reader) error {
	clean := cast.NewSanitizer()
	p.due = time.Now()
	p.crlf = p.raw && r.Header.Type == "" // without a terminal nothing brought its own carriage returns
	err := p.events(ctx, r, clean)
	if errors.Is(err, errQuit) || ctx.Err() != nil {
		err = nil
	}
	werr := p.flush()
	if p.raw {
		_, e := p.out.Write(clean.Reset(nil))
		werr = errors.Join(werr, e)
	}
	return errors.Join(err, werr)
}

func (p *player) events(ctx context.Context, r *cast.Reader, clean *cast.Sanitizer) error {
	var text []byte
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) || err == nil && e.Kind == "seal" {
			return nil
		}
		if err != nil {
			return err
		}
		if e.Code != 'o' || e.Stream == cast.Gate {
			continue
		}
		if err := p.wait(ctx, e.At); err != nil {
			return err
		}
		text = clean.Append(text[:0], e.Data)
		if p.crlf {
			text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
		}
		if err := p.write(text); err != nil {
			return err
		}
	}
}

func (p *player) write(text []byte) error {
	if !p.live || p.past == nil {
		_, err := p.out.Write(text)
		return err
	}
	p.past = append(p.past, text...)
	if len(p.past) > 2*maxPast {
		cut := len(p.past) - maxPast
		if i := bytes.IndexByte(p.past[cut:], '\n'); i >= 0 {
			cut += i + 1
		}
		p.past = p.past[:copy(p.past, p.past[cut:])]
	}
	return nil
}

// flush shows what was kept of the past.
func (p *player) flush() error {
	past := p.past
	p.past = nil
	if len(past) == 0 {
		return nil
	}
	_, err := p.out.Write(past)
	return err
}

// waitForMore is called when a live session has said nothing new. It returns after a moment.
func (p *player) waitForMore(ctx context.Context) error {
	if err := p.flush(); err != nil {
		return err
	}
	look := time.NewTimer(100 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
			return nil
		case key, ok := <-p.keys:
			if !ok {
				p.keys = nil
			}
			if quits(key) {
				return errQuit
			}
		}
	}
}

// wait returns when the event at this time of the recording is to be shown.
func (p *player) wait(ctx context.Context, at time.Duration) error {
	if p.live {
		return ctx.Err()
	}
	gap := at - p.at
	p.at = at
	if p.idle > 0 {
		gap = min(gap, p.idle)
	}
	if p.speed > 0 {
		p.due = p.due.Add(time.Duration(float64(gap) / p.speed))
	}
	for {
		left := max(time.Until(p.due), 0)
		if left == 0 && !p.paused {
			return p.poll(ctx)
		}
		step, err := p.pause(ctx, left)
		if err != nil {
			return err
		}
		if step {
			p.due = time.Now()
			return nil
		}
	}
}

// poll looks whether somebody typed, without waiting.
func (p *player) poll(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case key, ok := <-p.keys:
		if !ok {
			p.keys = nil
		}
		_, err := p.key(key)
		return err
	default:
		return nil
	}
}

// pause waits for left to pass or, while paused, for a key. Step says that the next event is wanted now.
func (p *player) pause(ctx context.Context, left time.Duration) (step bool, err error) {
	timer := time.NewTimer(left)
	defer timer.Stop()
	passed := timer.C
	if p.paused {
		passed = nil
	}
	was := p.paused
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-passed:
	case key, ok := <-p.keys:
		if !ok {
			p.keys, p.paused = nil, false
		}
		step, err = p.key(key)
		if was && !p.paused {
			p.due = time.Now().Add(left)
		}
	}
	return step, err
}

func (p *player) key(key byte) (step bool, err error) {
	switch {
	case quits(key):
		return false, errQuit
	case key == ' ':
		p.paused = !p.paused
	case key == '.' && p.paused:
		return true, nil
	}
	return false, nil
}

// quits tells q and, because a raw terminal makes no signals of them, Ctrl-C and Ctrl-D.
func quits(key byte) bool { return key == 'q' || key == 3 || key == 4 }

// A terminal is where somebody looks on and types.
type terminal struct {
	keys <-chan byte
	raw  bool
	cols int
	rows int

	stop    context.CancelFunc
	done    chan struct{}
	restore func() error
}

// openTerminal takes keys one by one, unechoed, where in and out are a terminal. Close must follow, whatever
// happens: it puts the terminal back.
func openTerminal(ctx context.Context, in, out *os.File) (*terminal, error) {
	t := &terminal{restore: func() error { return nil }}
	if !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return t, nil
	}
	t.cols, t.rows, _ = term.GetSize(int(out.Fd())) // 0 when it does not say
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	t.raw = true
	t.restore = func() error { return term.Restore(int(in.Fd()), state) }
	keys := make(chan byte)
	t.keys, t.done = keys, make(chan struct{})
	ctx, t.stop = context.WithCancel(ctx)
	go func() { // ends with ctx; Close waits for it
		defer close(t.done)
		defer close(keys)
		readKeys(ctx, in, keys)
	}()
	return t, nil
}

func (t *terminal) Close() error {
	if t.stop != nil {
		t.stop()
		<-t.done
	}
	return t.restore()
}

// readKeys sends what is typed. A read of a terminal cannot be called off, so that it reads only what is
// there.
func readKeys(ctx context.Context, in *os.File, keys chan<- byte) {
	var b [1]byte
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 50)
		if err == unix.EINTR || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return
		}
		if n, err := unix.Read(int(in.Fd()), b[:]); n != 1 || err != nil {
			return
		}
		select {
		case keys <- b[0]:
		case <-ctx.Done():
		}
	}
}
