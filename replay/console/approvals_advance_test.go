package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// An approver chooses less than the policy allows, and never more.
func TestAnswerScope(t *testing.T) {
	f := newFixture(t)
	h := f.removal("k7m2w9qx", "rm -rf /srv/demo/old")
	h.Terms = policies.Terms{Approvers: []string{"approvers"}, Quorum: 1, Wait: time.Minute, Grant: time.Hour}
	id, result := f.ask(h)
	grace := f.signIn("grace")
	page := text(grace.get("/approvals/" + id))
	for _, want := range []string{"identical operations for 1 h", `value="5m0s"`, `value="session"`, `value="once"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the form does not offer %s", want)
		}
	}
	form := func(scope string) url.Values {
		return url.Values{"token": {grace.token()}, "seen": {grace.seen(id)}, "answer": {"approve"}, "scope": {scope}}
	}
	for scope, want := range map[string]int{"2h": http.StatusUnprocessableEntity, "for ever": http.StatusBadRequest, "-1h": http.StatusBadRequest} {
		if res := grace.post("/approvals/"+id, form(scope)); res.StatusCode != want {
			t.Errorf("%s: %s, want %d", scope, res.Status, want)
		}
		if got, _ := f.desk.Get(t.Context(), id); got.State != policies.StatePending {
			t.Fatalf("%s made it %s", scope, got.State)
		}
	}
	if res := grace.post("/approvals/"+id, form("5m0s")); res.StatusCode != http.StatusOK {
		t.Fatalf("5 minutes: %s", res.Status)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	got, err := f.desk.Get(t.Context(), id)
	if err != nil || !got.GrantEnds().Equal(got.ApprovedAt().Add(5*time.Minute)) {
		t.Errorf("it ends %v, approved %v, %v", got.GrantEnds(), got.ApprovedAt(), err)
	}
}

// What was asked on ada's behalf she takes back; nobody else does, and no link does.
func TestWithdraw(t *testing.T) {
	f := newFixture(t)
	id, result := f.ask(f.removal("k7m2w9qx", "rm -rf /srv/demo/old"))
	grace, ada := f.signIn("grace"), f.signIn("ada")
	path := "/approvals/" + id + "/withdraw"
	for name, tt := range map[string]struct {
		res  *http.Response
		want int
	}{
		"a link":               {ada.get(path), http.StatusNotFound},
		"somebody else":        {grace.post(path, url.Values{"token": {grace.token()}}), http.StatusForbidden},
		"without a token":      {ada.post(path, url.Values{}), http.StatusForbidden},
		"from elsewhere":       {ada.post(path, url.Values{"token": {tokenAnywhere(ada)}}, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }), http.StatusForbidden},
		"who may not see this": {f.signIn("mallory").post(path, url.Values{}), http.StatusForbidden},
	} {
		if tt.res.StatusCode != tt.want && !(name == "a link" && tt.res.StatusCode == http.StatusMethodNotAllowed) {
			t.Errorf("%s: %s, want %d", name, tt.res.Status, tt.want)
		}
	}
	if h, _ := f.desk.Get(t.Context(), id); h.State != policies.StatePending {
		t.Fatalf("it is %s", h.State)
	}
	if res := ada.post(path, url.Values{"token": {tokenAnywhere(ada)}}); res.StatusCode != http.StatusOK || !strings.Contains(text(res), "You took this back") {
		t.Errorf("ada: %s", res.Status)
	}
	if err := <-result; err == nil || !strings.Contains(err.Error(), "taken back by ada") {
		t.Errorf("the one who waited: %v", err)
	}
	if res := ada.post(path, url.Values{"token": {tokenAnywhere(ada)}}); res.StatusCode != http.StatusConflict {
		t.Errorf("again: %s", res.Status)
	}
}

func advanceForms(f *fixture, b *browser) url.Values {
	bot := f.principal("deploy-bot")
	return url.Values{
		"token": {tokenAnywhere(b)}, "identity": {bot.Key}, "behalf": {bot.OnBehalfOf.Key}, "target": {"web1"}, "action": {"command:run"},
		"text": {"rm -rf /srv/demo/old"}, "window": {"2h"}, "uses": {"1"}, "reason": {"tonight's clean-up"},
	}
}

func TestAdvance(t *testing.T) {
	f := newFixture(t)
	grace := f.signIn("grace")
	res := grace.post("/approvals/advance", advanceForms(f, grace))
	if body := text(res); res.StatusCode != http.StatusOK || !strings.Contains(body, "Approved in advance as") || !strings.Contains(body, "rm -rf /srv/demo/old") {
		t.Fatalf("give: %s %.800s\n%s", res.Status, body, f.log)
	}
	h := f.removal("k7m2w9qx", "rm -rf /srv/demo/old")
	h.Terms = policies.Terms{Approvers: []string{"approvers"}, Quorum: 1, Wait: time.Minute, Advance: 8 * time.Hour}
	got, err := f.desk.Ask(t.Context(), h, nil)
	if err != nil || got.Answers[0].Via != "advance" || got.Answers[0].Approver.Name != "grace" {
		t.Fatalf("it does not count: %+v, %v", got, err)
	}
	events, _, err := f.ledger.Audit(t.Context(), ledger.AuditFilter{Kind: "advance.given"})
	if err != nil || len(events) != 1 || events[0].ActorName != "grace" {
		t.Errorf("audit %+v, %v", events, err)
	}

	form := advanceForms(f, grace)
	form.Set("uses", "0")
	grace.post("/approvals/advance", form)
	all, err := f.desk.Advances(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%d, %v", len(all), err)
	}
	path := "/approvals/advance/" + all[0].ID + "/revoke"
	if res := f.signIn("edsger").post(path, url.Values{"token": {tokenAnywhere(f.signIn("edsger"))}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("taken back by an auditor: %s", res.Status)
	}
	linus := f.signIn("linus")
	if res := linus.post(path, url.Values{"token": {tokenAnywhere(linus)}}); res.StatusCode != http.StatusOK || !strings.Contains(text(res), "Taken back") {
		t.Errorf("by another approver: %s", res.Status)
	}
	h.ID = "k7m2w9qy"
	if id, _ := f.ask(h); id != h.ID {
		t.Error("it counts after it was taken back")
	}
}

func TestAdvanceRefused(t *testing.T) {
	f := newFixture(t)
	set := func(k, v string) func(url.Values) { return func(form url.Values) { form.Set(k, v) } }
	for _, tt := range []struct {
		name, who string
		edit      func(url.Values)
		want      int
		says      string
	}{
		{"for oneself", "grace", set("identity", f.principal("grace").Key), 422, "request of their own"},
		{"for oneself, by mail", "grace", set("identity", "GRACE@example.com"), 422, "request of their own"},
		{"without the role", "edsger", func(url.Values) {}, 403, "approval:give"},
		{"without any", "mallory", func(url.Values) {}, 403, "approval:give"},
		{"no token", "grace", set("token", ""), 403, "did not come from a page"},
		{"a month", "grace", set("window", "744h"), 422, "within"},
		{"no window", "grace", set("window", "soon"), 422, "30m or 8h"},
		{"everything", "grace", func(v url.Values) { v.Set("text", ""); v.Set("when", "true") }, 422, "always true"},
		{"an injected policy", "grace", func(v url.Values) {
			v.Set("text", "")
			v.Set("when", "!context.opaque }; permit(principal, action, resource) when { 1 == 1")
		}, 422, "more than one condition"},
		{"markup", "grace", set("action", "<script>alert(1)</script>"), 422, "&lt;script&gt;"},
	} {
		b := f.signIn(tt.who)
		form := advanceForms(f, b)
		tt.edit(form)
		res := b.post("/approvals/advance", form)
		if body := text(res); res.StatusCode != tt.want || !strings.Contains(body, tt.says) || strings.Contains(body, "<script>alert") {
			t.Errorf("%s: %s, want %d saying %q", tt.name, res.Status, tt.want, tt.says)
		}
		if res := b.get("/approvals/advance/" + strings.Repeat("a", 12) + "/revoke"); res.StatusCode == http.StatusOK {
			t.Errorf("a link takes something back: %s", res.Status)
		}
	}
	if all, err := f.desk.Advances(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%d were given, %v", len(all), err)
	}
}

// The screen that is shown is text, whatever stands in the store.
func TestScreenIsShown(t *testing.T) {
	f := newFixture(t)
	h := f.removal("k7m2w9qx", "rm -rf /srv/demo/old")
	h.Screen = "$ ls\n<script>alert(1)</script>\u202e\x1b[2J"
	id, _ := f.ask(h)
	body := text(f.signIn("grace").get("/approvals/" + id))
	if !strings.Contains(body, "$ ls\n&lt;script&gt;alert(1)&lt;/script&gt;⟨U&#43;202E⟩⟨ESC⟩[2J") {
		t.Errorf("the screen is not on the page, or not as it is: %.600s", body[max(strings.Index(body, "terminal showed"), 0):])
	}
}
