package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// byID is a command about one request or approval in advance, which the gate decides on.
type byID struct {
	gateFlags
	ID   string `arg:"" help:"Its id." placeholder:"ID"`
	JSON bool   `help:"Print one JSON object." name:"json"`
}

func (c *byID) ask(ctx context.Context, k *kong.Context, verb, list string) error {
	if err := checkID("request", c.ID, list); err != nil {
		return err
	}
	return c.run(ctx, k, c.JSON, verb+" "+c.ID)
}

type withdrawCmd struct{ byID }

// Run takes a request back.
func (c *withdrawCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.ask(ctx, k, "withdraw", "approvals ls")
}

type approvalsWaitCmd struct{ byID }

// Run waits for an answer.
func (c *approvalsWaitCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.ask(ctx, k, "wait", "approvals ls")
}

type revokeApprovalCmd struct{ byID }

// Run takes an approval in advance back.
func (c *revokeApprovalCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.ask(ctx, k, "revoke", "approvals advances")
}

type preapprovalsCmd struct {
	gateFlags
	JSON bool `help:"Print one JSON array." name:"json"`
}

// Run lists what is approved in advance, as far as the caller may see it.
func (c *preapprovalsCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.run(ctx, k, c.JSON, "preapprovals")
}

type preapproveCmd struct {
	gateFlags
	Like   string        `help:"Identity, target and exact text of this request." placeholder:"ID"`
	Asks   string        `help:"Who may use it: issuer#subject, or a verified e-mail address." placeholder:"KEY"`
	Behalf string        `help:"And on whose behalf; default anybody's." placeholder:"KEY"`
	Target string        `help:"On which target." placeholder:"T"`
	Action string        `help:"What, by the schema. Default command:run." placeholder:"A"`
	For    time.Duration `help:"For how long." required:"" placeholder:"TIME"`
	In     time.Duration `help:"Beginning so long from now." placeholder:"TIME"`
	Uses   string        `help:"How many operations it lets through: a number, or any." default:"1" placeholder:"N"`
	When   string        `help:"A condition on the facts, instead of a text: context.commands == [\"systemctl restart nginx\"]." placeholder:"CEDAR"`
	Reason string        `help:"Why; goes on record." placeholder:"TEXT"`
	JSON   bool          `help:"Print one JSON object." name:"json"`
	Text   []string      `arg:"" optional:"" help:"The exact text. Words are joined by spaces, as ssh does."`
}

// Run approves in advance.
func (c *preapproveCmd) Run(ctx context.Context, k *kong.Context) error {
	command, err := c.command()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return c.run(ctx, k, false, command)
}

// command is what the gate is asked. The condition and the text come last, since they may hold anything.
func (c *preapproveCmd) command() (string, error) {
	words := []string{"preapprove"}
	if c.JSON {
		words = append(words, "--json")
	}
	for _, f := range [][2]string{{"--like", c.Like}, {"--identity", c.Asks}, {"--behalf", c.Behalf}, {"--target", c.Target}, {"--action", c.Action}, {"--uses", c.Uses}} {
		if strings.ContainsAny(f[1], " \t\r\n") {
			return "", fmt.Errorf("%s cannot hold a space", f[0])
		}
		if f[1] != "" {
			words = append(words, f[0], f[1])
		}
	}
	words = append(words, "--for", c.For.String())
	if c.In > 0 {
		words = append(words, "--in", c.In.String())
	}
	for word := range strings.FieldsSeq(c.Reason) {
		if strings.HasPrefix(word, "--") {
			return "", errors.New("--reason cannot hold a word that begins with --, which the gate would take for its own")
		}
	}
	if c.Reason != "" {
		words = append(words, "--reason", strings.Join(strings.Fields(c.Reason), " "))
	}
	text := strings.Join(c.Text, " ")
	switch {
	case text != "" && c.When != "":
		return "", errors.New("give the text or --when, not both")
	case c.When != "":
		return strings.Join(append(words, "--when", c.When), " "), nil
	case text != "":
		return strings.Join(words, " ") + " -- " + text, nil
	case c.Like == "":
		return "", errors.New("say what: --like ID, a text after --, or --when CONDITION")
	}
	return strings.Join(words, " "), nil
}
