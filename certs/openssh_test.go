package certs_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/certs"
	"golang.org/x/crypto/ssh"
)

// openSSH is a real sshd that trusts one CA, run once per connection as inetd would.
type openSSH struct {
	t      *testing.T
	config string
	addr   string
	log    logBuffer
}

func newOpenSSH(t *testing.T, trusted ssh.PublicKey) *openSSH {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "host")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pub"), ssh.MarshalAuthorizedKey(trusted), 0o600); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("HostKey %s/host\nTrustedUserCAKeys %s/ca.pub\nAuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin yes\nStrictModes no\n", dir, dir)
	s := &openSSH{t: t, config: filepath.Join(dir, "sshd_config")}
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	served := make(chan struct{})
	go s.serve(l, served)
	t.Cleanup(func() { l.Close(); <-served })
	return s
}

func (s *openSSH) serve(l net.Listener, served chan<- struct{}) {
	defer close(served)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		f, err := c.(*net.TCPConn).File()
		c.Close()
		if err != nil {
			s.t.Error(err)
			return
		}
		cmd := exec.Command("/usr/sbin/sshd", "-i", "-e", "-f", s.config)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, &s.log
		cmd.Run() // its status is the connection's; the log says more
		f.Close()
	}
}

// run signs in and asks for a command; it gives the output.
func (s *openSSH) run(key ssh.Signer, cert *ssh.Certificate, login, command string) (string, error) {
	cs, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		return "", err
	}
	c, err := ssh.Dial("tcp", s.addr, &ssh.ClientConfig{User: login, Auth: []ssh.AuthMethod{ssh.PublicKeys(cs)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 10 * time.Second})
	if err != nil {
		return "", err
	}
	defer c.Close()
	session, err := c.NewSession()
	if err != nil {
		return "", err
	}
	out, err := session.Output(command)
	return string(out), err
}

// TestTargetOfOpenSSH lets a real sshd be the judge of target certificates: it takes them for their
// account alone, from their address alone, from the target CA alone, and runs their command whatever
// the client asks for.
func TestTargetOfOpenSSH(t *testing.T) {
	g := newGate(t, nil)
	sshd := newOpenSSH(t, g.authority.TargetCA()[0])
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	key := newSigner(t)
	sign := func(grant certs.Grant) *ssh.Certificate {
		grant.KeyID = "developer session 01hxyzabcdef"
		c, err := g.authority.SignTarget(t.Context(), key.PublicKey(), grant)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	local := []string{"127.0.0.1"}
	forced := "printf '%s|' a \"b  c\" '\xff\xfe' \"$(echo sub)\"\nprintf end"
	for _, tt := range []struct {
		name, asked string
		cert        *ssh.Certificate
		want        string // output; "" for refused
	}{
		{"no command forced", "echo asked", sign(certs.Grant{Login: me.Username, SourceAddress: local}), "asked\n"},
		{"command forced", "echo asked", sign(certs.Grant{Login: me.Username, ForceCommand: forced, SourceAddress: local}), "a|b  c|\xff\xfe|sub|end"},
		{"another account", "echo asked", sign(certs.Grant{Login: "nobody-else", SourceAddress: local}), ""},
		{"another address", "echo asked", sign(certs.Grant{Login: me.Username, SourceAddress: []string{"192.0.2.0/24"}}), ""},
		{"a user's certificate", "echo asked", userCertificate(t, g, key, me.Username), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := sshd.run(key, tt.cert, me.Username, tt.asked)
			if got != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("got %q, %v; want %q\n%s", got, err, tt.want, sshd.log.String())
			}
		})
	}
	if !strings.Contains(sshd.log.String(), "developer session 01hxyzabcdef") {
		t.Errorf("sshd's log does not name the session:\n%s", sshd.log.String())
	}
}

// userCertificate is one whose principal is the account's name, so that nothing but the CA is wrong.
func userCertificate(t *testing.T, g *gate, key ssh.Signer, name string) *ssh.Certificate {
	t.Helper()
	id := certs.Identity{Issuer: "https://id.example.org", Subject: "1", Name: name, Kind: certs.Human}
	c, err := g.authority.SignUser(t.Context(), id, key.PublicKey(), certs.UserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if c.ValidPrincipals[0] != name || bytes.Equal(c.SignatureKey.Marshal(), g.authority.TargetCA()[0].Marshal()) {
		t.Fatal("not the certificate that this test needs")
	}
	return c
}
