package console

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// Bounds on what one recording can do to a browser.
const (
	maxCols    = 500
	maxRows    = 200
	maxResizes = 1000
	maxMarkers = 5000
	maxEvents  = 400_000
	maxLabel   = 200 // characters of a marker
)

// A playback turns a recording into the asciicast v3 that the player gets: its output through
// [terminal], sizes and counts bounded, times only forward, and nothing else of the file. It reads
// with [cast.Reader], so a live or cut recording simply ends where it ends.
type playback struct {
	r    *cast.Reader
	left int64 // bytes of output that may still be played

	term    terminal
	at      time.Duration // of the last event given out
	events  int
	resizes int
	markers int
	cut     bool // there was more than may be played
	buf     []byte
}

func newPlayback(r io.Reader, limit int64) (*playback, error) {
	cr, err := cast.NewReader(r)
	if err != nil {
		return nil, err
	}
	cr.Lenient = true
	return &playback{r: cr, left: limit}, nil
}

// A playEvent is one event for the player. Code 0 is none.
type playEvent struct {
	At   time.Duration
	Code byte
	Text string
}

// size is the terminal's size at the start, within bounds.
func (p *playback) size() (cols, rows uint32) {
	return clampSize(p.r.Header.Cols, p.r.Header.Rows)
}

func clampSize(cols, rows uint32) (uint32, uint32) {
	return min(max(cols, 1), maxCols), min(max(rows, 1), maxRows)
}

// next returns the next event that a player may have, or io.EOF. After it, cut tells whether bounds
// ended it, and damage is what [cast.Reader] refused, if it did.
func (p *playback) next() (playEvent, error) {
	for {
		if p.left <= 0 || p.events >= maxEvents {
			p.cut = true
			return playEvent{}, io.EOF
		}
		e, err := p.r.Next()
		if err != nil {
			return playEvent{}, err
		}
		if out := p.event(e); out.Code != 0 {
			p.events++
			p.at = max(p.at, out.At)
			out.At = p.at
			return out, nil
		}
	}
}

func (p *playback) event(e cast.Event) playEvent {
	out := playEvent{At: e.At}
	switch e.Code {
	case 'o':
		p.left -= int64(len(e.Text))
		p.buf = p.term.clean(p.buf[:0], string(e.Text))
		if len(p.buf) > 0 {
			out.Code, out.Text = 'o', string(p.buf)
		}
	case 'r':
		if p.resizes++; p.resizes <= maxResizes {
			cols, rows := clampSize(e.Cols, e.Rows)
			out.Code, out.Text = 'r', fmt.Sprintf("%dx%d", cols, rows)
		}
	case 'm':
		if p.markers++; p.markers <= maxMarkers {
			out.Code, out.Text = 'm', brief(maxLabel, string(e.Text))
		}
	case 'x':
		out.Code, out.Text = 'x', strconv.Itoa(e.Status)
	}
	return out
}

// play sends a recording to the player, whole. What follows the events in a comment says how it ended:
// "end", "cut" at a bound of this page, or "damaged".
func (c *Console) play(w http.ResponseWriter, r *http.Request, v *visit) error {
	s, err := c.look(r, v, "recording.played")
	if err != nil {
		return err
	}
	if !c.streams.take(v.viewer.Principal.Key) {
		return errBusy
	}
	defer c.streams.give(v.viewer.Principal.Key)
	f, err := c.o.Recordings.Open(r.Context(), s.ID)
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := newPlayback(f, c.o.MaxPlay)
	if err != nil {
		return fmt.Errorf("recording of session %s: %w", s.ID, err)
	}
	w.Header().Set("Content-Type", "application/x-asciicast")
	w.Header().Set("X-Robots-Tag", "noindex")
	out := newTimed(w)
	defer out.done()
	b := bufio.NewWriterSize(out, 64<<10)
	if err := p.copy(b); err != nil {
		c.log().WarnContext(r.Context(), "console: recording ends early for the player", "session", s.ID, "err", err)
	}
	b.Flush() // an error is the client's absence
	return nil
}

// copy writes the whole playback. Damage ends it and is told in the last line; the error is for the log.
func (p *playback) copy(w *bufio.Writer) error {
	cols, rows := p.size()
	fmt.Fprintf(w, `{"version":3,"term":{"cols":%d,"rows":%d}}`+"\n", cols, rows)
	last := time.Duration(0)
	for {
		e, err := p.next()
		if err != nil {
			fmt.Fprintf(w, "# %s\n", p.ending(err))
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := writeEvent(w, e.At-last, e); err != nil {
			return err
		}
		last = e.At
	}
}

func (p *playback) ending(err error) string {
	switch {
	case p.cut:
		return "cut"
	case err == io.EOF:
		return "end"
	}
	return "damaged"
}

func writeEvent(w io.Writer, after time.Duration, e playEvent) error {
	text, err := json.Marshal(e.Text)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "[%.6f,%q,%s]\n", after.Seconds(), string(e.Code), text)
	return err
}

// download gives out the recording as it is stored, byte for byte: it is what `sallyport verify` reads.
func (c *Console) download(w http.ResponseWriter, r *http.Request, v *visit) error {
	s, err := c.look(r, v, "recording.downloaded")
	if err != nil {
		return err
	}
	if !c.streams.take(v.viewer.Principal.Key) {
		return errBusy
	}
	defer c.streams.give(v.viewer.Principal.Key)
	f, err := c.o.Recordings.Open(r.Context(), s.ID)
	if err != nil {
		return err
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+s.ID+`.cast"`)
	out := newTimed(w)
	defer out.done()
	if _, err := io.Copy(out, f); err != nil {
		if r.Context().Err() == nil {
			c.log().ErrorContext(r.Context(), "console: download broke off", "session", s.ID, "err", err)
		}
		panic(http.ErrAbortHandler) // a file that is cut short must not look whole
	}
	return nil
}

// live streams a running session to the player as server-sent events: first what has been shown, folded
// into the terminal's start, then each event as it is written.
func (c *Console) live(w http.ResponseWriter, r *http.Request, v *visit) error {
	s, err := c.look(r, v, "recording.followed")
	if err != nil {
		return err
	}
	if s.State != ledger.Live {
		return errNotFound
	}
	st, err := c.openStream(w, r, v)
	if err != nil {
		return err
	}
	defer st.close()
	f, err := c.o.Recordings.Follow(st.ctx, s.ID)
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := newPlayback(f, c.o.MaxPlay)
	if err != nil {
		return fmt.Errorf("recording of session %s: %w", s.ID, err)
	}
	st.start()
	if err := c.follow(st, p, about(s)); err != nil && st.ctx.Err() == nil {
		c.log().WarnContext(r.Context(), "console: live view broke off", "session", s.ID, "err", err)
	}
	return nil
}

// keepInit bounds the output that a live view begins with; older output has scrolled away.
const keepInit = 256 << 10

// quiet is how long a recording must have nothing more to read before a live view begins to show it.
const quiet = 250 * time.Millisecond

// follow reads the playback on one goroutine and writes its events on this one, which also keeps the
// line alive and asks again whether the viewer still may.
func (c *Console) follow(st *stream, p *playback, o Object) error {
	events, result := make(chan playEvent, 256), make(chan error, 1)
	go func() { // ends when st.ctx does: Follow's reads return then
		result <- p.pump(st.ctx, events)
		close(events)
	}()
	defer func() {
		st.cancel()
		for range events { // until the reader has gone
		}
	}()
	init := p.opening(st.ctx, events)
	if err := st.send("", map[string]any{"cols": init.cols, "rows": init.rows, "time": init.at.Seconds(), "init": string(init.text)}); err != nil {
		return err
	}
	for {
		select {
		case e, ok := <-events:
			if !ok {
				err := <-result
				if errors.Is(err, io.EOF) {
					return st.send("done", map[string]any{"ending": p.ending(err)})
				}
				return err
			}
			if err := st.send("", []any{e.At.Seconds(), string(e.Code), e.Text}); err != nil {
				return err
			}
		case <-st.tick.C:
			if err := st.beat(RecordingView, o); err != nil {
				return err
			}
		case <-st.ctx.Done():
			return st.ctx.Err()
		}
	}
}

// pump hands events over until there are no more.
func (p *playback) pump(ctx context.Context, events chan<- playEvent) error {
	for {
		e, err := p.next()
		if err != nil {
			return err
		}
		select {
		case events <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// opening is the screen that a live view starts from.
type opening struct {
	cols, rows uint32
	at         time.Duration
	text       []byte
}

// opening gathers what is in the recording already, until it pauses.
func (p *playback) opening(ctx context.Context, events <-chan playEvent) opening {
	var o opening
	o.cols, o.rows = p.size()
	pause := time.NewTimer(quiet)
	defer pause.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return o
			}
			o.add(e)
			pause.Reset(quiet)
		case <-pause.C:
			return o
		case <-ctx.Done():
			return o
		}
	}
}

func (o *opening) add(e playEvent) {
	o.at = e.At
	switch e.Code {
	case 'o':
		if o.text = append(o.text, e.Text...); len(o.text) > 2*keepInit {
			o.text = shortenOpening(o.text)
		}
	case 'r':
		fmt.Sscanf(e.Text, "%dx%d", &o.cols, &o.rows) // written by event, just above
	}
}

// newlineMode is what recordings of sessions without a terminal begin with, and what the lines that
// remain still need.
const newlineMode = "\x1b[20h"

// shortenOpening keeps the end of text, from the beginning of a line.
func shortenOpening(text []byte) []byte {
	var kept []byte
	if bytes.HasPrefix(text, []byte(newlineMode)) {
		kept = append(kept, newlineMode...)
	}
	end := text[len(text)-keepInit:]
	if _, after, ok := bytes.Cut(end, []byte{'\n'}); ok {
		end = after
	}
	return append(kept, end...)
}
