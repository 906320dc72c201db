package policies

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// maxCondition bounds the text of a condition, in bytes.
const maxCondition = 4 << 10

// A Condition is what somebody wrote about the facts of operations that they approve of in advance: a Cedar expression
// such as
//
//	context.commands == ["systemctl restart nginx"]
type Condition struct {
	set    *Set
	action string
}

// ParseCondition checks a condition against the schema, as policies are. Its error is [Problems] or says what is wrong.
func ParseCondition(actionName, text string) (*Condition, error) {
	if len(text) > maxCondition {
		return nil, fmt.Errorf("a condition of more than %d bytes", maxCondition)
	}
	if _, ok := words().actions[actionName]; !ok {
		return nil, fmt.Errorf("unknown action %q; %s", clip(actionName), didYouMean(actionName, Actions(), "the schema lists them"))
	}
	source := fmt.Sprintf("permit (principal, action == Action::%q, resource) when {\n%s\n};", actionName, text)
	set, err := Parse(Source{Name: "condition", Text: []byte(source)})
	if err != nil {
		return nil, inCondition(err)
	}
	// A brace in the text could have ended the condition and begun another policy.
	if set.Len() != 1 || len(set.policies[0].tree.Conditions) != 1 || len(set.policies[0].cedar.Annotations()) != 0 {
		return nil, errors.New("it is more than one condition")
	}
	if v, ok := set.policies[0].tree.Conditions[0].Body.(ast.NodeValue); ok {
		return nil, fmt.Errorf("it is always %v, whatever is asked", v.Value)
	}
	return &Condition{set: set, action: actionName}, nil
}

// inCondition counts the lines of problems from the condition's own first line.
func inCondition(err error) error {
	ps := ErrorsOf(err)
	if ps == nil {
		return err
	}
	out := make(Problems, len(ps))
	for i, p := range ps {
		p.Line, p.Policy = max(p.Line-1, 1), ""
		out[i] = p
	}
	return out
}

// Holds reports whether an operation is one that the condition describes. It never is where nobody could tell what the
// operation does: what was seen of it is then not all that there is.
func (c *Condition) Holds(r Request) bool {
	if c == nil || r.Action != c.action {
		return false
	}
	if opaque, known := r.Context["opaque"].(bool); known && opaque {
		return false
	}
	q, err := c.set.query(r)
	if err != nil {
		return false
	}
	effect, diagnostic := cedar.Authorize(q.candidates, q, q.request)
	return effect == cedar.Allow && len(diagnostic.Errors) == 0
}

// oneLine is what a condition looks like in a listing.
func oneLine(s string) string { return Render([]byte(strings.Join(strings.Fields(s), " "))) }
