package policies

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Cases are decisions that a set of policies must make. In YAML:
//
//	identities:
//	  alice: human:alice:users
//	  bot:   agent:bot@alice            # acts for the alice above
//	targets:
//	  web1:  web1:ssh:env=prod
//	cases:
//	  - name: removing waits for an approver
//	    identity: bot                   # one of the above, or written out
//	    target: web1
//	    text: rm -rf /srv/old           # action is command:run where there is a text
//	    expect: hold
//	    policies: [command-destructive] # these must be among those that decide; optional
//	    approvers: [approvers]          # exactly these may approve; optional
//	  - identity: alice
//	    target: web1
//	    action: session:open
//	    facts: {kind: shell, guard: none, pty: true}
//	    expect: hold
type Cases struct {
	Identities map[string]string `yaml:"identities"`
	Targets    map[string]string `yaml:"targets"`
	Cases      []Case            `yaml:"cases"`

	file string
}

// Case is one of them.
type Case struct {
	Name      string         `yaml:"name"`
	Identity  string         `yaml:"identity"`
	Target    string         `yaml:"target"`
	Action    string         `yaml:"action"`
	Text      string         `yaml:"text"`
	Facts     map[string]any `yaml:"facts"` // besides those that are found in text
	Expect    string         `yaml:"expect"`
	Policies  []string       `yaml:"policies"`
	Approvers []string       `yaml:"approvers"`
}

// FactFinder finds the facts of a text for an action.
type FactFinder func(action, text string) (map[string]any, error)

// Result is how one case came out.
type Result struct {
	Name        string      `json:"name"`
	OK          bool        `json:"ok"`
	Want        string      `json:"want"`
	Got         string      `json:"got"`
	Differences []string    `json:"differences,omitempty"`
	Explanation Explanation `json:"explanation"`
}

// maxCases bounds one file.
const maxCases = 100_000

// ParseCases reads a file of cases. Unknown keys are errors; messages name file, line and column.
func ParseCases(file string, text []byte) (*Cases, error) {
	if len(text) > maxSource {
		return nil, fmt.Errorf("%s: is larger than %d bytes", file, maxSource)
	}
	c := &Cases{file: file}
	if err := yaml.UnmarshalWithOptions(text, c, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("%s:%s", file, yaml.FormatError(err, false, true))
	}
	if len(c.Cases) == 0 || len(c.Cases) > maxCases {
		return nil, fmt.Errorf("%s: has %d cases; it needs 1 to %d under the key cases", file, len(c.Cases), maxCases)
	}
	for i := range c.Cases {
		if err := c.complete(i); err != nil {
			return nil, fmt.Errorf("%s: cases[%d]: %w", file, i, err)
		}
	}
	return c, nil
}

// complete fills in what a case may leave out, and refuses what it must not.
func (c *Cases) complete(i int) error {
	k := &c.Cases[i]
	if k.Action == "" && k.Text != "" {
		k.Action = "command:run"
	}
	if k.Name == "" {
		k.Name = strings.TrimSpace(fmt.Sprintf("%s %s on %s: %s", k.Identity, k.Action, k.Target, k.Text))
	}
	var e Effect
	if err := e.UnmarshalText([]byte(k.Expect)); err != nil {
		return fmt.Errorf("expect: %w", err)
	}
	if !slices.Contains(Actions(), k.Action) {
		return fmt.Errorf("unknown action %q; %s", k.Action, didYouMean(k.Action, Actions(), "the schema lists them"))
	}
	if _, err := c.identity(k.Identity); err != nil {
		return err
	}
	_, err := c.target(k.Target)
	return err
}

func (c *Cases) identity(s string) (Principal, error) {
	if written, ok := c.Identities[s]; ok {
		s = written
	}
	return ParseIdentity(s, func(name string) (Principal, bool) {
		written, ok := c.Identities[name]
		if !ok {
			return Principal{}, false
		}
		p, err := ParseIdentity(written, nil)
		return p, err == nil && p.Kind == Human
	})
}

func (c *Cases) target(s string) (Target, error) {
	if written, ok := c.Targets[s]; ok {
		s = written
	}
	return ParseTarget(s)
}

// Run decides every case by s. It returns an error only where a case cannot be run at all.
func (c *Cases) Run(s *Set, find FactFinder) ([]Result, error) {
	results := make([]Result, len(c.Cases))
	for i, k := range c.Cases {
		r, err := c.request(k, find)
		if err != nil {
			return nil, fmt.Errorf("%s: case %q: %w", c.file, k.Name, err)
		}
		results[i] = k.judge(s.Explain(r))
	}
	return results, nil
}

func (c *Cases) request(k Case, find FactFinder) (r Request, err error) {
	r.Action = k.Action
	if r.Principal, err = c.identity(k.Identity); err != nil {
		return r, err
	}
	if r.Target, err = c.target(k.Target); err != nil {
		return r, err
	}
	r.Context, err = FactsFor(k.Action, k.Text, find)
	for name, v := range k.Facts {
		fact, known := words().actions[k.Action].context[name]
		if !known {
			return r, fmt.Errorf("%s has no fact %q; %s", k.Action, name, didYouMean(name, ContextKeys(k.Action), "the schema lists them"))
		}
		r.Context[name] = fact.kind.fromYAML(v)
	}
	return r, err
}

// fromYAML gives a value the type that the gate would give it.
func (k factKind) fromYAML(v any) any {
	switch n := v.(type) {
	case uint64:
		return int64(n)
	case string:
		if at, err := time.Parse(time.RFC3339, n); err == nil && k == factTime {
			return at
		}
	case nil:
		if k == factStrings {
			return []string{}
		}
	}
	return v
}

// FactsFor returns the facts that the gate would have of an operation: those that find finds in its text, and for a
// session without a text those of a plain exec.
func FactsFor(actionName, text string, find FactFinder) (map[string]any, error) {
	facts := map[string]any{}
	if find != nil {
		found, err := find(actionName, text)
		if err != nil {
			return facts, err
		}
		for name, v := range found {
			facts[name] = v
		}
	}
	switch {
	case actionName == "session:open":
		facts["kind"], facts["guard"], facts["pty"] = "exec", "n/a", false
	case strings.HasPrefix(actionName, "file:") && text != "":
		facts["path"] = text
	}
	return facts, nil
}

// judge compares a decision with what was expected.
func (k Case) judge(e Explanation) Result {
	r := Result{Name: k.Name, Want: k.Expect, Got: e.Decision.Effect.String(), Explanation: e}
	if r.Got != r.Want {
		r.Differences = append(r.Differences, fmt.Sprintf("- %s\n+ %s: %s", r.Want, r.Got, e.Decision.Why))
	}
	decided := make([]string, len(e.Decision.Policies))
	for i, p := range e.Decision.Policies {
		decided[i] = p.ID
	}
	for _, want := range k.Policies {
		if !slices.Contains(decided, want) {
			r.Differences = append(r.Differences, fmt.Sprintf("- decided by %s\n+ decided by %s", want, orNobody(decided)))
		}
	}
	if k.Approvers != nil && !sameSet(k.Approvers, e.Decision.Terms.Approvers) {
		r.Differences = append(r.Differences, fmt.Sprintf("- approvers %s\n+ approvers %s", orNobody(k.Approvers), orNobody(e.Decision.Terms.Approvers)))
	}
	for _, err := range e.Decision.Errors {
		r.Differences = append(r.Differences, "! "+err)
	}
	r.OK = len(r.Differences) == 0
	return r
}

func orNobody(list []string) string {
	if len(list) == 0 {
		return "nobody"
	}
	return strings.Join(list, ", ")
}
