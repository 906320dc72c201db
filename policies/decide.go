package policies

import (
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// Bounds of one request, beyond which it is denied: whoever sends more wants something else than a decision.
const (
	maxContextBytes = 1 << 20
	maxContextItems = 1 << 15 // strings in all lists that policies look at
	maxGroups       = 1 << 10
	maxLabels       = 1 << 8
)

// Decide answers r. It never fails: whatever goes wrong is a deny whose Errors say so. It is safe for concurrent use,
// keeps nothing of r, and does not change it.
//
// Any error in any policy denies, since the policy that could not be evaluated may be the forbid that mattered; then
// any forbid denies; then no permit denies; then any permit with @hold holds; the rest is allowed.
func (s *Set) Decide(r Request) (d Decision) {
	defer func() {
		if p := recover(); p != nil {
			d = Decision{Why: "the decision could not be made", Errors: []string{fmt.Sprintf("panic: %v", p)}}
		}
	}()
	if r.Principal.Delegation != nil {
		return s.decideDelegated(r)
	}
	return s.decide(r)
}

// decide asks the policies alone.
func (s *Set) decide(r Request) Decision {
	q, err := s.query(r)
	if err != nil {
		return Decision{Why: "the request cannot be decided on", Errors: []string{err.Error()}}
	}
	effect, diagnostic := cedar.Authorize(q.candidates, q, q.request)
	return s.judge(r, effect == cedar.Allow, diagnostic)
}

// judge turns Cedar's answer into a decision.
func (s *Set) judge(r Request, permitted bool, diagnostic cedar.Diagnostic) Decision {
	var deciding, holding []*policy
	input := false
	for _, reason := range diagnostic.Reasons {
		p := s.byID[reason.PolicyID]
		deciding = append(deciding, p)
		input = input || p.input
		if p.holds {
			holding = append(holding, p)
		}
	}
	switch {
	case len(diagnostic.Errors) > 0:
		return s.failed(diagnostic)
	case len(deciding) == 0:
		return Decision{Why: fmt.Sprintf("no policy permits %s on %s", r.Action, r.Target.Name)}
	case !permitted:
		return Decision{Policies: refs(deciding), Why: whyOf(deciding, "forbidden by policy "+ids(deciding))}
	case len(holding) > 0:
		d := hold(holding)
		d.RecordInput = input
		return d
	}
	return Decision{Effect: EffectAllow, RecordInput: input, Policies: refs(deciding), Why: whyOf(deciding, "permitted by policy "+ids(deciding))}
}

func hold(holding []*policy) Decision {
	terms := make([]Terms, len(holding))
	for i, p := range holding {
		terms[i] = p.terms
	}
	t := combine(terms)
	return Decision{Effect: EffectHold, Policies: refs(holding), Terms: t, Why: whyOf(holding, "held by policy "+ids(holding)+" for "+t.String())}
}

// failed denies because policies could not be evaluated.
func (s *Set) failed(diagnostic cedar.Diagnostic) Decision {
	d := Decision{Why: "a policy could not be evaluated"}
	for _, e := range diagnostic.Errors {
		p := s.byID[e.PolicyID]
		d.Policies = append(d.Policies, p.ref)
		d.Errors = append(d.Errors, fmt.Sprintf("policy %s: %s", p.ref, e.Message))
	}
	return d
}

// String says who must approve: "dba or approvers", "2 of dba and 1 of security".
func (t Terms) String() string {
	needs := t.needs()
	parts := make([]string, len(needs))
	for i, n := range needs {
		parts[i] = strings.Join(n.Groups, " or ")
		if len(needs) > 1 || n.Quorum > 1 {
			parts[i] = fmt.Sprintf("%d of %s", max(n.Quorum, 1), parts[i])
		}
	}
	return strings.Join(parts, ", and ")
}

func refs(ps []*policy) []Ref {
	out := make([]Ref, len(ps))
	for i, p := range ps {
		out[i] = p.ref
	}
	return out
}

func ids(ps []*policy) string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.ref.ID
	}
	return strings.Join(out, ", ")
}

// whyOf adds what the policies themselves have to say to people.
func whyOf(ps []*policy, plain string) string {
	separator := ": "
	for _, p := range ps {
		if p.why != "" {
			plain += separator + p.why
			separator = "; "
		}
	}
	return plain
}

// query is a request in Cedar's terms. It is also the entities that Cedar may look at.
type query struct {
	request    cedar.Request
	candidates candidates
	principal  cedar.Entity
	person     cedar.Entity // for whom an agent acts; zero: nobody
	target     cedar.Entity
	vocabulary *vocabulary
}

// candidates are the policies that can apply, in order.
type candidates []*policy

// All lets Cedar walk them.
func (c candidates) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, p := range c {
			if !yield(p.key, p.cedar) {
				return
			}
		}
	}
}

// Get returns an entity of the request. Groups and labels have nothing to look at.
func (q *query) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	switch uid.Type {
	case typeHuman, typeAgent:
		if uid == q.principal.UID {
			return q.principal, true
		}
		if uid == q.person.UID {
			return q.person, true
		}
	case typeTarget:
		if uid == q.target.UID {
			return q.target, true
		}
	case typeAction:
		e, ok := q.vocabulary.entities[uid]
		return e, ok
	}
	return cedar.Entity{}, false
}

func (s *Set) query(r Request) (*query, error) {
	if s == nil {
		return nil, fmt.Errorf("no policies are in force")
	}
	v := words()
	a, ok := v.actions[r.Action]
	if !ok {
		return nil, fmt.Errorf("unknown action %q", clip(r.Action))
	}
	q := &query{vocabulary: v, candidates: s.byAction[r.Action]}
	if err := q.setPrincipal(&r.Principal); err != nil {
		return nil, err
	}
	if err := q.setTarget(r.Target); err != nil {
		return nil, err
	}
	context, err := a.record(r.Context, s.facts[r.Action])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Action, err)
	}
	q.request = cedar.Request{Principal: q.principal.UID, Action: a.uid, Resource: q.target.UID, Context: context}
	return q, nil
}

func (q *query) setPrincipal(p *Principal) error {
	if err := p.check(); err != nil {
		return err
	}
	attributes := p.attributes()
	q.principal = cedar.Entity{UID: p.uid(), Parents: p.parents()}
	if person := p.Person(); p.Kind == Agent && person != nil {
		attributes["onBehalfOf"] = person.uid()
		q.person = cedar.Entity{UID: person.uid(), Parents: person.parents(), Attributes: cedar.NewRecord(person.attributes())}
	}
	q.principal.Attributes = cedar.NewRecord(attributes)
	return nil
}

// check refuses a principal that no certificate of ours could name.
func (p *Principal) check() error {
	chain := p.chain()
	for i, q := range chain {
		switch {
		case q.Key == "":
			return fmt.Errorf("a principal without a key")
		case q.Kind != Human && q.Kind != Agent:
			return fmt.Errorf("a principal of unknown kind %q", clip(q.Kind))
		case q.Kind == Human && q.OnBehalfOf != nil:
			return fmt.Errorf("a human who acts on behalf of somebody")
		case len(q.Groups) > maxGroups:
			return fmt.Errorf("a principal in %d groups", len(q.Groups))
		case i > maxDelegation-1 && q.OnBehalfOf != nil:
			return fmt.Errorf("a delegation through more than %d agents", maxDelegation)
		}
	}
	return nil
}

func (p *Principal) uid() cedar.EntityUID {
	t := typeAgent
	if p.Kind == Human {
		t = typeHuman
	}
	return cedar.EntityUID{Type: t, ID: types.String(p.Key)}
}

func (p *Principal) parents() cedar.EntityUIDSet {
	groups := make([]cedar.EntityUID, len(p.Groups))
	for i, g := range p.Groups {
		groups[i] = cedar.EntityUID{Type: typeGroup, ID: types.String(g)}
	}
	return cedar.NewEntityUIDSet(groups...)
}

func (p *Principal) attributes() cedar.RecordMap {
	m := cedar.RecordMap{"key": cedar.String(p.Key), "name": cedar.String(p.Name)}
	if p.Email != "" {
		m["email"] = cedar.String(p.Email)
	}
	return m
}

func (q *query) setTarget(t Target) error {
	if t.Name == "" || t.Kind == "" {
		return fmt.Errorf("a target without a name or a kind")
	}
	if len(t.Labels) > maxLabels {
		return fmt.Errorf("target %s has %d labels", t.Name, len(t.Labels))
	}
	labels := make([]cedar.EntityUID, 0, len(t.Labels))
	tags := make(cedar.RecordMap, len(t.Labels))
	for k, v := range t.Labels {
		if k == "" || strings.Contains(k, "=") {
			// "a=b" with value "c" would be the label of "a" with value "b=c".
			return fmt.Errorf("target %s has a label with the name %q", t.Name, clip(k))
		}
		labels = append(labels, cedar.EntityUID{Type: typeLabel, ID: types.String(k + "=" + v)})
		tags[types.String(k)] = cedar.String(v)
	}
	q.target = cedar.Entity{
		UID:        cedar.EntityUID{Type: typeTarget, ID: types.String(t.Name)},
		Parents:    cedar.NewEntityUIDSet(labels...),
		Attributes: cedar.NewRecord(cedar.RecordMap{"name": cedar.String(t.Name), "kind": cedar.String(t.Kind)}),
		Tags:       cedar.NewRecord(tags),
	}
	return nil
}

// ContextKeys returns the names that the context of an action may have, sorted; nil for an unknown action. Whatever else
// a request brings along, no policy can see.
func ContextKeys(actionName string) []string {
	a, ok := words().actions[actionName]
	if !ok {
		return nil
	}
	return sortedKeys(a.context)
}

// record makes the context that policies see. What the schema requires must be there: a decision without the facts
// it is about would be a guess. Facts that no policy looks at are not converted: that is most of the cost, and all that
// a hostile command could drive up.
func (a *action) record(given map[string]any, used map[string]bool) (cedar.Record, error) {
	m := make(cedar.RecordMap, len(given)+1)
	var size budget
	for name, value := range given {
		f, ok := a.context[name]
		if !ok || !used[name] {
			continue
		}
		v, err := f.kind.convert(value, &size)
		if err != nil {
			return cedar.Record{}, fmt.Errorf("fact %s: %w", name, err)
		}
		m[types.String(name)] = v
	}
	if _, ok := given["now"]; !ok && used["now"] {
		m["now"] = cedar.NewDatetime(time.Now())
	}
	if size.bytes > maxContextBytes || size.items > maxContextItems {
		return cedar.Record{}, fmt.Errorf("facts of %d bytes in %d items are too many", size.bytes, size.items)
	}
	for _, name := range a.required {
		if _, ok := given[name]; !ok {
			return cedar.Record{}, fmt.Errorf("fact %s is missing", name)
		}
	}
	return cedar.NewRecord(m), nil
}

// budget counts what a context holds.
type budget struct{ bytes, items int }

func (b *budget) add(s string) cedar.String {
	b.bytes += len(s)
	b.items++
	return cedar.String(s)
}

func (k factKind) convert(value any, size *budget) (cedar.Value, error) {
	switch v := value.(type) {
	case bool:
		if k == factBool {
			return cedar.Boolean(v), nil
		}
	case int:
		if k == factLong {
			return cedar.Long(v), nil
		}
	case int64:
		if k == factLong {
			return cedar.Long(v), nil
		}
	case time.Time:
		if k == factTime {
			return cedar.NewDatetime(v), nil
		}
	case string:
		if k == factString {
			return size.add(v), nil
		}
		if k == factAddress {
			return address(v)
		}
	case []string:
		if k == factStrings {
			return stringSet(v, size)
		}
	case []any: // a list that went through JSON
		list, err := stringsOf(v)
		if err != nil {
			return nil, err
		}
		if k == factStrings {
			return stringSet(list, size)
		}
	}
	return nil, fmt.Errorf("is %T, not %s", value, factNames[k])
}

func stringsOf(v []any) ([]string, error) {
	out := make([]string, len(v))
	for i, e := range v {
		s, ok := e.(string)
		if !ok {
			return nil, fmt.Errorf("has an element that is %T, not a string", e)
		}
		out[i] = s
	}
	return out, nil
}

func stringSet(list []string, size *budget) (cedar.Value, error) {
	if len(list) > maxContextItems {
		return nil, fmt.Errorf("has %d items", len(list))
	}
	values := make([]cedar.Value, len(list))
	for i, s := range list {
		values[i] = size.add(s)
	}
	return cedar.NewSet(values...), nil
}

// address reads an IP address. An IPv4 address mapped into IPv6 is the IPv4 address, so that it cannot slip past a
// range, and a zone is no part of what a policy compares.
func address(s string) (cedar.Value, error) {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not an IP address", clip(s))
	}
	ip = ip.Unmap().WithZone("")
	return types.IPAddr(netip.PrefixFrom(ip, ip.BitLen())), nil
}

// clip shortens what a peer sent for a message.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

// OwnerContext returns the facts that say whose session, recording or request something is, for recording:*,
// session:list, session:kill, approval:list.
func OwnerContext(owner Principal) map[string]any {
	m := map[string]any{"owner": owner.Key}
	if person := owner.Person(); person != nil && person.Key != owner.Key {
		m["ownerFor"] = person.Key
	}
	return m
}

// ApprovalContext returns the facts for approval:give on h.
func ApprovalContext(h Hold) map[string]any {
	m := OwnerContext(h.Principal)
	m["held"], m["policy"] = h.Action, h.Policy.ID
	return m
}
