package policies

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
)

// Explanation says how a request is decided, and by what.
type Explanation struct {
	Decision  Decision       `json:"decision"`
	Principal Principal      `json:"principal"`
	Action    string         `json:"action"`
	Target    Target         `json:"target"`
	Facts     map[string]any `json:"facts,omitempty"`
	Policies  []Part         `json:"policies"` // every policy whose scope has the action, in order
}

// Part is what one policy had to say.
type Part struct {
	Ref     Ref    `json:"ref"`
	Says    Effect `json:"says"`    // what it says where it applies
	Applies bool   `json:"applies"` // to this request
	Decides bool   `json:"decides"` // it is one of those that made the decision
	Why     string `json:"why,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Explain decides r and tells how. It decides exactly as [Set.Decide] does.
func (s *Set) Explain(r Request) Explanation {
	e := Explanation{Decision: s.Decide(r), Principal: r.Principal, Action: r.Action, Target: r.Target, Facts: r.Context}
	q, err := s.query(r)
	if err != nil {
		return e
	}
	for _, p := range q.candidates {
		e.Policies = append(e.Policies, e.part(q, p))
	}
	return e
}

// part evaluates one policy by itself.
func (e *Explanation) part(q *query, p *policy) Part {
	part := Part{Ref: p.ref, Says: p.says(), Why: p.why, Decides: slices.Contains(e.Decision.Policies, p.ref)}
	_, diagnostic := cedar.Authorize(candidates{p}, q, q.request)
	part.Applies = len(diagnostic.Reasons) > 0
	if len(diagnostic.Errors) > 0 {
		part.Error = diagnostic.Errors[0].Message
	}
	return part
}

func (p *policy) says() Effect {
	switch {
	case !p.permit:
		return EffectDeny
	case p.holds:
		return EffectHold
	}
	return EffectAllow
}

// String writes the explanation for a terminal: the first line is allow, hold or deny and nothing else.
func (e Explanation) String() string {
	var b strings.Builder
	d := e.Decision
	fmt.Fprintf(&b, "%s\n\n%s\n", d.Effect, line(d.Why))
	for _, err := range d.Errors {
		fmt.Fprintf(&b, "error: %s\n", line(err))
	}
	if d.Effect == EffectHold {
		fmt.Fprintf(&b, "\nterms\n%s", d.Terms.table())
	}
	if d.RecordInput {
		b.WriteString("\nwhat is typed in the session is recorded as well\n")
	}
	fmt.Fprintf(&b, "\nrequest\n%s", e.table())
	if len(e.Facts) > 0 {
		fmt.Fprintf(&b, "\nfacts\n%s", factsTable(e.Facts))
	}
	b.WriteString("\npolicies\n")
	took := false
	for _, p := range e.Policies {
		if p.Applies || p.Error != "" {
			took = true
			fmt.Fprintf(&b, "  %-5s  %s%s\n", p.Says, p.Ref, p.note())
		}
	}
	if !took {
		fmt.Fprintf(&b, "  none applies, of %d that are about %s\n", len(e.Policies), line(e.Action))
	}
	return b.String()
}

func (p Part) note() string {
	switch {
	case p.Error != "":
		return "  error: " + line(p.Error)
	case p.Decides:
		return "  decides"
	}
	return "  overridden"
}

// line makes text from elsewhere fit on a line of a terminal.
func line(s string) string { return Render([]byte(s)) }

func (t Terms) table() string {
	rows := [][2]string{{"approvers", t.String()}, {"wait", t.Wait.String()}}
	if t.Widest() != ScopeOnce {
		rows = append(rows, [2]string{"grant", t.cover()})
	}
	for _, n := range t.needs() {
		for _, e := range n.Escalate {
			rows = append(rows, [2]string{"escalate", fmt.Sprintf("after %s also %s, for %s", e.After, strings.Join(e.Groups, " or "), n.who())})
		}
	}
	if t.Advance > 0 {
		rows = append(rows, [2]string{"advance", t.Advance.String()})
	}
	if t.Reason {
		rows = append(rows, [2]string{"reason", "required"})
	}
	return table(rows)
}

func (e Explanation) table() string {
	who := e.Principal.Kind + " " + e.Principal.String()
	for _, p := range e.Principal.chain() {
		if len(p.Groups) > 0 {
			who += fmt.Sprintf(" (%s in %s)", p.label(), strings.Join(p.Groups, ", "))
		}
	}
	where := e.Target.Name + " (" + e.Target.Kind + ")"
	for _, k := range sortedKeys(e.Target.Labels) {
		where += " " + k + "=" + e.Target.Labels[k]
	}
	return table([][2]string{{"identity", who}, {"action", e.Action}, {"target", where}})
}

func factsTable(facts map[string]any) string {
	var rows [][2]string
	for _, k := range sortedKeys(facts) {
		switch v := facts[k].(type) {
		case []string:
			quoted := make([]string, len(v))
			for i, s := range v {
				quoted[i] = strconv.QuoteToGraphic(s)
			}
			rows = append(rows, [2]string{k, strings.Join(quoted, ", ")})
		case time.Time:
			rows = append(rows, [2]string{k, v.Format(time.RFC3339)})
		default:
			rows = append(rows, [2]string{k, fmt.Sprint(v)})
		}
	}
	return table(rows)
}

func table(rows [][2]string) string {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, line(r[0]), line(r[1]))
	}
	return b.String()
}

// ParseIdentity reads an identity written as
//
//	human:NAME[:GROUP,...]
//	agent:NAME[@HUMAN][:GROUP,...]
//
// Known, if not nil, resolves the name of the human for whom an agent acts. Where it does not know the name, and where
// it is nil, that human is taken to be in the same groups as the agent.
func ParseIdentity(s string, known func(name string) (Principal, bool)) (Principal, error) {
	kind, rest, found := strings.Cut(s, ":")
	if !found || kind != Human && kind != Agent {
		return Principal{}, fmt.Errorf("identity %q: write human:NAME:GROUPS or agent:NAME@HUMAN:GROUPS", clip(s))
	}
	name, groups, _ := strings.Cut(rest, ":")
	name, of, acts := strings.Cut(name, "@")
	if name == "" || acts && of == "" || kind == Human && acts {
		return Principal{}, fmt.Errorf("identity %q: a name is missing, or does not belong", clip(s))
	}
	p := Principal{Key: "named#" + kind + ":" + name, Name: name, Kind: kind, Groups: splitList(groups)}
	if !acts {
		return p, nil
	}
	human := Principal{Key: "named#human:" + of, Name: of, Kind: Human, Groups: p.Groups}
	if known != nil {
		if h, ok := known(of); ok {
			human = h
		}
	}
	p.OnBehalfOf = &human
	return p, nil
}

func splitList(s string) []string {
	var out []string
	for e := range strings.SplitSeq(s, ",") {
		if e = strings.TrimSpace(e); e != "" {
			out = append(out, e)
		}
	}
	return out
}

// ParseTarget reads a target written as NAME:KIND[:KEY=VALUE,...].
func ParseTarget(s string) (Target, error) {
	parts := strings.SplitN(s, ":", 3)
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return Target{}, fmt.Errorf("target %q: write NAME:KIND or NAME:KIND:LABEL=VALUE with commas", clip(s))
	}
	t := Target{Name: parts[0], Kind: parts[1], Labels: map[string]string{}}
	if len(parts) == 3 {
		for _, label := range splitList(parts[2]) {
			k, v, ok := strings.Cut(label, "=")
			if !ok || k == "" {
				return Target{}, fmt.Errorf("target %q: label %q is not KEY=VALUE", clip(s), clip(label))
			}
			t.Labels[k] = v
		}
	}
	return t, nil
}

// ParseFact reads a fact written as NAME=VALUE, by the type that the schema gives it for an action. Lists have commas.
func ParseFact(actionName, s string) (name string, value any, err error) {
	a, ok := words().actions[actionName]
	if !ok {
		return "", nil, fmt.Errorf("unknown action %q; %s", clip(actionName), didYouMean(actionName, Actions(), "the schema lists them"))
	}
	name, text, _ := strings.Cut(s, "=")
	f, ok := a.context[name]
	if !ok {
		return "", nil, fmt.Errorf("%s has no fact %q; %s", actionName, clip(name), didYouMean(name, ContextKeys(actionName), "it has "+strings.Join(ContextKeys(actionName), ", ")))
	}
	switch f.kind {
	case factBool:
		value, err = strconv.ParseBool(text)
	case factLong:
		value, err = strconv.ParseInt(text, 10, 64)
	case factStrings:
		value = append([]string{}, splitList(text)...)
	case factTime:
		value, err = time.Parse(time.RFC3339, text)
	default:
		value = text
	}
	if err != nil {
		return "", nil, fmt.Errorf("fact %s of %s: %q is not %s", name, actionName, clip(text), factNames[f.kind])
	}
	return name, value, nil
}

// MarshalJSON writes facts as JSON can hold them, and the rest as it is.
func (e Explanation) MarshalJSON() ([]byte, error) {
	type plain Explanation
	if e.Policies == nil {
		e.Policies = []Part{}
	}
	return json.Marshal(plain(e))
}
