// Package console is the web console of the gate: the pages on which auditors find and play sessions,
// and approvers answer the operations that wait for them.
//
// [New] makes an [http.Handler] of what the other rooms offer. The pages are HTML from templates with
// small scripts beside them; they work without scripts but for the player and what updates by itself.
//
// The console decides nothing. Each page, stream and form asks [Options.Gate] with the viewer's proved
// identity, when it is asked for and again while it stays open; a look at a recording happens only after
// [Options.Audit] has it. What sessions, clients and targets said is text on every page, never markup,
// and what the player gets has been through a filter that lets nothing act on the auditor's machine.
package console

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Console serves the pages. It is safe for concurrent use.
type Console struct {
	o        Options
	base     *url.URL
	secure   bool // cookies travel over TLS only
	mux      *http.ServeMux
	pages    map[string]*template.Template
	assets   *assets
	sessions *sessions
	signin   *signin
	streams  limiter

	stop    context.Context // ends when Close is called
	stopNow context.CancelFunc
	open    sync.WaitGroup // streams that have not ended
}

// New checks o and makes the console. It talks to nobody yet: the provider's discovery document is
// fetched at the first sign-in.
func New(o Options) (*Console, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	base, err := baseURL(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("console: base URL: %w", err)
	}
	o.defaults()
	c := &Console{o: o, base: base, secure: base.Scheme == "https"}
	c.stop, c.stopNow = context.WithCancel(context.Background())
	if c.assets, err = loadAssets(); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	if c.pages, err = c.parsePages(); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	c.sessions = newSessions(o.Idle, o.Lifetime, o.MaxSignedIn, o.Now)
	if c.signin, err = newSignin(c); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	c.streams.max = maxStreams
	c.routes()
	return c, nil
}

// Close ends the pages that update by themselves and waits until they have. Register it with
// [http.Server.RegisterOnShutdown], which otherwise waits for them for ever.
func (c *Console) Close() error {
	c.stopNow()
	c.open.Wait()
	return nil
}

// baseURL is the one origin the console answers under. A path would need every cookie, link and
// check to know it, and buys nothing that a host name does not.
func baseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%q: want http:// or https://", s)
	case u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%q: want a scheme and a host, and nothing else", s)
	}
	u.Path = ""
	return u, nil
}

// origin is what browsers write into Origin for pages of this console.
func (c *Console) origin() string { return c.base.Scheme + "://" + c.base.Host }

func (c *Console) now() time.Time { return c.o.Now() }

func (c *Console) log() *slog.Logger { return c.o.Log }

func (c *Console) routes() {
	m := http.NewServeMux()
	m.HandleFunc("GET /static/{file...}", c.assets.serve)
	m.HandleFunc("GET /favicon.ico", c.assets.favicon)
	m.HandleFunc("GET /signin", c.signinPage)
	m.HandleFunc("GET /signin/start", c.signinStart)
	m.HandleFunc("GET /signin/callback", c.signinCallback)
	m.HandleFunc("POST /signout", c.form(c.signout))

	m.HandleFunc("GET /{$}", c.page(c.overview))
	m.HandleFunc("GET /sessions", c.page(c.sessionList))
	m.HandleFunc("GET /sessions/{id}", c.page(c.sessionPage))
	m.HandleFunc("GET /sessions/{id}/operations", c.page(c.newOperations))
	m.HandleFunc("GET /sessions/{id}/play", c.page(c.play))
	m.HandleFunc("GET /sessions/{id}/segments/{n}", c.page(c.segment))
	m.HandleFunc("GET /sessions/{id}/live", c.page(c.live))
	m.HandleFunc("GET /sessions/{id}/recording.cast", c.page(c.download))
	m.HandleFunc("POST /sessions/{id}/verify", c.form(c.verify))
	m.HandleFunc("POST /sessions/{id}/end", c.form(c.end))

	m.HandleFunc("GET /sessions/{id}/text", c.page(c.textPage))
	m.HandleFunc("GET /search", c.page(c.searchPage))
	m.HandleFunc("GET /search/results.csv", c.page(c.exportCSV))
	m.HandleFunc("GET /search/results.json", c.page(c.exportJSON))
	m.HandleFunc("POST /search/saved", c.form(c.saveSearch))
	m.HandleFunc("POST /search/forget", c.form(c.forgetSearch))
	m.HandleFunc("GET /rules", c.page(c.rulesPage))
	m.HandleFunc("GET /audit", c.page(c.auditPage))

	m.HandleFunc("GET /approvals", c.page(c.approvalList))
	m.HandleFunc("GET /approvals/events", c.page(c.approvalEvents))
	m.HandleFunc("GET /approvals/{id}", c.page(c.approvalPage))
	m.HandleFunc("GET /approvals/{id}/card", c.page(c.approvalCard))
	m.HandleFunc("POST /approvals/{id}", c.form(c.approvalAnswer))
	m.HandleFunc("POST /approvals/{id}/withdraw", c.form(c.approvalWithdraw))
	m.HandleFunc("GET /approvals/advance", c.page(c.advanceList))
	m.HandleFunc("POST /approvals/advance", c.form(c.advanceGive))
	m.HandleFunc("POST /approvals/advance/{id}/revoke", c.form(c.advanceRevoke))
	m.HandleFunc("/", c.page(func(w http.ResponseWriter, r *http.Request, v *visit) error { return errNotFound }))
	c.mux = m
}

// ServeHTTP answers one request. Nothing goes out without the headers that confine the page.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	confine(w.Header(), c.secure)
	if !strings.EqualFold(r.Host, c.base.Host) {
		c.otherHost(w, r)
		return
	}
	c.mux.ServeHTTP(w, r)
}

// otherHost sends those who came by another name of this machine to the one name that the cookies and
// the provider's redirect know. It also stops a foreign name that was made to resolve to this address.
func (c *Console) otherHost(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "this console answers at "+c.origin(), http.StatusMisdirectedRequest)
		return
	}
	http.Redirect(w, r, c.origin()+localPath(r.URL.RequestURI()), http.StatusTemporaryRedirect)
}
