package console

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
)

// maxLabel bounds a marker that a recording brings along, in characters.
const maxLabel = 200

// playWait is how long a page waits for a recording to be read, before it gets what is read by then.
const playWait = 1200 * time.Millisecond

// idles are the choices of how long a pause may last; "0" leaves them as they were.
var idles = map[string]time.Duration{"": 0, "0": 0, "0.5": 500 * time.Millisecond, "2": 2 * time.Second, "5": 5 * time.Second}

// playIndex is what the player begins with: its segmented format, version 1, and what our script adds.
type playIndex struct {
	Version  int           `json:"version"`
	Term     termSize      `json:"term"`
	Duration json.Number   `json:"duration"` // seconds, as played
	Segments []playSegment `json:"segments"`

	Length float64      `json:"length"` // seconds of the session
	Cuts   [][2]float64 `json:"cuts"`   // corners of the way from seconds of the session to seconds played
	Labels [][4]any     `json:"labels"` // in the recording: seconds of the session, text, values masked, whether it was typed
	How    reel.How     `json:"how"`
	Read   int64        `json:"read"` // bytes, where how is making
}

type termSize struct {
	Cols uint32 `json:"cols"`
	Rows uint32 `json:"rows"`
}

type playSegment struct {
	Start json.Number `json:"start"`
	URL   string      `json:"url"`
}

// seconds writes a time the same way wherever it stands: the player compares them.
func playSeconds(d time.Duration) json.Number {
	return json.Number(fmt.Sprintf("%d.%06d", d/time.Second, d%time.Second/time.Microsecond))
}

// play tells the player where a recording's segments are. What a page asks for again while a recording is being
// read is one look, not many: see [Console.lookedAt].
func (c *Console) play(w http.ResponseWriter, r *http.Request, v *visit) error {
	limit, ok := idles[r.URL.Query().Get("idle")]
	if !ok {
		return errBad
	}
	s, err := c.watch(r, v)
	if err != nil {
		return err
	}
	view, err := c.o.Reels.View(r.Context(), s.ID, true, playWait)
	if err != nil {
		return err
	}
	if view.How == reel.Damaged {
		c.log().WarnContext(r.Context(), "console: recording ends early for the player", "session", s.ID, "err", view.Why)
	}
	return writeJSON(w, r, indexOf(view, r.URL.Query().Get("idle"), limit))
}

func indexOf(view reel.View, idle string, limit time.Duration) playIndex {
	cuts := view.Cuts(limit)
	end := endOf(view)
	x := playIndex{
		Version: 1, Duration: playSeconds(cuts.Played(end)), Term: termSize{view.Segments[0].Cols, view.Segments[0].Rows},
		Length: end.Seconds(), Cuts: [][2]float64{{0, 0}}, Labels: [][4]any{}, How: view.How, Read: view.Read,
	}
	q := url.Values{"idle": {idle}, "end": {strconv.FormatInt(end.Microseconds(), 10)}, "n": {itoa(len(view.Segments))}, "e": {itoa(view.Edition)}}
	for i, seg := range view.Segments {
		x.Segments = append(x.Segments, playSegment{playSeconds(cuts.Played(seg.Start)), "segments/" + itoa(i) + "?" + q.Encode()})
	}
	for _, cut := range cuts {
		x.Cuts = append(x.Cuts, [2]float64{cut.From.Seconds(), cuts.Played(cut.From).Seconds()}, [2]float64{cut.To.Seconds(), cuts.Played(cut.To).Seconds()})
	}
	for _, m := range view.Markers {
		x.Labels = append(x.Labels, [4]any{m.At.Seconds(), brief(maxLabel, m.Label), m.Masked, m.Typed})
	}
	return x
}

// endOf is where a view ends. The player wants its last segment to have a length.
func endOf(view reel.View) time.Duration {
	return max(view.Length, view.Segments[len(view.Segments)-1].Start+time.Millisecond)
}

// segment sends one segment of a recording: the screen at its start, and the events in it.
func (c *Console) segment(w http.ResponseWriter, r *http.Request, v *visit) error {
	s, err := c.watch(r, v)
	if err != nil {
		return err
	}
	limit, end, err := segmentQuery(r.URL.Query())
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil {
		return errNotFound
	}
	view, err := c.o.Reels.View(r.Context(), s.ID, false, 0)
	if err != nil {
		return err
	}
	total, _ := strconv.Atoi(r.URL.Query().Get("n"))
	if r.URL.Query().Get("e") != itoa(view.Edition) || total > len(view.Segments) || n < 0 || n >= total {
		return errNotFound // the page has an older index than it can still play by
	}
	reading, err := c.o.Reels.Segment(r.Context(), s.ID, view, n)
	if err != nil {
		return err
	}
	defer reading.Close()
	cuts, last := view.Cuts(limit), n == total-1
	out := newTimed(w)
	defer out.done()
	body, finish := compressed(w, r, out)
	w.Header().Set("Content-Type", "application/json")
	err = writeSegment(body, reading, cuts, n, last, end)
	if err := errors.Join(err, finish()); err != nil {
		if r.Context().Err() == nil {
			c.log().ErrorContext(r.Context(), "console: segment broke off", "session", s.ID, "segment", n, "err", err)
		}
		panic(http.ErrAbortHandler) // what is cut short must not look whole
	}
	return nil
}

func segmentQuery(q url.Values) (limit, end time.Duration, err error) {
	limit, ok := idles[q.Get("idle")]
	us, err := strconv.ParseInt(q.Get("end"), 10, 64)
	if !ok || err != nil || us < 0 || us > 1<<50 {
		return 0, 0, errBad
	}
	return limit, time.Duration(us) * time.Microsecond, nil
}

// writeSegment writes what the player wants of segment n: its first event at its start, and of the last one the
// last event at the recording's end.
func writeSegment(w io.Writer, r *reel.Reading, cuts reel.Cuts, n int, last bool, end time.Duration) error {
	screen, err := json.Marshal(r.Screen)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, `{"snapshot":{"cols":%d,"rows":%d,"init":%s},"events":[[%s,"o",""]`, r.Cols, r.Rows, screen, playSeconds(cuts.Played(r.Start)))
	for {
		e, err := r.Next()
		if err == io.EOF || err == nil && e.At > end {
			break
		}
		if err != nil {
			return err
		}
		if e.Code == 'm' {
			continue // the page draws its own
		}
		text, err := json.Marshal(e.Text)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, ",\n[%s,%q,%s]", playSeconds(cuts.Played(e.At)), string(e.Code), text); err != nil {
			return err
		}
	}
	if last {
		fmt.Fprintf(w, ",\n[%s,\"o\",\"\"]", playSeconds(cuts.Played(end)))
	}
	_, err = io.WriteString(w, "]}\n")
	return err
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, r *http.Request, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	out := newTimed(w)
	defer out.done()
	body, finish := compressed(w, r, out)
	w.Header().Set("Content-Type", "application/json")
	body.Write(b)
	finish() // an error is the client's absence
	return nil
}

// compressed wraps the body of an answer that holds nothing which a request could have put beside a secret.
func compressed(w http.ResponseWriter, r *http.Request, out io.Writer) (io.Writer, func() error) {
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		return out, func() error { return nil }
	}
	w.Header().Set("Content-Encoding", "gzip")
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is constant
	}
	return z, z.Close
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

// live streams a running session to the player as server-sent events: first what its screen shows, then each
// event as it is written, wherever the session runs.
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
	view, err := c.o.Reels.View(st.ctx, s.ID, true, liveWait)
	if err != nil {
		return err
	}
	reading, err := c.o.Reels.Live(st.ctx, s.ID, view, c.o.Recordings.FollowAt)
	if err != nil {
		return err
	}
	defer reading.Close()
	st.start()
	if err := c.follow(st, reading, s); err != nil && st.ctx.Err() == nil {
		c.log().WarnContext(r.Context(), "console: live view broke off", "session", s.ID, "err", err)
	}
	return nil
}

// liveWait is how long a live view waits for the recording so far to be read. Each look reads on from the last.
const liveWait = time.Minute

const (
	// quiet is how long a recording must have nothing more to read before a live view begins to show it.
	quiet = 250 * time.Millisecond
	// maxOpening bounds what a live view begins with, where output does not pause.
	maxOpening = 2 << 20
)

// follow reads on one goroutine and writes events on this one, which also keeps the line alive and asks again
// whether the viewer still may, and whether the session still runs.
func (c *Console) follow(st *stream, r *reel.Reading, s ledger.Session) error {
	events, result := make(chan reel.Event, 256), make(chan error, 1)
	go func() { // ends when st.ctx does: FollowAt's reads return then
		result <- pump(st.ctx, r, events)
		close(events)
	}()
	defer func() {
		st.cancel()
		for range events { // until the reader has gone
		}
	}()
	init := gather(st.ctx, r, events)
	if err := st.send("", map[string]any{"cols": init.cols, "rows": init.rows, "time": init.at.Seconds(), "init": string(init.text)}); err != nil {
		return err
	}
	for {
		select {
		case e, ok := <-events:
			if !ok {
				if err := <-result; !errors.Is(err, io.EOF) {
					return err
				}
				return st.send("done", map[string]any{})
			}
			if e.Code == 'm' {
				continue
			}
			if err := st.send("", []any{e.At.Seconds(), string(e.Code), e.Text}); err != nil {
				return err
			}
		case <-st.tick.C:
			if err := st.beat(RecordingView, about(s)); err != nil {
				return err
			}
			if now, err := c.o.Ledger.Session(st.ctx, s.ID); err == nil && now.State != ledger.Live {
				return st.send("done", map[string]any{})
			}
		case <-st.ctx.Done():
			return st.ctx.Err()
		}
	}
}

// pump hands events over until there are no more.
func pump(ctx context.Context, r *reel.Reading, events chan<- reel.Event) error {
	for {
		e, err := r.Next()
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

// gather draws what is in the recording already, until it pauses.
func gather(ctx context.Context, r *reel.Reading, events <-chan reel.Event) opening {
	o := opening{r.Cols, r.Rows, r.Start, []byte(r.Screen)}
	pause := time.NewTimer(quiet)
	defer pause.Stop()
	for len(o.text) < maxOpening {
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
	return o
}

func (o *opening) add(e reel.Event) {
	o.at = e.At
	switch e.Code {
	case 'o':
		o.text = append(o.text, e.Text...)
	case 'r':
		fmt.Sscanf(e.Text, "%dx%d", &o.cols, &o.rows) // written by package reel
	}
}
