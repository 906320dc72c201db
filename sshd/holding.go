package sshd

import (
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/term"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
)

// A Progress is a [Witness] that wants to know how a hold comes along while it waits.
type Progress interface {
	// Progressed is called when one of several has approved, and when more people may answer.
	Progressed(op Operation, h policies.Hold)
}

// announcer tells w of a hold when it begins, and of every step after that.
func announcer(op Operation, w Witness) func(policies.Hold) {
	asked := false
	return func(h policies.Hold) {
		if !asked {
			asked = true
			w.Held(op, h)
			return
		}
		if p, ok := w.(Progress); ok {
			p.Progressed(op, h)
		}
	}
}

// Progressed tells the one who waits, and the record, how far the hold has come.
func (s *session) Progressed(op Operation, h policies.Hold) {
	given, needed := h.Progress()
	if err := s.recorded(s.recording.Note("hold", map[string]any{
		"id": h.ID, "op": op.ID, "state": h.State, "approved": given, "needed": needed, "approvers": h.MayAnswerNow(time.Now()),
	})); err != nil {
		s.cancel(err)
		return
	}
	s.sayProgress(h)
}

func (s *session) sayProgress(h policies.Hold) {
	n := noticeOf("waiting", h)
	line := "still waiting for an approval by " + show(strings.Join(n.Approvers, " or "))
	if text := h.ProgressText(); text != "" {
		line += ", so far " + show(text)
	}
	n.lines = []string{line}
	s.say(n)
}

// noticeOf says of a hold what every line about it does.
func noticeOf(event string, h policies.Hold) notice {
	n := notice{
		Event: event, ID: h.ID, Action: h.Action, Target: h.Target.Name, Approvers: h.MayAnswerNow(time.Now()),
		Expires: h.Expires.UTC().Format(time.RFC3339), Policy: h.Policy.ID,
	}
	n.Approved, n.Needed = h.Progress()
	return n
}

// sayApproved says who approved, and for how long that holds.
func (s *session) sayApproved(h policies.Hold) {
	n := notice{Event: "approved", ID: h.ID}
	n.Approved, n.Needed = h.Progress()
	line := "approved by " + approvedBy(h)
	n.Covers = string(h.Covers())
	if ends := h.GrantEnds(); !ends.IsZero() {
		n.Until = ends.UTC().Format(time.RFC3339)
		line += ", until " + ends.UTC().Format("15:04:05") + " UTC"
	}
	switch h.Covers() {
	case policies.ScopeSession:
		line += "; the identical operation passes again in this session"
	case policies.ScopeTime:
		line += "; the identical operation passes again until then"
	}
	n.lines = []string{line}
	s.say(n)
}

// approvedBy names everybody whose approval let h through.
func approvedBy(h policies.Hold) string {
	var names []string
	for _, a := range h.Answers {
		if !a.Approve {
			continue
		}
		name := show(a.Approver.Name)
		if a.Advance != "" {
			name += " in advance"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "an earlier approval"
	}
	return strings.Join(names, " and ")
}

// maxTail is how much of a terminal's output is kept to show an approver what its user sees: enough for a
// screen that is drawn anew.
const maxTail = 16 << 10

// maxScreen bounds what an approver is shown of a screen, in bytes.
const maxScreen = 64 << 10

// A tail is the end of what a terminal showed, masked. Its zero value is empty and ready.
type tail struct {
	mu  sync.Mutex
	b   []byte
	cut bool // something came before
}

func (t *tail) add(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(p) >= maxTail {
		t.b, t.cut = append(t.b[:0], p[len(p)-maxTail:]...), true
		return
	}
	if over := len(t.b) + len(p) - maxTail; over > 0 {
		// Half of it goes at once, so that a busy terminal does not move the rest with every byte.
		drop := max(over, maxTail/2)
		t.b, t.cut = t.b[:copy(t.b, t.b[min(drop, len(t.b)):])], true
	}
	t.b = append(t.b, p...)
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := append([]byte(nil), t.b...)
	if t.cut { // what it begins with may be the end of an escape sequence
		for i, c := range b {
			if c == '\n' || c == 0x1b {
				return b[i:]
			}
		}
	}
	return b
}

// keepTail remembers what a terminal showed; of anything else there is no screen.
func (s *session) keepTail(kind replay.Stream, p []byte) {
	if s.asked.pty != nil && kind == replay.Stdout {
		s.tail.add(p)
	}
}

// lastScreen is what the session's terminal shows, for an approver: masked, one line a row, made safe to
// print. "" without a terminal.
func (s *session) lastScreen() string {
	s.mu.Lock()
	p := s.asked.pty
	if p == nil {
		s.mu.Unlock()
		return ""
	}
	cols, rows := int(min(p.Cols, 500)), int(min(p.Rows, 200))
	s.mu.Unlock()
	if cols == 0 || rows == 0 { // a client that knows no size, as ssh -tt without a terminal
		cols, rows = 80, 24
	}
	screen := term.New(cols, rows)
	_, _ = screen.Write(s.tail.bytes()) // it takes everything
	_, rows = screen.Size()
	lines := make([]string, rows)
	for y := range lines {
		lines[y] = strings.TrimRight(show(screen.Text(y)), " ")
	}
	text := strings.Trim(strings.Join(lines, "\n"), "\n")
	if len(text) > maxScreen {
		text = strings.ToValidUTF8(text[len(text)-maxScreen:], "")
	}
	return text
}
