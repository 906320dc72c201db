package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/policies"
)

// permitRaw lets the developer forward raw bytes; it stands beside the default policies.
const permitRaw = `@id("raw") permit (principal in Group::"developers", action == Action::"forward:raw", resource == Target::"echo");`

// rawDoor is a gate with a raw target, echo, that answers with what it is sent, and one that no policy permits.
func rawDoor(t *testing.T, config string) *door {
	t.Helper()
	addr := echoServer(t)
	config += fmt.Sprintf("policies: [default.cedar, raw.cedar]\ntargets:\n"+
		"  - {name: echo, kind: tcp, tcp: {address: '%[1]s'}}\n  - {name: vault, kind: tcp, tcp: {address: 'vault.internal:%[2]s'}}\n", addr, port(addr))
	return openDoor(t, config, "default.cedar", defaultPolicies(), "raw.cedar", permitRaw)
}

func defaultPolicies() string {
	var all strings.Builder
	for _, s := range policies.Default() {
		all.Write(s.Text)
	}
	return all.String()
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

func echoServer(t *testing.T) string {
	t.Helper()
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
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// tried is what became of one attempt to come in.
type tried struct {
	err    error
	banner string // what the gate said before authentication
}

func (d *door) try(from string, auth ...ssh.AuthMethod) tried {
	var got tried
	config := d.clientConfig("demo", auth...)
	config.BannerCallback = func(m string) error { got.banner += m; return nil }
	nc, err := d.dial(from)
	if err != nil {
		d.t.Fatal(err)
	}
	client, err := d.clientOn(nc, config)
	if got.err = err; err == nil {
		client.Close()
	}
	return got
}

// TestDoorCertificates is attack class A with the built program: certificates made hostile by hand, most
// of them signed by the gate's own CA, so that only the check in question can refuse them. Whoever has
// one that the CA signed is told why; a stranger is told nothing.
func TestDoorCertificates(t *testing.T) {
	d := openDoor(t, "")
	now := uint64(time.Now().Unix())
	signed := func(change func(*ssh.Certificate)) ssh.Signer { return d.forge("developer", "user_ca", change) }
	option := func(name, value string) ssh.Signer {
		return signed(func(c *ssh.Certificate) { c.CriticalOptions[name] = value })
	}
	// unsigned is changed after the CA signed it.
	unsigned := func(change func(*ssh.Certificate)) ssh.Signer {
		c := *d.certificate("developer")
		change(&c)
		s, err := ssh.NewCertSigner(&c, d.key("developer/id_ed25519"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, tt := range []struct {
		name   string
		signer ssh.Signer
		why    string // "": let in; "-": refused, and told nothing
	}{
		{"as issued", signed(func(*ssh.Certificate) {}), ""},
		{"foreign CA", d.forge("developer", "../agent/id_ed25519", func(*ssh.Certificate) {}), "-"},
		{"signed with its own key", d.forge("developer", "../developer/id_ed25519", func(*ssh.Certificate) {}), "-"},
		{"the CA for targets", d.forge("developer", "target_ca", func(*ssh.Certificate) {}), "-"},
		{"the CA for hosts", d.forge("developer", "host_ca", func(*ssh.Certificate) {}), "-"},
		{"a host certificate", signed(func(c *ssh.Certificate) { c.CertType = ssh.HostCert }), "-"},
		{"expired", signed(func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = now-600, now-1 }), "expired"},
		{"not yet valid", signed(func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = now+600, now+900 }), "not yet valid"},
		{"for ever", signed(func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 0, ssh.CertTimeInfinity }), "valid for longer"},
		{"expired, says a stranger", unsigned(func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = now-600, now-1 }), "-"},
		{"two principals, says a stranger", unsigned(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"a", "b"} }), "-"},
		{"another name, says a stranger", unsigned(func(c *ssh.Certificate) { c.KeyId = "root" }), "-"},
		{"another identity, says a stranger", unsigned(func(c *ssh.Certificate) {
			c.Extensions = map[string]string{certs.IdentityExtension: d.certificate("approver").Extensions[certs.IdentityExtension]}
		}), "-"},
		{"the CA's key is a certificate", unsigned(func(c *ssh.Certificate) { c.SignatureKey = d.certificate("agent") }), "-"},
		{"no signature", unsigned(func(c *ssh.Certificate) { c.Signature = &ssh.Signature{Format: ssh.KeyAlgoED25519} }), "-"},
		{"no principal", signed(func(c *ssh.Certificate) { c.ValidPrincipals = nil }), "0 principals"},
		{"two principals", signed(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"developer", "root"} }), "2 principals"},
		{"a principal with a comma", signed(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"developer,root"} }), "comma"},
		{"an unknown critical option", option("x@example.org", ""), "unknown critical option"},
		{"force-command", option("force-command", "true"), "force-command"},
		{"verify-required", option("verify-required", ""), "unknown critical option"},
		{"source-address here", option("source-address", "127.0.0.0/8"), ""},
		{"source-address mapped", option("source-address", "::ffff:127.0.0.0/104"), ""},
		{"source-address elsewhere", option("source-address", "198.51.100.0/24"), "address"},
		{"source-address another loopback", option("source-address", "127.0.0.2"), "address"},
		{"source-address v6", option("source-address", "::1"), "address"},
		{"source-address mapped elsewhere", option("source-address", "::ffff:127.0.0.2"), "address"},
		{"source-address empty", option("source-address", ""), "address"},
		{"no identity", signed(func(c *ssh.Certificate) { c.Extensions = nil }), "identity"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := d.try("127.0.0.1", ssh.PublicKeys(tt.signer))
			if (got.err == nil) != (tt.why == "") {
				t.Fatalf("let in: %v (%v)", got.err == nil, got.err)
			}
			if tt.why == "-" && got.banner != "" || tt.why != "-" && !strings.Contains(got.banner, tt.why) {
				t.Errorf("told %q, want %q in it", got.banner, tt.why)
			}
		})
	}
	if got := d.try("127.0.0.2", ssh.PublicKeys(option("source-address", "127.0.0.2"))); got.err != nil {
		t.Errorf("from the address that the certificate names: %v", got.err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestDoorSourceAddressV6: a listener of both families sees IPv4 clients as mapped addresses, which are
// the same addresses.
func TestDoorSourceAddressV6(t *testing.T) {
	d := newDoor(t)
	d.start("", "--ssh", "[::]:0")
	from := func(addr, option string) error {
		auth := ssh.PublicKeys(d.forge("developer", "user_ca", func(c *ssh.Certificate) { c.CriticalOptions["source-address"] = option }))
		nc, err := net.Dial("tcp", net.JoinHostPort(addr, d.port))
		if err != nil {
			t.Fatal(err)
		}
		client, err := d.clientOn(nc, d.clientConfig("demo", auth))
		if err == nil {
			client.Close()
		}
		return err
	}
	for _, tt := range []struct {
		addr, option string
		ok           bool
	}{
		{"127.0.0.1", "127.0.0.1/32", true}, {"127.0.0.1", "::ffff:127.0.0.1", true}, {"::1", "::1", true}, {"::1", "::/64", true},
		{"127.0.0.1", "::1", false}, {"127.0.0.1", "::/0", false}, {"::1", "127.0.0.1", false}, {"::1", "0.0.0.0/0", false},
	} {
		if err := from(tt.addr, tt.option); (err == nil) != tt.ok {
			t.Errorf("from %s with source-address %q: %v, want it let in: %v", tt.addr, tt.option, err, tt.ok)
		}
	}
}

// A liar offers a key that it cannot prove.
type liar struct{ ssh.Signer }

func (l liar) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	return &ssh.Signature{Format: ssh.KeyAlgoED25519, Blob: make([]byte, 64)}, nil
}

// TestDoorOfferedIsNotProven: whatever else was offered before or between, the identity is that of the key
// that was proved (CVE-2024-45337).
func TestDoorOfferedIsNotProven(t *testing.T) {
	d := openDoor(t, "")
	mine, theirs := d.signer("agent"), d.signer("approver")
	for _, tt := range []struct {
		name string
		keys []ssh.Signer
		want string // "": kept out
	}{
		{"mine", []ssh.Signer{mine}, "agent"},
		{"theirs, unproved", []ssh.Signer{liar{theirs}}, ""},
		{"theirs, badly proved, then mine", []ssh.Signer{liar{theirs}, mine}, ""},
		{"their certificate with my key", []ssh.Signer{borrowed{theirs, d.key("agent/id_ed25519")}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, err := d.client("gate", ssh.PublicKeys(tt.keys...))
			if tt.want == "" {
				if err == nil {
					t.Fatal("let in")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			isWho(t, output(t, client, "whoami --json"), tt.want)
		})
	}
	// OpenSSH offers the approver's certificate, cannot prove it when that is accepted, and proves the agent's.
	r := do(t, exec.CommandContext(t.Context(), "ssh", append(d.bare("agent"), "-v", "-o", "CertificateFile="+filepath.Join(d.dir, "approver/id_ed25519-cert.pub"),
		"-o", "CertificateFile="+filepath.Join(d.dir, "agent/id_ed25519-cert.pub"), "gate@127.0.0.1", "whoami --json")...))
	if accepted := strings.Count(r.err, "Server accepts key"); r.code != 0 || accepted != 2 || !strings.Contains(r.err, "Server accepts key: "+filepath.Join(d.dir, "approver")) {
		t.Fatalf("exit %d, %d keys were accepted, want the approver's and then the agent's:\n%s", r.code, accepted, r.err)
	}
	isWho(t, r.out, "agent")
}

func isWho(t *testing.T, whoami, want string) {
	t.Helper()
	var who struct{ Name string }
	if err := json.Unmarshal([]byte(whoami), &who); err != nil || who.Name != want {
		t.Errorf("whoami says %q, want %s", whoami, want)
	}
}

// bare is ssh's command line with user's key and no certificate.
func (d *door) bare(user string) []string {
	d.t.Helper()
	d.write("bare", string(must(os.ReadFile(filepath.Join(d.dir, user, "id_ed25519")))))
	return []string{"-F", "none", "-p", d.port, "-i", filepath.Join(filepath.Dir(d.dir), "bare"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile=" + filepath.Join(d.dir, user, "known_hosts"), "-o", "HostKeyAlias=gate", "-o", "StrictHostKeyChecking=yes"}
}

// borrowed shows one key and signs with another.
type borrowed struct {
	shown ssh.Signer
	key   ssh.Signer
}

func (b borrowed) PublicKey() ssh.PublicKey { return b.shown.PublicKey() }
func (b borrowed) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return b.key.Sign(r, data)
}

func output(t *testing.T, c *ssh.Client, command string) string {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Output(command)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return string(out)
}

// TestDoorOnlyCertificates: no other way of authentication exists, and none is named.
func TestDoorOnlyCertificates(t *testing.T) {
	d := openDoor(t, "")
	asked := false
	for name, auth := range map[string]ssh.AuthMethod{
		"a password":           ssh.Password("secret"),
		"keyboard-interactive": ssh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) { asked = true; return nil, nil }),
		"a plain key":          ssh.PublicKeys(d.key("developer/id_ed25519")),
		"the CA's own key":     ssh.PublicKeys(d.key("ca/user_ca")),
		"the host's own key":   ssh.PublicKeys(d.key("ca/gate_host_key")),
	} {
		if got := d.try("127.0.0.1", auth); got.err == nil || got.banner != "" {
			t.Errorf("%s: %v, told %q", name, got.err, got.banner)
		}
	}
	if asked {
		t.Error("the gate asked questions")
	}
	r := do(t, d.ssh("developer", "-o", "PreferredAuthentications=password,keyboard-interactive,hostbased", "demo", "true"))
	if r.code != 255 || !strings.Contains(r.err, "Permission denied (publickey).") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := do(t, exec.CommandContext(t.Context(), "ssh", append(d.bare("developer"), "demo@127.0.0.1", "true")...)); r.code != 255 || !strings.Contains(r.err, "Permission denied (publickey).") {
		t.Errorf("a plain key of OpenSSH's: exit %d: %s", r.code, r.err)
	}
	// One connection has so many attempts and not more.
	var keys []ssh.Signer
	for range 50 {
		keys = append(keys, liar{d.signer("developer")})
	}
	if got := d.try("127.0.0.1", ssh.PublicKeys(append(keys, d.signer("developer"))...)); got.err == nil {
		t.Error("let in at the 51st attempt")
	}
}

// A terminal is an interactive shell on a target.
type terminal struct {
	t    *testing.T
	s    *ssh.Session
	in   io.WriteCloser
	mu   sync.Mutex
	seen strings.Builder
	done chan error
}

func openTerminal(t *testing.T, c *ssh.Client) *terminal {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, s: s, done: make(chan error, 1)}
	if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
		t.Fatal(err)
	}
	term.in, _ = s.StdinPipe()
	s.Stdout = term
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	go func() { term.done <- s.Wait() }() // ends with the client
	term.says("echo ready-$((40+2))", "ready-42")
	return term
}

func (term *terminal) Write(p []byte) (int, error) {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.seen.Write(p)
}

func (term *terminal) text() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.seen.String()
}

// says types a command and waits for its answer.
func (term *terminal) says(command, answer string) {
	term.t.Helper()
	if _, err := io.WriteString(term.in, command+"\r"); err != nil {
		term.t.Fatal(err)
	}
	for start := time.Now(); !strings.Contains(term.text(), answer); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			term.t.Fatalf("no %q after %q:\n%s", answer, command, term.text())
		}
	}
}

// ends waits for the end of the session; what the user read must have why in it.
func (term *terminal) ends(why string) {
	term.t.Helper()
	select {
	case <-term.done:
	case <-time.After(time.Minute):
		term.t.Fatalf("the session still runs:\n%s", term.text())
	}
	if !strings.Contains(term.text(), why) {
		term.t.Errorf("the user read %q, want %q in it", term.text(), why)
	}
}

// jump connects through c to a target, as `ssh -J` does.
func (d *door) jump(c *ssh.Client, target, login string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	nc, err := c.Dial("tcp", target+":22")
	if err != nil {
		return nil, err
	}
	config := d.clientConfig(login, auth...)
	config.HostKeyCallback = d.hostCA(target)
	return d.clientOn(nc, config)
}

// ended waits until the other side has ended a stream.
func ended(t *testing.T, what string, r io.Reader) {
	t.Helper()
	done := make(chan struct{})
	go func() { // ends with the stream
		_, _ = io.Copy(io.Discard, r)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Errorf("%s is still open", what)
	}
}

// echoes shows that a raw forward still carries bytes.
func echoes(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
}

// TestDoorRevocation: whatever runs ends within seconds, idle or not, when its certificate or its identity
// is revoked, and only that.
func TestDoorRevocation(t *testing.T) {
	d := rawDoor(t, "")
	serial := func(n uint64) ssh.AuthMethod {
		return ssh.PublicKeys(d.forge("developer", "user_ca", func(c *ssh.Certificate) { c.Serial = n }))
	}
	connect := func(n uint64) *ssh.Client {
		c, err := d.client("demo", serial(n))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	revoke := func(args ...string) {
		t.Helper()
		if r := do(t, d.sallyport(append([]string{"ca", "revoke", "--reason", "lost"}, args...)...)); r.code != 0 {
			t.Fatalf("ca revoke: exit %d: %s", r.code, r.err)
		}
	}
	outer, other := connect(1001), connect(1002)
	idle, err := outer.Dial("tcp", "echo:"+port(d.rawAddress("echo")))
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, idle)
	inner, err := d.jump(outer, "web1", "root", serial(1003))
	if err != nil {
		t.Fatal(err)
	}
	innerShell := openTerminal(t, inner)
	shell, otherShell := openTerminal(t, outer), openTerminal(t, other)

	revoke("--serial", "1003") // of the inner connection alone
	innerShell.ends("revoked")
	_ = inner.Wait()
	shell.says("echo outer-$((1+1))", "outer-2")
	echoes(t, idle)

	inner, err = d.jump(outer, "web1", "root", serial(1004))
	if err != nil {
		t.Fatal(err)
	}
	innerShell = openTerminal(t, inner)
	revoke("--serial", "1001") // of the outer one, with all that is in it
	shell.ends("revoked")
	ended(t, "the idle forward", idle)
	innerShell.ends("")
	otherShell.says("echo other-$((1+1))", "other-2")
	if got := d.try("127.0.0.1", serial(1001)); got.err == nil || !strings.Contains(got.banner, "revoked") {
		t.Errorf("a revoked certificate again: %v, told %q", got.err, got.banner)
	}

	revoke("--identity", identityKey(t, d.certificate("developer")))
	otherShell.ends("revoked")
	if got := d.try("127.0.0.1", ssh.PublicKeys(d.signer("developer"))); got.err == nil {
		t.Error("a revoked identity was let in")
	}
}

func identityKey(t *testing.T, c *ssh.Certificate) string {
	t.Helper()
	id, err := certs.IdentityOf(c)
	if err != nil {
		t.Fatal(err)
	}
	return id.Key()
}

// rawAddress is where a raw target listens.
func (d *door) rawAddress(name string) string {
	d.t.Helper()
	text := string(must(os.ReadFile(filepath.Join(filepath.Dir(d.dir), "door.yaml"))))
	_, rest, found := strings.Cut(text, "name: "+name+", kind: tcp, tcp: {address: '")
	addr, _, ok := strings.Cut(rest, "'")
	if !found || !ok {
		d.t.Fatalf("no target %s", name)
	}
	return addr
}

// TestDoorExpiry: when a certificate runs out, what runs goes on and nothing new begins, however the
// channel for it was kept; a connection in which nothing runs ends.
func TestDoorExpiry(t *testing.T) {
	d := rawDoor(t, "")
	ends := time.Now().Add(8 * time.Second).Truncate(time.Second)
	auth := ssh.PublicKeys(d.forge("developer", "user_ca", func(c *ssh.Certificate) {
		c.ValidAfter, c.ValidBefore = uint64(ends.Unix())-60, uint64(ends.Unix())
	}))
	connect := func(login string) *ssh.Client {
		c, err := d.client(login, auth)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	busy, lazy, atGate := connect("demo"), connect("demo"), connect("gate")
	shell := openTerminal(t, busy)
	kept, keptRequests, err := busy.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(keptRequests)
	keptGate, gateRequests, err := atGate.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(gateRequests)
	raw, err := busy.Dial("tcp", "echo:"+port(d.rawAddress("echo")))
	if err != nil {
		t.Fatal(err)
	}
	inner, err := d.jump(busy, "web1", "root", auth)
	if err != nil {
		t.Fatal(err)
	}
	innerShell := openTerminal(t, inner)
	idleJump, err := d.jump(busy, "web1", "root", auth)
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Until(ends.Add(time.Second)))

	for name, c := range map[string]*ssh.Client{"the connection": busy, "the inner connection": inner} {
		if s, err := c.NewSession(); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("a new session of %s: %v, %v", name, s, err)
		}
	}
	if c, err := busy.Dial("tcp", "echo:"+port(d.rawAddress("echo"))); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a new forward: %v, %v", c, err)
	}
	if c, err := busy.Dial("tcp", "web1:22"); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a new jump: %v, %v", c, err)
	}
	for name, ch := range map[string]ssh.Channel{"of the target": kept, "of the gate": keptGate} {
		_, _ = ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"whoami"}))
		go io.Copy(io.Discard, ch) // ends with the channel
		if said, _ := io.ReadAll(ch.Stderr()); !strings.Contains(string(said), "expired") {
			t.Errorf("a channel %s that was kept for later: %q", name, said)
		}
	}
	if got := d.try("127.0.0.1", auth); got.err == nil || !strings.Contains(got.banner, "expired") {
		t.Errorf("a new connection: %v, told %q", got.err, got.banner)
	}
	// What runs, goes on.
	shell.says("echo still-$((1+1))", "still-2")
	innerShell.says("echo inner-$((1+1))", "inner-2")
	echoes(t, raw)
	// What does not, ends.
	waitFor(t, "the connection in which nothing runs ends", lazy.Wait)
	waitFor(t, "the jump in which nothing runs ends", idleJump.Wait)
}

func waitFor(t *testing.T, what string, wait func() error) {
	t.Helper()
	done := make(chan struct{})
	go func() { // ends with the connection
		_ = wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Errorf("waited a minute until %s", what)
	}
}

// TestDoorJumpIdentity: inside a jump is whoever made it, in every respect.
func TestDoorJumpIdentity(t *testing.T) {
	d := openDoor(t, "")
	identity := func(change func(*certs.Identity)) ssh.AuthMethod {
		return ssh.PublicKeys(d.forge("developer", "user_ca", func(c *ssh.Certificate) {
			id, err := certs.IdentityOf(c)
			if err != nil {
				t.Fatal(err)
			}
			change(&id)
			c.Extensions[certs.IdentityExtension] = string(must(json.Marshal(id)))
		}))
	}
	outer := d.as("developer", "gate")
	for _, tt := range []struct {
		name string
		auth ssh.AuthMethod
		ok   bool
	}{
		{"the same", ssh.PublicKeys(d.signer("developer")), true},
		{"somebody else", ssh.PublicKeys(d.signer("approver")), false},
		{"their agent", ssh.PublicKeys(d.signer("agent")), false},
		{"the same with more groups", identity(func(id *certs.Identity) { id.Groups = append(id.Groups, "approvers") }), false},
		{"the same as an agent", identity(func(id *certs.Identity) { id.Kind = certs.Agent }), false},
		{"a foreign certificate", ssh.PublicKeys(d.forge("developer", "target_ca", func(*ssh.Certificate) {})), false},
		{"a certificate for elsewhere", ssh.PublicKeys(d.forge("developer", "user_ca", func(c *ssh.Certificate) { c.CriticalOptions["source-address"] = "192.0.2.1" })), false},
		{"a plain key", ssh.PublicKeys(d.key("developer/id_ed25519")), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inner, err := d.jump(outer, "web1", "root", tt.auth)
			var s *ssh.Session
			if err == nil {
				defer inner.Close()
				s, err = inner.NewSession()
			}
			if (err == nil) != tt.ok {
				t.Fatalf("%v, want it let in: %v", err, tt.ok)
			}
			if tt.ok {
				if out, err := s.Output("id -un"); err != nil || string(out) != "root\n" {
					t.Errorf("%q, %v", out, err)
				}
			}
		})
	}
	// The same with OpenSSH: another key on the way than at its end.
	agent := filepath.Join(d.dir, "agent")
	c := exec.CommandContext(t.Context(), "ssh", "-F", filepath.Join(agent, "ssh_config"), "-o", "BatchMode=yes", "-o",
		"ProxyCommand=ssh -F "+filepath.Join(d.dir, "developer/ssh_config")+" -W web1:22 gate", "-o", "HostKeyAlias=web1", "root@web1", "id")
	if r := do(t, c); r.code != 255 || !strings.Contains(r.err, "another identity") {
		t.Errorf("developer's way, agent at its end: exit %d: %s%s", r.code, r.out, r.err)
	}
}
