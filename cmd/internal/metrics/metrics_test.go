package metrics

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
)

func newMetrics() *Metrics {
	m := New("test", policies.Actions())
	m.Archive(func() replay.Stats {
		return replay.Stats{Live: 3, Behind: 90 * time.Second, SpoolBytes: 5, SpoolLimit: 10, Refusing: true}
	})
	m.Sink("siem")
	return m
}

func scrape(t *testing.T, h http.Handler, token string) (int, string) {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// series are the names with labels in a scrape, without their values.
func series(text string) map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(text) {
		if name, _, ok := strings.Cut(line, " "); ok && !strings.HasPrefix(line, "#") && strings.HasPrefix(line, "sallyport_") {
			all[name] = true
		}
	}
	return all
}

// TestNothingSentBecomesALabel: whatever words come in, a second lot of them makes no new series.
func TestNothingSentBecomesALabel(t *testing.T) {
	m := newMetrics()
	send := func(word string) {
		m.Handshake(word, time.Second)
		m.Session(word, 1)
		m.Session(word, -1)
		m.Decision(word, word, time.Second)
		m.Answered(word)
		m.Alarm(replay.Alarm{What: word, Session: word, Err: errors.New(word)})
		m.StoreCall(word, time.Second, errors.New(word))
	}
	send("first")
	_, text := scrape(t, m.Handler(""), "")
	before := series(text)
	for _, word := range []string{"", "x", "a\"} 1\nevil_total 1", strings.Repeat("y", 1<<16), "session:open\x00"} {
		send(word)
	}
	_, text = scrape(t, m.Handler(""), "")
	for name := range series(text) {
		if !before[name] {
			t.Errorf("new series %.200s", name)
		}
	}
	if strings.Contains(text, "evil_total") || !strings.Contains(text, `sallyport_handshakes_total{result="other"} 6`) {
		t.Error("what was sent is in the figures, or was not counted")
	}
}

func TestFigures(t *testing.T) {
	m := newMetrics()
	m.Handshake("ok", 3*time.Millisecond)
	m.Connection(1)
	m.Session("shell", 1)
	m.Decision("session:open", "deny", time.Millisecond)
	m.Held(1)
	m.Masked()
	m.LedgerCall(true, time.Millisecond, errors.New("x"))
	m.StoreCall("put", time.Second, nil)
	m.EventsSent("siem", 7, 2*time.Second)
	m.EventsFailed("siem", 3*time.Second)
	m.Purged(1, 2, 3)
	_, text := scrape(t, m.Handler(""), "")
	for _, want := range []string{
		`sallyport_handshakes_total{result="ok"} 1`, `sallyport_handshakes_total{result="turned_away"} 0`, "sallyport_handshake_seconds_count 1",
		"sallyport_connections 1", `sallyport_sessions{kind="shell"} 1`, `sallyport_sessions_total{kind="exec"} 0`,
		`sallyport_decisions_total{action="session:open",effect="deny"} 1`, "sallyport_decision_seconds_count 1", "sallyport_holds_waiting 1",
		"sallyport_masked_total 1", "sallyport_recordings_live 3", "sallyport_recording_behind_seconds 90", "sallyport_spool_refusing 1",
		`sallyport_ledger_errors_total{op="write"} 1`, `sallyport_store_requests_total{op="put",result="ok"} 1`,
		`sallyport_events_sent_total{sink="siem"} 7`, `sallyport_events_behind_seconds{sink="siem"} 3`, "sallyport_events_dropped_total 0",
		`sallyport_recordings_purged_total{result="kept"} 2`, `sallyport_build_info{go="go`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestToken(t *testing.T) {
	h := newMetrics().Handler("correct-horse-battery")
	for token, want := range map[string]int{"": 401, "wrong": 401, "correct-horse-batter": 401, "correct-horse-battery": 200} {
		if got, text := scrape(t, h, token); got != want || want == 401 && strings.Contains(text, "sallyport_") {
			t.Errorf("token %q: %d", token, got)
		}
	}
}

// TestAlerts: the rules in deploy are of the form that Prometheus takes, and go by figures that there are.
func TestAlerts(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalWithOptions(text, &rules, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	_, scraped := scrape(t, newMetrics().Handler(""), "")
	there := map[string]bool{}
	for name := range series(scraped) {
		name, _, _ = strings.Cut(name, "{")
		there[name] = true
	}
	there["sallyport_decisions_total"] = true // has no series before the first decision
	seen := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if seen[r.Alert] || !regexp.MustCompile(`^Sallyport[A-Za-z]+$`).MatchString(r.Alert) {
				t.Errorf("alert %q is there twice, or not named well", r.Alert)
			}
			seen[r.Alert] = true
			expression(t, r.Alert, r.Expr, there)
			if r.For != "" && !regexp.MustCompile(`^[0-9]+[smhd]$`).MatchString(r.For) {
				t.Errorf("%s: for %q", r.Alert, r.For)
			}
			if s := r.Labels["severity"]; s != "warning" && s != "critical" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s: labels %v, annotations %v", r.Alert, r.Labels, r.Annotations)
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("%d alerts", len(seen))
	}
}

// token is one of an expression of PromQL, as far as the rules use it.
var token = regexp.MustCompile(`^(?:\s+|[a-z_]+|[0-9.]+|"[^"]*"|=~|==|!=|[(){},=<>/+*-]|\[[0-9]+[smhd]\])`)

var words = map[string]bool{
	"increase": true, "rate": true, "sum": true, "by": true, "absent": true, "histogram_quantile": true,
	"instance": true, "op": true, "le": true, "result": true, "what": true, "effect": true,
}

// expression checks that an expression is made of what there is, and closes what it opens.
func expression(t *testing.T, alert, expr string, there map[string]bool) {
	t.Helper()
	var open []byte
	for rest := expr; rest != ""; {
		tok := token.FindString(rest)
		if tok == "" {
			t.Fatalf("%s: cannot read %q", alert, rest)
		}
		rest = rest[len(tok):]
		switch {
		case tok == "(" || tok == "{":
			open = append(open, tok[0])
		case tok == ")" || tok == "}":
			if len(open) == 0 || open[len(open)-1] != map[byte]byte{')': '(', '}': '{'}[tok[0]] {
				t.Fatalf("%s: %q closes what is not open", alert, tok)
			}
			open = open[:len(open)-1]
		case tok[0] >= 'a' && tok[0] <= 'z' && !words[tok] && !there[tok]:
			t.Errorf("%s: there is no %q", alert, tok)
		}
	}
	if len(open) > 0 {
		t.Errorf("%s: %q stays open", alert, open)
	}
}
