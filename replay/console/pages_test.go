package console

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

const adas = "20261124s00ada00001a"

func TestHeaders(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	for _, path := range []string{"/", "/sessions", "/sessions/" + adas, "/sessions/" + adas + "/play", "/sessions/" + adas + "/recording.cast", "/approvals", "/signin", "/nosuch", "/static/console.js", "/static/nosuch", "/favicon.ico"} {
		h := b.get(path).Header
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "script-src 'self' 'wasm-unsafe-eval'", "style-src 'self'", "connect-src 'self'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q lacks %q", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe-inline") || strings.Contains(csp, "'unsafe-eval'") {
			t.Errorf("%s: policy %q", path, csp)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin"} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		if cache := h.Get("Cache-Control"); strings.HasPrefix(path, "/static/console") != strings.HasPrefix(cache, "public") && path != "/favicon.ico" {
			t.Errorf("%s: Cache-Control %q", path, cache)
		}
	}
}

// No page has script or style of its own, so the policy needs no exceptions.
func TestNothingInline(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	f.ask(f.removal("k7m2w9qx", "rm -rf /srv"))
	for _, path := range []string{"/", "/sessions", "/sessions/" + adas, "/approvals", "/approvals/k7m2w9qx", "/signin", "/nosuch"} {
		body := text(b.get(path))
		for _, bad := range []string{" style=", "<style", "onclick=", "onload=", "javascript:", "<script>"} {
			if strings.Contains(body, bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
	}
}

func TestAssets(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	css, err := f.console.assets.url("console.css")
	if err != nil {
		t.Fatal(err)
	}
	res := b.get(css)
	if res.StatusCode != 200 || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/css") {
		t.Errorf("%s: %s %v", css, res.Status, res.Header)
	}
	req, _ := http.NewRequest("GET", f.url+css, nil)
	req.Header.Set("If-None-Match", res.Header.Get("ETag"))
	if res := b.do(req); res.StatusCode != http.StatusNotModified {
		t.Errorf("again: %s", res.Status)
	}
	for _, path := range []string{"/static/", "/static/../console.go", "/static/vendor/.gitkeep", "/static/%2e%2e/console.go", "/static/vendor/VERSION"} {
		if res := b.get(path); res.StatusCode == 200 {
			t.Errorf("%s is served", path)
		}
	}
}

// Without the right there is a page that says what was refused, and nothing of what it was about.
func TestWithoutTheRight(t *testing.T) {
	f := newFixture(t)
	f.seed()
	for _, who := range []string{"mallory", "linus"} {
		b := f.signIn(who)
		for _, path := range []string{
			"/sessions/" + adas, "/sessions/" + adas + "/play", "/sessions/" + adas + "/recording.cast", "/sessions/" + adas + "/operations?after=0",
			"/sessions/20261124s00bot00002b/live", "/sessions/nosuchsession", "/sessions/nosuchsession/play",
		} {
			res := b.get(path)
			if body := text(res); res.StatusCode != http.StatusForbidden || strings.Contains(body, "customers") || strings.Contains(body, "systemctl") || !strings.Contains(body, "recording:view") {
				t.Errorf("%s as %s: %s", path, who, res.Status)
			}
		}
		for _, path := range []string{"/", "/sessions", "/sessions?q=customers"} {
			if body := text(b.get(path)); strings.Contains(body, "customers.csv") || strings.Contains(body, "pg_dump") {
				t.Errorf("%s as %s tells of others' sessions", path, who)
			}
		}
		if res := b.post("/sessions/"+adas+"/verify", url.Values{"token": {tokenAnywhere(b)}}); res.StatusCode != http.StatusForbidden {
			t.Errorf("verify as %s: %s", who, res.Status)
		}
	}
	refused, _, err := f.ledger.Audit(t.Context(), ledger.AuditFilter{Kind: "console.refused"})
	if err != nil || len(refused) == 0 {
		t.Errorf("refusals in the audit log: %v %v", refused, err)
	}
}

// Where policies permit one's own, the lists hold that.
func TestOwnSessions(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("ada")
	body := text(b.get("/sessions"))
	if !strings.Contains(body, "customers.csv") || !strings.Contains(body, "rm -rf /srv/demo/old") || strings.Contains(body, "pg_dump") || !strings.Contains(body, "Your own sessions") {
		t.Error("ada's list is not hers and her agent's")
	}
	if body := text(b.get("/sessions?who=grace")); strings.Contains(body, "pg_dump") {
		t.Error("the filter widens the list")
	}
	if res := b.get("/sessions/" + adas); res.StatusCode != 200 {
		t.Errorf("her own session: %s", res.Status)
	}
	if body := text(b.get("/")); !strings.Contains(body, "of you and your agents") || strings.Contains(body, "pg_dump") {
		t.Error("the overview is not hers")
	}
}

func TestGateCannotDecide(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	f.gate.mu.Lock()
	f.gate.broken = errors.New("policy store at 10.0.0.7 unreachable")
	f.gate.mu.Unlock()
	for _, path := range []string{"/", "/sessions", "/sessions/" + adas, "/sessions/" + adas + "/play", "/approvals"} {
		res := b.get(path)
		if body := text(res); res.StatusCode != http.StatusInternalServerError || strings.Contains(body, "10.0.0.7") || strings.Contains(body, "customers") || !strings.Contains(body, "fault of the gate") {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	if !strings.Contains(f.log.String(), "10.0.0.7") {
		t.Error("the log does not say what went wrong")
	}
}

// unwritten is an audit log on a full disk.
type unwritten struct{ kind string }

func (u unwritten) AddAudit(_ context.Context, e ledger.Event) error {
	if strings.HasPrefix(e.Kind, u.kind) {
		return errors.New("disk full")
	}
	return nil
}

func TestNobodyLooksUnnoticed(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Audit = unwritten{"recording."} })
	f.seed()
	b := f.signIn("grace")
	for _, path := range []string{"", "/play", "/recording.cast"} {
		if res := b.get("/sessions/" + adas + path); res.StatusCode != http.StatusInternalServerError || strings.Contains(text(res), "customers") {
			t.Errorf("%q: %s", path, res.Status)
		}
	}
	g := newFixture(t)
	g.seed()
	b = g.signIn("grace")
	for _, path := range []string{"", "/play", "/recording.cast"} {
		b.get("/sessions/" + adas + path)
	}
	b.post("/sessions/"+adas+"/verify", url.Values{"token": {b.token()}})
	for _, kind := range []string{"recording.viewed", "recording.played", "recording.downloaded", "recording.verified"} {
		if e, _, err := g.ledger.Audit(t.Context(), ledger.AuditFilter{Kind: kind, SessionID: adas}); err != nil || len(e) != 1 || e[0].ActorName != "grace" {
			t.Errorf("%s: %v %v", kind, e, err)
		}
	}
}

func TestHostileAddresses(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	for path, want := range map[string]int{
		"/sessions/..%2f..%2fetc%2fpasswd":               404,
		"/sessions/%2e%2e":                               404,
		"/sessions/../../etc/passwd":                     404,
		"/sessions/" + adas + "%00":                      404,
		"/sessions/ABCDEF":                               404,
		"/sessions/" + strings.Repeat("a", 41):           404,
		"/sessions/abc":                                  404,
		"/sessions/" + adas + "/..%2f..%2frecording":     404,
		"/approvals/..%2f..%2fetc":                       404,
		"/approvals/%3Cscript%3Ealert(1)%3C%2Fscript%3E": 404,
		"/sessions?q=" + strings.Repeat("a", 257):        400,
		"/sessions?q=%00":                                400,
		"/sessions?q=%1b%5b2J":                           400,
		"/sessions?q=%e2%80%ae":                          400,
		"/sessions?q=%ff":                                400,
		"/sessions?state=asleep":                         400,
		"/sessions?decision=drop":                        400,
		"/sessions?since=yesterday":                      400,
		"/sessions?within=1y":                            400,
		"/sessions?after=%27%3B+drop+table":              400,
		"/sessions/" + adas + "/operations?after=-1":     400,
		"/sessions/" + adas + "/operations?after=x":      400,
		"/nosuch": 404,
	} {
		res := b.get(path)
		for range 3 { // the mux cleans paths by redirect
			if res.StatusCode/100 == 3 {
				res = b.get(res.Header.Get("Location"))
			}
		}
		if body := text(res); res.StatusCode != want || strings.Contains(body, "<script>alert") || strings.Contains(body, "root:") {
			t.Errorf("%s: %s, want %d", path, res.Status, want)
		}
	}
	for _, q := range []string{"'; DROP TABLE sessions; --", "%_%", `\`, "<script>alert(1)</script>"} {
		res := b.get("/sessions?q=" + url.QueryEscape(q))
		if body := text(res); res.StatusCode != 200 || strings.Contains(body, "<script>alert") {
			t.Errorf("search for %q: %s", q, res.Status)
		}
	}
}

func TestHostileSession(t *testing.T) {
	f := newFixture(t)
	evil := "<script>alert(1)</script>\u202e\x1b]0;x\x07"
	row := ledger.Session{
		ID: "evilsession000000000", Gate: evil, Identity: ledger.Identity{Issuer: "https://i", Subject: evil, Name: evil, Email: evil, Kind: "agent"},
		OnBehalfOf: &ledger.Identity{Issuer: "https://i", Subject: "x", Name: evil, Kind: "human"}, Target: evil, TargetKind: evil, Login: evil,
		Kind: evil, Command: evil, ClientAddr: evil, Guard: evil, Term: evil, Started: time.Now(),
	}
	if err := f.ledger.StartSession(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	o := ledger.Operation{ID: "evilop", SessionID: row.ID, Sequence: 1, Time: time.Now(), Action: evil, Text: evil, Decision: "deny", Policy: evil, Outcome: evil}
	if err := f.ledger.AddOperation(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	zero := 0
	if err := f.ledger.EndSession(t.Context(), row.ID, ledger.End{Ended: time.Now(), State: ledger.Complete, ExitStatus: &zero, ExitSignal: evil, Reason: evil}); err != nil {
		t.Fatal(err)
	}
	b := f.signIn("grace")
	for _, path := range []string{"/", "/sessions", "/sessions/" + row.ID, "/sessions?q=" + url.QueryEscape("<script>alert(1)</script>")} {
		res := b.get(path)
		if res.StatusCode != 200 {
			t.Errorf("%s: %s\n%s", path, res.Status, f.log)
		}
		for _, bad := range []string{"<script>alert", "\u202e", "\x1b", "\x07"} {
			if strings.Contains(text(res), bad) {
				t.Errorf("%s has a raw %q", path, bad)
			}
		}
	}
}

func TestOtherHosts(t *testing.T) {
	f := newFixture(t)
	req, _ := http.NewRequest("GET", f.url+"/sessions?who=ada", nil)
	req.Host = "rebound.evil.example"
	if res := f.browser().do(req); res.StatusCode != http.StatusTemporaryRedirect || res.Header.Get("Location") != f.url+"/sessions?who=ada" {
		t.Errorf("GET: %s to %q", res.Status, res.Header.Get("Location"))
	}
	w := httptest.NewRecorder()
	f.console.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost//evil.example", nil))
	if w.Header().Get("Location") != f.url+"/" {
		t.Errorf("to %q", w.Header().Get("Location"))
	}
	req, _ = http.NewRequest("POST", f.url+"/signout", nil)
	req.Host = "rebound.evil.example"
	if res := f.browser().do(req); res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("POST: %s", res.Status)
	}
}

func TestFilters(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	for query, want := range map[string][2]string{
		"q=customers":     {"customers.csv", "pg_dump"},
		"state=live":      {"pg_dump", "customers.csv"},
		"state=recovered": {"recovered", "customers.csv"},
		"who=mallory":     {"DROP TABLE", "pg_dump"},
		"target=db1":      {"pg_dump", "customers.csv"},
		"decision=hold":   {"agent.sh", "pg_dump"},
		"within=1h":       {"pg_dump", "customers.csv"},
		"until=" + time.Now().UTC().Add(-time.Hour).Format("2006-01-02T15:04"): {"customers.csv", "pg_dump"},
	} {
		body := text(b.get("/sessions?" + query))
		rows := body[strings.Index(body, "<main"):]
		if !strings.Contains(rows, want[0]) || strings.Contains(rows, want[1]) {
			t.Errorf("%s: has %q %v, has %q %v", query, want[0], strings.Contains(rows, want[0]), want[1], strings.Contains(rows, want[1]))
		}
	}
	if body := text(b.get("/sessions?q=nothing-like-it")); !strings.Contains(body, "No session matches") {
		t.Error("the empty state is missing")
	}
	if body := text(newFixture(t).signIn("grace").get("/sessions")); !strings.Contains(body, "No session yet") {
		t.Error("the very first state is missing")
	}
}

func TestPaging(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	seen, path, pages := map[string]bool{}, "/sessions?within=30d", 0
	for path != "" && pages < 10 {
		body := text(b.get(path))
		for _, part := range strings.Split(body, `<tr data-href="/sessions/`)[1:] {
			id := part[:strings.IndexByte(part, '"')]
			if seen[id] {
				t.Errorf("%s is on two pages", id)
			}
			seen[id] = true
		}
		pages, path = pages+1, ""
		if _, rest, ok := strings.Cut(body, `<a class="button" href="/sessions?`); ok && strings.Contains(body, `rel="next"`) {
			if pages > 1 {
				_, rest, _ = strings.Cut(rest, `<a class="button" href="/sessions?`)
			}
			path = "/sessions?" + strings.ReplaceAll(rest[:strings.IndexByte(rest, '"')], "&amp;", "&")
		}
	}
	if len(seen) != len(stories()) || pages != 2 {
		t.Errorf("%d sessions on %d pages, want %d on 2", len(seen), pages, len(stories()))
	}
}

func TestEndSession(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	live := "20261124s00bot00002b"
	if body := text(b.get("/sessions/" + live)); !strings.Contains(body, "End this session") {
		t.Error("the page does not offer it")
	}
	if res := b.post("/sessions/"+live+"/end", url.Values{"token": {b.token()}}); res.StatusCode != http.StatusConflict || !strings.Contains(text(res), "reason is needed") {
		t.Errorf("without a reason: %s", res.Status)
	}
	if res := b.post("/sessions/"+live+"/end", url.Values{"token": {b.token()}, "reason": {"wrong host"}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("with a reason: %s", res.Status)
	}
	e := f.signIn("edsger")
	if res := e.post("/sessions/"+live+"/end", url.Values{"token": {tokenAnywhere(e)}, "reason": {"x"}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("an auditor: %s", res.Status)
	}
	if len(f.ender.ended) != 1 || f.ender.ended[0] != "grace "+live+" wrong host" {
		t.Errorf("ended %q", f.ender.ended)
	}
}

func TestVerifyPage(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.signIn("grace")
	check := func(id, want string) {
		t.Helper()
		if body := text(b.post("/sessions/"+id+"/verify", url.Values{"token": {b.token()}})); !strings.Contains(body, want) {
			t.Errorf("%s: the page does not say %q", id, want)
		}
	}
	check(adas, "nothing is missing or changed")
	f.shelf.byID[adas].data[400] ^= 1
	check(adas, "this is not what was recorded")
	delete(f.shelf.byID, adas)
	check(adas, "There is no recording of this session")
	if res := b.get("/sessions/" + adas + "/play"); res.StatusCode != http.StatusNotFound {
		t.Errorf("playing what is gone: %s", res.Status)
	}
}

func TestDownload(t *testing.T) {
	f := newFixture(t)
	f.seed()
	res := f.signIn("grace").get("/sessions/" + adas + "/recording.cast")
	want, _ := f.shelf.Open(t.Context(), adas)
	data, _ := io.ReadAll(want)
	if text(res) != string(data) || res.Header.Get("Content-Type") != "application/octet-stream" || res.Header.Get("Content-Disposition") != `attachment; filename="`+adas+`.cast"` {
		t.Errorf("%s %v", res.Status, res.Header)
	}
	if r, err := cast.Verify(strings.NewReader(text(res)), cast.VerifyOptions{Session: adas}); err != nil || r.State != cast.Complete {
		t.Errorf("the download does not verify: %+v %v", r, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, base := range []string{"", "console.example.com", "ftp://x", "https://x/path", "https://u@x", "https://x?y", "https://"} {
		f := newFixture(t)
		o := f.console.o
		o.BaseURL = base
		if _, err := New(o); err == nil {
			t.Errorf("base URL %q is taken", base)
		}
	}
	f := newFixture(t)
	for name, spoil := range map[string]func(*Options){
		"Gate": func(o *Options) { o.Gate = nil }, "Audit": func(o *Options) { o.Audit = nil }, "Ledger": func(o *Options) { o.Ledger = nil },
		"Recordings": func(o *Options) { o.Recordings = nil }, "Approvals": func(o *Options) { o.Approvals = nil }, "SignIn.Verifier": func(o *Options) { o.SignIn.Verifier = nil },
	} {
		o := f.console.o
		spoil(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestPlayerMissing(t *testing.T) {
	f := newFixture(t)
	f.seed()
	delete(f.console.assets.files, "vendor/asciinema-player.js")
	res := f.signIn("grace").get("/sessions/" + adas)
	if body := text(res); res.StatusCode != 200 || !strings.Contains(body, "player assets missing: run make build") || !strings.Contains(body, "systemctl restart checkout") {
		t.Errorf("%s: the page does not say what is missing", res.Status)
	}
}

func TestWordsForTime(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 ms", 57 * time.Millisecond: "57 ms", 1500 * time.Millisecond: "1.5 s", 42 * time.Second: "42 s", time.Minute: "1 min",
		249 * time.Second: "4 min 09 s", time.Hour: "1 h", 26 * time.Hour: "1 d 02 h", 95 * time.Minute: "1 h 35 min",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0:00.0", 1960 * time.Millisecond: "0:01.9", 10 * time.Second: "0:10", 249 * time.Second: "4:09", 2*time.Hour + 5*time.Second: "2:00:05",
	} {
		if got := offset(d); got != want {
			t.Errorf("offset(%v) = %q, want %q", d, got, want)
		}
	}
}
