package sshd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/filters/command"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/postgres"
)

// A session is one identity on one target through one channel, with one recording.
type session struct {
	c       *connection
	id      string
	route   route
	ch      ssh.Channel
	asked   asked
	started time.Time
	evidence
	out *output

	ctx    context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	process shells.Process // set while one runs
	clear   bool           // everything may be seen in clear
	early   *typeahead     // set when the client was heard before that, or its lines are looked at
	lines   *lineGuard     // set when what is typed is decided on line by line
	piped   *pipedInput    // set when what is piped in is recorded
	pending []string       // signals that came before it did
	eow     bool           // the client reads no more output

	tail      tail
	transfer  *command.Transfer // what an exec moves that is run by a client of scp, rsync or git; nil for others
	level     string            // how a terminal's commands are known; "" until it was asked for
	lastAsked string            // id of the operation that was decided on last

	refusedWith atomic.Int32 // the exit status for what kubectl was refused last; 0: nothing was
}

// session serves a channel of type "session" from its opening to its close.
func (c *connection) session(nc ssh.NewChannel) {
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	s := &session{c: c, id: NewSessionID(), route: c.route, ch: ch}
	if !s.asked.prepare(requests, c.requestRefused) {
		return
	}
	s.started = time.Now()
	s.out = newOutput(s, ch, ch.Stderr())
	s.ctx, s.cancel = context.WithCancelCause(c.ctx)
	defer s.cancel(nil)
	defer s.hushed()
	c.wg.Go(func() { s.requests(requests) }) // ends when the channel is closed
	// The channel may have been opened long ago, and kept for later.
	if err := c.fresh(); err != nil {
		s.sayEnded(err)
		s.exit(shells.Exit{Status: 255})
		return
	}
	if s.route.target == nil {
		s.exit(s.gateCommand())
		return
	}
	c.srv.remembered(s, func() { s.exit(s.run()) })
}

// remembered runs serve while s can be found by its id.
func (s *Server) remembered(ss *session, serve func()) {
	s.mu.Lock()
	s.sessions[ss.id] = ss
	s.mu.Unlock()
	s.o.Meter.Session(string(ss.asked.kind), 1)
	defer func() {
		s.o.Meter.Session(string(ss.asked.kind), -1)
		s.mu.Lock()
		delete(s.sessions, ss.id)
		s.mu.Unlock()
	}()
	serve()
}

// run lets the session go its way, tells the client how it ended where that is not plain, and seals.
func (s *session) run() shells.Exit {
	exit, err := s.through()
	exit = s.outcome(exit, err)
	s.seal(exit, err)
	return exit
}

// through is the way through: decide, record, mint and dial, relay. Each step that fails ends it.
func (s *session) through() (exit shells.Exit, err error) {
	if s.route.target.Opener == nil {
		return exit, s.route.target.tunnelOnly()
	}
	if err := s.admit("session:open", "", s.openFacts()); err != nil {
		return exit, err
	}
	if err := s.unmask(); err != nil {
		return exit, err
	}
	if err := s.admitStart(); err != nil {
		return exit, err
	}
	p, err := s.open()
	if err != nil {
		return exit, err
	}
	defer p.Close()
	if err := s.guardedBy(p); err != nil {
		return exit, err
	}
	switch {
	case s.asked.kind == shells.Subsystem:
		return s.relayFiles(p)
	case s.transfer != nil:
		return s.relayTransfer(p)
	}
	exit, err = s.relay(p)
	if code := int(s.refusedWith.Load()); code != 0 && exit.Status == 1 && s.asked.kind == shells.Exec {
		exit.Status = code // kubectl has one status for all that goes wrong
	}
	return exit, err
}

// openFacts are what policies know of a session before it is opened.
func (s *session) openFacts() map[string]any {
	return map[string]any{
		"kind": string(s.asked.kind), "login": s.route.login, "pty": s.asked.pty != nil,
		"guard": s.guard(), "source": s.c.source.String(),
	}
}

// guard says how exactly the commands of this session are known.
func (s *session) guard() string {
	if s.level != "" {
		return s.level
	}
	if s.route.target.Postgres != nil || s.route.target.Kube != nil {
		return "n/a" // each statement or request is decided on
	}
	if s.asked.kind == shells.Shell {
		if s.asked.pty != nil {
			s.level = s.route.target.Opener.Guard()
			return s.level
		}
		if o, ok := s.route.target.Opener.(shells.PipeGuard); ok {
			return o.PipeGuard()
		}
		return "none" // it reads commands from a pipe, and there is no screen to read them off
	}
	return "n/a"
}

// guardedBy asks p how its commands are known, now that it runs. If that is less than was expected when the session was
// let in, it is decided on once more, before a byte of it is shown.
func (s *session) guardedBy(p shells.Process) error {
	g, ok := p.(interface{ Guard() string })
	if !ok || s.asked.kind != shells.Shell || s.asked.pty == nil || g.Guard() == s.guard() {
		return nil
	}
	s.level = g.Guard()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), ledgerTimeout)
	defer cancel()
	if err := s.c.srv.o.Ledger.SetGuard(ctx, s.id, s.level); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if err := s.recorded(s.recording.Note("guard", map[string]any{"guard": s.level})); err != nil {
		return err
	}
	if s.level == "hook" {
		return nil
	}
	return s.admit("session:open", "", s.openFacts())
}

// admitStart decides on what an exec or a subsystem is about to run. What an interactive shell runs is
// decided on command by command, through Ask; what sftp does, request by request.
func (s *session) admitStart() error {
	switch {
	case s.route.target.Postgres != nil, s.route.target.Kube != nil:
		return nil // each statement or request is
	case s.asked.kind == shells.Exec:
		facts := command.Parse(s.asked.command)
		if err := s.admit("command:run", s.asked.command, s.withGuard(facts)); err != nil {
			return err
		}
		s.transfer = facts.Transfer()
		return s.admitTransfer()
	case s.asked.kind == shells.Subsystem && s.asked.command != "sftp":
		return &Refusal{Code: ExitDenied, Public: fmt.Sprintf("subsystem %s is not understood here, so it is not let through", show(s.asked.command))}
	}
	return nil
}

func (s *session) commandFacts(text string) map[string]any { return s.withGuard(command.Parse(text)) }

func (s *session) withGuard(parsed *command.Facts) map[string]any {
	facts := parsed.Context()
	facts["guard"], facts["login"], facts["source"] = s.guard(), s.route.login, s.c.source.String()
	return facts
}

// admit puts one operation of this session through the gate.
func (s *session) admit(action, text string, facts map[string]any) error {
	return s.admitContext(s.ctx, action, text, facts)
}

func (s *session) admitContext(ctx context.Context, action, text string, facts map[string]any) error {
	return s.admitOperation(ctx, s.operation(action, text, facts))
}

// operation is one of this session.
func (s *session) operation(action, text string, facts map[string]any) Operation {
	return Operation{
		SessionID: s.id, ConnectionID: s.c.id, Principal: s.c.principal, Target: s.route.target.Target,
		Action: action, Text: text, Facts: facts, Justification: s.asked.reason, Screen: s.lastScreen,
	}
}

func (s *session) admitOperation(ctx context.Context, op Operation) error {
	err := s.c.srv.o.Gate.Admit(ctx, op, s)
	// Why the session ended says more than that its hold was withdrawn.
	if why := cause(s.ctx); err != nil && why != nil {
		return why
	}
	return err
}

// open mints the credential, dials the target and starts the process; the target's room does all three.
func (s *session) open() (shells.Process, error) {
	r := shells.Request{
		Kind: s.asked.kind, Pty: s.asked.pty, Command: s.asked.command, Env: s.asked.env, Login: s.route.login,
		KeyID: fmt.Sprintf("%s session %s", s.c.identity.String(), s.id),
	}
	if s.guard() == "hook" || s.asked.kind == shells.Shell && s.asked.pty != nil {
		r.Ask = s
	}
	opener := s.route.target.Opener
	if pg := s.route.target.Postgres; pg != nil {
		opener = pg.Psql(func() postgres.Guard { return &statements{session: s} })
	}
	if k := s.route.target.Kube; k != nil {
		opener = k.Kubectl(s.kubeIdentity(), &kubeSession{session: s, quiet: true})
	}
	p, err := opener.Open(s.ctx, r)
	if err != nil {
		if why := cause(s.ctx); why != nil {
			return nil, why
		}
		return nil, &targetError{target: s.route.target.Name, err: err}
	}
	return p, nil
}

// errGrantEnded ends what an approval let in when its window closes.
var errGrantEnded = publicError("the approval that let this in has ended")

// endWithGrant ends what an approval with a window let in when the window closes: the session, or the one
// command of an interactive shell, if it still is the last that was asked about.
func (s *session) endWithGrant(op Operation, h policies.Hold) {
	ends := h.GrantEnds()
	if ends.IsZero() || !lasting(op) {
		return
	}
	timer := time.AfterFunc(time.Until(ends), func() {
		if op.Action != "command:run" || s.asked.kind != shells.Shell && s.level != "screen" {
			s.cancel(errGrantEnded)
			return
		}
		s.mu.Lock()
		last, deaf := s.lastAsked == op.ID, s.process == nil
		s.mu.Unlock()
		switch {
		case last && deaf: // in a container, where no signal gets
			s.cancel(errGrantEnded)
		case last:
			// An interactive shell ignores SIGTERM, should it be back at its prompt.
			s.deliver("TERM")
		}
	})
	context.AfterFunc(s.ctx, func() { timer.Stop() })
}

// lasting says whether what an approval let in can still be there when its window closes. Most requests to an API are
// answered at once; the session they came in goes on.
func lasting(op Operation) bool {
	switch op.Action {
	case "kube:exec", "kube:attach", "kube:portforward", "kube:proxy", "kube:watch", "kube:other":
		return true
	}
	return !strings.HasPrefix(op.Action, "kube:") || op.Facts["subresource"] == "log"
}

// Ask decides on one command of an interactive shell.
func (s *session) Ask(ctx context.Context, a shells.Asked) error {
	facts := s.commandFacts(a.Command)
	facts["cwd"], facts["line"] = a.Cwd, a.Line
	err := s.admitContext(ctx, "command:run", a.Command, facts)
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return errors.New(refusal.Public)
	}
	return err
}

// relay copies until the process has ended and all its output has been shown.
func (s *session) relay(p shells.Process) (shells.Exit, error) {
	stop := context.AfterFunc(s.ctx, func() { p.Close() }) // killed, revoked, client gone, gate stopping
	defer stop()
	s.mu.Lock()
	s.lines = s.guardLines(p)
	if s.recordsInput && s.asked.pty == nil {
		s.piped = s.newPiped(p.Stdin())
	}
	s.mu.Unlock()
	s.attach(p)
	defer s.attach(nil)

	// Not waited for here: it ends when the client's input does, or with the channel.
	s.c.wg.Go(func() { s.copyInput(p) })

	var outputs sync.WaitGroup
	var stdout reader = p.Stdout()
	if s.lines != nil {
		stdout = watched{stdout, s.lines.output}
	}
	outputs.Go(func() { s.pump(s.out.stdout, stdout) })
	if stderr := p.Stderr(); stderr != nil {
		outputs.Go(func() { s.pump(s.out.stderr, stderr) })
	}
	outputs.Wait()
	exit, err := p.Wait(s.ctx)
	if unrecorded := s.endInput(); unrecorded != nil {
		return exit, unrecorded
	}
	if why := cause(s.ctx); why != nil {
		return exit, why
	}
	if err != nil {
		return exit, &targetError{target: s.route.target.Name, err: err}
	}
	return exit, nil
}

// pump shows one stream of the process, and ends the session when that cannot be done.
func (s *session) pump(st *stream, from reader) {
	if err := st.pump(from); err != nil {
		s.cancel(err)
	}
}

// hushed ends what listens to the client.
func (s *session) hushed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.early != nil {
		s.early.close()
	}
}

func (s *session) asking(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastAsked = id
}

// attach makes p the process that signals and sizes go to, and delivers signals that came too early.
func (s *session) attach(p shells.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process = p
	if p == nil {
		return
	}
	for _, name := range s.pending {
		_ = p.Signal(name)
	}
	s.pending = nil
	if s.eow {
		closeOutput(p)
	}
}

// unread tells the process that its output goes nowhere any more, as when `ssh target command | head` has
// had enough (PROTOCOL section 2.1 of OpenSSH).
func (s *session) unread() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eow = true
	if s.process != nil {
		closeOutput(s.process)
	}
	return true
}

func closeOutput(p shells.Process) {
	if c, ok := p.(shells.OutputCloser); ok {
		_ = c.CloseOutput() // a process that has ended needs no telling
	}
}

// deliver passes a signal on. One that comes while the session waits for an approval is kept for the
// process; it does not answer the hold.
func (s *session) deliver(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		if len(s.pending) >= 8 || !validSignal(name) {
			return false
		}
		s.pending = append(s.pending, name)
		return true
	}
	return s.process.Signal(name) == nil
}

// validSignal knows the names of RFC 4254 section 6.10.
func validSignal(name string) bool {
	switch name {
	case "ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2":
		return true
	}
	return false
}

func (s *session) resize(cols, rows uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.resize(cols, rows)
	s.asked.pty.Cols, s.asked.pty.Rows = cols, rows
	if err := s.recordSize(cols, rows); err != nil {
		return err
	}
	if s.lines != nil {
		s.lines.resize(cols, rows)
	}
	if s.process == nil {
		return nil
	}
	return s.process.Resize(cols, rows)
}

// outcome tells the client how it ended, where the process itself did not.
func (s *session) outcome(exit shells.Exit, err error) shells.Exit {
	if err == nil {
		return exit
	}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		if refusal.Err != nil { // not a decision, but why there was none
			s.c.refused("refused for want of a decision", "session", s.id, "error", refusal.Err)
		}
		s.sayRefused(refusal)
		return shells.Exit{Status: refusal.Code}
	}
	if errors.Is(err, errInterrupted) {
		return shells.Exit{Status: 130} // as a shell says of what SIGINT ended
	}
	s.sayEnded(err)
	return shells.Exit{Status: 255} // what ssh itself returns when the connection fails
}

// effectOf names a decision for listings.
func effectOf(d policies.Decision) string { return d.Effect.String() }
