package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// noise is n bytes that look like nothing, the same each time. There is no @ in it: 50 MB of chance hold one
// or two e-mail addresses, which are masked.
func noise(n int64) io.Reader {
	var seed [32]byte
	return noAt{io.LimitReader(rand.NewChaCha8(seed), n)}
}

type noAt struct{ io.Reader }

func (r noAt) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	for i, c := range p[:n] {
		if c == '@' {
			p[i] = 0
		}
	}
	return n, err
}

func sum(r io.Reader) string {
	h := sha256.New()
	_, _ = io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil))
}

// A digest hashes what is written to it.
type digest struct {
	hash.Hash
	n int64
}

func newDigest() *digest { return &digest{Hash: sha256.New()} }

func (d *digest) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return d.Hash.Write(p)
}

func (d *digest) String() string { return hex.EncodeToString(d.Sum(nil)) }

// peak watches a process's memory while f runs.
func (d *door) peak(f func()) (grown int64) {
	d.t.Helper()
	before := d.load().rss
	most := before
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				most = max(most, d.load().rss)
			}
		}
	})
	f()
	close(done)
	wg.Wait()
	return most - before
}

// plainDoor is a gate for volumes of data.
func plainDoor(t *testing.T) *door {
	t.Helper()
	d := newDoor(t)
	d.plain = true
	d.start("")
	return d
}

// TestDoorBigInput: 100 MB go in unchanged and leave nothing behind in memory, and come back.
func TestDoorBigInput(t *testing.T) {
	d := plainDoor(t)
	const size = 100_000_000
	want := sum(noise(size))
	for _, target := range []string{"demo", "web1"} {
		grown := d.peak(func() {
			c := d.ssh("developer", target, "sha256sum")
			c.Stdin = noise(size)
			if r := do(t, c); r.code != 0 || !strings.HasPrefix(r.out, want) {
				t.Errorf("%s: exit %d: %q, want %s: %s", target, r.code, r.out, want, r.err)
			}
		})
		if grown > 60<<20 {
			t.Errorf("%s: memory grew by %d MiB while %d MB went in", target, grown>>20, size/1_000_000)
		}
	}
}

// TestDoorRekey: keys change many times in the middle of transfers both ways, and no byte with them.
func TestDoorRekey(t *testing.T) {
	d := plainDoor(t)
	const size = 50_000_000
	want := sum(noise(size))
	for _, args := range [][]string{{"demo"}, {"web1"}, {"-J", "gate", "root@web1"}} {
		c := d.ssh("developer", append([]string{"-v", "-o", "RekeyLimit=4M"}, append(args, "cat")...)...)
		got := newDigest()
		var errs bytes.Buffer
		c.Stdin, c.Stdout, c.Stderr = noise(size), got, &errs
		if err := c.Run(); err != nil {
			t.Errorf("%q: %v: %s", args, err, tail(errs.String(), 1000))
		}
		if got.String() != want {
			t.Errorf("%q: %d bytes came back, with another hash", args, got.n)
		}
		if n := strings.Count(errs.String(), "SSH2_MSG_NEWKEYS received"); n < 10 {
			t.Errorf("%q: keys changed %d times, so this proves nothing", args, n)
		}
	}
}

// TestDoorMultiplex: several sessions of one connection do not disturb each other, and each ends by itself.
func TestDoorMultiplex(t *testing.T) {
	d := openDoor(t, "")
	control := filepath.Join(filepath.Dir(d.dir), "c")
	master := d.ssh("developer", "-M", "-S", control, "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=2", "-N", "demo")
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = master.Process.Kill(); _ = master.Wait() }()
	d.until("the master listens", func() bool { _, err := os.Stat(control); return err == nil })
	over := func(args ...string) *exec.Cmd { return d.ssh("developer", append([]string{"-S", control}, args...)...) }

	waits := over("demo", "cat; echo waited; exit 7")
	stdin, err := waits.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	waits.Stdout = &out
	if err := waits.Start(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			c := over("demo", fmt.Sprintf("cat; exit %d", i))
			c.Stdin = noise(300_000)
			if r := do(t, c); r.code != i || r.out != string(must(io.ReadAll(noise(300_000)))) {
				t.Errorf("session %d: exit %d, %d bytes: %s", i, r.code, len(r.out), r.err)
			}
		})
	}
	wg.Wait()
	stdin.Close()
	var exit *exec.ExitError
	if err := waits.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 || out.String() != "waited\n" {
		t.Errorf("the first session: %v: %q", err, out.String())
	}
	if n := strings.Count(d.log(), `"msg":"connected"`); n != 1 {
		t.Errorf("%d connections; this was to be one", n)
	}
	// Three answers are due within three seconds of silence; without them ssh gives up.
	<-time.After(4 * time.Second)
	if r := do(t, over("demo", "echo alive")); r.out != "alive\n" {
		t.Errorf("after keep-alives: exit %d: %q %q", r.code, r.out, r.err)
	}
	if r := do(t, over("-O", "exit", "demo")); r.code != 0 {
		t.Errorf("-O exit: %s", r.err)
	}
}

// TestDoorExits: every exit status arrives as it was, and signals by their names.
func TestDoorExits(t *testing.T) {
	d := openDoor(t, "policies: [all.cedar]\n", "all.cedar", "permit (principal, action, resource);\n")
	for _, target := range []string{"demo", "web1"} {
		c := d.as("developer", target)
		limit := make(chan struct{}, 8)
		var wg sync.WaitGroup
		for want := range 256 {
			limit <- struct{}{}
			wg.Go(func() {
				defer func() { <-limit }()
				s, err := c.NewSession()
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				got := 0
				var exit *ssh.ExitError
				if err := s.Run(fmt.Sprintf("exit %d", want)); errors.As(err, &exit) {
					got = exit.ExitStatus()
				} else if err != nil {
					t.Errorf("%s: exit %d: %v", target, want, err)
				}
				if got != want {
					t.Errorf("%s: exit %d came as %d", target, want, got)
				}
			})
		}
		wg.Wait()
		for _, name := range []string{"TERM", "KILL", "SEGV", "USR1"} {
			s, err := c.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			var exit *ssh.ExitError
			if err := s.Run("kill -" + name + " $$; sleep 60"); !errors.As(err, &exit) || exit.Signal() != name {
				t.Errorf("%s: killed by %s: %v", target, name, err)
			}
		}
	}
	// A signal that the client sends reaches the process; OpenSSH's server gives none to a command that a
	// certificate forces.
	s, err := d.as("developer", "demo").NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("trap 'echo got it; exit 9' USR1; echo ready; while :; do sleep 0.05; done"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Signal(ssh.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(out)
	var exit *ssh.ExitError
	if err := s.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 9 || string(said) != "got it\n" {
		t.Errorf("after SIGUSR1: %v, %q", err, said)
	}
}

// TestDoorTerminal: what is typed before the shell is there is not lost, and a window's new size arrives.
func TestDoorTerminal(t *testing.T) {
	d := openDoor(t, "")
	for _, target := range []string{"demo", "web1"} {
		s, err := d.as("developer", target).NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
			t.Fatal(err)
		}
		term := &terminal{t: t, s: s, done: make(chan error, 1)}
		term.in, _ = s.StdinPipe()
		s.Stdout = term
		ahead := make(chan error, 1)
		go func() { // typed while the request is on its way
			_, err := io.WriteString(term.in, "echo ahead-$((1+1))\r")
			ahead <- err
		}()
		if err := s.Shell(); err != nil {
			t.Fatal(err)
		}
		go func() { term.done <- s.Wait() }()
		if err := <-ahead; err != nil {
			t.Fatal(err)
		}
		term.says("stty size", "ahead-2")
		term.says("", "24 80")
		if err := s.WindowChange(50, 132); err != nil {
			t.Fatal(err)
		}
		term.says("stty size", "50 132")
		term.says("exit 3", "exit")
		var exit *ssh.ExitError
		if err := <-term.done; !errors.As(err, &exit) || exit.ExitStatus() != 3 {
			t.Errorf("%s: %v\n%s", target, err, term.text())
		}
	}
}

// TestDoorManySessions: many at once, each with its own answer.
func TestDoorManySessions(t *testing.T) {
	d := openDoor(t, "")
	const connections, each = 20, 5
	var wg sync.WaitGroup
	for i := range connections {
		wg.Go(func() {
			c, err := d.client("demo", ssh.PublicKeys(d.signer("developer")))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			var sessions sync.WaitGroup
			for j := range each {
				sessions.Go(func() {
					s, err := c.NewSession()
					if err != nil {
						t.Error(err)
						return
					}
					want := fmt.Sprintf("%d-%d\n", i, j)
					var said bytes.Buffer
					s.Stderr = &said
					if out, err := s.Output("cat >/dev/null; echo " + strings.TrimSpace(want)); err != nil || string(out) != want {
						t.Errorf("%v: %q, want %q; %s", err, out, want, said.String())
					}
				})
			}
			sessions.Wait()
		})
	}
	wg.Wait()
	r := do(t, d.ssh("approver", "gate", "sessions", "--json", "--limit", "500"))
	if n := strings.Count(r.out, `"state":"complete"`); n != connections*each && r.code == 0 {
		t.Errorf("%d complete sessions, want %d: %.300s", n, connections*each, r.out)
	}
}

// TestDoorReset: connections that are reset in the middle of everything leave nothing: no process, no
// descriptor, no goroutine.
func TestDoorReset(t *testing.T) {
	d := rawDoor(t, "")
	d.getsIn("127.0.0.1")
	d.until("the first session is gone", func() bool { return d.load().children == 0 || d.quiet() })
	before := d.load()
	var conns []*net.TCPConn
	connect := func(login string) *ssh.Client {
		nc := d.mustDial("127.0.0.1").(*net.TCPConn)
		conns = append(conns, nc)
		c, err := d.clientOn(nc, d.clientConfig(login, ssh.PublicKeys(d.signer("developer"))))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for range 5 {
		openTerminal(t, connect("demo"))
		openTerminal(t, connect("web1"))
		start(t, connect("demo"), "sleep 1000")
		start(t, connect("web1"), "echo begun; sleep 1000")
		start(t, connect("demo"), "echo begun; cat /dev/zero")
		start(t, connect("demo"), "rm -rf /srv/demo/old") // held, or about to be
		inner, err := d.jump(connect("gate"), "web1", "root", ssh.PublicKeys(d.signer("developer")))
		if err != nil {
			t.Fatal(err)
		}
		openTerminal(t, inner)
		raw, err := connect("gate").Dial("tcp", "echo:"+port(d.rawAddress("echo")))
		if err != nil {
			t.Fatal(err)
		}
		echoes(t, raw)
		sftp, requests := sessionChannel(t, connect("web1"))
		go ssh.DiscardRequests(requests)
		ask(t, sftp, "subsystem", startRequest("sftp"))
	}
	busy := d.load()
	if busy.fds < before.fds+len(conns) || busy.children < before.children+5 {
		t.Errorf("the load is %+v after %+v: the sessions do not run", busy, before)
	}
	for _, c := range conns {
		_ = c.SetLinger(0) // RST
		c.Close()
	}
	var left load
	gone := func() bool {
		left = d.load()
		return left.fds <= before.fds && left.children <= before.children
	}
	for start := time.Now(); !gone(); time.Sleep(50 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Errorf("%+v is left, %+v was before", left, before)
			break
		}
	}
	for _, stack := range d.goroutines() {
		for _, mark := range []string{"sshd.(*session)", "sshd.(*connection)", "sshd.(*stream)", "crypto/ssh.(*mux)", "shells/local.(*process)", "shells/remote.(*process)", "sshd.(*wire)", "sshd.(*gatherer)"} {
			if strings.Contains(stack, mark) {
				t.Errorf("a goroutine is left:\n%s", stack)
				break
			}
		}
	}
}

// quiet reports that no connection is open that the log knows of.
func (d *door) quiet() bool {
	log := d.log()
	return strings.Count(log, `"msg":"connected"`) == strings.Count(log, `"msg":"disconnected"`)
}

// start runs a command and does not wait for it.
func start(t *testing.T, c *ssh.Client, command string) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(command); err != nil {
		t.Fatal(err)
	}
}

// TestDoorHalfClose: the end of input is not the end of a session, on any way to a target.
func TestDoorHalfClose(t *testing.T) {
	d := openDoor(t, "")
	for _, args := range [][]string{{"demo"}, {"web1"}, {"-J", "gate", "root@web1"}} {
		c := d.ssh("developer", append(args, "cat; sleep 0.3; echo after; echo err >&2; exit 4")...)
		c.Stdin = strings.NewReader("in\n")
		if r := do(t, c); r.out != "in\nafter\n" || !strings.Contains(r.err, "err") || r.code != 4 {
			t.Errorf("%q: exit %d: %q %q", args, r.code, r.out, r.err)
		}
	}
	// Nor is the end of a reader that has had enough an error of anybody's.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, to := range []string{"demo", "web1", "-J gate root@web1"} {
		sh := exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf("ssh -F %s -o BatchMode=yes %s yes | head -n 2", filepath.Join(d.dir, "developer/ssh_config"), to))
		if r := do(t, sh); r.out != "y\ny\n" {
			t.Errorf("%s: yes | head: %q %q", to, r.out, r.err)
		}
	}
	d.until("yes is gone", d.quiet)
}
