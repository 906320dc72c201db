package console

import (
	"bufio"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func TestAnswer(t *testing.T) {
	f := newFixture(t)
	id, result := f.ask(f.removal("k7m2w9qx", "rm -rf /srv/demo/old"))
	grace := f.signIn("grace")
	if body := text(grace.get("/approvals")); !strings.Contains(body, "rm -rf /srv/demo/old") || !strings.Contains(body, "on behalf of <b><bdi>ada") {
		t.Fatalf("the page does not show what waits: %.2000s", body)
	}
	res := grace.answer(id, "approve", "the backup has run")
	if res.StatusCode != http.StatusOK || !strings.Contains(text(res), "It runs now, exactly as shown.") {
		t.Fatalf("approve: %s\n%s", res.Status, f.log)
	}
	if err := <-result; err != nil {
		t.Errorf("the one who waited: %v", err)
	}
	h, err := f.desk.Get(t.Context(), id)
	if err != nil || len(h.Answers) != 1 || h.Answers[0].Via != "console" || h.Answers[0].Reason != "the backup has run" || h.Answers[0].Approver.Name != "grace" {
		t.Errorf("hold %+v, %v", h, err)
	}
	events, _, err := f.ledger.Audit(t.Context(), ledger.AuditFilter{Kind: "hold.answered"})
	if err != nil || len(events) != 1 || events[0].ActorName != "grace" || events[0].Detail["hold"] != id {
		t.Errorf("audit %+v, %v", events, err)
	}
}

func TestDeny(t *testing.T) {
	f := newFixture(t)
	id, result := f.ask(f.removal("k7m2w9qx", "rm -rf /"))
	res := f.signIn("linus").answer(id, "deny", "")
	if res.StatusCode != http.StatusOK || !strings.Contains(text(res), "You denied this") {
		t.Fatalf("deny: %s", res.Status)
	}
	var refused *policies.RefusedError
	if err := <-result; !errors.As(err, &refused) || refused.State != policies.StateDenied {
		t.Errorf("the one who waited: %v", err)
	}
}

// Nothing that a browser does by itself answers anything.
func TestAnswerNeedsOurForm(t *testing.T) {
	f := newFixture(t)
	id, _ := f.ask(f.removal("k7m2w9qx", "rm -rf /srv/demo/old"))
	grace, linus := f.signIn("grace"), f.signIn("linus")
	token, seen, foreign := grace.token(), grace.seen(id), linus.token()
	form := func(edit ...func(url.Values)) url.Values {
		v := url.Values{"token": {token}, "seen": {seen}, "answer": {"approve"}}
		for _, e := range edit {
			e(v)
		}
		return v
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			if value == "" {
				r.Header.Del(name)
			} else {
				r.Header.Set(name, value)
			}
		}
	}
	for _, tt := range []struct {
		name string
		res  *http.Response
		want int
	}{
		{"GET", grace.get("/approvals/" + id + "?" + form().Encode()), 200},
		{"GET that says POST", func() *http.Response {
			r, _ := http.NewRequest("GET", f.url+"/approvals/"+id+"?"+form().Encode(), nil)
			r.Header.Set("X-HTTP-Method-Override", "POST")
			return grace.do(r)
		}(), 200},
		{"PUT", func() *http.Response {
			r, _ := http.NewRequest("PUT", f.url+"/approvals/"+id, strings.NewReader(form().Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return grace.do(r)
		}(), 404},
		{"no token", grace.post("/approvals/"+id, form(func(v url.Values) { v.Del("token") })), 403},
		{"token of somebody else", grace.post("/approvals/"+id, form(func(v url.Values) { v.Set("token", foreign) })), 403},
		{"token in the address only", grace.post("/approvals/"+id+"?token="+url.QueryEscape(token), form(func(v url.Values) { v.Del("token") })), 403},
		{"cross-site", grace.post("/approvals/"+id, form(), header("Sec-Fetch-Site", "cross-site")), 403},
		{"same-site, another port", grace.post("/approvals/"+id, form(), header("Sec-Fetch-Site", "same-site")), 403},
		{"typed into the address bar", grace.post("/approvals/"+id, form(), header("Sec-Fetch-Site", "none")), 403},
		{"foreign Origin", grace.post("/approvals/"+id, form(), header("Origin", "https://evil.example")), 403},
		{"Origin null", grace.post("/approvals/"+id, form(), header("Origin", "null")), 403},
		{"foreign Origin in an old browser", grace.post("/approvals/"+id, form(), header("Origin", "https://evil.example"), header("Sec-Fetch-Site", "")), 403},
		{"neither Origin nor Sec-Fetch-Site", grace.post("/approvals/"+id, form(), header("Origin", ""), header("Sec-Fetch-Site", "")), 403},
		{"text/plain, as forms elsewhere can send", grace.post("/approvals/"+id, form(), header("Content-Type", "text/plain")), 403},
		{"nobody is signed in", f.browser().post("/approvals/"+id, form()), 303},
		{"digest of something else", grace.post("/approvals/"+id, form(func(v url.Values) { v.Set("seen", strings.Repeat("0", 32)) })), 409},
		{"no digest", grace.post("/approvals/"+id, form(func(v url.Values) { v.Del("seen") })), 409},
		{"neither yes nor no", grace.post("/approvals/"+id, form(func(v url.Values) { v.Set("answer", "perhaps") })), 400},
		{"oversized body", grace.post("/approvals/"+id, form(func(v url.Values) { v.Set("reason", strings.Repeat("a", 100_000)) })), 413},
		{"overlong reason", grace.post("/approvals/"+id, form(func(v url.Values) { v.Set("reason", strings.Repeat("é", 1001)) })), 413},
		{"reason that is no text", grace.post("/approvals/"+id, form(func(v url.Values) { v.Set("reason", "\xff") })), 400},
	} {
		if tt.res.StatusCode != tt.want {
			t.Errorf("%s: %s, want %d", tt.name, tt.res.Status, tt.want)
		}
		if h, err := f.desk.Get(t.Context(), id); err != nil || h.State != policies.StatePending || len(h.Answers) != 0 {
			t.Fatalf("%s: the hold is %s with %d answers, %v", tt.name, h.State, len(h.Answers), err)
		}
	}
}

func TestAnswerWhoMayNot(t *testing.T) {
	for _, tt := range []struct {
		name, asks, answers string
		want                int
		says                string
	}{
		{"one's own request", "grace", "grace", 403, "request of their own"},
		{"a request of one's agent", "deploy-bot", "ada", 403, "refused"},
		{"an auditor", "deploy-bot", "edsger", 403, "approval:give"},
		{"somebody without a group", "deploy-bot", "mallory", 403, "approval:list"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			h := f.removal("k7m2w9qx", "rm -rf /srv/demo/old")
			h.Principal = f.principal(tt.asks)
			id, _ := f.ask(h)
			b := f.signIn(tt.answers)
			if b.seen(id) != "" && tt.answers == tt.asks {
				t.Error("the page offers to answer")
			}
			res := b.post("/approvals/"+id, url.Values{"token": {tokenAnywhere(b)}, "seen": {digest(h)}, "answer": {"approve"}})
			if body := strings.ToLower(text(res)); res.StatusCode != tt.want || !strings.Contains(body, tt.says) {
				t.Errorf("%s, want %d saying %q", res.Status, tt.want, tt.says)
			}
			if got, _ := f.desk.Get(t.Context(), id); got.State != policies.StatePending {
				t.Errorf("the hold is %s", got.State)
			}
		})
	}
}

// tokenAnywhere finds the token on a page that everybody who is signed in gets.
func tokenAnywhere(b *browser) string {
	m := tokenPattern.FindStringSubmatch(text(b.get("/nosuchpage")))
	if m == nil {
		b.f.t.Fatal("no token")
	}
	return m[1]
}

// The role counts at the moment of the answer, not when the page was opened.
func TestAnswerAfterTheRoleIsGone(t *testing.T) {
	f := newFixture(t)
	id, _ := f.ask(f.removal("k7m2w9qx", "rm -rf /srv/demo/old"))
	b := f.signIn("linus")
	form := url.Values{"token": {b.token()}, "seen": {b.seen(id)}, "answer": {"approve"}}
	f.gate.fire("linus")
	if res := b.post("/approvals/"+id, form); res.StatusCode != http.StatusForbidden || strings.Contains(text(res), "/srv/demo/old") {
		t.Errorf("%s", res.Status)
	}
	if h, _ := f.desk.Get(t.Context(), id); h.State != policies.StatePending {
		t.Errorf("the hold is %s", h.State)
	}
}

// Of two who answer at once one counts; the other is told so, and by whom.
func TestAnswerTwice(t *testing.T) {
	f := newFixture(t)
	id, result := f.ask(f.removal("k7m2w9qx", "rm -rf /srv/demo/old"))
	grace, linus := f.signIn("grace"), f.signIn("linus")
	forms := map[*browser]url.Values{}
	for _, b := range []*browser{grace, linus} {
		forms[b] = url.Values{"token": {b.token()}, "seen": {b.seen(id)}, "answer": {"approve"}}
	}
	var wg sync.WaitGroup
	codes := make([]int, 4)
	bodies := make([]string, 4)
	for i, b := range []*browser{grace, grace, linus, linus} {
		wg.Go(func() {
			res := b.post("/approvals/"+id, forms[b])
			codes[i], bodies[i] = res.StatusCode, text(res)
		})
	}
	wg.Wait()
	won := 0
	for i, code := range codes {
		switch {
		case code == http.StatusOK:
			won++
		case code != http.StatusConflict:
			t.Errorf("answer %d: status %d", i, code)
		case !strings.Contains(bodies[i], "changed nothing") && !strings.Contains(bodies[i], "the first answer counts"):
			t.Errorf("answer %d is not told why it did not count", i)
		}
	}
	h, _ := f.desk.Get(t.Context(), id)
	if won != 1 || len(h.Answers) != 1 {
		t.Errorf("%d answers won, %d are stored: %v", won, len(h.Answers), codes)
	}
	if err := <-result; err != nil {
		t.Errorf("the one who waited: %v", err)
	}
	if res := linus.post("/approvals/"+id, forms[linus]); res.StatusCode != http.StatusConflict || !strings.Contains(text(res), "approved it at") {
		t.Errorf("later: %s", res.Status)
	}
}

func TestAnswerNeedsReason(t *testing.T) {
	f := newFixture(t)
	h := f.removal("k7m2w9qx", "rm -rf /srv/demo/old")
	h.Terms.Reason = true
	id, _ := f.ask(h)
	b := f.signIn("grace")
	if res := b.answer(id, "approve", "  "); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(res), "wants a reason") {
		t.Errorf("without one: %s", res.Status)
	}
	if res := b.answer(id, "approve", "because"); res.StatusCode != http.StatusOK {
		t.Errorf("with one: %s", res.Status)
	}
}

func TestAnswerOfTwoPeople(t *testing.T) {
	f := newFixture(t)
	h := f.removal("k7m2w9qx", "rm -rf /srv/demo/old")
	h.Terms = policies.Terms{Approvers: []string{"approvers"}, Quorum: 2, Wait: time.Minute}
	id, result := f.ask(h)
	grace := f.signIn("grace")
	form := url.Values{"token": {grace.token()}, "seen": {grace.seen(id)}, "answer": {"approve"}}
	if res := grace.post("/approvals/"+id, form); !strings.Contains(text(res), "needs the answer of somebody else") {
		t.Errorf("first: %s", res.Status)
	}
	if res := grace.post("/approvals/"+id, form); res.StatusCode != http.StatusConflict || !strings.Contains(text(res), "first answer counts") {
		t.Errorf("the same person again: %s", res.Status)
	}
	if res := f.signIn("linus").answer(id, "approve", ""); !strings.Contains(text(res), "It runs now") {
		t.Errorf("second: %s", res.Status)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// What is judged is shown whole, in its order, with nothing hidden and nothing that is markup.
func TestWhatIsShownForApproval(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("x", 60_000)
	h := f.removal("k7m2w9qx", "ls\u202e gpj.exe\u200b <script>alert(1)</script>\x1b[2J\x07\x00\xff\nrm -rf / # p\u0430ypal "+long+"THE-END ")
	h.Justification = "\u202e<b>trust me</b>"
	h.Target.Name = "<img src=x>"
	h.Facts = map[string]any{"programs": []string{"<script>alert(2)</script>", "\u202eevil"}, "classes": []string{"destructive"}}
	id, _ := f.ask(h)
	body := text(f.signIn("grace").get("/approvals/" + id))
	for _, want := range []string{
		"⟨U+202E⟩", "⟨U+200B⟩", "⟨ESC⟩", "⟨BEL⟩", "⟨NUL⟩", `⟨\xff⟩`, "&lt;script&gt;alert(1)&lt;/script&gt;", "⟨U+0430 \u0430⟩", long + "THE-END", "·</span></code>",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %.40q", want)
		}
	}
	for _, bad := range []string{"<script>alert", "\u202e", "\u200b", "\x1b", "\x07", "\x00", "<img src", "<b>trust"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has a raw %q", bad)
		}
	}
}

// The stream names what changed to those who may know, and ends when they no longer may.
func TestApprovalEvents(t *testing.T) {
	f := newFixture(t)
	b := f.signIn("grace")
	req, _ := http.NewRequest("GET", f.url+"/approvals/events", nil)
	req.Header.Set("Sec-Fetch-Dest", "empty")
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %s", res.Status, res.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(res.Body)
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the stream ended before %q", want)
	}
	next(`{"waiting":[]}`)
	id, _ := f.ask(f.removal("k7m2w9qx", "rm -rf /secret"))
	next(`{"id":"` + id + `","state":"pending"}`)
	b.answer(id, "deny", "")
	next(`"state":"denied"`)
	f.console.Close()
	for lines.Scan() {
	}

	if res := f.browser().get("/approvals/events"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("nobody is signed in: %s", res.Status)
	}
	g := newFixture(t)
	if res := g.signIn("edsger").get("/approvals/nosuchhold/card"); res.StatusCode != http.StatusNotFound {
		t.Errorf("a card that is not there: %s", res.Status)
	}
	m := g.signIn("mallory")
	g.ask(g.removal("k7m2w9qx", "rm -rf /secret"))
	for _, path := range []string{"/approvals/k7m2w9qx", "/approvals/k7m2w9qx/card", "/approvals", "/"} {
		if res := m.get(path); strings.Contains(text(res), "/secret") {
			t.Errorf("%s tells somebody without the right", path)
		}
	}
}

func TestFactList(t *testing.T) {
	var got []string
	for _, c := range factList(map[string]any{
		"classes": []any{"write", "destructive"}, "destructive": true, "opaque": false, "programs": []string{"rm"}, "text": "rm", "count": int64(3), "cwd": "/srv", "none": nil,
	}) {
		got = append(got, strings.TrimSpace(c.Tone+" "+c.Name+" "+c.Value))
	}
	want := []string{"bad destructive", "write", "count 3", "cwd /srv", "programs rm"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
