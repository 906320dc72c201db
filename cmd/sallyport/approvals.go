package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/sshd"
)

type approvalsCmd struct {
	Ls      approvalsLsCmd    `cmd:"" help:"List what waits for an answer."`
	Show    approvalsShowCmd  `cmd:"" help:"Show one request, with what was answered."`
	Watch   approvalsWatchCmd `cmd:"" help:"Print requests as they come, and what becomes of them."`
	Approve approveCmd        `cmd:"" help:"Let a waiting request through, with your own certificate."`
	Deny    denyCmd           `cmd:"" help:"Refuse a waiting request, with your own certificate."`

	Withdraw withdrawCmd       `cmd:"" help:"Take back a request of yours or of your agent."`
	Wait     approvalsWaitCmd  `cmd:"" help:"Wait until a request is answered; exits 0, 75 or 77."`
	Advance  preapproveCmd     `cmd:"" help:"Approve before anybody asks: an exact text, or operations with certain facts."`
	Advances preapprovalsCmd   `cmd:"" help:"List what is approved in advance."`
	Revoke   revokeApprovalCmd `cmd:"" help:"Take back an approval in advance."`
}

type approvalsLsCmd struct {
	placeFlags
	All   bool `help:"Also what was answered or ended, newest first."`
	Limit int  `help:"At most so many." default:"50" placeholder:"N"`
	JSON  bool `help:"Print one JSON array." name:"json"`
}

// Run lists requests.
func (c *approvalsLsCmd) Run(ctx context.Context, k *kong.Context) error {
	if c.Limit < 1 {
		return &exitError{exitUsage, fmt.Errorf("--limit %d lists nothing; give a positive number", c.Limit)}
	}
	return c.withLedger(ctx, func(p *place, l *ledger.Ledger) error {
		var holds []policies.Hold
		var err error
		if c.All {
			holds, err = l.Holds(ctx, policies.HoldFilter{Limit: c.Limit})
		} else {
			holds, err = policies.NewDesk(l, p.config.Gate.Name).Pending(ctx)
			holds = holds[:min(len(holds), c.Limit)]
		}
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(k.Stdout, sshd.HoldRows(holds))
		case c.All:
			return columns(k.Stdout, func(w io.Writer) { writeEnded(w, holds) })
		}
		return columns(k.Stdout, func(w io.Writer) { sshd.WriteHolds(w, holds) })
	})
}

// writeEnded lists requests of any state, a line each.
func writeEnded(w io.Writer, holds []policies.Hold) {
	if len(holds) == 0 {
		fmt.Fprintln(w, "There are no requests.")
		return
	}
	fmt.Fprintln(w, "REQUEST\tASKED\tWHO\tTARGET\tSTATE\tANSWERED BY\tACTION")
	for _, h := range holds {
		var by []string
		for _, a := range h.Answers {
			by = append(by, a.Approver.String())
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s %s\n", h.ID, h.Asked.Local().Format("2006-01-02 15:04:05"), show(h.Principal.String()),
			show(h.Target.Name), h.State, orDash(show(strings.Join(by, ", "))), h.Action, show(h.Text))
	}
}

type approvalsShowCmd struct {
	placeFlags
	ID   string `arg:"" help:"The request's id." placeholder:"ID"`
	JSON bool   `help:"Print one JSON object." name:"json"`
}

// Run shows one request.
func (c *approvalsShowCmd) Run(ctx context.Context, k *kong.Context) error {
	if err := checkID("request", c.ID, "approvals ls"); err != nil {
		return err
	}
	return c.withLedger(ctx, func(_ *place, l *ledger.Ledger) error {
		h, err := l.Hold(ctx, c.ID)
		if errors.Is(err, policies.ErrNoHold) {
			return fmt.Errorf("there is no request %s in this ledger; see sallyport approvals ls --all", c.ID)
		}
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(k.Stdout, sshd.HoldDetails(h))
		}
		return columns(k.Stdout, func(w io.Writer) { sshd.WriteHold(w, h) })
	})
}

type approvalsWatchCmd struct {
	placeFlags
	JSON bool `help:"Print one JSON object a line." name:"json"`
}

// Run prints what waits, and then every request as it changes, until it is interrupted.
func (c *approvalsWatchCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.withLedger(ctx, func(p *place, l *ledger.Ledger) error {
		holds, err := policies.NewDesk(l, p.config.Gate.Name).Watch(ctx)
		if err != nil {
			return err
		}
		printed := map[string]string{} // of requests that wait: the state in which they were printed
		for h := range holds {
			now := fmt.Sprintf("%s %d", h.State, len(h.Answers))
			if printed[h.ID] == now {
				continue
			}
			printed[h.ID] = now
			if h.State != policies.StatePending && h.State != policies.StateApproved {
				delete(printed, h.ID) // never changes again
			}
			if err := c.print(k.Stdout, h); err != nil {
				return err
			}
		}
		if ctx.Err() == nil {
			return errors.New("the ledger cannot tell of changes any more; start again")
		}
		return nil
	})
}

func (c *approvalsWatchCmd) print(w io.Writer, h policies.Hold) error {
	if c.JSON {
		b, err := json.Marshal(sshd.HoldDetails(h))
		if err == nil {
			_, err = w.Write(append(plainJSON(b), '\n'))
		}
		return err
	}
	line := fmt.Sprintf("%s  %s  %s", time.Now().Format("15:04:05"), h.ID, h.State)
	if h.State == policies.StatePending && len(h.Answers) == 0 {
		line += fmt.Sprintf("  %s on %s, %s until %s:", show(h.Principal.String()), show(h.Target.Name), h.Action, h.Expires.Local().Format("15:04:05"))
		for _, text := range policies.RenderLines([]byte(h.Text)) {
			line += "\n    " + text
		}
	}
	if n := len(h.Answers); n > 0 {
		line += "  " + sshd.AnswerText(h.Answers[n-1])
		if text := h.ProgressText(); text != "" {
			line += ", so far " + show(text)
		}
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// answerFlags are what approve and deny take. Who answers is whoever the certificate says: the operator
// of a gate has no answer of their own.
type answerFlags struct {
	gateFlags
	ID     string `arg:"" help:"The request's id." placeholder:"ID"`
	Reason string `help:"Why; the one who asked reads it, and the audit." placeholder:"TEXT"`
	JSON   bool   `help:"Print one JSON object." name:"json"`
}

// Help is the end of the command's help.
func (answerFlags) Help() string {
	return "The gate decides whether you may: nobody answers a request of their own, or of an agent of theirs. " + exitHelp + " Else as the gate exits: 77 where you may not."
}

type approveCmd struct {
	answerFlags
	Once    bool          `help:"Cover this one operation, also where the policy allows more." xor:"scope"`
	Session bool          `help:"Cover the identical operation in the session that asks." xor:"scope"`
	For     time.Duration `help:"Cover the identical operation for so long, at most what the policy says." xor:"scope" placeholder:"TIME"`
}
type denyCmd struct{ answerFlags }

// Run approves a request at the gate.
func (c *approveCmd) Run(ctx context.Context, k *kong.Context) error {
	switch {
	case c.Once:
		return c.answer(ctx, k, "approve", "--once")
	case c.Session:
		return c.answer(ctx, k, "approve", "--session")
	case c.For != 0:
		return c.answer(ctx, k, "approve", "--for", c.For.String())
	}
	return c.answer(ctx, k, "approve")
}

// Run denies a request at the gate.
func (c *denyCmd) Run(ctx context.Context, k *kong.Context) error { return c.answer(ctx, k, "deny") }

func (c *answerFlags) answer(ctx context.Context, k *kong.Context, verb string, scope ...string) error {
	if err := checkID("request", c.ID, "approvals ls"); err != nil {
		return err
	}
	words := append([]string{verb, c.ID}, scope...)
	for _, word := range strings.Fields(c.Reason) {
		if word == "--json" {
			return &exitError{exitUsage, errors.New("--reason cannot hold the word --json, which the gate would take for its own; write it otherwise")}
		}
		words = append(words, word)
	}
	return c.run(ctx, k, c.JSON, strings.Join(words, " "))
}
