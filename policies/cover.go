package policies

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Scope says what an approval covers besides the one operation that waits for it.
type Scope string

// The scopes, narrowest first.
const (
	ScopeOnce    Scope = "once"    // that operation, and no other
	ScopeSession Scope = "session" // identical operations of the same session
	ScopeTime    Scope = "time"    // identical operations of the same identity, for a time
)

// ErrScope refuses an approval that would cover more than the policy allows.
var ErrScope = errors.New("the policy does not let an approval cover that much")

// Widest returns the most that an approval may cover by these terms: what it covers if the approver chose nothing.
func (t Terms) Widest() Scope {
	switch {
	case t.Session:
		return ScopeSession
	case t.Grant > 0:
		return ScopeTime
	}
	return ScopeOnce
}

// Scopes returns everything that an approver may choose from, narrowest first.
func (t Terms) Scopes() []Scope {
	all := []Scope{ScopeOnce, ScopeSession, ScopeTime}
	return all[:rank(t.Widest())+1]
}

func rank(s Scope) int {
	switch s {
	case ScopeOnce:
		return 0
	case ScopeSession:
		return 1
	}
	return 2
}

// ParseScope reads what an approver chose: "once", "session", a duration such as "10m", or "" for whatever the policy
// says.
func ParseScope(s string) (Scope, time.Duration, error) {
	switch Scope(s) {
	case "", ScopeOnce, ScopeSession:
		return Scope(s), 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < minWait {
		return "", 0, fmt.Errorf("%w: write once, session, or a time such as 10m", ErrScope)
	}
	return ScopeTime, d, nil
}

// checkScope refuses an answer that chooses more than t allows.
func (t Terms) checkScope(a Answer) error {
	switch {
	case !a.Approve && (a.Scope != "" || a.For != 0):
		return fmt.Errorf("%w: a denial covers nothing", ErrScope)
	case a.Scope == "" && a.For == 0:
		return nil
	case a.Scope != ScopeOnce && a.Scope != ScopeSession && a.Scope != ScopeTime,
		a.Scope == ScopeTime && a.For < minWait, a.Scope != ScopeTime && a.For != 0:
		return fmt.Errorf("%w: choose once, session, or a time of at least %s", ErrScope, minWait)
	case rank(a.Scope) > rank(t.Widest()), a.For > t.Grant:
		return fmt.Errorf("%w: at most %s", ErrScope, t.cover())
	}
	return nil
}

// cover says what an approval by these terms can cover: "once", "session", "15m0s", "session, at most 15m0s".
func (t Terms) cover() string {
	switch {
	case t.Session && t.Grant > 0:
		return "session, at most " + t.Grant.String()
	case t.Session:
		return "session"
	case t.Grant > 0:
		return t.Grant.String()
	}
	return "once"
}

// narrowest returns the terms of cover that satisfy both: an approval may be reused by neither more than the other says.
func narrowest(a, b Terms) (grant time.Duration, session bool) {
	if a.Widest() == ScopeOnce || b.Widest() == ScopeOnce {
		return 0, false
	}
	grant = min(a.Grant, b.Grant)
	if grant == 0 { // one of them is bounded by the session alone
		grant = max(a.Grant, b.Grant)
	}
	return grant, a.Session || b.Session
}

// Covers returns what the approval of h covers, by its terms and by what every approver chose: the narrowest counts.
// "" if h was never approved.
func (h Hold) Covers() Scope {
	if h.ApprovedAt().IsZero() {
		return ""
	}
	s := h.Terms.Widest()
	for _, a := range h.Answers {
		if a.Approve && a.Scope != "" && rank(a.Scope) < rank(s) {
			s = a.Scope
		}
	}
	return s
}

// GrantEnds returns when the approval of h ends: for identical operations that come later, and for what it already let
// in. Zero: h was never approved, or its approval ends with the operation or the session itself.
//
// An approver's choice of less than the policy's @grant narrows what is covered, and never prolongs it: also an
// approval for one operation ends when the policy says.
func (h Hold) GrantEnds() time.Time {
	at := h.ApprovedAt()
	if at.IsZero() {
		return time.Time{}
	}
	var ends time.Time
	sooner := func(t time.Time) {
		if ends.IsZero() || t.Before(ends) {
			ends = t
		}
	}
	if h.Terms.Grant > 0 {
		sooner(at.Add(h.Terms.Grant))
	}
	for _, a := range h.Answers {
		if !a.Approve {
			continue
		}
		if a.Scope == ScopeTime && a.For > 0 {
			sooner(at.Add(a.For))
		}
		if !a.Until.IsZero() {
			sooner(a.Until)
		}
	}
	return ends
}

// CoversUntil returns until when identical operations pass without being asked about again; zero if none does. Where the
// approval is for the session, they must be of h's session.
func (h Hold) CoversUntil() time.Time {
	switch s := h.Covers(); {
	case s == "" || s == ScopeOnce, s == ScopeSession && h.SessionID == "":
		return time.Time{}
	case h.GrantEnds().IsZero():
		return h.ApprovedAt().Add(maxGrant) // no session lives longer than anybody may answer for
	}
	return h.GrantEnds()
}

// covers reports whether the approval of h lets an identical operation of a session pass at a time.
func (h Hold) covers(session string, at time.Time) bool {
	return h.CoversUntil().After(at) && (h.Covers() == ScopeTime || h.SessionID == session)
}

// Progress says how far a hold has come: how many approvals count, and the fewest that are needed.
func (h Hold) Progress() (given, needed int) {
	needs := h.Terms.needs()
	for _, n := range needs {
		needed += max(n.Quorum, 1)
		given += min(len(h.Terms.people(n, h.Answers, h.Asked)), max(n.Quorum, 1))
	}
	return given, needed
}

// ProgressText says the same in words, need by need: "1 of 2 of dba", "" where one approval is all that is needed.
func (h Hold) ProgressText() string {
	needs := h.Terms.needs()
	if len(needs) == 1 && needs[0].Quorum < 2 {
		return ""
	}
	text := ""
	for i, n := range needs {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%d of %d of %s", min(len(h.Terms.people(n, h.Answers, h.Asked)), max(n.Quorum, 1)), max(n.Quorum, 1), n.who())
	}
	return text
}

// An Escalation lets more people answer when nobody has for a while.
type Escalation struct {
	After  time.Duration
	Groups []string
}

type escalationJSON struct {
	After  string   `json:"after"`
	Groups []string `json:"groups"`
}

// MarshalJSON writes the time as people write it.
func (e Escalation) MarshalJSON() ([]byte, error) {
	return json.Marshal(escalationJSON{e.After.String(), e.Groups})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Escalation) UnmarshalJSON(b []byte) error {
	var j escalationJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	after, err := time.ParseDuration(j.After)
	if err != nil {
		return fmt.Errorf("escalation: %w", err)
	}
	*e = Escalation{after, j.Groups}
	return nil
}

// Escalations returns the steps of all needs of h, the next one first, each with its time.
func (h Hold) Escalations() []Step {
	var steps []Step
	for _, n := range h.Terms.needs() {
		for _, e := range n.Escalate {
			steps = append(steps, Step{h.Asked.Add(e.After), e.Groups})
		}
	}
	sortSteps(steps)
	return steps
}

// A Step is an escalation of one hold: from At on, Groups may answer as well.
type Step struct {
	At     time.Time
	Groups []string
}

// MayAnswerNow returns the groups that may answer h at a time, those it was escalated to included.
func (h Hold) MayAnswerNow(at time.Time) []string {
	var groups []string
	for _, n := range h.Terms.needs() {
		groups = union(groups, n.groupsAt(at.Sub(h.Asked)))
	}
	return groups
}
