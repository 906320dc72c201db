package console

import (
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
)

const (
	maxForm    = 16 << 10 // bytes of a form
	tokenField = "token"  // of a form: the browser's token
)

// visit is one request of somebody who is signed in.
type visit struct {
	*signedIn
	cookie string
}

// A handler answers one visit. The error it returns, if it has not written yet, becomes a page.
type handler func(w http.ResponseWriter, r *http.Request, v *visit) error

var (
	errNotFound = errors.New("there is no such page")
	errSignIn   = errors.New("not signed in")
	errForm     = errors.New("the form did not come from a page of this console")
	errBad      = errors.New("the request makes no sense")
)

// conflict is an answer that came too late; the page says to what.
type conflict struct {
	title, text string
	hold        policies.Hold
}

func (e *conflict) Error() string { return e.title }

// validID is what an identifier may be before it becomes part of a query, a path or a page's link.
var validID = regexp.MustCompile(`^[0-9a-z]{6,40}$`).MatchString

// page wraps what is read by GET.
func (c *Console) page(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := c.visitor(r)
		if err == nil && r.Method != http.MethodGet && r.Method != http.MethodHead {
			err = errNotFound
		}
		if err == nil {
			err = h(w, r, v)
		}
		if err != nil {
			c.fail(w, r, v, err)
		}
	}
}

// form wraps what changes something: only a form of ours, sent by a page of ours, in this browser.
func (c *Console) form(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := c.visitor(r)
		if err == nil {
			err = c.checkForm(w, r, v)
		}
		if err == nil {
			err = h(w, r, v)
		}
		if err != nil {
			c.fail(w, r, v, err)
		}
	}
}

func (c *Console) visitor(r *http.Request) (*visit, error) {
	s := c.signedIn(r, navigates(r) || r.Method == http.MethodPost)
	if s == nil {
		return nil, errSignIn
	}
	if id := r.PathValue("id"); id != "" && !validID(id) {
		return &visit{signedIn: s}, errNotFound
	}
	return &visit{signedIn: s, cookie: c.cookie(r, cookieSession)}, nil
}

// navigates tells whether a person went to a page, and not a script that fetched something.
func navigates(r *http.Request) bool {
	d := r.Header.Get("Sec-Fetch-Dest")
	return d == "document" || d == ""
}

func (c *Console) checkForm(w http.ResponseWriter, r *http.Request, v *visit) error {
	if !c.sameOrigin(r) {
		return errForm
	}
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || t != "application/x-www-form-urlencoded" {
		return errForm
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		if e := new(http.MaxBytesError); errors.As(err, &e) {
			return e
		}
		return fmt.Errorf("%w: unreadable form", errBad)
	}
	if !v.goodToken(r.PostForm.Get(tokenField)) {
		return errForm
	}
	return nil
}

// sameOrigin demands proof that a page of this console sent the form: of every browser since 2023
// Sec-Fetch-Site, of older ones Origin. What sends neither is refused.
func (c *Console) sameOrigin(r *http.Request) bool {
	site, origin := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	if len(site) > 1 || len(origin) > 1 || len(site)+len(origin) == 0 {
		return false
	}
	if len(site) == 1 && site[0] != "same-origin" {
		return false
	}
	return len(origin) == 0 || origin[0] == c.origin()
}

// admit asks the gate for this visit.
func (c *Console) admit(r *http.Request, v *visit, action string, o Object) error {
	return c.o.Gate.Admit(r.Context(), v.viewer, action, o)
}

// scope tells how much of a list the viewer may see: all of it, or, where policies permit only that,
// what is their own or their agents'.
func (c *Console) scope(r *http.Request, v *visit, action string) (own bool, err error) {
	err = c.admit(r, v, action, Object{})
	if err == nil || undecided(err) != nil {
		return false, err
	}
	if c.admit(r, v, action, Object{Owner: v.viewer.Principal.Key}) == nil {
		return true, nil
	}
	return false, err
}

// undecided passes on what is not a decision: a gate that cannot decide is broken, not strict.
func undecided(err error) error {
	if r := new(Refusal); errors.As(err, &r) {
		return nil
	}
	return err
}

// fail answers with the page that fits err.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	var refusal *Refusal
	var late *conflict
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, errSignIn):
		c.askSignIn(w, r)
	case errors.As(err, &refusal):
		c.log().InfoContext(r.Context(), "console: refused", "who", v.viewer.Principal.Key, "action", refusal.Action, "path", r.URL.Path)
		c.problem(w, r, v, http.StatusForbidden, problemView{Title: "The gate said no", Refusal: refusal})
	case errors.As(err, &late):
		c.problem(w, r, v, http.StatusConflict, problemView{Title: late.title, Text: late.text, Hold: late.hold.ID})
	case errors.Is(err, errNotFound), errors.Is(err, ledger.ErrNotFound), errors.Is(err, policies.ErrNoHold), errors.Is(err, replay.ErrNoSession), errors.Is(err, reel.ErrNoSegment):
		c.problem(w, r, v, http.StatusNotFound, problemView{Title: "Nothing here", Text: "There is no such page, session or request. It may have been mistyped, or removed when its retention ended."})
	case errors.Is(err, errForm):
		c.log().WarnContext(r.Context(), "console: foreign form refused", "path", r.URL.Path, "origin", r.Header.Get("Origin"), "site", r.Header.Get("Sec-Fetch-Site"))
		c.problem(w, r, v, http.StatusForbidden, problemView{Title: "Nothing was changed", Text: "This form did not come from a page of this console in this sign-in. Go back, reload the page and send it again."})
	case errors.As(err, &large):
		c.problem(w, r, v, http.StatusRequestEntityTooLarge, problemView{Title: "Too much", Text: "The form is larger than this page takes. A reason has room for 1,000 characters."})
	case errors.Is(err, errBad), errors.Is(err, ledger.ErrInvalid):
		c.problem(w, r, v, http.StatusBadRequest, problemView{Title: "That makes no sense here", Text: "The address or form has a value this page does not know."})
	case errors.Is(err, errBusy):
		c.problem(w, r, v, http.StatusTooManyRequests, problemView{Title: "Too many at once", Text: "You have too many live pages, checks or downloads open. Close some and try again."})
	case r.Context().Err() != nil: // nobody reads an answer any more
	default:
		c.broken(w, r, v, err)
	}
}

// broken answers what is our own fault. The page names a number; what went wrong is in the log beside it.
func (c *Console) broken(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	incident := randomID()[:10]
	c.log().ErrorContext(r.Context(), "console: request failed", "incident", incident, "path", r.URL.Path, "err", err)
	c.problem(w, r, v, http.StatusInternalServerError, problemView{Title: "Something is broken", Incident: incident})
}

// askSignIn sends a person to the sign-in page and back here later, and tells a script the status.
func (c *Console) askSignIn(w http.ResponseWriter, r *http.Request) {
	if !navigates(r) {
		http.Error(w, "sign in", http.StatusUnauthorized)
		return
	}
	to := "/signin"
	if back := localPath(r.URL.RequestURI()); r.Method == http.MethodGet && back != "/" {
		to += "?" + url.Values{"return": {back}}.Encode()
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

type problemView struct {
	Status   int
	Title    string
	Text     string
	Refusal  *Refusal
	Incident string
	Hold     string // id of the hold it is about
}

func (c *Console) problem(w http.ResponseWriter, r *http.Request, v *visit, status int, p problemView) {
	p.Status = status
	c.render(w, r, v, status, "problem", p.Title, p)
}

// clientAddr is the host part of the peer's address. Whatever a proxy claims is not proof.
func clientAddr(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
