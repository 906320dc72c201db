package policies

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// check compares one policy with the schema: Cedar's own strict type check, and what that lets pass because it only
// means that a policy never applies: a mistyped name after `has`, a class that no fact ever has.
func (p *policy) check() Problems {
	problems := p.checkTypes()
	if err := words().validator.Policy("", p.tree); err != nil {
		errs := flatten(err)
		if len(problems) > 0 { // which say the same, and where
			errs = slices.DeleteFunc(errs, func(err error) bool { return errTypes.MatchString(err.Error()) })
		}
		problems = append(problems, p.explainTypes(errs)...)
	}
	problems = append(problems, p.checkHas()...)
	problems = append(problems, p.checkNames()...)
	problems = append(problems, p.checkRecord()...)
	return dedupe(append(problems, p.checkValues()...))
}

// checkRecord finds a policy that asks for a record of sessions and lets none in.
func (p *policy) checkRecord() Problems {
	if !p.input || p.scopeHas(words().actions["session:open"]) {
		return nil
	}
	return Problems{p.problem(find(p.source, p.start, p.end, "@", "record"), "@record: the policy lets no session in",
		`write it on a permit whose action may be Action::"session:open"`)}
}

func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, flatten(e)...)
	}
	return out
}

func dedupe(ps Problems) Problems {
	seen := map[Problem]bool{}
	var out Problems
	for _, p := range ps {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

var (
	errAction    = regexp.MustCompile("^unrecognized action `Action::\"(.*)\"`$")
	errEntity    = regexp.MustCompile("^unrecognized entity type `(.*)`$")
	errContext   = regexp.MustCompile("^attribute `(.*)` in context for Action::\"(.*)\" not found$")
	errAttribute = regexp.MustCompile("^attribute `(.*)` on entity types? (.*) not found$")
	errOptional  = regexp.MustCompile("^unable to guarantee safety of access to optional attribute `([^`]*)`")
	errTypes     = regexp.MustCompile("^(the types .* are not compatible|unexpected type: |empty set literals)")
	errLiteral   = regexp.MustCompile("^error during extension function argument validation: (.*): `(\".*\")`$")
	errNowhere   = regexp.MustCompile("^unable to find an applicable action")
)

// explainTypes says in our words, and with a place, what Cedar's type check found. Cedar repeats itself for every
// action and type that a policy may be about; here each name counts once.
func (p *policy) explainTypes(errs []error) Problems {
	var problems Problems
	missing := map[string][]string{} // a fact, and the actions that do not have it
	nowhere := false
	for _, err := range errs {
		text := err.Error()
		if m := errContext.FindStringSubmatch(text); m != nil {
			missing[m[1]] = append(missing[m[1]], m[2])
			continue
		}
		if errNowhere.MatchString(text) {
			nowhere = true
			continue
		}
		problems = append(problems, p.explainType(text))
	}
	for _, name := range sortedKeys(missing) {
		problems = append(problems, p.missingFact(name, missing[name]))
	}
	if nowhere && len(problems) == 0 {
		problems = append(problems, p.nowhere())
	}
	return problems
}

// nowhere explains a scope that no request meets, by what is wrong with it where that is plain.
func (p *policy) nowhere() Problem {
	if s, ok := p.tree.Action.(ast.ScopeTypeEq); ok {
		if _, asked := words().actions[string(s.Entity.ID)]; !asked {
			return p.problem(p.find("action"), fmt.Sprintf("Action::%q is a group of actions, which nothing equals: the policy never applies", string(s.Entity.ID)),
				fmt.Sprintf("write action in Action::%q", string(s.Entity.ID)))
		}
	}
	if s, ok := p.tree.Principal.(ast.ScopeTypeEq); ok && s.Entity.Type == typeGroup {
		return p.problem(p.find("principal"), fmt.Sprintf("no principal equals Group::%q: the policy never applies", string(s.Entity.ID)),
			fmt.Sprintf("write principal in Group::%q", string(s.Entity.ID)))
	}
	if s, ok := p.tree.Resource.(ast.ScopeTypeEq); ok && s.Entity.Type == typeLabel {
		return p.problem(p.find("resource"), fmt.Sprintf("no resource equals Label::%q: the policy never applies", string(s.Entity.ID)),
			fmt.Sprintf("write resource in Label::%q", string(s.Entity.ID)))
	}
	return p.problem(p.start, "no action has such a principal and resource: the policy never applies",
		"principals are Human and Agent (groups: `principal in Group::\"x\"`), resources are Target (labels: `resource in Label::\"env=prod\"`)")
}

func (p *policy) explainType(text string) Problem {
	if m := errLiteral.FindStringSubmatch(text); m != nil {
		return p.problem(p.find(m[2]), fmt.Sprintf("%s is no %s", m[2], strings.TrimPrefix(strings.TrimPrefix(m[1], "failed to parse as "), "a ")),
			`write ip("10.0.0.0/8"), datetime("2026-12-24T18:00:00Z"), duration("1h30m"), decimal("1.5")`)
	}
	if strings.HasPrefix(text, "empty set literals") {
		return p.problem(p.find("[", "]"), "an empty set holds nothing: the condition is always the same", "name what it may hold, or write .isEmpty()")
	}
	if m := errAction.FindStringSubmatch(text); m != nil {
		return p.problem(p.find(`"`+m[1]+`"`), fmt.Sprintf("unknown action %q", m[1]),
			didYouMean(m[1], actionNames(), "the schema lists the actions: sallyport policy schema"))
	}
	if m := errEntity.FindStringSubmatch(text); m != nil {
		types := []string{string(typeHuman), string(typeAgent), string(typeGroup), string(typeLabel), string(typeTarget), string(typeAction)}
		return p.problem(p.find(m[1]), fmt.Sprintf("unknown entity type %q", m[1]),
			didYouMean(m[1], types, "there are "+strings.Join(types, ", ")))
	}
	if m := errAttribute.FindStringSubmatch(text); m != nil {
		return p.problem(p.find(".", m[1]), fmt.Sprintf("%s has no attribute %q", strings.ReplaceAll(m[2], "`", ""), m[1]),
			attributeHint(m[1]))
	}
	if m := errOptional.FindStringSubmatch(text); m != nil {
		on, _, found := strings.Cut(m[1], ".")
		if !found {
			on = m[1]
		}
		where := p.variableOf(on)
		return p.problem(p.find(where, ".", on), fmt.Sprintf("%s.%s may be missing", where, on),
			fmt.Sprintf("guard it: `%s has %s && %s.%s ...`", where, on, where, on))
	}
	return p.problem(p.start, text, "see sallyport policy schema for the types")
}

// attributeHint says what to do about an attribute that a type does not have.
func attributeHint(name string) string {
	all := entityAttributes("")
	if slices.Contains(all, name) {
		return fmt.Sprintf("others have it: guard it with `principal is Agent && principal has %s && ...`", name)
	}
	return didYouMean(name, all, "there are "+strings.Join(all, ", "))
}

// missingFact explains a fact that some or all actions of a policy do not have.
func (p *policy) missingFact(name string, actions []string) Problem {
	at := p.find("context", ".", name)
	known := allFacts()
	if !slices.Contains(known, name) {
		return p.problem(at, fmt.Sprintf("unknown fact context.%s", name), didYouMean(name, known, "the schema lists the facts: sallyport policy schema"))
	}
	slices.Sort(actions)
	some := strings.Join(actions[:min(3, len(actions))], ", ")
	if len(actions) > 3 {
		some += ", ..."
	}
	return p.problem(at, fmt.Sprintf("context.%s is not a fact of %s", name, some),
		fmt.Sprintf("guard it: `context has %s && ...`, or name the actions that have it in the scope", name))
}

// find returns where words stand in the policy, or where it starts.
func (p *policy) find(words ...string) int { return find(p.source, p.start, p.end, words...) }

// variableOf returns on which variable the policy uses an attribute.
func (p *policy) variableOf(attribute string) string {
	for _, u := range p.attributesUsed() {
		if u.name == attribute {
			return u.of
		}
	}
	return "context"
}

// use is an attribute that a policy reads, or asks for with has.
type use struct {
	of   string // principal, resource, context, or "" for something else
	name string
	has  bool
}

// walk shows every expression of the policy to visit.
func (p *policy) walk(visit func(ast.IsNode)) {
	for _, c := range p.tree.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			visit(n)
			return true
		})
	}
}

func (p *policy) attributesUsed() []use {
	var uses []use
	p.walk(func(n ast.IsNode) {
		switch n := n.(type) {
		case ast.NodeTypeAccess:
			uses = append(uses, use{of: variable(n.Arg), name: string(n.Value)})
		case ast.NodeTypeHas:
			uses = append(uses, use{of: variable(n.Arg), name: string(n.Value), has: true})
		}
	})
	return uses
}

func variable(n ast.IsNode) string {
	if v, ok := n.(ast.NodeTypeVariable); ok {
		return string(v.Name)
	}
	return ""
}

// usesWhole reports whether the policy uses a variable other than by its attributes.
func (p *policy) usesWhole(name string) bool {
	all, by := 0, 0
	p.walk(func(n ast.IsNode) {
		if variable(n) == name {
			all++
		}
	})
	for _, u := range p.attributesUsed() {
		if u.of == name {
			by++
		}
	}
	return all > by
}

// checkHas finds names after `has` that nothing ever has. To Cedar that is merely false, always.
func (p *policy) checkHas() Problems {
	var problems Problems
	for _, u := range p.attributesUsed() {
		if !u.has {
			continue
		}
		known := entityAttributes(u.of)
		if u.of == "context" {
			known = p.factsInScope()
		}
		if slices.Contains(known, u.name) {
			continue
		}
		on := u.of
		if on == "" {
			on = "nothing"
		}
		problems = append(problems, p.problem(p.find("has", u.name),
			fmt.Sprintf("%s never has %q: the condition is always false", on, u.name),
			didYouMean(u.name, known, "no action that the policy is about knows this name")))
	}
	return problems
}

// factsInScope returns the facts of the actions that the policy's scope leaves room for.
func (p *policy) factsInScope() []string {
	known := map[string]bool{}
	for _, a := range words().actions {
		if p.scopeHas(a) {
			for name := range a.context {
				known[name] = true
			}
		}
	}
	return sortedKeys(known)
}

// vocabularies are the values that a string has if it has any. A policy that compares with something else never
// applies, which for a forbid is a hole.
var vocabularies = map[use][]string{
	{of: "context", name: "classes"}: {"read", "write", "destructive", "privilege", "exfiltration", "persistence", "interpreter", "network"},
	{of: "context", name: "guard"}:   {"hook", "screen", "none", "n/a"},
	{of: "context", name: "seen"}:    {"both", "screen", "differ", "hidden"},
	{of: "context", name: "kind"}:    {"shell", "exec", "subsystem", "forward"},
	{of: "resource", name: "kind"}:   {"ssh", "shell", "postgres", "kubernetes", "tcp", "gate"},
}

// checkValues finds comparisons of such strings with anything else.
func (p *policy) checkValues() Problems {
	var problems Problems
	p.walk(func(n ast.IsNode) {
		left, right, ok := comparison(n)
		if !ok {
			return
		}
		for _, side := range [][2]ast.IsNode{{left, right}, {right, left}} {
			access, ok := side[0].(ast.NodeTypeAccess)
			if !ok {
				continue
			}
			known := vocabularies[use{of: variable(access.Arg), name: string(access.Value)}]
			if known == nil {
				continue
			}
			for _, s := range literals(side[1]) {
				if !slices.Contains(known, s) {
					problems = append(problems, p.problem(p.find(`"`+s+`"`),
						fmt.Sprintf("%s.%s is never %q", variable(access.Arg), access.Value, s),
						didYouMean(s, known, "it is one of "+strings.Join(known, ", "))))
				}
			}
		}
	})
	return problems
}

// comparison takes apart the expressions that compare strings or sets of them.
func comparison(n ast.IsNode) (left, right ast.IsNode, ok bool) {
	switch n := n.(type) {
	case ast.NodeTypeEquals:
		return n.Left, n.Right, true
	case ast.NodeTypeNotEquals:
		return n.Left, n.Right, true
	case ast.NodeTypeContains:
		return n.Left, n.Right, true
	case ast.NodeTypeContainsAll:
		return n.Left, n.Right, true
	case ast.NodeTypeContainsAny:
		return n.Left, n.Right, true
	}
	return nil, nil, false
}

// literals returns the strings of a literal, or of a set of literals.
func literals(n ast.IsNode) []string {
	switch n := n.(type) {
	case ast.NodeValue:
		switch v := n.Value.(type) {
		case cedar.String:
			return []string{string(v)}
		case cedar.Set:
			var out []string
			for e := range v.All() {
				out = append(out, literals(ast.NodeValue{Value: e})...)
			}
			slices.Sort(out)
			return out
		}
	case ast.NodeTypeSet:
		var out []string
		for _, e := range n.Elements {
			out = append(out, literals(e)...)
		}
		return out
	}
	return nil
}

func actionNames() []string {
	var names []string
	for uid := range words().entities {
		names = append(names, string(uid.ID))
	}
	slices.Sort(names)
	return names
}

func allFacts() []string {
	known := map[string]bool{}
	for _, a := range words().actions {
		for name := range a.context {
			known[name] = true
		}
	}
	return sortedKeys(known)
}

// entityAttributes returns the attributes that principal or resource may have; of all entities for any other name.
func entityAttributes(variable string) []string {
	types := map[string][]cedar.EntityType{"principal": {typeHuman, typeAgent}, "resource": {typeTarget}}[variable]
	if types == nil {
		types = slices.Collect(maps.Keys(words().schema.Entities))
	}
	known := map[string]bool{}
	for _, t := range types {
		for name := range words().schema.Entities[t].Shape {
			known[string(name)] = true
		}
	}
	return sortedKeys(known)
}

// Check reports what is not an error and still surely not meant: permits that a forbid always overrides, policies that
// say the same twice, and sets that permit nothing. It returns nil if it finds none.
func (s *Set) Check() Problems {
	if s.Len() == 0 {
		return Problems{{Line: 1, Column: 1, What: "the set has no policy: everything is denied"}}
	}
	var problems Problems
	permits := 0
	for i, p := range s.policies {
		if p.permit {
			permits++
		}
		if p.never() {
			problems = append(problems, p.problem(p.start, "never applies: its conditions contradict each other, or its scope",
				"remove the policy, or what cannot be at once"))
			continue
		}
		for j, q := range s.policies {
			if i == j || !q.covers(p) {
				continue
			}
			switch {
			case p.permit && !q.permit:
				problems = append(problems, p.problem(p.start, fmt.Sprintf("never permits anything: %s forbids all of it", q.ref),
					"remove one of the two, or narrow the forbid with unless"))
			case p.permit == q.permit && !p.holds && !q.holds && (j < i || !p.covers(q)):
				problems = append(problems, p.problem(p.start, fmt.Sprintf("says nothing that %s does not say", q.ref), "remove it"))
			case p.permit && q.permit && !p.holds && q.holds:
				problems = append(problems, p.problem(p.start, fmt.Sprintf("never lets anything pass: %s holds all of it", q.ref),
					"narrow one of the two"))
			}
		}
	}
	problems = append(problems, s.unanswerable()...)
	if permits == 0 {
		p := s.policies[0]
		problems = append(problems, p.problem(p.start, "the set has no permit: everything is denied", "see policies/README.md"))
	}
	return problems
}

// covers reports whether q surely applies wherever p does: its scope is at least as wide, and each of its conditions is
// one of p's.
func (q *policy) covers(p *policy) bool {
	if !coversScope(q.tree.Principal, p.tree.Principal) || !coversScope(q.tree.Resource, p.tree.Resource) {
		return false
	}
	for _, a := range words().actions {
		if p.scopeHas(a) && !q.scopeHas(a) {
			return false
		}
	}
	for _, c := range q.tree.Conditions {
		if v, ok := c.Body.(ast.NodeValue); ok && v.Value == cedar.Value(cedar.Boolean(c.Condition)) {
			continue // always met
		}
		if !slices.ContainsFunc(p.tree.Conditions, func(d ast.ConditionType) bool {
			return c.Condition == d.Condition && ast.Equal(ast.NewNode(c.Body), ast.NewNode(d.Body))
		}) {
			return false
		}
	}
	return true
}

// coversScope reports whether a principal or resource scope surely takes in another.
func coversScope(wide, narrow ast.IsScopeNode) bool {
	if _, ok := wide.(ast.ScopeTypeAll); ok || wide == narrow {
		return true
	}
	n, ok := narrow.(ast.ScopeTypeIsIn)
	switch w := wide.(type) {
	case ast.ScopeTypeIs:
		if eq, isEq := narrow.(ast.ScopeTypeEq); isEq {
			return eq.Entity.Type == w.Type
		}
		return ok && n.Type == w.Type
	case ast.ScopeTypeIn:
		return ok && n.Entity == w.Entity
	}
	return false
}

// ErrorsOf returns the problems in an error of Parse or Load; nil if it is about something else.
func ErrorsOf(err error) Problems {
	var ps Problems
	errors.As(err, &ps)
	return ps
}
