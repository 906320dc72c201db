package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/policies"
)

// maxShown is how many characters of an operation a message shows; the console shows all.
const maxShown = 500

// A Message is what a generic webhook gets, as JSON. Text is masked and rendered by [policies.Render].
type Message struct {
	Event      string    `json:"event"` // asked, progress, escalated, approved, denied, expired, withdrawn, lost
	ID         string    `json:"id"`
	Gate       string    `json:"gate"`
	URL        string    `json:"url"` // the request's page: sign in there to answer
	State      string    `json:"state"`
	Who        string    `json:"who"`
	Identity   string    `json:"identity"`
	OnBehalfOf string    `json:"on_behalf_of,omitempty"`
	Target     string    `json:"target"`
	Kind       string    `json:"target_kind"`
	Action     string    `json:"action"`
	Text       string    `json:"text"`
	Cut        bool      `json:"cut"` // the text is longer
	Classes    []string  `json:"classes,omitempty"`
	Opaque     bool      `json:"opaque"`
	Policy     string    `json:"policy"`
	Approvers  []string  `json:"approvers"` // groups that may answer now
	Approved   int       `json:"approved"`  // of Needed
	Needed     int       `json:"needed"`
	Asked      time.Time `json:"asked"`
	Expires    time.Time `json:"expires"`
	By         []string  `json:"by,omitempty"` // who answered
	At         time.Time `json:"at"`           // of the event
}

// message says of a hold what others may know.
func (s *Sender) message(e Event, h policies.Hold) Message {
	m := Message{
		Event: nameOf(e.What), ID: h.ID, Gate: s.o.Gate, URL: strings.TrimRight(s.o.Console, "/") + "/approvals/" + h.ID, State: string(h.State),
		Who: render(h.Principal.Name), Identity: render(h.Principal.Key), Target: render(h.Target.Name), Kind: render(h.Target.Kind),
		Action: h.Action, Policy: render(h.Policy.ID), Approvers: h.MayAnswerNow(e.At), Asked: h.Asked.UTC(), Expires: h.Expires.UTC(), At: e.At.UTC(),
	}
	m.Approved, m.Needed = h.Progress()
	m.Text, m.Cut = clip(render(s.o.Mask(h.Text)))
	if h.Principal.OnBehalfOf != nil {
		m.OnBehalfOf = render(h.Principal.OnBehalfOf.String())
	}
	m.Opaque, _ = h.Facts["opaque"].(bool)
	m.Classes = words(h.Facts["classes"])
	for _, a := range h.Answers {
		m.By = append(m.By, render(a.Approver.String()))
	}
	return m
}

func nameOf(what string) string {
	switch what {
	case "pending":
		return "asked"
	case "answered":
		return "progress"
	}
	return what
}

func render(s string) string { return policies.Render([]byte(s)) }

func clip(s string) (string, bool) {
	if utf8.RuneCountInString(s) <= maxShown {
		return s, false
	}
	return string([]rune(s)[:maxShown]) + "…", true
}

func words(v any) []string {
	switch v := v.(type) {
	case []string:
		return v
	case []any:
		var out []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// encode writes m in the form of a kind.
func (m Message) encode(k Kind) ([]byte, error) {
	if k == Slack {
		return json.Marshal(m.slack())
	}
	return json.Marshal(m)
}

// plainText is a text that Slack shows as it is: no link, no mention, no markup is read out of it.
type plainText struct {
	Type  string `json:"type"`
	Text  string `json:"text"`
	Emoji bool   `json:"emoji"`
}

func plain(s string) plainText { return plainText{"plain_text", s, false} }

type block map[string]any

// slack is m as Block Kit. What others wrote stands in plain_text alone; the fallback text, which Slack reads as markup,
// has only words of ours and the id.
func (m Message) slack() map[string]any {
	who := m.Who
	if m.OnBehalfOf != "" {
		who += " for " + m.OnBehalfOf
	}
	head := fmt.Sprintf("%s: %s on %s (%s)", title(m), who, m.Target, m.Action)
	text := m.Text
	if m.Cut {
		text += " (cut here; the console shows all of it)"
	}
	context := fmt.Sprintf("request %s, policy %s, %s", m.ID, m.Policy, strings.Join(m.Approvers, " or "))
	if m.Needed > 1 {
		context += fmt.Sprintf(", %d of %d approvals", m.Approved, m.Needed)
	}
	if len(m.Classes) > 0 {
		context += ", " + strings.Join(m.Classes, " ")
	}
	if m.Opaque {
		context += ", opaque"
	}
	blocks := []block{
		{"type": "section", "text": plain(cut(head, 2900))},
		{"type": "section", "text": plain(cut(text, 2900))},
		{"type": "context", "elements": []plainText{plain(cut(context, 1900))}},
	}
	label := "Look"
	if m.State == string(policies.StatePending) {
		label = "Look and answer"
	}
	blocks = append(blocks, block{"type": "actions", "elements": []block{
		{"type": "button", "text": plain(label), "url": m.URL, "action_id": "sallyport-open"},
	}})
	return map[string]any{"text": fmt.Sprintf("%s: request %s", title(m), m.ID), "blocks": blocks}
}

func title(m Message) string {
	switch m.Event {
	case "asked":
		return "Approval needed"
	case "progress":
		return "Further approval needed"
	case "escalated":
		return "Approval still needed"
	}
	return "Request " + m.Event
}

// cut keeps within Slack's own limits, which refuse the whole message.
func cut(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		if s == "" {
			return " " // an empty text is refused, too
		}
		return s
	}
	return string([]rune(s)[:limit]) + "…"
}
