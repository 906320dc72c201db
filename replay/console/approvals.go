package console

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

const (
	maxWaiting  = 200 // holds on the page at once
	maxAnswered = 20  // answered ones below them
	recently    = 24 * time.Hour
	fragmentHdr = "X-Fragment" // sent by our script, which wants the card alone
)

// card is one hold as an approver sees it.
type card struct {
	Hold    policies.Hold
	Now     time.Time
	Token   string
	MayGive bool
	WhyNot  string // why this viewer may not answer, "" when they may
	Notice  notice
	Left    time.Duration // until it expires
	Share   int           // of the waiting time that is left, in percent
	Alone   bool          // on its own page
}

// notice tells what became of an answer.
type notice struct {
	Tone string // good, warn, bad
	Text string
}

// approvalsView is the page of what waits.
type approvalsView struct {
	Waiting  []card
	Answered []card
}

// aboutHold is a hold as the gate is asked about it.
func aboutHold(h policies.Hold) Object {
	o := Object{Target: h.Target, Session: h.SessionID, Owner: h.Principal.Key, Held: h.Action, Policy: h.Policy.ID}
	if p := h.Principal.Person(); p != nil && p.Key != h.Principal.Key {
		o.OwnerFor = p.Key
	}
	return o
}

// pending returns the holds that wait and that the viewer may see, oldest first: it expires first.
func (c *Console) pending(r *http.Request, v *visit) ([]policies.Hold, error) {
	if _, err := c.scope(r, v, ApprovalList); err != nil {
		return nil, undecided(err)
	}
	f := policies.HoldFilter{States: []policies.State{policies.StatePending}, Limit: maxWaiting}
	all, err := c.o.Ledger.Holds(r.Context(), f)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(h policies.Hold) bool { return c.admit(r, v, ApprovalList, aboutHold(h)) != nil })
	slices.Reverse(all)
	return all, nil
}

func (c *Console) cards(v *visit, holds []policies.Hold) []card {
	var all []card
	for _, h := range holds {
		all = append(all, c.card(v, h))
	}
	return all
}

func (c *Console) card(v *visit, h policies.Hold) card {
	k := card{Hold: h, Now: c.now(), Token: v.token}
	if h.State == policies.StatePending && !k.Now.Before(h.Expires) {
		k.Hold.State = policies.StateExpired // on the dot, whether or not its gate has said so
	}
	if k.Hold.State != policies.StatePending {
		return k
	}
	k.Left = max(h.Expires.Sub(k.Now), 0)
	if all := h.Expires.Sub(h.Asked); all > 0 {
		k.Share = int(100 * k.Left / all)
	}
	k.WhyNot = whyNot(v.viewer.Principal, h)
	k.MayGive = k.WhyNot == ""
	return k
}

// whyNot says what the desk would: it only saves people the try. The desk decides.
func whyNot(p policies.Principal, h policies.Hold) string {
	if p.Kind != policies.Human || p.OnBehalfOf != nil {
		return "Only people answer requests."
	}
	for q := &h.Principal; q != nil; q = q.OnBehalfOf {
		if same(*q, p) && q == &h.Principal {
			return "This is your own request. Somebody else must answer it."
		}
		if same(*q, p) {
			return "An agent of yours asks this. Somebody else must answer it."
		}
	}
	for _, a := range h.Answers {
		if same(a.Approver, p) {
			return "You have answered. It waits for somebody else as well."
		}
	}
	if !slices.ContainsFunc(h.Terms.Approvers, func(g string) bool { return slices.Contains(p.Groups, g) }) {
		return "The policy lets others answer this: " + plain(strings.Join(h.Terms.Approvers, ", ")) + "."
	}
	return ""
}

// same tells one person, who may come from two issuers with the same verified e-mail address.
func same(a, b policies.Principal) bool {
	return a.Key == b.Key || a.Email != "" && strings.EqualFold(a.Email, b.Email)
}

func (c *Console) approvalList(w http.ResponseWriter, r *http.Request, v *visit) error {
	if _, err := c.scope(r, v, ApprovalList); err != nil {
		return err
	}
	holds, err := c.pending(r, v)
	if err != nil {
		return err
	}
	f := policies.HoldFilter{Limit: maxAnswered, Since: c.now().Add(-recently), States: []policies.State{
		policies.StateApproved, policies.StateConsumed, policies.StateDenied, policies.StateExpired, policies.StateWithdrawn, policies.StateLost,
	}}
	answered, err := c.o.Ledger.Holds(r.Context(), f)
	if err != nil {
		return err
	}
	answered = slices.DeleteFunc(answered, func(h policies.Hold) bool { return c.admit(r, v, ApprovalList, aboutHold(h)) != nil })
	c.render(w, r, v, http.StatusOK, "approvals", "Approvals", approvalsView{Waiting: c.cards(v, holds), Answered: c.cards(v, answered)})
	return nil
}

// hold finds the hold of a page, if the viewer may see it.
func (c *Console) hold(r *http.Request, v *visit) (policies.Hold, error) {
	h, err := c.o.Approvals.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		if _, refusal := c.scope(r, v, ApprovalList); refusal != nil && errors.Is(err, policies.ErrNoHold) {
			return h, refusal
		}
		return h, err
	}
	return h, c.admit(r, v, ApprovalList, aboutHold(h))
}

func (c *Console) approvalPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	h, err := c.hold(r, v)
	if err != nil {
		return err
	}
	return c.showHold(w, r, v, http.StatusOK, h, notice{})
}

// approvalCard is the same alone, for the script of a page that lists it.
func (c *Console) approvalCard(w http.ResponseWriter, r *http.Request, v *visit) error {
	h, err := c.hold(r, v)
	if err != nil {
		return err
	}
	c.fragment(w, r, v, "approvals", "card", c.card(v, h))
	return nil
}

func (c *Console) showHold(w http.ResponseWriter, r *http.Request, v *visit, status int, h policies.Hold, n notice) error {
	k := c.card(v, h)
	k.Notice = n
	if r.Header.Get(fragmentHdr) != "" {
		c.write(w, r, status, "approvals", "card", frame{Token: v.token, Now: c.now(), Body: k})
		return nil
	}
	k.Alone = true
	c.render(w, r, v, status, "approval", "Request "+h.ID, k)
	return nil
}

// approvalAnswer takes an answer. It is given to what the page showed and to nothing else: the form
// carries the digest of that, and the desk's stored hold must have the same.
func (c *Console) approvalAnswer(w http.ResponseWriter, r *http.Request, v *visit) error {
	h, err := c.hold(r, v)
	if err != nil {
		return err
	}
	answer := r.PostForm.Get("answer")
	if answer != "approve" && answer != "deny" {
		return errBad
	}
	reason, err := readReason(r)
	if err != nil {
		return err
	}
	if err := c.admit(r, v, ApprovalGive, aboutHold(h)); err != nil {
		return c.refused(r.Context(), v.viewer, ledger.Session{ID: h.SessionID, Target: h.Target.Name}, err)
	}
	a := policies.Answer{Approver: v.viewer.Principal, Approve: answer == "approve", Reason: reason, Via: "console"}
	after, err := c.o.Approvals.Answer(r.Context(), h.ID, a, func(stored policies.Hold) error {
		if digest(stored) != r.PostForm.Get("seen") {
			return errChanged
		}
		return c.o.Gate.Admit(r.Context(), v.viewer, ApprovalGive, aboutHold(stored))
	})
	return c.answered(w, r, v, h, after, a, err)
}

var errChanged = errors.New("the request is not the one that the page showed")

// answered tells the approver what became of their answer.
func (c *Console) answered(w http.ResponseWriter, r *http.Request, v *visit, before, after policies.Hold, a policies.Answer, err error) error {
	s := ledger.Session{ID: before.SessionID, Target: before.Target.Name}
	detail := map[string]any{"hold": before.ID, "approve": a.Approve}
	if err == nil {
		if aerr := c.audit(r.Context(), v.viewer, "hold.answered", s, detail); aerr != nil {
			// The answer itself stands in the ledger, with who gave it and when.
			c.log().ErrorContext(r.Context(), "console: answer not audited", "hold", before.ID, "err", aerr)
		}
		return c.showHold(w, r, v, http.StatusOK, after, noticeOf(after, a))
	}
	status, n := lateNotice(err)
	if refusal := new(Refusal); status == 0 || errors.As(err, &refusal) {
		return c.refused(r.Context(), v.viewer, s, err)
	}
	detail["why"] = err.Error()
	if aerr := c.audit(r.Context(), v.viewer, "hold.answer-refused", s, detail); aerr != nil {
		c.log().ErrorContext(r.Context(), "console: refused answer not audited", "hold", before.ID, "err", aerr)
	}
	now, gerr := c.o.Approvals.Get(r.Context(), before.ID)
	if gerr != nil {
		return gerr
	}
	if errors.Is(err, policies.ErrNotPending) {
		n.Text += " " + endedBy(now)
	}
	return c.showHold(w, r, v, status, now, n)
}

func noticeOf(h policies.Hold, a policies.Answer) notice {
	switch {
	case !a.Approve:
		return notice{"bad", "You denied this. Whoever waits has been told."}
	case h.State == policies.StatePending:
		return notice{"warn", "Your approval counts. It needs the answer of somebody else as well."}
	}
	return notice{"good", "You approved this. It runs now, exactly as shown."}
}

// lateNotice explains an answer that the desk did not take; status 0 is an error that is no answer.
func lateNotice(err error) (int, notice) {
	switch {
	case errors.Is(err, errChanged): // the desk wraps it in ErrNotApprover
		return http.StatusConflict, notice{"bad", "The page showed something else than what waits. Nothing was answered; look again."}
	case errors.Is(err, policies.ErrNotPending):
		return http.StatusConflict, notice{"warn", "Your answer came too late and changed nothing."}
	case errors.Is(err, policies.ErrAnswered):
		return http.StatusConflict, notice{"warn", "You have answered this already; the first answer counts."}
	case errors.Is(err, policies.ErrOwnRequest):
		return http.StatusForbidden, notice{"bad", "Nobody answers a request of their own, or of an agent of theirs."}
	case errors.Is(err, policies.ErrNotApprover):
		return http.StatusForbidden, notice{"bad", "You are not one of those whom the policy lets answer this."}
	case errors.Is(err, policies.ErrReason):
		return http.StatusUnprocessableEntity, notice{"warn", "The policy wants a reason with an approval. Nothing was answered yet."}
	}
	return 0, notice{}
}

// endedBy says what a hold came to, and through whom.
func endedBy(h policies.Hold) string {
	for i := len(h.Answers) - 1; i >= 0; i-- {
		a := h.Answers[i]
		verb := "denied"
		if a.Approve {
			verb = "approved"
		}
		if h.State == policies.StateDenied && a.Approve {
			continue
		}
		return fmt.Sprintf("%s %s it at %s UTC.", person(a.Approver), verb, a.At.UTC().Format("15:04:05"))
	}
	return "It is " + holdStateOf(h.State).Label + "."
}

// readReason takes what a person wrote. It is refused, not cut, when it is too long or no text.
func readReason(r *http.Request) (string, error) {
	s := strings.TrimSpace(strings.ReplaceAll(r.PostForm.Get("reason"), "\r\n", "\n"))
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return "", errBad
	}
	if utf8.RuneCountInString(s) > maxReason {
		return "", &http.MaxBytesError{Limit: maxReason}
	}
	return s, nil
}

// approvalEvents tells a page which holds changed. It names them and says nothing of them: the page asks
// for each card, as this viewer.
func (c *Console) approvalEvents(w http.ResponseWriter, r *http.Request, v *visit) error {
	own, err := c.scope(r, v, ApprovalList)
	if err != nil {
		return err
	}
	st, err := c.openStream(w, r, v)
	if err != nil {
		return err
	}
	defer st.close()
	changes, err := c.o.Approvals.Watch(st.ctx)
	if err != nil {
		return err
	}
	st.start()
	o := Object{}
	if own {
		o.Owner = v.viewer.Principal.Key
	}
	if err := c.relay(st, r, v, o, changes); err != nil && st.ctx.Err() == nil {
		c.log().InfoContext(r.Context(), "console: approvals stream ended", "err", err)
	}
	return nil
}

// relay sends what changes, and now and then the whole list of what waits: a change may have been missed
// while the line was down.
func (c *Console) relay(st *stream, r *http.Request, v *visit, o Object, changes <-chan policies.Hold) error {
	if err := c.sync(st, r, v); err != nil {
		return err
	}
	for {
		select {
		case h, ok := <-changes:
			if !ok {
				return nil
			}
			if c.o.Gate.Admit(st.ctx, v.viewer, ApprovalList, aboutHold(h)) != nil {
				continue
			}
			if err := st.send("hold", map[string]string{"id": h.ID, "state": string(h.State)}); err != nil {
				return err
			}
		case <-st.tick.C:
			if err := st.beat(ApprovalList, o); err != nil {
				return err
			}
			if err := c.sync(st, r, v); err != nil {
				return err
			}
		case <-st.ctx.Done():
			return st.ctx.Err()
		}
	}
}

func (c *Console) sync(st *stream, r *http.Request, v *visit) error {
	holds, err := c.pending(r.WithContext(st.ctx), v)
	if err != nil {
		return err
	}
	ids := []string{}
	for _, h := range holds {
		ids = append(ids, h.ID)
	}
	return st.send("sync", map[string]any{"waiting": ids})
}
