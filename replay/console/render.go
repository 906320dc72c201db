package console

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

//go:embed templates/*.html
var templateFiles embed.FS

// frame is what every page shows around its own content.
type frame struct {
	Page    string // name of the template
	Title   string
	Gate    string
	Now     time.Time
	Viewer  *policies.Principal // nil: nobody is signed in
	Token   string
	Waiting int // holds that wait, as far as the viewer may know
	Body    any
}

// parsePages reads the templates: one set for each page, over the same frame and parts.
func (c *Console) parsePages() (map[string]*template.Template, error) {
	common, err := template.New("").Funcs(c.functions()).ParseFS(templateFiles, "templates/frame.html", "templates/parts.html", "templates/icons.html")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	names, err := fs.Glob(templateFiles, "templates/page_*.html")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	pages := map[string]*template.Template{}
	for _, name := range names {
		t, err := template.Must(common.Clone()).ParseFS(templateFiles, name)
		if err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		pages[strings.TrimSuffix(strings.TrimPrefix(path.Base(name), "page_"), ".html")] = t
	}
	return pages, nil
}

func (c *Console) functions() template.FuncMap {
	return template.FuncMap{
		"asset":     c.assets.url,
		"exact":     exact,
		"strange":   strange,
		"plain":     plain,
		"brief":     brief,
		"person":    person,
		"utc":       func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
		"day":       func(t time.Time) string { return t.UTC().Format("2 Jan 2006") },
		"clock":     func(t time.Time) string { return t.UTC().Format("15:04:05") },
		"machine":   func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"ago":       func(t time.Time) string { return ago(c.now().Sub(t)) },
		"span":      span,
		"offset":    offset,
		"action":    actionWord,
		"seconds":   secondsOf,
		"size":      size,
		"detail":    detail,
		"moment":    func(id string, d time.Duration) string { return "/sessions/" + id + "#t=" + secondsOf(d) },
		"facts":     factList,
		"decision":  decisionWord,
		"state":     stateOf,
		"guard":     guardOf,
		"held":      holdStateOf,
		"digest":    digest,
		"covers":    coversText,
		"screen":    screenText,
		"succeeded": func(status *int) bool { return status != nil && *status == 0 },
	}
}

// secondsOf is a moment of a session as links have it.
func secondsOf(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// render writes a page, or nothing but an error if it cannot be made whole.
func (c *Console) render(w http.ResponseWriter, r *http.Request, v *visit, status int, page, title string, body any) {
	f := frame{Page: page, Title: title, Gate: c.o.GateName, Now: c.now(), Body: body}
	if v != nil && v.signedIn != nil {
		f.Viewer, f.Token = &v.viewer.Principal, v.token
		f.Waiting = c.waiting(r, v)
	}
	c.write(w, r, status, page, "frame", f)
}

// fragment writes a piece of a page, for a script to put in place.
func (c *Console) fragment(w http.ResponseWriter, r *http.Request, v *visit, page, name string, body any) {
	c.write(w, r, http.StatusOK, page, name, frame{Page: page, Viewer: &v.viewer.Principal, Token: v.token, Now: c.now(), Body: body})
}

func (c *Console) write(w http.ResponseWriter, r *http.Request, status int, page, name string, f frame) {
	t := c.pages[page]
	var b bytes.Buffer
	if t == nil {
		c.log().ErrorContext(r.Context(), "console: no such template", "page", page)
		http.Error(w, "the page could not be made; see the gate's log", http.StatusInternalServerError)
		return
	}
	if err := t.ExecuteTemplate(&b, name, f); err != nil {
		c.log().ErrorContext(r.Context(), "console: page not made", "page", page, "err", err)
		http.Error(w, "the page could not be made; see the gate's log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes()) // an error is the client's absence
}

// waiting counts the holds of the badge in the navigation.
func (c *Console) waiting(r *http.Request, v *visit) int {
	holds, err := c.pending(r, v)
	if err != nil {
		return 0
	}
	return len(holds)
}

// person is what a list calls somebody.
func person(p any) string {
	switch p := p.(type) {
	case policies.Principal:
		return firstOf(p.Name, p.Email, p.Key)
	case *policies.Principal:
		return firstOf(p.Name, p.Email, p.Key)
	case ledger.Identity:
		return firstOf(p.Name, p.Email, p.Key())
	case *ledger.Identity:
		return firstOf(p.Name, p.Email, p.Key())
	}
	return "nobody"
}

func firstOf(names ...string) string {
	for _, n := range names {
		if n != "" {
			return plain(n)
		}
	}
	return "nobody"
}

// ago says how long something is past, as people do.
func ago(d time.Duration) string {
	switch {
	case d < 5*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// span is a duration in at most two units, the second left out where it is none.
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour && int(d.Seconds())%60 == 0:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour && int(d.Minutes())%60 == 0:
		return fmt.Sprintf("%d h", int(d.Hours()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %02d h", int(d.Hours())/24, int(d.Hours())%24)
}

// offset is a point on a recording's timeline. In its first seconds, where much happens at once, it has
// tenths.
func offset(d time.Duration) string {
	d = max(d, 0)
	s := int(d.Seconds())
	if s < 10 {
		return fmt.Sprintf("0:%04.1f", d.Truncate(100*time.Millisecond).Seconds())
	}
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// actionWord stands for an operation that has no text of its own.
func actionWord(action string) string {
	if action == "session:open" {
		return "Session opened"
	}
	return plain(action)
}

// decisionWord is what a badge says of a decision.
func decisionWord(d string) string {
	switch d {
	case "allow":
		return "allowed"
	case "deny":
		return "denied"
	case "hold":
		return "held"
	}
	return plain(d)
}

// A word is a label with the tone of its badge and a sentence that explains it.
type word struct{ Tone, Label, Title string }

// stateOf names how a session's recording stands.
func stateOf(s ledger.State) word {
	switch s {
	case ledger.Live:
		return word{"live", "live", "The session is running."}
	case ledger.Complete:
		return word{"quiet", "complete", "The session ended, and all of it is recorded and sealed."}
	case ledger.Recovered:
		return word{"warn", "recovered", "A crash cut the session. Everything that was shown is recorded; the seal was made later by the gate that recovered it."}
	case ledger.Truncated:
		return word{"bad", "truncated", "The recording is known to lack something."}
	case ledger.Lost:
		return word{"bad", "lost", "The gate stopped without ending this session, and nobody has sealed its recording since."}
	}
	return word{"quiet", plain(string(s)), ""}
}

// guardOf says honestly how much is known of what was run.
func guardOf(g string) word {
	switch g {
	case "hook":
		return word{"good", "exact: shell hook", "The shell asked the gate before each command, after editing and expansion. Scripts, interpreters and editors run unseen inside what was asked."}
	case "exact", "n/a":
		return word{"good", "exact", "Each operation was known exactly before it ran."}
	case "screen":
		return word{"warn", "advisory: screen", "Commands were read off the screen and the keystrokes. This guards against slips, and can be got around on purpose."}
	case "none":
		return word{"bad", "none", "Nothing looked at single commands. The recording is all there is."}
	case "":
		return word{"quiet", "not recorded", "The gate did not say how commands were known."}
	}
	return word{"quiet", plain(g), ""}
}

// holdStateOf names where a hold stands.
func holdStateOf(s policies.State) word {
	switch s {
	case policies.StatePending:
		return word{"warn", "waiting", "Nobody has answered yet."}
	case policies.StateApproved:
		return word{"good", "approved", "Answered yes; not released yet."}
	case policies.StateConsumed:
		return word{"good", "approved and run", "Answered yes, and released exactly once."}
	case policies.StateDenied:
		return word{"bad", "denied", "Answered no."}
	case policies.StateExpired:
		return word{"quiet", "expired", "Nobody answered in time, which is a no."}
	case policies.StateWithdrawn:
		return word{"quiet", "withdrawn", "Whoever asked left before an answer."}
	case policies.StateLost:
		return word{"quiet", "lost", "The gate that held it was restarted, which is a no."}
	}
	return word{"quiet", plain(string(s)), ""}
}
