package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport-ssh/sallyport/filters/command"
	"github.com/sallyport-ssh/sallyport/policies"
)

// decided are commands as people and agents type them, and the longest that one meets.
var decided = []string{
	"ls -la /srv", "git status", "cat /var/log/syslog", "grep -rn TODO . | head -20", "kubectl get pods -n prod",
	"rm -rf /srv/old", `cd /srv && for f in *.log; do gzip "$f"; done`, "sudo systemctl restart nginx",
	`find . -name '*.go' -print0 | xargs -0 grep -l foo | sort | uniq -c | sort -rn | head`,
}

// decisions measures what the gate thinks of a command before it runs: facts and decision, no network, no record.
func (b *bench) decisions(ctx context.Context) error {
	set, err := policies.Parse(policies.Default()...)
	if err != nil {
		return err
	}
	alice := policies.Principal{Key: "https://id#alice", Name: "alice", Kind: policies.Human, Groups: []string{"users", "web"}}
	bot := policies.Principal{Key: "https://ci#bot", Name: "bot", Kind: policies.Agent, Groups: []string{"agents"}, OnBehalfOf: &alice}
	web1 := policies.Target{Name: "web1", Kind: "ssh", Labels: map[string]string{"env": "prod", "team": "payments"}}
	t := b.report.table("Deciding on one command: facts by filters/command, the default policies, one core",
		"An agent on production, for which the most policies count. The least of the rounds.")
	under50 := aim{"under 50 us", func(r row) bool { return r.Value[0] < 50 }}
	for _, text := range decided {
		least := time.Duration(1 << 62)
		for range b.rounds {
			n := 0
			begun := time.Now()
			for time.Since(begun) < b.slice/4 && ctx.Err() == nil {
				for range 100 {
					facts := command.Parse(text).Context()
					facts["source"], facts["guard"], facts["login"] = "10.1.2.3", "n/a", "deploy"
					d := set.Decide(policies.Request{Principal: bot, Action: "command:run", Target: web1, Context: facts})
					if len(d.Errors) > 0 {
						return fmt.Errorf("%s: %v", text, d.Errors)
					}
				}
				n += 100
			}
			if n == 0 {
				return context.Cause(ctx)
			}
			least = min(least, time.Since(begun)/time.Duration(n))
		}
		t.add(row{What: text, Unit: "us", Value: [3]float64{float64(least.Nanoseconds()) / 1000}, Aim: under50})
	}
	return nil
}
