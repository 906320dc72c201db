package sshd

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// A SessionRow is a session in a listing with --json; the gate's own commands and the operator's share
// it.
type SessionRow struct {
	ID         string     `json:"id"`
	Connection string     `json:"connection"`
	Identity   string     `json:"identity"`
	Name       string     `json:"name"`
	OnBehalfOf string     `json:"on_behalf_of,omitempty"`
	Target     string     `json:"target"`
	TargetKind string     `json:"target_kind"`
	Login      string     `json:"login,omitempty"`
	Kind       string     `json:"kind"`
	Command    string     `json:"command,omitempty"`
	Source     string     `json:"source"`
	Guard      string     `json:"guard"`
	Started    time.Time  `json:"started"`
	Ended      *time.Time `json:"ended,omitempty"`
	State      string     `json:"state"`
	ExitStatus *int       `json:"exit_status,omitempty"`
	ExitSignal string     `json:"exit_signal,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	BytesOut   int64      `json:"bytes_out"`
	Operations int64      `json:"operations"`
	Denied     int64      `json:"denied"`
	Held       int64      `json:"held"`
	Masked     int64      `json:"masked"`
}

// SessionRows returns s as they are listed for programs.
func SessionRows(s []ledger.Session) []SessionRow {
	rows := make([]SessionRow, len(s))
	for i, v := range s {
		rows[i] = SessionRow{
			ID: v.ID, Connection: v.ConnectionID, Identity: v.Identity.Key(), Name: v.Identity.Name, Target: v.Target,
			TargetKind: v.TargetKind, Login: v.Login, Kind: v.Kind, Command: v.Command, Source: v.ClientAddr, Guard: v.Guard,
			Started: v.Started, State: string(v.State), ExitStatus: v.ExitStatus, ExitSignal: v.ExitSignal, Reason: v.EndReason,
			BytesOut: v.BytesOut, Operations: v.Operations, Denied: v.Denied, Held: v.Held, Masked: v.Masked,
		}
		if v.OnBehalfOf != nil {
			rows[i].OnBehalfOf = v.OnBehalfOf.Name
		}
		if !v.Ended.IsZero() {
			rows[i].Ended = &v.Ended
		}
	}
	return rows
}

// WriteSessions lists s for people, in columns that a tabwriter aligns.
func WriteSessions(w io.Writer, s []ledger.Session) {
	if len(s) == 0 {
		fmt.Fprintln(w, "There are no sessions.")
		return
	}
	fmt.Fprintln(w, "SESSION\tSTARTED\tWHO\tTARGET\tKIND\tSTATE\tEXIT\tCOMMAND")
	for _, v := range s {
		who := v.Identity.Name
		if v.OnBehalfOf != nil {
			who += " for " + v.OnBehalfOf.Name
		}
		target := v.Target
		if v.Login != "" && v.TargetKind == "ssh" {
			target = v.Login + "+" + v.Target
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.ID, v.Started.Local().Format("2006-01-02 15:04:05"),
			show(who), show(target), v.Kind, v.State, exitText(v), orDash(v.Command))
	}
}

func exitText(s ledger.Session) string {
	switch {
	case s.ExitSignal != "":
		return "SIG" + s.ExitSignal
	case s.ExitStatus != nil:
		return fmt.Sprint(*s.ExitStatus)
	}
	return "-"
}

// A HoldRow is a hold in a listing with --json. Text is exactly what would run; Shown is what people see.
type HoldRow struct {
	ID            string         `json:"id"`
	State         string         `json:"state"`
	Session       string         `json:"session"`
	Who           string         `json:"who"`
	Identity      string         `json:"identity"`
	OnBehalfOf    string         `json:"on_behalf_of,omitempty"`
	Target        string         `json:"target"`
	Action        string         `json:"action"`
	Text          string         `json:"text"`
	Shown         string         `json:"shown"`
	Facts         map[string]any `json:"facts,omitempty"`
	Policy        string         `json:"policy"`
	Approvers     []string       `json:"approvers"`
	Quorum        int            `json:"quorum"`
	Approved      int            `json:"approved"` // of Needed
	Needed        int            `json:"needed"`
	MayNow        []string       `json:"may_answer_now"`  // the groups, those it was escalated to included
	Scopes        []string       `json:"scopes"`          // what an approver may choose that it covers
	Grant         string         `json:"grant,omitempty"` // the longest time to choose
	Covers        string         `json:"covers,omitempty"`
	Until         *time.Time     `json:"until,omitempty"` // when the approval ends, also for what it let in
	Justification string         `json:"justification,omitempty"`
	Asked         time.Time      `json:"asked"`
	Expires       time.Time      `json:"expires"`
}

// HoldRows returns h as they are listed for programs.
func HoldRows(h []policies.Hold) []HoldRow {
	rows := make([]HoldRow, len(h))
	for i, v := range h {
		rows[i] = HoldRow{
			ID: v.ID, State: string(v.State), Session: v.SessionID, Who: v.Principal.Name, Identity: v.Principal.Key,
			Target: v.Target.Name, Action: v.Action, Text: v.Text, Shown: show(v.Text), Facts: v.Facts, Policy: v.Policy.ID,
			Approvers: v.Terms.Approvers, Quorum: v.Terms.Quorum, MayNow: v.MayAnswerNow(time.Now()), Covers: string(v.Covers()),
			Justification: v.Justification, Asked: v.Asked, Expires: v.Expires,
		}
		rows[i].Approved, rows[i].Needed = v.Progress()
		for _, s := range v.Terms.Scopes() {
			rows[i].Scopes = append(rows[i].Scopes, string(s))
		}
		if v.Terms.Grant > 0 {
			rows[i].Grant = v.Terms.Grant.String()
		}
		if ends := v.GrantEnds(); !ends.IsZero() {
			rows[i].Until = &ends
		}
		if v.Principal.OnBehalfOf != nil {
			rows[i].OnBehalfOf = v.Principal.OnBehalfOf.String()
		}
	}
	return rows
}

// WriteHolds lists h for people. The text stands whole, on lines of its own: an approver must see all of
// what would run.
func WriteHolds(w io.Writer, h []policies.Hold) {
	if len(h) == 0 {
		fmt.Fprintln(w, "Nothing waits for an answer.")
		return
	}
	for i, v := range h {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s\t%s on %s, %s, waits since %s, %s left\n", v.ID, show(v.Principal.String()), show(v.Target.Name),
			v.Action, v.Asked.Local().Format("15:04:05"), round(time.Until(v.Expires)))
		for line := range strings.Lines(show(v.Text)) {
			fmt.Fprintf(w, "\t    %s\n", strings.TrimSuffix(line, "\n"))
		}
		fmt.Fprintf(w, "\tpolicy %s, approvers: %s%s\n", show(v.Policy.ID), show(strings.Join(v.MayAnswerNow(time.Now()), ", ")), progress(v))
		if facts := factText(v.Facts); facts != "" {
			fmt.Fprintf(w, "\tfacts: %s\n", facts)
		}
		if v.Justification != "" {
			fmt.Fprintf(w, "\tthey say: %s\n", show(v.Justification))
		}
	}
	fmt.Fprintln(w, "\nAnswer with `approve ID [REASON]` or `deny ID [REASON]`; `show ID` has all there is.")
}

// progress says how many of several approvals a request has, and who may answer later.
func progress(h policies.Hold) string {
	text := ""
	if p := h.ProgressText(); p != "" {
		text = ", so far " + show(p)
	}
	for _, step := range h.Escalations() {
		if time.Now().Before(step.At) {
			text += fmt.Sprintf("; from %s also %s", step.At.Local().Format("15:04:05"), show(strings.Join(step.Groups, ", ")))
		}
	}
	return text
}

// factText names what an approver should know at a glance; --json has all.
func factText(facts map[string]any) string {
	var out []string
	for _, key := range []string{"classes", "programs", "removes", "writes", "hosts", "why"} {
		if list, ok := facts[key].([]string); ok && len(list) > 0 {
			out = append(out, key+" "+strings.Join(list, " "))
		} else if list, ok := facts[key].([]any); ok && len(list) > 0 {
			out = append(out, key+" "+strings.Trim(fmt.Sprint(list...), "[]"))
		}
	}
	return show(strings.Join(out, "; "))
}
