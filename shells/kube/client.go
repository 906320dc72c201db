package kube

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/moby/spdystream"

	"github.com/sallyport-ssh/sallyport/filters/kube"
)

// A client is the other end of an exec or attach, whichever protocol it speaks.
type client interface {
	recv(ctx context.Context) (channel byte, data []byte, err error)
	send(ctx context.Context, channel byte, data []byte) error
	close()
}

// accept makes the upgrade that the client asks for.
func accept(w http.ResponseWriter, r *http.Request, req *kube.Request) (client, error) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "SPDY/3.1") {
		return acceptSPDY(w, r, req)
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{v5, v4}, InsecureSkipVerify: true}) // no browser has this tunnel, so there is no origin to check
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(maxMessage)
	if c.Subprotocol() == "" {
		c.Close(websocket.StatusPolicyViolation, "sallyport: want "+v5+" or "+v4)
		return nil, errors.New("the client speaks no protocol that this gate knows")
	}
	return webSocket{c}, nil
}

type webSocket struct{ c *websocket.Conn }

func (w webSocket) recv(ctx context.Context) (byte, []byte, error) {
	for {
		kind, b, err := w.c.Read(ctx)
		if err != nil {
			return 0, nil, err
		}
		if kind == websocket.MessageBinary && len(b) > 0 {
			return b[0], b[1:], nil
		}
	}
}

func (w webSocket) send(ctx context.Context, channel byte, data []byte) error {
	return w.c.Write(ctx, websocket.MessageBinary, append([]byte{channel}, data...))
}

func (w webSocket) close() { w.c.Close(websocket.StatusNormalClosure, "") }

// spdy is a client of SPDY/3.1, which kubectl spoke before it spoke WebSocket.
type spdy struct {
	conn    *spdystream.Connection
	streams map[byte]*spdystream.Stream
	in      chan message
	gone    chan struct{}
	once    sync.Once
}

type message struct {
	channel byte
	data    []byte
}

var streamTypes = map[string]byte{"stdin": chInput, "stdout": chOutput, "stderr": chErrors, "error": chStatus, "resize": chResize}

// creation is how long a client may take to open its streams.
const creation = 30 * time.Second

func acceptSPDY(w http.ResponseWriter, r *http.Request, req *kube.Request) (client, error) {
	known := false
	for _, v := range strings.Split(strings.Join(r.Header.Values("X-Stream-Protocol-Version"), ","), ",") {
		known = known || strings.TrimSpace(v) == v4
	}
	if !known {
		refuse(w, http.StatusForbidden, req, "want stream protocol "+v4)
		return nil, errors.New("the client speaks no protocol that this gate knows")
	}
	h := w.Header()
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "SPDY/3.1")
	h.Set("X-Stream-Protocol-Version", v4)
	w.WriteHeader(http.StatusSwitchingProtocols)
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	conn, err := spdystream.NewConnection(&hijacked{raw, buffered.Reader}, true)
	if err != nil {
		raw.Close()
		return nil, err
	}
	s := &spdy{conn: conn, streams: map[byte]*spdystream.Stream{}, in: make(chan message), gone: make(chan struct{})}
	if err := s.open(r.Context(), expected(req)); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// hijacked is a connection of which something has been read already.
type hijacked struct {
	net.Conn
	r *bufio.Reader
}

func (h *hijacked) Read(b []byte) (int, error) { return h.r.Read(b) }

// expected is how many streams the client will open.
func expected(req *kube.Request) int {
	n := 1
	for _, name := range []string{"stdin", "stdout", "stderr", "tty"} {
		if v := req.Query.Get(name); v == "true" || v == "1" {
			n++ // with a terminal there is a stream for its size, and none for stderr
		}
	}
	if req.Terminal() && req.Query.Get("stderr") == "true" {
		n--
	}
	return n
}

// open waits for the client's streams.
func (s *spdy) open(ctx context.Context, n int) error {
	opened := make(chan *spdystream.Stream, 8)
	go s.conn.Serve(func(st *spdystream.Stream) {
		select {
		case opened <- st:
		default:
			_ = st.Reset() // more than anybody needs
		}
	})
	timeout := time.NewTimer(creation)
	defer timeout.Stop()
	for len(s.streams) < n {
		select {
		case st := <-opened:
			channel, ok := streamTypes[st.Headers().Get("streamType")]
			if _, twice := s.streams[channel]; !ok || twice {
				return fmt.Errorf("the client opens a stream that this gate does not know")
			}
			if err := st.SendReply(http.Header{}, false); err != nil {
				return err
			}
			s.streams[channel] = st
		case <-timeout.C:
			return errors.New("the client did not open its streams in time")
		case <-s.conn.CloseChan():
			return errClientGone
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for _, channel := range []byte{chInput, chResize} {
		if st := s.streams[channel]; st != nil {
			go s.read(channel, st)
		}
	}
	return nil
}

// read makes messages of a stream until it ends.
func (s *spdy) read(channel byte, st *spdystream.Stream) {
	if channel == chResize {
		d := json.NewDecoder(io.LimitReader(st, 1<<20))
		for {
			var raw json.RawMessage
			if d.Decode(&raw) != nil || !s.put(message{chResize, raw}) {
				return
			}
		}
	}
	for {
		b := make([]byte, 32<<10)
		n, err := st.Read(b)
		if n > 0 && !s.put(message{channel, b[:n]}) {
			return
		}
		if err != nil {
			s.put(message{chClose, []byte{chInput}})
			return
		}
	}
}

func (s *spdy) put(m message) bool {
	select {
	case s.in <- m:
		return true
	case <-s.gone:
		return false
	case <-s.conn.CloseChan():
		return false
	}
}

func (s *spdy) recv(ctx context.Context) (byte, []byte, error) {
	select {
	case m := <-s.in:
		return m.channel, m.data, nil
	case <-s.conn.CloseChan():
	case <-s.gone:
	case <-ctx.Done():
	}
	return 0, nil, errClientGone
}

func (s *spdy) send(_ context.Context, channel byte, data []byte) error {
	st := s.streams[channel]
	if st == nil {
		return nil // it did not want to know
	}
	_, err := st.Write(data)
	return err
}

func (s *spdy) close() {
	s.once.Do(func() {
		close(s.gone)
		for _, st := range s.streams {
			_ = st.Close()
		}
		_ = s.conn.Close()
	})
}

// size reads a terminal's.
func size(data []byte) (cols, rows uint16, err error) {
	var v struct{ Width, Height uint16 }
	if len(data) > 256 || json.Unmarshal(data, &v) != nil {
		return 0, 0, errors.New("the client sends a size that cannot be read")
	}
	return v.Width, v.Height, nil
}

// ended reads the last word of an exec, shows it, and remembers the exit status.
func (e *command) ended(ctx context.Context, data []byte) error {
	var s struct {
		Status  string
		Details struct {
			Causes []struct{ Reason, Message string }
		}
	}
	if json.Unmarshal(data, &s) == nil {
		if s.Status == "Success" {
			e.status = new(int)
		}
		for _, c := range s.Details.Causes {
			if n, err := strconv.Atoi(c.Message); err == nil && c.Reason == "ExitCode" {
				e.status = &n
			}
		}
	}
	engine, o := e.p.s.Masks(e.req)
	var b bytes.Buffer
	if err := e.req.Masker(engine, o, e.p.s.Masked).JSON(&b, bytes.NewReader(data)); err != nil {
		return err
	}
	return e.c.send(ctx, chStatus, bytes.TrimSpace(b.Bytes()))
}
