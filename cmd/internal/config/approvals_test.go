package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

func TestOnCall(t *testing.T) {
	c, err := Load(write(t, good+`
on_call:
  - group: dba-on-call
    zone: Europe/Berlin
    shifts:
      - {members: [ann@example.com], days: [mon, tue], from: "08:00", to: "18:00"}
      - {members: ["https://id.example.com#bo"], start: "2026-12-24T18:00:00+01:00", end: "2026-12-27T08:00:00+01:00"}
`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Roster()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		who  policies.Principal
		at   string
		want int
	}{
		{policies.Principal{Key: "k", Kind: policies.Human, Email: "ann@example.com"}, "2026-11-24T07:00:00Z", 1}, // 08:00 in Berlin
		{policies.Principal{Key: "k", Kind: policies.Human, Email: "ann@example.com"}, "2026-11-24T17:00:00Z", 0},
		{policies.Principal{Key: "https://id.example.com#bo", Kind: policies.Human}, "2026-12-25T00:00:00Z", 1},
	} {
		at, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.At(tt.who, at).Groups; len(got) != tt.want {
			t.Errorf("%s at %s is in %v", tt.who.Key, tt.at, got)
		}
	}
}

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// The configuration that the guide for approvers shows is one.
func TestApproversGuideLoads(t *testing.T) {
	text, err := os.ReadFile("../../../policies/APPROVING.md")
	if err != nil {
		t.Fatal(err)
	}
	whole := good
	blocks := yamlBlock.FindAllSubmatch(text, -1)
	for _, m := range blocks {
		whole += string(m[1])
	}
	c, err := Load(write(t, whole))
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) != 2 || len(c.OnCall) != 1 || len(c.OnCall[0].Shifts) != 2 || len(c.Webhooks) != 2 {
		t.Errorf("%d blocks: %+v, %+v", len(blocks), c.OnCall, c.Webhooks)
	}
}

func TestApprovalsRefused(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no such zone", "on_call: [{group: a, zone: Europe/Berlinn, shifts: [{members: [a]}]}]", `:9:11: on_call[0]: zone: "Europe/Berlinn" is not a time zone`},
		{"the machine's own zone", "on_call: [{group: a, zone: Local, shifts: [{members: [a]}]}]", "is not a time zone"},
		{"no such day", "on_call: [{group: a, shifts: [{members: [a], days: [mo]}]}]", `days: "mo" is none of`},
		{"half a time", `on_call: [{group: a, shifts: [{members: [a], from: "08:00"}]}]`, "from and to, or neither"},
		{"no such time", `on_call: [{group: a, shifts: [{members: [a], from: "8:00", to: "25:00"}]}]`, `"8:00" is not a time of day`},
		{"no zone", `on_call: [{group: a, shifts: [{members: [a], start: "2026-12-24T18:00:00"}]}]`, "is not a time with a zone"},
		{"nobody", "on_call: [{group: a, shifts: [{}]}]", "nobody is on duty"},
		{"twice", "on_call: [{group: a, shifts: [{members: [a]}]}, {group: a, shifts: [{members: [a]}]}]", "is missing, or taken"},
		{"no address", "webhooks: [{name: a, secret_file: s}]", "needs exactly one address"},
		{"plain HTTP", "webhooks: [{name: a, url: 'http://x.example/S3CRET', secret_file: s}]", "is not an address to send to"},
		{"unsigned", "webhooks: [{name: a, url: 'https://x.example/'}]", "needs a secret"},
		{"another kind", "webhooks: [{name: a, url: 'https://x.example/', kind: teams}]", `"teams" is neither`},
		{"another event", "webhooks: [{name: a, url: 'https://x.example/', kind: slack, events: [all]}]", `"all" is no event`},
		{"no network", "webhooks: [{name: a, url: 'https://x.example/', kind: slack, allow_addresses: [10.0.0.1]}]", `"10.0.0.1" is not a network`},
		{"unknown key", "webhooks: [{name: a, uri: 'https://x.example/'}]", `unknown key "uri"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(write(t, good+tt.text+"\n"))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "S3CRET") {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}
