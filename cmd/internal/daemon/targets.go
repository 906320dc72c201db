package daemon

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/local"
	"github.com/sallyport-ssh/sallyport/shells/remote"
	"github.com/sallyport-ssh/sallyport/shells/tcp"
	"github.com/sallyport-ssh/sallyport/sshd"
)

func (d *Daemon) openTargets(context.Context) error {
	var targets []*sshd.Target
	for _, t := range d.config.Targets {
		target, err := d.openTarget(t)
		if err != nil {
			if name := fmt.Sprintf("target %q: ", t.Name); !strings.HasPrefix(err.Error(), name) { // most rooms say it
				err = fmt.Errorf("%s%w", name, err)
			}
			return err
		}
		targets = append(targets, target)
	}
	d.targets = new(sshd.Directory)
	d.targets.Set(targets)
	return nil
}

func (d *Daemon) openTarget(t config.Target) (*sshd.Target, error) {
	out := &sshd.Target{
		Target:      policies.Target{Name: t.Name, Kind: t.Kind, Labels: t.Labels},
		Description: t.Description,
	}
	var err error
	switch t.Kind {
	case "shell":
		err = d.openShell(t, out)
	case "ssh":
		out.Address, out.Login, out.Logins = t.SSH.Address, t.SSH.Login, t.SSH.Logins
		out.Opener, err = d.openRemote(t)
	case "postgres":
		err = d.openPostgres(t, out)
	case "kubernetes":
		err = d.openKube(t, out)
	case "tcp":
		out.Address = t.TCP.Address
		var raw *tcp.Target
		raw, err = tcp.New(tcp.Config{Name: t.Name, Addr: t.TCP.Address, DialTimeout: t.TCP.ConnectTimeout.D()})
		out.Dial = func(ctx context.Context) (net.Conn, error) { return raw.Dial(ctx) }
	default:
		err = fmt.Errorf("kind %q is not known", t.Kind)
	}
	return out, err
}

func (d *Daemon) openShell(t config.Target, out *sshd.Target) error {
	s := t.Shell
	if s == nil {
		s = new(config.ShellTarget)
	}
	c := local.Config{
		Name: t.Name, User: s.User, Home: s.Home, HostUID: uint32(s.RunAs), HostGID: uint32(s.RunAs),
		HostNetwork: s.Network, InsecureNoSandbox: s.InsecureNoSandbox, Log: d.log,
	}
	if s.Shell != "" {
		c.Shell = []string{s.Shell}
	}
	for _, b := range s.Binds {
		c.Binds = append(c.Binds, local.Bind{Source: b.Source, Dest: b.Path, RW: b.Writable, Chown: b.Writable})
	}
	l, err := local.New(c)
	if err != nil {
		return err
	}
	d.openers = append(d.openers, l.Close)
	out.Opener, out.Login = l, s.User
	return nil
}

// minter gives the remote room its certificates. Where hosts see another address than the gate's own,
// such as behind NAT, sources replace it.
type minter struct {
	authority *certs.Authority
	sources   []string
}

func (m minter) SignTarget(ctx context.Context, key ssh.PublicKey, g remote.Grant) (*ssh.Certificate, error) {
	sources := m.sources
	if len(sources) == 0 {
		sources = g.SourceAddress
	}
	return m.authority.SignTarget(ctx, key, certs.Grant{
		Login: g.Login, ForceCommand: g.ForceCommand, SourceAddress: sources, Validity: g.Validity, KeyID: g.KeyID,
		Pty: g.Pty, PortForwarding: g.PortForwarding,
	})
}

func (d *Daemon) openRemote(t config.Target) (shells.Opener, error) {
	c := remote.Config{
		Name: t.Name, Addr: t.SSH.Address, Login: t.SSH.Login, HostNames: t.SSH.Names,
		Minter: minter{d.authority, t.SSH.SourceAddresses}, DialTimeout: t.SSH.ConnectTimeout.D(), OpenTimeout: 2 * t.SSH.ConnectTimeout.D(),
		KeepAlive: 15 * time.Second, Guard: t.SSH.Guard, Log: d.log,
	}
	var err error
	if c.HostCAs, err = publicKeys(t.SSH.HostCA); err != nil {
		return nil, fmt.Errorf("host_ca: %w", err)
	}
	if c.HostKeys, err = publicKeys(t.SSH.HostKeys); err != nil {
		return nil, fmt.Errorf("host_keys: %w", err)
	}
	return remote.New(c)
}

func publicKeys(lines []string) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	for _, line := range lines {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}
