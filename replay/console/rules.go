package console

import (
	"maps"
	"net/http"
	"slices"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// rulesView is the page of targets and policies. Nothing can be changed on it.
type rulesView struct {
	Targets  []Target
	Policies []policyFile
	Count    int
}

// policyFile is the policies of one file, in their order.
type policyFile struct {
	Name string
	Of   []policies.Listed
}

// Tags are the target's labels, in order.
func (t Target) Tags() []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(t.Labels)) {
		out = append(out, k+"="+t.Labels[k])
	}
	return out
}

// rulesPage shows what the gate decides by to those who may look at all sessions: they have to know it to judge.
func (c *Console) rulesPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if c.o.Rules == nil {
		return errNotFound
	}
	if err := c.admit(r, v, RecordingList, Object{}); err != nil {
		return c.refused(r.Context(), v.viewer, ledger.Session{}, err)
	}
	view := rulesView{Targets: c.o.Rules.Targets()}
	for _, p := range c.o.Rules.Policies() {
		view.Count++
		if n := len(view.Policies); n == 0 || view.Policies[n-1].Name != p.Ref.File {
			view.Policies = append(view.Policies, policyFile{Name: p.Ref.File})
		}
		last := &view.Policies[len(view.Policies)-1]
		last.Of = append(last.Of, p)
	}
	c.render(w, r, v, http.StatusOK, "rules", "Rules", view)
	return nil
}
