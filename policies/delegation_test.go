package policies

import (
	"strings"
	"testing"
)

// delegated is an agent to which alice, who is in the groups, handed a certificate.
func delegated(d Delegation, groups ...string) Principal {
	alice := Principal{Key: "https://id.example.org#7", Name: "alice", Kind: Human, Groups: groups}
	return Principal{Key: "urn:sallyport:delegated#x/bot", Name: "bot", Kind: Agent, OnBehalfOf: &alice, Delegation: &d}
}

var (
	reads  = map[string]any{"text": "ls", "programs": []string{"ls"}, "args": []string{}, "reads": []string{}, "writes": []string{}, "removes": []string{}, "hosts": []string{}, "classes": []string{"read"}, "opaque": false, "why": []string{}}
	opaque = map[string]any{"text": "$x", "programs": []string{}, "args": []string{}, "reads": []string{}, "writes": []string{}, "removes": []string{}, "hosts": []string{}, "classes": []string{}, "opaque": true, "why": []string{"x"}}
)

func opens(kind, guard string) map[string]any {
	return map[string]any{"kind": kind, "guard": guard, "pty": kind == "shell"}
}

// TestDelegation: what is handed on is never more than either the agent or the human may, nor than what was handed on.
func TestDelegation(t *testing.T) {
	demo, web1 := Target{Name: "demo", Kind: "shell"}, Target{Name: "web1", Kind: "ssh"}
	gate := Target{Name: "gate", Kind: "gate"}
	all := Delegation{}
	for _, tt := range []struct {
		name    string
		d       Delegation
		groups  []string
		action  string
		target  Target
		context map[string]any
		want    Effect
		why     string
	}{
		{"all of it", all, []string{"users"}, "command:run", web1, reads, EffectAllow, ""},
		{"a target in it", Delegation{Targets: []string{"demo"}}, []string{"users"}, "command:run", demo, reads, EffectAllow, ""},
		{"a target not in it", Delegation{Targets: []string{"demo"}}, []string{"users"}, "command:run", web1, reads, EffectDeny, "for demo only"},
		{"an action in it", Delegation{Actions: []string{"command:run"}}, []string{"users"}, "command:run", web1, reads, EffectAllow, ""},
		{"an action of a group in it", Delegation{Actions: []string{"command"}}, []string{"users"}, "command:run", web1, reads, EffectAllow, ""},
		{"an action not in it", Delegation{Actions: []string{"file:read"}}, []string{"users"}, "command:run", web1, reads, EffectDeny, "for file:read only"},
		{"the session of an exec", Delegation{Actions: []string{"command:run"}}, []string{"users"}, "session:open", web1, opens("exec", "n/a"), EffectAllow, ""},
		{"a terminal that asks", Delegation{Actions: []string{"command:run"}}, []string{"users"}, "session:open", demo, opens("shell", "hook"), EffectAllow, ""},
		{"a terminal that is only watched", Delegation{Actions: []string{"command:run"}}, []string{"users"}, "session:open", demo, opens("shell", "screen"), EffectDeny, "only"},
		{"clear text", Delegation{Actions: []string{"command:run"}}, []string{"users"}, "unmask", web1, map[string]any{}, EffectDeny, "only"},
		{"a human who may not", all, nil, "command:run", web1, reads, EffectDeny, "users"},
		{"held for the agent alone", all, []string{"users"}, "command:run", web1, opaque, EffectHold, ""},
		{"an approver's agent approves nothing", all, []string{"users", "approvers"}, "approval:give", demo, map[string]any{}, EffectDeny, "handed on"},
		{"nor hands on", all, []string{"users"}, "certificate:delegate", gate, map[string]any{"agent": "x", "targets": []string{}, "actions": []string{}, "seconds": 60}, EffectDeny, "handed on"},
		{"nor ends sessions", all, []string{"users", "approvers"}, "session:kill", demo, map[string]any{}, EffectDeny, "handed on"},
		{"an unknown action", all, []string{"users"}, "command:rnu", demo, reads, EffectDeny, "cannot be decided"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := defaults(t).Decide(Request{Principal: delegated(tt.d, tt.groups...), Action: tt.action, Target: tt.target, Context: tt.context})
			if d.Effect != tt.want || !strings.Contains(d.Why, tt.why) {
				t.Errorf("%v (%s), want %v with %q", d.Effect, d.Why, tt.want, tt.why)
			}
		})
	}
}

// TestDelegationIsTheStricter: one policy lets agents do what it holds or forbids for their humans.
func TestDelegationIsTheStricter(t *testing.T) {
	s := parse(t, `
		@id("agents") permit (principal is Agent, action == Action::"command:run", resource);
		@id("people") @hold("dba") @wait("5m") permit (principal is Human, action == Action::"command:run", resource);
		@id("never") forbid (principal is Human, action == Action::"command:run", resource == Target::"vault");`)
	target := Target{Name: "web1", Kind: "ssh"}
	d := s.Decide(Request{Principal: delegated(Delegation{}), Action: "command:run", Target: target, Context: reads})
	if d.Effect != EffectHold || len(d.Policies) != 1 || d.Policies[0].ID != "people" || d.Terms.Approvers[0] != "dba" {
		t.Errorf("held for the human: %+v", d)
	}
	target.Name = "vault"
	if d := s.Decide(Request{Principal: delegated(Delegation{}), Action: "command:run", Target: target, Context: reads}); d.Effect != EffectDeny || !strings.Contains(d.Why, "alice may not either") {
		t.Errorf("denied to the human: %+v", d)
	}
	both := parse(t, `
		@id("agents") @hold("a") @wait("5m") permit (principal is Agent, action == Action::"command:run", resource);
		@id("people") @hold("b") @wait("2m") permit (principal is Human, action == Action::"command:run", resource);`)
	if d := both.Decide(Request{Principal: delegated(Delegation{}), Action: "command:run", Target: target, Context: reads}); d.Effect != EffectHold || len(d.Terms.Needs) != 2 || len(d.Policies) != 2 {
		t.Errorf("held for both: %+v", d)
	}
	nobody := delegated(Delegation{})
	nobody.OnBehalfOf = nil
	if d := s.Decide(Request{Principal: nobody, Action: "command:run", Target: target, Context: reads}); d.Effect != EffectDeny {
		t.Errorf("a delegation by nobody: %+v", d)
	}
}

func TestKnownDelegation(t *testing.T) {
	for name, want := range map[string]string{
		"command:run": "", "sql:read": "", "sql": "", "operation": "", "unmask": "", "session:open": "",
		"sql:raed": `did you mean "sql:read"`, "approval:give": "unknown action", "certificate:delegate": "unknown action", "evidence": "unknown action",
	} {
		err := KnownDelegation(name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
