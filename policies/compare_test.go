package policies

import (
	"strings"
	"testing"
	"time"
)

func TestCompare(t *testing.T) {
	older := parse(t, `
@id("all") permit (principal, action == Action::"command:run", resource);
@id("rm") @hold("approvers") permit (principal, action == Action::"command:run", resource) when { context.programs.contains("rm") };
`)
	newer := parse(t, `
@id("all") permit (principal, action == Action::"command:run", resource) when { !context.programs.contains("dd") };
@id("rm") @hold("approvers") @quorum("2") permit (principal, action == Action::"command:run", resource) when { context.programs.contains("rm") };
@id("night") permit (principal, action == Action::"file:read", resource) when { context.now.toTime() < duration("6h") };
`)
	c := Compare(older, newer, 2)
	at := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	add := func(action, program string, n int) {
		for range n {
			r := Request{Principal: Principal{Key: "k", Name: "alice", Kind: Human}, Action: action, Target: Target{Name: "web1", Kind: "ssh"}}
			if action == "command:run" {
				r.Context = commandFacts("read")
				r.Context["programs"] = []string{program}
			} else {
				r.Context = map[string]any{"path": "/x"}
			}
			c.Add(Past{ID: "op", At: at, Text: program + " \u202e", Request: r})
			at = at.Add(time.Hour)
		}
	}
	add("command:run", "ls", 3)
	add("command:run", "dd", 4)
	add("command:run", "rm", 1)
	at = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	add("file:read", "", 5) // 3, 4 and 5 o'clock at night, and then not
	c.Add(Past{Request: Request{Action: "no:such"}})
	got := c.Changes()
	if len(got) != 3 || c.Replayed != 14 || c.Changed != 8 || c.Unknown != 1 {
		t.Fatalf("%d groups of %d changes in %d operations, %d unknown: %+v", len(got), c.Changed, c.Replayed, c.Unknown, got)
	}
	if g := got[0]; g.Action != "file:read" || g.Old != "deny" || g.New != "allow" || g.Count != 3 || len(g.Examples) != 2 {
		t.Errorf("what gets through now comes first: %+v", g)
	}
	if g := got[1]; g.Old != "hold for approvers, 10m0s" || g.New != "hold for 2 of approvers, 10m0s" || g.Count != 1 {
		t.Errorf("other terms: %+v", g)
	}
	if g := got[2]; g.Old != "allow" || g.New != "deny" || g.Count != 4 || g.People[0] != "alice" || g.Last.Sub(g.First) != 3*time.Hour {
		t.Errorf("%+v", g)
	}
	var b strings.Builder
	c.Write(&b)
	if out := b.String(); !strings.Contains(out, "4 × command:run on web1 by humans: alice\n  - allow  all\n  + deny  nobody\n") || strings.Contains(out, "\u202e") ||
		!strings.HasSuffix(out, "14 operations replayed, 8 decided otherwise, 1 that cannot be replayed\n") {
		t.Errorf("%s", out)
	}
}
