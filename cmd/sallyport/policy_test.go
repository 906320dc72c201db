package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/filters/command"
	"github.com/sallyport-ssh/sallyport/policies"
)

// policyRun runs a policy command and returns what it printed and its exit status.
func policyRun(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var c struct {
		Policy policyCmd `cmd:""`
	}
	var out bytes.Buffer
	parser, err := kong.New(&c, kong.Writers(&out, &out))
	if err != nil {
		t.Fatal(err)
	}
	k, err := parser.Parse(append([]string{"policy"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	err = k.Run()
	var exit *exitError
	switch {
	case err == nil:
		return out.String(), 0
	case errors.As(err, &exit):
		if exit.err != nil {
			out.WriteString(exit.err.Error())
		}
		return out.String(), exit.code
	}
	t.Fatal(err)
	return "", 0
}

func TestPolicyExplain(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string // the first line, and what else must be there
		exit int
	}{
		{"a read", []string{"--identity", "agent:bot@alice:users", "--target", "web1:ssh", "--", "cat", "/etc/hosts"}, "allow|command-read", 0},
		{"removing", []string{"--identity", "agent:bot@alice:users", "--target", "web1:ssh", "--", "rm -rf /srv/demo/old"}, "hold|command-destructive|approvers|removes", exitHold},
		{"a stranger", []string{"--identity", "human:mallory:", "--target", "web1:ssh", "--", "ls"}, "deny|users-only", exitDeny},
		{"raw bytes", []string{"--identity", "human:alice:users", "--target", "x:tcp", "--action", "forward:raw"}, "deny|no policy permits", exitDeny},
		{"a blind terminal on prod", []string{"--identity", "human:alice:users", "--target", "web1:ssh:env=prod", "--action", "session:open", "--fact", "kind=shell", "--fact", "guard=none"}, "hold|session-unguarded-prod|reason", exitHold},
		{"json", []string{"--json", "--identity", "human:alice:users", "--target", "web1:ssh", "--", "ls"}, `{|"effect": "allow"`, 0},
		{"a Kubernetes request", []string{"--identity", "agent:bot@alice:users", "--target", "k:kubernetes", "--method", "delete", "--path", "/api/v1/namespaces/default/pods/x"}, "hold|kube-careful|kube:delete|default", exitHold},
		{"one that reads", []string{"--identity", "agent:bot@alice:users", "--target", "k:kubernetes", "--method", "GET", "--path", "/api/v1/namespaces/default/pods?watch=1"}, "allow|kube:watch", 0},
		{"secrets", []string{"--identity", "human:alice:users", "--target", "k:kubernetes", "--method", "GET", "--path", "/api/v1/secrets"}, "hold|kube-careful", exitHold},
		{"a path of two readings", []string{"--identity", "human:alice:users", "--target", "k:kubernetes", "--method", "GET", "--path", "/api/v1/../secrets"}, "", 2},
		{"half a request", []string{"--identity", "human:alice:users", "--target", "k:kubernetes", "--method", "GET"}, "give both --method and --path, and neither a text nor --file", 2},
		{"a mistyped action", []string{"--identity", "human:a:users", "--target", "w:ssh", "--action", "command:rnu", "--fact", "x=1"}, "unknown action \"command:rnu\"; did you mean \"command:run\"?", 2},
		{"an identity that is none", []string{"--identity", "alice", "--target", "w:ssh", "--", "ls"}, "identity \"alice\": write human:NAME:GROUPS or agent:NAME@HUMAN:GROUPS", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, exit := policyRun(t, append([]string{"explain"}, tt.args...)...)
			if exit != tt.exit {
				t.Errorf("exit %d, want %d", exit, tt.exit)
			}
			want := strings.Split(tt.want, "|")
			if first, _, _ := strings.Cut(out, "\n"); want[0] != "" && first != want[0] {
				t.Errorf("first line %q, want %q", first, want[0])
			}
			for _, w := range want[1:] {
				if !strings.Contains(out, w) {
					t.Errorf("no %q in\n%s", w, out)
				}
			}
		})
	}
}

func TestPolicyExplainFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(file, []byte("rm -rf /srv/d\u0435mo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, exit := policyRun(t, "explain", "--identity", "human:alice:users", "--target", "web1:ssh", "--file", file)
	if exit != exitHold || !strings.Contains(out, "CYRILLIC") {
		t.Errorf("exit %d:\n%s", exit, out)
	}
}

func TestPolicyCheckAndTest(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if out, exit := policyRun(t, "check", "--strict"); exit != 0 || !strings.HasPrefix(out, "ok: ") {
		t.Errorf("the defaults: exit %d: %s", exit, out)
	}
	bad := write("bad.cedar", "permit (principal, action, resource)\nwhen { contxt };\n")
	if out, exit := policyRun(t, "check", "--policies", bad); exit != 1 || !strings.HasPrefix(out, bad+":2:") {
		t.Errorf("a bad file: exit %d: %s", exit, out)
	}
	all := write("all.cedar", "@id(\"all\") permit (principal, action, resource);\n@id(\"no\") forbid (principal, action, resource);\n")
	if out, exit := policyRun(t, "check", "--policies", all); exit != 0 || !strings.Contains(out, "warning: ") {
		t.Errorf("a contradiction: exit %d: %s", exit, out)
	}
	if out, exit := policyRun(t, "check", "--strict", "--json", "--policies", all); exit != 1 || !strings.Contains(out, `"warnings": [`) {
		t.Errorf("a contradiction, strict: exit %d: %s", exit, out)
	}
	cases := write("cases.yaml", "cases:\n  - {identity: 'human:alice:users', target: 'web1:ssh', text: rm -rf /x, expect: allow}\n")
	out, exit := policyRun(t, "test", cases)
	if exit != 1 || !strings.Contains(out, "- allow") || !strings.Contains(out, "+ hold") || !strings.Contains(out, "1 cases, 1 failed") {
		t.Errorf("a case that differs: exit %d: %s", exit, out)
	}
	if out, exit := policyRun(t, "schema"); exit != 0 || out != string(policies.Schema()) {
		t.Errorf("schema: exit %d", exit)
	}
	if out, exit := policyRun(t, "defaults"); exit != 0 || out != string(policies.Default()[0].Text) {
		t.Errorf("defaults: exit %d", exit)
	}
}

// TestFactsAreInTheSchema keeps the two rooms together that know nothing of each other.
func TestFactsAreInTheSchema(t *testing.T) {
	known := policies.ContextKeys("command:run")
	facts := command.Parse("sudo rm -rf $x > /etc/passwd | curl http://example.com").Context()
	for name := range facts {
		if !slices.Contains(known, name) {
			t.Errorf("policies cannot see the fact %s", name)
		}
	}
	set, err := policies.Parse(policies.Source{Name: "all.cedar", Text: []byte(`permit (principal, action == Action::"command:run", resource) when { context == context };`)})
	if err != nil {
		t.Fatal(err)
	}
	d := set.Decide(policies.Request{
		Principal: policies.Principal{Key: "k", Kind: policies.Human}, Target: policies.Target{Name: "t", Kind: "ssh"},
		Action: "command:run", Context: facts,
	})
	if d.Effect != policies.EffectAllow {
		t.Errorf("facts of another type than the schema says: %v", d.Errors)
	}
}
