package policies

import "testing"

// TestRecordInput holds which decisions ask for a record of what is typed: those to which a permit with the annotation
// contributed, whichever policy made them.
func TestRecordInput(t *testing.T) {
	s, err := Parse(Source{Name: "x.cedar", Text: []byte(`
permit (principal, action, resource);
@record("input") permit (principal, action == Action::"session:open", resource == Target::"prod");
@hold("dba") permit (principal, action == Action::"session:open", resource)
when { context has login && context.login == "root" };
forbid (principal, action == Action::"session:open", resource)
when { context has login && context.login == "nobody" };
`)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		target, login string
		effect        Effect
		want          bool
	}{
		{"prod", "www", EffectAllow, true},
		{"prod", "root", EffectHold, true},
		{"prod", "nobody", EffectDeny, false},
		{"test", "www", EffectAllow, false},
		{"test", "root", EffectHold, false},
	} {
		d := s.Decide(Request{
			Principal: Principal{Key: "i#a", Kind: Human}, Action: "session:open", Target: Target{Name: tt.target, Kind: "ssh"},
			Context: map[string]any{"kind": "shell", "guard": "hook", "pty": true, "login": tt.login},
		})
		if d.Effect != tt.effect || d.RecordInput != tt.want {
			t.Errorf("%s as %s: %v, input %v, want %v, %v", tt.target, tt.login, d.Effect, d.RecordInput, tt.effect, tt.want)
		}
	}
}
