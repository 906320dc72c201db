package policies

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

//go:embed schema.cedarschema
var schemaText []byte

//go:embed default.cedar
var defaultText []byte

// Schema returns the Cedar schema that policies are checked against.
func Schema() []byte { return slices.Clone(schemaText) }

// Default returns the policies that hold where an operator wrote none.
func Default() []Source {
	return []Source{{Name: "default.cedar", Text: slices.Clone(defaultText)}}
}

// The entity types of the schema.
const (
	typeHuman  cedar.EntityType = "Human"
	typeAgent  cedar.EntityType = "Agent"
	typeGroup  cedar.EntityType = "Group"
	typeLabel  cedar.EntityType = "Label"
	typeTarget cedar.EntityType = "Target"
	typeAction cedar.EntityType = "Action"
)

// vocabulary is the schema in the form that decisions and checks need. It is made once and never changes.
type vocabulary struct {
	schema    *resolved.Schema
	validator *validate.Validator
	actions   map[string]*action               // that can be asked about, by name
	entities  map[cedar.EntityUID]cedar.Entity // all actions and groups of actions
}

// action is one action that a request can name.
type action struct {
	uid      cedar.EntityUID
	within   map[cedar.EntityUID]bool // itself and every group it is in
	context  map[string]fact
	required []string // the facts that a request must bring, sorted
}

// fact says what a context may hold under one name.
type fact struct {
	kind     factKind
	required bool
}

type factKind int

const (
	factUnknown factKind = iota
	factBool
	factLong
	factString
	factStrings
	factTime
	factAddress
)

var factNames = map[factKind]string{
	factBool: "a bool", factLong: "an integer", factString: "a string", factStrings: "a list of strings",
	factTime: "a time", factAddress: "an IP address",
}

// words returns the vocabulary. The schema is part of the program: that it resolves is tested, and a program in which
// it did not could decide nothing.
var words = sync.OnceValue(func() *vocabulary {
	v, err := newVocabulary(schemaText)
	if err != nil {
		panic(err)
	}
	return v
})

func newVocabulary(text []byte) (*vocabulary, error) {
	var s schema.Schema
	s.SetFilename("schema.cedarschema")
	if err := s.UnmarshalCedar(text); err != nil {
		return nil, fmt.Errorf("parse the policy schema: %w", err)
	}
	rs, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("resolve the policy schema: %w", err)
	}
	v := &vocabulary{
		schema: rs, validator: validate.New(rs),
		actions: map[string]*action{}, entities: map[cedar.EntityUID]cedar.Entity{},
	}
	for uid, a := range rs.Actions {
		v.entities[uid] = a.Entity
		if a.AppliesTo == nil {
			continue
		}
		act := &action{uid: uid, within: map[cedar.EntityUID]bool{}, context: map[string]fact{}}
		act.ascend(rs, uid)
		for name, attr := range a.AppliesTo.Context {
			act.context[string(name)] = fact{kind: factKindOf(attr.Type), required: !attr.Optional}
			if !attr.Optional && name != "now" { // now is ours to say
				act.required = append(act.required, string(name))
			}
		}
		slices.Sort(act.required)
		v.actions[string(uid.ID)] = act
	}
	return v, nil
}

// ascend notes uid and all the groups above it.
func (a *action) ascend(rs *resolved.Schema, uid cedar.EntityUID) {
	if a.within[uid] {
		return
	}
	a.within[uid] = true
	for parent := range rs.Actions[uid].Entity.Parents.All() {
		a.ascend(rs, parent)
	}
}

func factKindOf(t resolved.IsType) factKind {
	switch t := t.(type) {
	case resolved.BoolType:
		return factBool
	case resolved.LongType:
		return factLong
	case resolved.StringType:
		return factString
	case resolved.SetType:
		if _, ok := t.Element.(resolved.StringType); ok {
			return factStrings
		}
	case resolved.ExtensionType:
		switch string(t) {
		case "datetime":
			return factTime
		case "ipaddr":
			return factAddress
		}
	}
	return factUnknown
}

// KnownAction is an error that says what could have been meant, unless name is an action.
func KnownAction(name string) error {
	if _, ok := words().actions[name]; ok {
		return nil
	}
	return fmt.Errorf("unknown action %q; %s", clip(name), didYouMean(name, Actions(), "the schema lists them"))
}

// Actions returns the names of all actions that a request can name, sorted.
func Actions() []string {
	var names []string
	for name := range words().actions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// nearest returns the word of candidates that s was probably meant to be, or "".
func nearest(s string, candidates []string) string {
	best, bestDistance := "", 1+len(s)/3
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if c == s {
			return c
		}
		if d := distance(strings.ToLower(s), strings.ToLower(c)); d <= bestDistance {
			if d < bestDistance || best == "" {
				best, bestDistance = c, d
			}
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours between a and b.
func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

// didYouMean returns `did you mean "x"?`, or what else there is to say.
func didYouMean(s string, candidates []string, otherwise string) string {
	if n := nearest(s, candidates); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	return otherwise
}
