package devidp

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
)

//go:embed pages.html
var pagesText string

//go:embed pages.css
var style []byte

var pages = template.Must(template.New("pages").Funcs(template.FuncMap{"initial": initial}).Parse(pagesText))

func initial(s string) string { return strings.ToUpper(string([]rune(s)[:1])) }

const (
	cookieName = "sallyport_devidp"
	maxForm    = 8 << 10 // bytes
)

// view is what a page shows.
type view struct {
	Base, Title   string
	Client        string // which program asks
	Where         string // where the browser goes afterwards, or ""
	Action, Field string // of the form: path, and name of the hidden value
	Value         string
	Users         []User
	Message       string // instead of a form
	Bad           bool   // Message says something went wrong
	Deny          bool   // show a button that refuses
}

// routes puts the pages in front of op. Posts from other origins are refused (Origin and
// Sec-Fetch-Site); what op itself takes by post are token requests, which carry no cookie.
func (p *Provider) routes() http.Handler {
	own := http.NewServeMux()
	own.HandleFunc("GET /login", p.showLogin)
	own.HandleFunc("POST /login", p.doLogin)
	own.HandleFunc("GET /device", p.showDevice)
	own.HandleFunc("POST /device", p.doDevice)
	own.HandleFunc("GET /pages.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "max-age=300")
		w.Write(style)
	})
	own.HandleFunc("GET /authorize/callback", p.callback)
	own.HandleFunc("/authorize/callback", http.NotFound)
	own.Handle("/", p.op)
	h := http.NewCrossOriginProtection().Handler(own)
	h = http.StripPrefix(p.prefix, h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		h.ServeHTTP(w, r)
	})
}

func (p *Provider) show(w http.ResponseWriter, status int, v view, formAction string) {
	v.Base = p.prefix
	var b bytes.Buffer
	if err := pages.Execute(&b, v); err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' "+formAction)
	h.Set("X-Frame-Options", "DENY")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

func (p *Provider) fail(w http.ResponseWriter, title, message string) {
	p.show(w, http.StatusBadRequest, view{Title: title, Message: message, Bad: true}, "")
}

const startOver = "This sign-in was finished already, took too long, or was begun in another browser. Start it again from the program that asked."

// showLogin lists the users. The first browser to open it is the only one that may go on.
func (p *Provider) showLogin(w http.ResponseWriter, r *http.Request) {
	browser := p.browser(w, r)
	req := p.store.bind(r.FormValue("id"), browser)
	if req == nil {
		p.fail(w, "Sign-in not found", startOver)
		return
	}
	p.show(w, http.StatusOK, view{
		Title: "Sign in", Client: clientName(req.client), Where: req.origin(),
		Action: "/login", Field: "id", Value: req.id, Users: p.store.users,
	}, req.formAction())
}

func (p *Provider) doLogin(w http.ResponseWriter, r *http.Request) {
	id := r.PostFormValue("id")
	if !p.store.signIn(id, cookie(r), r.PostFormValue("user")) {
		p.fail(w, "Sign-in not found", startOver)
		return
	}
	ctx := op.ContextWithIssuer(r.Context(), p.issuer)
	http.Redirect(w, r, op.AuthCallbackURL(p.op)(ctx, id), http.StatusSeeOther)
}

// callback lets op send the code on, but only in the browser where somebody continued: the id alone
// is known to whoever began the sign-in.
func (p *Provider) callback(w http.ResponseWriter, r *http.Request) {
	if !p.store.owns(r.FormValue("id"), cookie(r)) {
		p.fail(w, "Sign-in not found", startOver)
		return
	}
	p.op.ServeHTTP(w, r)
}

// browser gives the cookie that tells browsers apart, setting one where there is none.
func (p *Provider) browser(w http.ResponseWriter, r *http.Request) string {
	if c := cookie(r); c != "" {
		return c
	}
	c := &http.Cookie{Name: cookieName, Value: rand.Text(), Path: p.Path(), HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(p.issuer, "https:")}
	http.SetCookie(w, c)
	return c.Value
}

func cookie(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil || len(c.Value) != len(rand.Text()) {
		return ""
	}
	return c.Value
}

func clientName(id string) string {
	switch id {
	case CLI:
		return "sallyport login"
	case Console:
		return "the Sallyport console"
	}
	return id
}

func (s *storage) bind(id, browser string) *request {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	r := s.requests[id]
	if r == nil || r.user != "" || r.browser != "" && r.browser != browser {
		return nil
	}
	r.browser = browser
	return r.copy()
}

func (s *storage) signIn(id, browser, user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	r := s.requests[id]
	if r == nil || browser == "" || r.browser != browser || r.user != "" || s.user(user) == nil {
		return false
	}
	r.user, r.at = user, s.now()
	return true
}

func (s *storage) owns(id, browser string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests[id]
	return r != nil && browser != "" && r.browser == browser && r.user != ""
}

const codeUnknown = "No device waits with this code. Codes are good for ten minutes; the program that showed it can give you another."

func (p *Provider) showDevice(w http.ResponseWriter, r *http.Request) {
	typed := r.FormValue("user_code")
	code := normalCode(typed)
	switch {
	case typed == "":
		p.show(w, http.StatusOK, view{Title: "Connect a device", Action: "/device", Field: "user_code"}, "")
	case !p.store.pendingDevice(code):
		p.fail(w, "Code not found", codeUnknown)
	default:
		p.show(w, http.StatusOK, view{
			Title: "Connect a device", Client: "a device that shows " + code, Action: "/device", Field: "user_code", Value: code,
			Users: p.store.users, Deny: true,
		}, "")
	}
}

func (p *Provider) doDevice(w http.ResponseWriter, r *http.Request) {
	code, user := normalCode(r.PostFormValue("user_code")), r.PostFormValue("user")
	deny := r.PostFormValue("deny") != ""
	if !deny && p.store.user(user) == nil {
		p.fail(w, "No such user", "Choose one of the users.")
		return
	}
	ok := p.store.answerDevice(code, func(s *op.DeviceAuthorizationState) {
		s.Denied, s.Done = deny, !deny
		if !deny {
			s.Subject, s.AuthTime = user, time.Now()
		}
	})
	switch {
	case !ok:
		p.fail(w, "Code not found", codeUnknown)
	case deny:
		p.show(w, http.StatusOK, view{Title: "Refused", Message: "The device was not let in. You can close this page."}, "")
	default:
		p.show(w, http.StatusOK, view{Title: "Connected", Message: "The device continues as " + user + ". You can close this page."}, "")
	}
}
