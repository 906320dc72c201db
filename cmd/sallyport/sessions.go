package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/sshd"
)

type sessionsCmd struct {
	Ls   sessionsLsCmd   `cmd:"" help:"List sessions, newest first."`
	Show sessionsShowCmd `cmd:"" help:"Show one session with its operations."`
	Kill sessionsKillCmd `cmd:"" help:"End a session that runs, at whichever gate."`
}

// Help is the end of the command's help.
func (*sessionsCmd) Help() string { return exitHelp }

type sessionsLsCmd struct {
	placeFlags
	State  string `help:"Only these: live, complete, recovered, truncated or lost." enum:",live,complete,recovered,truncated,lost" default:"" placeholder:"STATE"`
	Target string `help:"Only on this target." placeholder:"NAME"`
	Who    string `help:"Only of this identity (key, name or e-mail), or of agents acting for it." placeholder:"WHO"`
	Since  string `help:"Only started since then: 90m, 7d, 2026-01-31, 2026-01-31T15:04." placeholder:"TIME"`
	Text   string `help:"Only with this in command, target, login, name, e-mail or id." placeholder:"TEXT"`
	Limit  int    `help:"At most so many." default:"50" placeholder:"N"`
	JSON   bool   `help:"Print one JSON array." name:"json"`
}

// Run lists sessions.
func (c *sessionsLsCmd) Run(ctx context.Context, k *kong.Context) error {
	f := ledger.SessionFilter{State: ledger.State(c.State), Target: c.Target, Identity: c.Who, Text: c.Text, Limit: c.Limit}
	if c.Since != "" {
		var err error
		if f.Since, err = parseSince(c.Since, time.Now()); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	return c.withLedger(ctx, func(_ *place, l *ledger.Ledger) error {
		rows, _, err := l.Sessions(ctx, f)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(k.Stdout, sshd.SessionRows(rows))
		}
		return columns(k.Stdout, func(w io.Writer) { sshd.WriteSessions(w, rows) })
	})
}

type sessionsShowCmd struct {
	placeFlags
	ID   string `arg:"" help:"Id of the session."`
	JSON bool   `help:"Print one JSON object." name:"json"`
}

// Run shows one session.
func (c *sessionsShowCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.withLedger(ctx, func(_ *place, l *ledger.Ledger) error {
		row, err := l.Session(ctx, c.ID)
		if err != nil {
			return sessionError(c.ID, err)
		}
		operations, _, err := l.Operations(ctx, c.ID, 0, ledger.MaxLimit)
		if err != nil {
			return err
		}
		rows := []ledger.Session{row}
		if c.JSON {
			return printJSON(k.Stdout, map[string]any{"session": sshd.SessionRows(rows)[0], "operations": operations})
		}
		return columns(k.Stdout, func(w io.Writer) {
			sshd.WriteSessions(w, rows)
			fmt.Fprintln(w, "\nAT\tDECISION\tACTION\tPOLICY\tTEXT\tOUTCOME")
			for _, o := range operations {
				fmt.Fprintf(w, "%v\t%s\t%s\t%s\t%s\t%s\n", o.Offset, o.Decision, o.Action, orDash(o.Policy), show(o.Text), orDash(o.Outcome))
			}
		})
	})
}

type sessionsKillCmd struct {
	placeFlags
	ID     string `arg:"" help:"Id of the session."`
	Reason string `help:"Why; shown to the one whose session it is." required:"" placeholder:"TEXT"`
}

// Run asks the gate that the session runs on to end it, in the name of the account it is asked from.
func (c *sessionsKillCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.withLedger(ctx, func(p *place, l *ledger.Ledger) error {
		if err := p.audit(ctx, l, ledger.Event{Kind: "session.end-asked", SessionID: c.ID, Detail: map[string]any{"reason": c.Reason}}); err != nil {
			return err
		}
		err := l.RequestEnd(ctx, ledger.EndRequest{SessionID: c.ID, By: whoRuns().name, Reason: c.Reason, At: time.Now()})
		if errors.Is(err, ledger.ErrEnded) {
			return fmt.Errorf("session %s has ended", policies.Render([]byte(c.ID)))
		}
		if err != nil {
			return sessionError(c.ID, err)
		}
		_, err = fmt.Fprintf(k.Stdout, "%s is being ended\n", c.ID)
		return err
	})
}
