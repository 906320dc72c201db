package policies

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, text string) *Set {
	t.Helper()
	s, err := Parse(Source{Name: "x.cedar", Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestParseErrors wants every mistake found, with its place and what to do.
func TestParseErrors(t *testing.T) {
	const scope = `permit (principal, action == Action::"command:run", resource)`
	for _, tt := range []struct{ name, text, want string }{
		{"not Cedar", "permit (principal, action, resource)", `x.cedar:1:37: syntax: found the end of the file where ; belongs`},
		{"a mistyped variable", "permit (\n  principal, action, resourc);", `x.cedar:2:29: syntax: found resourc where resource belongs`},
		{"an open string", `permit (principal, action, resource) when { "x };`, `x.cedar:1:45: syntax: literal not terminated`},
		{"unknown action", `permit (principal, action == Action::"command:rnu", resource);`, `x.cedar:1:38: unknown action "command:rnu"; did you mean "command:run"?`},
		{"unknown action in a set", `permit (principal, action in [Action::"file:read", Action::"file:wirte"], resource);`, `x.cedar:1:60: unknown action "file:wirte"; did you mean "file:write"?`},
		{"unknown type", `permit (principal in Gruop::"x", action, resource);`, `x.cedar:1:22: unknown entity type "Gruop"; did you mean "Group"?`},
		{"unknown fact", scope + "\nwhen { context.opaqe };", `x.cedar:2:8: unknown fact context.opaqe; did you mean "opaque"?`},
		{"unknown fact after has", scope + "\nwhen { context has opaqe && context.opaqe };", `x.cedar:2:16: context never has "opaqe": the condition is always false; did you mean "opaque"?`},
		{"fact of another action", scope + ` when { context.unbounded };`, "context.unbounded is not a fact of command:run; guard it: `context has unbounded && ...`"},
		{"unguarded fact", scope + ` when { context.cwd == "/" };`, "x.cedar:1:70: context.cwd may be missing; guard it: `context has cwd && context.cwd ...`"},
		{"unguarded attribute", `permit (principal is Agent, action, resource) when { principal.onBehalfOf in Group::"x" };`, "x.cedar:1:54: principal.onBehalfOf may be missing; guard it: `principal has onBehalfOf && principal.onBehalfOf ...`"},
		{"unknown attribute", scope + ` when { resource.nam == "x" };`, `x.cedar:1:78: Target has no attribute "nam"; did you mean "name"?`},
		{"types that do not match", scope + ` when { context.classes == 3 };`, `compares a Set<String> with a Long`},
		{"unknown class", "forbid (principal, action == Action::\"command:run\", resource)\nwhen { context.classes.contains(\"destructiv\") };", `x.cedar:2:33: context.classes is never "destructiv"; did you mean "destructive"?`},
		{"unknown class in a set", scope + ` when { ["read", "wriet"].containsAll(context.classes) };`, `context.classes is never "wriet"; did you mean "write"?`},
		{"unknown kind", `permit (principal, action, resource) when { resource.kind == "k8s" };`, `resource.kind is never "k8s"; it is one of ssh, shell, postgres, kubernetes, tcp, gate`},
		{"a group is no principal", `permit (principal == Group::"x", action, resource);`, `no principal equals Group::"x"`},
		{"unknown annotation", `@hodl("x") ` + scope + ";", `x.cedar:1:1: @hodl: unknown annotation; did you mean "hold"?`},
		{"hold on forbid", `@hold("x") forbid (principal, action, resource);`, `x.cedar:1:1: @hold: only a permit can have it; a forbid always denies`},
		{"hold for nobody", `@hold ` + scope + ";", `x.cedar:1:1: @hold: names no group that may approve`},
		{"hold for a comma", `@hold("a,,b") ` + scope + ";", `@hold: names no group that may approve`},
		{"wait without hold", "@id(\"a\")\n@wait(\"1m\") " + scope + ";", `x.cedar:2:1: @wait: means nothing without @hold`},
		{"bad duration", `@hold("x") @wait("10") ` + scope + ";", `x.cedar:1:12: @wait: "10" is not a duration; write 90s, 10m or 1h30m`},
		{"no duration at all", `@hold("x") @wait("0s") ` + scope + ";", `@wait: 0s is out of bounds`},
		{"negative grant", `@hold("x") @grant("-1h") ` + scope + ";", `@grant: -1h is out of bounds`},
		{"endless grant", `@hold("x") @grant("9999h") ` + scope + ";", `@grant: 9999h is out of bounds`},
		{"bad quorum", `@hold("x") @quorum("two") ` + scope + ";", `@quorum: "two" is not a number of people`},
		{"quorum of nobody", `@hold("x") @quorum("0") ` + scope + ";", `@quorum: "0" is not a number of people`},
		{"bad reason", `@hold("x") @reason("please") ` + scope + ";", `@reason: "please" is not known; write @reason("required")`},
		{"bad id", `@id("a b") ` + scope + ";", `@id: "a b" cannot be an id`},
		{"why with an escape", `@why("a\u{1b}[31m") ` + scope + ";", `@why: is not one plain line`},
		{"duplicate ids", `@id("a") ` + scope + ";\n\n@id(\"a\") " + scope + ";", `x.cedar:3:1: the id "a" is taken; x.cedar:1:1 has it`},
		{"the same annotation twice", `@id("a") @id("b") ` + scope + ";", `duplicate annotation: @id`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(Source{Name: "x.cedar", Text: []byte(tt.text)})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			for _, p := range ErrorsOf(err) {
				if p.File != "x.cedar" || p.Line < 1 || p.Column < 1 {
					t.Errorf("no place: %+v", p)
				}
			}
		})
	}
}

// TestParseBounds feeds text that would overflow the parser's stack, which ends the program, or take it minutes.
func TestParseBounds(t *testing.T) {
	const head = "permit (principal, action, resource) when { "
	n := 400_000
	for name, text := range map[string]string{
		"brackets":   head + strings.Repeat("(", n) + "true" + strings.Repeat(")", n) + " };",
		"sets":       head + strings.Repeat("[", n),
		"attributes": head + "context" + strings.Repeat(".a", n) + " };",
		"sums":       head + "1" + strings.Repeat("+1", n) + " == 2 };",
	} {
		_, err := Parse(Source{Name: "x.cedar", Text: []byte(text)})
		if err == nil || !strings.Contains(err.Error(), "split it") {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := head + `["a"` + strings.Repeat(`, "a"`, 4_000) + `].contains(resource.name) };`
	if _, err := Parse(Source{Name: "x.cedar", Text: []byte(long)}); err != nil {
		t.Errorf("a list of 4000 names: %v", err)
	}
}

func TestParseFindsEverything(t *testing.T) {
	_, err := Parse(
		Source{Name: "a.cedar", Text: []byte(`@hodl("x") permit (principal, action == Action::"nothing", resource);`)},
		Source{Name: "b.cedar", Text: []byte(`nonsense`)},
	)
	var files []string
	for _, p := range ErrorsOf(err) {
		files = append(files, p.File)
	}
	if got := strings.Join(files, " "); got != "b.cedar a.cedar a.cedar" && got != "a.cedar b.cedar a.cedar" {
		t.Errorf("problems in %s:\n%v", got, err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(); err == nil {
		t.Error("Load of nothing did not fail")
	}
	if _, err := Load(dir); err == nil {
		t.Error("Load of an empty directory did not fail")
	}
	if _, err := Load(filepath.Join(dir, "none.cedar")); err == nil {
		t.Error("Load of a missing file did not fail")
	}
	write("b.cedar", `permit (principal, action, resource);`)
	write("a.cedar", "\xef\xbb\xbf// by Windows\r\n@id(\"first\")\r\npermit (principal, action, resource);")
	write(".#b.cedar", "an editor's")
	write("notes.txt", "not Cedar")
	s, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range s.Policies() {
		ids = append(ids, r.ID)
	}
	if got := strings.Join(ids, " "); got != "first b:1" {
		t.Errorf("policies %s", got)
	}
	if err := os.Mkdir(filepath.Join(dir, "more"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("more/b.cedar", "permit (principal, action, resource); permit (principal, action, resource);")
	if s, err = Load(dir, filepath.Join(dir, "more")); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.Policies()[1].ID, " ", s.Policies()[2].ID, " ", s.Policies()[3].ID); got != "b:1 b:1+2 b:1+3" {
		t.Errorf("unnamed policies are named %s", got)
	}
	write("c.cedar", strings.Repeat(" ", maxSource+1))
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file too large: %v", err)
	}
}

var (
	alice = Principal{Key: "https://idp#alice", Name: "alice", Email: "alice@example.com", Kind: Human, Groups: []string{"users"}}
	bot   = Principal{Key: "https://ci#bot", Name: "bot", Kind: Agent, Groups: []string{"agents"}, OnBehalfOf: &alice}
	web1  = Target{Name: "web1", Kind: "ssh", Labels: map[string]string{"env": "prod", "team": "payments"}}
)

// commandFacts returns complete facts of a command.
func commandFacts(classes ...string) map[string]any {
	return map[string]any{
		"text": "x", "programs": []string{"x"}, "args": []string{"-v", "a b"}, "reads": []string{}, "writes": []string{"/etc/passwd"},
		"removes": []string{}, "hosts": []string{}, "classes": classes, "opaque": false, "why": []string{},
	}
}

func TestDecide(t *testing.T) {
	const run = `(principal, action == Action::"command:run", resource)`
	with := func(extra map[string]any) map[string]any {
		m := commandFacts("read")
		for k, v := range extra {
			m[k] = v
		}
		return m
	}
	for _, tt := range []struct {
		name     string
		policies string
		change   func(*Request)
		want     Effect
		by       string // ids of Decision.Policies
	}{
		{"no permit", `@id("f") forbid ` + run + ` when { context.opaque };`, nil, EffectDeny, ""},
		{"a permit", `@id("p") permit ` + run + `;`, nil, EffectAllow, "p"},
		{"a permit for another action", `permit (principal, action == Action::"file:read", resource);`, nil, EffectDeny, ""},
		{"a group of actions", `@id("p") permit (principal, action in Action::"operation", resource);`, nil, EffectAllow, "p"},
		{"forbid wins", `@id("p") permit ` + run + `; @id("h") @hold("x") permit ` + run + `; @id("f") forbid ` + run + `;`, nil, EffectDeny, "f"},
		{"hold wins over permit", `@id("p") permit ` + run + `; @id("h") @hold("x") permit ` + run + `;`, nil, EffectHold, "h"},
		{"an error in a permit denies", `@id("p") permit ` + run + `; @id("e") permit ` + run + ` when { 9223372036854775807 + (if context.opaque then 0 else 1) > 0 };`, nil, EffectDeny, "e"},
		{"an error in a forbid denies", `@id("p") permit ` + run + `; @id("e") forbid ` + run + ` when { 9223372036854775807 + (if context.opaque then 0 else 1) > 0 };`, nil, EffectDeny, "e"},
		{"label", `@id("p") permit (principal, action, resource in Label::"env=prod");`, nil, EffectAllow, "p"},
		{"another label", `permit (principal, action, resource in Label::"env=dev");`, nil, EffectDeny, ""},
		{"tag", `@id("p") permit (principal, action, resource) when { resource.hasTag("team") && resource.getTag("team") == "payments" };`, nil, EffectAllow, "p"},
		{"target by name and kind", `@id("p") permit (principal, action, resource == Target::"web1") when { resource.name == "web1" && resource.kind == "ssh" };`, nil, EffectAllow, "p"},
		{"human's group", `@id("p") permit (principal in Group::"users", action, resource);`, nil, EffectAllow, "p"},
		{"an agent is not in its human's groups", `permit (principal in Group::"users", action, resource);`, func(r *Request) { r.Principal = bot }, EffectDeny, ""},
		{"an agent's human", `@id("p") permit (principal is Agent, action, resource) when { principal has onBehalfOf && principal.onBehalfOf in Group::"users" && principal.onBehalfOf.name == "alice" };`, func(r *Request) { r.Principal = bot }, EffectAllow, "p"},
		{"an agent's agent's human", `@id("p") permit (principal is Agent, action, resource) when { principal has onBehalfOf && principal.onBehalfOf in Group::"users" };`,
			func(r *Request) { r.Principal = Principal{Key: "k", Kind: Agent, OnBehalfOf: &bot} }, EffectAllow, "p"},
		{"an agent for nobody", `permit (principal is Agent, action, resource) when { principal has onBehalfOf };`, func(r *Request) { r.Principal = Principal{Key: "k", Kind: Agent} }, EffectDeny, ""},
		{"e-mail", `@id("p") permit (principal is Human, action, resource) when { principal has email && principal.email == "alice@example.com" };`, nil, EffectAllow, "p"},
		{"an unverified e-mail is none", `permit (principal is Human, action, resource) when { principal has email };`, func(r *Request) { r.Principal.Email = "" }, EffectDeny, ""},
		{"lists", `@id("p") permit ` + run + ` when { context.args.contains("-v") && context.writes.containsAny(["/etc/passwd"]) };`, nil, EffectAllow, "p"},
		{"lists that went through JSON", `@id("p") permit ` + run + ` when { context.args.contains("-v") };`, func(r *Request) { r.Context = with(map[string]any{"args": []any{"-v"}}) }, EffectAllow, "p"},
		{"address in a range", `@id("p") permit ` + run + ` when { context has source && context.source.isInRange(ip("10.0.0.0/8")) };`, func(r *Request) { r.Context = with(map[string]any{"source": "10.1.2.3"}) }, EffectAllow, "p"},
		{"a mapped address is the address", `@id("p") permit ` + run + ` when { context has source && context.source.isInRange(ip("10.0.0.0/8")) };`, func(r *Request) { r.Context = with(map[string]any{"source": "::ffff:10.1.2.3"}) }, EffectAllow, "p"},
		{"the time", `@id("p") permit ` + run + ` when { context.now < datetime("2026-11-24T10:00:00Z") };`,
			func(r *Request) {
				r.Context = with(map[string]any{"now": time.Date(2026, 11, 24, 9, 59, 59, 0, time.UTC)})
			}, EffectAllow, "p"},
		{"the time by itself", `@id("p") permit ` + run + ` when { context.now > datetime("2020-01-01") };`, nil, EffectAllow, "p"},
		{"a fact that no policy knows", `@id("p") permit ` + run + `;`, func(r *Request) { r.Context = with(map[string]any{"new": 3.5}) }, EffectAllow, "p"},
		{"a missing fact", `@id("p") permit ` + run + `;`, func(r *Request) { delete(r.Context, "classes") }, EffectDeny, ""},
		{"no facts", `@id("p") permit ` + run + `;`, func(r *Request) { r.Context = nil }, EffectDeny, ""},
		{"a fact of another type", `@id("p") permit ` + run + ` when { !context.opaque };`, func(r *Request) { r.Context["opaque"] = "false" }, EffectDeny, ""},
		{"an address that is none", `@id("p") permit ` + run + ` when { context has source };`, func(r *Request) { r.Context["source"] = "10.0.0.1/8" }, EffectDeny, ""},
		{"too many items", `@id("p") permit ` + run + ` when { context.args.contains("x") };`, func(r *Request) { r.Context["args"] = make([]string, maxContextItems+1) }, EffectDeny, ""},
		{"too many bytes", `@id("p") permit ` + run + ` when { context.text == "x" };`, func(r *Request) { r.Context["text"] = strings.Repeat("x", maxContextBytes+1) }, EffectDeny, ""},
		{"unknown action", `permit (principal, action, resource);`, func(r *Request) { r.Action = "command" }, EffectDeny, ""},
		{"no action", `permit (principal, action, resource);`, func(r *Request) { r.Action = "" }, EffectDeny, ""},
		{"no key", `permit (principal, action, resource);`, func(r *Request) { r.Principal.Key = "" }, EffectDeny, ""},
		{"no kind", `permit (principal, action, resource);`, func(r *Request) { r.Principal.Kind = "" }, EffectDeny, ""},
		{"a human on behalf", `permit (principal, action, resource);`, func(r *Request) { r.Principal.OnBehalfOf = &alice }, EffectDeny, ""},
		{"an agent behind without a key", `permit (principal, action, resource);`, func(r *Request) { r.Principal = bot; r.Principal.OnBehalfOf = &Principal{Kind: Human} }, EffectDeny, ""},
		{"a chain too long", `permit (principal, action, resource);`, func(r *Request) {
			for range maxDelegation + 1 {
				r.Principal = Principal{Key: "k", Kind: Agent, OnBehalfOf: &Principal{}}
			}
			p := alice
			for range maxDelegation + 1 {
				q := p
				p = Principal{Key: "k", Kind: Agent, OnBehalfOf: &q}
			}
			r.Principal = p
		}, EffectDeny, ""},
		{"no target", `permit (principal, action, resource);`, func(r *Request) { r.Target.Name = "" }, EffectDeny, ""},
		{"a label that could be another", `permit (principal, action, resource);`, func(r *Request) { r.Target.Labels = map[string]string{"env=prod": "x"} }, EffectDeny, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Request{Principal: alice, Action: "command:run", Target: web1, Context: commandFacts("read")}
			if tt.change != nil {
				tt.change(&r)
			}
			d := parse(t, tt.policies).Decide(r)
			var by []string
			for _, p := range d.Policies {
				by = append(by, p.ID)
			}
			if d.Effect != tt.want || strings.Join(by, " ") != tt.by {
				t.Errorf("%s by %v (%s, %v), want %s by %q", d.Effect, by, d.Why, d.Errors, tt.want, tt.by)
			}
			if d.Why == "" {
				t.Error("no reason is given")
			}
			if failed := len(d.Errors) > 0; failed && d.Effect != EffectDeny {
				t.Errorf("%s with errors %v", d.Effect, d.Errors)
			}
			if (d.Effect == EffectHold) != (d.Terms.Wait > 0) {
				t.Errorf("%s with terms %+v", d.Effect, d.Terms)
			}
		})
	}
}

func TestNothingInForce(t *testing.T) {
	r := Request{Principal: alice, Action: "command:run", Target: web1, Context: commandFacts("read")}
	var set *Set
	var engine *Engine
	for name, d := range map[string]Decision{
		"no set": set.Decide(r), "no engine": engine.Decide(r), "an empty engine": new(Engine).Decide(r), "no policies": parse(t, "").Decide(r),
	} {
		if d.Effect != EffectDeny || d.Why == "" {
			t.Errorf("%s: %s, %q", name, d.Effect, d.Why)
		}
	}
}

func TestEngineSwaps(t *testing.T) {
	r := Request{Principal: alice, Action: "command:run", Target: web1, Context: commandFacts("read")}
	yes, no := parse(t, `permit (principal, action, resource);`), parse(t, `forbid (principal, action, resource);`)
	e := NewEngine(yes)
	if d := e.Decide(r); d.Effect != EffectAllow {
		t.Errorf("before: %s", d.Effect)
	}
	if old := e.Swap(no); old != yes {
		t.Error("Swap did not return the former set")
	}
	if d := e.Decide(r); d.Effect != EffectDeny {
		t.Errorf("after: %s", d.Effect)
	}
}

func TestCombinedTerms(t *testing.T) {
	const run = ` permit (principal, action == Action::"command:run", resource);`
	for _, tt := range []struct {
		name, policies, approvers, wait, grant, text string
		reason                                       bool
		quorum                                       int
	}{
		{"defaults", `@hold("a")` + run, "a", "10m0s", "0s", "a", false, 1},
		{"all of it", `@hold("a, b") @wait("5m") @grant("1h") @reason("required") @quorum("2")` + run, "a b", "5m0s", "1h0m0s", "2 of a or b", true, 2},
		{"the same need twice", `@hold("a,b")` + run + `@hold("b,a")` + run, "a b", "10m0s", "0s", "a or b", false, 1},
		{"different groups: both", `@hold("dba")` + run + `@hold("security")` + run, "dba security", "10m0s", "0s", "1 of dba, and 1 of security", false, 1},
		{"the shortest wait and grant", `@hold("a") @wait("5m") @grant("2h")` + run + `@hold("a") @wait("9m") @grant("1h")` + run, "a", "5m0s", "1h0m0s", "a", false, 1},
		{"once beats an hour", `@hold("a") @grant("2h")` + run + `@hold("a")` + run, "a", "10m0s", "0s", "a", false, 1},
		{"one reason is enough", `@hold("a")` + run + `@hold("a") @reason("required")` + run, "a", "10m0s", "0s", "a", true, 1},
		{"the larger quorum", `@hold("a") @quorum("3")` + run + `@hold("a") @quorum("2")` + run, "a", "10m0s", "0s", "3 of a", false, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := parse(t, tt.policies).Decide(Request{Principal: alice, Action: "command:run", Target: web1, Context: commandFacts("read")})
			got := fmt.Sprint(strings.Join(d.Terms.Approvers, " "), "|", d.Terms.Wait, "|", d.Terms.Grant, "|", d.Terms, "|", d.Terms.Reason, "|", d.Terms.Quorum)
			want := fmt.Sprint(tt.approvers, "|", tt.wait, "|", tt.grant, "|", tt.text, "|", tt.reason, "|", tt.quorum)
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct{ name, policies, want string }{
		{"nothing to say", `@id("p") permit (principal, action, resource); @id("f") forbid (principal is Agent, action, resource);`, ""},
		{"no policy", ``, "the set has no policy"},
		{"no permit", `@id("f") forbid (principal, action, resource) when { resource.name == "x" };`, "the set has no permit"},
		{"contradiction", `@id("p") permit (principal, action in Action::"file", resource); @id("q") permit (principal, action, resource); @id("f") forbid (principal, action in Action::"operation", resource);`, "never permits anything: f (x.cedar:1:"},
		{"contradiction with a condition", `@id("p") permit (principal is Human in Group::"a", action, resource) when { resource.name == "x" } unless { resource.kind == "tcp" }; @id("f") forbid (principal is Human, action, resource) when { resource.name == "x" };`, "never permits anything: f"},
		{"twice the same", `@id("p") permit (principal, action, resource) when { resource.name == "x" }; @id("q") permit (principal, action, resource);`, "says nothing that q"},
		{"always held", `@id("p") permit (principal, action in Action::"sql", resource); @id("q") @hold("x") permit (principal, action in Action::"operation", resource);`, "never lets anything pass: q"},
		{"never applies", `@id("p") permit (principal, action, resource) when { false }; @id("q") permit (principal is Human, action, resource);`, "never applies: its conditions contradict each other"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parse(t, tt.policies).Check()
			if tt.want == "" && len(got) > 0 || tt.want != "" && !strings.Contains(got.Error(), tt.want) {
				t.Errorf("got %v\nwant %q", got, tt.want)
			}
		})
	}
}

// TestFactsThatPoliciesLookAt holds the shortcut to its purpose: only what no policy can see is left out.
func TestFactsThatPoliciesLookAt(t *testing.T) {
	s := parse(t, `permit (principal, action, resource) when { context == context };`)
	if got, want := len(s.facts["command:run"]), len(ContextKeys("command:run")); got != want {
		t.Errorf("of the whole context %d facts are seen, not %d", got, want)
	}
	s = parse(t, `permit (principal, action == Action::"command:run", resource) when { context has cwd && (if context.opaque then context.cwd like "/x*" else context["text"] == "y") };`)
	if got := strings.Join(sortedKeys(s.facts["command:run"]), " "); got != "cwd opaque text" {
		t.Errorf("seen are %s", got)
	}
	if got := s.facts["file:read"]; len(got) != 0 {
		t.Errorf("of another action %v are seen", got)
	}
}

func TestNewVocabularyRefuses(t *testing.T) {
	for _, text := range []string{"entity", "entity A in [Missing];"} {
		if _, err := newVocabulary([]byte(text)); err == nil {
			t.Errorf("%q was taken for a schema", text)
		}
	}
}

// FuzzParse feeds the loader text that is nearly Cedar: whatever it takes, it must be able to decide by.
func FuzzParse(f *testing.F) {
	f.Add(string(defaultText))
	f.Add(`@hold("a") @wait("1m") permit (principal, action, resource) when { context has text && context.text like "*x" };`)
	f.Add("permit (principal in Gruop::\"\u00e9\", action, resource);")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(Source{Name: "f.cedar", Text: []byte(text)})
		if err != nil {
			for _, p := range ErrorsOf(err) {
				if p.Line < 1 || p.Column < 1 || p.What == "" {
					t.Errorf("a problem without a place: %+v", p)
				}
			}
			return
		}
		s.Check()
		r := Request{Principal: bot, Action: "command:run", Target: web1, Context: commandFacts("write")}
		d := s.Decide(r)
		if d.Effect == EffectAllow && (len(d.Policies) == 0 || len(d.Errors) > 0) {
			t.Errorf("allowed by nobody: %+v", d)
		}
		if e := s.Explain(r); e.Decision.Effect != d.Effect {
			t.Errorf("explained as %s, decided as %s", e.Decision.Effect, d.Effect)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	s, err := Parse(Default()...)
	if err != nil {
		b.Fatal(err)
	}
	for name, r := range map[string]Request{
		"session":     {Principal: alice, Action: "session:open", Target: web1, Context: map[string]any{"kind": "exec", "guard": "n/a", "pty": false, "source": "10.0.0.1"}},
		"own session": {Principal: alice, Action: "session:list", Target: web1, Context: OwnerContext(alice)},
		"command":     {Principal: bot, Action: "command:run", Target: web1, Context: commandFacts("destructive", "write")},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(r)
			}
		})
	}
}
