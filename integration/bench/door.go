package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A door is one way to a session. It is also told to other processes, as JSON.
type door struct {
	Addr          string
	User          string
	HostName      string // in KnownHosts
	KnownHosts    string
	HostAlgorithm string
	Key, Cert     string // files; Cert is "" for a bare key
	KeyExchanges  []string

	Data     string // where the session finds the text
	SinkHost string // what a forward to the sink is called
	SinkPort uint32

	config *ssh.ClientConfig // made once
}

// open reads the files, once.
func (d *door) open() error {
	if d.config != nil {
		return nil
	}
	pem, err := os.ReadFile(d.Key)
	if err != nil {
		return err
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return err
	}
	if d.Cert != "" {
		if signer, err = withCert(signer, d.Cert); err != nil {
			return err
		}
	}
	known, err := knownhosts.New(d.KnownHosts)
	if err != nil {
		return err
	}
	d.config = &ssh.ClientConfig{
		Config: ssh.Config{KeyExchanges: d.KeyExchanges, Ciphers: []string{ssh.CipherAES128GCM}},
		User:   d.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyAlgorithms: []string{d.HostAlgorithm},
		HostKeyCallback: func(_ string, remote net.Addr, key ssh.PublicKey) error { return known(d.HostName+":22", remote, key) },
	}
	return nil
}

func withCert(signer ssh.Signer, path string) (ssh.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, err
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return ssh.NewCertSigner(cert, signer)
}

// dial opens a connection that ends with ctx, whatever waits on it.
func (d *door) dial(ctx context.Context) (*client, error) {
	if err := d.open(); err != nil {
		return nil, err
	}
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", d.Addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	// Read in large pieces, so that the client is not what limits a transfer.
	conn, channels, requests, err := ssh.NewClientConn(buffered{nc, bufio.NewReaderSize(nc, 128<<10)}, d.Addr, d.config)
	if err != nil {
		stop()
		nc.Close()
		return nil, fmt.Errorf("%s: %w", d.User, err)
	}
	return &client{ssh.NewClient(conn, channels, requests), stop}, nil
}

type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// A client is a connection.
type client struct {
	*ssh.Client
	stop func() bool
}

func (c *client) Close() error {
	c.stop()
	return c.Client.Close()
}

// run runs a command that must succeed.
func (c *client) run(command string) error {
	s, err := c.NewSession()
	if err != nil {
		return err
	}
	defer s.Close()
	if out, err := s.CombinedOutput(command); err != nil {
		return fmt.Errorf("%s: %w: %.300q", command, err, out)
	}
	return nil
}

// terminal starts cat in a raw terminal and returns when it echoes.
func (c *client) terminal() (*typing, error) {
	s, err := c.NewSession()
	if err != nil {
		return nil, err
	}
	in, err := s.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err != nil {
		return nil, err
	}
	if err := s.Start("stty raw -echo && echo ready && exec cat"); err != nil {
		return nil, err
	}
	t := &typing{Session: s, in: in, out: out}
	if err := t.until('y'); err != nil {
		return nil, fmt.Errorf("the terminal does not begin: %w", err)
	}
	return t, t.settle()
}

// typing is one who types into cat.
type typing struct {
	*ssh.Session
	in  io.Writer
	out io.Reader
}

// until reads what has come with the byte c, and all before it.
func (t *typing) until(c byte) error {
	for p := make([]byte, 64); ; {
		n, err := t.out.Read(p)
		if bytes.IndexByte(p[:n], c) >= 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// settle types until the answer is the key alone: what follows `ready` depends on how fast the
// terminal became raw.
func (t *typing) settle() error {
	if _, err := t.in.Write([]byte("~")); err != nil {
		return err
	}
	return t.until('~')
}

// key types one key and waits for its echo.
func (t *typing) key(c byte) (time.Duration, error) {
	begun := time.Now()
	if _, err := t.in.Write([]byte{c}); err != nil {
		return 0, err
	}
	var p [16]byte
	n, err := t.out.Read(p[:])
	took := time.Since(begun)
	if err != nil {
		return 0, err
	}
	if n != 1 || p[0] != c {
		return 0, fmt.Errorf("typed %q and saw %q", c, p[:n])
	}
	return took, nil
}

// forward opens a raw channel to the sink.
func (c *client) forward(d *door) (ssh.Channel, error) {
	ch, requests, err := c.OpenChannel("direct-tcpip", ssh.Marshal(struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}{d.SinkHost, d.SinkPort, "127.0.0.1", 1}))
	if err != nil {
		return nil, err
	}
	go ssh.DiscardRequests(requests) // ends with the channel
	return ch, nil
}

var errNothing = errors.New("nothing was measured")
