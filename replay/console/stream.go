package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	heartbeat = 15 * time.Second // how often a stream shows that it lives and asks whether it may
	writeTime = 20 * time.Second // for a browser to take one event
)

// A stream is an answer of server-sent events. It ends when the browser leaves, the viewer is signed out
// or loses the right, or the console closes.
type stream struct {
	c      *Console
	w      http.ResponseWriter
	v      *visit
	ctx    context.Context
	cancel context.CancelFunc
	tick   *time.Ticker
	rc     *http.ResponseController
}

// openStream counts a stream in; nothing is sent before start.
func (c *Console) openStream(w http.ResponseWriter, r *http.Request, v *visit) (*stream, error) {
	if !c.streams.take(v.viewer.Principal.Key) {
		return nil, errBusy
	}
	c.open.Add(1)
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(c.stop, cancel)
	return &stream{
		c: c, w: w, v: v, ctx: ctx, cancel: func() { stop(); cancel() },
		tick: time.NewTicker(heartbeat), rc: http.NewResponseController(w),
	}, nil
}

func (s *stream) start() {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	s.w.WriteHeader(http.StatusOK)
	s.rc.Flush() // an error comes back with the first event
}

func (s *stream) close() {
	s.tick.Stop()
	s.cancel()
	_ = s.rc.SetWriteDeadline(time.Time{}) // the connection may serve further requests
	s.c.streams.give(s.v.viewer.Principal.Key)
	s.c.open.Done()
}

// send writes one event; JSON has no line breaks of its own.
func (s *stream) send(kind string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if kind != "" {
		return s.write("event: %s\ndata: %s\n\n", kind, b)
	}
	return s.write("data: %s\n\n", b)
}

func (s *stream) write(format string, args ...any) error {
	// Servers that know no deadlines still notice a browser that left, by the context.
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		return err
	}
	return s.rc.Flush()
}

// beat keeps proxies from closing the line, and ends the stream of somebody who is no longer signed in
// or may no longer see this. A page that updates by itself does not count as use of the sign-in.
func (s *stream) beat(action string, o Object) error {
	if s.c.sessions.get(s.v.cookie, false) == nil {
		return errSignIn
	}
	if err := s.c.o.Gate.Admit(s.ctx, s.v.viewer, action, o); err != nil {
		return err
	}
	return s.write(": still here\n\n")
}

// timed is the body of a long answer. Each write has writeTime: a browser that stops reading does not
// keep a recording open for ever, and one that reads slowly takes as long as it needs.
type timed struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func newTimed(w http.ResponseWriter) timed { return timed{w, http.NewResponseController(w)} }

func (t timed) Write(p []byte) (int, error) {
	_ = t.rc.SetWriteDeadline(time.Now().Add(writeTime)) // see stream.write
	return t.w.Write(p)
}

// done takes the deadline off the connection, which may serve further requests.
func (t timed) done() { _ = t.rc.SetWriteDeadline(time.Time{}) }
