package daemon

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
	"github.com/sallyport-ssh/sallyport/replay/store"
	"github.com/sallyport-ssh/sallyport/sshd"
)

func (d *Daemon) openAuthority(ctx context.Context) error {
	a, err := certs.OpenAuthority(d.config.CA.Dir, certs.Options{Validity: d.config.CA.UserValidity.D(), OnIssue: d.issued})
	if err != nil {
		return fmt.Errorf("ca.dir: %w", err)
	}
	d.authority = a
	var issuers []certs.IssuerConfig
	for _, is := range d.config.Issuers {
		issuers = append(issuers, certs.IssuerConfig{
			URL: is.URL, Audiences: is.Audiences, Kind: is.Kind, Algorithms: is.Algorithms, MaxAge: is.MaxAge.D(),
			RequireEmail: is.RequireEmail, OtherAudiences: is.OtherAudiences, Skew: is.Skew.D(),
			Claims: certs.Claims{Name: is.Claims.Name, Email: is.Claims.Email, Groups: is.Claims.Groups, Kind: is.Claims.Kind, OnBehalfOf: is.Claims.OnBehalfOf},
		})
	}
	d.verifier, err = certs.NewVerifier(issuers, nil)
	return err
}

// issued writes every certificate into the ledger before it leaves the authority.
func (d *Daemon) issued(ctx context.Context, i certs.Issued) error {
	serial, ok := new(big.Int).SetString(i.Serial, 16)
	if !ok {
		return fmt.Errorf("serial %q is no number", i.Serial)
	}
	c := ledger.Certificate{
		Serial: serial.String(), Purpose: purpose(i.Kind), Name: i.KeyID, Principal: strings.Join(i.Principals, ","),
		Fingerprint: i.Fingerprint, ValidFrom: i.NotBefore, ValidTo: i.NotAfter, Issued: time.Now(),
	}
	if i.Kind == certs.KindUser {
		c.IdentityKey = i.Identity.Key()
	}
	return d.ledger.AddCertificate(ctx, c)
}

// purpose is what the ledger calls a certificate's kind: TLS in a tunnel proves the gate to clients, and
// sessions to targets, as SSH's do.
func purpose(kind string) ledger.Purpose {
	switch kind {
	case certs.KindServer:
		return ledger.ForHost
	case certs.KindClient:
		return ledger.ForTarget
	}
	return ledger.Purpose(kind)
}

// recorder makes the keys of recordings.
type recorder struct{ a *certs.Authority }

func (r recorder) NewSessionKey(ctx context.Context, sessionID string) (ed25519.PrivateKey, [][]byte, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	chain, err := r.a.SignRecorder(ctx, pub, sessionID)
	return key, chain, err
}

// OpenStore opens the store that c names.
func OpenStore(ctx context.Context, c *config.Recordings) (store.Store, error) {
	if c.S3 == nil {
		return store.OpenDir(c.Directory)
	}
	o := store.S3Options{
		Endpoint: c.S3.Endpoint, Bucket: c.S3.Bucket, Prefix: c.S3.Prefix, Region: c.S3.Region,
		Plaintext: c.S3.InsecurePlaintext, PathStyle: c.S3.PathStyle == nil || *c.S3.PathStyle, CAFile: c.S3.CAFile,
		AccessKeyFile: c.S3.AccessKeyFile, SecretKeyFile: c.S3.SecretKeyFile,
		CredentialsFile: c.S3.CredentialsFile, Profile: c.S3.Profile,
		SSE: c.S3.SSE, KMSKeyID: c.S3.KMSKeyID, Timeout: c.S3.Timeout.D(),
	}
	if w := c.S3.WebIdentity; w != nil {
		o.WebIdentity = &store.WebIdentity{TokenFile: w.TokenFile, RoleARN: w.RoleARN, STSEndpoint: w.STSURL}
	}
	if r := c.S3.IAMRole; r != nil {
		o.IAM = &store.IAM{Endpoint: r.MetadataURL}
	}
	return store.OpenS3(ctx, o)
}

// keep is how the store is to hold on to recordings.
func keep(c *config.Recordings) replay.Keep {
	if c.S3 == nil || c.S3.ObjectLock == nil {
		return replay.Keep{}
	}
	l := c.S3.ObjectLock
	return replay.Keep{Lock: l.Retain.D(), Governance: l.Mode == "governance", LegalHold: l.LegalHold}
}

func (d *Daemon) openArchive(ctx context.Context) error {
	st, err := OpenStore(ctx, &d.config.Recordings)
	if err != nil {
		return fmt.Errorf("recordings: %w", err)
	}
	st = store.Observe(st, d.metrics.StoreCall)
	roots := x509.NewCertPool()
	roots.AddCert(d.authority.RecordRoot())
	a, err := replay.OpenArchive(replay.Options{
		SpoolDir: d.config.Recordings.Spool, Store: st, Signer: recorder{d.authority}, Roots: roots,
		Gate: d.config.Gate.Name, Log: d.log, OnSeal: d.sealed, SpoolLimit: d.config.Recordings.MaxSpool,
		MinFree: d.config.Recordings.MinFree, Keep: keep(&d.config.Recordings),
		OnAlarm: func(a replay.Alarm) {
			d.metrics.Alarm(a)
			d.alarms.add(a)
			d.log.Error("recording alarm", "session", a.Session, "what", a.What, "error", a.Err)
		},
	})
	if err != nil {
		return fmt.Errorf("recordings: %w", err)
	}
	d.archive = a
	d.metrics.Archive(a.Stats)
	d.reels, err = reel.OpenShelf(reel.Options{Dir: filepath.Join(d.config.Recordings.Spool, replay.ReelsDir), Open: a.OpenAt, Log: d.log})
	if err != nil {
		return fmt.Errorf("recordings: %w", err)
	}
	d.library = &replay.Library{Spool: d.config.Recordings.Spool, Store: st, Roots: roots}
	if _, err := d.ledger.SweepSessions(ctx, d.config.Gate.Name); err != nil {
		return err
	}
	// What a former life of this gate left behind is sealed before anything new is recorded. What
	// cannot be is set aside and reported, and stops nobody.
	if err := a.Recover(ctx); err != nil {
		d.log.Error("recordings of a former run", "error", err)
		if !errors.Is(err, replay.ErrQuarantine) {
			return fmt.Errorf("recordings: %w", err)
		}
	}
	return nil
}

// sealed ends the session's row in the ledger and chains its seal.
func (d *Daemon) sealed(ctx context.Context, s replay.Seal) error {
	hash, err := hex.DecodeString(s.Hash)
	if err != nil {
		return fmt.Errorf("seal of %s: %w", s.Session, err)
	}
	return d.ledger.EndSession(ctx, s.Session, ledger.End{
		Ended: s.Time, State: ledger.State(s.State), ExitStatus: s.Status, ExitSignal: s.Signal, Reason: s.Reason,
		BytesOut: int64(s.Counts.Bytes), Masked: int64(s.Counts.Masked), SealHash: hash,
	})
}

// Masks compiles the configuration's masking.
func Masks(c *config.Masking) (*mask.Engine, error) {
	m := mask.Config{Detectors: c.Detectors, Literals: c.Literals, Fields: c.Fields}
	var err error
	if m.Style, err = mask.ParseStyle(c.Style); err != nil {
		return nil, err
	}
	for _, p := range c.Patterns {
		m.Patterns = append(m.Patterns, mask.Pattern{Name: p.Name, Regex: p.Regex})
	}
	if c.TokenKeyFile != "" {
		if m.TokenKey, err = os.ReadFile(c.TokenKeyFile); err != nil {
			return nil, fmt.Errorf("masking.token_key_file: %w", err)
		}
	}
	return mask.New(m)
}

// maskStyle is sshd.Options.MaskStyle.
func maskStyle(c *config.Masking) func(certs.Identity, policies.Target, bool) mask.Style {
	return func(id certs.Identity, t policies.Target, terminal bool) mask.Style {
		for _, s := range c.Styles {
			if styleFits(s, id, t, terminal) {
				style, _ := mask.ParseStyle(s.Style) // validated
				return style
			}
		}
		return 0
	}
}

func styleFits(s config.MaskStyle, id certs.Identity, t policies.Target, terminal bool) bool {
	for name, value := range s.Labels {
		if t.Labels[name] != value {
			return false
		}
	}
	return (len(s.Targets) == 0 || slices.Contains(s.Targets, t.Name)) &&
		(s.Kind == "" || s.Kind == id.Kind) &&
		(s.Terminal == nil || *s.Terminal == terminal) &&
		(len(s.Groups) == 0 || slices.ContainsFunc(s.Groups, func(g string) bool { return slices.Contains(id.Groups, g) }))
}

func (d *Daemon) openServer(context.Context) error {
	masks, err := Masks(&d.config.Masking)
	if err != nil {
		return err
	}
	checker, err := certs.NewUserChecker(d.authority.UserCA(), d.revoked.has)
	if err != nil {
		return err
	}
	hosts, err := newHostKeys(d.config, d.authority)
	if err != nil {
		return err
	}
	d.gate = sshd.NewGate(d.config.Gate.Name, d.engine, d.desk)
	d.gate.SetPolicies(d.engine.Set())
	d.metrics.Policies(d.engine.Set().Len(), false)
	if err := d.openApprovals(); err != nil {
		return err
	}
	if err := d.openWebhooks(masks); err != nil {
		return err
	}
	s := d.config.SSH
	d.server = sshd.New(sshd.Options{
		Name: d.config.Gate.Name, HostSigners: hosts.signers, Authenticate: checker.Check, Enrich: enricher(d.config),
		Revoked: d.revoked.has, Delegate: d.authority.SignDelegated, SignIn: d.signIn(), Targets: d.targets, Gate: d.gate, Desk: d.desk, Ledger: d.ledger, Archive: d.archive,
		EssentialGroups: d.config.Recordings.EssentialGroups, Masks: masks, MaskStyle: maskStyle(&d.config.Masking), MaskHold: d.config.Masking.Hold.D(), Degrade: d.config.Recordings.OnFailure == "degrade",
		TunnelRoot: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.authority.RecordRoot().Raw}),
		ConsoleURL: d.config.HTTP.URL, HandshakeTimeout: s.HandshakeTimeout.D(), MaxStartups: s.MaxStartups,
		MaxStartupsPerSource: s.MaxStartupsPerSource, MaxConnectionsPerIdentity: s.MaxConnectionsPerIdentity,
		MaxSessionsPerConnection: s.MaxSessionsPerConnection, KeepAlive: s.KeepAlive.D(), Meter: d.metrics, Log: d.log,
	})
	return nil
}

// enricher adds what the configuration knows of its users to an identity. A user is known by issuer and
// subject, or by an e-mail that one issuer verified: another issuer's word for the same address is worth
// nothing, or whoever runs it could be anybody.
func enricher(c *config.Config) func(certs.Identity) certs.Identity {
	known := map[string]config.User{}
	for _, u := range c.Users {
		issuer := cmp.Or(u.Issuer, c.Console.Issuer)
		if u.Subject != "" {
			known[issuer+"#"+u.Subject] = u
		} else if u.Email != "" {
			known[issuer+" "+strings.ToLower(u.Email)] = u
		}
	}
	var enrich func(id certs.Identity) certs.Identity
	enrich = func(id certs.Identity) certs.Identity {
		if id.OnBehalfOf != nil {
			person := enrich(*id.OnBehalfOf)
			id.OnBehalfOf = &person
		}
		u, ok := known[id.Key()]
		if !ok && id.Email != "" {
			u, ok = known[id.Issuer+" "+strings.ToLower(id.Email)]
		}
		if ok {
			id.Groups = union(id.Groups, u.Groups)
		}
		return id
	}
	return enrich
}

func union(a, b []string) []string {
	out := append([]string(nil), a...)
	seen := map[string]bool{}
	for _, s := range a {
		seen[s] = true
	}
	for _, s := range b {
		if !seen[s] {
			out = append(out, s)
		}
	}
	return out
}

// hostKeys proves the gate, and every target whose forwards end here, by certificates of the host CA
// over one key. They are renewed when half their life is gone.
type hostKeys struct {
	authority *certs.Authority
	key       ssh.Signer
	gate      string
	names     []string // of the gate
	validity  time.Duration

	mu    sync.Mutex
	known map[string]hostCert
}

type hostCert struct {
	signers []ssh.Signer
	renew   time.Time
}

func newHostKeys(c *config.Config, a *certs.Authority) (*hostKeys, error) {
	key, err := hostKey(c.CA.Dir)
	if err != nil {
		return nil, err
	}
	names := append([]string{c.Gate.Name}, c.Gate.Aliases...)
	return &hostKeys{authority: a, key: key, gate: c.Gate.Name, names: names, validity: c.CA.HostValidity.D(), known: map[string]hostCert{}}, nil
}

// signers is sshd.Options.HostSigners.
func (h *hostKeys) signers(ctx context.Context, name string) ([]ssh.Signer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.known[name]; ok && time.Now().Before(c.renew) {
		return c.signers, nil
	}
	names := []string{name}
	if name == h.gate {
		names = h.names
	}
	cert, err := h.authority.SignHost(ctx, h.key.PublicKey(), names, h.validity)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewCertSigner(cert, h.key)
	if err != nil {
		return nil, err
	}
	c := hostCert{signers: []ssh.Signer{signer, h.key}, renew: time.Now().Add(h.validity / 2)}
	h.known[name] = c
	return c.signers, nil
}

// revocations answers from memory what the ledger revoked; it looks every two seconds.
type revocations struct {
	ledger *ledger.Ledger
	log    interface{ Error(string, ...any) }

	mu           sync.RWMutex
	after        int64
	serials      map[string]bool
	fingerprints map[string]bool
	identities   map[string]time.Time // certificates issued until then
}

func newRevocations(l *ledger.Ledger, log interface{ Error(string, ...any) }) *revocations {
	return &revocations{ledger: l, log: log, serials: map[string]bool{}, fingerprints: map[string]bool{}, identities: map[string]time.Time{}}
}

func (r *revocations) run(ctx context.Context) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := r.refresh(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("revocations could not be read", "error", err)
		}
	}
}

func (r *revocations) refresh(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		list, err := r.ledger.Revocations(ctx, r.after)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, v := range list {
			r.after = v.N
			if v.Serial != "" {
				r.serials[v.Serial] = true
			}
			if v.Fingerprint != "" {
				r.fingerprints[v.Fingerprint] = true
			}
			if v.IdentityKey != "" {
				r.identities[v.IdentityKey] = v.At
			}
		}
	}
}

// has reports whether a certificate was taken back: it, its key, the one it was made from, or an identity in it. What an
// agent holds falls with the human it acts for.
func (r *revocations) has(c *ssh.Certificate) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.serials[fmt.Sprint(c.Serial)] || r.fingerprints[ssh.FingerprintSHA256(c.Key)] {
		return true
	}
	d, err := certs.DelegationOf(c)
	if err != nil || d != nil && r.serials[d.Parent] {
		return true
	}
	if len(r.identities) == 0 {
		return false
	}
	id, err := certs.IdentityOf(c)
	if err != nil {
		return true
	}
	for p := &id; p != nil; p = p.OnBehalfOf {
		if until, ok := r.identities[p.Key()]; ok && time.Unix(int64(c.ValidAfter), 0).Before(until) {
			return true
		}
	}
	return false
}

// explainListen says what to do about a port that cannot be had.
func explainListen(err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && errors.As(err, &op):
		return fmt.Errorf("%v is taken by another program; stop it, or choose another address", op.Addr)
	case errors.Is(err, syscall.EACCES) && errors.As(err, &op):
		return fmt.Errorf("%v may not be used; ports below 1024 need CAP_NET_BIND_SERVICE", op.Addr)
	}
	return err
}
