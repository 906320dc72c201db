package sshd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/command"
	"github.com/sallyport-ssh/sallyport/filters/line"
	"github.com/sallyport-ssh/sallyport/shells"
)

// A lineGuard stands between a client's keys and a terminal whose shell cannot be asked. Keys pass as they are typed,
// but for those that would run something: these wait until the screen shows what was typed, or has come to rest
// without, and until the line was decided on. It is advisory; filters/line says why.
type lineGuard struct {
	decide func(context.Context, line.View, *command.Facts) error // nil: nothing is decided on here
	typed  *typed                                                 // nil: what is typed is not recorded
	to     io.Writer
	queue  *typeahead // what is typed while a line waits
	pause  bool       // a line was run or given up: what follows waits for the next prompt

	moved chan struct{} // the target has written; one pending at most

	mu     sync.Mutex // all below
	r      *line.Reader
	sent   time.Time // when the last key was passed on
	lag    time.Duration
	echoed bool               // the target has written since
	wrote  time.Time          // when it last did
	quiet  time.Duration      // for how long a screen that rests is not written to
	undo   context.CancelFunc // gives up the decision that is awaited; nil when none is
}

// How long a screen gets to show what was typed. The time that echoes took so far counts four times.
const (
	minRest   = 60 * time.Millisecond  // when nothing depends on it but the comfort of a full-screen program
	shownRest = 250 * time.Millisecond // when the line is known from the screen alone
	lateRest  = 800 * time.Millisecond // when the screen does not show what was typed
	maxRest   = 2 * time.Second
	firstLag  = 60 * time.Millisecond // until the first echo was seen
	restQuiet = 40 * time.Millisecond // between the parts of what a shell draws
)

// interrupt is what a refused line is cleared with: every line editor, and a terminal without one, begins anew.
const interrupt = "\x03"

func newLineGuard(cols, rows int, decide func(context.Context, line.View, *command.Facts) error) *lineGuard {
	return &lineGuard{decide: decide, r: line.New(cols, rows), moved: make(chan struct{}, 1), lag: firstLag, quiet: restQuiet}
}

// output is shown what the target writes, before anything else is done with it.
func (g *lineGuard) output(p []byte) {
	g.mu.Lock()
	g.r.Output(p)
	g.wrote = time.Now()
	if !g.echoed && !g.sent.IsZero() {
		g.echoed = true
		// The slowest echo counts, and is forgotten slowly.
		g.lag = max(min(time.Since(g.sent), maxRest), g.lag-g.lag/16)
	}
	g.mu.Unlock()
	select {
	case g.moved <- struct{}{}:
	default:
	}
}

func (g *lineGuard) resize(cols, rows uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.r.Resize(int(cols), int(rows))
}

// interrupted is told of every Ctrl-C as it comes from the client: it takes back what waits for a decision.
func (g *lineGuard) interrupted() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.undo != nil {
		g.undo()
	}
}

// run passes keys on until there are no more.
func (g *lineGuard) run(ctx context.Context, to io.Writer, queue *typeahead) error {
	g.to, g.queue = to, queue
	buf := make([]byte, 4<<10)
	for {
		n, err := queue.Read(buf)
		if werr := g.keys(ctx, buf[:n]); werr != nil {
			return werr
		}
		if err != nil {
			return err
		}
	}
}

// keys passes p on, with a stop at each key that would run something.
func (g *lineGuard) keys(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		g.rest(ctx)
		g.mu.Lock()
		if g.echoed && time.Since(g.wrote) > g.quiet {
			g.r.Rested()
		}
		shown, all := g.givesUp(p)
		send, used, stop := g.r.Keys(g.upToInterrupt(p))
		g.mu.Unlock()
		if interrupts(p) {
			if err := g.typed.line(shown, all, send); err != nil {
				return err
			}
		} else {
			g.typed.sending(send)
		}
		p = p[used:]
		if err := g.send(send); err != nil {
			return err
		}
		if stop == nil {
			g.pause = bytes.ContainsAny(send[max(0, len(send)-1):], "\x03\x1c")
			continue
		}
		passed, err := g.stopped(ctx, *stop)
		if err != nil {
			return err
		}
		g.pause = true
		if !passed {
			p = nil // what was typed behind it counted on it
		}
	}
	return nil
}

// interrupts says whether p begins with a key that gives the line up.
func interrupts(p []byte) bool { return p[0] == 0x03 || p[0] == 0x1c }

// upToInterrupt cuts p so that a key that gives the line up comes alone: what there is of the line is recorded first.
func (g *lineGuard) upToInterrupt(p []byte) []byte {
	if i := bytes.IndexAny(p, "\x03\x1c"); g.typed != nil && i >= 0 {
		return p[:max(i, 1)]
	}
	return p
}

// givesUp is what the screen shows of a line that p gives up. The lock is held.
func (g *lineGuard) givesUp(p []byte) (string, bool) {
	if g.typed == nil || !interrupts(p) {
		return "", false
	}
	return g.r.Echoed()
}

func (g *lineGuard) send(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	g.mu.Lock()
	g.sent, g.echoed = time.Now(), false
	g.mu.Unlock()
	_, err := g.to.Write(p)
	return err
}

// rest waits, after a line was run or given up, until the shell has drawn what follows, so that what is typed ahead
// is not mixed with it. A command that runs and writes nothing is not waited for.
func (g *lineGuard) rest(ctx context.Context) {
	for g.pause && ctx.Err() == nil {
		g.mu.Lock()
		limit := min(max(4*g.lag, shownRest, 2*g.quiet), maxRest)
		wait := limit - time.Since(g.sent)
		if g.echoed {
			wait = min(max(wait, 0), g.quiet-time.Since(g.wrote))
		}
		g.mu.Unlock()
		if wait <= 0 {
			g.pause = false
			return
		}
		g.wait(ctx, wait)
	}
}

// wait returns after d, or when the target has written.
func (g *lineGuard) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-g.moved:
	case <-t.C:
	case <-ctx.Done():
	}
}

// stopped has the line decided on that s would run, and sends s or clears the line.
func (g *lineGuard) stopped(ctx context.Context, s line.Stop) (passed bool, err error) {
	for {
		v := g.settle(ctx, s)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		facts, refused := g.judge(ctx, v)
		if refused != nil {
			g.mu.Lock()
			shown, all := g.r.Echoed()
			g.r.Interrupted()
			g.mu.Unlock()
			if err := g.noted(s, shown, all); err != nil {
				return false, err
			}
			g.queue.discard()
			// An editor that is still drawing would begin anew without a prompt.
			g.pause = true
			g.rest(ctx)
			if s.Literal {
				if err := g.send([]byte(interrupt)); err != nil {
					return false, err
				}
				g.pause = true
				g.rest(ctx)
			}
			return false, g.send([]byte(interrupt))
		}
		g.mu.Lock()
		// What changed while it waited is another operation.
		if now := g.r.Look(s); facts != nil && !now.Same(v) {
			g.mu.Unlock()
			continue
		}
		shown, all := g.r.Echoed()
		g.r.Accepted(s, v, facts)
		g.mu.Unlock()
		if err := g.noted(s, shown, all); err != nil {
			return false, err
		}
		return true, g.send(s.Key)
	}
}

// noted records the line that s would run. What a paste or a key for the shell adds to the line is a part of it.
func (g *lineGuard) noted(s line.Stop, shown string, all bool) error {
	if s.Kind == line.Paste || s.Kind == line.Expand {
		g.typed.sending(s.Key)
		return nil
	}
	return g.typed.line(shown, all, s.Key)
}

// finish records what there is of a line that nobody has run.
func (g *lineGuard) finish() error {
	if g == nil || g.typed == nil {
		return nil
	}
	g.mu.Lock()
	shown, all := g.r.Echoed()
	g.mu.Unlock()
	return errors.Join(g.typed.line(shown, all, nil), g.typed.close())
}

// judge decides on v. Facts are nil when there was nothing to decide on.
func (g *lineGuard) judge(ctx context.Context, v line.View) (*command.Facts, error) {
	g.mu.Lock()
	secret := g.r.IsSecret(v)
	if secret {
		g.r.Secret()
	}
	ctx, cancel := context.WithCancel(ctx)
	g.undo = cancel
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.undo = nil
		g.mu.Unlock()
		cancel()
	}()
	if secret || v.Seen == line.Nothing || v.Unfinished {
		return nil, nil
	}
	facts := command.ParseLine(v.Text)
	if g.decide == nil {
		return facts, nil
	}
	return facts, g.decide(ctx, v, facts)
}

// settle returns the line when both views agree on it, or when the screen has come to rest.
func (g *lineGuard) settle(ctx context.Context, s line.Stop) line.View {
	began := time.Now()
	for {
		g.mu.Lock()
		v := g.r.Look(s)
		rest := max(4*g.lag, minRest)
		switch v.Seen {
		case line.Screen:
			rest = max(rest, shownRest)
		case line.Differ, line.Hidden:
			rest = max(rest, lateRest)
		}
		since, waits := time.Since(g.sent), !g.echoed
		g.mu.Unlock()
		if g.decide == nil && (v.Seen == line.Nothing || g.typed.readsSecret()) {
			return v
		}
		if v.Seen == line.Both || v.Seen == line.Nothing && !waits && since >= minRest/2 || since >= min(rest, maxRest) || time.Since(began) > maxRest {
			return v
		}
		g.wait(ctx, max(min(rest, maxRest)-since, time.Millisecond))
		if ctx.Err() != nil {
			return v
		}
	}
}

// guardLines puts a guard between the client and p's terminal, where the shell in it does not ask, and where what is
// typed is recorded. It returns nil where there is nothing to guard and to record.
func (s *session) guardLines(p shells.Process) *lineGuard {
	if s.asked.pty == nil {
		return nil
	}
	g := newLineGuard(int(s.asked.pty.Cols), int(s.asked.pty.Rows), s.admitLine)
	if s.recordsInput {
		g.typed = s.newTyped(p)
	}
	if s.guard() == "screen" {
		return g
	}
	if s.asked.kind == shells.Exec {
		// A command with a terminal may be a shell, or become one.
		facts := command.Parse(s.asked.command)
		g.r.Runs(facts)
		if facts.Opaque || facts.Classes.Has(command.Interpreter) {
			return g
		}
	}
	if s.recordsInput {
		g.decide = nil // the shell asks, or nothing does
		return g
	}
	return nil
}

// admitLine decides on a line as the screen guard has it.
func (s *session) admitLine(ctx context.Context, v line.View, parsed *command.Facts) error {
	text, facts := v.Text, parsed.Context()
	if v.Seen == line.Hidden && !line.IsCommand(text) {
		// It may be a password after all: nobody is shown it, and no two are the same operation.
		text = fmt.Sprintf("unseen input %s (%d characters after %q)", NewHoldID(), v.Typed, v.Prompt)
		facts = command.Parse(text).Context()
	}
	if v.Seen == line.Differ || v.Seen == line.Hidden {
		why, _ := facts["why"].([]string)
		facts["opaque"], facts["why"] = true, append([]string{v.Why}, why...)
	}
	facts["guard"], facts["seen"], facts["login"] = "screen", string(v.Seen), s.route.login
	if v.Seen != line.Hidden {
		facts["line"] = v.Shown
	}
	err := s.admitContext(ctx, "command:run", text, facts)
	var refusal *Refusal
	if errors.As(err, &refusal) {
		s.sayRefused(refusal)
	}
	return err
}

// A watched reader shows the guard what passes.
type watched struct {
	io.Reader
	see func([]byte)
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.see(p[:n])
	}
	return n, err
}

// discard forgets what was typed and not read yet. An end of input stays.
func (t *typeahead) discard() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = bytes.Clone(t.buf[:0])
	t.moved.Broadcast()
}
