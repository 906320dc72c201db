// Package throwaway runs an OpenSSH server for development and tests: on a free port of the loopback
// interface, trusting what certificate authorities it is told, and gone with everything it started when
// it is closed.
//
// Each connection gets an sshd of its own in a cage made by bubblewrap: a read-only system, no network, no
// process and no file of the host, and the same /root (or home) and /tmp as the connections before it.
// Where it is started by root, root in the cage is an ordinary user of the host. So whoever logs in, even
// as root, cannot harm the machine, nor reach what listens on its loopback interface, nor read a key of
// the gate's.
package throwaway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Programs that are needed.
const (
	sshdPath  = "/usr/sbin/sshd"
	bwrapPath = "/usr/bin/bwrap"
)

// Options says what server to start.
type Options struct {
	Name    string          // host name that the certificate names and the sessions see; default "web1"
	UserCAs []ssh.PublicKey // whose user certificates open it
	// SignHost certifies the server's key; nil: it has no host certificate.
	SignHost func(ctx context.Context, key ssh.PublicKey, names []string) (*ssh.Certificate, error)
	Addr     string   // default 127.0.0.1:0, a free port
	Log      string   // file that sshd's log is added to; default: in a directory that Close removes
	Config   []string // further lines of sshd_config; the first of several wins
	// InsecureNoCage runs sshd with all of the machine in reach of who logs in.
	InsecureNoCage bool
}

// Server is a running server.
type Server struct {
	Addr    string // 127.0.0.1:port
	Login   string // the one user it lets in: root, or whoever started it
	HostKey ssh.PublicKey
	Log     string // path of sshd's log

	o    Options
	uid  int
	home string
	dir  string // private to this server
	log  *os.File
	conf []file
	ln   *net.TCPListener
	wg   sync.WaitGroup
	once sync.Once

	mu     sync.Mutex
	closed bool
	live   map[*exec.Cmd]struct{}
}

// file is one that sshd reads.
type file struct{ path, text, perms string }

// Start returns when the server accepts connections. ctx bounds the start only.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Name == "" {
		o.Name = "web1"
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	need := []string{sshdPath, bwrapPath}
	if o.InsecureNoCage {
		need = need[:1]
	}
	for _, p := range need {
		if _, err := os.Stat(p); err != nil {
			return nil, fmt.Errorf("throwaway sshd: %w: install openssh-server and bubblewrap", err)
		}
	}
	s := &Server{o: o, uid: os.Geteuid(), live: map[*exec.Cmd]struct{}{}}
	if err := s.start(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("throwaway sshd: %w", err)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	s.Login, s.home = "root", "/root"
	if s.uid != 0 {
		s.Login, s.home = "user", "/home/user"
		if u, err := user.Current(); err == nil && s.o.InsecureNoCage {
			s.Login, s.home = u.Username, u.HomeDir
		} else if err == nil && !strings.ContainsAny(u.Username, ":\\ \n") {
			s.Login, s.home = u.Username, "/home/"+u.Username
		}
	}
	if err := s.directories(); err != nil {
		return err
	}
	if err := s.configure(ctx); err != nil {
		return err
	}
	var err error
	if s.log, err = os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	addr, err := net.ResolveTCPAddr("tcp", s.o.Addr)
	if err != nil {
		return err
	}
	if !addr.IP.IsLoopback() {
		return fmt.Errorf("address %s: only a loopback address will do", s.o.Addr)
	}
	if s.ln, err = net.ListenTCP("tcp", addr); err != nil {
		return err
	}
	s.Addr = s.ln.Addr().String()
	s.wg.Go(s.serve)
	return nil
}

// directories makes what lasts from one connection to the next.
func (s *Server) directories() error {
	var err error
	if s.dir, err = os.MkdirTemp("", "sallyport-sshd-"); err != nil {
		return err
	}
	// Root's stand-in on the host has to walk through here.
	if err := os.Chmod(s.dir, 0o711); err != nil {
		return err
	}
	for name, mode := range map[string]os.FileMode{"home": 0o700, "tmp": 0o1777 | os.ModeSticky} {
		path := filepath.Join(s.dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		if s.uid == 0 {
			if err := os.Chown(path, firstID, firstID); err != nil {
				return err
			}
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	if s.Log = s.o.Log; s.Log == "" {
		s.Log = filepath.Join(s.dir, "sshd.log")
	}
	return nil
}

// configure makes the host key, has it certified, and writes what sshd reads.
func (s *Server) configure(ctx context.Context) error {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if s.HostKey, err = ssh.NewPublicKey(pub); err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		return err
	}
	at := "/etc/ssh/"
	if s.o.InsecureNoCage {
		at = s.dir + "/"
	}
	lines := append([]string(nil), s.o.Config...)
	lines = append(lines, "HostKey "+at+"host_key", "TrustedUserCAKeys "+at+"user_ca", "AuthorizedKeysFile none",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "UsePAM no", "PermitRootLogin prohibit-password",
		"AllowUsers "+s.Login, "Subsystem sftp internal-sftp", "LogLevel VERBOSE", "PidFile none", "PrintMotd no", "PrintLastLog no",
		"UseDNS no", "StrictModes no", "X11Forwarding no", "AllowAgentForwarding no", "AllowTcpForwarding no",
		"AcceptEnv LANG LC_* SALLYPORT_*")
	var cas strings.Builder
	for _, ca := range s.o.UserCAs {
		cas.Write(ssh.MarshalAuthorizedKey(ca))
	}
	s.conf = []file{{"host_key", string(pem.EncodeToMemory(block)), "0600"}, {"user_ca", cas.String(), "0644"}}
	if s.o.SignHost != nil {
		cert, err := s.o.SignHost(ctx, s.HostKey, []string{s.o.Name})
		if err != nil {
			return fmt.Errorf("host certificate: %w", err)
		}
		lines = append(lines, "HostCertificate "+at+"host_key-cert.pub")
		s.conf = append(s.conf, file{"host_key-cert.pub", string(ssh.MarshalAuthorizedKey(cert)), "0644"})
	}
	s.conf = append(s.conf, file{"sshd_config", strings.Join(lines, "\n") + "\n", "0600"})
	if !s.o.InsecureNoCage {
		return nil
	}
	for _, f := range s.conf {
		if err := os.WriteFile(at+f.path, []byte(f.text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// serve gives every connection an sshd.
func (s *Server) serve() {
	for {
		c, err := s.ln.AcceptTCP()
		if err != nil {
			return
		}
		if err := s.connection(c); err != nil {
			fmt.Fprintf(s.log, "throwaway: %v\n", err)
		}
		c.Close()
	}
}

func (s *Server) connection(c *net.TCPConn) error {
	sock, err := c.File()
	if err != nil {
		return err
	}
	defer sock.Close()
	cmd, done, err := s.command()
	if err != nil {
		return err
	}
	defer done()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = sock, sock, s.log
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("closed")
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.live[cmd] = struct{}{}
	s.wg.Go(func() {
		cmd.Wait() // its status says nothing: sshd's log does
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.live, cmd)
	})
	return nil
}

// Drop ends all connections, as a host that fails would, and leaves the server running.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cmd := range s.live {
		cmd.Process.Kill() // what is in the cage dies with it
	}
}

// Close ends the server and its sessions, and removes what it wrote.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		if s.ln != nil {
			s.ln.Close()
		}
		s.Drop()
		s.wg.Wait()
		if s.log != nil {
			s.log.Close()
		}
		if s.dir != "" {
			os.RemoveAll(s.dir)
		}
	})
	return nil
}
