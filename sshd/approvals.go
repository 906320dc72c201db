package sshd

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// may decides without writing anything down, for listings: what one may not see is merely not there.
func (g *gateCall) may(action string, target policies.Target, facts map[string]any) bool {
	if facts == nil {
		facts = map[string]any{}
	}
	facts["source"] = g.c.source.String()
	return g.c.srv.o.Gate.preview(Operation{Principal: g.c.principal, Target: target, Action: action, Facts: facts}) == policies.EffectAllow
}

// sees reports whether the caller may see h: theirs, their agents', or as an approver or auditor.
func (g *gateCall) sees(h policies.Hold) bool {
	facts := policies.OwnerContext(h.Principal)
	facts["held"], facts["policy"] = h.Action, h.Policy.ID
	return g.may("approval:list", g.self(), facts)
}

// hold finds a hold that the caller may see. To all others there is none.
func (g *gateCall) hold(id string) (policies.Hold, error) {
	h, err := g.c.srv.o.Desk.Get(g.ctx, id)
	if err == nil && !g.sees(h) {
		err = policies.ErrNoHold
	}
	if err != nil {
		return h, requestError(id, err)
	}
	return h, nil
}

func (g *gateCall) approvals() error {
	if len(g.args) != 0 {
		return errUsage
	}
	holds, err := g.c.srv.o.Desk.Pending(g.ctx)
	if err != nil {
		return err
	}
	holds = slices.DeleteFunc(holds, func(h policies.Hold) bool { return !g.sees(h) })
	return g.print(HoldRows(holds), func(w io.Writer) { WriteHolds(w, holds) })
}

func (g *gateCall) showHold() error {
	if len(g.args) != 1 {
		return errUsage
	}
	h, err := g.hold(g.args[0])
	if err != nil {
		return err
	}
	return g.print(HoldDetails(h), func(w io.Writer) { WriteHold(w, h) })
}

// answer gives this caller's yes or no. Whether they may is decided at this moment, for this hold.
func (g *gateCall) answer(approve bool) error {
	if len(g.args) == 0 {
		return errUsage
	}
	a := policies.Answer{Approver: g.c.principal, Approve: approve, Via: "ssh"}
	words, err := g.scope(g.args[1:], &a)
	if err != nil {
		return err
	}
	a.Reason = strings.Join(words, " ")
	h, err := g.c.srv.o.Desk.Answer(g.ctx, g.args[0], a, func(h policies.Hold) error {
		return g.admit("approval:give", h.ID, h.Target, policies.ApprovalContext(h))
	})
	if err != nil {
		return requestError(g.args[0], err)
	}
	return g.print(HoldRows([]policies.Hold{h})[0], func(w io.Writer) {
		verb := map[bool]string{true: "approved", false: "denied"}[approve]
		fmt.Fprintf(w, "%s %s: %s\n", verb, h.ID, show(h.Text))
		switch {
		case h.State == policies.StatePending:
			fmt.Fprintf(w, "It needs further approvals before it runs: so far %s.\n", show(h.ProgressText()))
		case approve:
			fmt.Fprintln(w, coverText(h))
		}
	})
}

// scope takes what an approver chose from the front of words: --once, --session, or --for TIME.
func (g *gateCall) scope(words []string, a *policies.Answer) (rest []string, err error) {
	if len(words) == 0 || !a.Approve {
		return words, nil
	}
	choice, rest := "", words[1:]
	switch words[0] {
	case "--once", "--session":
		choice = words[0][2:]
	case "--for":
		if len(rest) == 0 {
			return nil, errUsage
		}
		choice, rest = rest[0], rest[1:]
	default:
		return words, nil
	}
	a.Scope, a.For, err = policies.ParseScope(choice)
	return rest, err
}

// coverText says what the approval of h covers.
func coverText(h policies.Hold) string {
	until := ""
	if ends := h.GrantEnds(); !ends.IsZero() {
		until = " until " + ends.UTC().Format("2006-01-02 15:04:05") + " UTC"
	}
	switch h.Covers() {
	case policies.ScopeSession:
		return "It covers the identical operation in this session" + until + "."
	case policies.ScopeTime:
		return "It covers the identical operation" + until + "; what it let in ends then as well."
	}
	if until != "" {
		return "It covers this one operation, which may run" + until + "."
	}
	return "It covers this one operation."
}

// withdraw takes the caller's own request back, or their agent's.
func (g *gateCall) withdraw() error {
	if len(g.args) != 1 {
		return errUsage
	}
	h, err := g.hold(g.args[0])
	if err != nil {
		return err
	}
	if err := g.c.srv.o.Desk.Withdraw(g.ctx, h.ID, g.c.principal); err != nil {
		return requestError(h.ID, err)
	}
	if err := g.note("hold.withdrawn", h.Target.Name, map[string]any{"hold": h.ID}); err != nil {
		return err
	}
	return g.print(map[string]string{"withdrawn": h.ID}, func(w io.Writer) { fmt.Fprintf(w, "withdrew %s: %s\n", h.ID, show(h.Text)) })
}

// note stores an event about what the caller did.
func (g *gateCall) note(kind, target string, detail map[string]any) error {
	return store(g.c.srv.o.Ledger, ledger.Event{
		Kind: kind, Gate: g.c.srv.o.Gate.name, Actor: g.c.principal.Key, ActorName: g.c.principal.String(),
		Source: g.c.source.String(), Target: target, Detail: detail,
	})
}

// wait returns when the hold has been answered, which its requester and its approvers may know.
func (g *gateCall) wait() error {
	if len(g.args) != 1 {
		return errUsage
	}
	h, err := g.hold(g.args[0])
	if err != nil {
		return err
	}
	if h, err = g.c.srv.o.Desk.Follow(g.ctx, h.ID, g.waiting); err != nil {
		return requestError(h.ID, err)
	}
	if err := g.print(HoldRows([]policies.Hold{h})[0], func(w io.Writer) { fmt.Fprintf(w, "%s %s\n", h.ID, h.State) }); err != nil {
		return err
	}
	if h.State == policies.StateApproved || h.State == policies.StateConsumed {
		return nil
	}
	return unapproved(h, nil)
}

// waiting says on stderr how far a request has come.
func (g *gateCall) waiting(h policies.Hold) {
	who := show(strings.Join(h.MayAnswerNow(time.Now()), " or "))
	if g.json {
		given, needed := h.Progress()
		g.say(map[string]any{
			"sallyport": "waiting", "id": h.ID, "approved": given, "needed": needed, "approvers": h.MayAnswerNow(time.Now()), "expires": h.Expires.UTC(),
		})
		return
	}
	line := "waiting for an approval by " + who
	if text := h.ProgressText(); text != "" {
		line += ", so far " + show(text)
	}
	fmt.Fprintf(g.err(), "sallyport: %s\n", line)
}

// errAdvance is said where nobody can make out what should be approved in advance.
var errAdvance = publicError("say what: `preapprove --identity KEY [--behalf KEY] --target T --for 2h [--in 1h] [--uses N] [--action A] [--reason TEXT] " +
	"-- TEXT`, or `--when CONDITION` at the end instead of -- TEXT, or `preapprove --like ID --for 2h`")

// preapprove answers before anybody asks.
func (g *gateCall) preapprove() error {
	a := advanceOf(g)
	a.By = g.c.principal
	if err := g.readAdvance(&a); err != nil {
		return err
	}
	if a.Target == "" || len(a.For) == 0 {
		return errAdvance
	}
	t := g.c.srv.o.Targets.Lookup(a.Target)
	if t == nil {
		return publicf("there is no target %s", show(a.Target))
	}
	a, err := g.c.srv.o.Desk.Approve(g.ctx, a, func(a policies.Advance) error {
		return g.admit("approval:give", a.ID, t.Target, policies.AdvanceContext(a))
	})
	if err != nil {
		return publicAdvance(err)
	}
	if err := g.note("advance.given", a.Target, advanceDetail(a)); err != nil {
		// Unrecorded it must not stand.
		_, revoked := g.c.srv.o.Desk.Revoke(g.ctx, a.ID, g.c.principal, nil)
		return errors.Join(err, revoked)
	}
	return g.print(a, func(w io.Writer) { writeAdvance(w, a) })
}

// advanceOf is what an approval in advance is where nothing else is said.
func advanceOf(g *gateCall) policies.Advance {
	return policies.Advance{ID: NewHoldID(), Action: "command:run", Uses: 1, Via: "ssh", Text: g.text}
}

// publicAdvance shows what is wrong with an approval in advance to whoever wrote it: the text is theirs.
func publicAdvance(err error) error {
	if errors.Is(err, policies.ErrAdvance) {
		return publicError(show(err.Error()))
	}
	return err
}

func advanceDetail(a policies.Advance) map[string]any {
	return map[string]any{
		"advance": a.ID, "for": a.For, "action": a.Action, "of": a.Describe(), "from": a.From.Format(time.RFC3339),
		"until": a.Until.Format(time.RFC3339), "uses": a.Uses, "reason": a.Reason,
	}
}

// readAdvance reads the words before the text.
func (g *gateCall) readAdvance(a *policies.Advance) error {
	var window, in time.Duration
	for words := g.args; len(words) > 0; {
		name := words[0]
		if len(words) == 1 {
			return errAdvance
		}
		value, n := words[1], 2
		var err error
		switch name {
		case "--like":
			err = g.like(value, a)
		case "--identity":
			a.For = append([]string{value}, a.For...)
		case "--behalf":
			a.For = append(a.For, value)
		case "--target":
			a.Target = value
		case "--action":
			a.Action = value
		case "--for":
			window, err = time.ParseDuration(value)
		case "--in":
			in, err = time.ParseDuration(value)
		case "--uses":
			a.Uses, err = uses(value)
		case "--reason":
			n, a.Reason = sentence(words)
		case "--when":
			n, a.When = len(words), strings.Join(words[1:], " ")
		default:
			err = errAdvance
		}
		if err != nil {
			return err
		}
		words = words[n:]
	}
	a.From = time.Now().UTC().Add(max(in, 0)).Truncate(time.Microsecond)
	a.Until = a.From.Add(window)
	return nil
}

// uses reads how many operations an approval in advance lets through.
func uses(s string) (int, error) {
	if s == "any" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, publicf("--uses %s is no number above 0; write any for as many as come", show(s))
	}
	return n, nil
}

// sentence takes the words up to the next flag, and counts them and the flag before them.
func sentence(words []string) (n int, text string) {
	for n = 1; n < len(words) && !strings.HasPrefix(words[n], "--"); n++ {
	}
	return n, strings.Join(words[1:n], " ")
}

// like takes identity, target and exact text from a request that the caller may see.
func (g *gateCall) like(id string, a *policies.Advance) error {
	h, err := g.hold(id)
	if err != nil {
		return err
	}
	a.For, a.Target, a.Action, a.Text = nil, h.Target.Name, h.Action, h.Text
	for p := &h.Principal; p != nil; p = p.OnBehalfOf {
		a.For = append(a.For, p.Key)
	}
	return nil
}

// preapprovals lists what was approved in advance and is not over, as far as the caller may see it.
func (g *gateCall) preapprovals() error {
	if len(g.args) != 0 {
		return errUsage
	}
	all, err := g.c.srv.o.Desk.Advances(g.ctx)
	if err != nil {
		return err
	}
	everybody := g.may("approval:list", g.self(), nil)
	all = slices.DeleteFunc(all, func(a policies.Advance) bool {
		return !everybody && a.By.Key != g.c.principal.Key && !slices.Contains(a.For, g.c.principal.Key)
	})
	return g.print(append([]policies.Advance{}, all...), func(w io.Writer) {
		if len(all) == 0 {
			fmt.Fprintln(w, "Nothing is approved in advance.")
		}
		for _, a := range all {
			writeAdvance(w, a)
		}
	})
}

func writeAdvance(w io.Writer, a policies.Advance) {
	uses := "any number of times"
	if a.Uses > 0 {
		uses = fmt.Sprintf("%d of %d used", a.Used, a.Uses)
	}
	fmt.Fprintf(w, "%s\t%s, by %s for %s on %s, %s\n", a.ID, a.State(time.Now()), show(a.By.String()), show(strings.Join(a.For, " for ")), show(a.Target), a.Action)
	fmt.Fprintf(w, "\t    %s\n", a.Describe())
	fmt.Fprintf(w, "\tfrom %s until %s, %s%s\n", a.From.Format(time.RFC3339), a.Until.Format(time.RFC3339), uses, reasonText(a.Reason))
}

func reasonText(s string) string {
	if s == "" {
		return ""
	}
	return ": " + show(s)
}

// revoke takes an approval in advance back.
func (g *gateCall) revoke() error {
	if len(g.args) != 1 {
		return errUsage
	}
	a, err := g.c.srv.o.Desk.Revoke(g.ctx, g.args[0], g.c.principal, func(a policies.Advance) error {
		target := policies.Target{Name: a.Target, Kind: "ssh"}
		if t := g.c.srv.o.Targets.Lookup(a.Target); t != nil {
			target = t.Target
		}
		return g.admit("approval:give", a.ID, target, policies.AdvanceContext(a))
	})
	if err != nil {
		return fmt.Errorf("approval in advance %s: %w", show(g.args[0]), err)
	}
	if err := g.note("advance.revoked", a.Target, advanceDetail(a)); err != nil {
		return err
	}
	return g.print(map[string]string{"revoked": a.ID}, func(w io.Writer) { fmt.Fprintf(w, "revoked %s\n", a.ID) })
}
