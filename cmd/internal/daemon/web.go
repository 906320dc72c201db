package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/console"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/sshd"
)

// openWeb joins what is served by HTTP: the console at /, certificates at /v1/, health, and more.
func (d *Daemon) openWeb(more map[string]http.Handler) error {
	c := d.config
	issuer := c.Issuer(c.Console.Issuer)
	if issuer == nil {
		return fmt.Errorf("console.issuer: %q is none of the issuers", c.Console.Issuer)
	}
	var err error
	if d.console, err = d.newConsole(issuer); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	certificates, err := certs.NewHandler(certs.HandlerOptions{
		Verifier: d.verifier, Authority: d.authority, Log: d.log,
		Login:        certs.LoginInfo{Issuer: issuer.URL, ClientID: issuer.ClientID, Scopes: issuer.Scopes},
		GateNames:    d.gateAddresses(),
		HostPatterns: d.hostPatterns(),
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", d.console)
	mux.Handle("/v1/", certificates)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", d.ready)
	if err := d.openMetrics(mux); err != nil {
		return err
	}
	for prefix, h := range more {
		mux.Handle(prefix, h)
	}
	d.web = &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
	}
	d.web.RegisterOnShutdown(func() { d.console.Close() }) // or its streams would keep the server waiting
	return nil
}

// ready says whether sessions could be opened now.
func (d *Daemon) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	if err := d.ledger.Ping(ctx); err != nil {
		d.log.Error("not ready", "error", err)
		http.Error(w, "the ledger does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (d *Daemon) gateAddresses() []string {
	names := append([]string{d.config.Gate.Name}, d.config.Gate.Aliases...)
	port := d.sshListener.Addr().String()
	port = port[strings.LastIndexByte(port, ':')+1:]
	for i := range names {
		names[i] += ":" + port
	}
	return names
}

// hostPatterns are all the names under which a host certificate of ours may be met: the gate's, and
// those of targets that are reached through it by ProxyJump.
func (d *Daemon) hostPatterns() []string {
	patterns := append([]string{d.config.Gate.Name}, d.config.Gate.Aliases...)
	for _, t := range d.targets.All() {
		if t.Opener != nil {
			patterns = append(patterns, t.Name)
		}
	}
	return patterns
}

func (d *Daemon) newConsole(issuer *config.Issuer) (*console.Console, error) {
	secret := ""
	if file := d.config.Console.ClientSecretFile; file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		secret = strings.TrimSpace(string(b))
	}
	return console.New(console.Options{
		BaseURL: d.config.HTTP.URL, GateName: d.config.Gate.Name,
		SignIn: console.SignIn{
			Issuer: issuer.URL, ClientID: d.config.Console.ClientID, ClientSecret: secret, Scopes: issuer.Scopes,
			Verifier: enriched{d.verifier, enricher(d.config)},
		},
		Gate: webGate{d}, Audit: d.ledger, Ledger: d.ledger, Recordings: d.archive, Reels: d.reels, Approvals: d.desk, Ender: ender{d.ledger}, Rules: rules{d}, Alarms: d.alarms.latest, Log: d.log,
	})
}

// enriched gives the console the same identities that certificates become at the SSH side.
type enriched struct {
	*certs.Verifier
	enrich func(certs.Identity) certs.Identity
}

func (e enriched) Verify(ctx context.Context, raw string) (certs.Identity, *certs.Token, error) {
	id, token, err := e.Verifier.Verify(ctx, raw)
	if err != nil {
		return id, token, err
	}
	return e.enrich(id), token, nil
}

// webGate puts what viewers do through the one gate.
type webGate struct{ d *Daemon }

func (g webGate) Admit(ctx context.Context, v console.Viewer, action string, on console.Object) error {
	target := on.Target
	if target.Name == "" {
		target = g.d.gate.Self()
	} else if t := g.d.targets.Lookup(target.Name); t != nil {
		target = t.Target // with its labels of now
	}
	err := g.d.gate.Admit(ctx, sshd.Operation{
		Principal: v.Principal, Target: target, Action: action, Text: on.Session, Facts: objectFacts(v, on), Unheld: true,
		SessionID: on.Session,
	}, unwitnessed{})
	var refusal *sshd.Refusal
	if errors.As(err, &refusal) {
		out := &console.Refusal{Action: action, Object: on, Why: refusal.Public}
		if refusal.Policy.ID != "" {
			out.Policies = []policies.Ref{refusal.Policy}
		}
		return out
	}
	return err
}

// unwitnessed is the witness of what the console asks: the console itself audits what its viewers do.
type unwitnessed struct{}

func (unwitnessed) Decided(sshd.Operation, policies.Decision) error     { return nil }
func (unwitnessed) Held(sshd.Operation, policies.Hold)                  {}
func (unwitnessed) Answered(sshd.Operation, policies.Hold, error) error { return nil }

func objectFacts(v console.Viewer, on console.Object) map[string]any {
	facts := map[string]any{}
	for key, value := range map[string]string{
		"source": v.Addr, "owner": on.Owner, "ownerFor": on.OwnerFor, "held": on.Held, "policy": on.Policy,
	} {
		if value != "" {
			facts[key] = value
		}
	}
	return facts
}

// ender asks the gate that a session runs on to end it.
type ender struct{ l *ledger.Ledger }

func (e ender) End(ctx context.Context, by console.Viewer, sessionID, reason string) error {
	return e.l.RequestEnd(ctx, ledger.EndRequest{SessionID: sessionID, By: by.Principal.String(), Reason: reason, At: time.Now()})
}
