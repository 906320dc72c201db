package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies/notify"
)

const hookSecret = "0123456789abcdef0123456789abcdef"

// A hook is a receiver of webhooks.
type hook struct {
	*httptest.Server
	got chan hookMessage
}

type hookMessage struct {
	notify.Message
	raw      []byte
	header   http.Header
	received time.Time
}

func newHook(t *testing.T) *hook {
	h := &hook{got: make(chan hookMessage, 100)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := hookMessage{header: r.Header, received: time.Now()}
		m.raw, _ = io.ReadAll(r.Body)
		if json.Unmarshal(m.raw, &m.Message) == nil {
			h.got <- m
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) next(t *testing.T, event string) hookMessage {
	t.Helper()
	select {
	case m := <-h.got:
		if m.Event != event {
			t.Fatalf("a message of %s, want %s: %s", m.Event, event, m.raw)
		}
		return m
	case <-time.After(30 * time.Second):
		t.Fatalf("no message of %s", event)
	}
	return hookMessage{}
}

const hookPolicies = `
@id("slow") @hold("approvers") @wait("1m") @escalate("1s: leads")
permit (principal, action == Action::"command:run", resource) when { context.text like "*slowly*" };
`

// What waits is told by a signed message without secrets. Its link leads to a page behind the sign-in; neither following
// it nor sending the message back answers anything.
func TestWebhook(t *testing.T) {
	h := newHook(t)
	config := fmt.Sprintf(`
users:
  - {name: approver, groups: [users, approvers, auditors]}
policies: [default.cedar, slow.cedar]
webhooks:
  - {name: ops, url: %q, secret_file: hook.secret, events: [asked, escalated, ended], insecure_plaintext: true, allow_addresses: [127.0.0.0/8]}
  - {name: closed, url: %q, secret_file: hook.secret, insecure_plaintext: true}
`, h.URL+"/ops", h.URL+"/closed")
	d := openDoor(t, config, "default.cedar", defaultPolicies(), "slow.cedar", hookPolicies, "hook.secret", hookSecret+"\n")
	r := &robot{t, d}
	e := r.start("demo", "rm -rf app # password=correct-horse-battery-staple")
	id := e.next("held").ID
	m := h.next(t, "asked")
	if err := notify.Verify([]byte(hookSecret), m.header.Get(notify.SignatureHeader), m.raw, m.received, time.Minute); err != nil {
		t.Error(err)
	}
	if m.ID != id || m.URL != d.url+"/approvals/"+id && m.URL != strings.TrimSuffix(d.url, "/")+"/approvals/"+id || m.Who != "agent" || m.OnBehalfOf != "developer" || m.Target != "demo" {
		t.Errorf("%s", m.raw)
	}
	if strings.Contains(string(m.raw), "correct-horse") || !strings.Contains(m.Text, "rm -rf app") {
		t.Errorf("text %q", m.Text)
	}

	// The link, as a chat's preview would fetch it; and the message itself, sent back.
	for _, req := range []func() (*http.Response, error){
		func() (*http.Response, error) { return http.Get(m.URL + "?answer=approve") },
		func() (*http.Response, error) { return http.Head(m.URL) },
		func() (*http.Response, error) {
			req, err := http.NewRequest(http.MethodPost, m.URL, strings.NewReader(string(m.raw)))
			if err != nil {
				return nil, err
			}
			req.Header = m.header.Clone()
			return http.DefaultClient.Do(req)
		},
		func() (*http.Response, error) {
			return http.Post(m.URL, "application/x-www-form-urlencoded", strings.NewReader("answer=approve"))
		},
	} {
		res, err := req()
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if strings.Contains(string(body), "rm -rf app") {
			t.Error("the page shows the request to nobody in particular")
		}
	}
	if res := do(t, d.ssh("approver", "gate", "show", id)); !strings.Contains(res.out, "state      pending") {
		t.Errorf("it was answered: %+v", res)
	}
	do(t, d.ssh("approver", "gate", "deny", id))
	if m := h.next(t, "denied"); m.State != "denied" || len(m.By) != 1 || m.By[0] != "approver" {
		t.Errorf("%s", m.raw)
	}
	if code, _ := e.end(); code != 77 {
		t.Errorf("exit %d", code)
	}

	// Nobody answers for a while.
	e = r.start("demo", "echo slowly")
	id = e.next("held").ID
	h.next(t, "asked")
	if m := h.next(t, "escalated"); m.ID != id || strings.Join(m.Approvers, " ") != "approvers leads" {
		t.Errorf("%s", m.raw)
	}
	if s := e.next("waiting"); strings.Join(s.Approvers, " ") != "approvers leads" {
		t.Errorf("%+v", s)
	}
	do(t, d.ssh("approver", "gate", "approve", id))
	h.next(t, "approved")
	if code, out := e.end(); code != 0 || out != "slowly\n" {
		t.Errorf("exit %d: %q", code, out)
	}
	if strings.Contains(d.log(), hookSecret) {
		t.Error("the log holds the secret")
	}
	if log := d.log(); !strings.Contains(log, "not a public one") || strings.Contains(log, h.URL+"/closed") {
		t.Error("a private address that is not allowed was sent to, or the log has the address")
	}
	select {
	case m := <-h.got:
		t.Errorf("a further message: %s", m.raw)
	default:
	}
}
