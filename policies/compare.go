package policies

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Past is an operation that was decided on once.
type Past struct {
	ID, Session string
	At          time.Time
	Text        string // as it was written down: rendered, and masked
	Request     Request
}

// Comparison replays operations under two sets of policies, and keeps what they decide differently.
type Comparison struct {
	old, new *Set
	examples int
	groups   map[changeKey]*Change

	Replayed int // operations
	Changed  int // of those
	Unknown  int // that neither set can decide on, since facts were not written down
}

// changeKey is what changes have in common that are told as one.
type changeKey struct{ action, target, kind, old, new, oldPolicies, newPolicies string }

// Change is what two sets decide differently, about operations of one action on one target.
type Change struct {
	Action      string    `json:"action"`
	Target      string    `json:"target"`
	Kind        string    `json:"kind"` // of those who asked: human or agent
	Old         string    `json:"old"`  // allow, hold or deny; a hold with who approves
	New         string    `json:"new"`
	OldPolicies []string  `json:"old_policies"`
	NewPolicies []string  `json:"new_policies"`
	Count       int       `json:"count"`
	People      []string  `json:"people"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	Examples    []Example `json:"examples"`
}

// Example is one operation of a change.
type Example struct {
	Operation string    `json:"operation"`
	Session   string    `json:"session"`
	At        time.Time `json:"at"`
	Who       string    `json:"who"`
	Text      string    `json:"text"`
}

// Bounds of what a comparison keeps.
const (
	maxChanges = 10_000
	maxPeople  = 20
)

// Compare begins a comparison that keeps so many examples of each change.
func Compare(old, new *Set, examples int) *Comparison {
	return &Comparison{old: old, new: new, examples: examples, groups: map[changeKey]*Change{}}
}

// Add replays one operation. Where its time is not among its facts it is decided on as of then.
func (c *Comparison) Add(p Past) {
	r := p.Request
	r.Context = cloneFacts(r.Context)
	if r.Context == nil {
		r.Context = map[string]any{}
	}
	if _, known := r.Context["now"]; !known {
		r.Context["now"] = p.At
	}
	c.Replayed++
	before, after := c.old.Decide(r), c.new.Decide(r)
	if len(before.Errors) > 0 && len(after.Errors) > 0 {
		c.Unknown++
		return
	}
	was, is := verdict(before), verdict(after)
	if was == is {
		return
	}
	c.Changed++
	c.note(p, was, is, decidedBy(before), decidedBy(after))
}

func (c *Comparison) note(p Past, was, is string, wasBy, isBy []string) {
	key := changeKey{p.Request.Action, p.Request.Target.Name, p.Request.Principal.Kind, was, is, strings.Join(wasBy, " "), strings.Join(isBy, " ")}
	g := c.groups[key]
	if g == nil {
		if len(c.groups) >= maxChanges {
			return // counted, and too many to be read
		}
		g = &Change{
			Action: key.action, Target: key.target, Kind: key.kind, Old: was, New: is, OldPolicies: wasBy, NewPolicies: isBy,
			First: p.At, Last: p.At, People: []string{}, Examples: []Example{},
		}
		c.groups[key] = g
	}
	g.Count++
	if p.At.Before(g.First) {
		g.First = p.At
	}
	if p.At.After(g.Last) {
		g.Last = p.At
	}
	who := p.Request.Principal.String()
	if len(g.People) < maxPeople && !slices.Contains(g.People, who) {
		g.People = append(g.People, who)
	}
	if len(g.Examples) < c.examples {
		g.Examples = append(g.Examples, Example{p.ID, p.Session, p.At, who, p.Text})
	}
}

// verdict is a decision as far as anybody would notice a difference.
func verdict(d Decision) string {
	if d.Effect != EffectHold {
		return d.Effect.String() + recordsInput(d)
	}
	text := "hold for " + d.Terms.String() + ", " + d.Terms.Wait.String() + recordsInput(d)
	if d.Terms.Reason {
		text += ", with a reason"
	}
	if cover := d.Terms.cover(); cover != "once" {
		text += ", covers " + cover
	}
	for _, n := range d.Terms.Needs {
		for _, e := range n.Escalate {
			text += fmt.Sprintf(", after %s also %s", e.After, strings.Join(e.Groups, " or "))
		}
	}
	if d.Terms.Advance > 0 {
		text += ", in advance " + d.Terms.Advance.String()
	}
	return text
}

func recordsInput(d Decision) string {
	if d.RecordInput {
		return ", records input"
	}
	return ""
}

func decidedBy(d Decision) []string {
	out := make([]string, len(d.Policies))
	for i, p := range d.Policies {
		out[i] = p.ID
	}
	return out
}

// Changes returns what changes: what would be let through that was not before first, then the most frequent.
func (c *Comparison) Changes() []Change {
	all := make([]Change, 0, len(c.groups))
	for _, g := range c.groups {
		all = append(all, *g)
	}
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(loosens(b), loosens(a)), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Action+a.Target+a.Kind+a.Old+a.New, b.Action+b.Target+b.Kind+b.Old+b.New))
	})
	return all
}

// loosens is how much laxer the new decision is.
func loosens(c Change) int { return strictness(c.Old) - strictness(c.New) }

func strictness(verdict string) int {
	switch {
	case verdict == "allow":
		return 0
	case verdict == "deny":
		return 2
	}
	return 1
}

// Write tells people what changes.
func (c *Comparison) Write(w io.Writer) {
	for _, g := range c.Changes() {
		fmt.Fprintf(w, "%d × %s on %s by %ss: %s\n", g.Count, line(g.Action), line(g.Target), line(g.Kind), strings.Join(g.People, ", "))
		fmt.Fprintf(w, "  - %s  %s\n", g.Old, orNobody(g.OldPolicies))
		fmt.Fprintf(w, "  + %s  %s\n", g.New, orNobody(g.NewPolicies))
		for _, e := range g.Examples {
			fmt.Fprintf(w, "      %s  %s  %s\n", e.At.UTC().Format("2006-01-02 15:04:05"), line(e.Who), safe(e.Text))
		}
	}
	fmt.Fprintf(w, "%d operations replayed, %d decided otherwise", c.Replayed, c.Changed)
	if c.Unknown > 0 {
		fmt.Fprintf(w, ", %d that cannot be replayed", c.Unknown)
	}
	fmt.Fprintln(w)
}

// safe shows a text that was rendered when it was written down: its marks stand as they are.
func safe(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == markOpen || r == markClose {
			b.WriteRune(r)
			continue
		}
		b.WriteString(Render([]byte(string(r))))
	}
	return b.String()
}
