package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs/login"
)

type delegateCmd struct {
	gateFlags
	Write  string        `help:"File of the agent's private key, made if it is missing; the certificate goes beside it, as FILE-cert.pub." required:"" type:"path" placeholder:"FILE"`
	Name   string        `help:"What to call the agent. It tells your agents apart, in policies, holds and recordings." default:"agent" placeholder:"NAME"`
	Target []string      `help:"Targets that it may reach. Default: all that you may." placeholder:"A,B"`
	Action []string      `help:"What it may ask for: actions of the policies, or groups such as sql:read. Default: every operation that you may ask for." placeholder:"A,B"`
	For    time.Duration `help:"How long. Default: 15m, or until your own certificate ends; never longer than that." placeholder:"TIME"`
	Source []string      `help:"Addresses or networks that it may come from." placeholder:"ADDR,.."`
}

// Help is the end of the command's help.
func (*delegateCmd) Help() string {
	return "The agent acts for you: it is decided on as an agent and as you, and the stricter counts. When your certificate is taken " +
		"back, so is the agent's. The same with ssh alone: ssh gate delegate --target T < agent.pub > agent-cert.pub. " + exitHelp
}

// Run makes the agent's key, and has the gate certify it.
func (c *delegateCmd) Run(ctx context.Context, k *kong.Context) error {
	key, err := login.OpenKey(c.Write)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return err
	}
	command, err := c.command()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	a, err := c.ask(ctx, command, bytes.NewReader(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	if werr := pass(k.Stderr, a.stderr.b, false); werr != nil {
		return werr
	}
	if err != nil {
		return err
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(a.stdout.b)
	cert, ok := pub.(*ssh.Certificate)
	if err != nil || !ok || !bytes.Equal(cert.Key.Marshal(), signer.PublicKey().Marshal()) {
		return errors.New("the gate's answer is no certificate for this key")
	}
	if err := login.WriteCertificate(c.Write, cert); err != nil {
		return err
	}
	_, err = fmt.Fprintf(k.Stdout, "%s\n", login.CertificateFile(c.Write))
	return err
}

// command is what the gate is asked. It has no quotes, so no word may need one.
func (c *delegateCmd) command() (string, error) {
	words := []string{"delegate", "--name", c.Name}
	for flag, list := range map[string][]string{"--target": c.Target, "--action": c.Action, "--source": c.Source} {
		if len(list) > 0 {
			words = append(words, flag, strings.Join(list, ","))
		}
	}
	if c.For != 0 {
		words = append(words, "--for", c.For.String())
	}
	for _, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\r\n") {
			return "", fmt.Errorf("%q: names have no blanks, and are not empty", w)
		}
	}
	return strings.Join(words, " "), nil
}
