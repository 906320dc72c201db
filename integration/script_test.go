// Package integration drives the built program with its real counterparts: OpenSSH's clients and server,
// MinIO, Chromium. One file in testdata/script is one behaviour.
package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var bin string // the directory of the built program

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "sallyport-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = dir
		// With the race detector, so that a race shows whoever's test meets it.
		build := exec.Command("go", "build", "-race", "-o", filepath.Join(dir, "sallyport"), "../cmd/sallyport")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build sallyport: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// needs are the counterparts without which nothing here can be shown. They are not skipped: `make test`
// installs them.
var needs = []string{"ssh", "sftp", "scp", "ssh-keygen", "bwrap", "/usr/sbin/sshd"}

func TestScripts(t *testing.T) {
	for _, tool := range needs {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v; `make test` installs it", err)
		}
	}
	refuseStop(t)
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"dev": cmdDev, "ctrl-c": cmdCtrlC, "kill9": cmdKill9, "hold": cmdHold, "eventually": cmdEventually, "patch": cmdPatch,
			"nothing-left": cmdNothingLeft, "json": cmdJSON, "sha256": cmdSHA256, "blob": cmdBlob, "refuse-file": cmdRefuseFile,
			"term": cmdTerm, "session": cmdSession, "status": cmdStatus, "damage": cmdDamage,
			"truncate": cmdTruncate, "sign-in": cmdSignIn, "request": cmdRequest, "expire": cmdExpire, "agent": cmdAgent, "post": cmdPost,
			"cluster": cmdCluster,
			"advance": cmdAdvance,
		},
		RequireExplicitExec: true,
	})
}

// refuseStop fails for testscript's own stop, which ends a script as passed: whoever writes it means ctrl-c.
func refuseStop(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word == "stop" {
				t.Fatalf("%s:%d: stop ends the script here, and as passed; ctrl-c stops the gate", file, n+1)
			}
		}
	}
}

func setup(e *testscript.Env) error {
	e.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	e.Setenv("GORACE", "halt_on_error=1")
	e.Setenv("SALLYPORT_KUBECONFIG", "none") // a cluster starts where a script says so
	e.Setenv("AGENT", filepath.Join(e.WorkDir, "d/agent/ssh_config"))
	e.Setenv("DEVELOPER", filepath.Join(e.WorkDir, "d/developer/ssh_config"))
	e.Setenv("APPROVER", filepath.Join(e.WorkDir, "d/approver/ssh_config"))
	gates.Store(e.WorkDir, &gate{})
	terms.Store(e.WorkDir, map[string]*term{})
	e.Defer(func() {
		left, _ := terms.LoadAndDelete(e.WorkDir)
		for _, t := range left.(map[string]*term) {
			t.kill()
		}
		g, _ := gates.LoadAndDelete(e.WorkDir)
		g.(*gate).kill()
	})
	return nil
}

// A gate is the `sallyport dev` of one script.
type gate struct {
	cmd    *exec.Cmd
	out    *lockedBuffer
	exited chan error
}

var gates sync.Map // of *gate, by work directory

func gateOf(ts *testscript.TestScript) *gate {
	g, _ := gates.Load(ts.Getenv("WORK"))
	return g.(*gate)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var readyLine = regexp.MustCompile(`ssh on 127\.0\.0\.1:(\d+), console on (http://\S+)`)

// cmdDev starts `sallyport dev --dir d ARGS...` on free ports and waits until it is ready; $PORT is the
// gate's, $URL the console's. Negated, it must fail, and its output becomes stderr.txt.
func cmdDev(ts *testscript.TestScript, neg bool, args []string) {
	g := gateOf(ts)
	if g.cmd != nil {
		ts.Fatalf("dev runs already")
	}
	g.out = new(lockedBuffer)
	g.cmd = exec.Command(filepath.Join(bin, "sallyport"), append([]string{"dev", "--dir", "d", "--ssh", "127.0.0.1:0", "--http", "127.0.0.1:0"}, args...)...)
	g.cmd.Dir = ts.MkAbs(".")
	g.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1", "SALLYPORT_KUBECONFIG="+ts.Getenv("SALLYPORT_KUBECONFIG"))
	g.cmd.Stdout, g.cmd.Stderr = g.out, g.out
	ts.Check(g.cmd.Start())
	g.exited = make(chan error, 1)
	go func() { g.exited <- g.cmd.Wait() }() // received by stop, kill9 or kill
	deadline := time.After(60 * time.Second)
	for {
		if m := readyLine.FindStringSubmatch(g.out.String()); m != nil {
			if neg {
				ts.Fatalf("dev started:\n%s", g.out)
			}
			ts.Setenv("PORT", m[1])
			ts.Setenv("URL", m[2])
			return
		}
		select {
		case err := <-g.exited:
			g.cmd = nil
			if !neg || err == nil {
				ts.Fatalf("dev ended: %v\n%s", err, g.out)
			}
			ts.Check(os.WriteFile(ts.MkAbs("stderr.txt"), []byte(g.out.String()), 0o644))
			return
		case <-deadline:
			ts.Fatalf("dev is not ready after a minute:\n%s", g.out)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// cmdCtrlC interrupts dev, which must end it cleanly. It is not called stop: that is testscript's own, and
// ends a script there and then, as passed.
func cmdCtrlC(ts *testscript.TestScript, _ bool, _ []string) {
	g := gateOf(ts)
	ts.Check(g.cmd.Process.Signal(os.Interrupt))
	select {
	case err := <-g.exited:
		g.cmd = nil
		if err != nil {
			ts.Fatalf("dev did not stop cleanly: %v\n%s", err, g.out)
		}
	case <-time.After(30 * time.Second):
		ts.Fatalf("dev still runs 30 seconds after Ctrl-C:\n%s", g.out)
	}
}

// cmdKill9 ends dev as a crash would.
func cmdKill9(ts *testscript.TestScript, _ bool, _ []string) {
	g := gateOf(ts)
	ts.Check(g.cmd.Process.Kill())
	<-g.exited
	g.cmd = nil
}

func (g *gate) kill() {
	if g.cmd == nil {
		return
	}
	_ = g.cmd.Process.Signal(os.Interrupt)
	select {
	case <-g.exited:
	case <-time.After(20 * time.Second):
		_ = g.cmd.Process.Kill()
		<-g.exited
	}
}

// cmdHold waits until exactly one request waits, and sets $HOLD to its id.
func cmdHold(ts *testscript.TestScript, _ bool, _ []string) {
	var last string
	for range 100 {
		out, err := command(ts, "ssh", "-F", ts.Getenv("APPROVER"), "gate", "approvals", "--json").CombinedOutput()
		last = string(out)
		var holds []struct {
			ID string `json:"id"`
		}
		if err == nil && json.Unmarshal(out, &holds) == nil && len(holds) == 1 {
			ts.Setenv("HOLD", holds[0].ID)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("no single request waits; approvals says:\n%s", last)
}

// cmdStatus runs a command without input, which must end with this exit status: status N PROGRAM ARGS...
func cmdStatus(ts *testscript.TestScript, _ bool, args []string) {
	out, err := command(ts, args[1], args[2:]...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Check(err)
	}
	got := 0
	if exit != nil {
		got = exit.ExitCode()
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("%q gives exit status %d, want %s:\n%s", args[1:], got, args[0], out)
	}
}

// cmdAdvance sets $ADVANCE to the id of the newest approval in advance.
func cmdAdvance(ts *testscript.TestScript, _ bool, _ []string) {
	out, err := command(ts, "ssh", "-F", ts.Getenv("APPROVER"), "gate", "preapprovals", "--json").Output()
	ts.Check(err)
	var rows []struct {
		ID string `json:"id"`
	}
	ts.Check(json.Unmarshal(out, &rows))
	if len(rows) == 0 {
		ts.Fatalf("nothing is approved in advance")
	}
	ts.Setenv("ADVANCE", rows[0].ID)
}

// cmdSession sets $SESSION to the id of the first session in a JSON listing.
func cmdSession(ts *testscript.TestScript, _ bool, args []string) {
	var rows []struct {
		ID string `json:"id"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &rows))
	if len(rows) == 0 {
		ts.Fatalf("%s lists no session", args[0])
	}
	ts.Setenv("SESSION", rows[0].ID)
}

// cmdEventually runs a command until it succeeds (negated: fails), for at most 15 seconds.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	var out []byte
	var err error
	for start := time.Now(); time.Since(start) < 15*time.Second; time.Sleep(50 * time.Millisecond) {
		out, err = command(ts, args[0], args[1:]...).CombinedOutput()
		if (err == nil) != neg {
			return
		}
	}
	ts.Fatalf("%q still gives %v:\n%s", args, err, out)
}

func command(ts *testscript.TestScript, name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	_ = cancel                                                  // with the process
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) { // the script's, which may have more than this process's
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			name = path
			break
		}
	}
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = ts.MkAbs(".")
	c.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "KUBECONFIG="+ts.Getenv("KUBECONFIG"))
	return c
}

// cmdPatch overwrites one byte of a file: patch FILE OFFSET BYTE.
func cmdPatch(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	var at int64
	_, err = fmt.Sscan(args[1], &at)
	ts.Check(err)
	_, err = f.WriteAt([]byte(args[2]), at)
	ts.Check(err)
}

// cmdDamage flips a bit of the first file in a directory: damage DIR OFFSET.
func cmdDamage(ts *testscript.TestScript, _ bool, args []string) {
	var at int64
	_, err := fmt.Sscan(args[1], &at)
	ts.Check(err)
	f, err := os.OpenFile(firstFile(ts, args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	ts.Check(err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], at)
	ts.Check(err)
}

// cmdTruncate cuts the first file in a directory: truncate DIR SIZE.
func cmdTruncate(ts *testscript.TestScript, _ bool, args []string) {
	var size int64
	_, err := fmt.Sscan(args[1], &size)
	ts.Check(err)
	ts.Check(os.Truncate(firstFile(ts, args[0]), size))
}

func firstFile(ts *testscript.TestScript, dir string) string {
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(dir), "*"))
	if err != nil || len(files) == 0 {
		ts.Fatalf("%s has no files: %v", dir, err)
	}
	return files[0]
}

// cmdNothingLeft checks that no process has the work directory in its command line.
func cmdNothingLeft(ts *testscript.TestScript, _ bool, _ []string) {
	var left []string
	for start := time.Now(); time.Since(start) < 5*time.Second; time.Sleep(50 * time.Millisecond) {
		left = nil
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err == nil && bytes.Contains(b, []byte(ts.Getenv("WORK"))) && !strings.Contains(f, fmt.Sprint(os.Getpid())) {
				left = append(left, f+" "+strings.ReplaceAll(string(b), "\x00", " "))
			}
		}
		if left == nil {
			return
		}
	}
	ts.Fatalf("still running:\n%s", strings.Join(left, "\n"))
}

// cmdJSON checks a field of the JSON in a file (stdout for the last output): json FILE PATH REGEXP. Path
// goes into objects and lists by dots.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	got := ""
	for _, key := range strings.Split(args[1], ".") {
		switch node := v.(type) {
		case map[string]any:
			v = node[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(node) {
				v = nil
			} else {
				v = node[i]
			}
		default:
			v = nil
		}
	}
	if b, err := json.Marshal(v); err == nil {
		got = string(b)
	}
	if regexp.MustCompile(args[2]).MatchString(got) == neg {
		ts.Fatalf("%s is %s; want match of %s: %v", args[1], got, args[2], !neg)
	}
}

// cmdBlob writes N bytes of noise: blob FILE N.
func cmdBlob(ts *testscript.TestScript, _ bool, args []string) {
	var n int
	_, err := fmt.Sscan(args[1], &n)
	ts.Check(err)
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}

// cmdSHA256 compares two files byte by byte.
func cmdSHA256(ts *testscript.TestScript, neg bool, args []string) {
	if same := ts.ReadFile(args[0]) == ts.ReadFile(args[1]); same == neg {
		ts.Fatalf("%s and %s are the same: %v", args[0], args[1], same)
	}
}

// cmdRefuseFile makes a path impossible to write: a directory where a file should be, or the like.
func cmdRefuseFile(ts *testscript.TestScript, _ bool, args []string) {
	err := os.Chmod(ts.MkAbs(args[0]), 0)
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		ts.Check(err)
	}
}
