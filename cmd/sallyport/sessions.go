package main

import (
	"context"
	"encoding/hex"
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

type sessionsCmd struct {
	Ls    sessionsLsCmd    `cmd:"" help:"List sessions, newest first."`
	Show  sessionsShowCmd  `cmd:"" help:"Show one session with its operations and requests."`
	Watch sessionsWatchCmd `cmd:"" help:"Follow a session in this terminal, live or from its recording."`
	Kill  sessionsKillCmd  `cmd:"" help:"End a session that runs, at whichever gate."`
}

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
	since, err := parseSince(c.Since, time.Now())
	if err != nil {
		return err
	}
	if c.Limit < 1 {
		return &exitError{exitUsage, fmt.Errorf("--limit %d lists nothing; give a positive number", c.Limit)}
	}
	f := ledger.SessionFilter{State: ledger.State(c.State), Target: c.Target, Identity: c.Who, Since: since, Text: c.Text}
	return c.withLedger(ctx, func(_ *place, l *ledger.Ledger) error {
		rows, more, err := sessions(ctx, l, f, c.Limit)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(k.Stdout, sshd.SessionRows(rows))
		}
		if more {
			fmt.Fprintf(k.Stderr, "The newest %d are listed; see further with --limit.\n", len(rows))
		}
		return columns(k.Stdout, func(w io.Writer) { sshd.WriteSessions(w, rows) })
	})
}

// sessions turns as many pages as n rows need, and says whether there are more.
func sessions(ctx context.Context, l *ledger.Ledger, f ledger.SessionFilter, n int) ([]ledger.Session, bool, error) {
	var all []ledger.Session
	for {
		f.Limit = min(n-len(all), ledger.MaxLimit)
		page, next, err := l.Sessions(ctx, f)
		if err != nil {
			return nil, false, err
		}
		if all = append(all, page...); next == "" || len(all) >= n {
			return all, next != "", nil
		}
		f.Cursor = next
	}
}

type sessionsShowCmd struct {
	placeFlags
	ID    string `arg:"" help:"The session's id." placeholder:"ID"`
	Limit int    `help:"At most so many operations, from the first." default:"1000" placeholder:"N"`
	JSON  bool   `help:"Print one JSON object." name:"json"`
}

// A sessionDetail is one session with --json.
type sessionDetail struct {
	Session    sessionFacts      `json:"session"`
	Operations []operationRow    `json:"operations"`
	More       bool              `json:"more_operations,omitempty"`
	Holds      []sshd.HoldDetail `json:"holds"`

	row  ledger.Session     // as the ledger has it
	held []policies.Hold    // the same as Holds
	ops  []ledger.Operation // the same as Operations
}

// sessionFacts are what a listing has no room for.
type sessionFacts struct {
	sshd.SessionRow
	Groups   []string `json:"groups,omitempty"`
	Gate     string   `json:"gate"`
	Term     string   `json:"term,omitempty"`
	Cols     uint32   `json:"cols,omitempty"`
	Rows     uint32   `json:"rows,omitempty"`
	SealHash string   `json:"seal_hash,omitempty"`
}

type operationRow struct {
	ID       string         `json:"id"`
	Sequence int64          `json:"sequence"`
	At       float64        `json:"at"` // seconds into the session
	Time     time.Time      `json:"time"`
	Action   string         `json:"action"`
	Text     string         `json:"text"`
	Facts    map[string]any `json:"facts,omitempty"`
	Decision string         `json:"decision"`
	Policy   string         `json:"policy,omitempty"`
	Hold     string         `json:"hold,omitempty"`
	Outcome  string         `json:"outcome,omitempty"`
}

// Run shows one session.
func (c *sessionsShowCmd) Run(ctx context.Context, k *kong.Context) error {
	if err := checkID("session", c.ID, "sessions ls"); err != nil {
		return err
	}
	return c.withLedger(ctx, func(_ *place, l *ledger.Ledger) error {
		d, err := c.detail(ctx, l)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(k.Stdout, d)
		}
		return columns(k.Stdout, d.write)
	})
}

func (c *sessionsShowCmd) detail(ctx context.Context, l *ledger.Ledger) (*sessionDetail, error) {
	s, err := l.Session(ctx, c.ID)
	if err != nil {
		return nil, sessionError(c.ID, err)
	}
	d := &sessionDetail{row: s, Operations: []operationRow{}, Holds: []sshd.HoldDetail{}, Session: sessionFacts{
		SessionRow: sshd.SessionRows([]ledger.Session{s})[0], Groups: s.Identity.Groups, Gate: s.Gate, Term: s.Term,
		Cols: s.Cols, Rows: s.Rows, SealHash: hex.EncodeToString(s.SealHash),
	}}
	if d.ops, d.More, err = operations(ctx, l, c.ID, c.Limit); err != nil {
		return nil, err
	}
	for _, o := range d.ops {
		d.Operations = append(d.Operations, operationRow{
			ID: o.ID, Sequence: o.Sequence, At: o.Offset.Seconds(), Time: o.Time, Action: o.Action, Text: o.Text, Facts: o.Facts,
			Decision: o.Decision, Policy: o.Policy, Hold: o.HoldID, Outcome: o.Outcome,
		})
		if o.HoldID == "" {
			continue
		}
		h, err := l.Hold(ctx, o.HoldID)
		if errors.Is(err, policies.ErrNoHold) {
			continue // refused before it was asked
		}
		if err != nil {
			return nil, err
		}
		d.held = append(d.held, h)
		d.Holds = append(d.Holds, sshd.HoldDetails(h))
	}
	return d, nil
}

// operations reads at most n operations of a session, and says whether there are more.
func operations(ctx context.Context, l *ledger.Ledger, id string, n int) (all []ledger.Operation, more bool, err error) {
	for after := int64(0); ; {
		want := n - len(all)
		if want <= 0 {
			page, _, err := l.Operations(ctx, id, after, 1)
			return all, len(page) > 0, err
		}
		page, next, err := l.Operations(ctx, id, after, min(want, ledger.MaxLimit))
		if err != nil {
			return nil, false, err
		}
		all = append(all, page...)
		if next == 0 {
			return all, false, nil
		}
		after = next
	}
}

// write shows the session to people.
func (d *sessionDetail) write(w io.Writer) {
	s := d.row
	for _, line := range [][2]string{
		{"session", s.ID}, {"state", stateText(s)}, {"who", who(s)}, {"identity", show(s.Identity.Key())},
		{"groups", show(strings.Join(s.Identity.Groups, ", "))}, {"target", targetText(s)}, {"kind", s.Kind},
		{"command", shown(s.Command)}, {"terminal", terminalText(s)}, {"guard", s.Guard}, {"from", show(s.ClientAddr)},
		{"gate", show(s.Gate)}, {"started", localTime(s.Started)}, {"ended", endText(s)},
		{"output", fmt.Sprintf("%d bytes, %d values masked", s.BytesOut, s.Masked)}, {"connection", s.ConnectionID}, {"seal", d.Session.SealHash},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
		}
	}
	fmt.Fprintf(w, "\nOPERATIONS\t%d, of them %d held and %d denied\n", s.Operations, s.Held, s.Denied)
	for _, o := range d.ops {
		line := fmt.Sprintf("  %8.3fs  %-5s  %s", o.Offset.Seconds(), o.Decision, o.Action)
		if o.Text != "" {
			line += "  " + shown(o.Text)
		}
		fmt.Fprintln(w, line)
		if note := operationNote(o); note != "" {
			fmt.Fprintln(w, "             "+note)
		}
	}
	if d.More {
		fmt.Fprintln(w, "  ... and more; see them with --limit")
	}
	for _, h := range d.held {
		fmt.Fprintln(w)
		sshd.WriteHold(w, h)
	}
}

func operationNote(o ledger.Operation) string {
	var notes []string
	for _, n := range [][2]string{{"policy", o.Policy}, {"request", o.HoldID}, {"outcome", o.Outcome}} {
		if n[1] != "" {
			notes = append(notes, n[0]+" "+shown(n[1]))
		}
	}
	return strings.Join(notes, "; ")
}

func who(s ledger.Session) string {
	text := show(s.Identity.Name)
	if s.Identity.Email != "" {
		text += " <" + show(s.Identity.Email) + ">"
	}
	if s.Identity.Kind != "" {
		text += " (" + s.Identity.Kind + ")"
	}
	if b := s.OnBehalfOf; b != nil {
		text += " for " + show(b.Name) + " (" + show(b.Key()) + ")"
	}
	return text
}

func targetText(s ledger.Session) string {
	text := show(s.Target) + " (" + s.TargetKind + ")"
	if s.Login != "" {
		text += " as " + show(s.Login)
	}
	return text
}

func terminalText(s ledger.Session) string {
	if s.Term == "" {
		return "none"
	}
	return fmt.Sprintf("%s, %dx%d", show(s.Term), s.Cols, s.Rows)
}

func stateText(s ledger.Session) string {
	switch {
	case s.ExitSignal != "":
		return fmt.Sprintf("%s, signal %s", s.State, show(s.ExitSignal))
	case s.ExitStatus != nil:
		return fmt.Sprintf("%s, exit status %d", s.State, *s.ExitStatus)
	}
	return string(s.State)
}

func endText(s ledger.Session) string {
	if s.Ended.IsZero() {
		return shown(s.EndReason)
	}
	text := fmt.Sprintf("%s, after %s", localTime(s.Ended), s.Ended.Sub(s.Started).Round(time.Millisecond))
	if s.EndReason != "" {
		text += ": " + shown(s.EndReason)
	}
	return text
}

func localTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 -0700") }

type sessionsKillCmd struct {
	placeFlags
	ID     string `arg:"" help:"The session's id." placeholder:"ID"`
	Reason string `help:"Why; the one whose session it is reads it." required:"" placeholder:"TEXT"`
	JSON   bool   `help:"Print one JSON object." name:"json"`
}

// Run asks the session's gate to end it, which it does within seconds.
func (c *sessionsKillCmd) Run(ctx context.Context, k *kong.Context) error {
	if err := checkID("session", c.ID, "sessions ls --state live"); err != nil {
		return err
	}
	if strings.TrimSpace(c.Reason) == "" {
		return &exitError{exitUsage, errors.New("--reason is empty; say why, for the one whose session it is and for the audit")}
	}
	return c.withLedger(ctx, func(p *place, l *ledger.Ledger) error {
		s, err := l.Session(ctx, c.ID)
		if err != nil {
			return sessionError(c.ID, err)
		}
		if s.State != ledger.Live {
			return fmt.Errorf("session %s does not run any more: it is %s", s.ID, s.State)
		}
		if err := p.audit(ctx, l, ledger.Event{
			Kind: "session:kill", SessionID: s.ID, Target: s.Target, Detail: map[string]any{"of": s.ID, "reason": c.Reason},
		}); err != nil {
			return err
		}
		err = l.RequestEnd(ctx, ledger.EndRequest{SessionID: s.ID, By: whoRuns().name, Reason: c.Reason, At: time.Now()})
		if errors.Is(err, ledger.ErrEnded) {
			return fmt.Errorf("session %s ended just now, by itself", s.ID)
		}
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(k.Stdout, map[string]string{"ending": s.ID, "gate": s.Gate})
		}
		_, err = fmt.Fprintf(k.Stdout, "%s is being ended by gate %s\n", s.ID, show(s.Gate))
		return err
	})
}
