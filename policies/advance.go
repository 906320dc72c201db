package policies

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Advance is an approval that somebody gives before anybody asks: for one identity on one target, within a window, for an
// exact text or for operations whose facts meet a condition. When such an operation is held it counts as its giver's
// answer, if the policies that hold it have @advance, and if the giver still may answer at that moment. It never changes
// but for Used and Revoked.
type Advance struct {
	ID     string    `json:"id"`
	By     Principal `json:"by"`
	For    []string  `json:"for"` // who asks, and on whose behalf: keys or verified e-mail addresses. One: on anybody's behalf
	Target string    `json:"target"`
	Action string    `json:"action"`
	Text   string    `json:"text,omitempty"` // the exact bytes, or
	When   string    `json:"when,omitempty"` // a condition for [ParseCondition]
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"` // ends what it let in, too
	Uses   int       `json:"uses"`  // how many operations it lets through; 0: any number
	Reason string    `json:"reason,omitempty"`
	Via    string    `json:"via"`
	Made   time.Time `json:"made"` // set by the desk

	Used      int       `json:"used"`
	Revoked   time.Time `json:"revoked,omitzero"`
	RevokedBy string    `json:"revokedBy,omitempty"`
}

// State is what an approval in advance is at a time: "coming", "open", "over", "used up" or "revoked".
func (a Advance) State(at time.Time) string {
	switch {
	case !a.Revoked.IsZero():
		return "revoked"
	case !at.Before(a.Until):
		return "over"
	case a.Uses > 0 && a.Used >= a.Uses:
		return "used up"
	case at.Before(a.From):
		return "coming"
	}
	return "open"
}

// Errors of approvals in advance.
var (
	ErrNoAdvance  = errors.New("no such approval in advance")
	ErrAdvance    = errors.New("this cannot be approved in advance")
	ErrNotOpen    = errors.New("the approval in advance is not open")
	ErrNotAllowed = errors.New("only who gave it, or an approver, can take it back")
)

// AdvanceStore keeps approvals in advance. Each method is atomic and durable when it returns nil.
type AdvanceStore interface {
	// PutAdvance stores a new one; ErrHoldExists if its id is taken.
	PutAdvance(ctx context.Context, a Advance) error
	// Advance returns one, or ErrNoAdvance.
	Advance(ctx context.Context, id string) (Advance, error)
	// Advances returns those that end after a time, newest first.
	Advances(ctx context.Context, endsAfter time.Time) ([]Advance, error)
	// UseAdvance counts a use of one that is open at a time; ErrNotOpen if it is not, ErrNoAdvance.
	UseAdvance(ctx context.Context, id string, at time.Time) error
	// RevokeAdvance takes one back, for uses that come later; ErrNotOpen if that was done before, ErrNoAdvance.
	RevokeAdvance(ctx context.Context, id, by string, at time.Time) error
}

// AdvanceContext returns the facts for approval:give on an approval in advance, as far as they are known before anybody
// asks.
func AdvanceContext(a Advance) map[string]any { return map[string]any{"held": a.Action} }

// Approve stores an approval in advance, and gives it an id if it has none. MayApprove is asked whether a.By may give it (the policy on approval:give); nil
// refuses. The desk sets a.Made. Errors: ErrAdvance, ErrOwnRequest, ErrNotApprover, or what mayApprove or the store say.
func (d *Desk) Approve(ctx context.Context, a Advance, mayApprove func(Advance) error) (Advance, error) {
	if d.advances == nil {
		return a, fmt.Errorf("%w: this gate keeps none", ErrAdvance)
	}
	a.Made, a.Used, a.Revoked, a.RevokedBy = now(), 0, time.Time{}, ""
	a.By = d.roster.At(a.By, a.Made)
	if a.ID == "" {
		a.ID = strings.ToLower(rand.Text())[:12]
	}
	if a.From.IsZero() {
		a.From = a.Made
	}
	if err := a.check(); err != nil {
		return a, err
	}
	if mayApprove == nil {
		return a, fmt.Errorf("%w: nothing says that you may", ErrNotApprover)
	}
	if err := mayApprove(a); err != nil {
		return a, fmt.Errorf("%w: %w", ErrNotApprover, err)
	}
	if err := d.advances.PutAdvance(ctx, a); err != nil {
		return a, fmt.Errorf("approve in advance: %w", err)
	}
	return a, nil
}

// check refuses what must not be stored.
func (a Advance) check() error {
	bad := func(what string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrAdvance, fmt.Sprintf(what, args...))
	}
	switch {
	case !validHoldID.MatchString(a.ID):
		return bad("its id is malformed")
	case a.By.Kind != Human || a.By.OnBehalfOf != nil || a.By.Key == "":
		return fmt.Errorf("%w: only people answer", ErrNotApprover)
	case len(a.For) == 0 || len(a.For) > maxDelegation+1 || slices.Contains(a.For, ""):
		return bad("it names nobody who may use it")
	case slices.ContainsFunc(a.For, a.By.is):
		return ErrOwnRequest
	case a.Target == "" || a.Action == "":
		return bad("it names no target or no action")
	case (a.Text == "") == (a.When == ""):
		return bad("give either the exact text or a condition on the facts")
	case len(a.Text) > MaxText:
		return bad("%d bytes of text are more than %d", len(a.Text), MaxText)
	case !a.Until.After(a.Made) || !a.Until.After(a.From) || a.Until.Sub(a.Made) > maxAdvance:
		return bad("its window must end after it begins, and within %s", maxAdvance)
	case a.Uses < 0 || len(a.Reason) > MaxReason || !utf8.ValidString(a.Reason):
		return bad("a number of uses below 0, or a reason of more than %d bytes", MaxReason)
	}
	if !slices.Contains(Actions(), a.Action) {
		return bad("unknown action %q; %s", clip(a.Action), didYouMean(a.Action, Actions(), "the schema lists them"))
	}
	if a.When != "" {
		if _, err := ParseCondition(a.Action, a.When); err != nil {
			return fmt.Errorf("%w: %w", ErrAdvance, err)
		}
	}
	return nil
}

// is reports whether a name written by an approver means p: the key, or the verified e-mail address.
func (p Principal) is(name string) bool {
	return name == p.Key || p.Email != "" && strings.EqualFold(name, p.Email)
}

// matches reports whether a is for the operation of h at a time, by whom, where, when and what.
func (a Advance) matches(h Hold, at time.Time) bool {
	if a.State(at) != "open" || a.Target != h.Target.Name || a.Action != h.Action || !a.isFor(h.Principal) {
		return false
	}
	if a.When == "" {
		return a.Text == h.Text
	}
	c, err := ParseCondition(a.Action, a.When)
	return err == nil && c.Holds(Request{Principal: h.Principal, Action: h.Action, Target: h.Target, Context: h.Facts})
}

func (a Advance) isFor(p Principal) bool {
	chain := p.chain()
	if len(a.For) > 1 && len(a.For) != len(chain) || len(a.For) == 0 {
		return false
	}
	for i, name := range a.For {
		if !chain[i].is(name) {
			return false
		}
	}
	return true
}

// advanced gives the answers that were given to h in advance, and returns h as it is then.
func (d *Desk) advanced(ctx context.Context, h Hold) Hold {
	if d.advances == nil || h.Terms.Advance <= 0 {
		return h
	}
	all, err := d.advances.Advances(ctx, now())
	if err != nil { // not certain: people are asked
		return h
	}
	for _, a := range slices.Backward(all) { // the oldest first
		if h.State == StatePending && a.matches(h, now()) && a.Until.Sub(a.Made) <= h.Terms.Advance {
			h = d.useAdvance(ctx, h, a)
		}
	}
	return h
}

// useAdvance answers h with a, by the rules for any answer: who gave it must be one who may at this moment.
func (d *Desk) useAdvance(ctx context.Context, h Hold, a Advance) Hold {
	answer := Answer{
		Approver: a.By, Approve: true, Reason: a.Reason, Via: "advance", Scope: ScopeOnce, Advance: a.ID, Until: a.Until,
	}
	got, err := d.answer(ctx, h, answer, func(h Hold) error {
		if d.mayAdvance == nil {
			return errors.New("nothing says that they still may")
		}
		return d.mayAdvance(a, h)
	}, func() error { return d.advances.UseAdvance(ctx, a.ID, now()) })
	if err != nil {
		return h
	}
	return got
}

// Advances returns the approvals in advance that are not over, newest first.
func (d *Desk) Advances(ctx context.Context) ([]Advance, error) {
	if d.advances == nil {
		return nil, nil
	}
	all, err := d.advances.Advances(ctx, now())
	if err != nil {
		return nil, fmt.Errorf("list approvals in advance: %w", err)
	}
	return all, nil
}

// Revoke takes an approval in advance back. Who gave it may, and whoever mayApprove says may approve such a thing. What
// it let in already goes on until the window ends.
func (d *Desk) Revoke(ctx context.Context, id string, by Principal, mayApprove func(Advance) error) (Advance, error) {
	if d.advances == nil || !validHoldID.MatchString(id) {
		return Advance{}, ErrNoAdvance
	}
	a, err := d.advances.Advance(ctx, id)
	if err != nil {
		return a, err
	}
	if !samePerson(a.By, by) && (mayApprove == nil || mayApprove(a) != nil) {
		return Advance{}, ErrNotAllowed
	}
	at := now()
	if err := d.advances.RevokeAdvance(ctx, id, by.label(), at); err != nil {
		return a, fmt.Errorf("approval in advance %s: %w", id, err)
	}
	a.Revoked, a.RevokedBy = at, by.label()
	return a, nil
}

// Describe says in a line what an approval in advance is for.
func (a Advance) Describe() string {
	if a.When != "" {
		return "operations with " + oneLine(a.When)
	}
	return Render([]byte(a.Text))
}

// clone returns a copy that shares nothing that can change.
func (a Advance) clone() Advance {
	a.By = *a.By.clone()
	a.For = slices.Clone(a.For)
	return a
}
