package reel

import (
	"io"
	"slices"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/term"
)

// textBatch is how many lines are handed over at once.
const textBatch = 256

// recently is how many lines back a line is not told again: a progress bar, a screen that is drawn anew.
const recently = 64

// A Transcript reads the lines of text that were on the screen in a recording, also in one that still grows: each
// reading goes on where the last one ended. A line that was told a moment ago is not told again. It is not safe for
// concurrent use, and of no more use after an error.
type Transcript struct {
	left  int // bytes of lines that may still be told
	whole bool

	end    int64         // of the line read last that held an event
	raw    time.Duration // its time
	at     time.Duration
	state  terminal // the filter's behind it
	sizes  int
	piped  bool
	typed  int64 // the end of the line read last that held something piped in
	screen *term.Screen
	lines  *lineReader
	packed string // draws the screen, in its place
	cols   int
	rows   int

	batch []Line
	add   func([]Line) error
	err   error // of add
	last  [recently]string
	next  int
	known map[string]bool
}

// NewTranscript begins a transcript of at most limit bytes.
func NewTranscript(limit int) *Transcript {
	return &Transcript{left: limit, whole: true, known: map[string]bool{}}
}

// From is the byte of the recording from which Read is to be given it.
func (t *Transcript) From() int64 { return t.end }

// Whole says whether all lines were told so far.
func (t *Transcript) Whole() bool { return t.whole }

// Read reads on, up to about so many bytes of the recording or to its end, and gives the lines that it finds to add,
// some at a time, in order. What is on the screen and may still change is told only where rest is true: nothing comes
// for a while. More says whether it stopped before the end. Damage is an end.
func (t *Transcript) Read(recording io.Reader, most int64, rest bool, add func([]Line) error) (more bool, err error) {
	p, err := t.open(recording)
	if isDamage(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	t.add = add
	for begin := t.end; ; {
		switch {
		case t.err != nil:
			return false, t.err
		case !t.whole:
			return false, t.flush()
		case t.end-begin >= most:
			return true, t.flush()
		}
		e, err := p.step()
		if err == io.EOF || isDamage(err) {
			break
		}
		if err != nil {
			return false, err
		}
		t.take(p, e)
	}
	if rest {
		t.lines.settle()
	}
	if t.err != nil {
		return false, t.err
	}
	return false, t.flush()
}

// open begins to read where the last reading ended.
func (t *Transcript) open(r io.Reader) (*Playback, error) {
	if t.end == 0 { // nothing was read yet
		p, err := NewPlayback(r)
		if err != nil {
			return nil, err
		}
		cols, rows := p.Size()
		t.show(term.New(int(cols), int(rows)))
		return p, nil
	}
	p, err := newPlaybackAt(r, t.end, t.raw, t.at)
	if err != nil {
		return nil, err
	}
	p.term, p.sizes, p.piped = t.state, t.sizes, t.piped
	p.term.seq = slices.Clone(t.state.seq)
	if t.screen == nil {
		screen := term.New(t.cols, t.rows)
		screen.Write([]byte(t.packed))
		t.show(screen)
	}
	return p, nil
}

func (t *Transcript) show(s *term.Screen) {
	t.screen, t.packed = s, ""
	t.lines = newLineReader(s, t.tell)
	t.lines.at = t.at
}

// take reads one event.
func (t *Transcript) take(p *Playback, e Event) {
	switch e.Code {
	case 'o':
		t.lines.output(e.At, e.Text)
	case 'r':
		t.lines.resize(sizeOf(e.Text))
	case 0:
		if p.piped && e.typed != "" && e.end > t.typed {
			t.typed = e.end
			t.lines.pipedIn(e.At, e.typed)
		}
		if !e.rested || t.state.state != ground {
			return // read again, should the recording end here for now
		}
	}
	t.end, t.raw, t.sizes, t.piped = e.end, e.raw, p.sizes, p.piped
	t.at = max(t.at, e.At)
	if t.state = (terminal{}); !e.rested {
		t.state = p.term
		t.state.seq = slices.Clone(p.term.seq)
	}
}

// tell takes a line from the reader of the screen.
func (t *Transcript) tell(l Line) {
	if t.known[l.Text] || !t.whole || t.err != nil {
		return
	}
	if t.left -= len(l.Text) + 1; t.left < 0 {
		t.whole = false
		return
	}
	delete(t.known, t.last[t.next])
	t.last[t.next], t.known[l.Text] = l.Text, true
	t.next = (t.next + 1) % recently
	if t.batch = append(t.batch, l); len(t.batch) >= textBatch {
		t.err = t.flush()
	}
}

func (t *Transcript) flush() error {
	if len(t.batch) == 0 {
		return nil
	}
	full := t.batch
	t.batch = nil
	return t.add(full)
}

// Awake says whether it holds a screen in memory; see [Transcript.Rest].
func (t *Transcript) Awake() bool { return t.screen != nil }

// Rest lets go of the memory of a screen of which everything was told, until it is needed again.
func (t *Transcript) Rest() {
	if t.screen == nil {
		return
	}
	t.cols, t.rows = t.screen.Size()
	t.packed = string(t.screen.AppendSnapshot(nil))
	t.screen, t.lines = nil, nil
}

// Text gives the lines of text that were on the screen in a recording to add, some at a time, in order, up to limit
// bytes of them. Whole says whether that was all. A line that was told a moment ago is not told again.
func Text(recording io.Reader, limit int, add func([]Line) error) (whole bool, err error) {
	t := NewTranscript(limit)
	_, err = t.Read(recording, 1<<62, true, add)
	return t.whole, err
}
