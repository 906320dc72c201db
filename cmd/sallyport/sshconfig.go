package main

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/cmd/internal/sshconfig"
)

type sshConfigCmd struct {
	placeFlags
	Gate       string   `help:"Address of the gate. Default: what the configuration says." placeholder:"HOST:PORT"`
	Name       string   `help:"Name in the gate's host certificate, where it is another than the host's." placeholder:"NAME"`
	Alias      string   `help:"What to call the gate on the command line." default:"gate" placeholder:"NAME"`
	Targets    []string `help:"Names of targets. Default: those of the configuration." placeholder:"A,B"`
	Key        string   `help:"File of your private key, with its certificate in FILE-cert.pub. Default: what ssh-agent has." type:"path" placeholder:"FILE"`
	KnownHosts string   `help:"File with the gate's @cert-authority line. Default: your own known_hosts." type:"path" placeholder:"FILE"`
}

// Help is the end of the command's help.
func (*sshConfigCmd) Help() string {
	return "Prints lines for ~/.ssh/config, or for a file that it includes. " + exitHelp
}

// Run prints an ssh_config.
func (c *sshConfigCmd) Run(k *kong.Context) error {
	out, err := c.build()
	if err == nil {
		err = out.Check()
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	_, err = io.WriteString(k.Stdout, out.String())
	return err
}

func (c *sshConfigCmd) build() (*sshconfig.Config, error) {
	out := &sshconfig.Config{
		Comment: "Written by `sallyport ssh-config`: `ssh TARGET` goes through the gate, and so does `ssh USER@TARGET`.",
		Alias:   c.Alias, Name: c.Name, Key: c.Key, KnownHosts: c.KnownHosts,
	}
	for _, name := range c.Targets {
		out.Targets = append(out.Targets, sshconfig.Target{Name: name, Jump: true})
	}
	if c.Key != "" {
		out.Certificate = c.Key + "-cert.pub"
	}
	// The gate's address and targets come from the flags, else from the configuration.
	f := gateFlags{placeFlags: c.placeFlags, Gate: c.Gate}
	p, err := f.place()
	if err != nil {
		return nil, err
	}
	if p != nil {
		p.fill(out)
	}
	addr, err := f.address(p)
	if err != nil {
		return nil, err
	}
	if out.Host, out.Port, err = net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("--gate %q: write HOST:PORT", addr)
	}
	if len(out.Targets) == 0 {
		return nil, errors.New("there are no targets; name them with --targets A,B: ssh gate@GATE targets lists those that you may reach")
	}
	return out, nil
}

// fill adds what the configuration knows and nobody said.
func (p *place) fill(c *sshconfig.Config) {
	if c.Name == "" {
		c.Name = p.config.Gate.Name
	}
	if len(c.Targets) == 0 {
		for _, t := range p.config.Targets {
			c.Targets = append(c.Targets, sshconfig.Target{Name: t.Name, Jump: t.Kind != "tcp"})
		}
	}
}
