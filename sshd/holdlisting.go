package sshd

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

// A HoldDetail is one request with --json: all that is known of it.
type HoldDetail struct {
	HoldRow
	Gate    string      `json:"gate"`
	Screen  []string    `json:"screen,omitempty"` // what the session's terminal showed, masked
	Answers []AnswerRow `json:"answers"`
	Ended   *time.Time  `json:"ended,omitempty"`
	Why     string      `json:"why,omitempty"`
}

// An AnswerRow is what one person said to a request.
type AnswerRow struct {
	Approver string    `json:"approver"`
	Identity string    `json:"identity"`
	Approve  bool      `json:"approve"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
	Via      string    `json:"via"`
	Scope    string    `json:"scope,omitempty"` // what the approver chose; "": what the policy says
	For      string    `json:"for,omitempty"`
	Advance  string    `json:"advance,omitempty"` // the approval in advance that this is
}

// HoldDetails returns all there is to know of h.
func HoldDetails(h policies.Hold) HoldDetail {
	d := HoldDetail{HoldRow: HoldRows([]policies.Hold{h})[0], Gate: h.Gate, Answers: []AnswerRow{}, Why: h.Why}
	if h.Screen != "" {
		d.Screen = strings.Split(h.Screen, "\n")
	}
	for _, a := range h.Answers {
		row := AnswerRow{
			Approver: a.Approver.String(), Identity: a.Approver.Key, Approve: a.Approve, Reason: a.Reason, At: a.At, Via: a.Via,
			Scope: string(a.Scope), Advance: a.Advance,
		}
		if a.For > 0 {
			row.For = a.For.String()
		}
		d.Answers = append(d.Answers, row)
	}
	if !h.Ended.IsZero() {
		d.Ended = &h.Ended
	}
	return d
}

// WriteHold shows a request of any state, for columns that a tabwriter aligns. The text stands whole, on
// lines of its own.
func WriteHold(w io.Writer, h policies.Hold) {
	fmt.Fprintf(w, "request\t%s\nstate\t%s\nwho\t%s\ntarget\t%s (%s)\naction\t%s\n", h.ID, stateText(h), show(h.Principal.String()),
		show(h.Target.Name), show(h.Target.Kind), h.Action)
	writeLines(w, "text", policies.RenderLines([]byte(h.Text)))
	fmt.Fprintf(w, "policy\t%s\napprovers\t%s%s\nasked\t%s, until %s\n", show(h.Policy.ID), show(strings.Join(h.MayAnswerNow(time.Now()), ", ")),
		progress(h), h.Asked.Local().Format("2006-01-02 15:04:05"), h.Expires.Local().Format("15:04:05"))
	fmt.Fprintf(w, "may cover\t%s\n", scopesText(h.Terms))
	if h.Terms.Reason {
		fmt.Fprintln(w, "reason\trequired of whoever approves")
	}
	if h.SessionID != "" {
		fmt.Fprintf(w, "session\t%s\n", h.SessionID)
	}
	if h.Justification != "" {
		fmt.Fprintf(w, "they say\t%s\n", show(h.Justification))
	}
	writeFacts(w, h.Facts)
	for _, a := range h.Answers {
		fmt.Fprintf(w, "answer\t%s\n", AnswerText(a))
	}
	if h.Covers() != "" {
		fmt.Fprintf(w, "covers\t%s\n", coverText(h))
	}
	if h.Screen != "" {
		writeLines(w, "screen", strings.Split(safeLines(h.Screen), "\n"))
	}
}

// safeLines makes a stored screen safe once more, line by line: what is stored may have been changed.
func safeLines(screen string) string {
	lines := strings.Split(screen, "\n")
	for i := range lines {
		lines[i] = unmarked(lines[i])
	}
	return strings.Join(lines, "\n")
}

// unmarked renders a line that was rendered before; the brackets of its marks are left alone.
func unmarked(line string) string {
	var b strings.Builder
	for _, r := range line {
		if r == '⟨' || r == '⟩' {
			b.WriteRune(r)
			continue
		}
		b.WriteString(show(string(r)))
	}
	return b.String()
}

func writeLines(w io.Writer, label string, lines []string) {
	for _, line := range lines {
		fmt.Fprintf(w, "%s\t| %s\n", label, line)
		label = ""
	}
}

// writeFacts lists every fact but the text, which stands above.
func writeFacts(w io.Writer, facts map[string]any) {
	label := "facts"
	names := make([]string, 0, len(facts))
	for name := range facts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "text" || name == "now" {
			continue
		}
		value, err := json.Marshal(facts[name])
		if err != nil || string(value) == "[]" || string(value) == "false" || string(value) == `""` {
			continue
		}
		fmt.Fprintf(w, "%s\t%s %s\n", label, show(name), show(string(value)))
		label = ""
	}
}

// scopesText says what an approver may choose from.
func scopesText(t policies.Terms) string {
	var all []string
	for _, s := range t.Scopes() {
		switch {
		case s == policies.ScopeTime:
			all = append(all, "up to "+t.Grant.String())
		case s == policies.ScopeSession:
			all = append(all, "this session")
		default:
			all = append(all, "once")
		}
	}
	return strings.Join(all, ", ")
}

func stateText(h policies.Hold) string {
	text := string(h.State)
	if h.State == policies.StatePending && time.Now().After(h.Expires) {
		text = "pending, and too late to answer"
	}
	if !h.Ended.IsZero() {
		text += " since " + h.Ended.Local().Format("2006-01-02 15:04:05")
	}
	if h.Why != "" {
		text += ": " + unmarked(h.Why)
	}
	return text
}

// AnswerText says in a line what somebody answered.
func AnswerText(a policies.Answer) string {
	verb := map[bool]string{true: "approved", false: "denied"}[a.Approve]
	text := fmt.Sprintf("%s by %s at %s (%s)", verb, show(a.Approver.String()), a.At.Local().Format("2006-01-02 15:04:05"), show(a.Via))
	switch {
	case a.Advance != "":
		text += ", in advance as " + show(a.Advance)
	case a.Scope == policies.ScopeTime:
		text += ", for " + a.For.String()
	case a.Scope != "":
		text += ", for " + map[policies.Scope]string{policies.ScopeOnce: "once", policies.ScopeSession: "this session"}[a.Scope]
	}
	if a.Reason != "" {
		text += ": " + show(a.Reason)
	}
	return text
}
