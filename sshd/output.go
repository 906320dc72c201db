package sshd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
)

type reader = io.Reader

// An output is everything a session shows. Each byte is masked, then recorded, then shown, in the same
// order for the record and for the client.
type output struct {
	s      *session
	mu     sync.Mutex // held over mask, record and show, so that no two streams interleave differently
	stdout *stream
	stderr *stream // also where the gate's own lines go, when there is no terminal
	size   atomic.Uint64
	marked time.Time // when a repaint last got a marker
}

// newOutput shows what a session says on the client's two streams.
func newOutput(s *session, stdout, stderr io.Writer) *output {
	o := &output{s: s}
	var size *[2]uint32
	if p := s.asked.pty; p != nil {
		size = &[2]uint32{p.Cols, p.Rows}
	}
	o.stdout = newStream(o, replay.Stdout, stdout, size)
	o.stderr = newStream(o, replay.Stderr, stderr, nil)
	return o
}

// unmask lets the client see in clear what names says, as [mask.StreamOptions] has it; the record does not. It is
// called before the first byte.
func (o *output) unmask(names []string) {
	opts := mask.StreamOptions{Style: o.s.maskStyle(), Unmask: names}
	for _, st := range []*stream{o.stdout, o.stderr} {
		v := newView(o.s.c.srv.o.Masks, opts, o.s.c.srv.o.MaskHold, st.size)
		st.seen = &v
	}
}

// resize tells the models of the terminal of its new size, before what the program draws in it.
func (o *output) resize(cols, rows uint32) { o.size.Store(uint64(cols)<<32 | uint64(rows)) }

// typed tells what the person typed, whose echo is not delayed.
func (o *output) typed(p []byte) {
	o.stdout.record.mask.Typed(p)
	if v := o.stdout.seen; v != nil {
		v.mask.Typed(p)
	}
}

// A stream is one direction of one channel.
type stream struct {
	o       *output
	kind    replay.Stream
	client  io.Writer
	size    *[2]uint32 // of its terminal; nil: it has none
	record  view
	seen    *view        // what the client sees, where that is more than what is recorded
	coming  atomic.Int32 // chunks that were read and wait for the lock
	timer   *time.Timer  // runs while there is something to do; nil until there was
	fires   time.Time    // when it goes off; zero: it does not run
	repaint mask.Hits    // what the look that is under way has found
	closed  bool
}

func newStream(o *output, kind replay.Stream, client io.Writer, size *[2]uint32) *stream {
	st := &stream{o: o, kind: kind, client: client, size: size}
	opts := mask.StreamOptions{Style: o.s.maskStyle(), OnHit: o.s.countMasked}
	st.record = newView(o.s.c.srv.o.Masks, opts, o.s.c.srv.o.MaskHold, nil)
	if size != nil {
		opts.OnHit = func(h mask.Hit) { st.repainted(h) }
		cols, rows := screenSize(size[0], size[1])
		st.record.pty, st.record.screen = true, o.s.c.srv.o.Masks.Screen(cols, rows, opts)
	}
	return st
}

// repainted is told of every value that a look masks in the record.
func (st *stream) repainted(h mask.Hit) {
	st.o.s.countMasked(h)
	if st.repaint == nil {
		st.repaint = mask.Hits{}
	}
	st.repaint[h.Detector]++
}

// chunk is how much is read and shown at once: what fits one packet of the clients' maximum.
const chunk = 32 << 10

// pump shows what comes from r until its end. An error is one of showing or recording.
func (st *stream) pump(r reader) error {
	buf := make([]byte, chunk)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := st.write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return st.close() // how the process ended is Wait's to say
		}
	}
}

// write masks p and shows what is decided.
func (st *stream) write(p []byte) error {
	st.coming.Add(1)
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	st.coming.Add(-1)
	st.fit()
	masked := st.record.write(p)
	shown := masked
	if st.seen != nil {
		shown = st.seen.write(p)
	}
	if err := st.show(masked, shown); err != nil {
		return err
	}
	now := time.Now()
	st.record.heard(now)
	if st.seen != nil {
		st.seen.heard(now)
	}
	if err := st.look(now); err != nil { // only if the program is never silent
		return err
	}
	st.arm(now)
	return nil
}

// fit gives the models the terminal's size.
func (st *stream) fit() {
	if st.size == nil {
		return
	}
	size := st.o.size.Swap(0)
	if size == 0 {
		return
	}
	cols, rows := screenSize(uint32(size>>32), uint32(size))
	st.record.screen.Resize(cols, rows)
	if st.seen != nil {
		st.seen.screen.Resize(cols, rows)
	}
}

// arm sees that the timer goes off when there is something to do. One that goes off early is set again then, which is
// cheaper than to set it at every write.
func (st *stream) arm(now time.Time) {
	at := st.record.next()
	if st.seen != nil {
		if other := st.seen.next(); at.IsZero() || !other.IsZero() && other.Before(at) {
			at = other
		}
	}
	if at.IsZero() || !st.fires.IsZero() && !at.Before(st.fires) {
		return
	}
	st.fires = at
	if st.timer == nil {
		st.timer = time.AfterFunc(at.Sub(now), st.tick)
		return
	}
	st.timer.Reset(at.Sub(now))
}

// tick masks what has waited too long, and looks at a screen that has come to rest.
func (st *stream) tick() {
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	st.due(time.Now())
}

// due is tick, with the lock held.
func (st *stream) due(now time.Time) {
	st.fires = time.Time{}
	// Only the time in which the program was silent counts: what has been read while a client was written to, or
	// while this waited, has its own.
	if st.closed || st.coming.Load() > 0 {
		return
	}
	if err := st.expire(now); err != nil {
		st.o.s.cancel(err)
		return
	}
	if err := st.look(now); err != nil {
		st.o.s.cancel(err)
		return
	}
	st.arm(now)
}

// expire masks what has waited too long.
func (st *stream) expire(now time.Time) error {
	masked := st.record.expire(now)
	shown := masked
	if st.seen != nil {
		shown = st.seen.expire(now)
	}
	return st.show(masked, shown)
}

// look repaints what the stream could not see, when it is time to.
func (st *stream) look(now time.Time) error {
	if st.record.screen == nil {
		return nil
	}
	st.repaint = nil
	masked, n := st.record.look(now)
	shown := masked
	if st.seen != nil {
		shown, _ = st.seen.look(now)
	}
	if n > 0 {
		if err := st.o.s.noteRepaint(st.repaint, n); err != nil {
			return err
		}
	}
	return st.show(masked, shown)
}

// close shows what the end of the stream decides.
func (st *stream) close() error {
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	if st.closed {
		return nil
	}
	st.closed = true
	if st.timer != nil {
		st.timer.Stop()
	}
	masked := st.record.close()
	shown := masked
	if st.seen != nil {
		shown = st.seen.close()
	}
	if err := st.show(masked, shown); err != nil {
		return err
	}
	return st.look(time.Now().Add(lookLatest + lookAfter))
}

// show records masked and then lets the client see shown, which is the same but where policy allowed clear text.
func (st *stream) show(masked, shown []byte) error {
	if err := st.o.s.recordOutput(st.kind, masked); err != nil {
		return err
	}
	if len(shown) == 0 {
		return nil
	}
	if _, err := st.client.Write(shown); err != nil {
		return errChannelClosed
	}
	return nil
}

// A notice is a line of the gate's own. With SALLYPORT_JSON=1 it is printed as this object, one a line.
type notice struct {
	Event     string   `json:"sallyport"` // held, waiting, approved, refused, ended
	ID        string   `json:"id,omitempty"`
	Action    string   `json:"action,omitempty"`
	Target    string   `json:"target,omitempty"`
	Text      string   `json:"text,omitempty"`
	Approvers []string `json:"approvers,omitempty"`
	Expires   string   `json:"expires,omitempty"` // RFC 3339
	Policy    string   `json:"policy,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Exit      int      `json:"exit,omitempty"`
	Approved  int      `json:"approved,omitempty"` // of Needed approvals
	Needed    int      `json:"needed,omitempty"`
	Covers    string   `json:"covers,omitempty"` // once, session or time; see policies.Scope
	Until     string   `json:"until,omitempty"`  // RFC 3339: when the approval ends, also for what it let in

	lines []string // for people
}

// say shows n to the one who waits. A tunnel has no place for it but the record.
func (s *session) say(n notice) {
	if s.out != nil {
		s.out.say(n)
		return
	}
	for _, line := range n.lines {
		if err := s.recordOutput(cast.Gate, []byte("sallyport: "+line+"\r\n")); err != nil {
			s.cancel(err)
		}
	}
}

// say shows n on stderr, or in the terminal. It is recorded like all that a client sees.
func (o *output) say(n notice) {
	var text strings.Builder
	if o.s.asked.json {
		_ = json.NewEncoder(&text).Encode(n) // strings only: it cannot fail, and ends with a newline
	} else {
		for _, line := range n.lines {
			text.WriteString("sallyport: " + line + "\n")
		}
	}
	st, shown := o.stderr, text.String()
	if o.s.asked.pty != nil {
		st, shown = o.stdout, "\r"+strings.ReplaceAll(shown, "\n", "\r\n")
	}
	if err := st.plain([]byte(shown)); err != nil && !errors.Is(err, errChannelClosed) {
		o.s.cancel(err)
	}
}

// plain shows the gate's own bytes, which are not masked: an approver is shown the same. They alone are
// shown when they cannot be recorded: among them is that the session ends for that.
func (st *stream) plain(p []byte) error {
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	err := st.recordPlain(p)
	var unrecorded *recordError
	if errors.As(err, &unrecorded) {
		_, _ = st.client.Write(p)
	}
	return err
}

func (st *stream) recordPlain(p []byte) error {
	masked := st.record.flush()
	shown := masked
	if st.seen != nil {
		shown = st.seen.flush()
	}
	if err := st.show(masked, shown); err != nil {
		return err
	}
	for _, v := range []*view{&st.record, st.seen} {
		if v != nil && v.screen != nil {
			v.screen.Plain(p)
		}
	}
	return st.show(p, p)
}

func (s *session) sayHeld(op Operation, h policies.Hold) {
	what := op.Action
	text := op.Text
	if op.Brief != "" {
		text = op.Brief
	}
	n := noticeOf("held", h)
	if n.Text = s.maskText(text); text != "" {
		what = n.Text
	}
	wait := fmt.Sprintf("waiting up to %v for an approval by %s, request %s (policy %s)", h.Terms.Wait, show(strings.Join(n.Approvers, " or ")), h.ID, h.Policy.ID)
	if text := h.ProgressText(); text != "" {
		wait += ", so far " + show(text)
	}
	n.lines = []string{"held: " + show(what), wait}
	s.say(n)
}

func (s *session) sayRefused(r *Refusal) {
	line := "refused: " + r.Public
	if r.Code == ExitHeld {
		line = "not approved: " + r.Public
	}
	if r.Policy.ID != "" && !strings.Contains(line, r.Policy.ID) {
		line += fmt.Sprintf(" (policy %s)", r.Policy.ID)
	}
	s.say(notice{Event: "refused", ID: r.HoldID, Target: s.route.target.Name, Policy: r.Policy.ID, Reason: r.Public, Exit: r.Code, lines: []string{line}})
}

func (s *session) sayEnded(err error) {
	text := publicText(err)
	target := GateName
	if s.route.target != nil {
		target = s.route.target.Name
	}
	s.say(notice{Event: "ended", Target: target, Reason: text, Exit: 255, lines: []string{text}})
}
