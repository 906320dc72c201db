package integration

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/cpu"
)

const quitSignal = syscall.SIGQUIT

// A stalledConn lets so many writes through and then none, until it is closed. X/crypto writes each of the
// handshake's packets at once.
type stalledConn struct {
	net.Conn
	writes int
	gone   chan struct{} // closed when the other side has ended the connection
	once   sync.Once
}

func (c *stalledConn) Write(p []byte) (int, error) {
	if c.writes == 0 {
		_, _ = io.Copy(io.Discard, c.Conn) // until the gate has had enough
		c.once.Do(func() { close(c.gone) })
		return 0, io.ErrClosedPipe
	}
	c.writes--
	return c.Conn.Write(p)
}

func (c *stalledConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.once.Do(func() { close(c.gone) })
	}
	return n, err
}

// stallingSigner proves a key, but not in time.
type stallingSigner struct {
	ssh.Signer
	until <-chan struct{}
}

func (s stallingSigner) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	<-s.until
	return nil, io.ErrClosedPipe
}

// TestDoorStalls: whoever stops at any step before authentication is dropped at the deadline, and a real
// client gets in all the while.
func TestDoorStalls(t *testing.T) {
	const deadline = 3 * time.Second
	d := openDoor(t, fmt.Sprintf("ssh: {handshake_timeout: %v}\n", deadline))
	type stall struct {
		name  string
		begun time.Time
		gone  chan struct{}
	}
	var stalls []*stall
	hold := func(name string, writes int, sign bool) {
		s := &stall{name: name, begun: time.Now(), gone: make(chan struct{})}
		c := &stalledConn{Conn: d.mustDial("127.0.0.1"), writes: writes, gone: s.gone}
		signer := d.signer("developer")
		if sign {
			signer = stallingSigner{signer, s.gone}
		}
		config := d.clientConfig("demo", ssh.PublicKeys(signer))
		go func() { // ends when the gate drops it
			if client, err := d.clientOn(c, config); err == nil {
				client.Close()
				t.Errorf("%s: the handshake was finished", name)
			}
		}()
		stalls = append(stalls, s)
	}
	raw := func(name, text string) {
		s := &stall{name: name, begun: time.Now(), gone: make(chan struct{})}
		c := d.mustDial("127.0.0.1")
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		go func() { // ends when the gate drops it
			_, _ = io.Copy(io.Discard, c)
			close(s.gone)
		}()
		stalls = append(stalls, s)
	}
	raw("tcp only", "")
	raw("in the middle of the version", "SSH-2.0-Open")
	raw("after the version", "SSH-2.0-OpenSSH_9.2\r\n")
	raw("in the middle of a KEXINIT", "SSH-2.0-OpenSSH_9.2\r\n\x00\x00\x04\x00\x0a\x14"+strings.Repeat("x", 100))
	hold("after KEXINIT", 2, false)
	hold("after the key exchange", 3, false)
	hold("after NEWKEYS", 4, false)
	hold("after the service request", 5, false)
	hold("after an attempt of method none", 6, false)
	hold("after a key was offered", 99, true)

	d.getsIn("127.0.0.1")
	for _, s := range stalls {
		select {
		case <-s.gone:
			if took := time.Since(s.begun); took < deadline {
				t.Errorf("%s: dropped after %v, before the deadline: the test did not stall where it meant to", s.name, took)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s: not dropped", s.name)
		}
	}
	d.getsIn("127.0.0.1")
}

// TestDoorHalfOpen: thousands of connections that say nothing, from one source and from many, keep nobody
// else out, are told why, and leave little in the log.
func TestDoorHalfOpen(t *testing.T) {
	d := openDoor(t, "ssh: {handshake_timeout: 10m, max_startups: 60, max_startups_per_source: 20}\n")
	before := d.load()
	const flood = 3000
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	told := 0
	for i := range flood {
		c, err := d.dial("127.0.0.1")
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		open = append(open, c)
		if i >= 20 {
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			line, err := io.ReadAll(c)
			if err != nil {
				t.Fatalf("connection %d is neither served nor turned away: %v", i, err)
			}
			if strings.HasPrefix(string(line), "Too many connections") {
				told++
			}
		}
	}
	if told != flood-20 {
		t.Errorf("%d of %d were told why they were turned away", told, flood-20)
	}
	d.getsIn("127.0.0.2")
	for i := range 400 { // more sources than there are places
		c, err := d.dial(fmt.Sprintf("127.0.%d.%d", 1+i%5, 1+i/5))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	d.getsIn("127.0.0.2")
	now := d.load()
	if got := now.fds - before.fds; got > 60+20 {
		t.Errorf("%d more descriptors are open; max_startups is 60", got)
	}
	if lines := strings.Count(d.log(), "\n"); lines > 350 {
		t.Errorf("%d connections wrote %d lines of log", len(open), lines)
	}
	if !strings.Contains(d.log(), "turned away") {
		t.Error("the log says nothing of it")
	}
}

// TestDoorGarbage: what is no SSH is dropped at once, long before the deadline, and costs no memory.
func TestDoorGarbage(t *testing.T) {
	d := openDoor(t, "ssh: {handshake_timeout: 10m}\n")
	noise := make([]byte, 1<<20)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	const version = "SSH-2.0-OpenSSH_9.2\r\n"
	length := func(n uint32, rest string) string {
		return version + string(binary.BigEndian.AppendUint32(nil, n)) + rest
	}
	before := d.load()
	for _, tt := range []struct{ name, send, answer string }{
		{"an HTTP request", "GET / HTTP/1.1\r\nHost: gate\r\n\r\n", "This is an SSH server"},
		{"a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + string(noise[:500]), "This is an SSH server"},
		{"noise", string(noise), ""},
		{"a line that never ends", strings.Repeat("a", 1<<20), ""},
		{"lines before the version", strings.Repeat("hello\r\n", 10_000), ""},
		{"a version that never ends", "SSH-2.0-" + strings.Repeat("a", 1<<20), ""},
		{"protocol 1", "SSH-1.5-OpenSSH_9.2\r\n" + string(noise[:1000]), ""},
		{"a giant length", length(0xffffffff, "\x04"), ""},
		{"a length just over the limit", length(256<<10+1, "\x04"+string(noise[:1000])), ""},
		{"a length of nothing", length(0, "\x00"), ""},
		{"more padding than packet", length(16, "\xff"+string(noise[:15])), ""},
		{"noise after the version", version + string(noise), ""},
		{"another packet than KEXINIT", length(12, "\x0a\x32"+string(noise[:10])), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := d.dial("127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			go io.WriteString(c, tt.send) // ends with the connection
			got, err := io.ReadAll(c)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("not dropped; it said %q", got)
			}
			if tt.answer != "" && !bytes.Contains(got, []byte(tt.answer)) {
				t.Errorf("answered %q, want %q in it", got, tt.answer)
			}
		})
	}
	d.getsIn("127.0.0.1")
	if grown := d.load().rss - before.rss; grown > 100<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
	for _, line := range strings.Split(d.log(), "\n") {
		if len(line) > 2000 {
			t.Errorf("a line of %d bytes in the log: %.200s", len(line), line)
		}
	}
}

// An injector adds a packet in clear before one of the handshake's, as somebody in the middle can
// (Terrapin, CVE-2023-48795).
type injector struct {
	net.Conn
	before int // writes to go
	packet []byte
}

func (c *injector) Write(p []byte) (int, error) {
	if c.before == 0 {
		if _, err := c.Conn.Write(c.packet); err != nil {
			return 0, err
		}
	}
	c.before--
	return c.Conn.Write(p)
}

// clear makes a packet as it is before NEWKEYS, RFC 4253 section 6.
func clearPacket(payload []byte) []byte {
	padding := 8 - (5+len(payload))%8
	if padding < 4 {
		padding += 8
	}
	p := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	return append(append(append(p, byte(padding)), payload...), make([]byte, padding)...)
}

func TestDoorTerrapin(t *testing.T) {
	d := openDoor(t, "ssh: {handshake_timeout: 10m}\n")
	ignore := clearPacket(append([]byte{2}, ssh.Marshal(struct{ Data string }{"x"})...))
	debug := clearPacket(append([]byte{4}, ssh.Marshal(struct {
		Show bool
		A, B string
	}{false, "x", ""})...))
	unknown := clearPacket([]byte{200})
	for _, tt := range []struct {
		name   string
		before int // 1: KEXINIT, 2: the key exchange, 3: NEWKEYS
		packet []byte
		ok     bool
	}{
		{"nothing injected", 1000, nil, true},
		{"ignore before KEXINIT", 1, ignore, false},
		{"ignore before the key exchange", 2, ignore, false},
		{"ignore before NEWKEYS", 3, ignore, false},
		{"debug before NEWKEYS", 3, debug, false},
		{"an unknown packet before NEWKEYS", 3, unknown, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &injector{Conn: d.mustDial("127.0.0.1"), before: tt.before, packet: tt.packet}
			client, err := d.clientOn(c, d.clientConfig("demo", ssh.PublicKeys(d.signer("developer"))))
			if (err == nil) != tt.ok {
				t.Errorf("the handshake ended with %v, want success: %v", err, tt.ok)
			}
			if err == nil {
				client.Close()
			}
		})
	}
}

// kexInit reads what the gate offers, RFC 4253 section 7.1.
func (d *door) kexInit() (lists [10][]string) {
	d.t.Helper()
	c := d.mustDial("127.0.0.1")
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n"); err != nil {
		d.t.Fatal(err)
	}
	for b := make([]byte, 1); b[0] != '\n'; {
		if _, err := io.ReadFull(c, b); err != nil {
			d.t.Fatal(err)
		}
	}
	var length uint32
	if err := binary.Read(c, binary.BigEndian, &length); err != nil || length > 4096 {
		d.t.Fatalf("length %d: %v", length, err)
	}
	p := make([]byte, length)
	if _, err := io.ReadFull(c, p); err != nil || p[1] != 20 {
		d.t.Fatalf("%v: no KEXINIT: %x", err, p)
	}
	p = p[2+16:] // the padding's length, the type, the cookie
	for i := range lists {
		n := binary.BigEndian.Uint32(p)
		lists[i] = strings.Split(string(p[4:4+n]), ",")
		p = p[4+n:]
	}
	return lists
}

// TestDoorAlgorithms: what is offered, and what a real client makes of it.
func TestDoorAlgorithms(t *testing.T) {
	d := openDoor(t, "")
	offer := d.kexInit()
	kex, ciphers := offer[0], offer[2]
	if kex[0] != ssh.KeyExchangeMLKEM768X25519 || !slices.Contains(kex, ssh.KeyExchangeCurve25519) {
		t.Errorf("key exchanges are %q, want mlkem768x25519 first and curve25519 after it", kex)
	}
	if !slices.Contains(kex, "kex-strict-s-v00@openssh.com") {
		t.Errorf("strict key exchange is not offered: %q", kex)
	}
	if ciphers[0] != ssh.CipherAES128GCM && cpu.X86.HasAES {
		t.Errorf("ciphers are %q, want AES-GCM first", ciphers)
	}
	chacha := slices.Contains(ciphers, ssh.CipherChaCha20Poly1305)
	if hasAES := cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ || cpu.ARM64.HasAES && cpu.ARM64.HasPMULL; chacha == hasAES {
		t.Errorf("chacha20 is offered: %v, where the processor has AES: %v", chacha, hasAES)
	}
	for _, c := range append(slices.Clone(ciphers), offer[3]...) {
		if !strings.Contains(c, "gcm") && !strings.Contains(c, "poly1305") {
			t.Errorf("cipher %q does not authenticate", c)
		}
	}
	if slices.ContainsFunc(offer[1], func(s string) bool { return strings.HasPrefix(s, "ssh-rsa") }) {
		t.Errorf("host keys are %q, with SHA-1 signatures", offer[1])
	}
	if !slices.Equal(offer[6], []string{"none"}) || !slices.Equal(offer[7], []string{"none"}) {
		t.Errorf("compression before authentication: %q, %q", offer[6], offer[7])
	}
	r := do(t, d.ssh("developer", "-v", "demo", "true"))
	if m := regexp.MustCompile(`kex: server->client cipher: (\S+)`).FindStringSubmatch(r.err); r.code != 0 || m == nil || !chacha && m[1] != ssh.CipherAES128GCM {
		t.Errorf("a client's defaults gave exit %d and %q", r.code, m)
	}
	for _, weak := range []string{"KexAlgorithms=diffie-hellman-group14-sha256", "KexAlgorithms=ecdh-sha2-nistp256", "Ciphers=aes128-ctr", "Ciphers=aes256-cbc", "HostKeyAlgorithms=ssh-rsa"} {
		if r := do(t, d.ssh("developer", "-o", weak, "demo", "true")); r.code != 255 || !strings.Contains(r.err, "no match") {
			t.Errorf("%s: exit %d: %s", weak, r.code, r.err)
		}
	}
}

// TestDoorAudit: ssh-audit has nothing against the gate. Its version 2.5 knows neither of two names, and
// says so by a warning and a failure: those are looked at as names, not by their marks.
func TestDoorAudit(t *testing.T) {
	d := openDoor(t, "")
	out, err := exec.CommandContext(t.Context(), "ssh-audit", "-n", "-p", d.port, "127.0.0.1").CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte("aes128-gcm@openssh.com")) {
		t.Fatalf("ssh-audit looked at nothing: %v\n%s", err, out)
	}
	unknown := []string{"mlkem768x25519-sha256", "kex-strict-s-v00@openssh.com"}
	finding := regexp.MustCompile(`\[(?:fail|warn)\]`)
	var current string
	for _, line := range strings.Split(string(out), "\n") {
		if m := regexp.MustCompile(`^\((?:kex|key|enc|mac|fin|gen|rec|nfo|cve|aut)\) (\S+)`).FindStringSubmatch(line); m != nil {
			current = m[1]
		}
		if !finding.MatchString(line) && !strings.HasPrefix(line, "(cve)") {
			continue
		}
		if slices.Contains(unknown, current) && strings.Contains(line, "unknown algorithm") {
			continue
		}
		t.Errorf("ssh-audit: %s: %s", current, line)
	}
	if t.Failed() {
		j, _ := json.Marshal(string(out))
		t.Logf("all of it: %s", j)
	}
}
