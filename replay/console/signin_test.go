package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func sessionCookie(b *browser) string {
	u, _ := url.Parse(b.f.url)
	for _, c := range b.Jar.Cookies(u) {
		if c.Name == cookieSession {
			return c.Value
		}
	}
	return ""
}

func TestSignInEndsWhereItBegan(t *testing.T) {
	f := newFixture(t)
	f.seed()
	b := f.browser()
	res := b.get("/sessions?who=ada")
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/signin?return=%2Fsessions%3Fwho%3Dada" {
		t.Fatalf("without a sign-in: %s to %q", res.Status, res.Header.Get("Location"))
	}
	res = b.choose(b.begin("/sessions?who=ada"), "grace")
	res = b.get(res.Header.Get("Location"))
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/sessions?who=ada" {
		t.Fatalf("after the provider: %s to %q\n%s", res.Status, res.Header.Get("Location"), f.log)
	}
	if res := b.get("/sessions?who=ada"); res.StatusCode != http.StatusOK || !strings.Contains(text(res), "customers.csv") {
		t.Errorf("signed in: %s", res.Status)
	}
	events, _, err := f.ledger.Audit(t.Context(), ledger.AuditFilter{Kind: "console.signin"})
	if err != nil || len(events) != 1 || events[0].ActorName != "grace" || events[0].Source != "127.0.0.1" {
		t.Errorf("audit of the sign-in: %+v, %v", events, err)
	}
}

func TestSignInCookies(t *testing.T) {
	f := newFixture(t)
	res := f.browser().get("/signin/start")
	c := res.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Secure || c.Domain != "" {
		t.Errorf("cookie over http: %v", c)
	}
	to, err := res.Location()
	if err != nil {
		t.Fatal(err)
	}
	q := to.Query()
	if q.Get("code_challenge_method") != "S256" || len(q.Get("state")) < 40 || len(q.Get("nonce")) < 40 || q.Get("response_type") != "code" {
		t.Errorf("authorization request %v", q)
	}
	if strings.Contains(c.Value, q.Get("state")) {
		t.Error("the cookie shows the state")
	}
	secure := newFixture(t, func(o *Options) { o.BaseURL = "https://console.example.com" })
	req, _ := http.NewRequest("GET", secure.url+"/signin/start", nil)
	req.Host = "console.example.com"
	res = secure.browser().do(req)
	c = res.Cookies()[0]
	if c.Name != "__Host-sallyport-signin" || !c.Secure || !c.HttpOnly || c.Path != "/" {
		t.Errorf("cookie over https: %v", c)
	}
	if res.Header.Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS over https")
	}
}

// A sign-in is finished only by the browser that began it, with the state it began with.
func TestSignInOfAnotherBrowser(t *testing.T) {
	f := newFixture(t)
	attacker, victim := f.browser(), f.browser()
	callback := attacker.choose(attacker.begin("/"), "mallory").Header.Get("Location")
	if res := victim.get(callback); res.StatusCode != http.StatusBadRequest || sessionCookie(victim) != "" {
		t.Errorf("a browser that began nothing: %s", res.Status)
	}
	victim.begin("/")
	if res := victim.get(callback); res.StatusCode != http.StatusBadRequest || sessionCookie(victim) != "" {
		t.Errorf("a browser that began another: %s", res.Status)
	}
	for _, spoil := range []func(url.Values){
		func(q url.Values) { q.Set("state", q.Get("state")+"x") },
		func(q url.Values) { q.Del("state") },
	} {
		u, _ := url.Parse(attacker.choose(attacker.begin("/"), "mallory").Header.Get("Location"))
		q := u.Query()
		spoil(q)
		u.RawQuery = q.Encode()
		if res := attacker.get(u.String()); res.StatusCode != http.StatusBadRequest || sessionCookie(attacker) != "" {
			t.Errorf("spoiled state: %s", res.Status)
		}
	}
}

// swapped gives everybody the nonce of another sign-in.
type swapped struct {
	Verifier
	edit func(*certs.Identity, *certs.Token)
}

func (s swapped) Verify(ctx context.Context, raw string) (certs.Identity, *certs.Token, error) {
	id, t, err := s.Verifier.Verify(ctx, raw)
	if err == nil {
		s.edit(&id, t)
	}
	return id, t, err
}

func TestSignInTokenMustFit(t *testing.T) {
	for name, edit := range map[string]func(*certs.Identity, *certs.Token){
		"nonce of another sign-in": func(_ *certs.Identity, t *certs.Token) { t.Nonce = strings.Repeat("A", 43) },
		"no nonce":                 func(_ *certs.Identity, t *certs.Token) { t.Nonce = "" },
		"another issuer":           func(id *certs.Identity, _ *certs.Token) { id.Issuer = "https://elsewhere.example" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(o *Options) { o.SignIn.Verifier = swapped{o.SignIn.Verifier, edit} })
			b := f.browser()
			res := b.get(b.choose(b.begin("/"), "grace").Header.Get("Location"))
			if res.StatusCode != http.StatusForbidden || sessionCookie(b) != "" {
				t.Errorf("%s, cookie %q", res.Status, sessionCookie(b))
			}
		})
	}
}

func TestSignInRefusedByProvider(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	u, _ := url.Parse(b.choose(b.begin("/"), "grace").Header.Get("Location"))
	res := b.get(u.Path + "?error=%3Cscript%3Ealert(1)%3C/script%3E&state=" + url.QueryEscape(u.Query().Get("state")))
	if body := text(res); res.StatusCode != http.StatusForbidden || strings.Contains(body, "<script>alert") || !strings.Contains(body, "&lt;script&gt;alert(1)") {
		t.Errorf("%s: %.600s", res.Status, body)
	}
}

func TestSignInProviderDown(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.SignIn.Issuer = "http://127.0.0.1:9/oidc" })
	res := f.browser().get("/signin/start?return=/approvals")
	if res.StatusCode != http.StatusBadGateway || !strings.Contains(text(res), "does not answer") {
		t.Errorf("%s", res.Status)
	}
}

// A cookie that was planted before the sign-in is worth nothing after it.
func TestSessionFixation(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	u, _ := url.Parse(f.url)
	planted := strings.Repeat("A", 43)
	b.Jar.SetCookies(u, []*http.Cookie{{Name: cookieSession, Value: planted, Path: "/"}})
	b.get(b.choose(b.begin("/"), "grace").Header.Get("Location"))
	first := sessionCookie(b)
	if first == planted || len(first) != 43 {
		t.Fatalf("cookie after the sign-in %q", first)
	}
	b.get(b.choose(b.begin("/"), "grace").Header.Get("Location"))
	if second := sessionCookie(b); second == first {
		t.Error("signing in again kept the cookie")
	}
	old := f.browser()
	old.Jar.SetCookies(u, []*http.Cookie{{Name: cookieSession, Value: first, Path: "/"}})
	if res := old.get("/approvals"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the cookie of before still works: %s", res.Status)
	}
	twice, _ := http.NewRequest("GET", f.url+"/approvals", nil)
	twice.Header.Set("Cookie", cookieSession+"="+sessionCookie(b)+"; "+cookieSession+"="+planted)
	if res := f.browser().do(twice); res.StatusCode != http.StatusSeeOther {
		t.Errorf("two cookies of one name: %s", res.Status)
	}
}

func TestSignOut(t *testing.T) {
	f := newFixture(t)
	b := f.signIn("grace")
	if res := b.get("/signout"); res.StatusCode == http.StatusOK || sessionCookie(b) == "" {
		t.Errorf("GET /signout: %s", res.Status)
	}
	u, _ := url.Parse(f.url)
	cookie := sessionCookie(b)
	token := b.token()
	if res := b.post("/signout", url.Values{"token": {token}}); res.Header.Get("Location") != "/signin?left=1" {
		t.Errorf("sign out: %s", res.Status)
	}
	stolen := f.browser()
	stolen.Jar.SetCookies(u, []*http.Cookie{{Name: cookieSession, Value: cookie, Path: "/"}})
	if res := stolen.get("/approvals"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("after signing out the cookie still works: %s", res.Status)
	}
}

func TestReturnPaths(t *testing.T) {
	for in, want := range map[string]string{
		"/sessions?who=ada":              "/sessions?who=ada",
		"/sessions/20261124s00ada00001a": "/sessions/20261124s00ada00001a",
		"":                               "/",
		"//evil.example":                 "/",
		"/\\evil.example":                "/",
		"https://evil.example":           "/",
		"/%2F/evil.example":              "/",
		"/%5cevil.example":               "/",
		"/\tevil":                        "/",
		"javascript:alert(1)":            "/",
		"/signin/start":                  "/",
		"/signout":                       "/",
		"/x\r\nSet-Cookie: a=b":          "/",
		"/" + strings.Repeat("a", 3000):  "/",
	} {
		if got := localPath(in); got != want {
			t.Errorf("localPath(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzReturnPath(f *testing.F) {
	f.Add("//evil.example")
	f.Add("/a?b=c")
	f.Fuzz(func(t *testing.T, in string) {
		base, _ := url.Parse("https://console.example.com/signin/callback")
		got, err := base.Parse(localPath(in))
		if err != nil || got.Host != base.Host || got.Scheme != base.Scheme {
			t.Errorf("%q leads to %v, %v", in, got, err)
		}
	})
}

func TestSignedInExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions(30*time.Minute, 8*time.Hour, 3, time.Now)
		v := Viewer{Principal: policies.Principal{Key: "i#ada"}}
		id := s.add(v)
		for range 15 {
			time.Sleep(29 * time.Minute) // of the bubble's clock
			if s.get(id, true) == nil {
				t.Fatal("gone although in use")
			}
		}
		time.Sleep(29 * time.Minute)
		if s.get(id, false) == nil {
			t.Fatal("gone before it was idle for long")
		}
		time.Sleep(2 * time.Minute)
		if s.get(id, true) != nil {
			t.Error("a page that updates by itself kept it from being idle")
		}
		id = s.add(v)
		for range 17 {
			time.Sleep(29 * time.Minute)
			s.get(id, true)
		}
		if s.get(id, true) != nil {
			t.Error("still there after its lifetime")
		}
	})
}

func TestSignedInBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions(time.Hour, time.Hour, 3, time.Now)
		var ids []string
		for range 3 {
			ids = append(ids, s.add(Viewer{}))
			time.Sleep(time.Second)
		}
		s.get(ids[0], true)
		time.Sleep(time.Second)
		ids = append(ids, s.add(Viewer{}))
		if len(s.byID) != 3 || s.get(ids[1], false) != nil || s.get(ids[0], false) == nil || s.get(ids[3], false) == nil {
			t.Errorf("%d kept; the least recently used should have gone", len(s.byID))
		}
	})
}
