// Package local opens shells and commands on the gate itself, each in a sandbox of its own.
//
// A session sees a read-only system, the directories it was given, its own processes and nothing else:
// no file, process, socket or credential of the gate, and no network unless configured. It runs as an
// ordinary user, whoever the gate runs as. README.md says how, and what the guard of interactive
// shells can and cannot know.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/hook"
)

// DefaultHostUID is the host's user and group id for sandboxed processes when the gate runs as root. It
// lies where nothing else allocates ids, so that no daemon and no person owns files or processes of it.
const DefaultHostUID = 1900000022

// Config is one target of kind shell. The zero value of a field is the safe one.
type Config struct {
	Name string // of the target, and the host name inside; letters, digits, - and .

	User string // name of the user inside; default "user"
	Home string // home directory inside, a private tmpfs unless a bind covers it; default /home/USER
	Dir  string // working directory; default Home
	Path string // $PATH; default /usr/local/bin:/usr/bin:/bin

	Binds []Bind   // of the host's directories and files
	Env   []string // NAME=value, before what the client sends

	// Shell is what a session without a command starts; default /bin/bash. Only bash and zsh have
	// a hook, and only when Shell names them without arguments.
	Shell []string
	// Exec is what runs a command, given as one more argument; default
	// /bin/bash --norc --noprofile -c.
	Exec []string

	// HostUID and HostGID are who sandboxed processes are on the host when the gate runs as root;
	// default DefaultHostUID for both. When the gate is an ordinary user they are that user, and these
	// are not looked at.
	HostUID, HostGID uint32

	HostNetwork bool   // share the host's network, its loopback too: everything the gate can reach
	SFTPServer  string // default /usr/lib/openssh/sftp-server

	Limits Limits

	// Linger is how long what the main process left behind may still write once it has ended; default
	// 500 ms. Then it is killed.
	Linger time.Duration
	// StartTimeout bounds the making of a sandbox; default 10 s.
	StartTimeout time.Duration

	// InsecureNoSandbox runs sessions as the gate's own user, with all its files, where no sandbox can
	// be made. Where one can be made it changes nothing.
	InsecureNoSandbox bool

	Log *slog.Logger // default: nothing is logged
}

// Bind shows a directory or file of the host inside the sandbox.
type Bind struct {
	Source, Dest string // absolute
	RW           bool
	// Chown gives Source and everything below it to HostUID when New runs as root, so that the sandbox
	// can write there. Symbolic links are not followed, files with several links are left alone.
	Chown bool
}

// Limits bounds what one session can take of the machine. Zero is the default named.
type Limits struct {
	Processes uint64 // and threads, at once; default 512
	OpenFiles uint64 // per process; default 4096
	FileSize  uint64 // bytes of one file; default: no bound
	Data      uint64 // bytes of private memory per process; default: no bound
	Tmp       uint64 // bytes of each private tmpfs (/tmp, home, /dev/shm); default 256 MiB
}

// Local is a target of kind shell. It is safe for concurrent use.
type Local struct {
	c       Config
	sandbox bool
	hook    bool // dialect says whose
	dialect hook.Dialect
	box     *box
	spawn   *spawner

	mu     sync.Mutex
	closed bool
	open   map[*process]struct{}
}

// New makes ready and proves, by running a command in it, that a sandbox can be made. Its error says what
// is missing, why that matters and what to do.
func New(c Config) (*Local, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", c.Name, err)
	}
	l := &Local{c: c, sandbox: true, open: map[*process]struct{}{}}
	l.dialect, l.hook = dialectOf(c.Shell)
	serr := l.makeSandbox()
	if serr == nil {
		return l, nil
	}
	if !c.InsecureNoSandbox || !errors.Is(serr, errNoSandbox) {
		return nil, fmt.Errorf("target %q: %w", c.Name, serr)
	}
	c.Log.Warn("sessions run WITHOUT a sandbox, as the gate's own user", "target", c.Name, "why", serr)
	l.sandbox = false
	if l.spawn, err = startSpawner(nil); err != nil {
		return nil, fmt.Errorf("target %q: %w", c.Name, err)
	}
	return l, nil
}

// errNoSandbox marks errors for which InsecureNoSandbox is the way out.
var errNoSandbox = errors.New("no sandbox")

// makeSandbox stages the binds, and proves that a sandbox works.
func (l *Local) makeSandbox() error {
	if err := findTools(); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		for _, b := range l.c.Binds {
			if b.RW && b.Chown {
				if err := chownTree(b.Source, int(l.c.HostUID), int(l.c.HostGID)); err != nil {
					return fmt.Errorf("bind %s: giving it to the sandbox's user: %w", b.Source, err)
				}
			}
		}
	}
	var err error
	if l.box, err = newBox(l.c); err != nil {
		return err
	}
	if l.spawn, err = startSpawner(l.box.stage); err != nil {
		l.box.close()
		return err
	}
	if err := l.probe(); err != nil {
		l.Close()
		l.closed = false
		return fmt.Errorf("%w: the trial run failed: %w. bubblewrap needs user namespaces: check that "+
			"`bwrap --unshare-all --ro-bind / / true` works for an ordinary user (sysctl user.max_user_namespaces, "+
			"kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)", errNoSandbox, err)
	}
	return nil
}

// probe runs true.
func (l *Local) probe() error {
	ctx, cancel := context.WithTimeout(context.Background(), l.c.StartTimeout)
	defer cancel()
	p, err := l.start(ctx, startSpec{argv: []string{"/usr/bin/true"}, env: l.env(shells.Request{})})
	if err != nil {
		return err
	}
	defer p.Close()
	e, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	if e.Status != 0 || e.Signal != "" {
		return fmt.Errorf("`true` ended with status %d %s", e.Status, e.Signal)
	}
	return nil
}

// Guard is "hook" where interactive shells ask before each command, else "screen": their lines are read off the
// terminal.
func (l *Local) Guard() string {
	if l.hook {
		return "hook"
	}
	return "screen"
}

// PipeGuard is "hook" where a shell without a terminal asks before each command, too.
func (l *Local) PipeGuard() string {
	if l.hook {
		return "hook"
	}
	return "none"
}

// Sandboxed tells whether sessions run in a sandbox. It is false only with InsecureNoSandbox.
func (l *Local) Sandboxed() bool { return l.sandbox }

// Close ends every session and frees what New took. It is idempotent.
func (l *Local) Close() error {
	l.mu.Lock()
	l.closed = true
	open := make([]*process, 0, len(l.open))
	for p := range l.open {
		open = append(open, p)
	}
	l.mu.Unlock()
	for _, p := range open {
		p.Close()
	}
	if l.spawn != nil {
		l.spawn.stop()
	}
	if l.box != nil {
		l.box.close()
	}
	return nil
}

// A SecretReader knows whether a program reads a line that its terminal does not show, as for a password. The process
// of a session with a terminal is one.
type SecretReader interface{ ReadsSecret() bool }

// An Error is a session that could not be opened. Public may be shown to the user; Err is for the log.
type Error struct {
	Public string
	Err    error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Public
	}
	return e.Public + ": " + e.Err.Error()
}
func (e *Error) Unwrap() error { return e.Err }

// PublicText is what may be shown to the user.
func (e *Error) PublicText() string { return e.Public }
