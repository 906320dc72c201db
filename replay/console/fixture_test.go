package console

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/certs/devidp"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
)

// A fixture is a console on a loopback port with a real ledger, desk, policies, identity provider and
// verifier. Only recordings lie on a shelf in memory, so that tests can damage them.
type fixture struct {
	t          testing.TB
	url        string
	console    *Console
	ledger     *ledger.Ledger
	desk       *policies.Desk
	shelf      *shelf
	recordings Recordings // the shelf, or what a test has put before it
	gate       *ruled
	ender      *noted
	log        *logbook
	server     *httptest.Server
	idp        *devidp.Provider
}

// The users of the fixture's provider.
var users = []devidp.User{
	{Name: "ada", Email: "ada@example.com", Groups: []string{"users"}},
	{Name: "deploy-bot", Groups: []string{"users"}, Kind: "agent", OnBehalfOf: "ada"},
	{Name: "grace", Email: "grace@example.com", Groups: []string{"users", "approvers", "auditors"}},
	{Name: "linus", Email: "linus@example.com", Groups: []string{"approvers"}},
	{Name: "edsger", Email: "edsger@example.com", Groups: []string{"auditors"}},
	{Name: "mallory", Email: "mallory@example.com"},
}

func newFixture(t testing.TB, edit ...func(*Options)) *fixture {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, url: "http://" + ln.Addr().String(), shelf: newShelf(), ender: &noted{}, log: &logbook{}}
	if f.ledger, err = ledger.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "ledger.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.ledger.Close() })
	f.desk = policies.NewDesk(f.ledger, "gate-1")
	set, err := policies.Parse(policies.Default()...)
	if err != nil {
		t.Fatal(err)
	}
	f.gate = &ruled{set: set}
	f.desk.InAdvance(f.ledger, func(a policies.Advance, h policies.Hold) error {
		return f.gate.Admit(context.Background(), Viewer{Principal: a.By}, ApprovalGive, aboutHold(h))
	})
	f.idp, err = devidp.New(devidp.Options{
		Issuer: f.url + "/oidc", Dir: filepath.Join(t.TempDir(), "idp"), Users: users, ConsoleRedirects: []string{f.url + callbackPath},
	})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := certs.NewVerifier([]certs.IssuerConfig{{
		URL: f.url + "/oidc", Audiences: []string{devidp.Console}, Kind: "human",
		Claims: certs.Claims{Kind: devidp.KindClaim, OnBehalfOf: devidp.OnBehalfOfClaim},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	reels, err := reel.OpenShelf(reel.Options{Dir: filepath.Join(t.TempDir(), "reels"), Open: f.openAt})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reels.Close() })
	o := Options{
		BaseURL: f.url, GateName: "gate.example.com",
		SignIn: SignIn{Issuer: f.url + "/oidc", ClientID: devidp.Console, Verifier: verifier},
		Gate:   f.gate, Audit: f.ledger, Ledger: f.ledger, Recordings: f.shelf, Reels: reels, Approvals: f.desk, Ender: f.ender, Rules: inForce{set},
		Alarms: func() []Alarm {
			return []Alarm{{At: time.Now().Add(-13 * time.Minute), What: "ship", Session: "20261124s00ada00001a", Text: "put casts/20261124s00ada00001a: 503 Slow Down"}}
		},
		Log: slog.New(slog.NewTextHandler(f.log, nil)),
	}
	for _, e := range edit {
		e(&o)
	}
	f.recordings = o.Recordings
	if f.console, err = New(o); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/oidc/", f.idp)
	mux.Handle("/", f.console)
	srv := httptest.NewUnstartedServer(mux)
	srv.Listener.Close()
	srv.Listener = ln
	srv.Config.RegisterOnShutdown(func() { f.console.Close() })
	srv.Start()
	f.server = srv
	t.Cleanup(func() { f.console.Close(); srv.CloseClientConnections(); srv.Close() })
	return f
}

// logbook collects the console's log.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// inForce are rules by the policies that ship with the product.
type inForce struct{ set *policies.Set }

func (r inForce) Policies() []policies.Listed { return r.set.List() }

func (inForce) Targets() []Target {
	return []Target{
		{Target: policies.Target{Name: "db1", Kind: "postgres", Labels: map[string]string{"env": "prod", "data": "personal"}}, Description: "The shop's database", Address: "db1.internal:5432", Login: "app"},
		{Target: policies.Target{Name: "demo", Kind: "shell"}, Description: "A shell on the gate itself, sandboxed"},
		{Target: policies.Target{Name: "web1", Kind: "ssh", Labels: map[string]string{"env": "prod"}}, Address: "web1.internal:22", Login: "deploy"},
		{Target: policies.Target{Name: "<script>window.owned=1</script>\u202e", Kind: "ssh", Labels: map[string]string{"<b>": "\x1b[2J"}}, Address: "a-very-long-host-name-that-somebody-chose.eu-central-1.compute.internal.example.com:22"},
	}
}

// ruled is a gate by the policies that ship with the product.
type ruled struct {
	set *policies.Set

	mu     sync.Mutex
	broken error // no decision can be had
	fired  map[string]bool
}

func (g *ruled) Admit(_ context.Context, v Viewer, action string, on Object) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		return g.broken
	}
	p := v.Principal
	if g.fired[p.Name] {
		p.Groups = nil
	}
	target := on.Target
	if target.Name == "" {
		target = policies.Target{Name: "gate", Kind: "gate"}
	}
	if target.Kind == "" { // as the gate does, which knows its targets
		target.Kind = "ssh"
	}
	facts := map[string]any{"now": time.Now()}
	for k, s := range map[string]string{"owner": on.Owner, "ownerFor": on.OwnerFor, "session": on.Session, "held": on.Held, "policy": on.Policy} {
		if s != "" && !(strings.HasPrefix(action, "approval:") && k == "session") && (strings.HasPrefix(action, "approval:") || k != "held" && k != "policy") {
			facts[k] = s
		}
	}
	d := g.set.Decide(policies.Request{Principal: p, Action: action, Target: target, Context: facts})
	if d.Effect == policies.EffectAllow {
		return nil
	}
	return &Refusal{Action: action, Object: on, Policies: d.Policies, Why: d.Why}
}

// fire takes somebody's groups away, as a change of policy would.
func (g *ruled) fire(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fired == nil {
		g.fired = map[string]bool{}
	}
	g.fired[name] = true
}

// noted remembers whom it was asked to end.
type noted struct {
	mu    sync.Mutex
	ended []string
}

func (n *noted) End(_ context.Context, by Viewer, id, reason string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = append(n.ended, by.Principal.Name+" "+id+" "+reason)
	return nil
}

// shelf keeps recordings in memory.
type shelf struct {
	mu   sync.Mutex
	more *sync.Cond
	byID map[string]*tape
}

type tape struct {
	data []byte
	live bool
}

func newShelf() *shelf {
	s := &shelf{byID: map[string]*tape{}}
	s.more = sync.NewCond(&s.mu)
	return s
}

func (s *shelf) put(id string, data []byte, live bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[id] = &tape{data: data, live: live}
	s.more.Broadcast()
}

func (s *shelf) add(id string, data []byte, ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[id].data = append(s.byID[id].data, data...)
	s.byID[id].live = !ends
	s.more.Broadcast()
}

func (s *shelf) Open(_ context.Context, id string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[id] == nil {
		return nil, replay.ErrNoSession
	}
	return io.NopCloser(bytes.NewReader(bytes.Clone(s.byID[id].data))), nil
}

// openAt reads what the console's recordings hold from a byte on.
func (f *fixture) openAt(ctx context.Context, id string, from int64) (io.ReadCloser, error) {
	if a, ok := f.recordings.(interface {
		OpenAt(context.Context, string, int64) (io.ReadCloser, error)
	}); ok {
		return a.OpenAt(ctx, id, from)
	}
	r, err := f.recordings.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	_, err = io.CopyN(io.Discard, r, from)
	return r, err
}

func (s *shelf) FollowAt(ctx context.Context, id string, from int64) (io.ReadCloser, error) {
	if _, err := s.Open(ctx, id); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.more.Broadcast()
	})
	return &follower{s: s, ctx: ctx, id: id, off: int(from), stop: stop}, nil
}

type follower struct {
	s    *shelf
	ctx  context.Context
	id   string
	off  int
	stop func() bool
}

func (f *follower) Read(p []byte) (int, error) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	for {
		t := f.s.byID[f.id]
		if f.off < len(t.data) {
			n := copy(p, t.data[f.off:])
			f.off += n
			return n, nil
		}
		if !t.live {
			return 0, io.EOF
		}
		if f.ctx.Err() != nil {
			return 0, f.ctx.Err()
		}
		f.s.more.Wait()
	}
}

func (f *follower) Close() error { f.stop(); return nil }

func (s *shelf) Verify(ctx context.Context, id string) (cast.Report, error) {
	r, err := s.Open(ctx, id)
	if err != nil {
		return cast.Report{}, err
	}
	_, cert := root()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return cast.Verify(r, cast.VerifyOptions{Session: id, Roots: roots})
}

// A script plays a session onto a recording: at a time, some output.
type script struct {
	at   time.Duration
	text string
}

// root is the authority of the fixtures' recordings.
var root = sync.OnceValues(func() (ed25519.PrivateKey, *x509.Certificate) {
	pub, key, _ := ed25519.GenerateKey(nil)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, NotBefore: time.Now().Add(-72 * time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(nil, tmpl, tmpl, pub, key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return key, cert
})

// recorder makes a session's key and its certificate, of the form that package cast wants.
func recorder(t testing.TB, session string) (ed25519.PrivateKey, [][]byte) {
	t.Helper()
	rootKey, rootCert := root()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "sallyport session " + session},
		URIs:      []*url.URL{{Scheme: "sallyport", Opaque: "session:" + session}},
		NotBefore: time.Now().Add(-71 * time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 36}},
	}
	der, err := x509.CreateCertificate(nil, tmpl, rootCert, pub, rootKey)
	if err != nil {
		t.Fatal(err)
	}
	return key, [][]byte{der}
}

// record makes a real recording of a session.
func record(t testing.TB, id string, h cast.Header, started time.Time, lines []script, seal bool) []byte {
	t.Helper()
	key, chain := recorder(t, id)
	var b bytes.Buffer
	at := time.Duration(0)
	w, err := cast.NewWriter(&b, cast.WriterOptions{Session: id, Key: key, Chain: chain, Header: h, Now: func() time.Time { return started.Add(at) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		at = l.at
		var err error
		switch {
		case strings.HasPrefix(l.text, "marker:"):
			err = w.Marker(strings.TrimPrefix(l.text, "marker:"))
		case strings.HasPrefix(l.text, "typed:"):
			err = w.Input([]byte(strings.TrimPrefix(l.text, "typed:")))
		case strings.HasPrefix(l.text, "masked:"):
			var n uint64
			fmt.Sscanf(l.text, "masked:%d", &n)
			w.Masked(n)
		case strings.HasPrefix(l.text, "resize:"):
			var cols, rows uint32
			fmt.Sscanf(l.text, "resize:%dx%d", &cols, &rows)
			err = w.Resize(cols, rows)
		default:
			err = w.Output(cast.Stdout, []byte(l.text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if seal {
		zero := 0
		if _, err := w.Close(cast.End{Status: &zero, Reason: "exit"}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// A browser is an HTTP client with cookies, as a person at this console would have.
type browser struct {
	f *fixture
	*http.Client
}

func (f *fixture) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return &browser{f: f, Client: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// signIn goes through the whole flow as user, and ends at the page it was sent to.
func (f *fixture) signIn(user string) *browser {
	f.t.Helper()
	b := f.browser()
	page := b.begin("/")
	res := b.choose(page, user)
	for res.StatusCode == http.StatusFound || res.StatusCode == http.StatusSeeOther {
		res = b.get(res.Header.Get("Location"))
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusForbidden {
		f.t.Fatalf("sign in as %s ended with %s", user, res.Status)
	}
	return b
}

// begin goes to the provider's page and returns its address.
func (b *browser) begin(back string) string {
	b.f.t.Helper()
	res := b.get("/signin/start?return=" + url.QueryEscape(back))
	for res.StatusCode == http.StatusFound || res.StatusCode == http.StatusSeeOther {
		to, err := res.Location()
		if err != nil {
			b.f.t.Fatal(err)
		}
		if to.Path == "/oidc/login" {
			return to.String()
		}
		res = b.get(to.String())
	}
	b.f.t.Fatalf("no sign-in page: %s", res.Status)
	return ""
}

// choose continues as user at the provider's page, and returns the provider's redirect to the callback.
func (b *browser) choose(page, user string) *http.Response {
	b.f.t.Helper()
	u, err := url.Parse(page)
	if err != nil {
		b.f.t.Fatal(err)
	}
	b.get(page)
	req, err := http.NewRequest("POST", b.f.url+"/oidc/login", strings.NewReader(url.Values{"id": {u.Query().Get("id")}, "user": {user}}.Encode()))
	if err != nil {
		b.f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", b.f.url)
	res := b.do(req)
	for res.StatusCode/100 == 3 {
		to, err := res.Location()
		if err != nil {
			b.f.t.Fatal(err)
		}
		if to.Path == callbackPath {
			return res
		}
		res = b.get(to.String())
	}
	b.f.t.Fatalf("the provider sent nobody back: %s", res.Status)
	return nil
}

func (b *browser) do(req *http.Request) *http.Response {
	b.f.t.Helper()
	res, err := b.Do(req)
	if err != nil {
		b.f.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		b.f.t.Fatal(err)
	}
	res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res
}

func (b *browser) get(path string) *http.Response {
	b.f.t.Helper()
	req, err := http.NewRequest("GET", b.abs(path), nil)
	if err != nil {
		b.f.t.Fatal(err)
	}
	return b.do(req)
}

func (b *browser) abs(path string) string {
	if strings.HasPrefix(path, "http") {
		return path
	}
	return b.f.url + path
}

// post sends a form as a page of the console would; edit may spoil the request.
func (b *browser) post(path string, form url.Values, edit ...func(*http.Request)) *http.Response {
	b.f.t.Helper()
	req, err := http.NewRequest("POST", b.abs(path), strings.NewReader(form.Encode()))
	if err != nil {
		b.f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", b.f.url)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, e := range edit {
		e(req)
	}
	return b.do(req)
}

var (
	tokenPattern = regexp.MustCompile(`name="token" value="([^"]+)"`)
	seenPattern  = regexp.MustCompile(`name="seen" value="([^"]+)"`)
)

// token is the token in this browser's forms.
func (b *browser) token() string {
	b.f.t.Helper()
	m := tokenPattern.FindStringSubmatch(text(b.get("/approvals")))
	if m == nil {
		b.f.t.Fatal("no token on the page")
	}
	return m[1]
}

// seen is the digest in the form of a hold, "" when this viewer gets none.
func (b *browser) seen(id string) string {
	b.f.t.Helper()
	m := seenPattern.FindStringSubmatch(text(b.get("/approvals/" + id)))
	if m == nil {
		return ""
	}
	return m[1]
}

// answer fills in the form of a hold.
func (b *browser) answer(id, answer, reason string, edit ...func(*http.Request)) *http.Response {
	b.f.t.Helper()
	return b.post("/approvals/"+id, url.Values{"token": {b.token()}, "seen": {b.seen(id)}, "answer": {answer}, "reason": {reason}}, edit...)
}

// text is the body of an answer that do has read.
func text(res *http.Response) string {
	b, _ := io.ReadAll(res.Body) // from memory
	res.Body = io.NopCloser(bytes.NewReader(b))
	return string(b)
}

// identity is a user of the provider as the ledger knows them.
func (f *fixture) identity(name string) ledger.Identity {
	for _, u := range users {
		if u.Name == name {
			kind := u.Kind
			if kind == "" {
				kind = "human"
			}
			return ledger.Identity{Issuer: f.url + "/oidc", Subject: name, Name: name, Email: u.Email, Kind: kind, Groups: u.Groups}
		}
	}
	f.t.Fatalf("no user %q", name)
	return ledger.Identity{}
}

// principal is a user as policies know them.
func (f *fixture) principal(name string) policies.Principal {
	i := f.identity(name)
	p := policies.Principal{Key: i.Key(), Name: i.Name, Email: i.Email, Kind: i.Kind, Groups: i.Groups}
	for _, u := range users {
		if u.Name == name && u.OnBehalfOf != "" {
			by := f.principal(u.OnBehalfOf)
			p.OnBehalfOf = &by
		}
	}
	return p
}

// ask puts a hold before the desk, and returns its id and what Ask came to.
func (f *fixture) ask(h policies.Hold) (string, <-chan error) {
	f.t.Helper()
	announced, result := make(chan string, 16), make(chan error, 1)
	if h.Terms.Wait == 0 {
		h.Terms.Wait = 10 * time.Minute
	}
	if h.Terms.Approvers == nil {
		h.Terms.Approvers, h.Terms.Quorum = []string{"approvers"}, 1
	}
	ctx := f.t.Context()
	go func() { // ends with the test's context
		_, err := f.desk.Ask(ctx, h, func(h policies.Hold) { announced <- h.ID })
		result <- err
	}()
	select {
	case id := <-announced:
		return id, result
	case err := <-result:
		f.t.Fatalf("ask: %v", err)
	}
	return "", nil
}

// removal is a hold as an agent would cause one.
func (f *fixture) removal(id, command string) policies.Hold {
	return policies.Hold{
		ID: id, SessionID: "20261124072000aaaaaa", Principal: f.principal("deploy-bot"), Target: policies.Target{Name: "web1", Kind: "ssh"},
		Action: "command:run", Text: command, Policy: policies.Ref{ID: "command-destructive", File: "default.cedar", Line: 74, Column: 1},
		Facts: map[string]any{"classes": []string{"destructive", "write"}, "programs": []string{"rm"}, "removes": []string{"/srv/demo/old"}, "destructive": true, "text": command},
	}
}
