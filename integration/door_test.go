package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// A door is a `sallyport dev` under attack.
type door struct {
	t      *testing.T
	dir    string // its --dir
	port   string
	url    string
	cmd    *exec.Cmd
	out    *lockedBuffer
	exited chan error
	plain  bool // without the race detector
}

// openDoor starts `sallyport dev` with this configuration, whose files' names are relative to it.
func openDoor(t *testing.T, config string, files ...string) *door {
	t.Helper()
	d := newDoor(t)
	for i := 0; i+1 < len(files); i += 2 {
		d.write(files[i], files[i+1])
	}
	d.start(config)
	return d
}

func newDoor(t *testing.T) *door {
	t.Helper()
	return &door{t: t, dir: filepath.Join(t.TempDir(), "d"), out: new(lockedBuffer)}
}

// write puts a file beside the configuration.
func (d *door) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(d.dir), name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

var doorReady = regexp.MustCompile(`ssh on (\S+):(\d+), console on (http://\S+)`)

// start runs the gate, further args after its own, and waits until it is ready. It is stopped, and must
// stop cleanly, when the test ends.
func (d *door) start(config string, args ...string) {
	d.t.Helper()
	d.write("door.yaml", config)
	program := filepath.Join(bin, "sallyport")
	if d.plain {
		program = plainProgram(d.t)
	}
	args = append([]string{"dev", "--dir", d.dir, "--ssh", "127.0.0.1:0", "--http", "127.0.0.1:0",
		"--config", filepath.Join(filepath.Dir(d.dir), "door.yaml")}, args...)
	d.run(exec.Command(program, args...))
}

var plainBuild = sync.OnceValues(func() ([]byte, error) {
	return exec.Command("go", "build", "-o", filepath.Join(bin, "plain"), "../cmd/sallyport").CombinedOutput()
})

// plainProgram is the program without the race detector, for volumes of data and figures of memory.
func plainProgram(t *testing.T) string {
	t.Helper()
	if out, err := plainBuild(); err != nil {
		t.Fatalf("build sallyport: %v\n%s", err, out)
	}
	return filepath.Join(bin, "plain")
}

func (d *door) run(cmd *exec.Cmd) {
	d.t.Helper()
	d.cmd = cmd
	d.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.exited = make(chan error, 1)
	go func() { d.exited <- d.cmd.Wait() }() // received by stop or quit
	d.t.Cleanup(d.stop)
	d.until("the gate is ready", func() bool {
		m := doorReady.FindStringSubmatch(d.out.String())
		if m != nil {
			d.port, d.url = m[2], m[3]
		}
		return m != nil
	})
}

func (d *door) stop() {
	if d.cmd == nil {
		return
	}
	if d.t.Failed() {
		d.t.Logf("the gate's log:\n%s", tail(d.log(), 8000))
	}
	_ = d.cmd.Process.Signal(os.Interrupt)
	select {
	case err := <-d.exited:
		if err != nil {
			d.t.Errorf("the gate did not stop cleanly: %v\n%s", err, d.out)
		}
	case <-time.After(60 * time.Second):
		d.t.Errorf("the gate still runs a minute after SIGINT\n%s", d.out)
		_ = d.cmd.Process.Kill()
		<-d.exited
	}
	d.cmd = nil
}

// goroutines ends the gate by SIGQUIT and returns the stacks of all its goroutines.
func (d *door) goroutines() []string {
	d.t.Helper()
	_ = d.cmd.Process.Signal(quitSignal)
	<-d.exited
	d.cmd = nil
	_, stacks, found := strings.Cut(d.out.String(), "SIGQUIT: quit")
	if !found {
		d.t.Fatalf("no stacks after SIGQUIT:\n%s", tail(d.out.String(), 4000))
	}
	return strings.Split(stacks, "\n\n")
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// until polls for a condition of another process, for at most a minute.
func (d *door) until(what string, ok func() bool) {
	d.t.Helper()
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
		select {
		case err := <-d.exited:
			d.cmd = nil
			d.t.Fatalf("the gate ended before %s: %v\n%s", what, err, d.out)
		default:
		}
	}
	d.t.Fatalf("waited a minute until %s\n%s\n%s", what, d.out, tail(d.log(), 8000))
}

func (d *door) log() string {
	b, err := os.ReadFile(filepath.Join(d.dir, "gate.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Error(err)
	}
	return string(b)
}

func (d *door) addr() string { return "127.0.0.1:" + d.port }

// ssh is OpenSSH's client as user, ended after three minutes at the latest.
func (d *door) ssh(user string, args ...string) *exec.Cmd { return d.tool("ssh", user, args...) }

func (d *door) tool(name, user string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(d.t.Context(), 3*time.Minute)
	d.t.Cleanup(cancel)
	return exec.CommandContext(ctx, name, append([]string{"-F", filepath.Join(d.dir, user, "ssh_config"), "-o", "BatchMode=yes"}, args...)...)
}

// sallyport is one of the operator's commands on this gate.
func (d *door) sallyport(args ...string) *exec.Cmd {
	return exec.CommandContext(d.t.Context(), filepath.Join(bin, "sallyport"), append(args, "--dir", d.dir)...)
}

type result struct {
	out, err string
	code     int
}

// do runs c to its end.
func do(t *testing.T, c *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), c.ProcessState.ExitCode()}
}

// getsIn shows that a real ssh is served, from this address.
func (d *door) getsIn(from string) {
	d.t.Helper()
	r := do(d.t, d.ssh("developer", "-b", from, "demo", "echo in"))
	if r.code != 0 || r.out != "in\n" {
		d.t.Errorf("ssh from %s: exit %d, %q, %q", from, r.code, r.out, r.err)
	}
}

// signer is user's key with user's certificate.
func (d *door) signer(user string) ssh.Signer {
	d.t.Helper()
	signer, err := ssh.NewCertSigner(d.certificate(user), d.key(filepath.Join(user, "id_ed25519")))
	if err != nil {
		d.t.Fatal(err)
	}
	return signer
}

func (d *door) key(path string) ssh.Signer {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, path))
	if err != nil {
		d.t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		d.t.Fatal(err)
	}
	return key
}

func (d *door) certificate(user string) *ssh.Certificate {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, user, "id_ed25519-cert.pub"))
	if err != nil {
		d.t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		d.t.Fatal(err)
	}
	return key.(*ssh.Certificate)
}

// forge changes user's certificate and signs it again with one of the gate's own CA keys, as somebody who
// has that key could; only the check in question can then refuse it.
func (d *door) forge(user, ca string, change func(*ssh.Certificate)) ssh.Signer {
	d.t.Helper()
	c := *d.certificate(user)
	c.CriticalOptions, c.Extensions = maps.Clone(c.CriticalOptions), maps.Clone(c.Extensions)
	if c.CriticalOptions == nil {
		c.CriticalOptions = map[string]string{}
	}
	change(&c)
	if err := c.SignCert(rand.Reader, d.key(filepath.Join("ca", ca))); err != nil {
		d.t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(&c, d.key(filepath.Join(user, "id_ed25519")))
	if err != nil {
		d.t.Fatal(err)
	}
	return signer
}

// hostCA takes host certificates of this gate's CA for name.
func (d *door) hostCA(name string) ssh.HostKeyCallback {
	ca := d.key("ca/host_ca").PublicKey()
	c := &ssh.CertChecker{IsHostAuthority: func(k ssh.PublicKey, _ string) bool { return bytes.Equal(k.Marshal(), ca.Marshal()) }}
	return func(_ string, remote net.Addr, key ssh.PublicKey) error {
		return c.CheckHostKey(name+":22", remote, key)
	}
}

func (d *door) clientConfig(login string, auth ...ssh.AuthMethod) *ssh.ClientConfig {
	return &ssh.ClientConfig{User: login, Auth: auth, HostKeyCallback: d.hostCA("gate"), Timeout: time.Minute}
}

// dial connects from an address of the loopback network.
func (d *door) dial(from string) (net.Conn, error) {
	n := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: time.Minute}
	return n.DialContext(d.t.Context(), "tcp", d.addr())
}

func (d *door) mustDial(from string) net.Conn {
	d.t.Helper()
	c, err := d.dial(from)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	return c
}

// client connects a client of our own, which can do what OpenSSH's does not.
func (d *door) client(login string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	return d.clientFrom("127.0.0.1", login, auth...)
}

func (d *door) clientFrom(from, login string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	nc, err := d.dial(from)
	if err != nil {
		return nil, err
	}
	return d.clientOn(nc, d.clientConfig(login, auth...))
}

func (d *door) clientOn(nc net.Conn, config *ssh.ClientConfig) (*ssh.Client, error) {
	conn, channels, requests, err := ssh.NewClientConn(nc, d.addr(), config)
	if err != nil {
		nc.Close()
		return nil, err
	}
	client := ssh.NewClient(conn, channels, requests)
	d.t.Cleanup(func() { client.Close() })
	return client, nil
}

// as connects as user to login.
func (d *door) as(user, login string) *ssh.Client {
	d.t.Helper()
	c, err := d.client(login, ssh.PublicKeys(d.signer(user)))
	if err != nil {
		d.t.Fatalf("%s at %s: %v\n%s", user, login, err, tail(d.log(), 2000))
	}
	return c
}

// A load is what a process takes of the machine.
type load struct {
	fds, children int
	rss           int64 // bytes
}

func (d *door) load() load {
	d.t.Helper()
	pid := strconv.Itoa(d.cmd.Process.Pid)
	names, err := filepath.Glob("/proc/" + pid + "/fd/*")
	if err != nil {
		d.t.Fatal(err)
	}
	fds := 0
	for _, name := range names {
		// SQLite keeps connections, as many as were ever needed at once.
		if to, err := os.Readlink(name); err == nil && !strings.Contains(to, "ledger.db") {
			fds++
		}
	}
	statm, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		d.t.Fatal(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		d.t.Fatal(err)
	}
	return load{fds, len(childrenOf(d.cmd.Process.Pid)), resident * int64(os.Getpagesize())}
}

// childrenOf are the processes below pid, whichever of its threads started them.
func childrenOf(pid int) []int {
	var out []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f) // a thread may be gone
		for _, word := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(word); err == nil {
				out = append(append(out, child), childrenOf(child)...)
			}
		}
	}
	return out
}
