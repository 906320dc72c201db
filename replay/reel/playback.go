package reel

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// Bounds on what a recording can make of a player's screen, in characters.
const (
	MaxCols = 500
	MaxRows = 200
	// maxResizes is how many changes of size one segment may hold; each costs a new screen.
	maxResizes = 256
)

// newlineMode is what the recording of a session without a terminal begins with.
const newlineMode = "\x1b[20h"

// An Event is what a player is given of a recording. Its text can only draw.
type Event struct {
	At   time.Duration // into the session; never before the event before
	Code byte          // 'o' output, 'r' resize ("80x24"), 'm' marker, 'x' exit status
	Text string

	end    int64         // of its line in the recording
	raw    time.Duration // its time as the recording has it
	check  bool          // it is a checkpoint
	masked int64         // values so far, of a checkpoint
	rested bool          // no escape sequence is under way behind it
	typed  string        // what was typed, where that is recorded; a player gets nothing of it
}

// A Playback reads the events of a recording that a player may have: output that only draws, sizes within
// bounds, times that only go forward, and nothing else of the file. A recording that is live, or was cut in the
// middle of a line, ends there.
type Playback struct {
	r      *cast.Reader
	term   terminal
	offset int64         // of the reader's first byte in the recording
	base   time.Duration // what lies before its first event
	raw    time.Duration // of the event read last, as the recording has it
	at     time.Duration
	sealed bool
	last   int64 // the byte behind the line read last, by the reader
	sizes  int   // changes of size in this segment
	piped  bool  // the session has no terminal
	buf    []byte
}

// NewPlayback reads a recording from its beginning.
func NewPlayback(r io.Reader) (*Playback, error) {
	cr, err := cast.NewReader(r)
	if err != nil {
		return nil, err
	}
	cr.Lenient = true
	return &Playback{r: cr}, nil
}

// anyHeader stands in front of what is read from the middle of a recording.
const anyHeader = `{"version":3,"term":{"cols":80,"rows":24}}` + "\n"

// newPlaybackAt reads a recording from a line in it. Base is the time of the line before, and no event will have
// a time before floor.
func newPlaybackAt(r io.Reader, offset int64, base, floor time.Duration) (*Playback, error) {
	p, err := NewPlayback(io.MultiReader(strings.NewReader(anyHeader), r))
	if err != nil {
		return nil, err
	}
	p.offset, p.base, p.raw, p.at = offset-int64(len(anyHeader)), base, base, floor
	return p, nil
}

// Size is the terminal's size at the start, within bounds.
func (p *Playback) Size() (cols, rows uint32) { return clampSize(p.r.Header.Cols, p.r.Header.Rows) }

// Sealed tells, at the end, whether the recording's seal was read.
func (p *Playback) Sealed() bool { return p.sealed }

func clampSize(cols, rows uint32) (uint32, uint32) {
	return min(max(cols, 1), MaxCols), min(max(rows, 1), MaxRows)
}

// Next returns the next event that a player may have, or io.EOF, or what [cast.Reader] refused.
func (p *Playback) Next() (Event, error) {
	for {
		if e, err := p.step(); err != nil || e.Code != 0 {
			return e, err
		}
	}
}

// step reads on by one event. Its code is 0 where a player gets nothing of it.
func (p *Playback) step() (Event, error) {
	e, err := p.r.Next()
	if err != nil {
		return Event{}, err
	}
	if e.End == 0 { // a character that was begun and not ended when the recording did
		if !p.sealed {
			return Event{}, io.EOF // the rest of it may be on its way
		}
		e.End = p.last
	}
	p.last = e.End
	p.sealed = p.sealed || e.Kind == "seal"
	if e.Code != '#' { // a note has a time of its own
		p.raw = p.base + e.At
	}
	out := p.event(e)
	if e.Kind == "check" || e.Kind == "seal" {
		out.check, out.masked = true, maskedAt(e.JSON)
	}
	out.raw, out.end, out.rested = p.raw, p.offset+e.End, p.term.state == ground
	if out.Code != 0 {
		p.at = max(p.at, out.raw)
		out.At = p.at
	}
	if out.typed != "" {
		out.At = max(p.at, out.raw)
	}
	return out, nil
}

// maskedAt is how many values a checkpoint says were masked up to it.
func maskedAt(check []byte) int64 {
	var c struct{ Masked int64 }
	if json.Unmarshal(check, &c) != nil {
		return 0
	}
	return c.Masked
}

func (p *Playback) event(e cast.Event) (out Event) {
	switch e.Code {
	case 'o':
		p.piped = p.piped || e.Stream == cast.Gate && string(e.Text) == newlineMode
		p.buf = p.term.clean(p.buf[:0], e.Text)
		if len(p.buf) > 0 {
			out.Code, out.Text = 'o', string(p.buf)
		}
	case 'i':
		out.typed = string(e.Text)
	case 'r':
		if p.sizes++; p.sizes <= maxResizes {
			cols, rows := clampSize(e.Cols, e.Rows)
			out.Code, out.Text = 'r', fmt.Sprintf("%dx%d", cols, rows)
		}
	case 'm':
		out.Code, out.Text = 'm', string(e.Text)
	case 'x':
		out.Code, out.Text = 'x', strconv.Itoa(e.Status)
	}
	return out
}
