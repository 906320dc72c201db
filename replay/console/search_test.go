package console

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func TestSearch(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	for _, tt := range []struct {
		query    string
		has, not string
	}{
		{"", "What happened?", "Results"},
		{"?in=screen", "What was on the screen?", "Results"},
		{"?q=PASTE.example", `<mark>paste.example</mark>`, "git status"},
		{"?q=paste.example&decision=allow", "Nothing found", "<mark>"},
		{"?decision=deny&target=web1", "rm -rf /srv/demo/old", "git status"},
		{"?who=deploy-bot&behalf=ada&q=rm+-rf", "<mark>rm -rf</mark>", "curl"},
		{"?who=nobody-such", "Nothing found", "<mark>"},
		{"?exit=77", "rm -rf", "git status"},
		{"?in=screen&q=PostgreSQL", "Nothing found", "<mark>"}, // it still runs
		{"?in=screen&q=Zieli%C5%84ski", "#t=", "Nothing found"},
		{"?in=screen&q=still+readable", "20261124s00mal00005e#t=", "<script>window"},
		{"?q=window.owned", "&lt;img src=x onerror=<mark>window.owned</mark>", "<img src=x"},
		{"?session=20261124s00ada00001a&in=screen&q=active", "<mark>active</mark>", "20261124s00gra"},
	} {
		res := b.get("/search" + tt.query)
		body := text(res)
		if res.StatusCode != http.StatusOK || !strings.Contains(body, tt.has) || strings.Contains(body, tt.not) {
			t.Errorf("%s: %s; want %q, not %q:\n%.3000s", tt.query, res.Status, tt.has, tt.not, body[max(0, strings.Index(body, "<main")):])
		}
	}
	for _, q := range []string{"?q=%00", "?q=" + strings.Repeat("x", 300), "?in=everywhere", "?session=../x", "?exit=many", "?within=1y", "?since=then", "?q=x&after=nonsense", "?q=%ff"} {
		if res := b.get("/search" + q); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", q, res.Status)
		}
	}
	if res := b.get("/search?session=20261124s00nosuch00z&q=x"); res.StatusCode != http.StatusNotFound {
		t.Errorf("a session that is not there: %s", res.Status)
	}
}

// Who may see only what is theirs finds only that, and what was on a screen needs the right to see recordings.
func TestSearchRights(t *testing.T) {
	f := newFixture(t)
	f.seed()
	own := text(f.signIn("ada").get("/search?q=rm+-rf")) // her agent's
	if !strings.Contains(own, "<mark>rm -rf</mark>") {
		t.Errorf("ada does not find what her agent did: %.500s", own)
	}
	if body := text(f.signIn("ada").get("/search?in=screen&q=psql")); strings.Contains(body, "<mark>") {
		t.Error("ada finds what was on grace's screen")
	}
	m := f.signIn("mallory")
	for _, path := range []string{"/search?q=rm", "/search/results.csv?q=rm", "/search/results.json?q=rm", "/audit", "/rules", "/sessions/" + adas + "/text"} {
		if res := m.get(path); res.StatusCode != http.StatusForbidden && !strings.Contains(text(res), "Nothing found") && !strings.HasPrefix(text(res), "time,session") && !strings.Contains(text(res), `"results":[`) {
			t.Errorf("mallory at %s: %s", path, res.Status)
		} else if strings.Contains(text(res), "customers") || strings.Contains(text(res), "demo/old") {
			t.Errorf("mallory sees what is not hers at %s", path)
		}
	}
}

// failing is an audit log that can be away.
type failing struct {
	Audit
	fail atomic.Bool
}

func (f *failing) AddAudit(ctx context.Context, e ledger.Event) error {
	if f.fail.Load() {
		return errors.New("the log is away")
	}
	return f.Audit.AddAudit(ctx, e)
}

// Nothing is looked for, exported or read unless that is in the audit log.
func TestSearchIsWrittenDown(t *testing.T) {
	broken := &failing{}
	f := newFixture(t, func(o *Options) { broken.Audit = o.Audit; o.Audit = broken })
	f.seed()
	b := f.signIn("grace")
	for path, kind := range map[string]string{
		"/search?q=rm": "console.searched", "/search/results.csv?q=rm": "console.exported", "/search/results.json?q=rm": "console.exported",
		"/sessions/" + adas + "/text": "recording.read", "/audit": "console.audit-viewed",
	} {
		if res := b.get(path); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, res.Status)
		}
		if e, _, err := f.ledger.Audit(t.Context(), ledger.AuditFilter{Kind: kind}); err != nil || len(e) == 0 {
			t.Errorf("%s: no %s in the log, %v", path, kind, err)
		}
		broken.fail.Store(true)
		if res := b.get(path); res.StatusCode != http.StatusInternalServerError || strings.Contains(text(res), "/srv/demo") {
			t.Errorf("%s without a log: %s", path, res.Status)
		}
		broken.fail.Store(false)
	}
}

func TestExports(t *testing.T) {
	f := newFixture(t)
	f.seed()
	now := time.Now()
	id := "20261124s00for0000cn"
	if err := f.ledger.StartSession(t.Context(), ledger.Session{ID: id, Gate: "gate-1", Identity: f.identity("ada"), Target: "=HYPERLINK(\"https://evil\")", TargetKind: "ssh", Kind: "shell", Started: now}); err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"=cmd|' /C calc'!A0 formula", "+1+1 formula", "-2+3 formula", "@SUM(A1) formula", "\t=1 formula", "＝1 formula", "harmless, \"quoted\"\nformula", "\x1b]0;x\x07 formula"} {
		o := op(time.Second, "allow", text, "p")
		o.ID, o.SessionID, o.Sequence, o.Time = "opformula"+itoa(i), id, int64(i+1), now
		if err := f.ledger.AddOperation(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	b := f.signIn("grace")
	res := b.get("/search/results.csv?q=formula")
	if !strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment") || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/csv") {
		t.Errorf("headers %v", res.Header)
	}
	rows, err := csv.NewReader(strings.NewReader(text(res))).ReadAll()
	if err != nil || len(rows) != 9 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows[1:] {
		for _, c := range row {
			if c != "" && strings.ContainsRune("=+-@\t\r＝＋－＠", firstRune(c)) || strings.ContainsAny(c, "\x1b\x07\n") {
				t.Errorf("cell %q", c)
			}
		}
	}
	var all struct {
		Results  []exported
		Complete bool
	}
	if err := json.Unmarshal([]byte(text(b.get("/search/results.json?q=formula"))), &all); err != nil || len(all.Results) != 8 || !all.Complete {
		t.Errorf("%d results, complete %v, %v", len(all.Results), all.Complete, err)
	}
	if got := text(b.get("/search/results.csv?in=screen&q=still+readable")); !strings.Contains(got, "20261124s00mal00005e") {
		t.Errorf("output: %q", got)
	}
	if res := b.get("/search/results.csv?in=screen"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("all output of all sessions: %s", res.Status)
	}
}

func TestSavedSearches(t *testing.T) {
	f := newFixture(t)
	b, other := f.signIn("grace"), f.signIn("edsger")
	form := func(name, query string) url.Values {
		return url.Values{"token": {b.token()}, "name": {name}, "query": {query}}
	}
	if res := b.post("/search/saved", form("mine <i>", "q=rm&decision=deny&after=x&evil=1")); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/search?decision=deny&q=rm" {
		t.Errorf("saved: %s %s", res.Status, res.Header.Get("Location"))
	}
	if body := text(b.get("/search")); !strings.Contains(body, "mine &lt;i&gt;") || !strings.Contains(body, `href="/search?decision=deny&amp;q=rm"`) {
		t.Error("the saved search is not on the page")
	}
	if body := text(other.get("/search")); strings.Contains(body, "mine &lt;i") {
		t.Error("another sees it")
	}
	for _, bad := range []url.Values{form("", "q=x"), form(strings.Repeat("x", 101), "q=x"), form("a\x00b", "q=x"), form("x", "in=nowhere"), form("x", "%zz")} {
		if res := b.post("/search/saved", bad); res.StatusCode/100 != 4 {
			t.Errorf("%v: %s", bad, res.Status)
		}
	}
	if res := b.post("/search/saved", url.Values{"name": {"x"}, "query": {"q=x"}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("without a token: %s", res.Status)
	}
	b.post("/search/forget", form("mine <i>", ""))
	if body := text(b.get("/search")); strings.Contains(body, "mine &lt;i") {
		t.Error("it is not forgotten")
	}
}

func TestPieces(t *testing.T) {
	join := func(all []piece) string {
		var b strings.Builder
		for _, p := range all {
			if p.Found {
				b.WriteString("[" + p.Text + "]")
			} else {
				b.WriteString(p.Text)
			}
		}
		return b.String()
	}
	for _, tt := range []struct{ text, query, want string }{
		{"rm -rf /", "RM", "[rm] -rf /"}, {"abcabc", "bc", "a[bc]a[bc]"}, {"nothing", "xyz", "nothing"}, {"Ärger", "ärger", "Ärger"},
		{"a\x1b[2Jb", "b", "a⟨ESC⟩[2J[b]"}, {strings.Repeat("x", 500) + "hit", "hit", "…" + strings.Repeat("x", around) + "[hit]"},
	} {
		if got := join(pieces(tt.text, tt.query)); got != tt.want {
			t.Errorf("%q in %.20q: %q, want %q", tt.query, tt.text, got, tt.want)
		}
	}
}

// The audit log shows what was done as text, page by page.
func TestAuditPage(t *testing.T) {
	f := newFixture(t)
	b := f.signIn("grace")
	for i := range 60 {
		e := ledger.Event{Kind: "login.denied", Gate: "gate-1", ActorName: "<script>owned</script>\x1b[2J", Source: "198.51.100." + itoa(i), Denied: true, Detail: map[string]any{"why": "<b>\u202e", "n": int64(i)}}
		if i%2 == 0 {
			e.Kind, e.Denied, e.SessionID = "recording.viewed", false, "20261124s00ada00001a"
		}
		if err := f.ledger.AddAudit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	body := text(b.get("/audit"))
	if !strings.Contains(body, "&lt;script&gt;owned") || strings.Contains(body, "<script>owned") || strings.Contains(body, "\x1b") || strings.Contains(body, "\u202e") || !strings.Contains(body, "Older") {
		t.Errorf("%.2000s", body)
	}
	if body := text(b.get("/audit?denied=yes")); !strings.Contains(body, "login.denied") || strings.Contains(body, "<code>recording.viewed") {
		t.Error("turned away: the filter does not work")
	}
	if body := text(b.get("/audit?who=grace")); !strings.Contains(body, "console.signin") || strings.Contains(body, "login.denied") {
		t.Error("who: the filter does not work")
	}
	for _, q := range []string{"?within=1y", "?session=../", "?denied=perhaps", "?after=x", "?kind=%00"} {
		if res := b.get("/audit" + q); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", q, res.Status)
		}
	}
	for user, want := range map[string]int{"edsger": http.StatusOK, "ada": http.StatusForbidden, "mallory": http.StatusForbidden} {
		if res := f.signIn(user).get("/audit"); res.StatusCode != want {
			t.Errorf("%s: %s", user, res.Status)
		}
	}
}
