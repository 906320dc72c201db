package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/shells"
)

// process is a session on a host, alone on its connection.
type process struct {
	r      *Remote
	client *ssh.Client
	ch     ssh.Channel
	pty    bool
	hook   *hooks // nil: its shell does not ask
	wg     sync.WaitGroup

	done  chan struct{} // the host has closed the session, or it is lost; exit and err are set
	exit  shells.Exit
	err   error
	known bool // exit was told

	closing chan struct{}
	once    sync.Once
	mu      sync.Mutex
	lost    error // why the gate gave the host up
}

func newProcess(r *Remote, client *ssh.Client, ch ssh.Channel, pty bool) *process {
	return &process{r: r, client: client, ch: ch, pty: pty, done: make(chan struct{}), closing: make(chan struct{})}
}

// drop ends what did not become a session.
func (p *process) drop(err error) error {
	p.Close()
	return err
}

// requests hears how the command ended (RFC 4254 section 6.10) and when the session is over.
func (p *process) requests(in <-chan *ssh.Request) {
	defer close(p.done)
	for req := range in {
		switch req.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(req.Payload, &m) == nil && !p.known {
				p.exit, p.known = shells.Exit{Status: int(m.Status)}, true
			}
		case "exit-signal":
			var m struct {
				Signal     string
				CoreDumped bool
				Message    string
				Lang       string
			}
			if ssh.Unmarshal(req.Payload, &m) == nil && !p.known {
				p.exit, p.known = shells.Exit{Signal: signalName(m.Signal), CoreDumped: m.CoreDumped, Message: escape(m.Message)}, true
			}
		}
		if req.WantReply {
			req.Reply(false, nil)
		}
	}
	if p.known {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err = p.lost; p.err == nil {
		p.err = p.r.error("the host ended the session, or was lost, before it said how the command ended", nil)
	}
}

var signalForm = regexp.MustCompile(`^[A-Z0-9]{1,16}(@[A-Za-z0-9.-]{1,64})?$`)

// signalName is what a host calls a signal, when that can be one.
func signalName(s string) string {
	if signalForm.MatchString(s) {
		return s
	}
	return "unknown@sallyport"
}

// keepAlive asks now and then whether the host lives, and gives it up when it does not say.
func (p *process) keepAlive(every time.Duration) {
	answers := make(chan struct{}, 1)
	ask := make(chan struct{}, 1)
	p.wg.Go(func() {
		for range ask {
			if _, _, err := p.client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
				return
			}
			select {
			case answers <- struct{}{}:
			default:
			}
		}
	})
	p.wg.Go(func() {
		defer close(ask)
		p.watch(every, ask, answers)
	})
}

func (p *process) watch(every time.Duration, ask chan<- struct{}, answers <-chan struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for silent := 0; ; {
		select {
		case <-p.closing:
			return
		case <-p.done:
			return
		case <-answers:
			silent = 0
		case <-tick.C:
			if silent++; silent > 3 {
				p.giveUp()
				return
			}
			select {
			case ask <- struct{}{}:
			default: // the last one is still out
			}
		}
	}
}

// Guard says how the commands of an interactive shell are known, now that it runs.
func (p *process) Guard() string {
	switch {
	case p.hook != nil:
		return "hook"
	case p.r.c.Guard == "none":
		return "none"
	}
	return "screen"
}

// fail ends the session for a reason that Wait reports.
func (p *process) fail(err error) {
	p.mu.Lock()
	if p.lost == nil {
		p.lost = err
	}
	p.mu.Unlock()
	p.client.Close()
}

func (p *process) giveUp() {
	p.mu.Lock()
	p.lost = p.r.error("the host does not answer any more; the session was ended", nil)
	p.mu.Unlock()
	p.client.Close()
}

// Stdin is the command's input.
func (p *process) Stdin() io.WriteCloser { return stdin{p.ch, p.hook} }

type stdin struct {
	ch   ssh.Channel
	hook *hooks
}

func (s stdin) Write(b []byte) (int, error) {
	if s.hook != nil {
		s.hook.typed(b)
	}
	return s.ch.Write(b)
}

// Close is end of file.
func (s stdin) Close() error {
	if err := s.ch.CloseWrite(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Stdout is the command's output, or the terminal.
func (p *process) Stdout() io.Reader { return output{p, p.ch} }

// CloseOutput asks the host to close the command's output (PROTOCOL section 2.1 of OpenSSH).
func (p *process) CloseOutput() error {
	_, err := p.ch.SendRequest("eow@openssh.com", false, nil)
	return err
}

// An output ends with the session, even where more had come than was read.
type output struct {
	p *process
	r io.Reader
}

func (o output) Read(b []byte) (int, error) {
	select {
	case <-o.p.closing:
		return 0, io.ErrClosedPipe
	default:
		return o.r.Read(b)
	}
}

// Stderr is nil with a terminal.
func (p *process) Stderr() io.Reader {
	if p.pty {
		return nil
	}
	return output{p, p.ch.Stderr()}
}

// Resize sends window-change (RFC 4254 section 6.7).
func (p *process) Resize(cols, rows uint32) error {
	if !p.pty {
		return errors.New("the session has no terminal")
	}
	_, err := p.ch.SendRequest("window-change", false, ssh.Marshal(struct{ Cols, Rows, Width, Height uint32 }{cols, rows, 0, 0}))
	return err
}

var signalNames = map[string]bool{"ABRT": true, "ALRM": true, "FPE": true, "HUP": true, "ILL": true, "INT": true, "KILL": true,
	"PIPE": true, "QUIT": true, "SEGV": true, "TERM": true, "USR1": true, "USR2": true}

// Signal sends one (RFC 4254 section 6.9). Hosts do not say whether they deliver it: OpenSSH does, but not
// to a command that a certificate forces, and not to sessions of root.
func (p *process) Signal(name string) error {
	if !signalNames[name] {
		return fmt.Errorf("signal %q: not one of RFC 4254", name)
	}
	if p.hook != nil {
		p.hook.Typed.Store(true)
	}
	_, err := p.ch.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{name}))
	return err
}

// Wait returns how the command ended.
func (p *process) Wait(ctx context.Context) (shells.Exit, error) {
	select {
	case <-p.done:
		return p.exit, p.err
	case <-ctx.Done():
		return shells.Exit{}, context.Cause(ctx)
	}
}

// Close ends the connection, and with it the command, as far as the host cares.
func (p *process) Close() error {
	p.once.Do(func() {
		p.mu.Lock()
		if p.lost == nil {
			p.lost = p.r.error("the session was closed", nil)
		}
		p.mu.Unlock()
		close(p.closing)
		p.client.Close()
	})
	p.client.Wait()
	p.wg.Wait()
	return nil
}
