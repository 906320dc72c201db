package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// startRequest is the payload of exec and subsystem, RFC 4254 section 6.5.
func startRequest(text string) []byte { return ssh.Marshal(struct{ Text string }{text}) }

func envRequest(name, value string) []byte {
	return ssh.Marshal(struct{ Name, Value string }{name, value})
}

// sessionChannel opens a session's channel with nothing asked for yet.
func sessionChannel(t *testing.T, c *ssh.Client) (ssh.Channel, <-chan *ssh.Request) {
	t.Helper()
	ch, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ch.Close() })
	return ch, requests
}

func ask(t *testing.T, ch ssh.Channel, kind string, payload []byte) bool {
	t.Helper()
	ok, err := ch.SendRequest(kind, true, payload)
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	return ok
}

// TestDoorOneStart: one channel starts one thing, and nothing after it.
func TestDoorOneStart(t *testing.T) {
	d := openDoor(t, "")
	c := d.as("developer", "demo")
	for _, first := range []struct {
		kind    string
		payload []byte
	}{{"exec", startRequest("cat; echo end")}, {"shell", nil}, {"subsystem", startRequest("sftp")}} {
		t.Run(first.kind, func(t *testing.T) {
			ch, requests := sessionChannel(t, c)
			go ssh.DiscardRequests(requests)
			if !ask(t, ch, first.kind, first.payload) {
				t.Fatalf("the first %s was refused", first.kind)
			}
			for _, second := range []struct {
				kind    string
				payload []byte
			}{{"exec", startRequest("echo second")}, {"shell", nil}, {"subsystem", startRequest("sftp")}, {"pty-req", make([]byte, 32)}, {"env", envRequest("LANG", "C")}} {
				if ask(t, ch, second.kind, second.payload) {
					t.Errorf("%s after %s was taken", second.kind, first.kind)
				}
			}
			_ = ch.CloseWrite()
			if out, _ := io.ReadAll(ch); strings.Contains(string(out), "second") {
				t.Errorf("the second start ran: %q", out)
			}
		})
	}
}

// TestDoorChannelRequests: what may be asked for on a channel, and how much.
func TestDoorChannelRequests(t *testing.T) {
	d := openDoor(t, "")
	c := d.as("developer", "demo")
	ch, requests := sessionChannel(t, c)
	go ssh.DiscardRequests(requests)
	for _, kind := range []string{"auth-agent-req@openssh.com", "x11-req", "xon-xoff", "nonsense", "", strings.Repeat("x", 10_000)} {
		if ask(t, ch, kind, nil) {
			t.Errorf("request %.40q was granted", kind)
		}
	}
	for _, e := range []struct {
		name, value string
		want        bool
	}{
		{"LC_TIME", "C.UTF-8", true}, {"LD_PRELOAD", "/x.so", false}, {"BASH_ENV", "/x", false}, {"PATH", "/x", false},
		{"SSH_AUTH_SOCK", "/x", false}, {"LC_X\nLD_PRELOAD", "/x", false}, {"LANG", "a\x00b", false}, {"LANG", strings.Repeat("x", 1<<16), false},
	} {
		if got := ask(t, ch, "env", envRequest(e.name, e.value)); got != e.want {
			t.Errorf("env %q=%.20q taken: %v, want %v", e.name, e.value, got, e.want)
		}
	}
	taken := 0
	for i := range 1000 {
		if ask(t, ch, "env", envRequest("LC_"+strings.Repeat("A", 1+i%500), strings.Repeat("v", 4000-i%500))) {
			taken++
		}
	}
	if taken*3500 > 64<<10 {
		t.Errorf("%d variables of almost 4 KiB each were taken", taken)
	}
	if !ask(t, ch, "exec", startRequest("env")) {
		t.Fatal("exec was refused")
	}
	out, err := io.ReadAll(ch)
	if err != nil || !strings.Contains(string(out), "LC_TIME=C.UTF-8\n") || strings.Contains(string(out), "LD_PRELOAD") || strings.Contains(string(out), "BASH_ENV") {
		t.Errorf("%v: the environment is %.2000s", err, out)
	}
	for name, payload := range map[string][]byte{"with NUL": startRequest("id\x00rm"), "cut short": {0, 0, 1, 0, 'x'}, "of nothing": nil} {
		ch, requests := sessionChannel(t, c)
		go ssh.DiscardRequests(requests)
		if ask(t, ch, "exec", payload) {
			t.Errorf("a command %s was taken", name)
		}
	}
	// A packet beyond what RFC 4253 makes everybody take ends the connection, and nothing else.
	giant, giantRequests := sessionChannel(t, d.as("developer", "demo"))
	go ssh.DiscardRequests(giantRequests)
	if ok, err := giant.SendRequest("exec", true, startRequest(strings.Repeat("x", 300<<10))); ok || err == nil {
		t.Errorf("a command of 300 KiB: %v, %v", ok, err)
	}
	d.getsIn("127.0.0.1")
}

// TestDoorSubsystems: those that are not understood are refused by name.
func TestDoorSubsystems(t *testing.T) {
	d := openDoor(t, "")
	for _, target := range []string{"demo", "web1", "gate"} {
		r := do(t, d.ssh("developer", "-s", target, "netconf"))
		if r.code == 0 || !strings.Contains(r.err, "netconf") && target != "gate" {
			t.Errorf("%s: exit %d: %q %q", target, r.code, r.out, r.err)
		}
	}
}

// refusal is why a channel was not opened.
func refusal(err error) string {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) && refused.Reason == ssh.Prohibited {
		return refused.Message
	}
	return fmt.Sprintf("(not refused: %v)", err)
}

// TestDoorNoOtherChannels: nothing but sessions and forwards, with a reason for whoever asks.
func TestDoorNoOtherChannels(t *testing.T) {
	d := openDoor(t, "")
	outer := d.as("developer", "gate")
	inner, err := d.jump(outer, "web1", "root", ssh.PublicKeys(d.signer("developer")))
	if err != nil {
		t.Fatal(err)
	}
	streamlocal := ssh.Marshal(struct {
		Path, Reserved string
		More           uint32
	}{"/var/run/docker.sock", "", 0})
	for where, c := range map[string]*ssh.Client{"the gate": outer, "a jump": inner, "a target": d.as("developer", "web1")} {
		for _, kind := range []string{"direct-streamlocal@openssh.com", "forwarded-streamlocal@openssh.com", "tun@openssh.com", "x11",
			"auth-agent@openssh.com", "forwarded-tcpip", "nonsense", ""} {
			if _, _, err := c.OpenChannel(kind, streamlocal); !strings.Contains(refusal(err), "not let through") {
				t.Errorf("channel %q at %s: %s", kind, where, refusal(err))
			}
		}
		for _, kind := range []string{"tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com", "hostkeys-prove-00@openssh.com", "nonsense"} {
			if ok, _, err := c.SendRequest(kind, true, ssh.Marshal(struct {
				Addr string
				Port uint32
			}{"0.0.0.0", 0})); ok || err != nil {
				t.Errorf("global request %s at %s: %v, %v", kind, where, ok, err)
			}
		}
	}
	// The same as OpenSSH shows it.
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-o", "ExitOnForwardFailure=yes", "-R", "0:localhost:22", "demo", "true"}, "forwarding failed"},
		{[]string{"-o", "ExitOnForwardFailure=yes", "-R", "/tmp/x.sock:localhost:22", "demo", "true"}, "forwarding failed"},
		{[]string{"-W", "localhost:22", "demo"}, "is no target"},
		{[]string{"-o", "Tunnel=yes", "-o", "TunnelDevice=any", "demo", "true"}, ""},
		{[]string{"-A", "demo", "test -z \"$SSH_AUTH_SOCK\""}, ""},
	} {
		r := do(t, d.ssh("developer", tt.args...))
		if tt.want != "" && (r.code == 0 || !strings.Contains(r.err, tt.want)) || tt.args[0] == "-A" && r.code != 0 {
			t.Errorf("ssh %q: exit %d: %q", tt.args, r.code, r.err)
		}
	}
}

// TestDoorForwards: forwards go to declared targets under their names or declared addresses, and nowhere
// else, whatever they are spelled like.
func TestDoorForwards(t *testing.T) {
	d := rawDoor(t, "")
	c := d.as("developer", "gate")
	echo := d.rawAddress("echo")
	forward := func(c *ssh.Client, host string, port uint32) (ssh.Channel, error) {
		ch, requests, err := c.OpenChannel("direct-tcpip", ssh.Marshal(struct {
			Host       string
			Port       uint32
			Origin     string
			OriginPort uint32
		}{host, port, "127.0.0.1", 1}))
		if err == nil {
			go ssh.DiscardRequests(requests)
			t.Cleanup(func() { ch.Close() })
		}
		return ch, err
	}
	number := func(s string) (n uint32) { fmt.Sscan(s, &n); return n }
	at, gate, console := number(port(echo)), number(d.port), number(port(strings.TrimPrefix(d.url, "http://")))
	for _, tt := range []struct {
		host string
		port uint32
	}{
		{"169.254.169.254", 80}, {"::ffff:169.254.169.254", 80}, {"[fe80::1%lo]", 80}, {"metadata.google.internal", 80},
		{"localhost", at}, {"LOCALHOST.", at}, {"vault.internal.", at}, {"::1", at}, {"::ffff:127.0.0.1", at}, {"0:0:0:0:0:ffff:7f00:1", at}, {"2130706433", at}, {"0x7f000001", at}, {"0177.0.0.1", at},
		{"127.1", at}, {"127.0.0.1.", at}, {"0.0.0.0", at}, {" 127.0.0.1", at}, {"127.0.0.1\x00", at}, {"127.0.0.1", at + 1<<16},
		{"127.0.0.1", gate}, {"127.0.0.1", console}, {"localhost", gate}, {"gate", 22}, {"gate", gate}, {"127.0.0.1", 22},
		{"", 22}, {"", at}, {"*", at}, {"echo", 22}, {"web1", 80}, {"demo", 2222}, {"../web1", 22}, {"root@web1", 22}, {"web1 ", 22}, {"web1\n", 22},
		{strings.Repeat("a", 256), 22}, {strings.Repeat("web1.", 20_000), 22}, {"web1", 1<<32 - 1},
	} {
		if ch, err := forward(c, tt.host, tt.port); err == nil {
			ch.Close()
			t.Errorf("%.60q port %d was let through", tt.host, tt.port)
		} else if m := err.Error(); !strings.Contains(m, "target") && !strings.Contains(m, "cannot be read") || strings.ContainsAny(m, "\x00\n\x1b") || len(m) > 1000 {
			t.Errorf("%.60q port %d: the reason is %.300q", tt.host, tt.port, m)
		}
	}
	for _, host := range []string{"echo", "ECHO", "127.0.0.1"} {
		ch, err := forward(c, host, at)
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		io.WriteString(ch, "hello")
		if _, err := io.ReadFull(ch, make([]byte, 5)); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	// Raw bytes pass only where a policy says so, and only for whom.
	if _, err := forward(c, "vault", at); !strings.Contains(refusal(err), "no policy permits forward:raw on vault") {
		t.Errorf("a raw target that no policy names: %v", err)
	}
	if _, err := forward(d.as("approver", "gate"), "echo", at); !strings.Contains(refusal(err), "no policy permits") {
		t.Errorf("somebody no policy names: %v", err)
	}
	// A jump ends at its target.
	inner, err := d.jump(c, "web1", "root", ssh.PublicKeys(d.signer("developer")))
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"web1", "demo", "localhost"} {
		if _, err := forward(inner, host, 22); !strings.Contains(refusal(err), "a jump ends at its target") {
			t.Errorf("from inside a jump to %s: %v", host, err)
		}
	}
	if r := do(t, d.ssh("developer", "-J", "gate,root@web1", "root@demo", "id")); r.code != 255 || !strings.Contains(r.err, "a jump ends at its target") {
		t.Errorf("ssh -J with two hops: exit %d: %s", r.code, r.err)
	}
}

// TestDoorForwardTools: -W, -L and -D of OpenSSH, with ssh and curl behind them.
func TestDoorForwardTools(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello from %s\n", r.URL.Path) }))
	defer web.Close()
	addr := strings.TrimPrefix(web.URL, "http://")
	d := openDoor(t, "policies: [default.cedar, raw.cedar]\ntargets:\n  - {name: echo, kind: tcp, tcp: {address: '"+addr+"'}}\n",
		"default.cedar", defaultPolicies(), "raw.cedar", permitRaw)

	c := d.ssh("developer", "-W", "echo:"+port(addr), "gate")
	c.Stdin = strings.NewReader("GET /by-W HTTP/1.0\r\n\r\n")
	if r := do(t, c); !strings.Contains(r.out, "hello from /by-W") {
		t.Errorf("-W: exit %d: %q %q", r.code, r.out, r.err)
	}

	local, socks, jumpPort := freeAddr(t), freeAddr(t), freeAddr(t)
	tunnel := d.ssh("developer", "-N", "-o", "ExitOnForwardFailure=yes", "-L", local+":echo:"+port(addr), "-D", socks, "-L", jumpPort+":web1:22", "gate")
	if err := tunnel.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tunnel.Process.Kill(); _ = tunnel.Wait() }()
	d.until("ssh listens", func() bool {
		c, err := net.Dial("tcp", jumpPort)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	curl := func(args ...string) result {
		return do(t, exec.CommandContext(t.Context(), "curl", append([]string{"--silent", "--show-error", "--max-time", "60", "--noproxy", ""}, args...)...))
	}
	if r := curl("http://" + local + "/by-L"); r.out != "hello from /by-L\n" {
		t.Errorf("-L: %q %q", r.out, r.err)
	}
	if r := curl("--socks5-hostname", socks, "http://echo:"+port(addr)+"/by-D"); r.out != "hello from /by-D\n" {
		t.Errorf("-D by name: %q %q", r.out, r.err)
	}
	if r := curl("--socks5", socks, "http://"+addr+"/by-address"); r.out != "hello from /by-address\n" {
		t.Errorf("-D by the declared address: %q %q", r.out, r.err)
	}
	for _, url := range []string{"http://169.254.169.254/", d.url + "/healthz", "http://localhost:" + port(addr) + "/"} {
		if r := curl("--socks5-hostname", socks, url); r.code == 0 || r.out != "" {
			t.Errorf("-D to %s: exit %d: %q", url, r.code, r.out)
		}
	}
	host, p, _ := net.SplitHostPort(jumpPort)
	r := do(t, d.ssh("developer", "-o", "ProxyJump=none", "-o", "HostName="+host, "-p", p, "-o", "HostKeyAlias=web1", "root@web1", "hostname; id -un"))
	if r.code != 0 || !strings.HasSuffix(r.out, "root\n") {
		t.Errorf("ssh through -L: exit %d: %q %q", r.code, r.out, r.err)
	}
}

// TestDoorFloods: what one connection can open, ask and leave unread is bounded, and others go on.
func TestDoorFloods(t *testing.T) {
	const limit = 8
	d := openDoor(t, fmt.Sprintf("ssh: {max_sessions_per_connection: %d}\n", limit))
	c := d.as("developer", "demo")
	before := d.load()

	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []ssh.Channel
	for range 50 {
		wg.Go(func() {
			for range 40 {
				ch, requests, err := c.OpenChannel("session", nil)
				if err != nil {
					continue
				}
				go ssh.DiscardRequests(requests)
				mu.Lock()
				open = append(open, ch)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(open) != limit {
		t.Errorf("%d channels were opened, the limit is %d", len(open), limit)
	}
	// A jump counts with the connection it is in, and so do the sessions inside it.
	if _, err := d.jump(c, "web1", "root", ssh.PublicKeys(d.signer("developer"))); err == nil {
		t.Error("a jump beyond the limit was let through")
	}
	// Each takes what its window holds, and not more, while nobody reads.
	for _, ch := range open {
		go func() { // ends with the channel
			p := make([]byte, 32<<10)
			for {
				if _, err := ch.Write(p); err != nil {
					return
				}
			}
		}()
	}
	d.getsIn("127.0.0.1")
	for _, ch := range open[1:] {
		ch.Close()
	}
	flood := func(n int, f func() error) {
		t.Helper()
		for range n {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
	}
	flood(20_000, func() error { _, _, err := c.SendRequest("nonsense", false, make([]byte, 100)); return err })
	flood(20_000, func() error { _, err := open[0].SendRequest("x11-req", false, make([]byte, 100)); return err })
	flood(2000, func() error { _, _, err := c.SendRequest("keepalive@openssh.com", true, nil); return err })
	flood(2000, func() error { _, _, err := c.OpenChannel("nonsense", nil); return ignoreRefusal(err) })
	shell := openTerminal(t, c)
	flood(20_000, func() error { return shell.s.WindowChange(24, 80) })
	flood(20_000, func() error { return shell.s.Signal(ssh.SIGTERM) }) // which a shell at its prompt ignores
	shell.says("echo after-$((1+1))", "after-2")
	d.getsIn("127.0.0.1")
	if grown := d.load().rss - before.rss; grown > 150<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
	if lines := strings.Count(d.log(), "\n"); lines > 350 {
		t.Errorf("the floods wrote %d lines of log", lines)
	}
}

func ignoreRefusal(err error) error {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		return nil
	}
	return err
}

// TestDoorJumpsCount: the sessions inside jumps count with those of the connection around them.
func TestDoorJumpsCount(t *testing.T) {
	const limit = 5
	d := openDoor(t, fmt.Sprintf("ssh: {max_sessions_per_connection: %d}\n", limit))
	outer := d.as("developer", "demo")
	inner, err := d.jump(outer, "web1", "root", ssh.PublicKeys(d.signer("developer")))
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for range 2 * limit {
		if ch, requests, err := inner.OpenChannel("session", nil); err == nil {
			go ssh.DiscardRequests(requests)
			defer ch.Close()
			opened++
		}
	}
	if opened != limit-1 {
		t.Errorf("%d sessions in a jump, want the %d that the jump leaves", opened, limit-1)
	}
	if _, _, err := outer.OpenChannel("session", nil); err == nil {
		t.Error("the outer connection opened one more")
	}
}

// TestDoorDeniedFlood: whoever is refused again and again is written down so many times, and then counted.
func TestDoorDeniedFlood(t *testing.T) {
	d := rawDoor(t, "")
	c := d.as("developer", "gate")
	vault := "vault:" + port(d.rawAddress("echo"))
	var last error
	const tries = 1500
	for range tries {
		if _, last = c.Dial("tcp", vault); last == nil {
			t.Fatal("let through")
		}
	}
	if !strings.Contains(last.Error(), "too many") {
		t.Errorf("after %d refusals: %v", tries, last)
	}
	if s, err := c.NewSession(); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("a session after that: %v, %v", s, err)
	}
	if r := do(t, d.ssh("approver", "demo", "echo in")); r.code != 0 {
		t.Errorf("somebody else: exit %d: %s", r.code, r.err)
	}
	d.stop()
	l, err := ledger.Open(t.Context(), "sqlite:"+filepath.Join(d.dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	events, _, err := l.Audit(t.Context(), ledger.AuditFilter{Kind: "forward:raw.denied", Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	var counted int64
	for _, e := range events {
		counted += e.Count
	}
	if len(events) == 0 || len(events) > 5 || counted < 200 || counted > 500 {
		t.Errorf("%d refusals stand in %d rows of the ledger, want some 200 in one a minute", counted, len(events))
	}
	if lines := strings.Count(d.log(), "\n"); lines > 350 {
		t.Errorf("%d refusals wrote %d lines of log", tries, lines)
	}
}

// TestDoorSlowReader: a client that does not read what it asked for costs no memory and nobody's time,
// whether it reads no more of its channel or of its socket.
func TestDoorSlowReader(t *testing.T) {
	d := openDoor(t, "")
	start := func(c *ssh.Client) {
		t.Helper()
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start("head -c 300000000 /dev/zero"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	before := d.load()
	start(d.as("developer", "demo")) // never reads the channel again

	stuck := &deafConn{Conn: d.mustDial("127.0.0.1"), deaf: make(chan struct{}), closed: make(chan struct{})}
	deaf, err := d.clientOn(stuck, d.clientConfig("demo", ssh.PublicKeys(d.signer("developer"))))
	if err != nil {
		t.Fatal(err)
	}
	start(deaf)
	close(stuck.deaf) // never reads the socket again

	for range 5 {
		d.getsIn("127.0.0.1")
	}
	if r := do(t, d.ssh("developer", "demo", "head -c 50000000 /dev/zero | sha256sum")); r.code != 0 {
		t.Errorf("another session: exit %d: %s", r.code, r.err)
	}
	if grown := d.load().rss - before.rss; grown > 100<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

// A deafConn stops reading when deaf is closed.
type deafConn struct {
	net.Conn
	deaf, closed chan struct{}
	once         sync.Once
}

func (c *deafConn) Read(p []byte) (int, error) {
	select {
	case <-c.deaf:
		<-c.closed
		return 0, io.EOF
	default:
		return c.Conn.Read(p)
	}
}

func (c *deafConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// TestDoorIdentityLimit: one identity has so many connections, is told so beyond, and cannot pile up those
// that are refused either: they keep their places among those that wait.
func TestDoorIdentityLimit(t *testing.T) {
	d := openDoor(t, "ssh: {max_connections_per_identity: 2, max_startups_per_source: 5}\n")
	d.as("developer", "gate")
	second := d.as("developer", "gate")
	for range 5 {
		if _, err := d.client("gate", ssh.PublicKeys(d.signer("developer"))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.client("gate", ssh.PublicKeys(d.signer("developer"))); err == nil {
		t.Error("connections that are refused do not count with those that wait")
	}
	r := do(t, d.ssh("developer", "-b", "127.0.0.2", "demo", "true"))
	if r.code != 255 || !strings.Contains(r.err, "you have 2 connections open, which is the limit") {
		t.Errorf("beyond the limit: exit %d: %q", r.code, r.err)
	}
	if r := do(t, d.ssh("approver", "-b", "127.0.0.2", "demo", "true")); r.code != 0 {
		t.Errorf("another identity: exit %d: %q", r.code, r.err)
	}
	second.Close()
	d.until("a place is free again", func() bool { return do(t, d.ssh("developer", "-b", "127.0.0.3", "demo", "true")).code == 0 })
}
