// Package shells says what a session talks to: the words that every kind of target shares. The folders
// below it hold one protocol each and know nothing of how the client got here.
package shells

import (
	"context"
	"io"

	"golang.org/x/crypto/ssh"
)

// Kind tells what a client asked of its session channel (RFC 4254 section 6.5).
type Kind string

// The three things a session channel can be asked to start.
const (
	Shell     Kind = "shell"
	Exec      Kind = "exec"
	Subsystem Kind = "subsystem"
)

// Pty describes a terminal as the client asked for it (RFC 4254 section 6.2). Cols and Rows are in
// characters.
type Pty struct {
	Term       string
	Cols, Rows uint32
	Modes      ssh.TerminalModes
}

// Request is one admitted session on a target.
type Request struct {
	Kind    Kind
	Pty     *Pty     // nil: no terminal
	Command string   // Exec: exactly the admitted bytes. Subsystem: its name
	Env     []string // NAME=value, already filtered
	Login   string   // user on the target; "" is the target's default
	KeyID   string   // names identity and session in the target's own log of the credential
	Ask     Asker    // asked before each command of an interactive shell that has a hook; nil: no hook
}

// Asker decides on one command of an interactive shell.
type Asker interface {
	// Ask returns nil to let a run. Any error refuses it; its text may be shown to the user. It may
	// block for as long as a human takes, and returns when ctx ends.
	Ask(ctx context.Context, a Asked) error
}

// Asked is a command as a shell is about to run it, after editing and expansion of history.
type Asked struct {
	Command string // the simple command, as the shell's DEBUG trap reports it
	Cwd     string
	Line    string // the whole line it came from, where the shell knows it
}

// Exit is how a process ended (RFC 4254 section 6.10). Signal is a name without SIG; when it is set,
// Status means nothing.
type Exit struct {
	Status     int
	Signal     string
	CoreDumped bool
	Message    string
}

// Process is a running session on a target.
type Process interface {
	// Stdin is the process's input. Closing it is end of file, not the end of the process.
	Stdin() io.WriteCloser
	// Stdout is the output, or all that a terminal shows.
	Stdout() io.Reader
	// Stderr is nil when there is a terminal.
	Stderr() io.Reader
	// Resize tells the terminal its new size in characters.
	Resize(cols, rows uint32) error
	// Signal delivers a signal by its name without SIG (RFC 4254 section 6.9).
	Signal(name string) error
	// Wait returns how the process ended. Call it once, when both outputs have reached their end. An
	// error means that the process or the host was lost, and no exit is known.
	Wait(ctx context.Context) (Exit, error)
	// Close ends the process and releases all it holds: reads and writes that wait return. It is
	// idempotent, and returns when nothing of the process is left on this machine.
	Close() error
}

// A PipeGuard is an [Opener] whose shells ask also when they read commands from a pipe instead of a terminal.
type PipeGuard interface {
	PipeGuard() string // "hook" or "none"
}

// An OutputCloser is a Process that can be told that nobody reads its output any more: it finds that out
// when it writes, by SIGPIPE, as in `command | head`.
type OutputCloser interface {
	CloseOutput() error
}

// Opener starts sessions on one target.
type Opener interface {
	// Open starts r. When ctx ends before it returns, nothing is left running.
	Open(ctx context.Context, r Request) (Process, error)
	// Guard names how exactly the commands of an interactive shell are known: "hook" when the shell
	// asks before each, "screen" when they can only be read off the terminal, "none" when nobody looks.
	Guard() string
}
