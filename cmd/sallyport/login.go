package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/certs/login"
)

type loginCmd struct {
	Gate          string        `help:"Address of the gate's HTTP side, such as https://gate.example.org." required:"" env:"SALLYPORT_GATE" placeholder:"URL"`
	Issuer        string        `help:"OpenID Connect issuer to sign in with, instead of the one the gate names." placeholder:"URL"`
	ClientID      string        `help:"Client id at the issuer, instead of the one the gate names." name:"client-id" placeholder:"ID"`
	Device        bool          `help:"Sign in on another device, by a code."`
	NoBrowser     bool          `help:"Print the address to sign in at instead of opening it."`
	Write         string        `help:"File of the private key, made if it is missing; the certificate goes to FILE-cert.pub. Default: ~/.ssh/id_sallyport." type:"path" xor:"where" placeholder:"FILE"`
	Agent         bool          `help:"Put key and certificate into the ssh-agent until they expire, and write no file." xor:"where"`
	TTL           time.Duration `help:"Ask for a certificate that lives so long, such as 5m." name:"ttl" placeholder:"TIME"`
	SourceAddress []string      `help:"Ask for a certificate that works from these addresses and networks alone." placeholder:"CIDR"`
}

// Run signs in and says what the user has now. What stands on standard output is for scripts: the
// known_hosts lines.
func (c *loginCmd) Run(ctx context.Context) error {
	r, err := login.Run(ctx, login.Options{
		Gate: c.Gate, Issuer: c.Issuer, ClientID: c.ClientID, Device: c.Device, NoBrowser: c.NoBrowser, Write: c.Write,
		Agent: c.Agent, TTL: c.TTL, SourceAddress: c.SourceAddress, Out: os.Stderr,
	})
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	where := r.CertFile
	if c.Agent {
		where = "in the ssh-agent"
	}
	fmt.Fprintf(os.Stderr, "Signed in as %q until %s (%s): %s\n", r.Certificate.KeyId, r.Expires.Local().Format("15:04:05"),
		time.Until(r.Expires).Round(time.Second), where)
	if len(r.Gates) > 0 {
		fmt.Fprintf(os.Stderr, "The gate is at %s. To trust its host key, have this in ~/.ssh/known_hosts:\n", strings.Join(r.Gates, ", "))
	}
	for _, line := range r.KnownHosts {
		fmt.Println(line)
	}
	return nil
}
