package main

import (
	"slices"
	"testing"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// TestReread: facts of the past are found anew where the text has them, and kept where it has not.
func TestReread(t *testing.T) {
	r := newRereader()
	defer r.close()
	old := func(more map[string]any) map[string]any {
		facts := map[string]any{"login": "root", "classes": []string{"read"}, "opaque": false, "why": []string{}}
		for k, v := range more {
			facts[k] = v
		}
		return facts
	}
	for _, tt := range []struct {
		name   string
		op     ledger.Operation
		action string
		want   map[string]any
	}{
		{"a command", ledger.Operation{Action: "command:run", Facts: old(map[string]any{"text": "rm -rf /srv"})},
			"command:run", map[string]any{"login": "root", "destructive": true, "opaque": false}},
		{"a statement", ledger.Operation{Action: "sql:select", Facts: old(map[string]any{"text": "delete from customers"})},
			"sql:delete", map[string]any{"login": "root", "unbounded": true, "verb": "DELETE"}},
		{"a statement that a catalog made opaque", ledger.Operation{Action: "sql:select", Facts: old(map[string]any{"text": "select f()", "opaque": true, "why": []string{"f writes"}})},
			"sql:select", map[string]any{"opaque": true}},
		{"a function that a catalog knew", ledger.Operation{Action: "sql:select", Facts: old(map[string]any{"text": "select f()"})},
			"sql:select", map[string]any{"opaque": false}},
		{"no SQL any more", ledger.Operation{Action: "sql:select", Facts: old(map[string]any{"text": "selectt 1", "verb": "SELECT"})},
			"sql:select", map[string]any{"verb": "SELECT"}},
		{"a request", ledger.Operation{Action: "kube:get", Text: "DELETE /api/v1/namespaces/x/pods/y\nbody", Facts: old(nil)},
			"kube:delete", map[string]any{"namespace": "x", "name": "y", "resource": "pods", "login": "root"}},
		{"a secret in it", ledger.Operation{Action: "command:run", Facts: old(map[string]any{"text": "rm --token=******** x"})},
			"command:run", map[string]any{"destructive": nil}},
		{"a file", ledger.Operation{Action: "file:read", Facts: old(map[string]any{"path": "/x"})}, "file:read", map[string]any{"path": "/x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			action, facts, err := r.read(t.Context(), tt.op)
			if err != nil || action != tt.action {
				t.Errorf("action %q, %v, want %q", action, err, tt.action)
			}
			for k, v := range tt.want {
				if facts[k] != v {
					t.Errorf("%s = %v, want %v", k, facts[k], v)
				}
			}
			if c, _ := facts["classes"].([]string); tt.name == "a request" && (!slices.Contains(c, "read") || !slices.Contains(c, "destructive")) {
				t.Errorf("classes %v: those that the body gave must stay", c)
			}
		})
	}
}
