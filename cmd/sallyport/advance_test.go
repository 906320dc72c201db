package main

import (
	"strings"
	"testing"
	"time"
)

// What the flags say is what the gate is asked; a text stays exactly as it is.
func TestAdvanceCommand(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    preapproveCmd
		want string // or, with "!", what the error says
	}{
		{"a text", preapproveCmd{Asks: "https://id#bot", Behalf: "a@example.com", Target: "web1", For: 2 * time.Hour, Uses: "1", Text: []string{"rm  -rf", "--uses", "/srv -- x"}},
			"preapprove --identity https://id#bot --behalf a@example.com --target web1 --uses 1 --for 2h0m0s -- rm  -rf --uses /srv -- x"},
		{"a condition", preapproveCmd{Asks: "k", Target: "web1", For: time.Hour, In: time.Minute, Uses: "any", Reason: "the  window", When: `context.commands == ["ls -l"]`},
			`preapprove --identity k --target web1 --uses any --for 1h0m0s --in 1m0s --reason the window --when context.commands == ["ls -l"]`},
		{"like a request", preapproveCmd{Like: "k7m2w9qx", For: time.Hour, Uses: "1"}, "preapprove --like k7m2w9qx --uses 1 --for 1h0m0s"},
		{"both", preapproveCmd{When: "x", Text: []string{"ls"}, For: time.Hour}, "!not both"},
		{"neither", preapproveCmd{For: time.Hour}, "!say what"},
		{"a flag in a name", preapproveCmd{Asks: "k --uses any", Target: "t", For: time.Hour, Text: []string{"ls"}}, "!--identity cannot hold a space"},
		{"a flag in the reason", preapproveCmd{Asks: "k", Target: "t", Reason: "x --uses any", For: time.Hour, Text: []string{"ls"}}, "!--reason cannot hold"},
	} {
		got, err := tt.c.command()
		if want, fails := strings.CutPrefix(tt.want, "!"); fails != (err != nil) || fails && !strings.Contains(err.Error(), want) || !fails && got != want {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}
