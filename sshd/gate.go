package sshd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

// A Gate decides on every operation of every path. There is one, and [Gate.Admit] is the one way in.
type Gate struct {
	name     string
	policies *policies.Engine
	desk     *policies.Desk
	denials  *limiter // by identity
	roster   *policies.Roster
	state    atomic.Pointer[PolicyState]
	meter    Meter
}

// NewGate returns the gate called name. Name tells gates apart that share a ledger.
func NewGate(name string, engine *policies.Engine, desk *policies.Desk) *Gate {
	return &Gate{name: name, policies: engine, desk: desk, denials: newLimiter(denialsEach, math.MaxInt), meter: unmetered{}}
}

// OnCall makes r say who is in which group at the moment of a decision. Call it before the gate is used.
func (g *Gate) OnCall(r *policies.Roster) { g.roster = r }

// remembered decides on op, by its memo where that has the answer.
func (g *Gate) remembered(op *Operation) policies.Decision {
	if op.Memo == nil {
		return g.decide(*op)
	}
	set := g.policies.Set()
	if set != nil && op.Memo.set == set {
		return op.Memo.decision
	}
	op.Facts = maps.Clone(op.Facts)
	op.Facts["text"] = op.Text
	d := g.decide(*op)
	*op.Memo = Memo{}
	if d.Effect == policies.EffectAllow && g.roster.Empty() && set == g.policies.Set() && !set.Heeds(op.Action, "text", "now") {
		*op.Memo = Memo{set: set, decision: d}
	}
	return d
}

// decide asks the policies in force, with the groups that everybody is in at this moment.
func (g *Gate) decide(op Operation) policies.Decision {
	return g.policies.Decide(policies.Request{
		Principal: g.roster.At(op.Principal, time.Now()), Action: op.Action, Target: op.Target, Context: op.Facts,
	})
}

// StillMay says whether somebody who is not here could answer h now, by the policy on approval:give: what
// an approval that was given in advance is asked when it is about to count.
func (g *Gate) StillMay(p policies.Principal, h policies.Hold) error {
	op := Operation{Principal: p, Action: "approval:give", Target: h.Target, Facts: policies.ApprovalContext(h)}
	if d := g.decide(op); d.Effect != policies.EffectAllow {
		return denied(op, d)
	}
	return nil
}

// An Operation is the smallest thing that is decided on.
type Operation struct {
	ID           string // made by Admit
	HoldID       string // made by Admit when the decision is to hold
	SessionID    string
	ConnectionID string
	Principal    policies.Principal
	Target       policies.Target
	Action       string         // a word of the policies' schema, such as "command:run"
	Text         string         // the exact bytes that will run; what an approver sees is made from them
	Brief        string         // what the one who waits is told it is; default Text
	Facts        map[string]any // what the filters found
	// Justification is the requester's own words; it proves nothing.
	Justification string
	// Screen, if not nil, tells what the session's terminal shows, masked; for approvers.
	Screen func() string
	// Unheld makes a decision to hold a refusal, for operations nobody can wait for.
	Unheld bool
	// Memo, if not nil, may have the decision. Facts then lack the text, which the gate adds where it is needed.
	Memo *Memo
}

// A Memo keeps what was decided for operations of one requester on one target that differ in their text and time
// alone. It is used only while the same policies are in force, and where none of them looks at either; what is
// held or denied is decided on each time. It is for one goroutine.
type Memo struct {
	set      *policies.Set
	decision policies.Decision
}

// A Witness writes down what happens to an operation, and tells the one who waits.
type Witness interface {
	// Decided is called once, before anything else happens. An error means that the decision could
	// not be recorded, and refuses the operation.
	Decided(op Operation, d policies.Decision) error
	// Held is called when a human has been asked.
	Held(op Operation, h policies.Hold)
	// Answered is called when a held operation goes on (err is nil) or is refused.
	Answered(op Operation, h policies.Hold, err error) error
}

// The exit codes of a refused exec: as in sysexits.h, EX_TEMPFAIL for what may be tried again and
// EX_NOPERM for what may not.
const (
	ExitHeld   = 75
	ExitDenied = 77
)

// A Refusal is why an operation does not happen. Public is for the one who asked; Err, which may be
// nil, for the operator's log.
type Refusal struct {
	Effect policies.Effect // Deny, or Hold when an approval did not come in time
	Code   int             // ExitHeld or ExitDenied
	Public string
	HoldID string
	Policy policies.Ref
	Err    error
}

func (r *Refusal) Error() string {
	if r.Err != nil {
		return r.Public + ": " + r.Err.Error()
	}
	return r.Public
}

func (r *Refusal) Unwrap() error { return r.Err }

// PublicText is what may be shown to the one who asked.
func (r *Refusal) PublicText() string { return r.Public }

// Admit decides on op, and waits for a human where a policy says so. It returns nil when op may happen
// now, and a [*Refusal] in every other case, an end of ctx included.
func (g *Gate) Admit(ctx context.Context, op Operation, w Witness) error {
	op.ID = NewSessionID()
	begun := time.Now()
	d := g.remembered(&op)
	if d.Effect == policies.EffectHold && op.Unheld {
		d.Effect, d.Why = policies.EffectDeny, "needs an approval, and nobody can wait for one here"
	}
	if d.Effect == policies.EffectHold {
		op.HoldID = NewHoldID()
	}
	err := w.Decided(op, d)
	g.meter.Decision(op.Action, effectOf(d), time.Since(begun))
	if err != nil {
		return &Refusal{Code: ExitDenied, Public: "it could not be recorded", Err: err}
	}
	switch d.Effect {
	case policies.EffectAllow:
		return nil
	case policies.EffectHold:
		return g.hold(ctx, op, d, w)
	}
	return denied(op, d)
}

// denied counts a refused operation of an identity. It reports false when there were so many of late that
// each of them is no longer worth a row of its own.
func (g *Gate) denied(identity string) bool { return g.denials.take(identity, "") }

// Self is the gate as a target of policies.
func (g *Gate) Self() policies.Target { return policies.Target{Name: GateName, Kind: "gate"} }

// preview decides without doing anything, for listings of what one could do.
func (g *Gate) preview(op Operation) policies.Effect {
	return g.decide(op).Effect
}

func (g *Gate) hold(ctx context.Context, op Operation, d policies.Decision, w Witness) error {
	now := time.Now()
	screen := ""
	if op.Screen != nil {
		screen = op.Screen()
	}
	g.meter.Held(1)
	h, err := g.desk.Ask(ctx, policies.Hold{
		ID: op.HoldID, SessionID: op.SessionID, ConnectionID: op.ConnectionID, Gate: g.name,
		Principal: op.Principal, Target: op.Target, Action: op.Action, Text: op.Text, Facts: op.Facts,
		Policy: firstRef(d), Terms: d.Terms, Asked: now, Expires: now.Add(d.Terms.Wait),
		Justification: op.Justification, Screen: screen,
	}, announcer(op, w))
	g.meter.Held(-1)
	g.meter.Answered(outcomeOf(h, err))
	if err != nil {
		err = unapproved(h, err)
	}
	if recorded := w.Answered(op, h, err); recorded != nil && err == nil {
		return &Refusal{Code: ExitDenied, Public: "it could not be recorded", HoldID: h.ID, Err: recorded}
	}
	return err
}

// outcomeOf names how a hold ended.
func outcomeOf(h policies.Hold, err error) string {
	switch {
	case err == nil:
		return "approved"
	case h.State == policies.StateDenied:
		return "denied"
	case h.State == policies.StateExpired:
		return "expired"
	case h.State == policies.StateWithdrawn:
		return "withdrawn"
	}
	return "failed"
}

func denied(op Operation, d policies.Decision) *Refusal {
	r := &Refusal{Effect: policies.EffectDeny, Code: ExitDenied, Policy: firstRef(d)}
	switch {
	case len(d.Errors) > 0:
		r.Public = "a policy could not be evaluated"
		r.Err = errors.New(strings.Join(d.Errors, "; "))
	case d.Why != "":
		r.Public = d.Why
	case r.Policy.ID != "":
		r.Public = "refused by policy " + r.Policy.ID
	default:
		r.Public = fmt.Sprintf("no policy permits %s on %s", op.Action, op.Target.Name)
	}
	return r
}

// unapproved says why a hold did not become an approval.
func unapproved(h policies.Hold, err error) *Refusal {
	r := &Refusal{Effect: policies.EffectDeny, Code: ExitDenied, HoldID: h.ID, Policy: h.Policy, Err: err}
	switch h.State {
	case policies.StateDenied:
		r.Public, r.Err = "denied by "+answeredBy(h), nil
	case policies.StateExpired:
		r.Effect, r.Code = policies.EffectHold, ExitHeld
		r.Public, r.Err = fmt.Sprintf("nobody approved it within %v", h.Terms.Wait), nil
	case policies.StateWithdrawn:
		r.Effect, r.Code = policies.EffectHold, ExitHeld
		r.Public, r.Err = "withdrawn: the one who asked is gone", nil
		if h.Why != "" {
			r.Public = "withdrawn: " + policies.Render([]byte(h.Why))
		}
	default:
		var refused *policies.RefusedError
		r.Public = "it could not be put before an approver"
		if errors.As(err, &refused) {
			r.Public = refused.Error()
		}
	}
	return r
}

// answeredBy names who denied h, with the reason given, both made safe to print.
func answeredBy(h policies.Hold) string {
	for _, a := range h.Answers {
		if a.Approve {
			continue
		}
		by := policies.Render([]byte(a.Approver.Name))
		if a.Reason != "" {
			by += ": " + policies.Render([]byte(a.Reason))
		}
		return by
	}
	return "an approver"
}

func firstRef(d policies.Decision) policies.Ref {
	if len(d.Policies) > 0 {
		return d.Policies[0]
	}
	return policies.Ref{}
}
