package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// searchView is the search page.
type searchView struct {
	Filter  search
	Asked   bool // there is something to look for
	Own     bool
	Active  []chipLink
	Hits    []hit
	Hidden  int       // hits of this page that the viewer may not see
	Next    string    // URL of the next page
	First   string    // URL of the first page, "" on it
	Back    time.Time // how far this page has looked, where it is not full
	Query   string    // of the address, for exports and for saving
	Saved   []saved
	Took    time.Duration
	Session *ledger.Session // the one that is searched
	Partly  bool            // not all that this session showed can be searched
}

type saved struct{ Name, URL string }

// hit is one result.
type hit struct {
	ledger.Hit
	Pieces []piece // of what was found, where it was found
	URL    string  // of the moment
}

// A piece of a text is what was looked for, or what stands around it.
type piece struct {
	Text  string
	Found bool
}

// search is the form, as typed.
type search struct {
	In       string // "": operations; "screen"
	Text     string
	Who      string
	Behalf   string
	Target   string
	Session  string
	Decision string
	Action   string
	Class    string
	Exit     string
	Since    string
	Until    string
	Within   string
	Cursor   string
}

// searchNames are the form's fields in the order of the page; those of operations alone come last.
var searchNames = []string{"in", "q", "who", "behalf", "target", "session", "exit", "within", "since", "until", "decision", "action", "class"}

// The choices of the form.
var (
	searchActions = []string{"session:", "command:", "file:", "sql:", "kube:", "forward:"}
	searchClasses = []string{"read", "write", "destructive", "privilege", "exfiltration", "persistence", "interpreter", "network"}
)

func (searchView) Decisions() []string  { return listDecisions }
func (searchView) Actions() []string    { return searchActions }
func (searchView) Classes() []string    { return searchClasses }
func (searchView) Withins() [][2]string { return listWithins }

func readSearch(q url.Values) (search, error) {
	for _, name := range append(slices.Clone(searchNames), "after") {
		v := q.Get(name)
		if len(v) > 512 || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return search{}, errBad
		}
	}
	get := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	s := search{
		In: get("in"), Text: q.Get("q"), Who: get("who"), Behalf: get("behalf"), Target: get("target"), Session: get("session"),
		Decision: get("decision"), Action: get("action"), Class: get("class"), Exit: get("exit"),
		Since: get("since"), Until: get("until"), Within: get("within"), Cursor: q.Get("after"),
	}
	if len(s.Text) > ledger.MaxQuery || s.In != "" && s.In != "screen" || s.Session != "" && !validID(s.Session) {
		return search{}, errBad
	}
	return s, nil
}

// find turns the form into what the ledger looks for.
func (s search) find(now time.Time) (ledger.Find, error) {
	f := ledger.Find{
		Shown: s.In == "screen", Text: s.Text, Identity: s.Who, Behalf: s.Behalf, Target: s.Target, SessionID: s.Session,
		Exit: s.Exit, Cursor: s.Cursor,
	}
	if !f.Shown {
		f.Decision, f.Action, f.Class = s.Decision, s.Action, s.Class
	}
	var err error
	if f.Since, err = formTime(s.Since); err != nil {
		return f, err
	}
	if f.Until, err = formTime(s.Until); err != nil {
		return f, err
	}
	if s.Within != "" {
		d, ok := withins[s.Within]
		if !ok {
			return f, errBad
		}
		f.Since = now.Add(-d)
	}
	return f, nil
}

// asked tells that the form says more than where to look.
func asked(q url.Values) bool {
	return slices.ContainsFunc(searchNames[1:], func(name string) bool { return q.Get(name) != "" })
}

// searching is what every search begins with: the right to, the form, and the audit log.
func (c *Console) searching(r *http.Request, v *visit, kind string) (search, ledger.Find, bool, error) {
	own, err := c.scope(r, v, RecordingList)
	if err != nil {
		return search{}, ledger.Find{}, false, c.refused(r.Context(), v.viewer, ledger.Session{}, err)
	}
	s, err := readSearch(r.URL.Query())
	if err != nil {
		return s, ledger.Find{}, own, err
	}
	f, err := s.find(c.now())
	if err != nil {
		return s, f, own, err
	}
	if own {
		f.Of = v.viewer.Principal.Key
	}
	if kind == "console.exported" || asked(r.URL.Query()) {
		err = c.audit(r.Context(), v.viewer, kind, ledger.Session{ID: s.Session}, map[string]any{"query": r.URL.RawQuery})
	}
	return s, f, own, err
}

func (c *Console) searchPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	s, f, own, err := c.searching(r, v, "console.searched")
	if err != nil {
		return err
	}
	q := kept(r.URL.Query())
	view := searchView{Filter: s, Own: own, Asked: asked(q) && (!f.Shown || f.Text != ""), Query: q.Encode()}
	if view.Saved, err = c.saved(r, v); err != nil {
		return err
	}
	if s.Session != "" {
		if err := c.searchedSession(r, v, &view); err != nil {
			return err
		}
	}
	if view.Asked {
		if err := c.results(r, v, &view, f, q); err != nil {
			return err
		}
	}
	for _, name := range searchNames[1:] {
		if q.Get(name) != "" {
			view.Active = append(view.Active, chipLink{Label: searchLabel(name, q.Get(name)), Without: searchURL(q, name, "")})
		}
	}
	c.render(w, r, v, http.StatusOK, "search", "Search", view)
	return nil
}

// searchedSession is the one session that a search is about.
func (c *Console) searchedSession(r *http.Request, v *visit, view *searchView) error {
	s, err := c.o.Ledger.Session(r.Context(), view.Filter.Session)
	if err != nil {
		return err
	}
	if err := c.admit(r, v, RecordingView, about(s)); err != nil {
		return c.refused(r.Context(), v.viewer, s, err)
	}
	shown, err := c.o.Ledger.Shown(r.Context(), s.ID)
	view.Session, view.Partly = &s, view.Filter.In == "screen" && shown != ledger.ShownAll
	return err
}

func (c *Console) results(r *http.Request, v *visit, view *searchView, f ledger.Find, q url.Values) error {
	since := time.Now()
	found, err := c.o.Ledger.Find(r.Context(), f)
	if err != nil {
		return err
	}
	view.Took = time.Since(since)
	view.Hits = c.mine(r, v, found.Hits, f)
	view.Hidden = len(found.Hits) - len(view.Hits)
	if found.Next != "" {
		view.Next = searchURL(q, "", found.Next)
		if len(found.Hits) < cmp.Or(f.Limit, ledger.DefaultLimit) {
			view.Back = found.Back
		}
	}
	if f.Cursor != "" {
		view.First = searchURL(q, "", "")
	}
	return nil
}

// mine are the hits that the viewer may see. What was on a screen is part of a recording, and needs that right.
func (c *Console) mine(r *http.Request, v *visit, all []ledger.Hit, f ledger.Find) []hit {
	action := RecordingList
	if f.Shown {
		action = RecordingView
	}
	may := map[string]bool{}
	var out []hit
	for _, h := range all {
		ok, known := may[h.SessionID]
		if !known {
			ok = c.admit(r, v, action, about(h.Session)) == nil
			may[h.SessionID] = ok
		}
		if ok {
			text := h.Text
			if f.Shown {
				text = h.Line
			}
			out = append(out, hit{Hit: h, Pieces: pieces(text, f.Text), URL: "/sessions/" + h.SessionID + "#t=" + secondsOf(h.Offset)})
		}
	}
	return out
}

// around is how much of a long text is shown before what was found in it, and behind, in bytes.
const around = 160

// pieces takes text apart at what was looked for, whatever the case of its ASCII letters, and shortens what stands
// around it.
func pieces(text, query string) []piece {
	if query == "" {
		return []piece{{Text: brief(2*around, text)}}
	}
	lower, q := asciiLower(text), asciiLower(query)
	var out []piece
	for from := 0; ; {
		i := strings.Index(lower[from:], q)
		if i < 0 || len(out) > 8 {
			return append(out, piece{Text: brief(around, text[from:])})
		}
		out = append(out, piece{Text: tail(text[from : from+i])}, piece{text[from+i : from+i+len(q)], true})
		from += i + len(q)
	}
}

// tail shortens text from its beginning.
func tail(text string) string {
	if len(text) <= around {
		return plain(text)
	}
	i := len(text) - around
	for i < len(text) && !utf8.RuneStart(text[i]) {
		i++
	}
	return "…" + plain(text[i:])
}

// asciiLower keeps the length, so that places in it are places in s.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// kept are the form's fields that say something.
func kept(q url.Values) url.Values {
	out := url.Values{}
	for _, name := range searchNames {
		if v := q.Get(name); v != "" {
			out.Set(name, v)
		}
	}
	return out
}

func searchURL(q url.Values, without, after string) string {
	return pageURL("/search", q, without, after)
}

func searchLabel(name, value string) string {
	value = brief(48, value)
	switch name {
	case "behalf":
		return "on behalf of " + value
	case "decision":
		return decisionWord(value)
	case "exit":
		if value == "failed" {
			return "failed"
		}
		return "exit status " + value
	}
	return filterLabel(name, value)
}

func (c *Console) saved(r *http.Request, v *visit) ([]saved, error) {
	all, err := c.o.Ledger.SavedSearches(r.Context(), v.viewer.Principal.Key)
	var out []saved
	for _, s := range all {
		if q, err := url.ParseQuery(s.Query); err == nil {
			out = append(out, saved{s.Name, searchURL(kept(q), "", "")})
		}
	}
	return out, err
}

// saveSearch keeps the search that the page shows, for who is signed in.
func (c *Console) saveSearch(w http.ResponseWriter, r *http.Request, v *visit) error {
	if _, err := c.scope(r, v, RecordingList); err != nil {
		return err
	}
	name := strings.TrimSpace(r.PostForm.Get("name"))
	q, err := url.ParseQuery(r.PostForm.Get("query"))
	if err != nil || name == "" || len(name) > ledger.MaxSearchName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return &conflict{title: "A name is needed", text: "A saved search has a name of up to 100 characters that can be printed. Go back and give it one."}
	}
	if _, err := readSearch(q); err != nil {
		return err
	}
	q = kept(q)
	if err := c.o.Ledger.SaveSearch(r.Context(), v.viewer.Principal.Key, ledger.SavedSearch{Name: name, Query: q.Encode(), At: c.now()}); err != nil {
		return err
	}
	http.Redirect(w, r, searchURL(q, "", ""), http.StatusSeeOther)
	return nil
}

func (c *Console) forgetSearch(w http.ResponseWriter, r *http.Request, v *visit) error {
	if err := c.o.Ledger.DropSearch(r.Context(), v.viewer.Principal.Key, r.PostForm.Get("name")); err != nil {
		return err
	}
	http.Redirect(w, r, "/search", http.StatusSeeOther)
	return nil
}
