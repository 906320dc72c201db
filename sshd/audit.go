package sshd

import (
	"context"
	"fmt"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// An Auditor is the witness of operations on the gate itself, from any side: each is an event in the
// ledger. It is of one caller.
type Auditor struct {
	Ledger *ledger.Ledger
	Gate   *Gate
	Source string // the caller's address
}

// Decided stores the event. Listings that were allowed are not kept: they show nothing that is secret to
// those who may list.
func (a *Auditor) Decided(op Operation, d policies.Decision) error {
	if d.Effect == policies.EffectAllow && (op.Action == "session:list" || op.Action == "approval:list" || op.Action == "recording:list") {
		return nil
	}
	e := ledger.Event{
		Kind: op.Action, Gate: a.Gate.name, Actor: op.Principal.Key, ActorName: op.Principal.String(), Source: a.Source,
		Target: op.Target.Name, Denied: d.Effect == policies.EffectDeny,
		Detail: map[string]any{"of": op.Text, "decision": effectOf(d), "policy": firstRef(d).ID},
	}
	if e.Denied {
		e.Kind += ".denied"
		a.Gate.denied(op.Principal.Key)
	}
	return store(a.Ledger, e)
}

// Held and Answered are never called: nobody waits for an answer to an operation on the gate itself.
func (a *Auditor) Held(Operation, policies.Hold)                  {}
func (a *Auditor) Answered(Operation, policies.Hold, error) error { return nil }

// auditDenied notes an operation of this connection that has no session to stand in, or is one of too many
// of the same one. The ledger keeps a row a minute of such events, and how many they were.
func (c *connection) auditDenied(op Operation, d policies.Decision) error {
	c.refused("refused", "action", op.Action, "target", op.Target.Name, "policy", firstRef(d).ID, "why", d.Why)
	return store(c.srv.o.Ledger, ledger.Event{
		Kind: op.Action + ".denied", Gate: c.srv.o.Gate.name, Actor: c.principal.Key, ActorName: c.principal.String(),
		Source: c.source.String(), SessionID: op.SessionID, Target: op.Target.Name, Denied: true,
		Detail: map[string]any{"policy": firstRef(d).ID},
	})
}

func store(l *ledger.Ledger, e ledger.Event) error {
	ctx, cancel := context.WithTimeout(context.Background(), ledgerTimeout)
	defer cancel()
	if err := l.AddAudit(ctx, e); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}
