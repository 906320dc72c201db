// Package dev is `sallyport dev`: the whole gate on one machine, with everything it needs made on the
// spot, for a first look and for developing against. What differs from production is only who the users
// are and what the targets hold; every road is the one that production uses.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/certs/devidp"
	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/cmd/internal/daemon"
	pgthrowaway "github.com/sallyport-ssh/sallyport/shells/postgres/throwaway"
	"github.com/sallyport-ssh/sallyport/shells/remote/throwaway"
)

// Options of `sallyport dev`.
type Options struct {
	Dir       string // made if missing; holds everything
	SSH, HTTP string // host:port; port 0 takes a free one
	Config    string // further targets, users and policies; "" for none
	// Kubeconfig is of the target k8s; "" for a throwaway cluster where there are the programs for one, see also
	// [NoKubeconfig].
	Kubeconfig string
	Out        io.Writer
}

// gateName is what dev's gate is called: the alias in every ssh_config, and the name in its host
// certificate.
const gateName = "gate"

// Run starts everything, prints what to type, and returns when ctx ends and all has stopped.
func Run(ctx context.Context, o Options) error {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	o.Dir = dir
	unlock, err := prepare(dir)
	if err != nil {
		return err
	}
	defer unlock()
	log, closeLog, err := openLog(filepath.Join(dir, "gate.log"))
	if err != nil {
		return err
	}
	defer closeLog()
	g := &gate{o: o, log: log}
	defer g.close()
	if err := g.start(ctx); err != nil {
		if g.daemon != nil {
			err = errors.Join(err, g.daemon.Close(ctx))
		}
		return err
	}
	g.greet()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go g.keepFresh(ctx) // ends with ctx
	err = g.daemon.Wait(ctx)
	fmt.Fprintln(o.Out, "\nStopped. Keys and recordings stay in", dir)
	return err
}

// A gate is what runs.
type gate struct {
	o      Options
	log    *slog.Logger
	config *config.Config
	idp    *devidp.Provider
	web1   *throwaway.Server
	db     *pgthrowaway.Server
	k8s    *cluster
	notes  []string // what could not be started, for the greeting
	daemon *daemon.Daemon
	users  []*workstation
}

func (g *gate) start(ctx context.Context) error {
	if err := writeDemo(filepath.Join(g.o.Dir, "demo")); err != nil {
		return err
	}
	c, err := g.configure(ctx)
	if err != nil {
		return err
	}
	g.config = c
	g.idp, err = devidp.New(devidp.Options{
		Issuer: c.HTTP.URL + "/oidc", Dir: filepath.Join(g.o.Dir, "oidc"), Users: providerUsers(c.Users),
		ConsoleRedirects: []string{c.HTTP.URL + "/signin/callback"},
	})
	if err != nil {
		return err
	}
	g.daemon, err = daemon.Start(ctx, c, daemon.Options{Log: g.log, Handlers: map[string]http.Handler{"/oidc/": g.idp}})
	if err != nil {
		return err
	}
	if err := g.openUsers(ctx); err != nil {
		return err
	}
	return g.writeConfig()
}

// ConfigFile is where, in dev's directory, the configuration in force stands: with it the operator's
// commands find everything, as they do with production's file.
const ConfigFile = "sallyport.yaml"

// writeConfig writes the configuration in force, with the ports that were found free.
func (g *gate) writeConfig() error {
	file := filepath.Join(g.o.Dir, ConfigFile)
	text, err := yaml.MarshalWithOptions(g.config, yaml.OmitEmpty())
	if err != nil {
		return fmt.Errorf("%s: %w", ConfigFile, err)
	}
	c, _, err := config.Parse(file, text) // a copy of all that it points to
	if err != nil {
		return fmt.Errorf("%s: %w", ConfigFile, err)
	}
	c.SSH.Listen = g.daemon.SSHAddr().String()
	c.Unresolve(g.o.Dir)
	if text, err = yaml.MarshalWithOptions(c, yaml.OmitEmpty()); err != nil {
		return fmt.Errorf("%s: %w", ConfigFile, err)
	}
	text = append([]byte("# Written by `sallyport dev` at its start: what runs there, as a configuration file. Edits are lost.\n"), text...)
	return replaceFile(file, text)
}

// configure makes the configuration that a file would be in production.
func (g *gate) configure(ctx context.Context) (*config.Config, error) {
	dir, o := g.o.Dir, g.o
	httpAddr, err := freePort(o.HTTP)
	if err != nil {
		return nil, err
	}
	url := "http://" + httpAddr
	c := &config.Config{
		Gate:  config.Gate{Name: gateName, Aliases: []string{"localhost", "127.0.0.1"}},
		SSH:   config.SSH{Listen: o.SSH},
		HTTP:  config.HTTP{Listen: httpAddr, URL: url},
		CA:    config.CA{Dir: filepath.Join(dir, "ca")},
		Users: defaultUsers(),
		Issuers: []config.Issuer{{
			URL: url + "/oidc", Audiences: []string{audience, devidp.CLI, devidp.Console}, ClientID: devidp.CLI,
			Scopes: []string{"openid", "profile", "email", "groups"},
			Claims: config.Claims{Kind: devidp.KindClaim},
		}},
		Console:    config.Console{ClientID: devidp.Console},
		Ledger:     config.Ledger{URL: "sqlite:" + filepath.Join(dir, "ledger.db")},
		Recordings: config.Recordings{Spool: filepath.Join(dir, "spool"), Directory: filepath.Join(dir, "recordings")},
	}
	if err := g.defaultTargets(ctx, c); err != nil {
		return nil, err
	}
	if o.Config != "" {
		part, err := config.LoadPart(o.Config)
		if err != nil {
			return nil, err
		}
		// The addresses are dev's own flags.
		part.SSH.Listen, part.HTTP.Listen, part.HTTP.URL = "", "", ""
		c.Merge(part)
		if len(part.Policies) == 0 {
			c.Policies = nil
		}
	}
	c.SetDefaults()
	c.Console.Issuer = url + "/oidc"
	return c, c.Validate()
}

func defaultUsers() []config.User {
	return []config.User{
		{Name: "developer", Email: "developer@example.com", Kind: "human", Groups: []string{"users", "developers"}},
		{Name: "agent", Email: "agent@example.com", Kind: "agent", Groups: []string{"agents"}, OnBehalfOf: "developer"},
		{Name: "approver", Email: "approver@example.com", Kind: "human", Groups: []string{"users", "approvers", "auditors"}},
	}
}

func providerUsers(users []config.User) []devidp.User {
	var out []devidp.User
	for _, u := range users {
		out = append(out, devidp.User{Name: u.Name, Email: u.Email, Groups: u.Groups, Kind: u.Kind, OnBehalfOf: u.OnBehalfOf})
	}
	return out
}

// defaultTargets adds demo, and web1 where an sshd is installed.
func (g *gate) defaultTargets(ctx context.Context, c *config.Config) error {
	c.Targets = append(c.Targets, config.Target{
		Name: "demo", Kind: "shell", Description: "a sandboxed shell with made-up customers", Labels: map[string]string{"env": "demo"},
		Shell: &config.ShellTarget{
			User: "demo", Home: "/srv/demo",
			Binds: []config.Bind{{Source: filepath.Join(g.o.Dir, "demo"), Path: "/srv/demo", Writable: true}},
		},
	})
	g.startDB(ctx, c)
	if err := g.offerK8s(c); err != nil {
		return err
	}
	if _, err := exec.LookPath("/usr/sbin/sshd"); err != nil {
		g.notes = append(g.notes, "There is no target web1: sshd is not installed (apt-get install openssh-server).")
		return nil
	}
	return g.startWeb1(ctx, c)
}

// startWeb1 runs an OpenSSH server that trusts the authority's key for targets and nothing else.
func (g *gate) startWeb1(ctx context.Context, c *config.Config) error {
	a, err := certs.OpenAuthority(c.CA.Dir, certs.Options{})
	if err != nil {
		return err
	}
	defer a.Close()
	g.web1, err = throwaway.Start(ctx, throwaway.Options{
		Name: "web1", UserCAs: a.TargetCA(), Log: filepath.Join(g.o.Dir, "web1.log"),
		Config: []string{"AllowTcpForwarding remote"}, // by which its shell asks the gate
		SignHost: func(ctx context.Context, key ssh.PublicKey, names []string) (*ssh.Certificate, error) {
			return a.SignHost(ctx, key, names, 24*time.Hour)
		},
	})
	if err != nil {
		g.notes = append(g.notes, fmt.Sprintf("There is no target web1: %v", err))
		return nil
	}
	var authorities []string
	for _, key := range a.HostCA() {
		authorities = append(authorities, string(ssh.MarshalAuthorizedKey(key)))
	}
	c.Targets = append(c.Targets, config.Target{
		Name: "web1", Kind: "ssh", Description: "a throwaway OpenSSH server", Labels: map[string]string{"env": "demo"},
		SSH: &config.SSHTarget{Address: g.web1.Addr, Login: g.web1.Login, HostCA: authorities, Names: []string{"web1"}},
	})
	return nil
}

func (g *gate) openUsers(ctx context.Context) error {
	for _, u := range g.config.Users {
		w, err := openWorkstation(g.o.Dir, u)
		if err == nil {
			err = w.renew(ctx, g.idp, g.config.HTTP.URL)
		}
		if err == nil {
			err = w.writeConfig(gateName, g.daemon.SSHAddr(), g.config.Targets, g.daemon.Authority().HostCA())
		}
		if err != nil {
			return fmt.Errorf("user %q: %w", u.Name, err)
		}
		g.users = append(g.users, w)
	}
	return nil
}

// keepFresh renews every certificate when half its life is gone. What fails is tried again.
func (g *gate) keepFresh(ctx context.Context) {
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, w := range g.users {
			if time.Until(w.expires) > g.config.CA.UserValidity.D()/2 {
				continue
			}
			if err := w.renew(ctx, g.idp, g.config.HTTP.URL); err != nil && ctx.Err() == nil {
				g.log.Error("certificate not renewed", "user", w.user.Name, "error", err)
			}
		}
	}
}

func (g *gate) close() {
	if g.k8s != nil {
		g.k8s.close()
	}
	if g.db != nil {
		if err := g.db.Close(); err != nil {
			g.log.Error("db did not stop", "error", err)
		}
	}
	if g.web1 != nil {
		if err := g.web1.Close(); err != nil {
			g.log.Error("web1 did not stop", "error", err)
		}
	}
}

// freePort replaces port 0 by a free one, because the issuer's URL must be known before anything listens.
func freePort(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("--http %q: write host:port", addr)
	}
	if port != "0" {
		return addr, nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// loginName is who `ssh -J gate LOGIN@web1` goes to.
func (g *gate) loginName() string {
	if g.web1 != nil {
		return g.web1.Login
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "root"
}

func openLog(path string) (*slog.Logger, func() error, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewJSONHandler(f, nil)), f.Close, nil
}

var errInUse = errors.New("another sallyport runs in this directory; stop it, or choose another with --dir")
