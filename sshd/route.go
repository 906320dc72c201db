package sshd

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/kube"
	"github.com/sallyport-ssh/sallyport/shells/postgres"
)

// GateName is the user name that means the gate itself.
const GateName = "gate"

// A Target is a named thing behind the gate, ready to be used. It is never changed.
type Target struct {
	policies.Target
	Description string
	// Opener starts sessions; nil for kind tcp.
	Opener shells.Opener
	// Dial opens the raw connection of kind tcp; nil for the others.
	Dial func(context.Context) (net.Conn, error)
	// Postgres speaks to the server of kind postgres; nil for the others.
	Postgres *postgres.Target
	// Kube is the API server of kind kubernetes; nil for the others.
	Kube *kube.Target
	// Address is the declared host:port of kinds ssh, tcp and kubernetes.
	Address string
	// Login is the default user on the target, Logins all that may be asked for (empty: any).
	Login  string
	Logins []string
}

// A Directory is all targets by name. Its zero value has none.
type Directory struct {
	current atomic.Pointer[map[string]*Target]
}

// Set replaces all targets at once; sessions that run keep theirs.
func (d *Directory) Set(targets []*Target) {
	m := make(map[string]*Target, len(targets))
	for _, t := range targets {
		m[t.Name] = t
	}
	d.current.Store(&m)
}

// All returns the targets in order of their names.
func (d *Directory) All() []*Target {
	var out []*Target
	if m := d.current.Load(); m != nil {
		for _, t := range *m {
			out = append(out, t)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Lookup returns the target called name, or nil.
func (d *Directory) Lookup(name string) *Target {
	if m := d.current.Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

// A route is where a session goes. A nil target is the gate itself.
type route struct {
	target *Target
	login  string
}

// maxUser bounds LOGIN+TARGET, in bytes; names of hosts have at most 255.
const maxUser = 512

// routeUser reads the user name of an SSH connection: TARGET, LOGIN+TARGET or gate.
func (d *Directory) routeUser(user string) (route, error) {
	if user == GateName {
		return route{}, nil
	}
	if len(user) > maxUser {
		return route{}, publicf("a user name of %d bytes names no target", len(user))
	}
	login, name := "", user
	if i := strings.LastIndexByte(user, '+'); i >= 0 {
		login, name = user[:i], user[i+1:]
		if login == "" {
			return route{}, publicf("%q names no login before the +", user)
		}
	}
	t := d.Lookup(name)
	if t == nil {
		return route{}, publicf("there is no target %q; `ssh gate@<this gate> targets` lists those you may reach", name)
	}
	return t.route(login)
}

// route goes to t as login; an empty one is the target's default.
func (t *Target) route(login string) (route, error) {
	if t.Kind == "shell" || login == "" {
		login = t.Login
	}
	if len(t.Logins) > 0 && !slices.Contains(t.Logins, login) {
		return route{}, publicf("target %q has no login %q; it has %s", t.Name, login, strings.Join(t.Logins, ", "))
	}
	if t.Kind == "ssh" && !validLogin(login) {
		return route{}, publicf("%q cannot be a login on target %q; use LOGIN+%s", login, t.Name, t.Name)
	}
	return route{target: t, login: login}, nil
}

// validLogin admits what can be the one principal of a certificate: no comma, no space, no control
// character, not empty, at most the 32 bytes of a Linux user name and some more for domains.
func validLogin(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`,"'\/`, c) >= 0 {
			return false
		}
	}
	return true
}

// usualPort is where clients expect a target of this kind; "" for raw ones.
func (t *Target) usualPort() string {
	switch {
	case t.Dial != nil:
		return ""
	case t.Postgres != nil:
		return "5432"
	case t.Kube != nil:
		return "443"
	}
	return "22"
}

// tunnelOnly says how t is reached, to whoever asks it for a shell.
func (t *Target) tunnelOnly() error {
	port := t.usualPort()
	if port == "" {
		_, port, _ = net.SplitHostPort(t.Address)
	}
	return &Refusal{Code: ExitDenied, Public: fmt.Sprintf("target %q runs no commands; it is reached by a forward: ssh -L PORT:%s:%s gate", t.Name, t.Name, port)}
}

// routeForward finds the target of a direct-tcpip request: by its name (with the usual port of its kind or
// the declared one) or by its declared address, letter for letter. Nothing is resolved, so no other spelling of an
// address, such as a mapped loopback or a decimal number, can mean a target.
func (d *Directory) routeForward(host string, port uint32) (*Target, error) {
	if t := d.Lookup(strings.ToLower(host)); t != nil {
		_, declared, _ := net.SplitHostPort(t.Address)
		if p := fmt.Sprint(port); p == declared && declared != "" || p == t.usualPort() {
			return t, nil
		}
		return nil, publicf("target %q is not at port %d", t.Name, port)
	}
	address := net.JoinHostPort(strings.ToLower(host), fmt.Sprint(port))
	for _, t := range d.All() {
		if t.Address != "" && strings.ToLower(t.Address) == address {
			return t, nil
		}
	}
	return nil, publicf("%q port %d is no target; forwards go to targets by name", host, port)
}
