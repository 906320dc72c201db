package policies

import (
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// An atom is one condition that must hold, or must not.
type atom struct {
	node ast.IsNode
	is   bool
}

// Bounds of how far conditions are followed; what lies beyond is taken to be possible.
const (
	maxSteps    = 20_000
	maxBranches = 64 // ways of meeting them
	maxAtoms    = 64 // conditions of one way
)

// never reports whether no request can meet all of the policy's conditions: one is false whatever is asked, or they
// contradict each other or the scope. It proves this only for what is plain to see.
func (p *policy) never() bool {
	b := brancher{left: maxSteps}
	ways := [][]atom{nil}
	for _, c := range p.tree.Conditions {
		ways = b.branch(ways, c.Body, bool(c.Condition))
	}
	for _, w := range ways {
		if !p.contradicts(w) {
			return false
		}
	}
	return true
}

// A brancher follows conditions for a bounded number of steps. What it does not follow constrains nothing.
type brancher struct{ left int }

// branch adds to every way of meeting what came before all ways of making n come out as is.
func (b *brancher) branch(ways [][]atom, n ast.IsNode, is bool) [][]atom {
	if b.left -= len(ways); b.left < 0 {
		return ways
	}
	switch n := n.(type) {
	case ast.NodeTypeNot:
		return b.branch(ways, n.Arg, !is)
	case ast.NodeTypeAnd:
		if is {
			return b.branch(b.branch(ways, n.Left, true), n.Right, true)
		}
		return b.either(ways, b.branch(ways, n.Left, false), b.branch(b.branch(ways, n.Left, true), n.Right, false))
	case ast.NodeTypeOr:
		if !is {
			return b.branch(b.branch(ways, n.Left, false), n.Right, false)
		}
		return b.either(ways, b.branch(ways, n.Left, true), b.branch(b.branch(ways, n.Left, false), n.Right, true))
	case ast.NodeTypeIfThenElse:
		return b.either(ways, b.branch(b.branch(ways, n.If, true), n.Then, is), b.branch(b.branch(ways, n.If, false), n.Else, is))
	case ast.NodeValue:
		if v, ok := n.Value.(cedar.Boolean); ok && bool(v) != is {
			return nil
		} else if ok {
			return ways
		}
	}
	return with(ways, atom{n, is})
}

// either is both lists of ways, or what came before where that is more than can be followed.
func (b *brancher) either(before, one, other [][]atom) [][]atom {
	if len(one)+len(other) > maxBranches {
		return before
	}
	return append(one[:len(one):len(one)], other...)
}

// with adds a condition to every way; ways that have enough of them stay as they are.
func with(ways [][]atom, a atom) [][]atom {
	out := make([][]atom, len(ways))
	for i, w := range ways {
		if out[i] = w; len(w) < maxAtoms {
			out[i] = append(w[:len(w):len(w)], a)
		}
	}
	return out
}

// contradicts reports whether atoms cannot all hold within the policy's scope.
func (p *policy) contradicts(atoms []atom) bool {
	for i, a := range atoms {
		for _, b := range atoms[:i] {
			if a.is != b.is && ast.Equal(ast.NewNode(a.node), ast.NewNode(b.node)) || a.is && b.is && differ(a.node, b.node) {
				return true
			}
		}
	}
	return p.otherKind(atoms) || p.noAction(atoms)
}

// differ reports whether two conditions make the same thing equal to different values, or of different types.
func differ(a, b ast.IsNode) bool {
	switch x := a.(type) {
	case ast.NodeTypeEquals:
		y, ok := b.(ast.NodeTypeEquals)
		if !ok {
			return false
		}
		v, isV := x.Right.(ast.NodeValue)
		w, isW := y.Right.(ast.NodeValue)
		return isV && isW && ast.Equal(ast.NewNode(x.Left), ast.NewNode(y.Left)) && !v.Value.Equal(w.Value)
	case ast.NodeTypeIs:
		y, ok := b.(ast.NodeTypeIs)
		return ok && x.EntityType != y.EntityType && ast.Equal(ast.NewNode(x.Left), ast.NewNode(y.Left))
	}
	return false
}

// otherKind reports whether atoms ask for a principal of another type than the scope lets in.
func (p *policy) otherKind(atoms []atom) bool {
	var scope cedar.EntityType
	switch s := p.tree.Principal.(type) {
	case ast.ScopeTypeIs:
		scope = s.Type
	case ast.ScopeTypeIsIn:
		scope = s.Type
	case ast.ScopeTypeEq:
		scope = s.Entity.Type
	}
	for _, a := range atoms {
		is, ok := a.node.(ast.NodeTypeIs)
		if ok && scope != "" && variable(is.Left) == "principal" && (is.EntityType == scope) != a.is {
			return true
		}
	}
	return false
}

// noAction reports whether atoms leave none of the scope's actions.
func (p *policy) noAction(atoms []atom) bool {
	for _, a := range words().actions {
		if p.scopeHas(a) && a.fits(atoms) {
			return false
		}
	}
	return true
}

// fits reports whether the action can be the one that atoms are about.
func (a *action) fits(atoms []atom) bool {
	for _, t := range atoms {
		switch n := t.node.(type) {
		case ast.NodeTypeEquals:
			if v, ok := n.Right.(ast.NodeValue); ok && variable(n.Left) == "action" && (v.Value == cedar.Value(a.uid)) != t.is {
				return false
			}
		case ast.NodeTypeIn:
			if variable(n.Left) == "action" {
				if in, known := a.in(n.Right); known && in != t.is {
					return false
				}
			}
		}
	}
	return true
}

// in reports whether the action is in a group, or one of several, as far as they are written out.
func (a *action) in(n ast.IsNode) (in, known bool) {
	switch n := n.(type) {
	case ast.NodeValue:
		switch v := n.Value.(type) {
		case cedar.EntityUID:
			return a.within[v], true
		case cedar.Set:
			for e := range v.All() {
				uid, ok := e.(cedar.EntityUID)
				if !ok {
					return false, false
				}
				in = in || a.within[uid]
			}
			return in, true
		}
	case ast.NodeTypeSet:
		for _, e := range n.Elements {
			one, ok := a.in(e)
			if !ok {
				return false, false
			}
			in = in || one
		}
		return in, true
	}
	return false, false
}

// unanswerable finds holds for groups whom no policy lets give an approval: what they hold waits for nobody.
func (s *Set) unanswerable() Problems {
	var problems Problems
	for _, p := range s.policies {
		if !p.holds {
			continue
		}
		for _, n := range p.terms.needs() {
			groups := n.Groups
			for _, e := range n.Escalate {
				groups = union(groups, e.Groups)
			}
			for _, g := range groups {
				if s.mayGive(g) {
					continue
				}
				problems = append(problems, p.problem(find(p.source, p.start, p.end, "@", "hold"), fmt.Sprintf("no policy lets %s give an approval", g),
					fmt.Sprintf("add: permit (principal is Human in Group::%q, action in [Action::\"approval:give\", Action::\"approval:list\"], resource);", g)))
			}
		}
	}
	return problems
}

// mayGive reports whether some policy may let somebody of a group give an approval, as far as its scope says.
func (s *Set) mayGive(group string) bool {
	return slices.ContainsFunc(s.byAction["approval:give"], func(p *policy) bool {
		uid := cedar.EntityUID{Type: typeGroup, ID: cedar.String(group)}
		switch scope := p.tree.Principal.(type) {
		case ast.ScopeTypeIn:
			return p.permit && scope.Entity == uid
		case ast.ScopeTypeIsIn:
			return p.permit && scope.Type == typeHuman && scope.Entity == uid
		case ast.ScopeTypeIs:
			return p.permit && scope.Type == typeHuman
		}
		return p.permit
	})
}
