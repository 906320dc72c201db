package console

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// maxExport bounds the results of one export.
const maxExport = 10_000

// exported is one result as files have it.
type exported struct {
	Time     time.Time `json:"time"`
	Session  string    `json:"session"`
	Offset   float64   `json:"offset"` // seconds into the session
	Who      string    `json:"who"`
	Identity string    `json:"identity"`
	Behalf   string    `json:"on_behalf_of,omitempty"`
	Target   string    `json:"target"`
	Action   string    `json:"action,omitempty"`
	Decision string    `json:"decision,omitempty"`
	Policy   string    `json:"policy,omitempty"`
	Outcome  string    `json:"outcome,omitempty"`
	Exit     *int      `json:"exit_status,omitempty"` // of the session
	Text     string    `json:"text"`
	URL      string    `json:"url"`
}

var exportColumns = []string{"time", "session", "offset", "who", "identity", "on_behalf_of", "target", "action", "decision", "policy", "outcome", "exit_status", "text", "url"}

func (c *Console) exportOf(h hit) exported {
	e := exported{
		Time: h.Time, Session: h.SessionID, Offset: h.Offset.Seconds(), Who: person(h.Session.Identity), Identity: h.Session.Identity.Key(),
		Target: h.Target, Action: h.Action, Decision: h.Decision, Policy: h.Policy, Outcome: h.Outcome, Exit: h.Session.ExitStatus,
		Text: h.Text, URL: c.origin() + h.URL,
	}
	if h.Line != "" {
		e.Text = h.Line
	}
	if h.Session.OnBehalfOf != nil {
		e.Behalf = h.Session.OnBehalfOf.Key()
	}
	return e
}

// export hands all results of a search to each, and tells whether these were all.
func (c *Console) export(r *http.Request, v *visit, begin func() error, each func(exported) error) (all bool, err error) {
	_, f, _, err := c.searching(r, v, "console.exported")
	if err != nil {
		return false, err
	}
	if f.Shown && f.Text == "" {
		return false, errBad
	}
	if !c.streams.take(v.viewer.Principal.Key) {
		return false, errBusy
	}
	defer c.streams.give(v.viewer.Principal.Key)
	f.Limit, f.Cursor = ledger.MaxLimit, ""
	for n := 0; ; {
		found, err := c.o.Ledger.Find(r.Context(), f)
		if err != nil {
			return false, err
		}
		if f.Cursor == "" {
			if err := begin(); err != nil {
				return false, err
			}
		}
		for _, h := range c.mine(r, v, found.Hits, f) {
			if n++; n > maxExport {
				return false, nil
			}
			if err := each(c.exportOf(h)); err != nil {
				return false, err
			}
		}
		if found.Next == "" {
			return true, nil
		}
		f.Cursor = found.Next
	}
}

// exportCSV gives out the results as RFC 4180 has it. No cell can be taken for a formula.
func (c *Console) exportCSV(w http.ResponseWriter, r *http.Request, v *visit) error {
	out := newTimed(w)
	defer out.done()
	t := csv.NewWriter(out)
	begun := false
	begin := func() error {
		begun = true
		attachment(w, "text/csv; charset=utf-8", "sallyport-search.csv")
		return t.Write(exportColumns)
	}
	all, err := c.export(r, v, begin, func(e exported) error {
		exit := ""
		if e.Exit != nil {
			exit = strconv.Itoa(*e.Exit)
		}
		return t.Write([]string{
			e.Time.UTC().Format(time.RFC3339Nano), e.Session, strconv.FormatFloat(e.Offset, 'f', 3, 64), cell(e.Who), cell(e.Identity), cell(e.Behalf),
			cell(e.Target), cell(e.Action), cell(e.Decision), cell(e.Policy), cell(e.Outcome), exit, cell(e.Text), e.URL,
		})
	})
	if err == nil && !all {
		row := make([]string, len(exportColumns))
		row[12] = "there is more: only the first " + strconv.Itoa(maxExport) + " results are here; narrow the search"
		t.Write(row) // the error stays with t
	}
	t.Flush()
	return c.brokeOff(r, begun, err)
}

// cell makes text that a table's program takes for text, whatever it begins with, and in which nothing is hidden.
// What would be a formula gets an apostrophe in front (OWASP, CSV injection); a full-width sign counts as one.
func cell(text string) string {
	text = plain(text)
	if strings.IndexAny(text, "=+-@\t\r\n|%") == 0 || strings.ContainsRune("＝＋－＠", firstRune(text)) {
		return "'" + text
	}
	return text
}

func firstRune(s string) rune {
	for _, r := range s {
		return r
	}
	return 'x'
}

// exportJSON gives out the results as one JSON object.
func (c *Console) exportJSON(w http.ResponseWriter, r *http.Request, v *visit) error {
	out := newTimed(w)
	defer out.done()
	b := bufio.NewWriterSize(out, 64<<10)
	begun, comma := false, ""
	begin := func() error {
		begun = true
		attachment(w, "application/json", "sallyport-search.json")
		_, err := b.WriteString(`{"results":[`)
		return err
	}
	all, err := c.export(r, v, begin, func(e exported) error {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b.WriteString(comma + "\n")
		comma = ","
		_, err = b.Write(line)
		return err
	})
	if err == nil {
		b.WriteString("\n],\"complete\":" + strconv.FormatBool(all) + "}\n")
	}
	b.Flush() // an error is the client's absence
	return c.brokeOff(r, begun, err)
}

func attachment(w http.ResponseWriter, kind, name string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
}

// brokeOff passes an error on while a page can still tell it, and else cuts the file short: one that is not whole
// must not look so.
func (c *Console) brokeOff(r *http.Request, begun bool, err error) error {
	if err == nil || !begun {
		return err
	}
	if r.Context().Err() == nil {
		c.log().ErrorContext(r.Context(), "console: export broke off", "err", err)
	}
	panic(http.ErrAbortHandler)
}
