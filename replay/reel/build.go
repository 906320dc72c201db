package reel

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/term"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// A builder reads a recording and makes its reel. After each segment it calls saved.
type builder struct {
	view   View
	screen *term.Screen
	p      *Playback
	end    int64         // of the line read last that held an event
	raw    time.Duration // its time
	state  terminal      // the filter's behind it
	bytes  int           // of output in the segment
	sizes  int           // changes of size in it
	masked int64         // values up to the last checkpoint
	fresh  time.Duration // of the first event since
	since  bool          // there was one
	typed  int64         // the end of the line read last that held something typed
	events int

	// What the segment under way has, for the file.
	gaps  []Gap
	marks []Marker
	saved func() error
}

// newBuilder begins with a recording's first segment.
func newBuilder(r io.Reader) (*builder, error) {
	p, err := NewPlayback(r)
	if err != nil {
		return nil, err
	}
	b := &builder{p: p, saved: func() error { return nil }}
	cols, rows := p.Size()
	b.screen = term.New(int(cols), int(rows))
	b.view.Segments = []Segment{{Cols: cols, Rows: rows}}
	return b, nil
}

// resume makes the builder go on from its last segment's start, of which r reads on.
func (b *builder) resume(r io.Reader) error {
	s := &b.view.Segments[len(b.view.Segments)-1]
	var err error
	b.masked = s.Masked
	if s.From == 0 {
		b.p, err = NewPlayback(r)
	} else {
		b.p, err = newPlaybackAt(r, s.From, s.Base, s.Start)
	}
	b.end, b.raw, b.bytes, b.events, b.sizes, b.typed = s.From, s.Base, 0, 0, 0, s.From
	return err
}

// goOn makes the builder go on behind the last event it has read.
func (b *builder) goOn(r io.Reader) error {
	if b.end == 0 {
		return b.resume(r)
	}
	p, err := newPlaybackAt(r, b.end, b.raw, b.view.Length)
	if err != nil {
		return err
	}
	p.term, p.sizes = b.state, b.sizes
	b.p = p
	return nil
}

// run reads to the end of what there is. Damage is no error; an error is of reading, and leaves what was read.
func (b *builder) run() error {
	for {
		e, err := b.p.step()
		switch {
		case err == io.EOF && b.p.Sealed():
			b.view.How, b.view.Why = Whole, ""
			return nil
		case err == io.EOF:
			b.view.How, b.view.Why = Open, ""
			return nil
		case err != nil && isDamage(err):
			b.view.How, b.view.Why = Damaged, err.Error()
			return nil
		case err != nil:
			return err
		}
		if err := b.add(e); err != nil {
			return err
		}
	}
}

func (b *builder) add(e Event) error {
	if e.check {
		b.checked(e.masked)
	}
	if e.typed != "" && e.end > b.typed {
		b.typed = e.end
		b.mark(Marker{At: max(e.At, b.view.Length), Label: keyNames(e.typed), Typed: true})
	}
	if e.Code == 0 {
		if b.state.state == ground && e.rested { // nobody who begins behind it misses anything
			b.end, b.raw = e.end, e.raw
		}
		return nil
	}
	e.At = max(e.At, b.view.Length)
	if b.full(e) {
		if err := b.cut(&e); err != nil {
			return err
		}
	}
	if gap := e.At - b.view.Length; gap >= MinGap {
		b.gap(Gap{b.view.Length, gap})
	}
	b.view.Length, b.end, b.raw, b.view.Read = e.At, e.end, e.raw, e.end
	if !b.since {
		b.fresh, b.since = e.At, true
	}
	b.events++
	b.sizes = b.p.sizes
	if b.state = (terminal{}); !e.rested {
		b.state = b.p.term
		b.state.seq = slices.Clone(b.p.term.seq)
	}
	switch e.Code {
	case 'o':
		b.bytes += len(e.Text)
		b.screen.Write([]byte(e.Text))
	case 'r':
		b.resize(e.Text)
	case 'm':
		b.mark(Marker{At: e.At, Label: e.Text[:min(len(e.Text), maxLabel)]})
	}
	return nil
}

func (b *builder) mark(m Marker) {
	if len(b.view.Markers) < maxMarkers {
		b.view.Markers, b.marks = append(b.view.Markers, m), append(b.marks, m)
	}
}

// checked marks where values were masked since the checkpoint before. That lies among the events since, and so
// before anything that was marked only now: markers are put in order by who shows them.
func (b *builder) checked(masked int64) {
	if masked > b.masked && b.since {
		b.mark(Marker{At: b.fresh, Masked: masked - b.masked})
	}
	b.masked, b.since = max(masked, b.masked), false
}

func (b *builder) resize(size string) {
	cols, rows := sizeOf(size)
	b.screen.Resize(int(cols), int(rows))
}

// full tells whether the segment ends before e.
func (b *builder) full(e Event) bool {
	length := int(b.end - b.view.Segments[len(b.view.Segments)-1].From)
	if b.bytes >= segmentMost*segmentBytes || b.events >= segmentMost*segmentEvents || length >= segmentMost*segmentLength {
		return true
	}
	return (b.bytes >= segmentBytes || b.events >= segmentEvents || length >= segmentLength) && b.state.state == ground && e.At > b.view.Length
}

// cut ends the segment and begins one with e.
func (b *builder) cut(e *Event) error {
	e.At = max(e.At, b.view.Length+time.Microsecond)
	if b.state.state != ground {
		b.p.term = terminal{} // as it will be for who begins here
	}
	b.p.at, b.p.sizes = e.At, 0
	cols, rows := b.screen.Size()
	b.view.Segments = append(b.view.Segments, Segment{
		From: b.end, Base: b.raw, Start: e.At, Cols: uint32(cols), Rows: uint32(rows), Masked: b.masked, screen: string(b.screen.AppendSnapshot(nil)),
	})
	b.bytes, b.events, b.sizes, b.since = 0, 0, 0, false
	return b.saved()
}

// gap keeps a pause, and the longer half of all when there are too many.
func (b *builder) gap(g Gap) {
	b.gaps = append(b.gaps, g)
	b.view.Gaps = append(b.view.Gaps, g)
	if len(b.view.Gaps) > 2*maxGaps {
		b.view.Gaps = longest(b.view.Gaps, maxGaps)
		b.view.Edition++
	}
}

// longest keeps the n longest gaps, in the order they are in.
func longest(all []Gap, n int) []Gap {
	if len(all) <= n {
		return all
	}
	lengths := make([]time.Duration, len(all))
	for i, g := range all {
		lengths[i] = g.For
	}
	slices.Sort(lengths)
	least := lengths[len(lengths)-n]
	kept := make([]Gap, 0, n)
	for _, g := range all {
		if g.For >= least && len(kept) < n {
			kept = append(kept, g)
		}
	}
	return kept
}

// isDamage tells what is wrong with a recording from a store that cannot be reached.
func isDamage(err error) bool {
	var form *cast.FormatError
	var piece *replay.SegmentError
	return errors.As(err, &form) || errors.As(err, &piece)
}
