package sshd

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/policies"
)

// maxPublicKey bounds what a client may send as a public key: the longest RSA key taken is under 2 KiB.
const maxPublicKey = 16 << 10

// A delegateAnswer is what a program is told of a certificate that was handed on.
type delegateAnswer struct {
	Certificate string              `json:"certificate"`
	Name        string              `json:"name"`
	Identity    string              `json:"identity"`
	OnBehalfOf  string              `json:"on_behalf_of"`
	Delegation  policies.Delegation `json:"delegation"`
	Serial      string              `json:"certificate_serial"`
	Expires     time.Time           `json:"certificate_expires"`
}

// delegate certifies the public key on standard input for an agent that acts for whoever asks.
func (g *gateCall) delegate() error {
	o, err := g.delegateOptions()
	if err != nil {
		return err
	}
	if g.c.srv.o.Delegate == nil {
		return publicError("this gate hands no certificates on")
	}
	if g.c.principal.Kind != policies.Human {
		return publicError("only people hand on what they may do")
	}
	key, err := g.publicKey()
	if err != nil {
		return err
	}
	// Asked before anything is signed, with what was asked for.
	err = g.admit("certificate:delegate", ssh.FingerprintSHA256(key), g.self(), map[string]any{
		"agent": o.Name, "targets": o.Scope.Targets, "actions": o.Scope.Actions, "seconds": int(o.Validity / time.Second),
	})
	if err != nil {
		return err
	}
	cert, err := g.c.srv.o.Delegate(g.ctx, g.c.proven, key, o)
	if err != nil {
		return err
	}
	agent, err := certs.IdentityOf(cert)
	if err != nil {
		return err
	}
	a := delegateAnswer{
		Certificate: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(cert))), Name: agent.Name, Identity: agent.Key(),
		OnBehalfOf: g.c.principal.String(), Delegation: policies.Delegation{Targets: o.Scope.Targets, Actions: o.Scope.Actions},
		Serial: fmt.Sprint(cert.Serial), Expires: time.Unix(int64(cert.ValidBefore), 0).UTC(),
	}
	if !g.json {
		fmt.Fprintf(g.err(), "sallyport: %s may act for you until %s, on %s\n", show(agent.Name), a.Expires.Format(time.RFC3339), show(a.Delegation.String()))
	}
	return g.print(a, func(w io.Writer) { fmt.Fprintln(w, a.Certificate) })
}

func (g *gateCall) delegateOptions() (o certs.DelegateOptions, err error) {
	o = certs.DelegateOptions{Name: "agent", Scope: certs.Delegation{}}
	for args := g.args; len(args) > 0; args = args[2:] {
		if len(args) < 2 {
			return o, errUsage
		}
		flag, value := args[0], args[1]
		switch flag {
		case "--name":
			o.Name = value
		case "--target":
			o.Scope.Targets = append(o.Scope.Targets, strings.Split(value, ",")...)
		case "--action":
			o.Scope.Actions = append(o.Scope.Actions, strings.Split(value, ",")...)
		case "--source":
			o.SourceAddress = append(o.SourceAddress, strings.Split(value, ",")...)
		case "--for":
			if o.Validity, err = time.ParseDuration(value); err != nil || o.Validity <= 0 {
				return o, publicf("--for %s: write a duration such as 10m", show(value))
			}
		default:
			return o, errUsage
		}
	}
	return o, g.checkScope(o.Scope)
}

// checkScope refuses words that mean nothing: a certificate for a target that is misspelt would be found out by the agent,
// long after whoever could mend it has gone.
func (g *gateCall) checkScope(d certs.Delegation) error {
	known := g.c.srv.o.Targets
	for _, name := range d.Targets {
		if known.Lookup(name) == nil {
			return publicf("there is no target %s; `targets` lists those you may reach", show(name))
		}
	}
	if i := slices.IndexFunc(d.Actions, func(a string) bool { return policies.KnownDelegation(a) != nil }); i >= 0 {
		return publicf("%s", policies.KnownDelegation(d.Actions[i]))
	}
	return nil
}

// publicKey reads one from the client's standard input, as it stands in a .pub file.
func (g *gateCall) publicKey() (ssh.PublicKey, error) {
	how := publicError("give the agent's public key on standard input: ssh gate delegate --target T < agent.pub > agent-cert.pub")
	if g.asked.pty != nil {
		return nil, how
	}
	text, err := io.ReadAll(io.LimitReader(g.ch, maxPublicKey+1))
	if err != nil {
		return nil, fmt.Errorf("read the public key: %w", err)
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey(text)
	if err != nil || len(text) > maxPublicKey || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, how
	}
	return key, nil
}
