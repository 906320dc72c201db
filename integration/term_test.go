package integration

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// A term is a person at a terminal of 80 by 24: a program on a pty of its own, what it showed so far, and
// how much of that was looked at.
type term struct {
	cmd    *exec.Cmd
	pty    *os.File
	out    lockedBuffer
	seen   int // bytes of the text, without what only draws
	exited chan error
	done   bool
}

var terms sync.Map // of map[string]*term, by work directory

func termsOf(ts *testscript.TestScript) map[string]*term {
	m, _ := terms.Load(ts.Getenv("WORK"))
	return m.(map[string]*term)
}

// cmdTerm is somebody at a terminal:
//
//	term NAME start PROGRAM ARGS...    with the script's environment
//	term NAME send 'TEXT'...           with Go's escapes: \r is Enter, \x03 Ctrl-C
//	term NAME expect REGEXP            waits until it is shown after what was expected before; (?m) is on
//	term NAME resize COLS ROWS
//	term NAME wait STATUS              waits for the end, and keeps all that was shown in NAME.txt
//	term NAME hangup                   closes the window
func cmdTerm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: term NAME start|send|expect|resize|wait|hangup ...")
	}
	all, name, rest := termsOf(ts), args[0], args[2:]
	t := all[name]
	if (t == nil) != (args[1] == "start") {
		ts.Fatalf("term %s: started: %v", name, t != nil)
	}
	switch args[1] {
	case "start":
		all[name] = startTerm(ts, rest)
	case "send":
		for _, text := range rest {
			keys, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
			ts.Check(err)
			_, err = t.pty.WriteString(keys)
			ts.Check(err)
		}
	case "expect":
		t.expect(ts, rest[0])
	case "resize":
		cols, err := strconv.ParseUint(rest[0], 10, 16)
		ts.Check(err)
		rows, err := strconv.ParseUint(rest[1], 10, 16)
		ts.Check(err)
		raw, err := t.pty.SyscallConn()
		ts.Check(err)
		ts.Check(raw.Control(func(fd uintptr) {
			err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(cols), Row: uint16(rows)})
		}))
		ts.Check(err)
	case "wait":
		t.wait(ts, rest[0])
		ts.Check(os.WriteFile(ts.MkAbs(name+".txt"), []byte(t.text()), 0o644))
		delete(all, name)
	case "hangup":
		ts.Check(t.pty.Close()) // the kernel sends SIGHUP
		<-t.exited
		t.done = true
		delete(all, name)
	default:
		ts.Fatalf("term: %s is not known", args[1])
	}
}

// termEnv are the variables that a script may set for programs on terminals.
var termEnv = []string{"PATH", "HOME", "WORK", "GORACE", "SSH_AUTH_SOCK", "SALLYPORT_JSON", "SALLYPORT_UNMASK", "SALLYPORT_REASON"}

func startTerm(ts *testscript.TestScript, args []string) *term {
	path := args[0]
	if own := filepath.Join(bin, path); path == "sallyport" {
		path = own
	}
	t := &term{cmd: exec.Command(path, args[1:]...), exited: make(chan error, 1)}
	t.cmd.Dir = ts.MkAbs(".")
	t.cmd.Env = []string{"TERM=xterm", "LANG=C.UTF-8"}
	for _, name := range termEnv {
		if v := ts.Getenv(name); v != "" {
			t.cmd.Env = append(t.cmd.Env, name+"="+v)
		}
	}
	blocking, err := pty.StartWithSize(t.cmd, &pty.Winsize{Cols: 80, Rows: 24})
	ts.Check(err)
	// Only a file that does not block can be closed while somebody reads.
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	ts.Check(err)
	ts.Check(blocking.Close())
	ts.Check(unix.SetNonblock(fd, true))
	f := os.NewFile(uintptr(fd), blocking.Name())
	t.pty = f
	go func() { // received by wait, hangup or kill
		var b [4096]byte
		for {
			n, err := f.Read(b[:])
			_, _ = t.out.Write(b[:n])
			if err != nil { // EIO: the last program has closed the terminal
				break
			}
		}
		t.exited <- t.cmd.Wait()
	}()
	return t
}

// draws is what a terminal does not show: escape sequences and carriage returns.
var draws = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(\x07|\x1b\\\\)|\x1b[()][A-Z0-9]|\x1b[=>78]|\r")

func (t *term) text() string { return draws.ReplaceAllString(t.out.String(), "") }

func (t *term) expect(ts *testscript.TestScript, pattern string) {
	re, err := regexp.Compile(`(?m)` + pattern)
	ts.Check(err)
	for start := time.Now(); time.Since(start) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
		text := t.text()
		t.seen = min(t.seen, len(text))
		if at := re.FindStringIndex(text[t.seen:]); at != nil {
			t.seen += at[1]
			return
		}
	}
	text := t.text()
	ts.Fatalf("%s was not shown after byte %d of:\n%s", pattern, t.seen, text)
}

func (t *term) wait(ts *testscript.TestScript, want string) {
	select {
	case err := <-t.exited:
		t.done = true
		status := t.cmd.ProcessState.ExitCode()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			ts.Check(err)
		}
		if got := strconv.Itoa(status); got != want {
			ts.Fatalf("exit status %s, want %s, after:\n%s", got, want, t.text())
		}
	case <-time.After(30 * time.Second):
		ts.Fatalf("still runs after:\n%s", t.text())
	}
	t.pty.Close()
}

// kill ends what a failed script left at its terminals.
func (t *term) kill() {
	if t.done {
		return
	}
	_ = syscall.Kill(-t.cmd.Process.Pid, syscall.SIGKILL) // it leads the session of its terminal
	t.pty.Close()
	<-t.exited
}
