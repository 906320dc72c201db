package sshd

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/command"
	kubefacts "github.com/sallyport-ssh/sallyport/filters/kube"
	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/kube"
)

// Terminal makes an exec or attach a session of its own: it has a page and a recording as any terminal has, and its lines
// are read off its screen where a shell in it reads them.
func (k *kubeSession) Terminal(ctx context.Context, r *kubefacts.Request, to kube.Streams, run func(context.Context, kube.Terminal) (*int, error)) error {
	s := &session{c: k.c, id: NewSessionID(), route: k.route, started: time.Now(), level: r.Guard()}
	s.recordsInput = k.recordsInput
	s.asked = asked{kind: "kube-" + shells.Kind(r.Subresource), command: r.CommandLine(), reason: k.asked.reason, json: k.asked.json}
	if r.Terminal() {
		s.asked.pty = &shells.Pty{Term: "xterm", Cols: 80, Rows: 24}
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	defer s.cancel(nil)
	s.out = newOutput(s, to.Stdout, to.Stderr)
	var err error
	k.c.srv.remembered(s, func() {
		err = s.runTerminal(map[string]any{"session": k.id, "namespace": r.Namespace, "pod": r.Name, "container": r.Container}, to, run)
	})
	return err
}

func (s *session) runTerminal(within map[string]any, to kube.Streams, run func(context.Context, kube.Terminal) (*int, error)) (err error) {
	if err := s.begin(); err != nil {
		return err
	}
	var exit shells.Exit
	defer func() { s.seal(exit, err) }()
	if err = s.recorded(s.recording.Note("within", within)); err != nil {
		return err
	}
	t := &kubeTerminal{s: s, to: to}
	t.watch()
	status, err := run(s.ctx, t)
	t.end()
	if status != nil {
		exit.Status = *status
	}
	return err
}

// A kubeTerminal is an exec or attach that runs.
type kubeTerminal struct {
	s     *session
	to    kube.Streams
	typed *io.PipeWriter // to the guard; nil: nobody looks at lines
	guard sync.WaitGroup
}

// watch puts the guard that every terminal has whose shell cannot be asked between the client and the command.
func (t *kubeTerminal) watch() {
	s := t.s
	g := s.guardLines(nil)
	if g == nil {
		return
	}
	if s.asked.command != "" {
		g.r.Runs(command.Parse(s.asked.command))
	}
	typed, to := io.Pipe()
	t.typed = to
	s.mu.Lock()
	s.lines, s.early = g, newTypeahead(typed, g.interrupted)
	s.mu.Unlock()
	t.guard.Go(func() {
		_ = g.run(s.ctx, typist{t.to.Stdin, s.out}, s.early)
		_ = t.to.Stdin.Close()
		_ = typed.CloseWithError(errChannelClosed) // what is still typed has nowhere to go
	})
}

// Output shows p, and shows the guard what the command wrote.
func (t *kubeTerminal) Output(stderr bool, p []byte) error {
	st := t.s.out.stdout
	switch {
	case stderr:
		st = t.s.out.stderr
	case t.s.lines != nil:
		t.s.lines.output(p)
	}
	return st.write(p)
}

// Drained shows what waited for more output.
func (t *kubeTerminal) Drained() error {
	return errors.Join(t.s.out.stdout.close(), t.s.out.stderr.close())
}

// Input passes p on, or shows it to the guard.
func (t *kubeTerminal) Input(p []byte) error {
	switch {
	case t.typed != nil:
		_, err := t.typed.Write(p)
		return err
	case t.s.asked.pty != nil:
		_, err := typist{t.to.Stdin, t.s.out}.Write(p)
		return err
	}
	_, err := t.to.Stdin.Write(p)
	return err
}

// InputEnded passes that on.
func (t *kubeTerminal) InputEnded() error {
	if t.typed != nil {
		return t.typed.Close()
	}
	return t.to.Stdin.Close()
}

// Resize writes down the terminal's size, and tells all who model its screen.
func (t *kubeTerminal) Resize(cols, rows uint16) error {
	if t.s.asked.pty == nil {
		return nil
	}
	return t.s.resize(min(uint32(cols), maxSide), min(uint32(rows), maxSide))
}

// end waits for the guard, and writes down what nobody saw any more.
func (t *kubeTerminal) end() {
	t.s.cancel(nil)
	t.s.hushed()
	if t.typed != nil {
		_ = t.typed.Close()
	}
	t.guard.Wait()
	_ = t.Drained() // the client may be gone; the record is not
}
