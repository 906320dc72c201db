package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// gateFlags say which gate to ask, and as whom. What is asked goes through the gate by SSH, like what
// everybody asks, so that its policies decide on who is proved by a certificate.
type gateFlags struct {
	placeFlags
	Identity   string `help:"Answer as this user of sallyport dev, with the key in DIR/USER." xor:"who" placeholder:"USER"`
	Key        string `help:"File of your private key; its certificate is in FILE-cert.pub. Default: what ssh-agent has, or ~/.ssh/id_sallyport." type:"path" xor:"who" placeholder:"FILE"`
	Gate       string `help:"Address of the gate. Default: what the configuration says." placeholder:"HOST:PORT"`
	KnownHosts string `help:"File with the gate's @cert-authority line. Default: the authority of --config or --dir, or ~/.ssh/known_hosts." type:"path" placeholder:"FILE"`
}

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 20 * time.Second
	maxAnswer        = 4 << 20 // bytes of what the gate answers
	maxOffered       = 5       // certificates, before the gate loses patience
)

// run runs one command of the gate's own, passes on what it says, and exits as it does. AsJSON asks for
// JSON.
func (f *gateFlags) run(ctx context.Context, k *kong.Context, asJSON bool, command string) error {
	if asJSON {
		command += " --json"
	}
	a, err := f.ask(ctx, command, nil)
	if werr := errors.Join(pass(k.Stdout, a.stdout.b, asJSON), pass(k.Stderr, a.stderr.b, asJSON)); werr != nil {
		return werr
	}
	return err
}

// A gateAnswer is what the gate said to one command, as far as it came.
type gateAnswer struct{ stdout, stderr limited }

// ask runs one command of the gate's own with an input, which may be nil. Where it exits with another status than 0, so
// does the error.
func (f *gateFlags) ask(ctx context.Context, command string, input io.Reader) (a gateAnswer, err error) {
	client, err := f.dial(ctx)
	if err != nil {
		return a, err
	}
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	s, err := client.NewSession()
	if err != nil {
		return a, fmt.Errorf("gate: %w", err)
	}
	defer s.Close()
	s.Stdin, s.Stdout, s.Stderr = input, &a.stdout, &a.stderr
	err = s.Run(command)
	var exit *ssh.ExitError
	switch {
	case errors.As(err, &exit):
		return a, &exitError{code: max(exit.ExitStatus(), 1)}
	case err != nil && ctx.Err() != nil:
		return a, context.Cause(ctx)
	case err != nil:
		return a, fmt.Errorf("gate: %w", err)
	}
	return a, nil
}

// pass prints what the gate says; whatever that holds, it does nothing to a terminal.
func pass(w io.Writer, text []byte, asJSON bool) error {
	clean := plainJSON
	if !asJSON {
		clean = func(b []byte) []byte { return cast.NewSanitizer().Append(nil, b) }
	}
	_, err := w.Write(clean(text))
	return err
}

// limited keeps the first bytes of an answer and refuses the rest.
type limited struct{ b []byte }

func (l *limited) Write(p []byte) (int, error) {
	if len(l.b)+len(p) > maxAnswer {
		return 0, fmt.Errorf("the gate's answer is longer than %d bytes", maxAnswer)
	}
	l.b = append(l.b, p...)
	return len(p), nil
}

// dial connects to the gate as its own user "gate".
func (f *gateFlags) dial(ctx context.Context) (*ssh.Client, error) {
	p, err := f.place()
	if err != nil {
		return nil, err
	}
	addr, err := f.address(p)
	if err != nil {
		return nil, err
	}
	signers, closeAgent, err := f.signers(ctx, p)
	if err != nil {
		return nil, err
	}
	defer closeAgent()
	check, err := f.hostCheck(p, addr)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("the gate cannot be reached: %w; does it run, and is --gate right?", err)
	}
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, chans, reqs, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		User: "gate", Auth: []ssh.AuthMethod{ssh.PublicKeys(signers...)}, HostKeyCallback: check,
	})
	if err != nil {
		return nil, errors.Join(dialError(addr, err), conn.Close())
	}
	return ssh.NewClient(c, chans, reqs), conn.SetDeadline(time.Time{})
}

func dialError(addr string, err error) error {
	var key *knownhosts.KeyError
	switch text := err.Error(); {
	case errors.As(err, &key), strings.Contains(text, "no authorities for hostname"):
		return fmt.Errorf("the gate at %s cannot be told from an impostor: %w; put its @cert-authority line, which sallyport login prints, into known_hosts, or name a file with --known-hosts", addr, err)
	case strings.Contains(text, "unable to authenticate"):
		return fmt.Errorf("the gate at %s does not take your certificate: %w; sallyport login gets a new one", addr, err)
	}
	return fmt.Errorf("gate at %s: %w", addr, err)
}

// place is the configuration, or nil where --gate alone says where to go.
func (f *gateFlags) place() (*place, error) {
	if f.Gate != "" && f.Config == "" && f.Dir == "" {
		return nil, nil
	}
	p, err := f.open()
	if errors.Is(err, errNoPlace) {
		err = &exitError{exitUsage, errors.New("which gate? name its address with --gate HOST:PORT, its configuration with --config FILE, or with --dir DIR what sallyport dev made")}
	}
	return p, err
}

func (f *gateFlags) address(p *place) (string, error) {
	addr := f.Gate
	if addr == "" {
		addr = p.config.SSH.Listen
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", &exitError{exitUsage, fmt.Errorf("--gate %q: write HOST:PORT", addr)}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), nil
}

// signers are the certificates to come with. Close ends the agent's connection, when they were used.
func (f *gateFlags) signers(ctx context.Context, p *place) (s []ssh.Signer, closeAgent func(), err error) {
	none := func() {}
	switch {
	case f.Identity != "":
		key, err := p.userKey(f.Identity)
		if err != nil {
			return nil, none, &exitError{exitUsage, err}
		}
		signer, err := certSigner(key, "sallyport dev renews it while it runs")
		return []ssh.Signer{signer}, none, err
	case f.Key != "":
		signer, err := certSigner(f.Key, "sallyport login --write "+f.Key+" gets a new one")
		return []ssh.Signer{signer}, none, err
	}
	if sock := os.Getenv("SSH_AUTH_SOCK"); sock != "" {
		if s, closeAgent, err = agentSigners(ctx, sock); err != nil || len(s) > 0 {
			return s, closeAgent, err
		}
		closeAgent()
	}
	home, err := os.UserHomeDir()
	if err == nil {
		key := filepath.Join(home, ".ssh", "id_sallyport")
		if _, err := os.Stat(key); err == nil {
			signer, err := certSigner(key, "sallyport login gets a new one")
			return []ssh.Signer{signer}, none, err
		}
	}
	hint := "get a certificate with sallyport login, or name your key with --key FILE"
	if p != nil && p.dir != "" {
		hint = "say who you are with --identity USER: " + strings.Join(p.users(), ", ")
	}
	return nil, none, &exitError{exitUsage, errors.New("there is no certificate to come to the gate with; " + hint)}
}

// userKey is the key file of one of dev's users.
func (p *place) userKey(name string) (string, error) {
	if p == nil || p.dir == "" {
		return "", errors.New("--identity names a user of sallyport dev; come with your own certificate by --key FILE, or by ssh-agent")
	}
	for _, u := range p.users() {
		if u == name {
			return filepath.Join(p.dir, name, "id_ed25519"), nil
		}
	}
	return "", fmt.Errorf("--identity %q: there is no such user; there are %s", name, strings.Join(p.users(), ", "))
}

func (p *place) users() []string {
	var out []string
	for _, u := range p.config.Users {
		out = append(out, u.Name)
	}
	return out
}

// certSigner reads a private key and the certificate beside it. Renew says what to do about an old one.
func certSigner(file, renew string) (ssh.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	key, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("key %s has a passphrase; add it to ssh-agent, and leave --key away", file)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s cannot be read: %w", file, err)
	}
	name := file + "-cert.pub"
	text, err = os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key %s has no certificate beside it; %s", file, renew)
	}
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(text)
	cert, ok := pub.(*ssh.Certificate)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s is no certificate; %s", name, renew)
	}
	if until := time.Unix(int64(cert.ValidBefore), 0); time.Now().After(until) {
		return nil, fmt.Errorf("the certificate in %s ended at %s; %s", name, localTime(until), renew)
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s is not the certificate of %s", name, file)
	}
	return signer, nil
}

// agentSigners are the certificates in ssh-agent that a gate made, and that are still good.
func agentSigners(ctx context.Context, sock string) ([]ssh.Signer, func(), error) {
	none := func() {}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", sock)
	if err != nil {
		return nil, none, fmt.Errorf("ssh-agent: %w; start one, or name your key with --key FILE", err)
	}
	all, err := agent.NewClient(conn).Signers()
	if err != nil {
		conn.Close()
		return nil, none, fmt.Errorf("ssh-agent: %w", err)
	}
	var out []ssh.Signer
	for _, s := range all {
		key, err := ssh.ParsePublicKey(s.PublicKey().Marshal()) // an agent's own type hides what it is
		cert, ok := key.(*ssh.Certificate)
		if err != nil || !ok || time.Now().After(time.Unix(int64(cert.ValidBefore), 0)) || len(out) == maxOffered {
			continue
		}
		if _, err := certs.IdentityOf(cert); err == nil {
			out = append(out, s)
		}
	}
	return out, func() { conn.Close() }, nil
}

// hostCheck accepts the gate's host certificate and no other: of the authority that the configuration
// knows, or of one in known_hosts.
func (f *gateFlags) hostCheck(p *place, addr string) (ssh.HostKeyCallback, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	file := f.KnownHosts
	if p != nil {
		host = p.config.Gate.Name
		if file == "" && f.Identity != "" {
			file = filepath.Join(p.dir, f.Identity, "known_hosts")
		}
	}
	if file == "" && p != nil {
		ca, err := readPublicKey(p.caFile("host_ca.pub"))
		if err == nil {
			return trust(ca, host), nil
		}
		if !errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
	}
	if file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		file = filepath.Join(home, ".ssh", "known_hosts")
	}
	check, err := knownhosts.New(file)
	if err != nil {
		return nil, fmt.Errorf("known hosts: %w; sallyport login prints the line that belongs there", err)
	}
	return func(_ string, remote net.Addr, key ssh.PublicKey) error {
		// As OpenSSH does for a certificate, a line that names no port counts for every port.
		err := check(net.JoinHostPort(host, port(addr)), remote, key)
		if _, cert := key.(*ssh.Certificate); cert && err != nil {
			err = check(net.JoinHostPort(host, "22"), remote, key)
		}
		return err
	}, nil
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// trust takes host certificates for name that ca has signed.
func trust(ca ssh.PublicKey, name string) ssh.HostKeyCallback {
	c := &ssh.CertChecker{IsHostAuthority: func(key ssh.PublicKey, _ string) bool { return string(key.Marshal()) == string(ca.Marshal()) }}
	return func(_ string, remote net.Addr, key ssh.PublicKey) error {
		return c.CheckHostKey(net.JoinHostPort(name, "22"), remote, key)
	}
}

func readPublicKey(file string) (ssh.PublicKey, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not a public key", file)
	}
	return key, nil
}

type whoamiCmd struct {
	gateFlags
	JSON bool `help:"Print one JSON object." name:"json"`
}

// Run asks the gate who you are there.
func (c *whoamiCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.run(ctx, k, c.JSON, "whoami")
}
