package reel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/term"
)

// OpenFunc opens a recording from a byte of it on.
type OpenFunc = func(ctx context.Context, id string, from int64) (io.ReadCloser, error)

// ErrNoSegment: a recording has no segment of that number, or not any more.
var ErrNoSegment = errors.New("no such segment")

// A Reading gives the events of one segment.
type Reading struct {
	Segment
	Screen string // what draws the screen at its start, on a terminal just reset

	p    *Playback
	to   int64         // the byte behind its last line; 0: the end of the recording
	till time.Duration // no event behind this
	file io.Closer
}

// Segment opens segment n of a recording, as v, which View gave just now, has it.
func (s *Shelf) Segment(ctx context.Context, id string, v View, n int) (*Reading, error) {
	return s.segment(ctx, id, v, n, s.o.Open)
}

func (s *Shelf) segment(ctx context.Context, id string, v View, n int, open OpenFunc) (*Reading, error) {
	if n < 0 || n >= len(v.Segments) {
		return nil, ErrNoSegment
	}
	t, err := s.tape(id)
	if err != nil {
		return nil, err
	}
	r := &Reading{Segment: v.Segments[n], to: v.Read, till: v.Length}
	if n+1 < len(v.Segments) {
		r.to = v.Segments[n+1].From
	}
	t.mu.Lock()
	var at place
	if n < len(t.frames) {
		at = t.frames[n]
	}
	t.mu.Unlock()
	if n > 0 {
		if at.size == 0 {
			return nil, ErrNoSegment
		}
		if r.Screen, err = screenAt(t.path, at); errors.Is(err, fs.ErrNotExist) { // removed by a purge, say
			s.drop(id)
			return nil, ErrNoSegment
		} else if err != nil {
			return nil, err
		}
	}
	body, err := open(ctx, id, r.From)
	if err != nil {
		return nil, err
	}
	r.file = body
	if r.From == 0 {
		r.p, err = NewPlayback(body)
	} else {
		r.p, err = newPlaybackAt(body, r.From, r.Base, r.Start)
	}
	if err != nil {
		body.Close()
		return nil, fmt.Errorf("segment %d of %s: %w", n, id, err)
	}
	return r, nil
}

// Live opens the last segment of a recording that still grows. Follow opens the recording from a byte on, to be
// read as it is written; the reading ends behind the recording's seal.
func (s *Shelf) Live(ctx context.Context, id string, v View, follow OpenFunc) (*Reading, error) {
	n := len(v.Segments) - 1
	r, err := s.segment(ctx, id, v, n, follow)
	if err != nil {
		return nil, err
	}
	r.to, r.till = 0, math.MaxInt64
	return r, nil
}

// Next returns the segment's next event, or io.EOF.
func (r *Reading) Next() (Event, error) {
	for {
		e, err := r.p.step()
		switch {
		case isDamage(err): // ends the reel that this is a part of
			return Event{}, io.EOF
		case err != nil:
			return Event{}, err
		case r.to > 0 && e.end > r.to, e.Code != 0 && e.At > r.till:
			return Event{}, io.EOF
		case e.Code != 0:
			return e, nil
		case r.to == 0 && r.p.sealed:
			return Event{}, io.EOF
		}
	}
}

// Close ends the reading.
func (r *Reading) Close() error { return r.file.Close() }

// Lines tells the lines of text that were on the screen in this segment; those of its start are told again only
// when they change. It stops at the first error of tell.
func (r *Reading) Lines(tell func(Line) error) error {
	screen := term.New(int(r.Cols), int(r.Rows))
	screen.Write([]byte(r.Screen))
	return lines(screen, r.Next, tell)
}

func lines(screen *term.Screen, next func() (Event, error), tell func(Line) error) error {
	var failed error
	l := newLineReader(screen, func(line Line) {
		if failed == nil {
			failed = tell(line)
		}
	})
	for failed == nil {
		e, err := next()
		if err == io.EOF || isDamage(err) {
			l.settle()
			break
		}
		if err != nil {
			return err
		}
		switch e.Code {
		case 'o':
			l.output(e.At, e.Text)
		case 'r':
			l.resize(sizeOf(e.Text))
		}
	}
	return failed
}

// sizeOf reads a size that Playback wrote.
func sizeOf(text string) (cols, rows uint32) {
	fmt.Sscanf(text, "%dx%d", &cols, &rows)
	return cols, rows
}
