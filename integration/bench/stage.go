package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/shells/postgres/throwaway"
)

// startLimit is how long a server may take to listen. It is generous: the machine may be busy.
const startLimit = 90 * time.Second

// A stage is everything that runs for the measurements.
type stage struct {
	dir    string // working directory, removed at the end
	keep   bool
	log    io.Writer
	gateAt string // binary
	sink   *sink
	keys   keys
	kex    []string
	procs  []*proc
	starts chan func() // to the thread that starts programs

	kubeconfig string // of the target k8s of gates that are started from now on; "" for none

	gate, plain, openssh *server
	db                   *database // nil: not wanted, or there is no PostgreSQL
}

// A server is one of the three that are compared.
type server struct {
	Name string
	proc *proc
	doors
}

// doors are the ways into a server. Box is the one that is compared; the gate has others beside it.
type doors struct {
	box  *door
	bare *door // the gate's target without a sandbox
	web1 *door // the gate's target behind it, an OpenSSH server in a cage
}

// A proc is a program that was started here.
type proc struct {
	name string
	cmd  *exec.Cmd
	in   io.Closer // its standard input: some end with it
	err  *tail
	done chan struct{} // closed when it has ended
}

// openStage starts everything. The stage is to be closed in any case.
func openStage(ctx context.Context, o options) (st *stage, err error) {
	st = &stage{keep: o.keep, log: o.log, gateAt: o.gate, starts: make(chan func())}
	go st.starter() // ends with the stage
	if st.dir, err = os.MkdirTemp("", "sallyport-bench-"); err != nil {
		return st, err
	}
	// Sandboxes run as another user, who must get to the data but not into what is beside it.
	if err := errors.Join(os.Chmod(st.dir, 0o711), writeText(st.data())); err != nil {
		return st, err
	}
	if st.keys, err = makeKeys(st.dir); err != nil {
		return st, err
	}
	if st.sink, err = startSink(); err != nil {
		return st, err
	}
	if st.gateAt == "" {
		fmt.Fprintln(st.log, "bench: building the gate")
		if err := st.buildGate(ctx, o.profile != ""); err != nil {
			return st, err
		}
	}
	if slices.ContainsFunc(groups, func(g group) bool { return strings.HasPrefix(g.name, "postgres") && o.only.MatchString(g.name) }) {
		fmt.Fprintln(st.log, "bench: starting PostgreSQL")
		if err := st.startDatabase(ctx); err != nil && !errors.Is(err, throwaway.ErrNone) {
			return st, fmt.Errorf("PostgreSQL: %w", err)
		}
	}
	fmt.Fprintln(st.log, "bench: starting the gate, a plain Go server and OpenSSH's sshd")
	st.kex = keyExchanges(ctx)
	if st.gate, err = st.startGate(ctx, "gate"); err != nil {
		return st, err
	}
	if st.plain, err = st.startPlain(ctx); err != nil {
		return st, err
	}
	if st.openssh, err = st.startOpenSSH(ctx); err != nil || st.db == nil {
		return st, err
	}
	return st, st.dig(ctx)
}

func (st *stage) data() string { return filepath.Join(st.dir, "data") }

// keyExchanges is what all three servers can do, best first: the client offers it to all alike.
func keyExchanges(ctx context.Context) []string {
	both := []string{"mlkem768x25519-sha256", "curve25519-sha256"}
	out, err := exec.CommandContext(ctx, "ssh", "-Q", "kex").Output()
	if err != nil || !strings.Contains(string(out), both[0]) {
		return both[1:]
	}
	return both
}

// textSize is one file of printable text, which is shown again and again.
const textSize = 16 << 20

// writeText makes a log as services write them. One line in twenty has something to mask.
func writeText(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for i := 0; b.Len() < textSize; i++ {
		who := fmt.Sprintf("user=%d", r.IntN(1e6))
		if i%20 == 0 {
			who = fmt.Sprintf("mail=user%d@example.com", r.IntN(1e6))
		}
		fmt.Fprintf(&b, "2026-11-%02dT%02d:%02d:%02dZ INFO request id=%08x path=/orders/%d status=200 duration=%dms %s\n",
			1+r.IntN(30), r.IntN(24), r.IntN(60), r.IntN(60), r.Uint32(), r.IntN(1e5), r.IntN(900), who)
	}
	path := filepath.Join(dir, "text")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return err
	}
	return errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o644)) // whatever the umask says
}

// ready is the line in which `sallyport dev` says where it listens.
var ready = regexp.MustCompile(`ssh on (\S+),`)

// startGate runs `sallyport dev` with the targets, limits and policy that are measured.
func (st *stage) startGate(ctx context.Context, name string) (*server, error) {
	dir := filepath.Join(st.dir, name)
	config := filepath.Join(st.dir, name+".yaml")
	if err := st.configureGate(config, filepath.Join(st.dir, name+".policies")); err != nil {
		return nil, err
	}
	kubeconfig := st.kubeconfig
	if kubeconfig == "" {
		kubeconfig = "none"
	}
	cmd := exec.Command(st.gateAt, "dev", "--dir", dir, "--ssh", "127.0.0.1:0", "--http", "127.0.0.1:0", "--config", config, "--kubeconfig", kubeconfig)
	if st.gate == nil { // the one that is measured most
		cmd.Env = append(os.Environ(), profilerEnv+"="+st.profiler())
	}
	p, out, err := st.start(name, cmd)
	if err != nil {
		return nil, err
	}
	m, err := p.await(ctx, out, ready)
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "developer")
	way := func(user string) *door {
		return &door{
			Addr: m[1], User: user, HostName: "gate", KnownHosts: filepath.Join(home, "known_hosts"), HostAlgorithm: "ssh-ed25519-cert-v01@openssh.com",
			Key: filepath.Join(home, "id_ed25519"), Cert: filepath.Join(home, "id_ed25519-cert.pub"), KeyExchanges: st.kex,
			Data: "/bench", SinkHost: "sink", SinkPort: st.sink.port,
		}
	}
	s := &server{Name: "gate", proc: p, doors: doors{box: way("box"), bare: way("bare")}}
	s.bare.Data = st.data()
	if text, err := os.ReadFile(filepath.Join(home, "ssh_config")); err == nil && strings.Contains(string(text), "Host web1\n") {
		s.web1 = way("web1")
	}
	return s, nil
}

// rawPolicy lets bytes that nobody reads through to the sink; the default set denies it everywhere.
const rawPolicy = `@id("bench-raw")
permit (principal, action == Action::"forward:raw", resource == Target::"sink");
`

// configureGate writes what is laid over dev's own configuration. The limits are raised because one
// identity plays all the users here.
func (st *stage) configureGate(path, policyDir string) error {
	if err := os.Mkdir(policyDir, 0o700); err != nil {
		return err
	}
	sources := append(policies.Default(), policies.Source{Name: "bench.cedar", Text: []byte(rawPolicy)})
	for _, s := range sources {
		if err := os.WriteFile(filepath.Join(policyDir, filepath.Base(s.Name)), s.Text, 0o600); err != nil {
			return err
		}
	}
	shell := func(name string, more map[string]any) map[string]any {
		return map[string]any{"name": name, "kind": "shell", "shell": more}
	}
	targets := []any{
		shell("box", map[string]any{"binds": []any{map[string]any{"source": st.data(), "path": "/bench"}}}),
		shell("bare", map[string]any{"insecure_no_sandbox": true}),
		map[string]any{"name": "sink", "kind": "tcp", "tcp": map[string]any{"address": st.sink.addr}},
	}
	if st.db != nil {
		targets = append(targets, st.db.target())
	}
	// JSON is YAML.
	text, err := json.MarshalIndent(map[string]any{
		"ssh":      map[string]any{"max_startups": 1000, "max_startups_per_source": 200, "max_connections_per_identity": 20000},
		"targets":  targets,
		"policies": []string{policyDir},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// startPlain runs the plain Go server in a process of its own.
func (st *stage) startPlain(ctx context.Context) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "serve-plainly")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p, out, err := st.start("the plain server", cmd)
	if err != nil {
		return nil, err
	}
	p.in = in
	if err := json.NewEncoder(in).Encode(plainOptions{HostKey: st.keys.host, AuthorizedKey: st.keys.clientPublic}); err != nil {
		return nil, err
	}
	m, err := p.await(ctx, out, regexp.MustCompile(`listening on (\S+)`))
	if err != nil {
		return nil, err
	}
	return &server{Name: "plain Go", proc: p, doors: doors{box: st.plainDoor(m[1], "bench")}}, nil
}

// plainDoor is the way into a server that takes the ordinary key.
func (st *stage) plainDoor(addr, login string) *door {
	return &door{
		Addr: addr, User: login, HostName: "bench", KnownHosts: st.keys.knownHosts, HostAlgorithm: "ssh-ed25519",
		Key: st.keys.client, KeyExchanges: st.kex, Data: st.data(), SinkHost: st.sink.host, SinkPort: st.sink.port,
	}
}

// startOpenSSH runs OpenSSH's own daemon, for whoever runs this.
func (st *stage) startOpenSSH(ctx context.Context) (*server, error) {
	const binary = "/usr/sbin/sshd"
	who, err := user.Current()
	if err != nil {
		return nil, err
	}
	if who.Uid == "0" { // where sshd separates its privileges
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	home := filepath.Join(st.dir, "home") // empty, so that no shell reads anybody's settings
	config := filepath.Join(st.dir, "sshd_config")
	lines := []string{
		"ListenAddress " + addr, "HostKey " + st.keys.host, "AuthorizedKeysFile " + st.keys.authorized, "StrictModes no", "UsePAM no",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password", "PidFile none", "UseDNS no",
		"PrintMotd no", "PrintLastLog no", "LogLevel ERROR", "MaxStartups 1000:100:1000", "MaxSessions 1000", "SetEnv HOME=" + home,
	}
	if err := errors.Join(os.Mkdir(home, 0o755), os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600)); err != nil {
		return nil, err
	}
	p, _, err := st.start("sshd", exec.Command(binary, "-D", "-e", "-f", config))
	if err != nil {
		return nil, err
	}
	d := st.plainDoor(addr, who.Username)
	if err := p.answers(ctx, d); err != nil {
		return nil, err
	}
	return &server{Name: "OpenSSH", proc: p, doors: doors{box: d}}, nil
}

// answers waits until one can log in.
func (p *proc) answers(ctx context.Context, d *door) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		c, err := d.dial(ctx)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not let in: %w\n%s", p.name, err, p.err)
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.name, p.err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// starter is the thread that starts programs: they are told to end with it, so it must live.
func (st *stage) starter() {
	runtime.LockOSThread() // never unlocked: the thread ends with this function
	for start := range st.starts {
		start()
	}
}

// start runs cmd in a process group of its own: a Ctrl-C is for this program, which stops the others.
func (st *stage) start(name string, cmd *exec.Cmd) (*proc, io.Reader, error) {
	p := &proc{name: name, cmd: cmd, err: new(tail), done: make(chan struct{})}
	cmd.Stderr = p.err
	cmd.Dir = st.dir
	cmd.WaitDelay = time.Second // a session that outlives its server may hold its output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	r, w := io.Pipe()
	cmd.Stdout = w
	started := make(chan error)
	st.starts <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", name, err)
	}
	st.procs = append(st.procs, p)
	go func() { // ends with the program, which close waits for
		_ = cmd.Wait() // its output says why
		w.Close()
		close(p.done)
	}()
	return p, r, nil
}

// await returns the first line of out that matches, and drops all that comes after it.
func (p *proc) await(ctx context.Context, out io.Reader, line *regexp.Regexp) ([]string, error) {
	found := make(chan []string, 1)
	go func() { // ends with the program
		defer close(found)
		for s := bufio.NewScanner(out); s.Scan(); {
			if m := line.FindStringSubmatch(s.Text()); m != nil {
				found <- m
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case m := <-found:
		if m != nil {
			return m, nil
		}
		return nil, fmt.Errorf("%s ended before it listened: %s", p.name, p.err)
	case <-time.After(startLimit):
		return nil, fmt.Errorf("%s does not listen after %v: %s", p.name, startLimit, p.err)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// stopLimit is how long a program has to end by itself.
const stopLimit = 20 * time.Second

// stop ends p and what it started.
func (p *proc) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	if p.in != nil {
		p.in.Close()
	}
	var err error
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		err = fmt.Errorf("%s did not stop within %v and was killed: %s", p.name, stopLimit, p.err)
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // the rest of its group, if there is one
	<-p.done
	return err
}

// drop stops one server before the others.
func (st *stage) drop(p *proc) error {
	for i := range st.procs {
		if st.procs[i] == p {
			st.procs = append(st.procs[:i], st.procs[i+1:]...)
			break
		}
	}
	return p.stop()
}

// close stops everything and removes what was written.
func (st *stage) close() error {
	var errs []error
	for _, p := range st.procs {
		errs = append(errs, p.stop())
	}
	close(st.starts)
	if st.db != nil {
		errs = append(errs, st.db.server.Close())
	}
	if st.sink != nil {
		st.sink.close()
	}
	if st.keep {
		fmt.Fprintln(st.log, "bench: everything is kept in", st.dir)
	} else if st.dir != "" {
		errs = append(errs, os.RemoveAll(st.dir))
	}
	return errors.Join(errs...)
}
