package events

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// schema is what the published one says of what we use.
type schema struct {
	Classes map[string]struct {
		Name, Category string
		CategoryUID    int `json:"category_uid"`
		Attributes     map[string]bool
		Activities     []int
		AtLeastOne     []string `json:"at_least_one"`
	}
	Objects map[string]struct {
		Attributes map[string]bool
		AtLeastOne []string `json:"at_least_one"`
	}
	ObjectOf map[string]string `json:"object_of"`
	Enums    map[string][]int
	Integers []string
	Profiles []string
}

func readSchema(t testing.TB) *schema {
	t.Helper()
	b, err := os.ReadFile("testdata/ocsf-" + SchemaVersion + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// check says everything that is wrong with an event.
func (s *schema) check(line []byte) (wrong []string) {
	var e map[string]any
	if err := json.Unmarshal(line, &e); err != nil {
		return []string{err.Error()}
	}
	c, ok := s.Classes[fmt.Sprint(e["class_uid"])]
	if !ok {
		return []string{fmt.Sprintf("unknown class %v", e["class_uid"])}
	}
	if e["class_name"] != c.Name || e["category_name"] != c.Category || e["category_uid"] != float64(c.CategoryUID) {
		wrong = append(wrong, fmt.Sprintf("class %v, category %v %v", e["class_name"], e["category_uid"], e["category_name"]))
	}
	activity, _ := e["activity_id"].(float64)
	if !slices.Contains(c.Activities, int(activity)) || e["type_uid"] != e["class_uid"].(float64)*100+activity {
		wrong = append(wrong, fmt.Sprintf("activity %v, type %v", e["activity_id"], e["type_uid"]))
	}
	wrong = append(wrong, s.attributes("event", e, c.Attributes, c.AtLeastOne)...)
	m, _ := e["metadata"].(map[string]any)
	profiles, _ := m["profiles"].([]any)
	for _, p := range profiles {
		if !slices.Contains(s.Profiles, fmt.Sprint(p)) {
			wrong = append(wrong, fmt.Sprintf("profile %v", p))
		}
	}
	if m["version"] != SchemaVersion || m["uid"] == "" {
		wrong = append(wrong, fmt.Sprintf("metadata %v", m))
	}
	return wrong
}

func (s *schema) attributes(where string, have map[string]any, known map[string]bool, oneOf []string) (wrong []string) {
	for name, required := range known {
		if _, ok := have[name]; required && !ok {
			wrong = append(wrong, where+" lacks "+name)
		}
	}
	if len(oneOf) > 0 && !slices.ContainsFunc(oneOf, func(a string) bool { _, ok := have[a]; return ok }) {
		wrong = append(wrong, fmt.Sprintf("%s has none of %v", where, oneOf))
	}
	for name, v := range have {
		if _, ok := known[name]; !ok {
			wrong = append(wrong, where+" has "+name+", which is not in the schema")
		}
		if n, isNumber := v.(float64); slices.Contains(s.Integers, name) && (!isNumber || n != float64(int64(n))) {
			wrong = append(wrong, fmt.Sprintf("%s.%s is %v", where, name, v))
		} else if allowed := s.Enums[name]; allowed != nil && !slices.Contains(allowed, int(n)) {
			wrong = append(wrong, fmt.Sprintf("%s.%s is %v, want one of %v", where, name, v, allowed))
		}
		if of := s.ObjectOf[name]; of != "" {
			wrong = append(wrong, s.object(where+"."+name, v, of)...)
		}
	}
	return wrong
}

func (s *schema) object(where string, v any, of string) (wrong []string) {
	switch v := v.(type) {
	case map[string]any:
		return s.attributes(where, v, s.Objects[of].Attributes, s.Objects[of].AtLeastOne)
	case []any:
		for _, each := range v {
			wrong = append(wrong, s.object(where, each, of)...)
		}
		return wrong
	}
	return []string{where + " is no object"}
}

// TestSchemaCheckerSees: what is wrong is found, or nothing below proves anything.
func TestSchemaCheckerSees(t *testing.T) {
	s := readSchema(t)
	good, err := mapper{"1"}.audit(ledger.Event{N: 1, At: time.Unix(1e9, 0), Kind: "approval:give", Gate: "g", Actor: "a", Source: "192.0.2.1:5"}).line()
	if err != nil {
		t.Fatal(err)
	}
	if wrong := s.check(good); wrong != nil {
		t.Fatalf("%v in %s", wrong, good)
	}
	for _, r := range [][2]string{
		{`"class_uid":6003`, `"class_uid":6004`}, {`"type_uid":600301`, `"type_uid":600302`}, {`"time":`, `"tme":`}, {`"severity_id":1`, `"severity_id":9`},
		{`"api":`, `"apis":`}, {`"operation":`, `"op":`}, {`"user":{`, `"user":{"pet":"cat",`}, {`"vendor_name":"Sallyport",`, ``}, {`"host"`, `"ghost"`},
	} {
		bad := strings.Replace(string(good), r[0], r[1], 1)
		if bad == string(good) || s.check([]byte(bad)) == nil {
			t.Errorf("%s for %s is not noticed", r[1], r[0])
		}
	}
}

// TestEveryEventIsInTheSchema: every action and every kind of event, decided in every way, with everything known
// and with next to nothing.
func TestEveryEventIsInTheSchema(t *testing.T) {
	s, m := readSchema(t), mapper{"1"}
	status := 3
	full := ledger.Session{
		ID: "session0", ConnectionID: "c0", Gate: "g", Identity: ledger.Identity{Issuer: "https://i", Subject: "s", Name: "bot", Email: "b@example.com", Kind: "agent", Groups: []string{"a", "b"}},
		OnBehalfOf: &ledger.Identity{Issuer: "https://i", Subject: "d", Email: "d@example.com"}, Target: "web1", TargetKind: "ssh", Login: "root",
		Kind: "exec", ClientAddr: "[2001:db8::1]:5", Started: time.Unix(1e9, 0), ExitStatus: &status, ExitSignal: "TERM", EndReason: "exit", BytesOut: 5, Masked: 1,
	}
	bare := ledger.Session{ID: "session1", Identity: ledger.Identity{Issuer: "i", Subject: "s"}, Started: time.Unix(1e9, 0)}
	classes := map[int]bool{}
	check := func(what string, e *event) {
		t.Helper()
		line, err := e.line()
		if err != nil {
			t.Fatal(err)
		}
		for _, wrong := range s.check(line) {
			t.Errorf("%s: %s: %s", what, wrong, line)
		}
		classes[e.ClassUID] = true
	}
	for _, action := range append(policies.Actions(), "new:thing", "odd") {
		for _, decision := range []string{"allow", "deny", "hold"} {
			for _, session := range []ledger.Session{full, bare} {
				o := ledger.Operation{ID: "op", Action: action, Text: "/etc/passwd", Decision: decision, Time: time.Unix(1e9, 0), Policy: "p", HoldID: "h", Outcome: "approved"}
				check(action+" "+decision, m.operation(ledger.ExportedOperation{N: 1, Operation: o, Cut: true, Session: session}))
				o.Text = ""
				check(action+" "+decision+" of nothing", m.operation(ledger.ExportedOperation{N: 1, Operation: o, Session: session}))
			}
		}
		for _, denied := range []bool{false, true} {
			e := ledger.Event{N: 1, At: time.Unix(1e9, 0), Last: time.Unix(2e9, 0), Count: 7, Kind: action, Denied: denied, Source: "192.0.2.0"}
			check("audit "+action, m.audit(e))
			e.Kind += ".denied"
			e.Gate, e.Actor, e.ActorName, e.SessionID, e.Target, e.Detail = "g", "k", "n", "s", "t", map[string]any{"x": strings.Repeat("é", 1e5)}
			check("audit "+action, m.audit(e))
		}
	}
	for _, kind := range []string{"console.signin", "console.refused", "hold.answered", "hold.answer-refused", "recording.followed", "recording.purged", "certificate:revoke", "session.essential", "advance.given"} {
		check(kind, m.audit(ledger.Event{N: 1, At: time.Unix(1e9, 0), Kind: kind, Actor: "a"}))
	}
	for _, state := range []ledger.State{ledger.Complete, ledger.Recovered, ledger.Truncated, ledger.Purged} {
		for _, session := range []ledger.Session{full, bare, {ID: "gone00"}} {
			check(string(state), m.seal(ledger.ExportedSeal{Seal: ledger.Seal{N: 1, SessionID: session.ID, State: state, At: time.Unix(2e9, 0)}, Session: session}))
		}
	}
	check("certificate", m.certificate(ledger.ExportedCertificate{N: 1, Certificate: ledger.Certificate{Serial: "1", IdentityKey: "i#s", Issued: time.Unix(1e9, 0)}}))
	for uid := range s.Classes {
		if !classes[must2(t, uid)] {
			t.Errorf("no event of class %s", uid)
		}
	}
}

func must2(t *testing.T, s string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
