package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync/atomic"

	"github.com/coder/websocket"

	"github.com/sallyport-ssh/sallyport/filters/kube"
)

// Protocols of exec and attach (k8s.io/apimachinery, pkg/util/remotecommand).
const (
	v4 = "v4.channel.k8s.io"
	v5 = "v5.channel.k8s.io" // v4 and a way to say that input has ended
)

// Channels of those protocols.
const (
	chInput  = 0
	chOutput = 1
	chErrors = 2
	chStatus = 3
	chResize = 4
	chClose  = 255
)

// maxMessage is how large a message of an exec may be. Kubernetes' own sends at most 32 KiB.
const maxMessage = 1 << 20

// upgrade serves exec, attach and port-forward.
func (p *proxy) upgrade(w http.ResponseWriter, r *http.Request, req *kube.Request, d *Done) {
	if req.Action() == "kube:portforward" {
		p.tunnel(w, r, req, d)
		return
	}
	up, err := p.dial(r, req)
	if err != nil {
		d.Status, d.Err = codeOf(err), err
		var turned *turnedDown
		if errors.As(err, &turned) {
			d.Status = turned.code
		}
		refuse(w, d.Status, req, public(err))
		return
	}
	defer up.CloseNow()
	c, err := accept(w, r, req)
	if err != nil {
		d.Status, d.Err = http.StatusBadRequest, err
		return
	}
	defer c.close()
	d.Status = http.StatusSwitchingProtocols
	d.Err = p.relay(r.Context(), req, c, up, d)
}

// turnedDown is the server's answer to an upgrade that it does not make.
type turnedDown struct {
	code int
	text string
}

func (t *turnedDown) Error() string {
	return fmt.Sprintf("the API server answers %d: %s", t.code, t.text)
}
func (t *turnedDown) PublicText() string { return t.text }

// dial asks the server for the exec or attach, always by WebSocket: servers since Kubernetes 1.30 speak it.
func (p *proxy) dial(r *http.Request, req *kube.Request) (*websocket.Conn, error) {
	asked := r.Clone(r.Context())
	asked.Method = http.MethodGet
	out, err := p.outgoing(r.Context(), asked, req, nil)
	if err != nil {
		return nil, err
	}
	out.Header.Del("Accept")
	c, resp, err := websocket.Dial(r.Context(), out.URL.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: p.t.upgrades}, HTTPHeader: out.Header, Subprotocols: []string{v5, v4},
	})
	if err == nil {
		c.SetReadLimit(maxMessage)
		return c, nil
	}
	if resp == nil || resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, p.t.unreachable(err)
	}
	return nil, &turnedDown{code: resp.StatusCode, text: p.why(req, resp)}
}

// why is the message of a Status that the server answered with, masked.
func (p *proxy) why(req *kube.Request, resp *http.Response) string {
	engine, o := p.s.Masks(req)
	var b strings.Builder
	if err := copyText(&b, io.LimitReader(resp.Body, 1<<10), engine, o, p.s.Masked); err != nil || b.Len() == 0 {
		return "the API server answers " + resp.Status
	}
	_, message, found := strings.Cut(b.String(), `"message":"`)
	message, _, _ = strings.Cut(message, `","`)
	if !found {
		message = strings.TrimSpace(b.String())
	}
	return message
}

// relay passes messages on, both ways, until the server has said how it ended or either side is gone.
func (p *proxy) relay(ctx context.Context, req *kube.Request, c client, up *websocket.Conn, d *Done) error {
	e := &command{p: p, req: req, c: c, up: up, input: make(chan struct{})}
	err := p.s.Terminal(ctx, req, Streams{toClient{e, chOutput}, toClient{e, chErrors}, toCommand{e}}, e.run)
	if e.t != nil {
		<-e.input // which may have waited for what looks at lines
	}
	d.Bytes, d.Sent = e.shown.Load(), e.sent.Load()
	return err
}

// A command is an exec or attach that runs.
type command struct {
	p      *proxy
	req    *kube.Request
	c      client
	up     *websocket.Conn
	ctx    context.Context // of its session
	t      Terminal
	input  chan struct{} // closed when no more is passed on to t
	status *int
	shown  atomic.Int64
	sent   atomic.Int64
}

var errClientGone = errors.New("the client left")

func (e *command) run(ctx context.Context, t Terminal) (*int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e.ctx, e.t = ctx, t
	go func() {
		defer close(e.input)
		if err := e.inward(ctx); err != nil {
			cancel(err)
		}
	}()
	err := e.outward(ctx)
	if why := context.Cause(ctx); why != nil {
		err = why
	}
	e.c.close() // before ctx ends, which would cut what is on its way to the client
	e.up.CloseNow()
	return e.status, err
}

// toClient is a stream of the client's.
type toClient struct {
	e       *command
	channel byte
}

func (w toClient) Write(p []byte) (int, error) {
	if err := w.e.c.send(w.e.ctx, w.channel, p); err != nil {
		return 0, errClientGone
	}
	w.e.shown.Add(int64(len(p)))
	return len(p), nil
}

// toCommand is the command's input.
type toCommand struct{ e *command }

func (w toCommand) Write(p []byte) (int, error) {
	w.e.sent.Add(int64(len(p)))
	return len(p), w.e.pass(chInput, p)
}

func (w toCommand) Close() error {
	if w.e.up.Subprotocol() != v5 {
		return nil // nothing to say it with
	}
	return w.e.pass(chClose, []byte{chInput})
}

func (e *command) pass(channel byte, data []byte) error {
	return e.up.Write(e.ctx, websocket.MessageBinary, append([]byte{channel}, data...))
}

// inward passes on what the client sends.
func (e *command) inward(ctx context.Context) error {
	for {
		channel, data, err := e.c.recv(ctx)
		if err != nil {
			return errClientGone
		}
		switch channel {
		case chInput, chClose:
			if !e.req.Interactive() {
				return errors.New("the client sends input it had not asked to send")
			}
			if channel == chInput {
				err = e.t.Input(data)
			} else {
				err = e.t.InputEnded()
			}
		case chResize:
			var cols, rows uint16
			if cols, rows, err = size(data); err == nil {
				err = e.t.Resize(cols, rows)
			}
			if err == nil {
				err = e.pass(channel, data)
			}
		default:
			err = fmt.Errorf("the client sends on channel %d", channel)
		}
		if err != nil {
			return err
		}
	}
}

// outward shows what the server sends.
func (e *command) outward(ctx context.Context) error {
	for {
		kind, b, err := e.up.Read(ctx)
		switch {
		case err != nil && e.status != nil:
			return nil // it has said all
		case err != nil:
			return e.p.t.unreachable(err)
		case kind != websocket.MessageBinary || len(b) == 0:
			continue
		}
		switch channel, data := b[0], b[1:]; channel {
		case chOutput, chErrors:
			err = e.t.Output(channel == chErrors, data)
		case chStatus:
			if err = e.t.Drained(); err == nil {
				err = e.ended(ctx, data)
			}
		}
		if err != nil {
			return err
		}
	}
}

// tunnel passes the bytes of a port-forward on, which nobody looks at.
func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request, req *kube.Request, d *Done) {
	var sent, received atomic.Int64
	(&httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host, pr.Out.Host = p.t.base.Scheme, p.t.base.Host, ""
			pr.Out.URL.Path, pr.Out.URL.RawPath = p.t.base.Path+pr.In.URL.Path, ""
		},
		Transport: roundTrip(func(out *http.Request) (*http.Response, error) {
			keep := out.Header
			out.Header = http.Header{}
			for _, name := range append(passed, "Connection", "Upgrade", "X-Stream-Protocol-Version", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions") {
				if v := keep[http.CanonicalHeaderKey(name)]; len(v) > 0 {
					out.Header[http.CanonicalHeaderKey(name)] = v
				}
			}
			withoutTokens(out.Header)
			if err := p.bearer.authorize(out.Context(), out); err != nil {
				return nil, err
			}
			resp, err := p.t.upgrades.RoundTrip(out)
			if err != nil {
				return nil, p.t.unreachable(err)
			}
			if rw, ok := resp.Body.(io.ReadWriteCloser); ok {
				resp.Body = &counted{ReadWriteCloser: rw, sent: &sent, received: &received}
			}
			d.Status = resp.StatusCode
			return resp, nil
		}),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			d.Status, d.Err = codeOf(err), err
			refuse(w, d.Status, req, public(err))
		},
		ErrorLog: quiet,
	}).ServeHTTP(w, r)
	d.Sent, d.Bytes = sent.Load(), received.Load()
}

// withoutTokens takes away what browsers prove themselves with, among the protocols of a WebSocket
// (k8s.io/apiserver, pkg/authentication/request/websocket).
func withoutTokens(h http.Header) {
	const name = "Sec-Websocket-Protocol"
	var keep []string
	for _, p := range strings.Split(strings.Join(h.Values(name), ","), ",") {
		if p = strings.TrimSpace(p); p != "" && !strings.HasPrefix(p, "base64url.bearer.authorization.") {
			keep = append(keep, p)
		}
	}
	if h.Del(name); len(keep) > 0 {
		h.Set(name, strings.Join(keep, ", "))
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// counted counts what goes through a tunnel.
type counted struct {
	io.ReadWriteCloser
	sent, received *atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(b)
	c.received.Add(int64(n))
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ReadWriteCloser.Write(b)
	c.sent.Add(int64(n))
	return n, err
}
