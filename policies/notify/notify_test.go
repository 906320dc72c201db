package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

var secret = []byte("0123456789abcdef0123456789abcdef")

func held(id, text string) policies.Hold {
	asked := time.Now().UTC().Truncate(time.Microsecond)
	return policies.Hold{
		ID: id, Gate: "gate", Target: policies.Target{Name: "web1", Kind: "ssh"}, Action: "command:run", Text: text,
		Principal: policies.Principal{Key: "https://ci#bot", Name: "bot", Kind: policies.Agent, OnBehalfOf: &policies.Principal{Key: "https://idp#alice", Name: "alice", Kind: policies.Human}},
		Facts:     map[string]any{"opaque": false, "classes": []string{"destructive"}},
		Policy:    policies.Ref{ID: "command-destructive"}, Terms: policies.Terms{Approvers: []string{"approvers"}, Wait: 10 * time.Minute, Quorum: 1},
		Asked: asked, Expires: asked.Add(10 * time.Minute), State: policies.StatePending,
	}
}

func options(edit func(*Options)) Options {
	o := Options{
		Name: "ops", Gate: "gate", URL: "https://hooks.example.com/T0/S3CRET", Secret: secret, Console: "https://gate.example.com/",
		Mask: func(s string) string { return strings.ReplaceAll(s, "hunter2", "*******") },
		Log:  slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if edit != nil {
		edit(&o)
	}
	return o
}

// A receiver takes requests, and answers as it is told: by the status of each in turn, 200 after those.
type receiver struct {
	mu       sync.Mutex
	statuses []int
	got      []*http.Request
	bodies   []string
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got, r.bodies = append(r.got, req), append(r.bodies, string(body))
	status := http.StatusOK
	if len(r.statuses) > 0 {
		status, r.statuses = r.statuses[0], r.statuses[1:]
	}
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("")), Header: http.Header{}}, nil
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.bodies)
}

// sending runs a sender in a bubble until the test ends.
func sending(t *testing.T, m *memory, r *receiver, edit func(*Options)) (stop func()) {
	t.Helper()
	s, err := New(m, options(edit))
	if err != nil {
		t.Fatal(err)
	}
	s.client.Transport = r
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	return func() { cancel(); wg.Wait() }
}

func put(t *testing.T, m *memory, h policies.Hold) {
	t.Helper()
	m.add(h.ID, "pending")
	if err := m.PutHold(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func TestGeneric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{}
		defer sending(t, m, r, nil)()
		put(t, m, held("hold0001", "mysql -phunter2 -e 'drop table x' \u202e#"))
		if r.count() != 1 {
			t.Fatalf("%d requests", r.count())
		}
		req, body := r.got[0], r.bodies[0]
		if err := Verify(secret, req.Header.Get(SignatureHeader), []byte(body), time.Now(), time.Minute); err != nil {
			t.Error(err)
		}
		var got Message
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if got.URL != "https://gate.example.com/approvals/hold0001" || got.Event != "asked" || got.Who != "bot" || got.OnBehalfOf != "alice" || got.Needed != 1 {
			t.Errorf("%+v", got)
		}
		if strings.Contains(body, "hunter2") || strings.Contains(body, "\u202e") || !strings.Contains(got.Text, "RIGHT-TO-LEFT OVERRIDE") {
			t.Errorf("text %q", got.Text)
		}
		if req.Method != http.MethodPost || req.Header.Get(DeliveryHeader) != "hold0001-1" {
			t.Errorf("%s, delivery %q", req.Method, req.Header.Get(DeliveryHeader))
		}
	})
}

// What others wrote is never read as Slack's markup: no link, mention or channel call.
func TestSlack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{}
		defer sending(t, m, r, func(o *Options) { o.Kind, o.Secret = Slack, nil })()
		h := held("hold0001", "echo <!channel> <https://evil.example|approve here> *bold* `"+strings.Repeat("x", 5000))
		h.Principal.Name = "<!here>"
		put(t, m, h)
		var got struct {
			Text   string
			Blocks []struct {
				Type     string
				Text     struct{ Type, Text string }
				Elements []json.RawMessage
			}
		}
		if err := json.Unmarshal([]byte(r.bodies[0]), &got); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(got.Text, "<>&*`") || len(got.Blocks) != 4 {
			t.Errorf("text %q, %d blocks", got.Text, len(got.Blocks))
		}
		for _, b := range got.Blocks {
			if b.Type == "section" && b.Text.Type != "plain_text" || len([]rune(b.Text.Text)) > 3000 {
				t.Errorf("block %+v", b)
			}
		}
		if !strings.Contains(got.Blocks[1].Text.Text, "cut here") || !strings.Contains(string(got.Blocks[3].Elements[0]), `"url":"https://gate.example.com/approvals/hold0001"`) {
			t.Errorf("%s", r.bodies[0])
		}
		if r.got[0].Header.Get(SignatureHeader) != "" {
			t.Error("signed without a secret")
		}
	})
}

func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{statuses: []int{0, 503, 429, 500}}
		defer sending(t, m, r, nil)()
		began := time.Now()
		put(t, m, held("hold0001", "rm x"))
		put(t, m, held("hold0002", "rm y"))
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if n := r.count(); n != 4 {
			t.Errorf("after %s: %d tries, want 4", time.Since(began), n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := r.count(); n != 6 || m.cursor("ops") != 2 {
			t.Errorf("after %s: %d tries, cursor %d", time.Since(began), n, m.cursor("ops"))
		}
		for i := range 4 {
			if r.got[i].Header.Get(DeliveryHeader) != r.got[i+1].Header.Get(DeliveryHeader) {
				t.Error("sent again under another name")
			}
		}
		if r.got[0].Header.Get(SignatureHeader) == r.got[4].Header.Get(SignatureHeader) {
			t.Error("sent again with the old time: a receiver would take it for a replay")
		}
	})
}

// A restart goes on where the former one was, and loses nothing.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{}
		stop := sending(t, m, r, nil)
		put(t, m, held("hold0001", "rm x"))
		stop()
		put(t, m, held("hold0002", "rm y"))
		if r.count() != 1 {
			t.Fatalf("%d requests before the restart", r.count())
		}
		defer sending(t, m, r, nil)()
		synctest.Wait()
		if r.count() != 2 || !strings.Contains(r.bodies[1], "hold0002") {
			t.Errorf("after it: %v", r.bodies)
		}
	})
}

// Of two gates one sends; when it is gone the other goes on.
func TestOneOfTwoGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, a, b := newMemory(), &receiver{}, &receiver{}
		stopA := sending(t, m, a, nil)
		synctest.Wait()
		defer sending(t, m, b, func(o *Options) { o.Gate = "gate-2" })()
		put(t, m, held("hold0001", "rm x"))
		if a.count() != 1 || b.count() != 0 {
			t.Errorf("%d by the first, %d by the second", a.count(), b.count())
		}
		stopA()
		put(t, m, held("hold0002", "rm y"))
		time.Sleep(leaseTime + poll)
		synctest.Wait()
		if a.count() != 1 || b.count() != 1 {
			t.Errorf("after the first has gone: %d and %d", a.count(), b.count())
		}
	})
}

// What the receiver refuses does not stand in the way of the rest.
func TestRefused(t *testing.T) {
	for _, status := range []int{301, 307, 400, 401, 404, 410} {
		synctest.Test(t, func(t *testing.T) {
			m, r := newMemory(), &receiver{statuses: []int{status}}
			dropped := 0
			defer sending(t, m, r, func(o *Options) { o.Dropped = func(context.Context, Event, error) { dropped++ } })()
			put(t, m, held("hold0001", "rm x"))
			put(t, m, held("hold0002", "rm y"))
			if r.count() != 2 || dropped != 1 || m.cursor("ops") != 2 {
				t.Errorf("%d: %d requests, %d dropped, cursor %d", status, r.count(), dropped, m.cursor("ops"))
			}
		})
	}
}

func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{}
		for range 1000 {
			r.statuses = append(r.statuses, 503)
		}
		var why error
		defer sending(t, m, r, func(o *Options) {
			o.Events = []string{"ended"}
			o.Dropped = func(_ context.Context, _ Event, err error) { why = err }
		})()
		h := held("hold0001", "rm x")
		put(t, m, h)
		if err := m.EndHold(t.Context(), h.ID, policies.StatePending, policies.StateExpired, ""); err != nil {
			t.Fatal(err)
		}
		m.add(h.ID, "expired")
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if why == nil || m.cursor("ops") != 2 {
			t.Errorf("dropped: %v, cursor %d", why, m.cursor("ops"))
		}
	})
}

// Nobody is called to a request that has ended meanwhile, or that others answer.
func TestNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := newMemory(), &receiver{}
		h := held("hold0001", "rm x")
		m.add(h.ID, "pending")
		h2 := held("hold0002", "rm y")
		h2.Terms.Approvers = []string{"dba"}
		for _, h := range []policies.Hold{h, h2} {
			if err := m.PutHold(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.EndHold(t.Context(), h.ID, policies.StatePending, policies.StateWithdrawn, ""); err != nil {
			t.Fatal(err)
		}
		m.add(h.ID, "withdrawn")
		m.add("gone0001", "pending")
		m.add(h2.ID, "pending")
		defer sending(t, m, r, func(o *Options) { o.Groups = []string{"dba"} })()
		synctest.Wait()
		if r.count() != 1 || !strings.Contains(r.bodies[0], "hold0002") || m.cursor("ops") != 4 {
			t.Errorf("sent %v, cursor %d", r.bodies, m.cursor("ops"))
		}
	})
}

func TestVerify(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	body := []byte(`{"id":"hold0001"}`)
	good := Sign(secret, now, body)
	other := Sign([]byte("another secret of thirty-two bytes!"), now, body)
	for name, tt := range map[string]struct {
		header string
		body   string
		at     time.Time
		ok     bool
	}{
		"as it was sent":       {good, string(body), now, true},
		"a little later":       {good, string(body), now.Add(4 * time.Minute), true},
		"replayed":             {good, string(body), now.Add(6 * time.Minute), false},
		"from the future":      {good, string(body), now.Add(-6 * time.Minute), false},
		"another body":         {good, `{"id":"hold0002"}`, now, false},
		"another secret":       {other, string(body), now, false},
		"another time":         {strings.Replace(good, "t=18", "t=19", 1), string(body), now.Add(100_000_000 * time.Second), false},
		"no signature":         {"", string(body), now, false},
		"no time":              {good[strings.IndexByte(good, ',')+1:], string(body), now, false},
		"a signature of none":  {"t=1800000000,v1=", string(body), now, false},
		"half a signature":     {good[:len(good)-32], string(body), now, false},
		"a time with a sign":   {"t=+1800000000" + good[strings.IndexByte(good, ','):], string(body), now, false},
		"two of them, one bad": {good + "," + other, string(body), now, false},
	} {
		err := Verify(secret, tt.header, []byte(tt.body), tt.at, 5*time.Minute)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if Verify(nil, Sign(nil, now, body), body, now, time.Minute) == nil {
		t.Error("signed with no secret")
	}
}

func TestMayDial(t *testing.T) {
	allow := []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")}
	for address, want := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1::1": true, "10.1.2.3": true, "::ffff:10.1.2.3": true,
		"127.0.0.1": false, "127.1.2.3": false, "::1": false, "0.0.0.0": false, "::": false, "10.1.3.1": false, "192.168.0.1": false,
		"172.16.0.1": false, "169.254.169.254": false, "::ffff:169.254.169.254": false, "fe80::1": false, "fd00:ec2::254": false,
		"100.64.0.1": false, "64:ff9b::a9fe:a9fe": false, "2002:7f00:1::": false, "::7f00:1": false, "224.0.0.1": false, "ff02::1": false,
		"255.255.255.255": false, "198.18.0.1": false, "0.1.2.3": false, "fec0::1": false, "2001:db8::1": false,
	} {
		if got := mayDial(netip.MustParseAddr(address), allow) == nil; got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}

// With the real client: a private address is not dialled, whatever name leads there, a redirect is not followed, and
// neither error holds the URL, which may be a secret.
func TestRealClient(t *testing.T) {
	var elsewhere int
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer target.Close()
	moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target.URL, http.StatusTemporaryRedirect)
	}))
	defer moved.Close()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	post := func(url string, allow []netip.Prefix) error {
		t.Helper()
		s, err := New(newMemory(), options(func(o *Options) { o.URL, o.Plaintext, o.Allow = url+"/S3CRET", true, allow }))
		if err != nil {
			t.Fatal(err)
		}
		defer s.client.CloseIdleConnections()
		return s.post(t.Context(), "x", []byte("{}"))
	}
	_, port, err := net.SplitHostPort(target.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		if err := post("http://"+host+":"+port, nil); !errors.Is(err, ErrAddress) || strings.Contains(err.Error(), "S3CRET") {
			t.Errorf("%s: %v", host, err)
		}
	}
	var refused *refusal
	if err := post(moved.URL, loopback); !errors.As(err, &refused) || strings.Contains(err.Error(), "S3CRET") {
		t.Errorf("a redirect: %v", err)
	}
	if elsewhere != 0 {
		t.Errorf("%d requests went where they must not", elsewhere)
	}
	if err := post(target.URL, loopback); err != nil || elsewhere != 1 {
		t.Errorf("where it is allowed: %v, %d", err, elsewhere)
	}
}

func TestOptions(t *testing.T) {
	for name, edit := range map[string]func(*Options){
		"no secret":          func(o *Options) { o.Secret = nil },
		"a short secret":     func(o *Options) { o.Secret = secret[:31] },
		"plain HTTP":         func(o *Options) { o.URL = "http://hooks.example.com/S3CRET" },
		"another scheme":     func(o *Options) { o.URL = "file:///etc/S3CRET" },
		"a password in it":   func(o *Options) { o.URL = "https://a:S3CRET@hooks.example.com/" },
		"no host":            func(o *Options) { o.URL = "https:///S3CRET" },
		"an unknown kind":    func(o *Options) { o.Kind = "teams" },
		"an unknown event":   func(o *Options) { o.Events = []string{"approved"} },
		"nothing that masks": func(o *Options) { o.Mask = nil },
		"no console":         func(o *Options) { o.Console = "" },
	} {
		_, err := New(newMemory(), options(edit))
		if err == nil || strings.Contains(err.Error(), "S3CRET") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
