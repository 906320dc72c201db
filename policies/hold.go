package policies

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// State is where a hold stands. Only pending and approved ever change.
type State string

// The states of a hold.
const (
	StatePending   State = "pending"   // waits for an answer
	StateApproved  State = "approved"  // answered yes, not yet released
	StateDenied    State = "denied"    // answered no
	StateExpired   State = "expired"   // nobody answered in time
	StateWithdrawn State = "withdrawn" // the client left, or took it back
	StateLost      State = "lost"      // the gate that held it was restarted
	StateConsumed  State = "consumed"  // approved, and released exactly once
)

// Hold is an operation that waits for a human. What was asked never changes after it is stored; only State, Answers,
// Ended and Why do.
type Hold struct {
	ID            string         `json:"id"`
	SessionID     string         `json:"session,omitempty"`
	ConnectionID  string         `json:"connection,omitempty"`
	Gate          string         `json:"gate"` // the gate whose client waits
	Principal     Principal      `json:"principal"`
	Target        Target         `json:"target"`
	Action        string         `json:"action"`
	Text          string         `json:"text"` // the exact bytes that will run; show them with [Render]
	Facts         map[string]any `json:"facts,omitempty"`
	Policy        Ref            `json:"policy"`
	Terms         Terms          `json:"terms"`
	Asked         time.Time      `json:"asked"`
	Expires       time.Time      `json:"expires"`
	Justification string         `json:"justification,omitempty"` // the requester's own words: never proof of anything
	Screen        string         `json:"screen,omitempty"`        // what the session's terminal showed, masked and rendered, a line a row
	State         State          `json:"state"`
	Answers       []Answer       `json:"answers,omitempty"`
	Ended         time.Time      `json:"ended,omitzero"` // when it came to the state it is in; zero while pending
	Why           string         `json:"why,omitempty"`
}

// Answer is what one human said to a hold.
type Answer struct {
	Approver Principal `json:"approver"`
	Approve  bool      `json:"approve"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`  // set by the desk
	Via      string    `json:"via"` // console, ssh, advance

	// What the approval covers, where the approver chose less than the policy allows; see [Terms.Scopes].
	Scope Scope         `json:"scope,omitempty"`
	For   time.Duration `json:"for,omitempty"` // of ScopeTime
	// Advance is the id of the approval in advance that this answer comes from, and Until when that ends.
	Advance string    `json:"advance,omitempty"`
	Until   time.Time `json:"until,omitzero"`
}

// ApprovedAt returns when the last approval that was needed came in; zero if h was never approved.
func (h Hold) ApprovedAt() time.Time {
	if h.State != StateApproved && h.State != StateConsumed {
		return time.Time{}
	}
	var at time.Time
	for _, a := range h.Answers {
		if a.Approve && a.At.After(at) {
			at = a.At
		}
	}
	return at
}

// Errors of a [Store] and of the [Desk].
var (
	ErrNoHold       = errors.New("no such hold")
	ErrHoldExists   = errors.New("a hold of this id exists")
	ErrNotPending   = errors.New("it does not wait for an answer any more")
	ErrOwnRequest   = errors.New("nobody approves a request of their own, or of an agent of theirs")
	ErrNotApprover  = errors.New("not one of those who may answer this")
	ErrAnswered     = errors.New("you have answered this already")
	ErrReason       = errors.New("this approval needs a reason")
	ErrNoGrant      = errors.New("no approval covers this operation")
	ErrTooManyHolds = errors.New("too many requests wait already")
)

// HoldFilter chooses holds. The zero value chooses all.
type HoldFilter struct {
	States []State   // empty: any
	Limit  int       // 0: no limit
	Since  time.Time // asked at or after; zero: any time
}

// GrantQuery is the operation that an approval is looked for.
type GrantQuery struct {
	Principal, Target, Action, Text string // the principal by key; all must be equal
	Session                         string // an approval for a session covers only this one
	Now                             time.Time
}

// Store keeps holds. Each method is atomic and durable when it returns nil, also against other gates on the same store.
// An error leaves it open whether the change was made. Text and facts come back exactly, times to the microsecond.
type Store interface {
	// PutHold stores a new pending hold; ErrHoldExists if its id is taken.
	PutHold(ctx context.Context, h Hold) error
	// AnswerHold appends a and moves the hold to next, only while it is pending, and returns it as it is then.
	// ErrNotPending if it is not, ErrNoHold if there is none. Next is pending while more answers are needed; otherwise
	// Ended becomes a.At.
	AnswerHold(ctx context.Context, id string, a Answer, next State) (Hold, error)
	// EndHold moves a hold that is in state from to state to; ErrNotPending if it is in another, ErrNoHold if there
	// is none. Why may be "", which leaves the former one. Ended becomes the present.
	EndHold(ctx context.Context, id string, from, to State, why string) error
	// Hold returns one hold, or ErrNoHold.
	Hold(ctx context.Context, id string) (Hold, error)
	// Holds returns the holds that f chooses, newest first.
	Holds(ctx context.Context, f HoldFilter) ([]Hold, error)
	// TouchHold tells everybody who watches that a pending hold has come to something, such as "escalated", without
	// changing it. ErrNotPending, ErrNoHold.
	TouchHold(ctx context.Context, id, event string) error
	// FindGrant returns the newest (latest asked) hold of the identical operation that was approved (approved or
	// consumed), whose CoversUntil is after now, and that covers the session; or ErrNoGrant.
	FindGrant(ctx context.Context, q GrantQuery) (Hold, error)
	// HoldChanges returns the ids of holds as they change, whoever changed them, until ctx ends; then it is closed.
	// A change made after the call returned is reported at least once, unless the receiver is too slow or the store's
	// connection broke: receivers look again now and then.
	HoldChanges(ctx context.Context) (<-chan string, error)
}

// A RefusedError says that a held operation must not run.
type RefusedError struct {
	Hold  Hold   // as last seen
	State State  // denied, expired, withdrawn, lost, or consumed by somebody else
	Why   string // one line for the one who waited
	Err   error  // cause, for the operator's log, if any
}

// Error names the hold, its state and the cause.
func (e *RefusedError) Error() string {
	s := fmt.Sprintf("hold %s %s", e.Hold.ID, e.State)
	if e.Why != "" {
		s += ": " + e.Why
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// clone returns a copy that shares nothing that can change.
func (h Hold) clone() Hold {
	h.Principal = *h.Principal.clone()
	h.Target.Labels = maps.Clone(h.Target.Labels)
	h.Facts = cloneFacts(h.Facts)
	h.Terms.Approvers = slices.Clone(h.Terms.Approvers)
	h.Terms.Needs = slices.Clone(h.Terms.Needs)
	for i := range h.Terms.Needs {
		h.Terms.Needs[i].Groups = slices.Clone(h.Terms.Needs[i].Groups)
		h.Terms.Needs[i].Escalate = slices.Clone(h.Terms.Needs[i].Escalate)
	}
	h.Answers = slices.Clone(h.Answers)
	for i := range h.Answers {
		h.Answers[i].Approver = *h.Answers[i].Approver.clone()
	}
	return h
}

func cloneFacts(facts map[string]any) map[string]any {
	if facts == nil {
		return nil
	}
	out := make(map[string]any, len(facts))
	for k, v := range facts {
		switch list := v.(type) {
		case []string:
			v = slices.Clone(list)
		case []any:
			v = slices.Clone(list)
		}
		out[k] = v
	}
	return out
}
