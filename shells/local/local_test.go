package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/sallyport-ssh/sallyport/shells"
)

// newLocal is a target for one test.
func newLocal(t testing.TB, c Config) *Local {
	t.Helper()
	if c.Name == "" {
		c.Name = "demo"
	}
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

type result struct {
	out, err string
	exit     shells.Exit
}

// run runs a session to its end.
func run(t testing.TB, l *Local, r shells.Request, stdin io.Reader) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	p, err := l.Open(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	stop := context.AfterFunc(ctx, func() { p.Close() })
	defer stop()
	var out, errs bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() {
		if stdin != nil {
			io.Copy(p.Stdin(), stdin)
		}
		p.Stdin().Close()
	})
	wg.Go(func() { io.Copy(&out, p.Stdout()) })
	if e := p.Stderr(); e != nil {
		wg.Go(func() { io.Copy(&errs, e) })
	}
	wg.Wait()
	exit, err := p.Wait(ctx)
	if err != nil {
		t.Fatalf("Wait: %v (stdout %q, stderr %q)", err, out.String(), errs.String())
	}
	return result{out.String(), errs.String(), exit}
}

func command(c string) shells.Request { return shells.Request{Kind: shells.Exec, Command: c} }

// asNobody runs a test again as an ordinary user, when it is root that runs it.
func asNobody(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	dir, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	bin := dir + "/local.test"
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(bin, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", bin, "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

// TestSandbox looks around from inside.
func TestSandbox(t *testing.T) {
	secret := t.TempDir() + "/secret"
	if err := os.WriteFile(secret, []byte("the gate's key"), 0o644); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	t.Setenv("GATE_SECRET", "in the gate's environment")
	l := newLocal(t, Config{})
	for _, tt := range []struct{ name, command, want string }{
		{"the gate's files", "cat " + secret + " 2>&1; ls /root /work /var /run /srv /sys /boot /mnt 2>/dev/null; ls /tmp", "cat: " + secret + ": No such file or directory\n"},
		{"secrets of the host", "ls /etc/shadow /etc/ssh /etc/ssl/private /etc/machine-id 2>/dev/null; grep -c . /etc/passwd", "3\n"},
		{"environment", "env | grep -c GATE_SECRET", "0\n"},
		{"processes", "ls /proc | grep -c '^[0-9]' | awk '{ print ($1 < 10) }'", "1\n"},
		{"signal outside", fmt.Sprintf("kill -0 %d 2>/dev/null && echo reached; kill -9 -1 2>/dev/null; echo after", os.Getpid()), ""},
		{"loopback of the host", "(exec 3<>/dev/tcp/127.0.0.1/" + port + ") 2>/dev/null && echo reached; echo end", "end\n"},
		{"networks", "ls /sys/class/net 2>/dev/null; grep -c : /proc/net/dev", "1\n"},
		{"who", "id -u; hostname; pwd; echo $HOME", "1000\ndemo\n/home/user\n/home/user\n"},
		{"capabilities", "grep -E '^Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs' /proc/self/status | tr -d '\\t\\n'", "CapPrm:0000000000000000CapEff:0000000000000000CapBnd:0000000000000000CapAmb:0000000000000000NoNewPrivs:1"},
		{"setuid", "for f in $(find /usr/bin -perm -4000); do cp $f /tmp/x 2>/dev/null; done; su -c id 2>/dev/null </dev/null; id -u; mount | grep -c nosuid | awk '{ print ($1 > 5) }'", "1000\n1\n"},
		{"user namespaces", "unshare -Ur true 2>/dev/null && echo made; echo end", "end\n"},
		{"read-only", "touch /x /usr/x /etc/x /dev/x /home/x 2>/dev/null; echo $?; touch ~/x /tmp/x /dev/shm/x && echo ok", "1\nok\n"},
		{"descriptors", "ls -l /proc/self/fd | grep -c -- '->'; ls -l /proc/1/fd /proc/2/fd | grep -E -c 'socket|memfd|/dev/pts'", "4\n0\n"},
		{"terminal of the gate", "(echo x >/dev/tty) 2>/dev/null && echo reached; ps -o tty= -p $$", "?\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == "" {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				p, err := l.Open(ctx, command(tt.command))
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				if out, _ := io.ReadAll(p.Stdout()); strings.Contains(string(out), "reached") {
					t.Errorf("got %q", out)
				}
				return
			}
			if got := run(t, l, command(tt.command), nil); got.out != tt.want {
				t.Errorf("%s\ngot  %q (stderr %q)\nwant %q", tt.command, got.out, got.err, tt.want)
			}
		})
	}
	if os.Getpid() <= 1 {
		t.Error("killed by a session")
	}
	asNobody(t)
}

// TestHostUser looks from outside: no process of a sandbox is root's.
func TestHostUser(t *testing.T) {
	l := newLocal(t, Config{})
	p, err := l.Open(t.Context(), command("sleep 1000 & echo up; wait"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := io.ReadFull(p.Stdout(), make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	want := os.Geteuid()
	if want == 0 {
		want = DefaultHostUID
	}
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", p.(*process).pid))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if got, err := os.Readlink(d + "/ns/pid"); err != nil || got != ns {
			continue
		}
		found++
		status, _ := os.ReadFile(d + "/status")
		if !strings.Contains(string(status), fmt.Sprintf("\nUid:\t%d\t%d\t%d\t%d\n", want, want, want, want)) ||
			!strings.Contains(string(status), "\nGroups:\t \n") {
			t.Errorf("%s: %s", d, status)
		}
	}
	if found < 4 {
		t.Errorf("found %d processes of the sandbox", found)
	}
	asNobody(t)
}

func TestBinds(t *testing.T) {
	parent := t.TempDir()
	data, docs := parent+"/data", parent+"/docs"
	if err := errors.Join(os.Mkdir(data, 0o755), os.Mkdir(docs, 0o755), os.Mkdir(data+"/sub", 0o755),
		os.WriteFile(data+"/sub/f", []byte("old"), 0o644), os.WriteFile(docs+"/d", []byte("doc"), 0o644),
		os.WriteFile(parent+"/outside", []byte("outside"), 0o600), os.Symlink(parent+"/outside", data+"/link"), os.Link(parent+"/outside", data+"/hard"),
		os.Chmod(parent, 0o700)); err != nil {
		t.Fatal(err)
	}
	l := newLocal(t, Config{Binds: []Bind{{Source: data, Dest: "/srv/demo", RW: true, Chown: true}, {Source: docs, Dest: "/srv/docs"}}, Dir: "/srv/demo"})
	got := run(t, l, command("pwd; cat sub/f ../docs/d; echo new >sub/f; mkdir m; touch ../docs/x 2>/dev/null || echo ro; cat link 2>/dev/null || echo dangling; ls /srv"), nil)
	if want := "/srv/demo\nolddocro\ndangling\ndemo\ndocs\n"; got.out != want {
		t.Errorf("got %q, %q; want %q", got.out, got.err, want)
	}
	if b, _ := os.ReadFile(data + "/sub/f"); string(b) != "new\n" {
		t.Errorf("the host sees %q", b)
	}
	var st unix.Stat_t
	if err := unix.Stat(parent+"/outside", &st); err != nil || int(st.Uid) != os.Geteuid() {
		t.Errorf("a link out of the tree was followed: owner %d, %v", st.Uid, err)
	}
	asNobody(t)
}

func TestBadConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"name":    {Name: "a b"},
		"root":    {Name: "x", User: "root"},
		"uid":     {Name: "x", HostUID: 33},
		"home":    {Name: "x", Home: "home"},
		"shell":   {Name: "x", Shell: []string{"bash"}},
		"dest":    {Name: "x", Binds: []Bind{{Source: "/tmp", Dest: "/etc", RW: true}}},
		"dest up": {Name: "x", Binds: []Bind{{Source: "/tmp", Dest: "/srv/../etc"}}},
		"source":  {Name: "x", Binds: []Bind{{Source: "/nonexistent", Dest: "/srv/x"}}},
		"chown /": {Name: "x", Binds: []Bind{{Source: "/etc", Dest: "/srv/x", Chown: true}}},
		"env":     {Name: "x", Env: []string{"no equals sign"}},
	} {
		if l, err := New(c); err == nil {
			l.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestExit(t *testing.T) {
	l := newLocal(t, Config{})
	for _, n := range []int{0, 1, 2, 77, 126, 127, 128, 129, 130, 137, 143, 255} {
		if e := run(t, l, command(fmt.Sprint("exit ", n)), nil).exit; e != (shells.Exit{Status: n}) {
			t.Errorf("exit %d: %+v", n, e)
		}
	}
	for _, s := range []string{"KILL", "TERM", "SEGV", "HUP", "INT", "PIPE", "USR1", "ABRT", "ALRM"} {
		if e := run(t, l, command("kill -"+s+" $$"), nil).exit; e.Signal != s {
			t.Errorf("killed by %s: %+v", s, e)
		}
	}
	asNobody(t)
}

func TestStreams(t *testing.T) {
	l := newLocal(t, Config{})
	data := make([]byte, 32<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	if got := run(t, l, command("cat"), bytes.NewReader(data)); got.out != string(data) || got.err != "" {
		t.Errorf("cat gave %d bytes back, and %q", len(got.out), got.err)
	}
	if got := run(t, l, command(`cat >/dev/null; printf 'a\000\377\r\n'; printf 'e\000\376' >&2`), strings.NewReader("x")); got.out != "a\x00\xff\r\n" || got.err != "e\x00\xfe" {
		t.Errorf("got %q, %q", got.out, got.err)
	}
	long := "echo '" + strings.Repeat("x", 100_000) + "' | wc -c"
	if got := run(t, l, command(long), nil); got.out != "100001\n" {
		t.Errorf("a long command: %q", got.out)
	}
	if _, err := l.Open(t.Context(), command(strings.Repeat("x", maxCommand+1))); err == nil {
		t.Error("a command that is too long was run")
	}
	if _, err := l.Open(t.Context(), command("a\x00b")); err == nil {
		t.Error("a command with a zero byte was run")
	}
}

// TestLeftBehind: the end of the command is the end of the session, and its output is whole.
func TestLeftBehind(t *testing.T) {
	l := newLocal(t, Config{Linger: 200 * time.Millisecond})
	begin := time.Now()
	got := run(t, l, command("sleep 1000 & (sleep 0.05; echo late) & head -c 1000000 /dev/zero; exit 3"), nil)
	if len(got.out) != 1000005 || got.exit.Status != 3 {
		t.Errorf("%d bytes, %+v", len(got.out), got.exit)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestSignals(t *testing.T) {
	l := newLocal(t, Config{})
	p, err := l.Open(t.Context(), command("trap 'echo got usr1' USR1; echo up; sleep 1000 & wait; sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	br := bufio.NewReader(p.Stdout())
	expect := func(want string) {
		t.Helper()
		if got, err := br.ReadString('\n'); got != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	expect("up\n")
	if err := p.Signal("WINCH"); err == nil {
		t.Error("WINCH was sent")
	}
	if err := p.Signal("USR1"); err != nil {
		t.Fatal(err)
	}
	expect("got usr1\n")
	if err := p.Signal("TERM"); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, br)
	if e, err := p.Wait(t.Context()); err != nil || e.Signal != "TERM" {
		t.Errorf("Wait = %+v, %v", e, err)
	}
	if err := p.Signal("TERM"); err == nil {
		t.Error("a signal after the end")
	}
}

func TestTerminal(t *testing.T) {
	l := newLocal(t, Config{})
	p, err := l.Open(t.Context(), shells.Request{Kind: shells.Exec, Env: []string{"FOO=bar", "LD_PRELOAD=x", "BASH_ENV=y"},
		Command: "stty -a; echo $TERM $FOO $LD_PRELOAD$BASH_ENV; tty; trap 'stty size' WINCH; trap 'echo INT; stty -echo; echo quiet; read; exit 5' INT; echo ready; while sleep 0.01; do :; done",
		Pty:     &shells.Pty{Term: "vt100", Cols: 91, Rows: 1 << 31, Modes: ssh.TerminalModes{ssh.VINTR: 7, ssh.IXON: 0, ssh.ECHO: 1, 250: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	br := bufio.NewReader(p.Stdout())
	expect := func(wants ...string) {
		t.Helper()
		for _, want := range wants {
			for {
				got, err := br.ReadString('\n')
				if err != nil {
					t.Fatalf("waiting for %q: %v", want, err)
				}
				if strings.Contains(got, want) {
					break
				}
			}
		}
	}
	expect("rows 4096; columns 91", "intr = ^G", "-ixon", "vt100 bar\r", "/dev/console", "ready")
	if p.(SecretReader).ReadsSecret() {
		t.Error("echo is off")
	}
	if p.Stderr() != nil {
		t.Error("a terminal has a stderr")
	}
	if err := p.Resize(70, 20); err != nil {
		t.Fatal(err)
	}
	expect("20 70")
	if err := p.Signal("INT"); err != nil {
		t.Fatal(err)
	}
	expect("INT", "quiet")
	if !p.(SecretReader).ReadsSecret() {
		t.Error("echo is on")
	}
	p.Stdin().Close() // end of file for read
	io.Copy(io.Discard, br)
	if e, err := p.Wait(t.Context()); err != nil || e.Status != 5 {
		t.Errorf("Wait = %+v, %v", e, err)
	}
}

func TestSFTP(t *testing.T) {
	l := newLocal(t, Config{})
	p, err := l.Open(t.Context(), shells.Request{Kind: shells.Subsystem, Command: "sftp"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Stdin().Write([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3}) // SSH_FXP_INIT, version 3
	answer := make([]byte, 9)
	if _, err := io.ReadFull(p.Stdout(), answer); err != nil || answer[4] != 2 || answer[8] != 3 {
		t.Errorf("sftp answered %q, %v", answer, err)
	}
	for _, r := range []shells.Request{{Kind: shells.Subsystem, Command: "netconf"}, {Kind: "x11"}, {Kind: shells.Shell, Login: "root"}} {
		var e *Error
		if _, err := l.Open(t.Context(), r); !errors.As(err, &e) || e.Public == "" {
			t.Errorf("%+v: %v", r, err)
		}
	}
	none := newLocal(t, Config{SFTPServer: "/nonexistent"})
	if _, err := none.Open(t.Context(), shells.Request{Kind: shells.Subsystem, Command: "sftp"}); err == nil || !strings.Contains(err.Error(), "not installed") {
		t.Errorf("without a server: %v", err)
	}
}

// TestLimits: a bomb stays in its sandbox, and its neighbour does not feel it.
func TestLimits(t *testing.T) {
	l := newLocal(t, Config{Limits: Limits{Processes: 40, Tmp: 1 << 20, OpenFiles: 32, FileSize: 4096}})
	got := run(t, l, command("for i in $(seq 100); do sleep 100 & done 2>/dev/null; echo done"), nil)
	if strings.Contains(got.out, "done") {
		t.Errorf("100 processes where 40 are allowed: %q %q", got.out, got.err)
	}
	p, err := l.Open(t.Context(), command("f() { f & f; }; echo up; f 2>/dev/null"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	io.ReadFull(p.Stdout(), make([]byte, 3))
	if got := run(t, l, command("seq 3 | wc -l; ulimit -n; ulimit -c"), nil); got.out != "3\n32\n0\n" {
		t.Errorf("beside a bomb: %q %q", got.out, got.err)
	}
	if e := run(t, l, command("exec head -c 10000 /dev/zero >/tmp/f"), nil).exit; e.Signal != "XFSZ" {
		t.Errorf("a file of more than its bound: %+v", e)
	}
}

// TestNothingLeft: 200 sessions, ended in every way, leave no process, descriptor or goroutine.
func TestNothingLeft(t *testing.T) {
	l := newLocal(t, Config{})
	one := func(i int) {
		r := command("cat")
		if i%2 == 0 {
			r.Pty = &shells.Pty{Term: "dumb", Cols: 80, Rows: 24}
		}
		if i%5 == 0 {
			r.Command = "sleep 1000 & exit 0"
		}
		p, err := l.Open(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan struct{})
		go func() { // as a relay: Close must end it
			defer close(read)
			io.Copy(io.Discard, p.Stdout())
		}()
		if i%3 == 0 {
			p.Stdin().Close()
		}
		p.Close()
		<-read
		if p.Close() != nil {
			t.Error("a second Close fails")
		}
	}
	one(0)
	gs, fds, kids := runtime.NumGoroutine(), count(t, "/proc/self/fd"), children(t)
	n := 200
	if testing.Short() {
		n = 20
	}
	for i := range n {
		one(i)
	}
	// A goroutine that has said it is done may not have been counted out yet, on a busy machine.
	for limit := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		g, f, k := runtime.NumGoroutine(), count(t, "/proc/self/fd"), children(t)
		if g <= gs && f <= fds && k <= kids {
			return
		}
		if time.Now().After(limit) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("goroutines %d, were %d; descriptors %d, were %d; children %d, were %d\n%s", g, gs, f, fds, k, kids, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func count(t *testing.T, dir string) int {
	t.Helper()
	d, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// children counts the processes this one started and has not reaped.
func children(t *testing.T) (n int) {
	t.Helper()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		b, _ := os.ReadFile(s)
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) > 1 && f[1] == fmt.Sprint(os.Getpid()) {
			n++
		}
	}
	return n
}

func TestKilledInside(t *testing.T) {
	l := newLocal(t, Config{})
	p, err := l.Open(t.Context(), command("kill -9 2; sleep 1000")) // its wrapper
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	io.Copy(io.Discard, p.Stdout())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if e, err := p.Wait(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("Wait = %+v, %v; want an error", e, err)
	}
}

func TestCloseTarget(t *testing.T) {
	l := newLocal(t, Config{})
	p, err := l.Open(t.Context(), command("sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := p.Wait(t.Context()); err == nil {
		t.Error("the session outlived its target")
	}
	if _, err := l.Open(t.Context(), command("true")); err == nil {
		t.Error("a closed target opens sessions")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newLocal(t, Config{}).Open(ctx, command("true")); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with an ended context: %v", err)
	}
}

func BenchmarkOpen(b *testing.B) {
	l := newLocal(b, Config{})
	for b.Loop() {
		run(b, l, command("true"), nil)
	}
}

// TestInsecure: without a sandbox nothing opens, unless the name that says insecure is used.
func TestInsecure(t *testing.T) {
	old := tools
	tools = append([]tool{{"/nonexistent/bwrap", "bubblewrap"}}, tools...)
	defer func() { tools = old }()
	if _, err := New(Config{Name: "x"}); err == nil || !strings.Contains(err.Error(), "install the package bubblewrap") {
		t.Errorf("New = %v", err)
	}
	l := newLocal(t, Config{InsecureNoSandbox: true})
	if l.Sandboxed() {
		t.Error("it says that it is sandboxed")
	}
	got := run(t, l, command("id -u; cat; kill -9 $$"), strings.NewReader("in"))
	if got.out != fmt.Sprintf("%d\nin", os.Geteuid()) || got.exit.Signal != "KILL" {
		t.Errorf("got %+v", got)
	}
	p, err := l.Open(t.Context(), command("sleep 1000 & sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if kids := children(t); kids != 0 {
		t.Errorf("%d children left", kids)
	}
}
