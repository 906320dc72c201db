package policies

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

func defaults(t *testing.T) *Set {
	t.Helper()
	s, err := Parse(Default()...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDefaultPolicies(t *testing.T) {
	s := defaults(t)
	if problems := s.Check(); len(problems) > 0 {
		t.Errorf("check: %v", problems)
	}
	text, err := os.ReadFile("testdata/default.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := ParseCases("testdata/default.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	results, err := cases.Run(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	decided := map[string]bool{}
	for _, r := range results {
		if !r.OK {
			t.Errorf("%s: %s", r.Name, strings.Join(r.Differences, "\n"))
		}
		for _, p := range r.Explanation.Decision.Policies {
			decided[p.ID] = true
		}
	}
	for _, p := range s.Policies() {
		if !decided[p.ID] {
			t.Errorf("no case is decided by %s", p.ID)
		}
	}
}

func TestExplain(t *testing.T) {
	facts := commandFacts("destructive", "write")
	facts["text"], facts["removes"] = "rm -rf /srv/d\u0435mo\x1b[2K", []string{"/srv/d\u0435mo\x1b"}
	r := Request{Principal: bot, Action: "command:run", Target: web1, Context: facts}
	e := defaults(t).Explain(r)
	got := e.String()
	if strings.ContainsAny(got, "\x1b\u0435") {
		t.Errorf("it shows what it must not: %q", got)
	}
	for _, want := range []string{
		"hold\n", "\n  approvers  approvers\n", "\n  wait       10m0s\n", "agent bot for alice", "(alice in users)", "web1 (ssh) env=prod team=payments",
		"\n  hold   command-destructive (default.cedar:", "  decides\n", "\n  classes   \"destructive\", \"write\"\n", "CYRILLIC SMALL LETTER IE", "U+001B ESCAPE",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if first, _, _ := strings.Cut(got, "\n"); first != "hold" {
		t.Errorf("first line %q", first)
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Decision struct {
			Effect Effect
			Terms  Terms
		}
		Policies []Part
	}
	if err := json.Unmarshal(b, &back); err != nil || back.Decision.Effect != EffectHold || back.Decision.Terms.Wait != e.Decision.Terms.Wait || len(back.Policies) != len(e.Policies) {
		t.Errorf("as JSON: %v\n%s", err, b)
	}
}

func TestExplainNothingApplies(t *testing.T) {
	s := defaults(t)
	got := s.Explain(Request{Principal: alice, Action: "forward:raw", Target: web1}).String()
	if !strings.HasPrefix(got, "deny\n\nno policy permits forward:raw on web1\n") || !strings.Contains(got, "none applies, of 1 that are about forward:raw") {
		t.Errorf("got\n%s", got)
	}
	got = s.Explain(Request{Principal: alice, Action: "command:run", Target: web1}).String()
	if !strings.HasPrefix(got, "deny\n") || !strings.Contains(got, "error: command:run: fact args is missing") {
		t.Errorf("got\n%s", got)
	}
	overridden := parse(t, `@id("p") permit (principal, action, resource); @id("f") forbid (principal, action, resource) when { resource.name == "web1" };`)
	got = overridden.Explain(Request{Principal: alice, Action: "forward:raw", Target: web1}).String()
	if !strings.Contains(got, "  allow  p (x.cedar:1:1)  overridden\n") || !strings.Contains(got, "  deny   f (x.cedar:1:48)  decides\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestParseIdentityTargetFact(t *testing.T) {
	known := func(name string) (Principal, bool) { return alice, name == "alice" }
	for in, want := range map[string]string{
		"human:bob:a, b":         "human bob [a b]",
		"human:bob":              "human bob []",
		"agent:bot@alice:agents": "agent bot [agents] for alice [users]",
		"agent:bot@zed:x":        "agent bot [x] for zed [x]",
		"agent:bot":              "agent bot []",
		"bob":                    "error", "robot:x": "error", "human:": "error", "human:a@b": "error", "agent:x@": "error", "agent:@x": "error",
	} {
		p, err := ParseIdentity(in, known)
		got := "error"
		if err == nil {
			got = p.Kind + " " + p.Name + " [" + strings.Join(p.Groups, " ") + "]"
			if p.OnBehalfOf != nil {
				got += " for " + p.OnBehalfOf.Name + " [" + strings.Join(p.OnBehalfOf.Groups, " ") + "]"
			}
		}
		if got != want {
			t.Errorf("ParseIdentity(%q) = %s, want %s", in, got, want)
		}
	}
	for in, ok := range map[string]bool{"web1:ssh": true, "web1:ssh:env=prod,team=x": true, "web1": false, ":ssh": false, "web1:ssh:env": false, "web1:ssh:=x": false} {
		if _, err := ParseTarget(in); (err == nil) != ok {
			t.Errorf("ParseTarget(%q): %v", in, err)
		}
	}
	for _, tt := range []struct{ action, in, want string }{
		{"command:run", "opaque=true", `true`}, {"command:run", "args=a, b", `["a","b"]`}, {"command:run", "args=", `[]`},
		{"file:write", "size=12", `12`}, {"file:write", "path=/a=b", `"/a=b"`}, {"unmask", "now=2026-11-24T10:00:00Z", `"2026-11-24T10:00:00Z"`},
		{"command:run", "opaque=maybe", "not a bool"}, {"command:run", "opaqe=true", `did you mean "opaque"?`}, {"comand:run", "x=1", `did you mean "command:run"?`},
	} {
		_, v, err := ParseFact(tt.action, tt.in)
		got, _ := json.Marshal(v)
		if err != nil && !strings.Contains(err.Error(), tt.want) || err == nil && string(got) != tt.want {
			t.Errorf("ParseFact(%q, %q) = %s, %v; want %s", tt.action, tt.in, got, err, tt.want)
		}
	}
}

func TestParseCasesErrors(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"unknown key":      {"cases:\n  - {identity: a, exepct: hold}\n", "exepct"},
		"not YAML":         {"cases: [", "c.yaml:"},
		"no cases":         {"targets: {}\n", "has 0 cases"},
		"unknown effect":   {"cases:\n  - {identity: 'human:a', target: 'a:ssh', text: x, expect: maybe}\n", `"maybe" is not allow, hold or deny`},
		"unknown action":   {"cases:\n  - {identity: 'human:a', target: 'a:ssh', action: file:raed, expect: deny}\n", `did you mean "file:read"?`},
		"unknown identity": {"cases:\n  - {identity: bob, target: 'a:ssh', text: x, expect: deny}\n", `identity "bob"`},
		"unknown target":   {"cases:\n  - {identity: 'human:a', target: db, text: x, expect: deny}\n", `target "db"`},
	} {
		if _, err := ParseCases("c.yaml", []byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "c.yaml:") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	cases, err := ParseCases("c.yaml", []byte("cases:\n  - {identity: 'human:a', target: 'a:ssh', action: file:read, facts: {pth: x}, expect: deny}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cases.Run(nil, nil); err == nil || !strings.Contains(err.Error(), `did you mean "path"?`) {
		t.Errorf("an unknown fact: %v", err)
	}
}

func TestCasesTellDifferences(t *testing.T) {
	cases, err := ParseCases("c.yaml", []byte("cases:\n  - {identity: 'human:a:users', target: 'a:ssh', action: file:remove, text: /x, expect: allow, policies: [file-read], approvers: [dba]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := cases.Run(defaults(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(results[0].Differences, "\n")
	for _, want := range []string{"- allow\n+ hold: ", "- decided by file-read\n+ decided by file-remove", "- approvers dba\n+ approvers approvers"} {
		if results[0].OK || !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

var fenced = regexp.MustCompile("(?ms)^```(cedar|yaml)\n(.*?)^```$")

// TestDocumentation loads every policy of the guide, and runs its cases against the policies above them.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	sources := Default()
	cedars, yamls := 0, 0
	for _, m := range fenced.FindAllSubmatch(text, -1) {
		if string(m[1]) == "cedar" {
			cedars++
			src := Source{Name: "README.md", Text: m[2]}
			if _, err := Parse(src); err != nil {
				t.Errorf("%v\n%s", err, m[2])
				continue
			}
			sources = append(sources, src)
			continue
		}
		yamls++
		s, err := Parse(sources...)
		if err != nil {
			t.Fatal(err)
		}
		cases, err := ParseCases("README.md", m[2])
		if err != nil {
			t.Fatal(err)
		}
		results, err := cases.Run(s, func(action, text string) (map[string]any, error) {
			if action != "command:run" {
				return nil, nil
			}
			return map[string]map[string]any{
				"ls /srv":          commandFacts("read"),
				"rm -rf /srv/old":  commandFacts("destructive", "write"),
				"python deploy.py": commandFacts("interpreter", "read"),
			}[text], nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if !r.OK {
				t.Errorf("%s: %s", r.Name, strings.Join(r.Differences, "\n"))
			}
		}
	}
	if cedars < 8 || yamls < 1 {
		t.Errorf("only %d policies and %d cases were found", cedars, yamls)
	}
	guide := string(text)
	for _, name := range Actions() {
		if !strings.Contains(guide, "`"+name+"`") {
			t.Errorf("the guide does not name the action %s", name)
		}
	}
	for _, name := range allFacts() {
		if !strings.Contains(guide, "`"+name+"`") {
			t.Errorf("the guide does not name the fact %s", name)
		}
	}
	for _, name := range annotationNames {
		if !strings.Contains(guide, "`@"+name) {
			t.Errorf("the guide does not name the annotation @%s", name)
		}
	}
}
