package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/sallyport-ssh/sallyport/shells"
)

// maxCommand is the longest single argument that Linux passes (MAX_ARG_STRLEN), less the end.
const maxCommand = 128<<10 - 1

// Open starts r in a sandbox of its own.
func (l *Local) Open(ctx context.Context, r shells.Request) (shells.Process, error) {
	spec, err := l.spec(r)
	if err != nil {
		return nil, err
	}
	p, err := l.start(ctx, spec)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &Error{Public: "the session could not be started on this target", Err: err}
	}
	if p.pty != nil {
		return &terminal{p}, nil
	}
	return p, nil
}

// startSpec is one command, with what it is given.
type startSpec struct {
	argv []string
	env  []string
	pty  *shells.Pty
	ask  shells.Asker
}

// spec turns a request into what to run, or refuses it.
func (l *Local) spec(r shells.Request) (startSpec, error) {
	s := startSpec{env: l.env(r), pty: r.Pty}
	if r.Login != "" && r.Login != l.c.User {
		return s, &Error{Public: fmt.Sprintf("this target has no user %q, only %q", r.Login, l.c.User)}
	}
	if strings.ContainsRune(r.Command, 0) {
		return s, &Error{Public: "a command cannot hold a zero byte"}
	}
	switch r.Kind {
	case shells.Shell:
		s.argv = l.c.Shell
		if l.hook && r.Ask != nil {
			s.ask = r.Ask
			s.argv, s.env = guardedShell(l.dialect, l.c.Shell[0], r.Pty != nil, s.env)
		}
	case shells.Exec:
		if len(r.Command) > maxCommand {
			return s, &Error{Public: fmt.Sprintf("the command is longer than %d bytes, which Linux does not pass on", maxCommand)}
		}
		s.argv = append(append([]string(nil), l.c.Exec...), r.Command)
	case shells.Subsystem:
		if r.Command != "sftp" {
			return s, &Error{Public: fmt.Sprintf("this target has no subsystem %q", r.Command)}
		}
		if _, err := os.Stat(l.c.SFTPServer); err != nil {
			return s, &Error{Public: "this target has no sftp: its server is not installed", Err: err}
		}
		s.argv, s.pty = []string{l.c.SFTPServer}, nil
	default:
		return s, &Error{Public: fmt.Sprintf("a session of kind %q is not known here", r.Kind)}
	}
	return s, nil
}

// env is the whole environment of a session.
func (l *Local) env(r shells.Request) []string {
	env := []string{"PATH=" + l.c.Path, "HOME=" + l.c.Home, "USER=" + l.c.User, "LOGNAME=" + l.c.User,
		"SHELL=" + l.c.Shell[0], "LANG=C.UTF-8"}
	if r.Pty != nil && envValue(r.Pty.Term) {
		env = append(env, "TERM="+r.Pty.Term)
	}
	env = append(env, l.c.Env...)
	for _, e := range r.Env {
		name, value, ok := strings.Cut(e, "=")
		if ok && envName.MatchString(name) && !dangerousEnv(name) && envValue(value) {
			env = append(env, e)
		}
	}
	return env
}

func envValue(v string) bool { return len(v) < 32<<10 && !strings.ContainsRune(v, 0) }

// ends are the two sides of what a command is given.
type ends struct {
	ours, theirs []*os.File
}

func (e *ends) closeTheirs() { closeAll(e.theirs) }
func (e *ends) closeAll()    { closeAll(e.theirs); closeAll(e.ours) }

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// start makes a sandbox and returns when its command runs.
func (l *Local) start(ctx context.Context, s startSpec) (*process, error) {
	p := &process{l: l, exited: make(chan struct{}), drained: make(chan struct{}), closing: make(chan struct{}), gone: make(chan struct{})}
	e := &ends{}
	files, err := l.prepare(p, s, e)
	if err != nil {
		e.closeAll()
		return nil, err
	}
	if err := l.run(ctx, p, s, files); err != nil {
		e.closeAll()
		return nil, err
	}
	e.closeTheirs()
	if !l.keep(p) {
		p.abandon()
		return nil, errors.New("the target is closed")
	}
	p.watching(s)
	if p.guard != nil {
		if err := p.guard.await(ctx, l.c.StartTimeout); err != nil {
			p.Close()
			return nil, err
		}
	}
	return p, nil
}

// keep counts p among the open ones.
func (l *Local) keep(p *process) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.open[p] = struct{}{}
	return true
}

func (l *Local) forget(p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, p)
}

// prepare makes the descriptors of a sandbox, in the order of the fd constants, from 0.
func (l *Local) prepare(p *process, s startSpec, e *ends) ([]*os.File, error) {
	files := make([]*os.File, fdFiles)
	pipe := func(theirs int, ours **os.File, write bool) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		if write {
			r, w = w, r
		}
		files[theirs], *ours = w, r
		e.ours, e.theirs = append(e.ours, r), append(e.theirs, w)
		return nil
	}
	err := errors.Join(pipe(0, &p.hold, true), pipe(2, &p.diag, false), pipe(fdInfo, &p.info, false))
	if err != nil {
		return nil, err
	}
	if s.pty != nil {
		err = p.openPty(s.pty, l.hostIDs(), files, e)
	} else {
		err = errors.Join(pipe(fdIn, &p.stdin, true), pipe(fdOut, &p.stdout, false), pipe(fdErr, &p.stderr, false))
	}
	if err != nil {
		return nil, err
	}
	if err := socket(&p.hello, fdHello, files, e); err != nil {
		return nil, err
	}
	if s.ask != nil {
		if err := socket(&p.hook, fdHook, files, e); err != nil {
			return nil, err
		}
	}
	return l.boxFiles(s, files, e)
}

// boxFiles adds bwrap's own.
func (l *Local) boxFiles(s startSpec, files []*os.File, e *ends) ([]*os.File, error) {
	if !l.sandbox {
		return files, nil
	}
	words := slices.Clone(l.box.args)
	if s.pty != nil {
		// So that ttyname(3) finds the terminal, whose own name lies outside.
		words = slices.Insert(words, l.box.devAt, "--dev-bind", files[fdIn].Name(), "/dev/console")
	}
	for _, v := range s.env {
		name, value, _ := strings.Cut(v, "=")
		words = append(words, "--setenv", name, value)
	}
	args, err := argsFile(words)
	if err != nil {
		return nil, err
	}
	files[fdArgs] = args
	e.theirs = append(e.theirs, args)
	for _, f := range l.box.files {
		again, err := reopen(f)
		if err != nil {
			return nil, err
		}
		files = append(files, again)
		e.theirs = append(e.theirs, again)
	}
	return files, nil
}

// hostIDs are the owner of terminals.
func (l *Local) hostIDs() (ids [2]int) {
	if os.Geteuid() == 0 && l.sandbox {
		return [2]int{int(l.c.HostUID), int(l.c.HostGID)}
	}
	return [2]int{-1, -1}
}

// socket makes a pair that carries messages and tells who sent each.
func socket(ours **net.UnixConn, theirs int, files []*os.File, e *ends) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	us := os.NewFile(uintptr(fds[0]), "gate")
	defer us.Close() // FileConn takes a descriptor of its own
	files[theirs] = os.NewFile(uintptr(fds[1]), "sandbox")
	e.theirs = append(e.theirs, files[theirs])
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return err
	}
	c, err := net.FileConn(us)
	if err != nil {
		return err
	}
	*ours = c.(*net.UnixConn)
	return nil
}

// command is the line that starts a sandbox.
func (l *Local) command(s startSpec) *exec.Cmd {
	inner := append(limitArgs(l.c.Limits), setsidPath)
	if s.pty != nil {
		inner = append(inner, "-c")
	}
	// What was ignored when the gate was started, or by a shell's &, must not stay so.
	inner = append(inner, envPath, "--default-signal")
	inner = append(inner, s.argv...)
	if !l.sandbox {
		cmd := exec.Command(dashPath, append([]string{"-c", wrapper, "sh"}, inner...)...)
		cmd.Env = s.env
		return cmd
	}
	cmd := exec.Command(bwrapPath, append([]string{"--args", fmt.Sprint(fdArgs), "--info-fd", fmt.Sprint(fdInfo),
		"--", dashPath, wrapperPath}, inner...)...)
	cmd.Env = []string{}
	return cmd
}

// run starts it and learns who is who in it.
func (l *Local) run(ctx context.Context, p *process, s startSpec, files []*os.File) error {
	cmd := l.command(s)
	cmd.Dir = "/"
	if !l.sandbox {
		cmd.Dir = existing(l.c.Dir)
	}
	cmd.Stdin, cmd.Stderr = files[0], files[2]
	cmd.ExtraFiles = files[3:]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if ids := l.hostIDs(); ids[0] > 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(ids[0]), Gid: uint32(ids[1])}
	}
	var err error
	if !l.spawn.do(func() { err = cmd.Start() }) {
		err = errors.New("the target is closed")
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p.cmd = cmd
	for i, f := range files {
		if f != nil && i != fdIn && i != fdOut && i != fdErr {
			f.Close() // so that the end of theirs is seen
		}
	}
	if err := p.meet(ctx, l.c.StartTimeout, l.sandbox); err != nil {
		p.abandon()
		return err
	}
	return nil
}

func existing(dir string) string {
	if _, err := os.Stat(dir); err != nil {
		return "/"
	}
	return dir
}

// meet waits until the command runs, and opens handles of it and of the sandbox's first process.
func (p *process) meet(ctx context.Context, limit time.Duration, sandbox bool) error {
	deadline := time.Now().Add(limit)
	p.hello.SetReadDeadline(deadline)
	p.info.SetReadDeadline(deadline)
	stop := context.AfterFunc(ctx, func() {
		p.hello.SetReadDeadline(time.Unix(1, 0))
		p.info.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	if sandbox {
		var info struct {
			Child int `json:"child-pid"`
		}
		if err := json.NewDecoder(p.info).Decode(&info); err != nil {
			return p.whyNot(ctx, err)
		}
		var err error
		if p.init, err = openPid(info.Child); err != nil {
			return p.whyNot(ctx, err)
		}
	}
	msg := make([]byte, 16)
	_, pid, err := readCred(p.hello, msg)
	if err == nil {
		p.pid = pid
		p.main, err = openPid(pid)
	}
	if err != nil {
		return p.whyNot(ctx, err)
	}
	p.hello.Close()
	p.info.Close()
	return nil
}

// whyNot is err with what bwrap said.
func (p *process) whyNot(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.diag.SetReadDeadline(time.Now().Add(time.Second))
	said := make([]byte, 1024)
	n, _ := io.ReadFull(p.diag, said)
	if n > 0 {
		return fmt.Errorf("bwrap says %q", strings.TrimSpace(string(said[:n])))
	}
	return fmt.Errorf("the sandbox did not come up: %w", err)
}

// readCred reads one message and the process id, as the kernel knows it, of whoever sent it.
func readCred(c *net.UnixConn, p []byte) (n, pid int, err error) {
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, oobn, _, _, err := c.ReadMsgUnix(p, oob)
	if err != nil {
		return 0, 0, err
	}
	if n == 0 {
		return 0, 0, io.EOF
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return 0, 0, err
	}
	for i := range msgs {
		if cred, err := unix.ParseUnixCredentials(&msgs[i]); err == nil && cred.Pid > 0 {
			return n, int(cred.Pid), nil
		}
	}
	return 0, 0, errors.New("a message without a sender")
}

// openPty makes the terminal and gives its other side to the command.
func (p *process) openPty(want *shells.Pty, owner [2]int, files []*os.File, e *ends) error {
	master, slave, err := pty.Open()
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	e.theirs = append(e.theirs, slave)
	defer master.Close()
	// The package leaves the descriptor blocking, and then Close does not end a Read.
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return err
	}
	p.pty = os.NewFile(uintptr(fd), "terminal")
	e.ours = append(e.ours, p.pty)
	if owner[0] >= 0 {
		if err := slave.Chown(owner[0], owner[1]); err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
	}
	if err := slave.Chmod(0o600); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	if err := setModes(int(slave.Fd()), want.Modes); err != nil {
		return fmt.Errorf("terminal modes: %w", err)
	}
	if err := p.Resize(want.Cols, want.Rows); err != nil {
		return fmt.Errorf("terminal size: %w", err)
	}
	files[fdIn], files[fdOut], files[fdErr] = slave, slave, slave
	return nil
}
