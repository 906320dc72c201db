package main

import (
	"os"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/policies"
)

// TestDefaultDecisions holds the default policies and what is found out about commands to a table: a change of either
// shows here, command by command.
func TestDefaultDecisions(t *testing.T) {
	set, err := policies.Parse(policies.Default()...)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/decisions.txt")
	if err != nil {
		t.Fatal(err)
	}
	columns := [][2]string{
		{"human:alice:users", "demo:shell:env=demo"}, {"human:alice:users", "web1:ssh:env=prod"},
		{"agent:bot@alice:agents", "demo:shell:env=demo"}, {"agent:bot@alice:agents", "web1:ssh:env=prod"},
	}
	known := func(string) (policies.Principal, bool) {
		return policies.Principal{Key: "named#human:alice", Name: "alice", Kind: policies.Human, Groups: []string{"users"}}, true
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		rows++
		command := strings.ReplaceAll(line[25:], `\n`, "\n")
		for i, want := range strings.Fields(line[:25]) {
			p, err := policies.ParseIdentity(columns[i][0], known)
			if err != nil {
				t.Fatal(err)
			}
			target, err := policies.ParseTarget(columns[i][1])
			if err != nil {
				t.Fatal(err)
			}
			facts, err := policies.FactsFor("command:run", command, findFacts)
			if err != nil {
				t.Fatal(err)
			}
			d := set.Decide(policies.Request{Principal: p, Action: "command:run", Target: target, Context: facts})
			if d.Effect.String() != want {
				t.Errorf("%s of %s on %s: %s, want %s (%s; %v %v)", command, p.Kind, target.Name, d.Effect, want, d.Why, facts["classes"], facts["why"])
			}
		}
	}
	if rows < 150 {
		t.Errorf("the table has %d commands", rows)
	}
}

// BenchmarkDecision is what a typical command costs: its facts and the decision by the default policies.
func BenchmarkDecision(b *testing.B) {
	set, err := policies.Parse(policies.Default()...)
	if err != nil {
		b.Fatal(err)
	}
	alice := policies.Principal{Key: "https://id#alice", Name: "alice", Kind: policies.Human, Groups: []string{"users", "web"}}
	bot := policies.Principal{Key: "https://ci#bot", Name: "bot", Kind: policies.Agent, Groups: []string{"agents"}, OnBehalfOf: &alice}
	target := policies.Target{Name: "web1", Kind: "ssh", Labels: map[string]string{"env": "prod", "team": "payments"}}
	for _, text := range []string{"ls -la /srv", "git status", "grep -rn TODO . | head -20", "rm -rf /srv/old", "cd /srv && for f in *.log; do gzip \"$f\"; done", "go test ./..."} {
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				facts, err := findFacts("command:run", text)
				if err != nil {
					b.Fatal(err)
				}
				facts["source"], facts["guard"] = "10.1.2.3", "n/a"
				if d := set.Decide(policies.Request{Principal: bot, Action: "command:run", Target: target, Context: facts}); len(d.Errors) > 0 {
					b.Fatal(d.Errors)
				}
			}
		})
	}
}
