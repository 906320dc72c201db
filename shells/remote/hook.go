package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/hook"
)

//go:embed hook.bashrc
var hookScript string

//go:embed hook.zshrc
var zshScript string

// Bounds on what a host can send through the forward, where anything on it can connect.
const (
	maxAsk    = 4 << 20 // bytes of one question
	maxAskers = 64      // connections at once
	tokenTime = 10 * time.Second
	hookTime  = 8 * time.Second // for a shell to come up and ask
	askTime   = 30 * time.Second
)

// errNoHook is why a host's shell is not made to ask.
type errNoHook struct{ why string }

func (e *errNoHook) Error() string { return "no hook: " + e.why }

// bootstrap is what the login shell is given to run. Any shell but a bash or zsh that can be hooked says none, or fails.
// zsh takes its start-up file from a directory alone: one is made for it, and it removes it first of all.
func bootstrap() string {
	return `case ${ZSH_VERSION-} in 5.9*|5.[1-9][0-9]*|[6-9].*|[1-9][0-9].*) case $SHELL in */zsh) ;; *) SHELL=zsh;; esac; ` +
		`ZDOTDIR=$(mktemp -d) && export ZDOTDIR && printf %s ` + quote(zshScript) + ` >"$ZDOTDIR/.zshrc" && exec "$SHELL" -d -i;; esac; ` +
		`case ${BASH_VERSION-} in 5.[1-9]*|[6-9].*|[1-9][0-9].*) exec "$BASH" --noprofile --rcfile <(printf %s ` +
		quote(hookScript) + `) -i;; *) echo sallyport:none;; esac`
}

// quote is s as one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// wantsHook tells whether q is to be a shell that asks.
func (r *Remote) wantsHook(q shells.Request) bool {
	return q.Kind == shells.Shell && q.Pty != nil && q.Ask != nil && (r.c.Guard == "" || r.c.Guard == "hook")
}

// hooked starts a bash or zsh on the host that asks the gate before each command. The forward by which it does so is on the
// host's loopback, where every user can connect: a token that only this shell is told, in its terminal and before
// anything else is, tells its questions from theirs.
func (r *Remote) hooked(client *ssh.Client, q shells.Request) (*process, error) {
	ln, err := client.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, &errNoHook{"the host does not let the gate listen on its loopback interface"}
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return nil, err
	}
	token := make([]byte, 16)
	_, _ = rand.Read(token) // never fails
	p, err := r.channel(client, q, "exec", bootstrap())
	if err != nil {
		ln.Close()
		return nil, &errNoHook{err.Error()}
	}
	p.hook = newHooks(p, q.Ask, hex.EncodeToString(token), ln)
	p.wg.Go(p.hook.serve)
	if err := p.hook.come(port); err != nil {
		p.ch.Close()
		<-p.done
		p.hook.close()
		p.wg.Wait()
		return nil, err
	}
	return p, nil
}

// hooks answers the questions of one shell on a host.
type hooks struct {
	*hook.Shell
	p     *process
	token string
	ln    net.Listener
	ready chan struct{} // closed when the shell is guarded and may be typed into
	stop  func()
	ctx   context.Context
	wg    sync.WaitGroup
	slots chan struct{}

	mu      sync.Mutex
	pending map[*question]struct{}
}

// A question waits for its answer; cancel ends that.
type question struct {
	main   bool
	cancel context.CancelFunc
}

func newHooks(p *process, ask shells.Asker, token string, ln net.Listener) *hooks {
	ctx, stop := context.WithCancel(context.Background())
	h := &hooks{p: p, token: token, ln: ln, ready: make(chan struct{}), ctx: ctx, stop: stop,
		slots: make(chan struct{}, maxAskers), pending: map[*question]struct{}{}}
	h.Shell = hook.NewShell(hook.Bash, ask, p.fail)
	return h
}

func (h *hooks) close() {
	h.stop()
	h.ln.Close()
}

// serve takes connections until the forward is closed.
func (h *hooks) serve() {
	defer h.wg.Wait()
	defer h.stop()
	for {
		c, err := h.ln.Accept()
		if err != nil {
			return
		}
		select {
		case h.slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		h.wg.Go(func() {
			defer func() { <-h.slots }()
			defer c.Close()
			h.connection(c)
		})
	}
}

// come waits for the shell to be guarded. What the host printed until it asked for the token is not shown.
func (h *hooks) come(port string) error {
	give := time.AfterFunc(hookTime, func() { h.p.ch.Close() })
	defer give.Stop()
	if err := h.marker(); err != nil {
		return err
	}
	if _, err := io.WriteString(h.p.ch, port+" "+h.token+"\n"); err != nil {
		return &errNoHook{"the shell is gone"}
	}
	select {
	case <-h.ready:
	case <-h.p.done:
		return &errNoHook{"the shell ended before its guard was up"}
	}
	if !give.Stop() {
		return &errNoHook{"the shell's guard came up too late"}
	}
	return nil
}

// marker reads the terminal until the shell asks for its token.
func (h *hooks) marker() error {
	var seen []byte
	b := make([]byte, 1)
	for len(seen) < 64<<10 {
		if _, err := h.p.ch.Read(b); err != nil {
			return &errNoHook{"the login shell on the host is none that can be hooked"}
		}
		seen = append(seen, b[0])
		if b[0] != '\n' {
			continue
		}
		switch {
		case bytes.HasSuffix(bytes.TrimRight(seen, "\r\n"), []byte("sallyport:ready")):
			return nil
		case bytes.HasSuffix(bytes.TrimRight(seen, "\r\n"), []byte("sallyport:zsh")):
			h.Speaks(hook.Zsh)
			return nil
		case bytes.HasSuffix(bytes.TrimRight(seen, "\r\n"), []byte("sallyport:none")):
			return &errNoHook{"the login shell on the host is neither bash 5.1 nor zsh 5.9, or newer"}
		}
	}
	return &errNoHook{"the host's shell writes without an end before it is up"}
}

// connection is one message: the token, its kind, the asking process, and what that kind has. All but the last are
// answered.
func (h *hooks) connection(c net.Conn) {
	stop := context.AfterFunc(h.ctx, func() { c.Close() })
	defer stop()
	f, err := h.message(c)
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(f[1])
	if err != nil {
		return
	}
	main := f[1] == f[2]
	switch f[0] {
	case "A":
		err = h.question(c, main, func(ctx context.Context) error { return h.Command(ctx, pid, main, f[3], f[4], f[5]) })
	case "Z":
		if !main {
			return
		}
		h.ZshLine(f[5])
		err = nil
	case "L":
		err = h.question(c, main, func(ctx context.Context) error { return h.Line(ctx, f[5]) })
	case "P":
		if !main {
			return
		}
		h.withdraw()
		h.Prompt(f[3], f[4], f[5])
		if h.Up() {
			close(h.ready)
		}
		err = nil
	default:
		return
	}
	if err != nil && f[0] != "P" {
		h.Refused()
	}
	_, _ = c.Write(hook.Answer("0000000000000000", err))
}

// fields of a message besides the token: kind, process, shell, and three more.
const fields = 6

// message reads one. Who does not know the token is not listened to.
func (h *hooks) message(c net.Conn) ([]string, error) {
	timer := time.AfterFunc(tokenTime, func() { c.Close() })
	defer timer.Stop()
	token := make([]byte, len(h.token)+1)
	if _, err := io.ReadFull(c, token); err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(token, []byte(h.token+"\x00")) != 1 {
		h.p.r.c.Log.Warn("somebody else on the host connected to a shell's guard", "target", h.p.r.c.Name)
		return nil, errors.New("not the token")
	}
	timer.Reset(askTime)
	var msg []byte
	b := make([]byte, 4<<10)
	for bytes.Count(msg, []byte{0}) < fields {
		n, err := c.Read(b)
		msg = append(msg, b[:n]...)
		if err != nil || len(msg) > maxAsk {
			return nil, fmt.Errorf("a question without an end: %w", err)
		}
	}
	return strings.SplitN(string(msg), "\x00", fields+1)[:fields], nil
}

// question decides, for as long as the asker waits.
func (h *hooks) question(c net.Conn, main bool, decide func(context.Context) error) error {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	q := &question{main: main, cancel: cancel}
	h.mu.Lock()
	h.pending[q] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.pending, q)
		h.mu.Unlock()
	}()
	h.wg.Go(func() { // ends with c, which its connection closes
		_, _ = c.Read(make([]byte, 1))
		cancel()
	})
	return decide(ctx)
}

// withdraw ends the questions of the main shell, which waits for none of them any more.
func (h *hooks) withdraw() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for q := range h.pending {
		if q.main {
			q.cancel()
		}
	}
}

// typed is told what goes to the terminal. An interrupt takes back what is asked: the shell may ask on behalf of a part
// of a pipeline, and then the key's signal does not reach it.
func (h *hooks) typed(p []byte) {
	if !bytes.ContainsAny(p, "\x03\x1a\x1c") {
		return
	}
	h.Typed.Store(true)
	if bytes.IndexByte(p, 3) >= 0 {
		h.withdraw()
	}
}
