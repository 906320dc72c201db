package integration

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestDoorStartRefused: what keeps a gate from starting is said in one line that names the place and what to
// do, and nothing stays behind.
func TestDoorStartRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		name, config, policy string
		args                 []string
		want                 string
	}{
		{"port taken", "", "", []string{"--ssh", taken.Addr().String()}, `ssh\.listen: ` + regexp.QuoteMeta(taken.Addr().String()) + ` is taken by another program`},
		{"console's port taken", "", "", []string{"--http", taken.Addr().String()}, `http\.listen: .* is taken by another program`},
		{"no address", "", "", []string{"--ssh", "nonsense"}, `nonsense`},
		{"no YAML", "ssh: [\n", "", nil, `door\.yaml:\d+:\d+: `},
		{"unknown key", "ssh: {lissten: x}\n", "", nil, `door\.yaml:1:\d+: .*lissten`},
		{"wrong type", "ssh: {max_startups: many}\n", "", nil, `door\.yaml:1:\d+: `},
		{"no duration", "ssh: {handshake_timeout: 2 parsecs}\n", "", nil, `door\.yaml:1:\d+: .*parsecs`},
		{"no limit", "ssh: {max_startups: -1}\n", "", nil, `max_startups`},
		{"unknown kind", "targets: [{name: x, kind: telnet}]\n", "", nil, `door\.yaml:1:\d+: .*telnet`},
		{"no host key", "targets: [{name: x, kind: ssh, ssh: {address: 'x:22'}}]\n", "", nil, `host_ca|host_keys`},
		{"a reserved name", "targets: [{name: gate, kind: tcp, tcp: {address: 'x:22'}}]\n", "", nil, `door\.yaml:1:\d+: .*gate`},
		{"broken policy", "policies: [p.cedar]\n", "permit (principal, action resource);\n", nil, `p\.cedar:1:\d+: `},
		{"unknown action", "policies: [p.cedar]\n", `permit (principal, action == Action::"sesion:open", resource);`, nil, `p\.cedar:1:\d+: .*session:open`},
		{"no policy file", "policies: [nosuch.cedar]\n", "", nil, `nosuch\.cedar`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor(t)
			d.write("p.cedar", tt.policy)
			d.write("door.yaml", tt.config)
			args := append([]string{"dev", "--dir", d.dir, "--ssh", "127.0.0.1:0", "--http", "127.0.0.1:0", "--config", filepath.Join(filepath.Dir(d.dir), "door.yaml")}, tt.args...)
			r := do(t, exec.CommandContext(t.Context(), filepath.Join(bin, "sallyport"), args...))
			if r.code == 0 || r.code == 66 || r.out != "" || !regexp.MustCompile(tt.want).MatchString(r.err) {
				t.Errorf("exit %d: %q %q, want %s", r.code, r.out, r.err, tt.want)
			}
			if lines := strings.Count(strings.TrimSpace(r.err), "\n") + 1; lines > 4 || strings.Contains(r.err, "goroutine") {
				t.Errorf("%d lines: %s", lines, r.err)
			}
			if left, _ := exec.Command("pgrep", "-f", d.dir).Output(); len(left) > 0 {
				t.Errorf("processes are left: %s", left)
			}
		})
	}
}

// TestDoorBadTargets: what is wrong with a target is said to whoever asked for it, in one line that gives
// nothing of the network away; the log has the rest, and other targets go on.
func TestDoorBadTargets(t *testing.T) {
	down := freeAddr(t)
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts by the kernel, and never speaks
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	pinned := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	impostor := sshServer(t)
	target := func(name, kind, address string) string {
		if kind == "tcp" {
			return fmt.Sprintf("  - {name: %s, kind: tcp, tcp: {address: '%s', connect_timeout: 1s}}\n", name, address)
		}
		return fmt.Sprintf("  - {name: %s, kind: ssh, ssh: {address: '%s', login: root, host_keys: ['%s'], connect_timeout: 1s}}\n", name, address, pinned)
	}
	d := openDoor(t, "policies: [all.cedar]\ntargets:\n"+target("down", "ssh", down)+target("mute", "ssh", mute.Addr().String())+
		target("impostor", "ssh", impostor)+target("nohost", "ssh", "nosuch.invalid:22")+target("rawdown", "tcp", down),
		"all.cedar", "permit (principal, action, resource);\n")
	for _, tt := range []struct{ name, want, secret string }{
		{"down", "nothing listens there", down},
		{"mute", "did not answer in time", mute.Addr().String()},
		{"impostor", "offered a key that is not known for it", impostor},
		{"nohost", "does not resolve|cannot be reached", "nosuch.invalid"},
	} {
		for _, args := range [][]string{{tt.name, "true"}, {"-tt", tt.name}, {"-s", tt.name, "sftp"}, {"-J", "gate", "root@" + tt.name, "true"}} {
			c := d.ssh("developer", args...)
			r := do(t, c)
			said := r.out + r.err
			if r.code != 255 || !regexp.MustCompile(tt.want).MatchString(said) {
				t.Errorf("ssh %q: exit %d: %q", args, r.code, said)
			}
			if strings.Contains(said, tt.secret) {
				t.Errorf("ssh %q tells the address: %q", args, said)
			}
			if n := strings.Count(said, "sallyport:"); n != 1 {
				t.Errorf("ssh %q: %d lines of the gate's, want one: %q", args, n, said)
			}
		}
		if !strings.Contains(d.log(), "target "+tt.name+": ") {
			t.Errorf("the log does not say what is wrong with %s", tt.name)
		}
	}
	if r := do(t, d.ssh("developer", "-W", "rawdown:"+port(down), "gate")); r.code == 0 || !strings.Contains(r.err, "target rawdown") || strings.Contains(r.err, down) {
		t.Errorf("-W to a raw target that is down: exit %d: %q", r.code, r.err)
	}
	for _, tt := range []struct{ user, want string }{
		{"nosuch", `no target "nosuch"`}, {"root+nosuch", `no target "nosuch"`}, {"+web1", "names no login"}, {"a,b+web1", "cannot be a login"},
		{"böse\u202etxt", `no target`}, {strings.Repeat("x", 5000), "names no target"},
	} {
		r := do(t, d.ssh("developer", "-o", "User="+tt.user, "-o", "HostName=127.0.0.1", "gate", "true"))
		if r.code != 255 || !strings.Contains(r.err, tt.want) || strings.ContainsAny(r.err, "\x1b\x07") {
			t.Errorf("user %.30q: exit %d: %.300q", tt.user, r.code, r.err)
		}
	}
	for _, line := range strings.Split(d.log(), "\n") {
		if len(line) > 2000 {
			t.Errorf("a line of %d bytes in the log: %.200s", len(line), line)
		}
	}
	d.getsIn("127.0.0.1")
}

// sshServer is a server with a key that nobody knows, which takes anybody.
func sshServer(t *testing.T) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			config := &ssh.ServerConfig{NoClientAuth: true}
			config.AddHostKey(signer)
			go func() {
				if conn, _, _, err := ssh.NewServerConn(c, config); err == nil {
					conn.Close()
					t.Error("the gate logged in at an impostor")
				}
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// TestDoorDiskFull: when the spool's disk is full, what runs ends with a reason, new sessions are refused with
// one, and when there is room again the gate works as before.
//
// It needs a small file system. Root mounts one; anybody else does so in a user namespace of their own, and
// runs the gate in one below, where it is an ordinary user again.
func TestDoorDiskFull(t *testing.T) {
	d := newDoor(t)
	spool := filepath.Join(d.dir, "spool")
	if err := os.MkdirAll(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d.write("door.yaml", "policies: [all.cedar]\n")
	d.write("all.cedar", "permit (principal, action, resource);\n")
	mount := "mount -t tmpfs -o size=24m,mode=0700 tmpfs " + spool
	gate := []string{filepath.Join(bin, "sallyport"), "dev", "--dir", d.dir, "--ssh", "127.0.0.1:0", "--http", "127.0.0.1:0",
		"--config", filepath.Join(filepath.Dir(d.dir), "door.yaml")}
	// Also for root in a mount namespace, which takes the file system away with the gate.
	unshare := []string{"unshare", "--mount"}
	if uid := os.Getuid(); uid != 0 {
		unshare = append(unshare, "--user", "--map-root-user")
		gate = append([]string{"unshare", "--user", fmt.Sprintf("--map-user=%d", uid), fmt.Sprintf("--map-group=%d", os.Getgid())}, gate...)
	}
	d.run(exec.Command(unshare[0], append(unshare[1:], append([]string{"sh", "-c", mount + ` && exec "$@"`, "sh"}, gate...)...)...))

	c := d.as("developer", "demo")
	shell := openTerminal(t, c)
	if _, err := shell.in.Write([]byte("cat /dev/urandom | base64\r")); err != nil {
		t.Fatal(err)
	}
	shell.ends("can no longer be recorded")
	filler := filepath.Join(seenBy(t, d.cmd.Process.Pid, spool), "filler")
	fill(t, filler)
	r := do(t, d.ssh("developer", "demo", "echo ran"))
	if r.code == 0 || strings.Contains(r.out, "ran") || strings.Count(r.err, "sallyport:") != 1 {
		t.Errorf("a session on a full disk: exit %d: %q %q", r.code, r.out, r.err)
	}
	if r := do(t, d.ssh("approver", "gate", "sessions")); r.code != 0 {
		t.Errorf("the gate itself: exit %d: %q", r.code, r.err)
	}
	if !strings.Contains(d.log(), "no space left") {
		t.Error("the log does not name the reason")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	d.until("there is room again", func() bool { return do(t, d.ssh("developer", "demo", "true")).code == 0 })
}

// seenBy is the path of the gate's spool as the gate sees it. Not every thread of the gate does: one is in a mount
// namespace of its own, where it makes sandboxes, and any can be the first, which /proc/PID/root would show.
func seenBy(t *testing.T, pid int, spool string) string {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/root", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range tasks {
		if _, err := os.Stat(filepath.Join(root, spool, "quarantine")); err == nil {
			return filepath.Join(root, spool)
		}
	}
	t.Fatalf("no thread of the gate sees %s", spool)
	return ""
}

// fill writes until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for p := make([]byte, 4096); err == nil; {
		_, err = f.Write(p)
	}
	if !strings.Contains(err.Error(), "no space left") {
		t.Fatal(err)
	}
}
