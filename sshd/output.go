package sshd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
)

type reader = io.Reader

// An output is everything a session shows. Each byte is masked, then recorded, then shown, in the same
// order for the record and for the client.
type output struct {
	s      *session
	mu     sync.Mutex // held over mask, record and show, so that no two streams interleave differently
	stdout *stream
	stderr *stream // also where the gate's own lines go, when there is no terminal
	clear  bool    // the client may see clear text; set before the first byte
}

func newOutput(s *session) *output {
	o := &output{s: s}
	o.stdout = newStream(o, replay.Stdout, s.ch)
	o.stderr = newStream(o, replay.Stderr, s.ch.Stderr())
	return o
}

// A stream is one direction of one channel.
type stream struct {
	o      *output
	kind   replay.Stream
	client io.Writer
	mask   *mask.Stream
	buf    []byte
	timer  *time.Timer // runs while bytes are undecided; nil until some were
	due    time.Time   // when those are masked
	closed bool
}

func newStream(o *output, kind replay.Stream, client io.Writer) *stream {
	st := &stream{o: o, kind: kind, client: client}
	st.mask = o.s.c.srv.o.Masks.Stream(mask.StreamOptions{OnHit: func(h mask.Hit) { o.s.countMasked(h) }})
	return st
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
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	st.buf = st.mask.Append(st.buf[:0], p)
	if err := st.show(st.buf, p); err != nil {
		return err
	}
	st.arm()
	return nil
}

// unwatched is how long bytes wait that would be masked, in a session without a terminal. Nobody looks at a
// cursor there, and a star in the middle of a tarball costs more than a pause.
const unwatched = 2 * time.Second

// arm gives undecided bytes their time.
func (st *stream) arm() {
	if st.mask.Held() == 0 {
		return
	}
	wait, hold := st.mask.Patience(), st.o.s.c.srv.o.MaskHold
	if st.o.s.asked.pty == nil && wait == mask.HotWait {
		wait, hold = unwatched, unwatched
	}
	wait = min(wait, hold)
	st.due = time.Now().Add(wait)
	if st.timer == nil {
		st.timer = time.AfterFunc(wait, st.expire)
		return
	}
	st.timer.Reset(wait)
}

// expire masks what has waited too long.
func (st *stream) expire() {
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	// The timer may have gone off while a slow client was written to; what came since has its own time.
	if st.closed || st.mask.Held() == 0 || time.Now().Before(st.due) {
		return
	}
	st.buf = st.mask.Expire(st.buf[:0])
	if err := st.show(st.buf, nil); err != nil {
		st.o.s.cancel(err)
		return
	}
	st.arm()
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
	st.buf = st.mask.Close(st.buf[:0])
	return st.show(st.buf, nil)
}

// show records masked and then lets the client see it, or the clear bytes it stands for where policy
// allowed that.
func (st *stream) show(masked, clear []byte) error {
	if err := st.o.s.recordOutput(st.kind, masked); err != nil {
		return err
	}
	if st.o.clear {
		masked = clear
	}
	if len(masked) == 0 {
		return nil
	}
	if _, err := st.client.Write(masked); err != nil {
		return errChannelClosed
	}
	return nil
}

// A notice is a line of the gate's own. With SALLYPORT_JSON=1 it is printed as this object, one a line.
type notice struct {
	Event     string   `json:"sallyport"` // held, approved, refused, ended
	ID        string   `json:"id,omitempty"`
	Action    string   `json:"action,omitempty"`
	Target    string   `json:"target,omitempty"`
	Text      string   `json:"text,omitempty"`
	Approvers []string `json:"approvers,omitempty"`
	Expires   string   `json:"expires,omitempty"` // RFC 3339
	Policy    string   `json:"policy,omitempty"`
	Reason    string   `json:"reason,omitempty"`
	Exit      int      `json:"exit,omitempty"`

	lines []string // for people
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

// plain shows the gate's own bytes, which are not masked: an approver is shown the same.
func (st *stream) plain(p []byte) error {
	st.o.mu.Lock()
	defer st.o.mu.Unlock()
	if st.mask.Held() > 0 {
		st.buf = st.mask.Expire(st.buf[:0])
		if err := st.show(st.buf, nil); err != nil {
			return err
		}
	}
	return st.show(p, p)
}

func (s *session) sayHeld(op Operation, h policies.Hold) {
	what := op.Action
	if op.Text != "" {
		what = s.maskText(op.Text)
	}
	who := strings.Join(h.Terms.Approvers, " or ")
	s.out.say(notice{
		Event: "held", ID: h.ID, Action: op.Action, Target: op.Target.Name, Text: s.maskText(op.Text),
		Approvers: h.Terms.Approvers, Expires: h.Expires.UTC().Format(time.RFC3339), Policy: h.Policy.ID,
		lines: []string{
			fmt.Sprintf("held: %s", show(what)),
			fmt.Sprintf("waiting up to %v for an approval by %s, request %s (policy %s)", h.Terms.Wait, who, h.ID, h.Policy.ID),
		},
	})
}

func (s *session) sayApproved(h policies.Hold) {
	by := "an earlier approval"
	for _, a := range h.Answers {
		if a.Approve {
			by = show(a.Approver.Name)
		}
	}
	s.out.say(notice{Event: "approved", ID: h.ID, lines: []string{fmt.Sprintf("approved by %s", by)}})
}

func (s *session) sayRefused(r *Refusal) {
	line := "refused: " + r.Public
	if r.Code == ExitHeld {
		line = "not approved: " + r.Public
	}
	if r.Policy.ID != "" && !strings.Contains(line, r.Policy.ID) {
		line += fmt.Sprintf(" (policy %s)", r.Policy.ID)
	}
	s.out.say(notice{Event: "refused", ID: r.HoldID, Target: s.route.target.Name, Policy: r.Policy.ID, Reason: r.Public, Exit: r.Code, lines: []string{line}})
}

func (s *session) sayEnded(err error) {
	text := publicText(err)
	target := GateName
	if s.route.target != nil {
		target = s.route.target.Name
	}
	s.out.say(notice{Event: "ended", Target: target, Reason: text, Exit: 255, lines: []string{text}})
}
