package sshd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/shells"
)

// A gateCall is one command given to the gate itself: `ssh gate@gate COMMAND`.
type gateCall struct {
	*session
	ctx  context.Context
	args []string
	text string // what stands after " -- ", exactly
	json bool
	out  io.Writer
}

// errUsage makes a command fail with its own line of help.
var errUsage = errors.New("usage")

type gateCommand struct {
	name, args, help string
	run              func(*gateCall) error
}

// gateCommands are in the order that help lists them.
var gateCommands []gateCommand

func init() { // help lists the table that it stands in
	gateCommands = []gateCommand{
		{"help", "", "this list", (*gateCall).help},
		{"whoami", "", "who you are here, and until when", (*gateCall).whoami},
		{"targets", "", "what you may reach", (*gateCall).targets},
		{"kubeconfig", "TARGET [PORT]", "what kubectl needs to reach a cluster through this gate", (*gateCall).kubeconfig},
		{"delegate", "[--name NAME] [--target T,..] [--action A,..] [--for TIME] [--source ADDR,..] <KEY.pub", "hand an agent a narrower certificate", (*gateCall).delegate},
		{"sessions", "[live]", "sessions: yours, or everybody's for auditors", (*gateCall).sessions},
		{"approvals", "", "requests that wait for an answer", (*gateCall).approvals},
		{"show", "ID", "all of one request", (*gateCall).showHold},
		{"approve", "ID [--once|--session|--for TIME] [REASON...]", "let a waiting request through", func(g *gateCall) error { return g.answer(true) }},
		{"deny", "ID [REASON...]", "refuse a waiting request", func(g *gateCall) error { return g.answer(false) }},
		{"withdraw", "ID", "take back a request of yours or of your agent", (*gateCall).withdraw},
		{"wait", "ID", "wait until a request is answered; exits 0, 75 or 77", (*gateCall).wait},
		{"preapprove", "--identity KEY --target T --for TIME ... -- TEXT", "approve in advance; see policies/APPROVING.md", (*gateCall).preapprove},
		{"preapprovals", "", "what is approved in advance", (*gateCall).preapprovals},
		{"revoke", "ID", "take back an approval in advance", (*gateCall).revoke},
		{"policies", "", "which policies are in force, and what is wrong with a change", (*gateCall).policiesInForce},
		{"play", "ID [SPEED]", "play a recording in this terminal", (*gateCall).play},
		{"kill", "ID REASON...", "end a session that runs", (*gateCall).kill},
	}
}

// gateCommand runs one command and returns its exit status.
func (s *session) gateCommand() shells.Exit {
	g := &gateCall{session: s, ctx: s.ctx, out: s.ch}
	if s.asked.pty != nil {
		g.out = crlf{s.ch}
	}
	if s.asked.kind == shells.Subsystem {
		fmt.Fprintln(s.ch.Stderr(), "sallyport: the gate itself has no subsystems; name a target: sftp TARGET@gate")
		return shells.Exit{Status: 1}
	}
	words := s.asked.command
	if strings.HasPrefix(words, "preapprove ") {
		words, g.text, _ = strings.Cut(words, " -- ")
	}
	for _, word := range strings.Fields(words) {
		if word == "--json" {
			g.json = true
			continue
		}
		g.args = append(g.args, word)
	}
	g.json = g.json || s.asked.json
	return shells.Exit{Status: g.run()}
}

func (g *gateCall) run() int {
	name := "help"
	if len(g.args) > 0 {
		name, g.args = g.args[0], g.args[1:]
	}
	i := slices.IndexFunc(gateCommands, func(c gateCommand) bool { return c.name == name })
	if i < 0 {
		return g.fail(publicf("there is no command %s; try: help", show(name)), 2)
	}
	g.alarm()
	err := gateCommands[i].run(g)
	var refusal *Refusal
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return g.fail(publicf("usage: %s %s", name, gateCommands[i].args), 2)
	case errors.As(err, &refusal):
		return g.fail(publicError(refusal.Public), refusal.Code)
	}
	return g.fail(err, 1)
}

// err is where the gate's own lines go that are no answer.
func (g *gateCall) err() io.Writer {
	if g.asked.pty != nil {
		return g.out
	}
	return g.ch.Stderr()
}

// say prints one JSON object where the gate's own lines go.
func (g *gateCall) say(v any) {
	enc := json.NewEncoder(g.err())
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // a client that is gone needs to know nothing
}

func (g *gateCall) fail(err error, code int) int {
	if g.json {
		g.say(map[string]any{"error": publicText(err), "exit": code})
		return code
	}
	fmt.Fprintf(g.err(), "sallyport: %s\n", publicText(err))
	return code
}

// crlf turns newlines into what a raw terminal needs.
type crlf struct{ w io.Writer }

func (c crlf) Write(p []byte) (int, error) {
	if _, err := io.WriteString(c.w, strings.ReplaceAll(string(p), "\n", "\r\n")); err != nil {
		return 0, err
	}
	return len(p), nil
}

// admit puts one of the gate's own commands through the gate.
func (g *gateCall) admit(action, text string, target policies.Target, facts map[string]any) error {
	if facts == nil {
		facts = map[string]any{}
	}
	facts["source"] = g.c.source.String()
	return g.c.srv.o.Gate.Admit(g.ctx, Operation{
		SessionID: g.id, ConnectionID: g.c.id, Principal: g.c.principal, Target: target,
		Action: action, Text: text, Facts: facts, Unheld: true,
	}, &Auditor{Ledger: g.c.srv.o.Ledger, Gate: g.c.srv.o.Gate, Source: g.c.source.String()})
}

// self is the gate as a target of policies.
func (g *gateCall) self() policies.Target { return g.c.srv.o.Gate.Self() }

// print shows v as JSON, or calls human.
func (g *gateCall) print(v any, human func(io.Writer)) error {
	if g.json {
		enc := json.NewEncoder(g.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(g.out, 0, 8, 2, ' ', 0)
	human(w)
	return w.Flush()
}

func (g *gateCall) help() error {
	type row struct {
		Name string `json:"name"`
		Args string `json:"args,omitempty"`
		Help string `json:"help"`
	}
	var rows []row
	for _, c := range gateCommands {
		rows = append(rows, row{c.name, c.args, c.help})
	}
	return g.print(rows, func(w io.Writer) {
		fmt.Fprintf(w, "This is Sallyport, the gate %q. Reach a target with `ssh TARGET@gate` or `ssh LOGIN+TARGET@gate`.\n\n", g.c.srv.o.Name)
		for _, r := range rows {
			fmt.Fprintf(w, "  %s %s\t%s\n", r.Name, r.Args, r.Help)
		}
		fmt.Fprint(w, "\nAdd --json to any of them for programs.\n")
	})
}

type whoamiAnswer struct {
	Name       string               `json:"name"`
	Key        string               `json:"key"`
	Kind       string               `json:"kind"`
	Email      string               `json:"email,omitempty"`
	Groups     []string             `json:"groups"`
	OnBehalfOf string               `json:"on_behalf_of,omitempty"`
	Delegation *policies.Delegation `json:"delegation,omitempty"` // what narrows a certificate that was handed on
	Serial     string               `json:"certificate_serial"`
	Expires    time.Time            `json:"certificate_expires"`
	Source     string               `json:"source"`
}

func (g *gateCall) whoami() error {
	p := g.c.principal
	a := whoamiAnswer{
		Name: p.Name, Key: p.Key, Kind: p.Kind, Email: p.Email, Groups: append([]string{}, p.Groups...),
		Serial: fmt.Sprint(g.c.certificate.Serial), Expires: time.Unix(int64(g.c.certificate.ValidBefore), 0).UTC(), Source: g.c.source.String(),
	}
	if p.OnBehalfOf != nil {
		a.OnBehalfOf = p.OnBehalfOf.String()
	}
	a.Delegation = p.Delegation
	return g.print(a, func(w io.Writer) {
		fmt.Fprintf(w, "name\t%s\n", show(p.String()))
		fmt.Fprintf(w, "kind\t%s\n", p.Kind)
		fmt.Fprintf(w, "identity\t%s\n", show(a.Key))
		if a.Email != "" {
			fmt.Fprintf(w, "e-mail\t%s\n", show(a.Email))
		}
		fmt.Fprintf(w, "groups\t%s\n", show(strings.Join(a.Groups, ", ")))
		if a.Delegation != nil {
			fmt.Fprintf(w, "handed on for\t%s\n", show(a.Delegation.String()))
		}
		fmt.Fprintf(w, "certificate\t%s, until %s (%s)\n", a.Serial, a.Expires.Format(time.RFC3339), round(time.Until(a.Expires)))
		fmt.Fprintf(w, "from\t%s\n", a.Source)
	})
}

type targetAnswer struct {
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`
	Login       string            `json:"login,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Description string            `json:"description,omitempty"`
	Decision    string            `json:"decision"` // allow, or hold: opening it needs an approval
}

func (g *gateCall) targets() error {
	rows := []targetAnswer{}
	for _, t := range g.c.srv.o.Targets.All() {
		action, facts := "session:open", map[string]any{
			"kind": "shell", "login": t.Login, "pty": true, "guard": "n/a", "source": g.c.source.String(),
		}
		switch {
		case t.Kube != nil:
			facts["kind"], facts["pty"] = "forward", false
		case t.Dial != nil:
			action, facts = "forward:raw", map[string]any{"source": g.c.source.String()}
		default:
			facts["guard"] = t.Opener.Guard()
		}
		effect := g.c.srv.o.Gate.preview(Operation{Principal: g.c.principal, Target: t.Target, Action: action, Facts: facts})
		if effect == policies.EffectDeny {
			continue
		}
		rows = append(rows, targetAnswer{t.Name, t.Kind, t.Login, t.Labels, t.Description, effect.String()})
	}
	return g.print(rows, func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprintln(w, "There is no target that you may reach.")
			return
		}
		fmt.Fprintln(w, "TARGET\tKIND\tLOGIN\tLABELS\tDESCRIPTION")
		for _, r := range rows {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Kind, orDash(r.Login), orDash(labels(r.Labels)), show(r.Description))
		}
	})
}

func (g *gateCall) sessions() error {
	f := ledger.SessionFilter{Limit: 50}
	switch {
	case len(g.args) == 1 && g.args[0] == "live":
		f.State = ledger.Live
	case len(g.args) != 0:
		return errUsage
	}
	// Whoever may not list everybody's sessions sees their own.
	if err := g.admit("session:list", "", g.self(), nil); err != nil {
		f.Identity = g.c.principal.Key
	}
	rows, _, err := g.c.srv.o.Ledger.Sessions(g.ctx, f)
	if err != nil {
		return err
	}
	return g.print(SessionRows(rows), func(w io.Writer) { WriteSessions(w, rows) })
}

// requestError says which request an error is about.
func requestError(id string, err error) error {
	if errors.Is(err, policies.ErrNoHold) {
		return publicf("there is no request %s", show(id))
	}
	return fmt.Errorf("request %s: %w", show(id), err)
}

// sessionError says which session an error is about.
func sessionError(id string, err error) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return publicf("there is no session %s", show(id))
	}
	return fmt.Errorf("session %s: %w", show(id), err)
}

func (g *gateCall) kill() error {
	if len(g.args) < 2 {
		return errUsage
	}
	row, err := g.c.srv.o.Ledger.Session(g.ctx, g.args[0])
	if err != nil {
		return sessionError(g.args[0], err)
	}
	target := policies.Target{Name: row.Target, Kind: row.TargetKind}
	if t := g.c.srv.o.Targets.Lookup(row.Target); t != nil {
		target = t.Target
	}
	if err := g.admit("session:kill", row.ID, target, ownerFacts(row)); err != nil {
		return err
	}
	if err := g.c.srv.o.Ledger.RequestEnd(g.ctx, ledger.EndRequest{
		SessionID: row.ID, By: g.c.principal.String(), Reason: strings.Join(g.args[1:], " "), At: time.Now(),
	}); err != nil {
		return err
	}
	return g.print(map[string]string{"ending": row.ID}, func(w io.Writer) { fmt.Fprintf(w, "%s is being ended\n", row.ID) })
}

// ownerFacts say whose session row is.
func ownerFacts(row ledger.Session) map[string]any {
	owner := policies.Principal{Key: row.Identity.Key(), Kind: row.Identity.Kind}
	if row.OnBehalfOf != nil {
		owner.OnBehalfOf = &policies.Principal{Key: row.OnBehalfOf.Key(), Kind: row.OnBehalfOf.Kind}
	}
	facts := policies.OwnerContext(owner)
	facts["session"] = row.ID
	return facts
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return show(s)
}

func labels(m map[string]string) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// round is a duration for people: seconds below two minutes, then minutes.
func round(d time.Duration) time.Duration {
	if d < 2*time.Minute {
		return d.Round(time.Second)
	}
	return d.Round(time.Minute)
}
