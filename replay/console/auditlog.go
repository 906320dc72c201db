package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// auditView is the page of what was done to the gate and to the evidence.
type auditView struct {
	Kind, Who, Session, Denied, Within string
	Rows                               []ledger.Event
	Older, First                       string
	Filtered                           bool
}

func (auditView) Withins() [][2]string { return listWithins }

// auditNames are the form's fields.
var auditNames = []string{"kind", "who", "session", "denied", "within"}

// auditPage lists the audit log. Who may list everybody's sessions may: an event says no more of a recording than
// that somebody looked.
func (c *Console) auditPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if err := c.admit(r, v, RecordingList, Object{}); err != nil {
		return c.refused(r.Context(), v.viewer, ledger.Session{}, err)
	}
	q := r.URL.Query()
	for _, name := range append(slices.Clone(auditNames), "after") {
		if s := q.Get(name); len(s) > 1024 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return errBad
		}
	}
	get := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	view := auditView{Kind: get("kind"), Who: get("who"), Session: get("session"), Denied: get("denied"), Within: get("within")}
	f := ledger.AuditFilter{Kind: view.Kind, Actor: view.Who, SessionID: view.Session, Denied: view.Denied == "yes", Cursor: q.Get("after")}
	if view.Within != "" {
		d, ok := withins[view.Within]
		if !ok {
			return errBad
		}
		f.Since = c.now().Add(-d)
	}
	if view.Session != "" && !validID(view.Session) || view.Denied != "" && view.Denied != "yes" {
		return errBad
	}
	if err := c.audit(r.Context(), v.viewer, "console.audit-viewed", ledger.Session{}, map[string]any{"query": r.URL.RawQuery}); err != nil {
		return err
	}
	var next string
	var err error
	if view.Rows, next, err = c.o.Ledger.Audit(r.Context(), f); err != nil {
		return err
	}
	view.links(q, next)
	c.render(w, r, v, http.StatusOK, "audit", "Audit log", view)
	return nil
}

func (a *auditView) links(q url.Values, next string) {
	keep := url.Values{}
	for _, name := range auditNames {
		if v := q.Get(name); v != "" {
			keep.Set(name, v)
		}
	}
	a.Filtered = len(keep) > 0
	if q.Get("after") != "" {
		a.First = strings.TrimSuffix("/audit?"+keep.Encode(), "?")
	}
	if next != "" {
		keep.Set("after", next)
		a.Older = "/audit?" + keep.Encode()
	}
}

// detail shows what an event says beside its fields, in the order of the names.
func detail(m map[string]any) string {
	var parts []string
	for _, k := range slices.Sorted(mapsKeys(m)) {
		v := m[k]
		text, ok := v.(string)
		if !ok {
			b, err := json.Marshal(v)
			if err != nil {
				continue
			}
			text = string(b)
		}
		if text != "" {
			parts = append(parts, k+": "+text)
		}
	}
	return brief(400, strings.Join(parts, " · "))
}

func mapsKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
