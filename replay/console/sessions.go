package console

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func itoa(n int) string { return strconv.Itoa(n) }

// listView is the page of sessions.
type listView struct {
	Filter   filter
	Own      bool       // only what is the viewer's own is listed
	Active   []chipLink // filters in force, each with the list without it
	Rows     []ledger.Session
	Hidden   int    // rows of this page that the viewer may not see
	Older    string // URL of the next page, "" at the end
	First    string // URL of the first page, "" on it
	Filtered bool
}

type chipLink struct{ Label, Without string }

// filter is what the form above the list holds, as typed.
type filter struct {
	Text, Who, Target, State, Decision string
	Since, Until                       string // 2006-01-02T15:04, UTC
	Within                             string // 1h, 24h, 7d, 30d: instead of Since
	Cursor                             string
}

var filterNames = []string{"q", "who", "target", "state", "decision", "within", "since", "until"}

// The choices of the form.
var (
	listStates    = []string{"live", "complete", "recovered", "truncated", "lost"}
	listDecisions = []string{"deny", "hold", "allow"}
	listWithins   = [][2]string{{"1h", "Last hour"}, {"24h", "Last 24 hours"}, {"7d", "Last 7 days"}, {"30d", "Last 30 days"}}
)

func (listView) States() []string     { return listStates }
func (listView) Decisions() []string  { return listDecisions }
func (listView) Withins() [][2]string { return listWithins }

var withins = map[string]time.Duration{"1h": time.Hour, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "30d": 30 * 24 * time.Hour}

// readFilter takes the form's values; what is too long, no text, or cannot be seen is refused, not cut.
func readFilter(q url.Values) (filter, error) {
	get := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	f := filter{
		Text: get("q"), Who: get("who"), Target: get("target"), State: get("state"), Decision: get("decision"),
		Since: get("since"), Until: get("until"), Within: get("within"), Cursor: q.Get("after"),
	}
	for _, name := range append(filterNames, "after") {
		v := q.Get(name)
		if len(v) > 512 || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return filter{}, errBad
		}
	}
	if len(f.Text) > ledger.MaxQuery {
		return filter{}, errBad
	}
	return f, nil
}

// ledger turns the form into the ledger's filter.
func (f filter) ledger(now time.Time) (ledger.SessionFilter, error) {
	l := ledger.SessionFilter{
		Text: f.Text, Identity: f.Who, Target: f.Target, State: ledger.State(f.State), Decision: f.Decision, Cursor: f.Cursor,
	}
	switch l.State {
	case "", ledger.Live, ledger.Complete, ledger.Recovered, ledger.Truncated, ledger.Lost:
	default:
		return l, errBad
	}
	var err error
	if l.Since, err = formTime(f.Since); err != nil {
		return l, err
	}
	if l.Until, err = formTime(f.Until); err != nil {
		return l, err
	}
	if f.Within != "" {
		d, ok := withins[f.Within]
		if !ok {
			return l, errBad
		}
		l.Since = now.Add(-d)
	}
	return l, nil
}

func formTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.UTC); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errBad
}

func (c *Console) sessionList(w http.ResponseWriter, r *http.Request, v *visit) error {
	own, err := c.scope(r, v, RecordingList)
	if err != nil {
		return err
	}
	f, err := readFilter(r.URL.Query())
	if err != nil {
		return err
	}
	lf, err := f.ledger(c.now())
	if err != nil {
		return err
	}
	if lf.Limit = ledger.DefaultLimit; own {
		lf.Identity = v.viewer.Principal.Key
	}
	rows, next, err := c.o.Ledger.Sessions(r.Context(), lf)
	if err != nil {
		return err
	}
	view := listView{Filter: f, Own: own, Rows: c.visible(r, v, rows)}
	view.Hidden = len(rows) - len(view.Rows)
	view.links(r.URL.Query(), next)
	c.render(w, r, v, http.StatusOK, "sessions", "Sessions", view)
	return nil
}

// links makes the chips of the filters in force, and the pager.
func (l *listView) links(q url.Values, next string) {
	keep := url.Values{}
	for _, name := range filterNames {
		if v := q.Get(name); v != "" {
			keep.Set(name, v)
		}
	}
	for _, name := range filterNames {
		if keep.Get(name) != "" {
			l.Active = append(l.Active, chipLink{Label: filterLabel(name, keep.Get(name)), Without: listURL(keep, name, "")})
		}
	}
	l.Filtered = len(l.Active) > 0
	if next != "" {
		l.Older = listURL(keep, "", next)
	}
	if l.Filter.Cursor != "" {
		l.First = listURL(keep, "", "")
	}
}

func listURL(q url.Values, without, after string) string {
	return pageURL("/sessions", q, without, after)
}

// pageURL is path with the fields of q but one, from the row after on.
func pageURL(path string, q url.Values, without, after string) string {
	u := url.Values{}
	for k := range q {
		if k != without {
			u.Set(k, q.Get(k))
		}
	}
	if after != "" {
		u.Set("after", after)
	}
	if len(u) == 0 {
		return path
	}
	return path + "?" + u.Encode()
}

func filterLabel(name, value string) string {
	value = brief(48, value)
	switch name {
	case "q":
		return "“" + value + "”"
	case "decision":
		return "with " + decisionWord(value) + " operations"
	case "within":
		return "last " + value
	case "since", "until":
		return name + " " + strings.Replace(value, "T", " ", 1) + " UTC"
	}
	return name + " " + value
}
