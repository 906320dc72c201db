package remote

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/shells"
)

// Open starts q on the host. Errors are [*Error], but for ctx's own.
func (r *Remote) Open(ctx context.Context, q shells.Request) (shells.Process, error) {
	if q.Login == "" {
		q.Login = r.c.Login
	}
	if err := r.check(q); err != nil {
		return nil, err
	}
	p, err := r.open(ctx, q)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	return p, nil
}

// check refuses what no host is asked.
func (r *Remote) check(q shells.Request) error {
	public := ""
	switch {
	case q.Login == "":
		public = "say which user to be on this target: user+" + r.c.Name
	case !loginName.MatchString(q.Login):
		public = "that is not a user name"
	case q.Kind == shells.Exec && q.Command == "":
		public = "an empty command is none" // and a certificate without force-command opens a shell
	case strings.ContainsRune(q.Command, 0):
		public = "a command cannot hold a zero byte"
	case q.Kind == shells.Subsystem && q.Command != "sftp":
		public = fmt.Sprintf("this target has no subsystem %q", q.Command)
	case q.Kind != shells.Exec && q.Kind != shells.Shell && q.Kind != shells.Subsystem:
		public = fmt.Sprintf("a session of kind %q is not known here", q.Kind)
	default:
		return nil
	}
	return &Error{Target: r.c.Name, Public: public}
}

func (r *Remote) error(public string, err error) *Error {
	return &Error{Target: r.c.Name, Public: public, Err: err}
}

// open dials, has a key certified for this connection, and starts the session on it.
func (r *Remote) open(ctx context.Context, q shells.Request) (*process, error) {
	d := net.Dialer{Timeout: r.c.DialTimeout}
	conn, err := d.DialContext(ctx, "tcp", r.c.Addr)
	if err != nil {
		return nil, r.error(dialReason(err), err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	conn.SetDeadline(time.Now().Add(r.c.OpenTimeout))
	client, err := r.handshake(ctx, conn, q)
	if err != nil {
		conn.Close()
		return nil, err
	}
	p, err := r.session(client, q)
	if err != nil {
		client.Close()
		client.Wait()
		return nil, err
	}
	if !stop() { // ctx ended: the connection is gone
		p.Close()
		return nil, context.Cause(ctx)
	}
	conn.SetDeadline(time.Time{})
	p.keepAlive(r.c.KeepAlive)
	return p, nil
}

// handshake proves the host to us and us to the host.
func (r *Remote) handshake(ctx context.Context, conn net.Conn, q shells.Request) (*ssh.Client, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, r.error("no key could be made", err)
	}
	defer clear(private) // needed once, to log in
	signer, err := r.certify(ctx, conn, q, public, private)
	if err != nil {
		return nil, r.error("no certificate could be made for this host", err)
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, r.c.Addr, &ssh.ClientConfig{
		Config: ssh.Config{
			KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519, "curve25519-sha256@libssh.org",
				ssh.KeyExchangeECDHP256, ssh.KeyExchangeECDHP384, ssh.KeyExchangeECDHP521},
			Ciphers: []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherChaCha20Poly1305},
			MACs:    []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
		},
		User:              q.Login,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   r.hosts.check,
		HostKeyAlgorithms: r.hosts.algs,
		ClientVersion:     "SSH-2.0-Sallyport",
		BannerCallback: func(text string) error {
			r.c.Log.Debug("the host shows a banner", "target", r.c.Name, "text", escape(text))
			return nil
		},
	})
	if err != nil {
		return nil, r.error(handshakeReason(err), err)
	}
	return ssh.NewClient(c, chans, reqs), nil
}

// certify has the key signed for what q is, from where conn comes.
func (r *Remote) certify(ctx context.Context, conn net.Conn, q shells.Request, public ed25519.PublicKey, private ed25519.PrivateKey) (ssh.Signer, error) {
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	g := Grant{Login: q.Login, SourceAddress: r.c.SourceAddress, Validity: validity, KeyID: cmp.Or(q.KeyID, r.c.KeyID)}
	if len(g.SourceAddress) == 0 {
		local, err := netip.ParseAddrPort(conn.LocalAddr().String())
		if err != nil {
			return nil, err
		}
		g.SourceAddress = []string{local.Addr().Unmap().WithZone("").String()}
	}
	switch q.Kind {
	case shells.Exec:
		g.ForceCommand = q.Command
	case shells.Subsystem:
		g.ForceCommand = "internal-sftp"
	}
	g.Pty = q.Pty != nil
	g.PortForwarding = r.wantsHook(q)
	cert, err := r.c.Minter.SignTarget(ctx, key, g)
	if err != nil {
		return nil, err
	}
	if q.Kind != shells.Shell && cert.CriticalOptions["force-command"] != g.ForceCommand {
		return nil, errors.New("the certificate does not force the admitted command")
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		return nil, err
	}
	return ssh.NewCertSigner(cert, signer)
}

// session opens the channel and starts what is asked for: a shell that asks, where one is wanted and can be had.
func (r *Remote) session(client *ssh.Client, q shells.Request) (*process, error) {
	if r.wantsHook(q) {
		p, err := r.hooked(client, q)
		if err == nil {
			r.fell.Store(false)
			return p, nil
		}
		if r.c.Guard == "hook" {
			return nil, r.error("no shell on this host can be made to ask before it runs a command, which its configuration demands", err)
		}
		r.fell.Store(true)
		r.c.Log.Info("the lines of this session are read off the terminal", "target", r.c.Name, "why", err)
	}
	switch q.Kind {
	case shells.Exec:
		return r.channel(client, q, "exec", q.Command)
	case shells.Subsystem:
		return r.channel(client, q, "subsystem", q.Command)
	}
	return r.channel(client, q, "shell", "")
}

// public is what a client is told when the host does not start what.
var public = map[string]string{
	"exec": "the host does not run the command", "subsystem": "the host has no sftp", "shell": "the host starts no shell",
}

// channel opens the channel of a session and starts text in it, which is nothing for a shell.
func (r *Remote) channel(client *ssh.Client, q shells.Request, what, text string) (*process, error) {
	ch, reqs, err := client.OpenChannel("session", nil)
	if err != nil {
		return nil, r.error("the host opens no session", err)
	}
	p := newProcess(r, client, ch, q.Pty != nil)
	p.wg.Go(func() { p.requests(reqs) })
	for _, e := range q.Env {
		name, value, ok := strings.Cut(e, "=")
		if ok { // a host may not take it, and nobody waits to hear
			ch.SendRequest("env", false, ssh.Marshal(struct{ Name, Value string }{name, value}))
		}
	}
	if q.Pty != nil {
		if err := r.must(ch, "pty-req", ptyRequest(q.Pty), "the host gives no terminal"); err != nil {
			return nil, p.drop(err)
		}
	}
	var payload []byte
	if what != "shell" {
		payload = ssh.Marshal(struct{ What string }{text})
	}
	err = r.must(ch, what, payload, public[what])
	if err != nil {
		return nil, p.drop(err)
	}
	return p, nil
}

// must sends a request that the host has to grant.
func (r *Remote) must(ch ssh.Channel, name string, payload []byte, public string) error {
	ok, err := ch.SendRequest(name, true, payload)
	if err != nil {
		return r.error("the host ended the connection before the session ran", fmt.Errorf("%s: %w", name, err))
	}
	if !ok {
		return r.error(public, fmt.Errorf("%s: refused", name))
	}
	return nil
}

// ptyRequest is RFC 4254 section 6.2.
func ptyRequest(p *shells.Pty) []byte {
	var modes []byte
	for op, v := range p.Modes {
		if op != 0 && op < 160 {
			modes = append(modes, ssh.Marshal(struct {
				Op  byte
				Val uint32
			}{op, v})...)
		}
	}
	return ssh.Marshal(struct {
		Term                      string
		Cols, Rows, Width, Height uint32
		Modes                     string
	}{p.Term, p.Cols, p.Rows, 0, 0, string(append(modes, 0))})
}
