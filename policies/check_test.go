package policies

import (
	"strings"
	"testing"
)

// TestBadPolicies holds what people get wrong: each is found, at its place, and with what to do.
func TestBadPolicies(t *testing.T) {
	run := `permit (principal, action == Action::"command:run", resource) when { `
	for _, tt := range []struct {
		name, text string
		at         string // line:column
		want       string // of the problem, or of the warning
	}{
		{"a mistyped fact", run + `context.clases.contains("read") };`, "1:70", `unknown fact context.clases; did you mean "classes"?`},
		{"a mistyped annotation", `@hold("approvers") @grants("1h") permit (principal, action, resource);`, "1:20", `did you mean "grant"?`},
		{"a record of what is not known", `@record("keys") permit (principal, action, resource);`, "1:1", `write @record("input")`},
		{"a record that a forbid asks for", `@record("input") forbid (principal, action, resource);`, "1:1", "only a permit can have it"},
		{"a record of what is no session", `@record("input") permit (principal, action in Action::"file", resource);`, "1:1", "the policy lets no session in"},
		{"a mistyped type", `permit (principal in Groop::"users", action, resource);`, "1:22", `did you mean "Group"?`},
		{"a mistyped action", `permit (principal, action == Action::"command:rn", resource);`, "1:38", `did you mean "command:run"?`},
		{"a fact of another action", `permit (principal, action == Action::"session:open", resource) when { context.text == "x" };`, "1:71", "context.text is not a fact of session:open"},
		{"a fact of some of the actions", `permit (principal, action in [Action::"file:read", Action::"command:run"], resource) when { context.path like "/etc/*" };`, "1:93", "context.path is not a fact of command:run"},
		{"a bool as text", run + `context.opaque == "true" };`, "1:70", "compares a Bool with a String; write context.opaque, or !context.opaque"},
		{"a set as text", run + `context.classes == "read" };`, "1:70", "write context.classes.contains(...)"},
		{"a number in a set of texts", run + `context.classes.contains(3) };`, "1:95", "it holds Strings, not a Long"},
		{"a set in a set", run + `["read"].contains(context.classes) };`, "1:88", ".containsAll() or .containsAny()"},
		{"contains of a text", run + `context.text.contains("x") };`, "1:70", `context.text like "*x*"`},
		{"an empty set", run + `context.hosts.containsAny([]) };`, "1:96", "an empty set holds nothing"},
		{"a kind that is none", run + `resource.kind == "ssg" };`, "1:87", `did you mean "ssh"?`},
		{"a class that is none", run + `context.classes == ["destructve"] };`, "1:90", `did you mean "destructive"?`},
		{"a fact that may be missing", run + `context.arg_count > 3 };`, "1:70", "context has arg_count &&"},
		{"an attribute that may be missing", `permit (principal, action, resource) when { principal is Agent && principal.onBehalfOf in Group::"users" };`, "1:67", "principal has onBehalfOf &&"},
		{"an attribute of another type", `permit (principal is Human, action, resource) when { principal.onBehalfOf in Group::"users" };`, "1:63", "principal is Agent && principal has onBehalfOf"},
		{"no address", `permit (principal, action == Action::"session:open", resource) when { context has source && context.source.isInRange(ip("10.0.0/8")) };`, "1:121", `"10.0.0/8" is no IP address`},
		{"no time", run + `context.now > datetime("2026-13-01") };`, "1:93", `"2026-13-01" is no datetime value`},
		{"a label without its value", `permit (principal, action, resource) when { resource in Label::"env:prod" };`, "1:57", `labels are key=value`},
		{"a label in the scope", `permit (principal, action, resource in Label::"prod");`, "1:40", `Label::"prod": no target has it`},
		{"a group without a name", `permit (principal in Group::"", action, resource);`, "1:22", "has no name"},
		{"a name instead of a key", `permit (principal == Human::"alice", action, resource);`, "1:22", "a key is issuer#subject"},
		{"equal to a group", `permit (principal == Group::"users", action, resource);`, "1:9", `write principal in Group::"users"`},
		{"equal to a label", `permit (principal, action, resource == Label::"env=prod");`, "1:28", `write resource in Label::"env=prod"`},
		{"equal to a group of actions", `permit (principal, action == Action::"file", resource);`, "1:20", `write action in Action::"file"`},
		{"groups the wrong way round", `permit (principal in Label::"env=prod", action, resource in Group::"x");`, "1:1", "the policy never applies"},
		{"no duration", `@hold("a") @wait("10 minutes") permit (principal, action, resource);`, "1:12", "write 90s, 10m or 1h30m"},
		{"escalates too late", `@hold("a") @wait("5m") @escalate("10m: leads") permit (principal, action, resource);`, "1:24", "make @wait longer than 10m0s"},
		{"escalates backwards", `@hold("a") @wait("1h") @escalate("10m: leads; 5m: ciso") permit (principal, action, resource);`, "1:24", "5m0s is not after 10m0s"},
		{"escalates to nobody", `@hold("a") @wait("1h") @escalate("10m") permit (principal, action, resource);`, "1:24", "is not a time and the groups"},
		{"a grant of words", `@hold("a") @grant("this session") permit (principal, action, resource);`, "1:12", `or @grant("session")`},
		{"a scope that is not closed", "permit (principal, action, resource\nwhen { true };", "2:6", "found when where ) belongs"},
		{"no semicolon", "permit (principal, action, resource)\npermit (principal, action, resource);", "2:8", "found permit where ; belongs"},
		{"not UTF-8", "permit (principal, action, resource) when { \"\xff\" == \"x\" };", "1:45", "invalid UTF-8"},

		{"a condition and its contrary", run + `context.opaque && !context.opaque };`, "1:1", "warning: never applies"},
		{"when and unless the same", run + `context.opaque } unless { context.opaque };`, "1:1", "warning: never applies"},
		{"two values at once", run + `context.text == "ls" && context.text == "pwd" };`, "1:1", "warning: never applies"},
		{"another type than the scope", `permit (principal is Human, action, resource) when { principal is Agent };`, "1:1", "warning: never applies"},
		{"another action than the scope", `permit (principal, action == Action::"file:read", resource) when { action == Action::"file:write" };`, "1:1", "warning: never applies"},
		{"false both ways", run + `if context.opaque then false else false };`, "1:1", "warning: never applies"},
		{"no way that is left", run + `(context.opaque || resource.kind == "ssh") && !context.opaque && resource.kind != "ssh" && !(resource.kind == "ssh") };`, "1:1", "warning: never applies"},
		{"forbidden altogether", `@id("a") permit (principal, action == Action::"command:run", resource);
@id("b") forbid (principal, action in Action::"command", resource) when { true };`, "1:1", "warning: never permits anything: b"},
		{"held altogether", `@id("a") permit (principal, action == Action::"command:run", resource in Label::"env=prod");
@id("b") @hold("x") permit (principal, action == Action::"command:run", resource);`, "1:1", "warning: never lets anything pass: b"},
		{"said before", `@id("a") permit (principal, action, resource);
@id("b") permit (principal, action == Action::"command:run", resource);`, "2:1", "warning: says nothing that a"},
		{"held for those who may not answer", `@id("a") @hold("dba") permit (principal, action == Action::"command:run", resource);
@id("b") permit (principal is Human in Group::"approvers", action == Action::"approval:give", resource);`, "1:10", `warning: no policy lets dba give an approval`},
		{"escalated to those who may not answer", `@id("a") @hold("dba") @escalate("1m: leads") permit (principal, action == Action::"command:run", resource);
@id("b") permit (principal is Human in Group::"dba", action == Action::"approval:give", resource);`, "1:10", `warning: no policy lets leads give an approval`},
		{"nothing is permitted", `@id("a") forbid (principal, action, resource);`, "1:1", "warning: the set has no permit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := Parse(Source{Name: "x.cedar", Text: []byte(tt.text)})
			found, prefix := ErrorsOf(err), ""
			if err == nil {
				found, prefix = set.Check(), "warning: "
			}
			for _, p := range found {
				if line := prefix + strings.TrimPrefix(p.Error(), "x.cedar:"+tt.at+": "); strings.HasPrefix(p.Error(), "x.cedar:"+tt.at+": ") && strings.Contains(line, tt.want) {
					return
				}
			}
			t.Errorf("want %s: %s\ngot %v", tt.at, tt.want, found)
		})
	}
}

// What is fine is not complained about.
func TestGoodPolicies(t *testing.T) {
	for _, text := range []string{
		`permit (principal, action == Action::"command:run", resource) when { context.opaque == false && context.classes == ["read"] };`,
		`permit (principal, action == Action::"command:run", resource) when { context.opaque || !context.opaque };`,
		`permit (principal, action, resource) when { principal is Agent || principal is Human };`,
		`permit (principal, action in Action::"file", resource) when { action == Action::"file:read" || context.path like "/tmp/*" };`,
		`permit (principal, action, resource) when { resource.hasTag("team") && resource.getTag("team") == "payments" };`,
		`permit (principal == Human::"https://idp#alice", action, resource in Label::"a=b=c");`,
		`permit (principal, action == Action::"approval:give", resource) when { context.now.toTime() >= duration("8h") && context.now.toTime() < duration("18h") };`,
		`permit (principal, action == Action::"command:run", resource) when { context.text == "ls" || context.text == "pwd" };`,
		`permit (principal, action == Action::"command:run", resource) when { (context.opaque && context.text == "a") || (!context.opaque && context.text == "b") };`,
	} {
		set, err := Parse(Source{Name: "x.cedar", Text: []byte(text)})
		if err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		if found := set.Check(); found != nil {
			t.Errorf("%s\n%v", text, found)
		}
	}
}

// A condition of thousands of parts is looked at in moments: the gate looks at each set that it puts in force.
func TestCheckIsBounded(t *testing.T) {
	for _, operator := range []string{" && ", " || "} {
		parts := make([]string, 3000)
		for i := range parts {
			parts[i] = "!context.opaque"
		}
		text := `permit (principal, action == Action::"command:run", resource) when { ` + strings.Join(parts, operator) + ` };`
		set, err := Parse(Source{Name: "x.cedar", Text: []byte(text)})
		if err != nil {
			continue // refused for its size is as good
		}
		if found := set.Check(); found != nil {
			t.Errorf("%s: %v", operator, found)
		}
	}
}
