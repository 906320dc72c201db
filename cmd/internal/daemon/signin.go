package daemon

import (
	"context"
	"errors"
	"net/http"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/certs/login"
	"github.com/sallyport-ssh/sallyport/sshd"
)

// signIn lets people sign in with nothing but ssh: by the issuer of the console, in its device flow, with the client of
// `sallyport login`.
func (d *Daemon) signIn() *sshd.SignIn {
	issuer := d.config.Issuer(d.config.Console.Issuer)
	if issuer == nil {
		return nil
	}
	client := &http.Client{Timeout: 30 * time.Second}
	info := certs.LoginInfo{Issuer: issuer.URL, ClientID: issuer.ClientID, Scopes: issuer.Scopes}
	return &sshd.SignIn{
		Identify: func(ctx context.Context, show func(address, code string)) (certs.Identity, error) {
			token, err := login.DeviceToken(ctx, client, info, show)
			if err != nil {
				return certs.Identity{}, forPeople{err}
			}
			id, _, err := d.verifier.Verify(ctx, token)
			var refused *certs.TokenError
			if errors.As(err, &refused) {
				err = forPeople{errors.New(refused.Message)}
			}
			return id, err
		},
		Certify: func(ctx context.Context, id certs.Identity, key ssh.PublicKey) (*ssh.Certificate, error) {
			return d.authority.SignUser(ctx, id, key, certs.UserOptions{})
		},
		KnownHosts: func() []string { return certs.KnownHosts(d.hostPatterns(), d.authority.HostCA()) },
	}
}

// forPeople is an error that was written for whoever signs in.
type forPeople struct{ error }

// PublicText is what they read.
func (e forPeople) PublicText() string { return e.Error() }
func (e forPeople) Unwrap() error      { return e.error }
