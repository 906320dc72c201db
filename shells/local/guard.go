package local

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/hook"
)

// Where the files lie inside that make a shell ask. zsh looks for its own by name in a directory.
const (
	guardPath   = "/etc/guard.bashrc"
	zshDir      = "/etc/guard.zsh"     // for a terminal
	zshPipeDir  = "/etc/guard.zsh-env" // for a pipe
	zshPath     = zshDir + "/.zshrc"
	zshPipePath = zshPipeDir + "/.zshenv"
)

//go:embed guard.bashrc
var guardScript string

//go:embed guard.zshrc
var zshScript string

// Bounds on what comes out of a sandbox over the guard's socket, where any program in it can write.
const (
	maxAsk     = 4 << 20 // bytes of one command
	maxAskers  = 64      // processes with an unfinished message
	maxWaiting = 64      // questions at once
	maxKept    = 256     // answers kept for a process that got another's
	maxBounces = 4096    // of one answer
)

// dialectOf tells which hook the shell of a target takes.
func dialectOf(shell []string) (d hook.Dialect, ok bool) {
	if len(shell) != 1 {
		return 0, false
	}
	switch filepath.Base(shell[0]) {
	case "bash":
		return hook.Bash, true
	case "zsh":
		return hook.Zsh, true
	}
	return 0, false
}

// guardedShell is the command line and environment of a shell that asks.
func guardedShell(d hook.Dialect, shell string, interactive bool, env []string) ([]string, []string) {
	with := func(v string) []string { return append(env[:len(env):len(env)], v) }
	switch {
	case d == hook.Zsh && interactive:
		return []string{shell, "-d", "-i"}, with("ZDOTDIR=" + zshDir)
	case d == hook.Zsh:
		return []string{shell, "-d", "-s"}, with("ZDOTDIR=" + zshPipeDir)
	case interactive:
		return []string{shell, "--noprofile", "--rcfile", guardPath, "-i"}, env
	}
	return []string{shell, "--noprofile", "--norc", "-s"}, with("BASH_ENV=" + guardPath)
}

// guard answers the questions of one guarded shell.
type guard struct {
	*hook.Shell
	p     *process
	log   *slog.Logger
	conn  *net.UnixConn
	ready chan struct{} // closed when the shell is guarded and may be typed into

	mu      sync.Mutex // all below
	pending map[string]*question
	kept    map[string]*answer
	order   []string // of kept, oldest first
	wg      sync.WaitGroup
}

type question struct {
	pid    int
	cancel context.CancelFunc
	gone   bool // who asked does not wait any more
}

// answer is kept because another process of the shell may take it from the socket, and gives it back.
type answer struct {
	pid     int
	record  []byte
	bounces int
}

func newGuard(p *process, d hook.Dialect, ask shells.Asker, log *slog.Logger) *guard {
	return &guard{Shell: hook.NewShell(d, ask, p.fail), p: p, log: log, conn: p.hook, ready: make(chan struct{}),
		pending: map[string]*question{}, kept: map[string]*answer{}}
}

// serve reads until the sandbox is gone.
func (g *guard) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	defer g.wg.Wait()
	defer cancel()
	parts := map[int][]byte{}
	buf := make([]byte, 64<<10)
	for {
		n, pid, err := readCred(g.conn, buf)
		if err != nil {
			return
		}
		msg, rest := append(parts[pid], buf[:n]...), []byte(nil)
		for {
			var fields []string
			if fields, rest = cutMessage(msg); fields == nil {
				break
			}
			g.handle(ctx, pid, fields)
			msg = rest
		}
		delete(parts, pid)
		if len(msg) > maxAsk || len(parts) >= maxAskers {
			g.p.fail(&hook.TamperError{What: "a question without an end"})
			return
		}
		if len(msg) > 0 {
			parts[pid] = msg
		}
	}
}

// fieldsOf is how many strings, each ended by a zero byte, a message has.
var fieldsOf = map[byte]int{'A': 4, 'L': 2, 'P': 3, 'M': 1, 'R': 1, 'Z': 2}

// cutMessage takes the first message off b. fields is nil when it is not whole. Its first field keeps
// the letter of its kind.
func cutMessage(b []byte) (fields []string, rest []byte) {
	if len(b) == 0 {
		return nil, b
	}
	n := fieldsOf[b[0]]
	if n == 0 {
		n = 1 // nobody's: passed over to its first zero
	}
	rest = b
	for range n {
		f, after, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return nil, b
		}
		fields, rest = append(fields, string(f)), after
	}
	return fields, rest
}

func (g *guard) handle(ctx context.Context, pid int, f []string) {
	kind, id := byte(0), ""
	if f[0] != "" {
		kind, id = f[0][0], f[0][1:]
	}
	switch kind {
	case 'R':
		if g.p.pty == nil {
			g.cameUp(pid)
		}
	case 'M':
		g.bounce(id)
	case 'P':
		g.prompt(pid, id, f[1], f[2])
		g.cameUp(pid)
	case 'A':
		g.question(ctx, pid, id, func(ctx context.Context) error { return g.Command(ctx, pid, pid == g.p.pid, f[1], f[2], f[3]) })
	case 'Z':
		if pid == g.p.pid {
			g.ZshLine(f[1])
		}
	case 'L':
		g.question(ctx, pid, id, func(ctx context.Context) error { return g.Line(ctx, f[1]) })
	}
}

// cameUp lets the shell be typed into: at its first prompt, or when it has read the guard if it has none.
func (g *guard) cameUp(pid int) {
	if pid == g.p.pid && g.Up() {
		close(g.ready)
	}
}

// question has one question answered, in a goroutine of its own: humans may take minutes.
func (g *guard) question(ctx context.Context, pid int, id string, decide func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	g.mu.Lock()
	_, twice := g.pending[id]
	_, again := g.kept[id]
	full := len(g.pending) >= maxWaiting
	if !twice && !again && !full {
		g.pending[id] = &question{pid: pid, cancel: cancel}
	}
	g.mu.Unlock()
	switch {
	case len(id) != 16 || twice || again:
		cancel()
		g.p.fail(&hook.TamperError{What: "a question was forged"})
		return
	case full:
		cancel()
		g.send(id, pid, errors.New("refused: too many commands wait for an answer"))
		return
	}
	var asker *pidHandle
	if pid != g.p.pid { // the main shell shows a prompt when it gave up; others end
		var err error
		if asker, err = openPid(pid); err != nil {
			cancel()
		} else {
			g.wg.Go(func() {
				if asker.wait() == nil {
					g.withdraw(func(q *question) bool { return q.pid == pid })
				}
			})
		}
	}
	g.wg.Go(func() {
		err := decide(ctx)
		cancel()
		if asker != nil {
			asker.close()
		}
		g.answer(id, err)
	})
}

// answer tells the shell.
func (g *guard) answer(id string, err error) {
	g.mu.Lock()
	q := g.pending[id]
	delete(g.pending, id)
	if q.gone {
		g.mu.Unlock()
		return // an answer nobody reads would stay in the socket
	}
	g.mu.Unlock()
	if err != nil {
		g.Refused()
	}
	g.send(id, q.pid, err)
}

// withdraw ends the questions that which picks: nobody waits for them.
func (g *guard) withdraw(which func(*question) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, q := range g.pending {
		if which(q) {
			q.gone = true
			q.cancel()
		}
	}
}

// interrupted is told that the interrupt key was typed. The shell asks on behalf of each part of a
// pipeline, and then the key's signal goes to the parts that run, and not to the shell.
func (g *guard) interrupted() {
	g.mu.Lock()
	waits := false
	for _, q := range g.pending {
		waits = waits || q.pid == g.p.pid
	}
	g.mu.Unlock()
	if fg, err := foreground(g.p.pty); waits && err == nil && fg != g.p.pid {
		g.p.main.signal(unix.SIGINT)
	}
}

// send writes an answer and keeps it.
func (g *guard) send(id string, pid int, err error) {
	record := hook.Answer(id, err)
	g.mu.Lock()
	g.kept[id] = &answer{pid: pid, record: record}
	if g.order = append(g.order, id); len(g.order) > maxKept {
		delete(g.kept, g.order[0])
		g.order = g.order[1:]
	}
	g.mu.Unlock()
	g.write(record)
}

func (g *guard) write(record []byte) {
	g.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := g.conn.Write(record); err != nil {
		g.p.fail(errors.New("the shell does not take the answers to its questions"))
	}
}

// bounce sends an answer again that reached another process than the one which asked.
func (g *guard) bounce(id string) {
	g.mu.Lock()
	a := g.kept[id]
	if a != nil {
		if a.bounces++; a.bounces > maxBounces || unix.Kill(a.pid, 0) == unix.ESRCH {
			a = nil // who asked is gone
		}
	}
	g.mu.Unlock()
	if a != nil {
		g.write(a.record)
	}
}

// prompt is the main shell's report that it waits for a line.
func (g *guard) prompt(pid int, flags, opts, trap string) {
	if pid != g.p.pid {
		return
	}
	g.mu.Lock()
	for _, a := range g.kept {
		if a.pid == pid {
			a.bounces = maxBounces // it reads them no more
		}
	}
	g.mu.Unlock()
	g.withdraw(func(q *question) bool { return q.pid == pid })
	g.Prompt(flags, opts, trap)
}

// await returns when the shell is guarded.
func (g *guard) await(ctx context.Context, limit time.Duration) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-g.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-g.p.exited:
		return errors.New("the shell ended before its guard was up")
	case <-t.C:
		return fmt.Errorf("the shell's guard did not come up within %v: it needs bash 5.1 or zsh 5.9, or newer", limit)
	}
}
