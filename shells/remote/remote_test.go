package remote

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/remote/throwaway"
)

// ca signs for tests. change, when set, alters a user certificate before it is signed.
type ca struct {
	signer ssh.Signer
	change func(*ssh.Certificate)
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (c *ca) SignTarget(_ context.Context, key ssh.PublicKey, g Grant) (*ssh.Certificate, error) {
	now := time.Now()
	cert := &ssh.Certificate{Key: key, CertType: ssh.UserCert, KeyId: g.KeyID, ValidPrincipals: []string{g.Login},
		ValidAfter: uint64(now.Add(-10 * time.Second).Unix()), ValidBefore: uint64(now.Add(g.Validity).Unix()),
		Permissions: ssh.Permissions{CriticalOptions: map[string]string{"source-address": strings.Join(g.SourceAddress, ",")},
			Extensions: map[string]string{}}}
	if g.Pty {
		cert.Permissions.Extensions["permit-pty"] = ""
	}
	if g.PortForwarding {
		cert.Permissions.Extensions["permit-port-forwarding"] = ""
	}
	if g.ForceCommand != "" {
		cert.CriticalOptions["force-command"] = g.ForceCommand
	}
	if c.change != nil {
		c.change(cert)
	}
	return cert, cert.SignCert(rand.Reader, c.signer)
}

func (c *ca) signHost(_ context.Context, key ssh.PublicKey, names []string) (*ssh.Certificate, error) {
	cert := &ssh.Certificate{Key: key, CertType: ssh.HostCert, KeyId: "host", ValidPrincipals: names,
		ValidAfter: uint64(time.Now().Add(-time.Minute).Unix()), ValidBefore: uint64(time.Now().Add(time.Hour).Unix())}
	return cert, cert.SignCert(rand.Reader, c.signer)
}

// host is a throwaway sshd and a target that reaches it.
type host struct {
	*throwaway.Server
	users, hosts *ca
}

func newHost(t testing.TB, lines ...string) *host {
	t.Helper()
	h := &host{users: &ca{signer: newSigner(t)}, hosts: &ca{signer: newSigner(t)}}
	s, err := throwaway.Start(t.Context(), throwaway.Options{Name: "web1", UserCAs: []ssh.PublicKey{h.users.signer.PublicKey()},
		SignHost: h.hosts.signHost, Config: lines})
	if err != nil {
		t.Fatal(err)
	}
	h.Server = s
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(s.Log)
			t.Logf("sshd: %s", log)
		}
		s.Close()
	})
	return h
}

func (h *host) target(t testing.TB, change ...func(*Config)) *Remote {
	t.Helper()
	c := Config{Name: "web1", Addr: h.Addr, Login: h.Login, HostCAs: []ssh.PublicKey{h.hosts.signer.PublicKey()}, Minter: h.users}
	for _, f := range change {
		f(&c)
	}
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type result struct {
	out, err string
	exit     shells.Exit
}

func run(t testing.TB, r *Remote, q shells.Request, stdin io.Reader) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	p, err := r.Open(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
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

func TestExitStatus(t *testing.T) {
	h := newHost(t)
	r := h.target(t)
	step := 1
	if testing.Short() {
		step = 51
	}
	var wg sync.WaitGroup
	limit := make(chan struct{}, 6)
	for n := 0; n < 256; n += step {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			p, err := r.Open(t.Context(), command(fmt.Sprintf("exit %d", n)))
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			io.Copy(io.Discard, p.Stdout())
			if e, err := p.Wait(t.Context()); err != nil || e != (shells.Exit{Status: n}) {
				t.Errorf("exit %d: %+v, %v", n, e, err)
			}
		})
	}
	wg.Wait()
}

func TestExitSignal(t *testing.T) {
	r := newHost(t).target(t)
	for _, name := range []string{"KILL", "TERM", "SEGV", "ABRT", "HUP", "USR1", "PIPE"} {
		if got := run(t, r, command("kill -"+name+" $$"), nil).exit; got.Signal != name {
			t.Errorf("killed by %s: %+v", name, got)
		}
	}
}

// ramp is n bytes that no accident makes.
func ramp(n int) []byte {
	b := make([]byte, n)
	mrand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestStreams(t *testing.T) {
	h := newHost(t)
	r := h.target(t)
	size := 100 << 20
	if testing.Short() {
		size = 1 << 20
	}
	data := ramp(size)
	if got := run(t, r, command("cat"), bytes.NewReader(data)); got.out != string(data) || got.err != "" {
		t.Errorf("cat gave %d bytes back of %d, and %q", len(got.out), len(data), got.err)
	}
	want := fmt.Sprintf("%x  -\n", sha256.Sum256(data))
	if got := run(t, r, command("sha256sum"), bytes.NewReader(data)); got.out != want {
		t.Errorf("sha256sum = %q, want %q", got.out, want)
	}
	got := run(t, r, command(`printf 'a\000\377\r\n'; printf 'e\000\376' >&2; head -c 300000 /dev/zero >&2; exit 4`), nil)
	if got.out != "a\x00\xff\r\n" || got.err != "e\x00\xfe"+strings.Repeat("\x00", 300000) || got.exit.Status != 4 {
		t.Errorf("stdout %q, %d bytes of stderr, %+v", got.out, len(got.err), got.exit)
	}
	// End of input is not the end of the session.
	if got := run(t, r, command("cat >/dev/null; sleep 0.2; echo after"), strings.NewReader("x")); got.out != "after\n" {
		t.Errorf("after end of input: %q", got.out)
	}
}

func TestTerminal(t *testing.T) {
	r := newHost(t).target(t)
	p, err := r.Open(t.Context(), shells.Request{Kind: shells.Shell, Env: []string{"LANG=C"},
		Pty: &shells.Pty{Term: "vt100", Cols: 91, Rows: 23, Modes: ssh.TerminalModes{ssh.ECHO: 0, ssh.VINTR: 7}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Stderr() != nil {
		t.Error("a terminal has a stderr")
	}
	br := bufio.NewReader(p.Stdout())
	say := func(line, want string) {
		t.Helper()
		io.WriteString(p.Stdin(), line+"\n")
		for {
			got, err := br.ReadString('\n')
			if err != nil {
				t.Fatalf("waiting for %q: %v", want, err)
			}
			if strings.Contains(got, want) {
				return
			}
		}
	}
	say("stty -a | head -3 | tr '\\n' ' '; echo; echo size $(stty size) $TERM $LANG", "size 23 91 vt100 C")
	if err := p.Resize(120, 40); err != nil {
		t.Fatal(err)
	}
	say("echo size $(stty size)", "size 40 120")
	say("stty -a | grep -o 'intr = [^;]*'", "intr = ^G")
	if err := p.Signal("BOGUS"); err == nil {
		t.Error("signal BOGUS was sent")
	}
	if os.Geteuid() != 0 { // OpenSSH signals no session of root's
		say("trap 'echo got te''rm' TERM; echo rea''dy", "ready")
		if err := p.Signal("TERM"); err != nil {
			t.Fatal(err)
		}
		say("", "got term")
	}
	io.WriteString(p.Stdin(), "exit 9\n")
	io.Copy(io.Discard, br)
	if e, err := p.Wait(t.Context()); err != nil || e.Status != 9 {
		t.Errorf("Wait = %+v, %v", e, err)
	}
}

func TestSFTP(t *testing.T) {
	p, err := newHost(t).target(t).Open(t.Context(), shells.Request{Kind: shells.Subsystem, Command: "sftp"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Stdin().Write([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3}); err != nil { // SSH_FXP_INIT, version 3
		t.Fatal(err)
	}
	answer := make([]byte, 9)
	if _, err := io.ReadFull(p.Stdout(), answer); err != nil || answer[4] != 2 || answer[8] != 3 {
		t.Errorf("sftp answered %q, %v", answer, err)
	}
	p.Stdin().Close()
	io.Copy(io.Discard, p.Stdout())
	if e, err := p.Wait(t.Context()); err != nil || e.Status != 0 {
		t.Errorf("Wait = %+v, %v", e, err)
	}
}

// TestForced asks sshd itself: whatever a holder of the certificate asks for, the admitted bytes run.
func TestForced(t *testing.T) {
	h := newHost(t)
	for _, admitted := range []string{
		"echo admitted", `printf '%s|' "$0" 'a  b' $'x\ty' "ü\"" '$HOME'`, "echo one\necho 'two\n'\n", "echo a # b", "  echo  lead", "echo \x01\x7f\xff|od -c"} {
		want := run(t, h.target(t), command(admitted), nil).out
		direct, err := exec.Command("/bin/bash", "-c", admitted).Output()
		if err != nil {
			t.Fatal(err)
		}
		if strings.ReplaceAll(string(direct), "/bin/bash|", "bash|") != want {
			t.Errorf("%q ran as %q, want %q", admitted, want, direct)
		}
		client := rawClient(t, h, Grant{Login: h.Login, ForceCommand: admitted, SourceAddress: []string{"127.0.0.1"}, Validity: time.Minute})
		for _, other := range []string{"echo smuggled", "", admitted + "; echo smuggled"} {
			s, err := client.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			out, err := s.Output(other)
			if err != nil || string(out) != want {
				t.Errorf("certificate for %q, asked %q: ran %q, %v", admitted, other, out, err)
			}
			s.Close()
		}
	}
}

// rawClient logs in with a certificate as a thief would.
func rawClient(t *testing.T, h *host, g Grant) *ssh.Client {
	t.Helper()
	key := newSigner(t)
	cert, err := h.users.SignTarget(t.Context(), key.PublicKey(), g)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ssh.Dial("tcp", h.Addr, &ssh.ClientConfig{User: h.Login, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.FixedHostKey(h.HostKey), HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wantError opens and wants it refused with these words, and nothing of the host's in them.
func wantError(t *testing.T, r *Remote, q shells.Request, public string) *Error {
	t.Helper()
	p, err := r.Open(t.Context(), q)
	if err == nil {
		p.Close()
		t.Fatalf("opened; want an error with %q", public)
	}
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Public, public) || strings.ContainsAny(e.Public, "\n\x1b") {
		t.Fatalf("error %v; want *Error with public %q", err, public)
	}
	return e
}

func TestCertificateRefused(t *testing.T) {
	h := newHost(t)
	past := uint64(time.Now().Add(-time.Hour).Unix())
	for name, change := range map[string]func(*ssh.Certificate){
		"expired":       func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = past-60, past },
		"not yet valid": func(c *ssh.Certificate) { c.ValidAfter += 3600; c.ValidBefore += 7200 },
		"other source":  func(c *ssh.Certificate) { c.CriticalOptions["source-address"] = "192.0.2.1" },
		"other login":   func(c *ssh.Certificate) { c.ValidPrincipals = []string{"games"} },
		"no login":      func(c *ssh.Certificate) { c.ValidPrincipals = nil },
		"unknown option": func(c *ssh.Certificate) {
			c.CriticalOptions["x@example.com"] = ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			h.users.change = change
			defer func() { h.users.change = nil }()
			wantError(t, h.target(t), command("true"), "does not accept the gate's certificate")
		})
	}
	t.Run("other command", func(t *testing.T) {
		h.users.change = func(c *ssh.Certificate) { c.CriticalOptions["force-command"] = "true " }
		defer func() { h.users.change = nil }()
		wantError(t, h.target(t), command("true"), "no certificate")
	})
	t.Run("other CA", func(t *testing.T) {
		wantError(t, h.target(t, func(c *Config) { c.Minter = &ca{signer: newSigner(t)} }), command("true"), "TrustedUserCAKeys")
	})
}

func TestHostKeys(t *testing.T) {
	h := newHost(t)
	other := newSigner(t)
	line := func(k ssh.PublicKey, marker string) string {
		host, port, _ := net.SplitHostPort(h.Addr)
		return strings.TrimSpace(marker + " [" + host + "]:" + port + " " + string(ssh.MarshalAuthorizedKey(k)))
	}
	none := func(c *Config) { c.HostCAs = nil }
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string // "" is accepted
	}{
		{"CA", func(*Config) {}, ""},
		{"CA by address", func(c *Config) { c.HostNames = []string{"web2", "web1"} }, ""},
		{"another CA", func(c *Config) { c.HostCAs = []ssh.PublicKey{other.PublicKey()} }, "signed by a CA that is not trusted"},
		{"another name", func(c *Config) { c.HostNames = []string{"web2"} }, "for another host"},
		{"pinned", func(c *Config) { none(c); c.HostKeys = []ssh.PublicKey{h.HostKey} }, ""},
		{"pinned another", func(c *Config) { none(c); c.HostKeys = []ssh.PublicKey{other.PublicKey()} }, ssh.FingerprintSHA256(h.HostKey)},
		{"known_hosts", func(c *Config) { none(c); c.KnownHosts = []string{"# a comment", "", line(h.HostKey, "")} }, ""},
		{"known_hosts CA", func(c *Config) {
			none(c)
			c.KnownHosts = []string{line(h.hosts.signer.PublicKey(), "@cert-authority")}
		}, "not trusted"}, // the certificate names web1, the line an address
		{"known_hosts another", func(c *Config) { none(c); c.KnownHosts = []string{line(other.PublicKey(), "")} }, "CHANGED"},
		{"known_hosts of others", func(c *Config) {
			none(c)
			c.KnownHosts = []string{"example.com " + string(ssh.MarshalAuthorizedKey(h.HostKey))}
		}, "none for this host"},
		{"known_hosts revoked", func(c *Config) {
			none(c)
			c.KnownHosts = []string{line(h.HostKey, ""), line(h.HostKey, "@revoked")}
		}, "revoked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := h.target(t, tt.change)
			if tt.want != "" {
				e := wantError(t, r, command("true"), tt.want)
				var key *HostKeyError
				if !errors.As(e, &key) || key.Fingerprint != ssh.FingerprintSHA256(h.HostKey) {
					t.Errorf("error does not name the key: %v", e)
				}
			} else if got := run(t, r, command("echo ok"), nil); got.out != "ok\n" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	key := newSigner(t).PublicKey()
	for name, c := range map[string]Config{
		"no minter":   {Addr: "h:22", HostKeys: []ssh.PublicKey{key}},
		"no key":      {Addr: "h:22", Minter: &ca{}},
		"no address":  {Minter: &ca{}, HostKeys: []ssh.PublicKey{key}},
		"login":       {Addr: "h", Login: "-oProxyCommand=x", Minter: &ca{}, HostKeys: []ssh.PublicKey{key}},
		"known_hosts": {Addr: "h", Minter: &ca{}, KnownHosts: []string{"garbage"}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestBadRequest(t *testing.T) {
	r, err := New(Config{Name: "x", Addr: "127.0.0.1:1", Minter: &ca{}, HostKeys: []ssh.PublicKey{newSigner(t).PublicKey()}})
	if err != nil {
		t.Fatal(err)
	}
	for want, q := range map[string]shells.Request{
		"which user":      {Kind: shells.Exec, Command: "true"},
		"empty command":   {Kind: shells.Exec, Login: "root"},
		"zero byte":       {Kind: shells.Exec, Login: "root", Command: "a\x00b"},
		"not a user":      {Kind: shells.Shell, Login: "a b"},
		"no subsystem":    {Kind: shells.Subsystem, Login: "root", Command: "netconf"},
		"not known":       {Kind: "x11", Login: "root"},
		"nothing listens": {Kind: shells.Shell, Login: "root"},
	} {
		wantError(t, r, q, want)
	}
}
