package policies

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// checkTypes finds what Cedar's type check finds too, but knows where it stands: comparisons of values that are never
// of one type, and methods of sets on what is no set.
func (p *policy) checkTypes() Problems {
	var problems Problems
	p.walk(func(n ast.IsNode) {
		switch n := n.(type) {
		case ast.NodeTypeEquals:
			problems = append(problems, p.comparable("==", n.Left, n.Right)...)
		case ast.NodeTypeNotEquals:
			problems = append(problems, p.comparable("!=", n.Left, n.Right)...)
		case ast.NodeTypeContains:
			problems = append(problems, p.ofSet("contains", n.Left, n.Right)...)
		case ast.NodeTypeContainsAll:
			problems = append(problems, p.ofSet("containsAll", n.Left, n.Right)...)
		case ast.NodeTypeContainsAny:
			problems = append(problems, p.ofSet("containsAny", n.Left, n.Right)...)
		case ast.NodeTypeIsEmpty:
			problems = append(problems, p.ofSet("isEmpty", n.Arg, nil)...)
		}
	})
	return problems
}

// comparable finds the two sides of a comparison that no request makes equal.
func (p *policy) comparable(operator string, left, right ast.IsNode) Problems {
	l, r := p.typeOf(left), p.typeOf(right)
	if l == "" || r == "" || l == r || l == "Set" && strings.HasPrefix(r, "Set<") || r == "Set" && strings.HasPrefix(l, "Set<") {
		return nil
	}
	hint := "compare it with a value of its own type"
	if name := nameOfNode(left); l == "Bool" && name != "" {
		hint = fmt.Sprintf("write %s, or !%s", name, name)
	} else if strings.HasPrefix(l, "Set<") && name != "" {
		hint = fmt.Sprintf("write %s.contains(...), or compare it with a set: [\"...\"]", name)
	}
	return Problems{p.problem(p.placeOf(left, right), fmt.Sprintf("%s %s %s compares a %s with a %s", describe(left), operator, describe(right), l, r), hint)}
}

// ofSet finds methods of sets on what is none, and asks for elements that it cannot have.
func (p *policy) ofSet(method string, on, arg ast.IsNode) Problems {
	t := p.typeOf(on)
	if t == "" || t == "Set" {
		return nil
	}
	if !strings.HasPrefix(t, "Set<") {
		hint := "." + method + "() is of sets"
		if t == "String" {
			hint += "; for a part of a text write: " + describe(on) + ` like "*x*"`
		}
		return Problems{p.problem(p.placeOf(on), fmt.Sprintf("%s is a %s and has no .%s()", describe(on), t, method), hint)}
	}
	want := t
	if method == "contains" {
		want = strings.TrimSuffix(strings.TrimPrefix(t, "Set<"), ">")
	}
	got := p.typeOf(arg)
	if arg == nil || got == "" || got == want || got == "Set" && method != "contains" {
		return nil
	}
	hint := fmt.Sprintf(".%s() takes a %s", method, want)
	if strings.HasPrefix(got, "Set<") && method == "contains" {
		hint += "; for a set write .containsAll() or .containsAny()"
	}
	return Problems{p.problem(p.placeOf(arg, on), fmt.Sprintf("%s.%s(%s): it holds %ss, not a %s", describe(on), method, describe(arg), strings.TrimSuffix(strings.TrimPrefix(t, "Set<"), ">"), got), hint)}
}

// typeOf is the type of an expression as far as that is plain, "" where it is not.
func (p *policy) typeOf(n ast.IsNode) string {
	switch n := n.(type) {
	case ast.NodeValue:
		return typeOfValue(n.Value)
	case ast.NodeTypeSet:
		return p.typeOfSet(n)
	case ast.NodeTypeAccess:
		return p.typeOfAttribute(n)
	case ast.NodeTypeGetTag:
		return "String"
	case ast.NodeTypeExtensionCall:
		return map[string]string{"ip": "ipaddr", "datetime": "datetime", "duration": "duration", "decimal": "decimal", "toTime": "duration", "toDate": "datetime"}[string(n.Name)]
	case ast.NodeTypeEquals, ast.NodeTypeNotEquals, ast.NodeTypeAnd, ast.NodeTypeOr, ast.NodeTypeNot, ast.NodeTypeHas, ast.NodeTypeLike,
		ast.NodeTypeIn, ast.NodeTypeIs, ast.NodeTypeIsIn, ast.NodeTypeContains, ast.NodeTypeContainsAll, ast.NodeTypeContainsAny, ast.NodeTypeIsEmpty:
		return "Bool"
	}
	return ""
}

func typeOfValue(v cedar.Value) string {
	switch v := v.(type) {
	case cedar.String:
		return "String"
	case cedar.Long:
		return "Long"
	case cedar.Boolean:
		return "Bool"
	case cedar.Set:
		for e := range v.All() {
			return "Set<" + typeOfValue(e) + ">"
		}
		return "Set"
	}
	return ""
}

func (p *policy) typeOfSet(n ast.NodeTypeSet) string {
	if len(n.Elements) == 0 {
		return "Set"
	}
	if t := p.typeOf(n.Elements[0]); t != "" {
		return "Set<" + t + ">"
	}
	return ""
}

var factTypes = map[factKind]string{
	factBool: "Bool", factLong: "Long", factString: "String", factStrings: "Set<String>", factTime: "datetime", factAddress: "ipaddr",
}

func (p *policy) typeOfAttribute(n ast.NodeTypeAccess) string {
	switch variable(n.Arg) {
	case "context":
		for _, a := range words().actions {
			if f, ok := a.context[string(n.Value)]; ok && p.scopeHas(a) {
				return factTypes[f.kind]
			}
		}
	case "principal", "resource":
		if n.Value != "onBehalfOf" && slices.Contains(entityAttributes(variable(n.Arg)), string(n.Value)) {
			return "String"
		}
	}
	return ""
}

// nameOfNode is how an attribute is written, "" for anything else.
func nameOfNode(n ast.IsNode) string {
	if a, ok := n.(ast.NodeTypeAccess); ok && variable(a.Arg) != "" {
		return variable(a.Arg) + "." + string(a.Value)
	}
	return ""
}

// describe shows a simple expression, or stands in for another.
func describe(n ast.IsNode) string {
	if name := nameOfNode(n); name != "" {
		return name
	}
	switch n := n.(type) {
	case ast.NodeValue:
		if text := string(n.Value.MarshalCedar()); len(text) <= 40 {
			return text
		}
	case ast.NodeTypeSet:
		if len(n.Elements) == 0 {
			return "[]"
		}
		return "[...]"
	}
	return "(...)"
}

// placeOf is where the first of the expressions stands that can be found, or where the policy starts.
func (p *policy) placeOf(nodes ...ast.IsNode) int {
	for _, n := range nodes {
		if a, ok := n.(ast.NodeTypeAccess); ok && variable(a.Arg) != "" {
			return p.find(variable(a.Arg), ".", string(a.Value))
		}
		if v, ok := n.(ast.NodeValue); ok {
			if at := p.find(string(v.Value.MarshalCedar())); at != p.start {
				return at
			}
		}
	}
	return p.start
}

// checkNames finds names of entities that nothing ever has: a label without its value, a group without a name.
func (p *policy) checkNames() Problems {
	var problems Problems
	for _, uid := range p.entitiesNamed() {
		id := string(uid.ID)
		at := p.find(string(uid.Type), ":", ":", `"`+id+`"`)
		switch {
		case uid.Type == typeLabel && !strings.Contains(strings.TrimLeft(id, "="), "="):
			problems = append(problems, p.problem(at, fmt.Sprintf("Label::%q: no target has it", id), `labels are key=value: Label::"env=prod"`))
		case (uid.Type == typeGroup || uid.Type == typeTarget) && strings.TrimSpace(id) == "":
			problems = append(problems, p.problem(at, fmt.Sprintf("%s::%q has no name", uid.Type, id), "write the name that it has"))
		case (uid.Type == typeHuman || uid.Type == typeAgent) && !strings.Contains(id, "#"):
			problems = append(problems, p.problem(at, fmt.Sprintf("%s::%q: nobody has this key", uid.Type, id), "a key is issuer#subject; write policies on groups, or on principal.email"))
		}
	}
	return problems
}

// entitiesNamed are all entities that the policy names, in scope and conditions.
func (p *policy) entitiesNamed() []cedar.EntityUID {
	var all []cedar.EntityUID
	for _, s := range []any{p.tree.Principal, p.tree.Resource} {
		switch s := s.(type) {
		case ast.ScopeTypeEq:
			all = append(all, s.Entity)
		case ast.ScopeTypeIn:
			all = append(all, s.Entity)
		case ast.ScopeTypeIsIn:
			all = append(all, s.Entity)
		}
	}
	var of func(v cedar.Value)
	of = func(v cedar.Value) {
		switch v := v.(type) {
		case cedar.EntityUID:
			all = append(all, v)
		case cedar.Set:
			for e := range v.All() {
				of(e)
			}
		}
	}
	p.walk(func(n ast.IsNode) {
		if v, ok := n.(ast.NodeValue); ok {
			of(v.Value)
		}
	})
	return all
}
