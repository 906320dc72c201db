package daemon

import (
	"testing"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/policies"
)

func TestMaskStyle(t *testing.T) {
	no := false
	style := maskStyle(&config.Masking{Styles: []config.MaskStyle{
		{Style: "token", Kind: "agent", Terminal: &no},
		{Style: "last4", Targets: []string{"db1"}, Groups: []string{"support", "dba"}},
		{Style: "stars", Labels: map[string]string{"env": "prod", "tier": "1"}},
		{Style: "last4", Labels: map[string]string{"env": "prod"}},
	}})
	target := func(name string, labels map[string]string) policies.Target {
		return policies.Target{Name: name, Kind: "ssh", Labels: labels}
	}
	prod := map[string]string{"env": "prod"}
	for _, tt := range []struct {
		name     string
		id       certs.Identity
		target   policies.Target
		terminal bool
		want     mask.Style
	}{
		{"an agent without a terminal", certs.Identity{Kind: "agent"}, target("web1", nil), false, mask.Token},
		{"an agent in a terminal", certs.Identity{Kind: "agent"}, target("web1", nil), true, 0},
		{"one of the groups", certs.Identity{Kind: "human", Groups: []string{"x", "dba"}}, target("db1", nil), false, mask.Last4},
		{"none of the groups", certs.Identity{Kind: "human", Groups: []string{"x"}}, target("db1", nil), false, 0},
		{"another target", certs.Identity{Kind: "human", Groups: []string{"dba"}}, target("db2", nil), false, 0},
		{"one label of two", certs.Identity{Kind: "human"}, target("web1", prod), true, mask.Last4},
		{"both labels", certs.Identity{Kind: "human"}, target("web1", map[string]string{"env": "prod", "tier": "1"}), true, mask.Stars},
	} {
		if got := style(tt.id, tt.target, tt.terminal); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
