package remote

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"os"
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
			Extensions: map[string]string{"permit-pty": ""}}}
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

func TestTry(t *testing.T) {
	h := newHost(t)
	r := h.target(t)
	now := time.Now()
	got := run(t, r, command("id; ls -la / /root /etc /etc/ssh; uptime; hostname; cat /proc/self/status | grep Cap; ls /proc; ip a; echo $HOME; touch ~/x /tmp/y /z; echo err >&2; env; exit 3"), nil)
	t.Log(time.Since(now), got.out, got.err, got.exit)
	got = run(t, r, shells.Request{Kind: shells.Shell, Pty: &shells.Pty{Term: "xterm", Cols: 80, Rows: 24}}, strings.NewReader("tty; ls -la ~; stty size; kill -9 $$\n"))
	t.Log(got.out, got.err, got.exit)
}
