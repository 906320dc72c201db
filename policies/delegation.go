package policies

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
)

// A Delegation narrows an agent to a part of what the human may who handed it a certificate. It only takes away: within it
// the agent is decided on as any other, and what the human could not do is refused, or held as it would be for them.
type Delegation struct {
	Targets []string `json:"targets,omitempty"` // names; nil: all
	Actions []string `json:"actions,omitempty"` // actions, or groups of them such as "sql:read"; nil: all operations
}

// String is the delegation for people.
func (d Delegation) String() string {
	return listOr(d.Targets, "all targets") + "; " + listOr(d.Actions, "all operations")
}

func listOr(words []string, none string) string {
	if len(words) == 0 {
		return none
	}
	return strings.Join(words, ", ")
}

// KnownDelegation reports whether name is an action, or a group of actions, that can be handed on.
func KnownDelegation(name string) error {
	if name == "operation" || slices.Contains(delegable(), name) {
		return nil
	}
	return fmt.Errorf("unknown action %q; %s", clip(name), didYouMean(name, delegable(), "the schema lists them"))
}

// delegable are the names of all operations and of their groups.
func delegable() []string {
	var out []string
	for _, a := range words().actions {
		if !a.within[operations] && a.uid.ID != "unmask" {
			continue
		}
		for uid := range a.within {
			if uid != operations && !slices.Contains(out, string(uid.ID)) {
				out = append(out, string(uid.ID))
			}
		}
	}
	slices.Sort(out)
	return out
}

var operations = cedar.NewEntityUID(typeAction, "operation")

// excludes says why r is outside of what was handed on to its principal, or "".
func (d *Delegation) excludes(r Request) string {
	a, ok := words().actions[r.Action]
	switch {
	case !ok:
		return "" // refused elsewhere
	case r.Target.Kind != "gate" && len(d.Targets) > 0 && !slices.Contains(d.Targets, r.Target.Name):
		return fmt.Sprintf("this certificate was handed on for %s only", strings.Join(d.Targets, ", "))
	case !a.within[operations] && r.Action != "unmask":
		return d.excludesOther(r)
	case len(d.Actions) == 0 || a.isOneOf(d.Actions) || leadsTo(r):
		return ""
	}
	return fmt.Sprintf("this certificate was handed on for %s only", strings.Join(d.Actions, ", "))
}

// excludesOther is about what is no operation on a target: looking at evidence, approving, handing on.
func (d *Delegation) excludesOther(r Request) string {
	switch r.Action {
	case "session:list", "recording:list", "recording:view", "gate:view", "approval:list":
		if len(d.Actions) == 0 {
			return ""
		}
	}
	return "whoever came by a certificate that was handed on may not: " + r.Action
}

func (a *action) isOneOf(names []string) bool {
	for uid := range a.within {
		if slices.Contains(names, string(uid.ID)) {
			return true
		}
	}
	return false
}

// leadsTo reports whether r only opens the way to operations that are each decided on themselves: a session of which
// nobody knows what it runs does not.
func leadsTo(r Request) bool {
	switch r.Action {
	case "forward:open":
		return true
	case "session:open":
		guard, _ := r.Context["guard"].(string)
		kind, _ := r.Context["kind"].(string)
		return kind != "shell" || guard == "hook" || guard == "n/a"
	}
	return false
}

// decideDelegated decides for an agent by what was handed on to it: outside of that, no; within it, what is stricter of what is decided on
// the agent and on the human.
func (s *Set) decideDelegated(r Request) Decision {
	person := r.Principal.Person()
	if person == nil || person == &r.Principal {
		return Decision{Why: "the request cannot be decided on", Errors: []string{"a delegation without a human behind it"}}
	}
	if why := r.Principal.Delegation.excludes(r); why != "" {
		return Decision{Why: why}
	}
	agent := s.decide(r)
	if agent.Effect == EffectDeny {
		return agent
	}
	r.Principal = *person
	human := s.decide(r)
	switch {
	case human.Effect == EffectDeny:
		human.Why = fmt.Sprintf("%s may not either: %s", person.label(), human.Why)
		return human
	case agent.Effect == EffectHold && human.Effect == EffectHold:
		agent.Terms = combine([]Terms{agent.Terms, human.Terms})
		for _, ref := range human.Policies {
			if !slices.Contains(agent.Policies, ref) {
				agent.Policies = append(agent.Policies, ref)
			}
		}
		return agent
	case human.Effect == EffectHold:
		return human
	}
	return agent
}
