// Package login is the client's side of getting a certificate: sign in with the gate's issuer in the
// browser or on another device, hand the token to the gate with a proof of possession, and put key
// and certificate where ssh finds them.
package login

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/pkg/browser"
	"github.com/sallyport-ssh/sallyport/certs"
	"golang.org/x/crypto/ssh"
)

// signInTime is how long a person has to sign in.
const signInTime = 10 * time.Minute

// Options of [Run].
type Options struct {
	// Gate is the URL of the gate's HTTP side: https, or http on a loopback address.
	Gate string
	// Issuer and ClientID replace what the gate says; "" asks the gate.
	Issuer, ClientID string
	// Device shows a code to be typed on another device, instead of taking the answer on a port of
	// this one.
	Device bool
	// NoBrowser prints the address instead of opening it.
	NoBrowser bool
	// Write is the file of the private key, made if it is missing; the certificate goes beside it, as
	// Write-cert.pub. "" with Agent unset is ~/.ssh/id_sallyport.
	Write string
	// Agent puts a new key and its certificate into the ssh-agent instead, until the certificate
	// expires, and leaves no file behind.
	Agent bool
	// AgentSocket of the ssh-agent; "" is $SSH_AUTH_SOCK.
	AgentSocket string
	// TTL and SourceAddress ask for less than the gate would give.
	TTL           time.Duration
	SourceAddress []string

	Out  io.Writer    // what the user is told; nil: nobody is
	HTTP *http.Client // nil: a default one
	// OpenBrowser replaces the desktop's browser in tests.
	OpenBrowser func(url string) error
}

// A Result is what [Run] got.
type Result struct {
	Answer
	KeyFile, CertFile string // "" with Options.Agent
}

// Run signs in and gets a certificate. The errors are for people, and hold no secret.
func Run(ctx context.Context, o Options) (Result, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Result{}, err
	}
	key, err := o.key()
	if err != nil {
		return Result{}, err
	}
	token, err := o.signIn(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("sign in: %w", err)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return Result{}, err
	}
	a, err := Exchange(ctx, o.HTTP, o.Gate, token, signer, Limits{TTL: o.TTL, SourceAddress: o.SourceAddress})
	if err != nil {
		return Result{}, err
	}
	r := Result{Answer: a}
	if o.Agent {
		return r, o.addToAgent(ctx, key, a)
	}
	r.KeyFile, r.CertFile = o.Write, CertificateFile(o.Write)
	return r, WriteCertificate(o.Write, a.Certificate)
}

func (o Options) withDefaults() (Options, error) {
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{Timeout: 30 * time.Second}
	}
	if o.Agent && o.Write != "" {
		return o, errors.New("use --agent or --write, not both")
	}
	if o.AgentSocket == "" {
		o.AgentSocket = os.Getenv("SSH_AUTH_SOCK")
	}
	if o.Agent && o.AgentSocket == "" {
		return o, errors.New("no ssh-agent is running (SSH_AUTH_SOCK is not set); start one, or use --write FILE")
	}
	if !o.Agent && o.Write == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return o, fmt.Errorf("%w; use --write FILE", err)
		}
		o.Write = filepath.Join(home, ".ssh", "id_sallyport")
	}
	return o, checkGate(o.Gate)
}

func (o Options) key() (ed25519.PrivateKey, error) {
	if !o.Agent {
		return OpenKey(o.Write)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// signIn gets an ID token from the issuer.
func (o Options) signIn(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, signInTime, fmt.Errorf("nobody signed in within %v", signInTime))
	defer cancel()
	info := certs.LoginInfo{Issuer: o.Issuer, ClientID: o.ClientID}
	if info.Issuer == "" || info.ClientID == "" {
		got, err := Info(ctx, o.HTTP, o.Gate)
		if err != nil {
			return "", err
		}
		if o.Issuer != "" && o.Issuer != got.Issuer {
			return "", errors.New("the gate names another issuer; give --client-id as well")
		}
		info = got
		if o.ClientID != "" {
			info.ClientID = o.ClientID
		}
	}
	s, err := discover(ctx, o.HTTP, info)
	if err != nil {
		return "", err
	}
	s.show = o.show
	if o.Device {
		return s.device(ctx)
	}
	return s.browser(ctx)
}

// show sends the user to the issuer.
func (o Options) show(address, code string) {
	fmt.Fprintf(o.Out, "Sign in at:\n\n  %s\n\n", printable(address))
	if code != "" {
		fmt.Fprintf(o.Out, "and check that it shows the code %s\n", printable(code))
	}
	if o.NoBrowser {
		return
	}
	open := o.OpenBrowser
	if open == nil {
		browser.Stdout, browser.Stderr = io.Discard, io.Discard
		open = browser.OpenURL
	}
	if err := open(address); err != nil {
		fmt.Fprintln(o.Out, "No browser could be opened here: open the address yourself.")
	}
}
