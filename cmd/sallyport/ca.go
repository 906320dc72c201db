package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

type caCmd struct {
	Show   caShowCmd   `cmd:"" help:"Show the authority's public keys: what clients, targets and auditors trust."`
	Revoke caRevokeCmd `cmd:"" help:"Take certificates back; their connections end within seconds, at every gate."`
}

// caFile is a file of the authority's directory. These commands read public ones alone.
func (p *place) caFile(name string) string { return filepath.Join(p.config.CA.Dir, name) }

type caShowCmd struct {
	placeFlags
	JSON bool `help:"Print one JSON object." name:"json"`
}

// A caKey is one of the authority's public keys.
type caKey struct {
	Purpose     string `json:"purpose"` // user, target, host
	Use         string `json:"use"`
	File        string `json:"file"`
	Key         string `json:"key"` // as in an authorized_keys file
	Fingerprint string `json:"fingerprint"`
}

type caShown struct {
	Keys       []caKey `json:"keys"`
	KnownHosts string  `json:"known_hosts"` // the line for clients
	Root       caRoot  `json:"record_root"`
}

// caRoot is what recordings are verified against.
type caRoot struct {
	File   string    `json:"file"` // PEM
	SHA256 string    `json:"sha256"`
	Until  time.Time `json:"until"`
}

// Run shows the public keys.
func (c *caShowCmd) Run(k *kong.Context) error {
	p, err := c.open()
	if err != nil {
		return err
	}
	shown, err := p.authority()
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("ca.dir: %w; has a gate run with this configuration?", err)}
	}
	if c.JSON {
		return printJSON(k.Stdout, shown)
	}
	return columns(k.Stdout, shown.write)
}

func (p *place) authority() (*caShown, error) {
	out := &caShown{}
	for _, v := range [][2]string{
		{"user", "signs the certificates with which people and agents come to the gate"},
		{"target", "for TrustedUserCAKeys of the sshd on each target; signs what the gate comes with"},
		{"host", "for @cert-authority in every client's known_hosts; signs what the gate proves itself with"},
	} {
		file := p.caFile(v[0] + "_ca.pub")
		key, err := readPublicKey(file)
		if err != nil {
			return nil, err
		}
		line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
		out.Keys = append(out.Keys, caKey{Purpose: v[0], Use: v[1], File: file, Key: line, Fingerprint: ssh.FingerprintSHA256(key)})
		if v[0] == "host" {
			names := append([]string{p.config.Gate.Name}, p.config.Gate.Aliases...)
			out.KnownHosts = "@cert-authority " + strings.Join(names, ",") + " " + line
		}
	}
	file := p.recordRoot()
	cert, err := readRoot(file)
	if err != nil {
		return nil, err
	}
	out.Root = caRoot{File: file, SHA256: fmt.Sprintf("%x", sha256.Sum256(cert.Raw)), Until: cert.NotAfter.UTC()}
	return out, nil
}

func (s *caShown) write(w io.Writer) {
	for _, k := range s.Keys {
		fmt.Fprintf(w, "%s CA\t%s\n\t%s\n\t%s\n\t%s\n\n", k.Purpose, k.Use, k.Fingerprint, k.File, k.Key)
	}
	fmt.Fprintf(w, "record root\tfor sallyport verify --offline: what every recording is signed under\n\tSHA-256 %s, until %s\n\t%s\n\n",
		s.Root.SHA256, s.Root.Until.Format("2006-01-02"), s.Root.File)
	fmt.Fprintf(w, "known_hosts\t%s\n", s.KnownHosts)
}

type caRevokeCmd struct {
	placeFlags
	Serial      string `help:"The certificate with this serial number, in decimal as ssh-keygen -L shows it." xor:"what" placeholder:"S"`
	Fingerprint string `help:"Every certificate of the key with this fingerprint, SHA256:..." xor:"what" placeholder:"F"`
	Identity    string `help:"Every certificate issued until now to this identity: ISSUER#SUBJECT." xor:"what" placeholder:"KEY"`
	Reason      string `help:"Why, for the audit." required:"" placeholder:"TEXT"`
	JSON        bool   `help:"Print one JSON object." name:"json"`
}

var (
	serialForm      = regexp.MustCompile(`^(0|[1-9][0-9]{0,19})$`)
	fingerprintForm = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)
	identityForm    = regexp.MustCompile(`^[^#\s]+#\S.*$`)
)

func (c *caRevokeCmd) check() error {
	switch {
	case c.Serial+c.Fingerprint+c.Identity == "":
		return errors.New("revoke what? name --serial, --fingerprint or --identity")
	case c.Serial != "" && !serialForm.MatchString(c.Serial):
		return fmt.Errorf("--serial %q is no decimal number; ssh-keygen -L -f FILE-cert.pub shows it", c.Serial)
	case c.Fingerprint != "" && !fingerprintForm.MatchString(c.Fingerprint):
		return fmt.Errorf("--fingerprint %q is none; write SHA256 and 43 characters, as ssh-keygen -l shows it", c.Fingerprint)
	case c.Identity != "" && !identityForm.MatchString(c.Identity):
		return fmt.Errorf("--identity %q is no key; write ISSUER#SUBJECT, as sallyport sessions show names it", c.Identity)
	case strings.TrimSpace(c.Reason) == "":
		return errors.New("--reason is empty; say why, for the audit")
	}
	return nil
}

// Run revokes. It does so also when no certificate is known to match, and says that.
func (c *caRevokeCmd) Run(ctx context.Context, k *kong.Context) error {
	if err := c.check(); err != nil {
		return &exitError{exitUsage, err}
	}
	return c.withLedger(ctx, func(p *place, l *ledger.Ledger) error {
		valid, err := c.matching(ctx, l)
		if err != nil {
			return err
		}
		if err := p.audit(ctx, l, ledger.Event{Kind: "certificate:revoke", Detail: map[string]any{
			"serial": c.Serial, "fingerprint": c.Fingerprint, "identity": c.Identity, "reason": c.Reason,
		}}); err != nil {
			return err
		}
		if err := l.Revoke(ctx, ledger.Revocation{
			Serial: c.Serial, Fingerprint: c.Fingerprint, IdentityKey: c.Identity, Reason: c.Reason, By: whoRuns().key, At: time.Now(),
		}); err != nil {
			return err
		}
		return c.print(k, valid)
	})
}

// matching lists the certificates, valid now, that the revocation hits; of very many, some.
func (c *caRevokeCmd) matching(ctx context.Context, l *ledger.Ledger) ([]ledger.Certificate, error) {
	f := ledger.CertificateFilter{
		Serial: c.Serial, Fingerprint: c.Fingerprint, Identity: c.Identity, ValidAt: time.Now(), Limit: ledger.MaxLimit, Purpose: ledger.ForUser,
	}
	valid, _, err := l.Certificates(ctx, f)
	return valid, err
}

func (c *caRevokeCmd) print(k *kong.Context, valid []ledger.Certificate) error {
	type hit struct {
		Serial   string    `json:"serial"`
		Name     string    `json:"name"`
		Identity string    `json:"identity"`
		Until    time.Time `json:"until"`
	}
	hits := []hit{}
	for _, v := range valid {
		hits = append(hits, hit{v.Serial, v.Name, v.IdentityKey, v.ValidTo})
	}
	if c.JSON {
		return printJSON(k.Stdout, map[string]any{"revoked": hits})
	}
	if len(hits) == 0 {
		fmt.Fprintln(k.Stderr, "sallyport: the revocation is in force, but no user certificate that is valid now matches it; compare what you named")
	}
	for _, h := range hits {
		fmt.Fprintf(k.Stdout, "revoked %s of %s, which was valid until %s\n", h.Serial, shown(h.Name), localTime(h.Until))
	}
	if c.Identity != "" {
		fmt.Fprintln(k.Stdout, "A new sign-in gets a new certificate: to keep this identity out, close it at its issuer, or forbid it by a policy.")
	}
	return nil
}
