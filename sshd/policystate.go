package sshd

import (
	"fmt"
	"io"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

// PolicyState says which policies are in force, and whether newer ones could not be put in force.
type PolicyState struct {
	Policies int       `json:"policies"`          // how many are in force
	Since    time.Time `json:"since"`             // since when
	Failed   time.Time `json:"failed,omitzero"`   // when a change was refused last; zero: the files are what is in force
	Problem  string    `json:"problem,omitempty"` // what is wrong with it: file:line:column
}

// SetPolicies puts set in force, and forgets what was wrong with an earlier one.
func (g *Gate) SetPolicies(set *policies.Set) {
	g.policies.Swap(set)
	g.state.Store(&PolicyState{Policies: set.Len(), Since: time.Now().UTC()})
}

// RefusePolicies remembers that a change of the policies does not load. What is in force stays in force.
func (g *Gate) RefusePolicies(err error) {
	s := g.Policies()
	s.Failed, s.Problem = time.Now().UTC(), err.Error()
	g.state.Store(&s)
}

// Policies tells which policies are in force.
func (g *Gate) Policies() PolicyState {
	if s := g.state.Load(); s != nil {
		return *s
	}
	return PolicyState{Policies: g.policies.Set().Len()}
}

// alarm warns those who may see how the gate is run that its policies are not what their files say.
func (g *gateCall) alarm() {
	s := g.c.srv.o.Gate.Policies()
	if s.Problem == "" || g.json || !g.may("gate:view", g.self(), nil) {
		return
	}
	fmt.Fprintf(g.err(), "sallyport: warning: the policies that were changed at %s do not load, and the old ones stay in force; see: policies\n",
		s.Failed.Format(time.RFC3339))
}

// policiesInForce is the command that tells how the gate decides, and what is wrong with a change of that.
func (g *gateCall) policiesInForce() error {
	if len(g.args) != 0 {
		return errUsage
	}
	if err := g.admit("gate:view", "", g.self(), nil); err != nil {
		return err
	}
	s := g.c.srv.o.Gate.Policies()
	return g.print(s, func(w io.Writer) {
		fmt.Fprintf(w, "in force\t%d policies\n", s.Policies)
		if !s.Since.IsZero() {
			fmt.Fprintf(w, "since\t%s\n", s.Since.Format(time.RFC3339))
		}
		if s.Problem == "" {
			return
		}
		fmt.Fprintf(w, "refused\tthe change at %s does not load:\n", s.Failed.Format(time.RFC3339))
		for _, line := range policies.RenderLines([]byte(s.Problem)) {
			fmt.Fprintf(w, "\t%s\n", line)
		}
	})
}
