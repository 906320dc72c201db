package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/sallyport-ssh/sallyport/shells"
)

// process is one sandbox and the command in it.
//
//	gate ── bwrap ─┊─ first process (bwrap) ── wrapper (dash, then cat) ── command
//
// Right of the dotted line is the sandbox. When its first process is killed the kernel kills the rest.
type process struct {
	l    *Local
	cmd  *exec.Cmd // bwrap
	pid  int       // of the command, on the host; it stays taken until the sandbox is gone
	main *pidHandle
	init *pidHandle // nil without a sandbox

	hold, diag, info *os.File
	hello, hook      *net.UnixConn
	stdin            *os.File // nil with a terminal
	stdout, stderr   *os.File
	pty              *os.File // nil without a terminal

	exit     shells.Exit
	exitErr  error
	exited   chan struct{} // exit and exitErr are known
	drained  chan struct{} // every output was read to its end
	closing  chan struct{}
	gone     chan struct{} // the sandbox is empty and reaped, every goroutine of it but the hook's has ended
	closeOne sync.Once
	eofs     sync.Mutex
	left     int // outputs not at their end

	guard  *guard
	guards sync.WaitGroup
	why    errOnce // why the gate ended it
}

// errOnce keeps the first error it is given.
type errOnce struct {
	mu  sync.Mutex
	err error
}

func (e *errOnce) set(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
}

func (e *errOnce) get() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// watching starts the goroutines of a running sandbox; Close waits for them.
func (p *process) watching(s startSpec) {
	p.left = 2
	if p.pty != nil {
		p.left = 1
	}
	if p.hook != nil {
		p.guard = newGuard(p, p.l.dialect, s.ask, p.l.c.Log)
		p.guards.Go(p.guard.serve)
	}
	go p.watch()
}

// watch waits for the command, then for what is left of its output, and clears up.
func (p *process) watch() {
	defer close(p.gone)
	err := p.main.wait()
	if err == nil {
		p.exit, err = exitOf(p.pid)
	}
	if why := p.why.get(); why != nil {
		err = why
	}
	p.exitErr = err
	close(p.exited)
	t := time.NewTimer(p.l.c.Linger)
	defer t.Stop()
	select {
	case <-p.drained:
	case <-p.closing:
	case <-t.C: // something left behind holds the output open
	}
	p.abandon()
	p.l.forget(p)
}

// abandon kills what is in the sandbox and reaps it. Output that was written can still be read.
func (p *process) abandon() {
	p.hold.Close()
	switch {
	case p.init != nil:
		p.init.kill()
		p.init.wait()
		p.init.close()
	case p.main != nil: // no sandbox: its session's processes
		unix.Kill(-p.pid, unix.SIGKILL)
	default:
		p.cmd.Process.Kill()
	}
	p.cmd.Wait()
	if p.main != nil {
		p.main.close()
	}
	p.diag.Close()
	p.info.Close()
	p.hello.Close()
	if p.hook != nil {
		p.hook.Close()
	}
}

// fail ends the session for a reason that Wait reports.
func (p *process) fail(err error) {
	p.why.set(err)
	p.kill()
}

func (p *process) kill() {
	if p.init != nil {
		p.init.kill()
	} else {
		p.main.signal(unix.SIGKILL)
	}
}

// Wait returns how the command ended. Outputs should have reached their end, so that none is lost to the
// caller; the exit itself is known as soon as the command has ended.
func (p *process) Wait(ctx context.Context) (shells.Exit, error) {
	select {
	case <-p.exited:
		return p.exit, p.exitErr
	case <-ctx.Done():
		return shells.Exit{}, context.Cause(ctx)
	}
}

// Close kills everything in the sandbox and returns when it is reaped.
func (p *process) Close() error {
	p.closeOne.Do(func() {
		p.why.set(errors.New("the session was closed"))
		close(p.closing)
		p.kill()
	})
	<-p.gone
	p.guards.Wait()
	closeAll([]*os.File{p.stdin, p.stdout, p.stderr, p.pty})
	return nil
}

// Stdin is a pipe to the command.
func (p *process) Stdin() io.WriteCloser { return p.stdin }

// Stdout is a pipe from the command.
func (p *process) Stdout() io.Reader { return &output{p: p, f: p.stdout} }

// CloseOutput closes the pipe from the command. A terminal hangs up.
func (p *process) CloseOutput() error {
	if p.pty != nil {
		return p.Signal(string(ssh.SIGHUP))
	}
	return p.stdout.Close()
}

// Stderr is a pipe from the command.
func (p *process) Stderr() io.Reader { return &output{p: p, f: p.stderr} }

// Resize is for terminals only.
func (p *process) Resize(cols, rows uint32) error {
	if p.pty == nil {
		return errors.New("the session has no terminal")
	}
	return setSize(p.pty, cols, rows)
}

// signals are the names of RFC 4254 section 6.10.
var signals = map[string]unix.Signal{
	string(ssh.SIGABRT): unix.SIGABRT, string(ssh.SIGALRM): unix.SIGALRM, string(ssh.SIGFPE): unix.SIGFPE,
	string(ssh.SIGHUP): unix.SIGHUP, string(ssh.SIGILL): unix.SIGILL, string(ssh.SIGINT): unix.SIGINT,
	string(ssh.SIGKILL): unix.SIGKILL, string(ssh.SIGPIPE): unix.SIGPIPE, string(ssh.SIGQUIT): unix.SIGQUIT,
	string(ssh.SIGSEGV): unix.SIGSEGV, string(ssh.SIGTERM): unix.SIGTERM,
	string(ssh.SIGUSR1): unix.SIGUSR1, string(ssh.SIGUSR2): unix.SIGUSR2,
}

// Signal reaches the process group of the command or, with a terminal, the one in its foreground.
func (p *process) Signal(name string) error {
	sig, ok := signals[name]
	if !ok {
		return fmt.Errorf("signal %q: not one of RFC 4254", name)
	}
	select {
	case <-p.exited:
		return os.ErrProcessDone
	default:
	}
	if p.guard != nil {
		p.guard.Typed.Store(true)
	}
	group := p.pid
	if p.pty != nil {
		fg, err := foreground(p.pty)
		if err != nil {
			return fmt.Errorf("signal %s: %w", name, err)
		}
		if fg > 1 {
			group = fg
		}
	}
	err := unix.Kill(-group, sig)
	if errors.Is(err, unix.ESRCH) && group == p.pid {
		err = p.main.signal(sig) // not yet the leader of its group
	}
	if err != nil {
		return fmt.Errorf("signal %s: %w", name, err)
	}
	return nil
}

// output is one stream; its end is counted.
type output struct {
	p    *process
	f    *os.File
	once sync.Once
}

func (o *output) Read(b []byte) (int, error) {
	n, err := o.f.Read(b)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, unix.EIO) { // Linux says so when nobody holds the other side of a terminal
		err = io.EOF
	}
	o.once.Do(o.p.ended)
	return n, err
}

func (p *process) ended() {
	p.eofs.Lock()
	defer p.eofs.Unlock()
	if p.left--; p.left == 0 {
		close(p.drained)
	}
}

// exitOf reads the wait status of a process that has ended and was not waited for (proc(5), the last
// field of stat).
func exitOf(pid int) (shells.Exit, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return shells.Exit{}, fmt.Errorf("the session was killed with its sandbox: %w", err)
	}
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 50 || fields[0] != "Z" {
		return shells.Exit{}, errors.New("the session ended in a way that could not be seen")
	}
	code, err := strconv.Atoi(fields[49])
	if err != nil {
		return shells.Exit{}, fmt.Errorf("exit status: %w", err)
	}
	ws := unix.WaitStatus(code)
	if ws.Signaled() {
		return shells.Exit{Signal: signalName(ws.Signal()), CoreDumped: ws.CoreDump()}, nil
	}
	return shells.Exit{Status: ws.ExitStatus()}, nil
}

// signalName is a name without SIG, also for signals that RFC 4254 does not list.
func signalName(sig unix.Signal) string {
	if name := strings.TrimPrefix(unix.SignalName(sig), "SIG"); name != "" {
		return name
	}
	return "SIG" + strconv.Itoa(int(sig)) + "@sallyport"
}
