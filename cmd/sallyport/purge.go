package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/cmd/internal/daemon"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// purgeCmd removes recordings for good. What is removed stands in the ledger's chain of seals, and who removed
// it among the audit events, before it is removed.
type purgeCmd struct {
	placeFlags
	ID     string `arg:"" optional:"" help:"Id of one session, however old." placeholder:"ID"`
	Older  string `help:"Every recording that was sealed longer ago than this. Default: recordings.retention." placeholder:"365d|8760h|DATE"`
	Reason string `help:"Why; stands in the audit event. Required with an ID."`
	DryRun bool   `help:"Say what would be removed, and remove nothing."`
	JSON   bool   `help:"One JSON object a line."`
}

// Help is the end of the command's help.
func (*purgeCmd) Help() string {
	return "Exit status: 0 all of it was removed; 1 something could not be looked at or removed; 2 wrong use; 3 an object lock, a legal hold or a gate's spool keeps something."
}

const purgeKept = 3

func (c *purgeCmd) Run(ctx context.Context, k *kong.Kong) error {
	if c.ID != "" {
		if err := checkID("session", c.ID, "sessions ls"); err != nil {
			return err
		}
	}
	switch {
	case c.ID != "" && c.Older != "":
		return &exitError{exitUsage, errors.New("purge: name one session or --older, not both")}
	case c.ID != "" && c.Reason == "":
		return &exitError{exitUsage, errors.New("purge: --reason is required for one session: it will be the only trace of why")}
	}
	return c.withLedger(ctx, func(p *place, l *ledger.Ledger) error { return c.purge(ctx, k.Stdout, p, l) })
}

func (c *purgeCmd) purge(ctx context.Context, w io.Writer, p *place, l *ledger.Ledger) error {
	before, err := c.before(p)
	if err != nil {
		return err
	}
	lib, closeStore, err := p.openLibrary(ctx, nil)
	if err != nil {
		return err
	}
	who := whoRuns()
	detail := map[string]any{"via": "cli"}
	for key, v := range who.detail {
		detail[key] = v
	}
	var n daemon.PurgeCount
	var printing error
	run := &daemon.Purge{
		Ledger: l, Library: lib, DryRun: c.DryRun, Why: c.why(before),
		Event: ledger.Event{Gate: p.config.Gate.Name, Actor: who.key, ActorName: who.name, Source: "local", Detail: detail},
		Each:  func(s daemon.PurgedSession) { printing = errors.Join(printing, c.print(w, s)) },
	}
	if c.ID != "" {
		n, err = run.One(ctx, c.ID)
	} else {
		n, err = run.Run(ctx, before)
	}
	if err = errors.Join(err, printing, closeStore()); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	return purgeStatus(n)
}

func purgeStatus(n daemon.PurgeCount) error {
	switch {
	case n.Failed > 0:
		return &exitError{1, fmt.Errorf("purge: %d recordings could not be removed", n.Failed)}
	case n.Kept > 0:
		return &exitError{purgeKept, fmt.Errorf("purge: %d recordings are kept by a lock, a hold or a spool", n.Kept)}
	}
	return nil
}

// before is the time whose older recordings go.
func (c *purgeCmd) before(p *place) (time.Time, error) {
	now := time.Now()
	switch keep := p.config.Recordings.Retention.D(); {
	case c.ID != "":
		return now, nil
	case c.Older != "":
		return parseSince(c.Older, now)
	case keep > 0:
		return now.Add(-keep), nil
	}
	return now, &exitError{exitUsage, errors.New("purge: recordings are kept for ever here: say --older 365d, or set recordings.retention")}
}

func (c *purgeCmd) why(before time.Time) string {
	switch {
	case c.Reason != "":
		return c.Reason
	case c.Older != "":
		return "sealed before " + before.UTC().Format(time.RFC3339)
	}
	return "older than recordings.retention"
}

func (c *purgeCmd) print(w io.Writer, s daemon.PurgedSession) error {
	if c.JSON {
		b, err := json.Marshal(s)
		if err == nil {
			_, err = w.Write(append(plainJSON(b), '\n'))
		}
		return err
	}
	what := fmt.Sprintf("removed, %d objects", s.Objects)
	switch {
	case s.Error != "":
		what = "FAILED: " + s.Error
	case s.Kept != "":
		what = "kept: " + s.Kept
	case !s.Removed:
		what = "would be removed"
	}
	_, err := fmt.Fprintf(w, "%s: sealed %s: %s\n", shown(s.Session), s.Sealed.UTC().Format(time.RFC3339), shown(what))
	return err
}
