package console

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// advanceView is the page of what was approved in advance, with a form for more.
type advanceView struct {
	Given  []advanceRow
	Form   advanceForm
	Notice notice
	Token  string
	Now    time.Time
}

// advanceRow is one approval in advance.
type advanceRow struct {
	Advance policies.Advance
	State   string
	Mine    bool
}

// advanceForm is what somebody filled in, to be shown again should it be refused.
type advanceForm struct {
	Identity, Behalf, Target, Action, Text, When, Window, Uses, Reason string
	Like                                                               string // the hold that it was filled from
}

func (c *Console) advanceList(w http.ResponseWriter, r *http.Request, v *visit) error {
	if _, err := c.scope(r, v, ApprovalList); err != nil {
		return err
	}
	f := advanceForm{Action: "command:run", Window: "1h", Uses: "1"}
	if id := r.URL.Query().Get("like"); id != "" {
		h, err := c.o.Approvals.Get(r.Context(), id)
		if err == nil {
			err = c.admit(r, v, ApprovalList, aboutHold(h))
		}
		if err != nil {
			return err
		}
		f.Like, f.Identity, f.Target, f.Action, f.Text = h.ID, h.Principal.Key, h.Target.Name, h.Action, h.Text
		if h.Principal.OnBehalfOf != nil {
			f.Behalf = h.Principal.OnBehalfOf.Key
		}
	}
	return c.showAdvances(w, r, v, http.StatusOK, f, notice{})
}

func (c *Console) showAdvances(w http.ResponseWriter, r *http.Request, v *visit, status int, f advanceForm, n notice) error {
	all, err := c.o.Approvals.Advances(r.Context())
	if err != nil {
		return err
	}
	view := advanceView{Form: f, Notice: n, Token: v.token, Now: c.now()}
	for _, a := range all {
		o := Object{Target: policies.Target{Name: a.Target}, Held: a.Action}
		if slices.Contains(a.For, v.viewer.Principal.Key) {
			o.Owner = v.viewer.Principal.Key
		}
		mine := a.By.Key == v.viewer.Principal.Key
		if !mine && c.admit(r, v, ApprovalList, Object{Owner: o.Owner}) != nil {
			continue
		}
		view.Given = append(view.Given, advanceRow{Advance: a, State: a.State(view.Now), Mine: mine})
	}
	c.render(w, r, v, status, "advance", "Approved in advance", view)
	return nil
}

// aboutAdvance is an approval in advance as the gate is asked about it.
func aboutAdvance(a policies.Advance) Object {
	return Object{Target: policies.Target{Name: a.Target}, Held: a.Action}
}

// advanceGive takes the form.
func (c *Console) advanceGive(w http.ResponseWriter, r *http.Request, v *visit) error {
	f, a, err := c.readAdvance(r, v)
	if err != nil {
		return err
	}
	if a.Until.IsZero() {
		return c.showAdvances(w, r, v, http.StatusUnprocessableEntity, f, notice{"bad", "Write how long it holds as 30m or 8h, and how often as a number. Nothing was approved."})
	}
	a, err = c.o.Approvals.Approve(r.Context(), a, func(a policies.Advance) error {
		return c.o.Gate.Admit(r.Context(), v.viewer, ApprovalGive, aboutAdvance(a))
	})
	s := ledger.Session{Target: a.Target}
	switch refusal := new(Refusal); {
	case errors.As(err, &refusal):
		return c.refused(r.Context(), v.viewer, s, refusal)
	case errors.Is(err, policies.ErrOwnRequest), errors.Is(err, policies.ErrAdvance), errors.Is(err, policies.ErrNotApprover):
		return c.showAdvances(w, r, v, http.StatusUnprocessableEntity, f, notice{"bad", "Nothing was approved: " + plain(err.Error()) + "."})
	case err != nil:
		return err
	}
	detail := map[string]any{"advance": a.ID, "for": a.For, "action": a.Action, "of": a.Describe(), "until": a.Until.Format(time.RFC3339), "uses": a.Uses, "reason": a.Reason}
	if err := c.audit(r.Context(), v.viewer, "advance.given", s, detail); err != nil {
		// Unrecorded it must not stand.
		_, revoked := c.o.Approvals.Revoke(r.Context(), a.ID, v.viewer.Principal, nil)
		return errors.Join(err, revoked)
	}
	return c.showAdvances(w, r, v, http.StatusOK, advanceForm{Action: "command:run", Window: "1h", Uses: "1"},
		notice{"good", "Approved in advance as " + a.ID + "."})
}

// readAdvance reads the form; a zero Until says that its window or number could not be read.
func (c *Console) readAdvance(r *http.Request, v *visit) (advanceForm, policies.Advance, error) {
	get := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	reason, err := readReason(r)
	f := advanceForm{
		Identity: get("identity"), Behalf: get("behalf"), Target: get("target"), Action: get("action"), When: get("when"),
		Text: strings.ReplaceAll(r.PostForm.Get("text"), "\r\n", "\n"), Window: get("window"), Uses: get("uses"), Reason: reason,
	}
	a := policies.Advance{
		By: v.viewer.Principal, For: []string{f.Identity}, Target: f.Target, Action: f.Action, Text: f.Text, When: f.When, Reason: reason, Via: "console",
	}
	if f.Behalf != "" {
		a.For = append(a.For, f.Behalf)
	}
	if err == nil && get("like") != "" && f.Text != "" {
		f.Like, err = get("like"), c.exactText(r, v, get("like"), &a)
	}
	window, werr := time.ParseDuration(f.Window)
	uses, uerr := strconv.Atoi(f.Uses)
	if werr == nil && uerr == nil && window > 0 {
		a.Uses = uses
		a.From = c.now().UTC().Truncate(time.Microsecond)
		a.Until = a.From.Add(window)
	}
	return f, a, err
}

// exactText takes the text from the hold that the form was filled from: a form field cannot hold every byte.
func (c *Console) exactText(r *http.Request, v *visit, id string, a *policies.Advance) error {
	h, err := c.o.Approvals.Get(r.Context(), id)
	if err != nil {
		return err
	}
	if err := c.admit(r, v, ApprovalList, aboutHold(h)); err != nil {
		return err
	}
	if strings.ToValidUTF8(strings.ReplaceAll(h.Text, "\r\n", "\n"), "\ufffd") == a.Text {
		a.Text = h.Text
	}
	return nil
}

func (c *Console) advanceRevoke(w http.ResponseWriter, r *http.Request, v *visit) error {
	if _, err := c.scope(r, v, ApprovalList); err != nil {
		return err
	}
	a, err := c.o.Approvals.Revoke(r.Context(), r.PathValue("id"), v.viewer.Principal, func(a policies.Advance) error {
		return c.o.Gate.Admit(r.Context(), v.viewer, ApprovalGive, aboutAdvance(a))
	})
	f := advanceForm{Action: "command:run", Window: "1h", Uses: "1"}
	switch {
	case errors.Is(err, policies.ErrNoAdvance):
		return errNotFound
	case errors.Is(err, policies.ErrNotOpen):
		return c.showAdvances(w, r, v, http.StatusConflict, f, notice{"warn", "It was taken back before."})
	case errors.Is(err, policies.ErrNotAllowed):
		return c.showAdvances(w, r, v, http.StatusForbidden, f, notice{"bad", "Only who gave it, or an approver, can take it back."})
	case err != nil:
		return err
	}
	if err := c.audit(r.Context(), v.viewer, "advance.revoked", ledger.Session{Target: a.Target}, map[string]any{"advance": a.ID}); err != nil {
		c.log().ErrorContext(r.Context(), "console: revocation not audited", "advance", a.ID, "err", err)
	}
	return c.showAdvances(w, r, v, http.StatusOK, f, notice{"good", "Taken back: " + a.ID + "."})
}
