// Package policies decides: which operations pass the gate, which are refused, and which wait for a human.
//
// A [Set] is made from Cedar policies by [Parse] or [Load], which refuse whatever the schema does not know, and is
// immutable. [Set.Decide] answers one [Request] with a [Decision]. [Engine] holds the set in force and swaps it.
//
// A decision to hold becomes a [Hold], and the [Desk] leads it through its states until a human answered, it expired,
// or the client left. The [Store] beneath it makes each step atomic, here or across replicas.
//
// The package refuses by default: a nil set, no permit, an unknown action, a fact of the wrong type, or an error in
// any policy all deny; an answer that never came, came late or came from the wrong person is a no.
package policies

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The kinds of principal. Nothing else is ever permitted anything.
const (
	Human = "human"
	Agent = "agent"
)

// Principal is who asks, as proved by a certificate.
type Principal struct {
	Key        string      `json:"key"` // issuer + "#" + subject: the only thing that identifies
	Name       string      `json:"name,omitempty"`
	Email      string      `json:"email,omitempty"` // "" unless the issuer verified it
	Kind       string      `json:"kind"`            // [Human] or [Agent]
	Groups     []string    `json:"groups,omitempty"`
	OnBehalfOf *Principal  `json:"onBehalfOf,omitempty"` // for whom an agent acts; nil: for nobody
	Delegation *Delegation `json:"delegation,omitempty"` // what narrows it; nil: nothing does
}

// maxDelegation bounds how many agents may stand between an operation and a human.
const maxDelegation = 4

// chain returns p and everybody it acts for, nearest first. It is at most maxDelegation+1 long, however deep p is.
func (p *Principal) chain() []*Principal {
	var c []*Principal
	for ; p != nil && len(c) <= maxDelegation; p = p.OnBehalfOf {
		c = append(c, p)
	}
	return c
}

// Person returns the human an agent finally acts for, p itself for a human, or nil for an agent that acts for nobody.
func (p *Principal) Person() *Principal {
	for _, q := range p.chain() {
		if q.Kind == Human {
			return q
		}
	}
	return nil
}

// String names p for people: "alice", "bot for alice".
func (p *Principal) String() string {
	var b strings.Builder
	for i, q := range p.chain() {
		if i > 0 {
			b.WriteString(" for ")
		}
		b.WriteString(q.label())
	}
	return b.String()
}

func (p *Principal) label() string {
	for _, s := range []string{p.Name, p.Email, p.Key} {
		if s != "" {
			return s
		}
	}
	return "nobody"
}

// clone returns a deep copy, so that what was decided on cannot change later.
func (p *Principal) clone() *Principal {
	if p == nil {
		return nil
	}
	c := *p
	c.Groups = slices.Clone(p.Groups)
	c.OnBehalfOf = p.OnBehalfOf.clone()
	if d := p.Delegation; d != nil {
		c.Delegation = &Delegation{Targets: slices.Clone(d.Targets), Actions: slices.Clone(d.Actions)}
	}
	return &c
}

// Target is a named thing behind the gate, or the gate itself (Kind "gate").
type Target struct {
	Name   string            `json:"name"`
	Kind   string            `json:"kind"` // ssh, shell, postgres, kubernetes, tcp or gate
	Labels map[string]string `json:"labels,omitempty"`
}

// Request is one operation to decide on. Action is a name of the schema ("command:run"); Context holds the facts found
// about it: bool, int, int64, string, []string or time.Time by the names of the schema.
type Request struct {
	Principal Principal
	Action    string
	Target    Target
	Context   map[string]any
}

// Effect is what a decision says.
type Effect int

// The effects, strictest first; the zero value refuses.
const (
	EffectDeny Effect = iota
	EffectHold
	EffectAllow
)

var effectNames = [...]string{"deny", "hold", "allow"}

// String returns deny, hold or allow.
func (e Effect) String() string {
	if e < 0 || int(e) >= len(effectNames) {
		return effectNames[EffectDeny]
	}
	return effectNames[e]
}

// MarshalText writes e as its name.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads a name.
func (e *Effect) UnmarshalText(b []byte) error {
	i := slices.Index(effectNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("%q is not allow, hold or deny", b)
	}
	*e = Effect(i)
	return nil
}

// Ref points at a policy. Line and Column count from 1, columns in characters.
type Ref struct {
	ID     string `json:"id"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String returns the policy's id and where it stands.
func (r Ref) String() string {
	if r.File == "" {
		return r.ID
	}
	return fmt.Sprintf("%s (%s:%d:%d)", r.ID, r.File, r.Line, r.Column)
}

// Need is one approval that an operation waits for: Quorum different people, each in one of Groups.
type Need struct {
	Policy   string       `json:"policy"` // id of the policy that asks for it
	Groups   []string     `json:"groups"`
	Quorum   int          `json:"quorum"`
	Escalate []Escalation `json:"escalate,omitempty"` // who may answer as well, after a while; soonest first
}

// Terms are the conditions of a hold. Where several policies hold the same operation their terms are combined to the
// strictest: every policy's need must be met, the shortest Wait and Grant count, and a reason is required if any asks
// for one.
type Terms struct {
	Approvers []string      // every group that some need names: who is worth asking
	Wait      time.Duration // how long the operation waits for an answer
	Grant     time.Duration // how long an approval holds at most; 0 without Session: for one operation
	Session   bool          // an approval covers nothing outside of the session that asked
	Advance   time.Duration // the longest window of an approval that is given in advance; 0: none may be
	Reason    bool          // whoever approves must say why
	Quorum    int           // the fewest people who can meet all needs
	Needs     []Need        // all must be met; empty: Quorum people of Approvers
}

// needs returns what must be met, also for terms that were written with Approvers and Quorum alone.
func (t Terms) needs() []Need {
	if len(t.Needs) > 0 {
		return t.Needs
	}
	return []Need{{Groups: t.Approvers, Quorum: t.Quorum}}
}

type termsJSON struct {
	Approvers []string `json:"approvers"`
	Wait      string   `json:"wait"`
	Grant     string   `json:"grant,omitempty"`
	Session   bool     `json:"session,omitempty"`
	Advance   string   `json:"advance,omitempty"`
	Reason    bool     `json:"reason,omitempty"`
	Quorum    int      `json:"quorum"`
	Needs     []Need   `json:"needs,omitempty"`
}

// MarshalJSON writes durations as people write them ("10m0s").
func (t Terms) MarshalJSON() ([]byte, error) {
	j := termsJSON{Approvers: t.Approvers, Wait: t.Wait.String(), Session: t.Session, Reason: t.Reason, Quorum: t.Quorum, Needs: t.Needs}
	if t.Grant > 0 {
		j.Grant = t.Grant.String()
	}
	if t.Advance > 0 {
		j.Advance = t.Advance.String()
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *Terms) UnmarshalJSON(b []byte) error {
	var j termsJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	wait, err := parseOptional(j.Wait)
	if err != nil {
		return fmt.Errorf("terms: wait: %w", err)
	}
	grant, err := parseOptional(j.Grant)
	if err != nil {
		return fmt.Errorf("terms: grant: %w", err)
	}
	advance, err := parseOptional(j.Advance)
	if err != nil {
		return fmt.Errorf("terms: advance: %w", err)
	}
	*t = Terms{
		Approvers: j.Approvers, Wait: wait, Grant: grant, Session: j.Session, Advance: advance,
		Reason: j.Reason, Quorum: j.Quorum, Needs: j.Needs,
	}
	return nil
}

func parseOptional(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	return time.ParseDuration(s)
}

// Decision is the answer to a request. Policies are those that made it: the forbids of a deny, the holding permits of
// a hold, the permits of an allow; none where nothing permitted. Why is one line for people, and names no secret.
type Decision struct {
	Effect   Effect `json:"effect"`
	Policies []Ref  `json:"policies,omitempty"`
	Terms    Terms  `json:"terms,omitzero"` // of a hold
	// RecordInput: a session that is let in by this has what is typed in it recorded, too.
	RecordInput bool     `json:"record_input,omitempty"`
	Why         string   `json:"why"`
	Errors      []string `json:"errors,omitempty"` // what went wrong while deciding; always with a deny
}

// Source is the text of one policy file.
type Source struct {
	Name string // for messages: a path, or "default.cedar"
	Text []byte
}
