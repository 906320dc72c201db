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

	MayWithdraw bool            // it is the viewer's own, or their agent's
	MayNow      []string        // groups that may answer now
	Later       []policies.Step // and those that may later
	Choices     []choice        // of what an approval covers
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
	k.WhyNot = c.whyNot(v.viewer.Principal, h)
	k.MayGive = k.WhyNot == ""
	k.MayWithdraw = owns(v.viewer.Principal, h)
	k.MayNow = h.MayAnswerNow(k.Now)
	for _, step := range h.Escalations() {
		if k.Now.Before(step.At) {
			k.Later = append(k.Later, step)
		}
	}
	k.Choices = choices(h.Terms)
	return k
}

// whyNot says what the desk would: it only saves people the try. The desk decides.
func (c *Console) whyNot(p policies.Principal, h policies.Hold) string {
	err := c.o.Approvals.Eligible(p, h)
	switch {
	case err == nil:
		return ""
	case p.Kind != policies.Human || p.OnBehalfOf != nil:
		return "Only people answer requests."
	case errors.Is(err, policies.ErrOwnRequest) && h.Principal.Key == p.Key:
		return "This is your own request. Somebody else must answer it."
	case errors.Is(err, policies.ErrOwnRequest):
		return "An agent of yours asks this. Somebody else must answer it."
	case errors.Is(err, policies.ErrAnswered):
		return "You have answered. It waits for somebody else as well."
	}
	return "The policy lets others answer this: " + plain(strings.Join(h.MayAnswerNow(c.now()), ", ")) + "."
}

// owns tells whether p asked h, or it was asked on their behalf: they may take it back.
func owns(p policies.Principal, h policies.Hold) bool {
	for q := &h.Principal; q != nil; q = q.OnBehalfOf {
		if q.Key == p.Key {
			return true
		}
	}
	return false
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
	if a.Approve { // what an approval would have covered says nothing of a denial
		if a.Scope, a.For, err = policies.ParseScope(r.PostForm.Get("scope")); err != nil {
			return errBad
		}
	}
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
		return notice{"warn", "Your approval counts. It needs the answer of somebody else as well: so far " + plain(h.ProgressText()) + "."}
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
	case errors.Is(err, policies.ErrScope):
		return http.StatusUnprocessableEntity, notice{"bad", "The policy does not let an approval cover that much. Nothing was answered yet."}
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

// A choice is one thing that an approver may let an approval cover.
type choice struct{ Value, Label string }

// shorter are the times that are offered below the policy's own.
var shorter = []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 24 * time.Hour}

// choices are what an approval by these terms may cover, what the policy says first; none where there is
// nothing to choose.
func choices(t policies.Terms) []choice {
	var out []choice
	if t.Widest() == policies.ScopeTime {
		out = append(out, choice{"", "identical operations for " + span(t.Grant)})
		for i := len(shorter) - 1; i >= 0; i-- {
			if shorter[i] < t.Grant {
				out = append(out, choice{shorter[i].String(), "identical operations for " + span(shorter[i])})
			}
		}
	}
	if t.Widest() != policies.ScopeOnce {
		return append(out, choice{"session", "identical operations in this session"}, choice{"once", "this one operation"})
	}
	return nil
}

// approvalWithdraw takes a request of the viewer's own back, or one of their agent's.
func (c *Console) approvalWithdraw(w http.ResponseWriter, r *http.Request, v *visit) error {
	h, err := c.hold(r, v)
	if err != nil {
		return err
	}
	err = c.o.Approvals.Withdraw(r.Context(), h.ID, v.viewer.Principal)
	n := notice{"warn", "You took this back. Whoever waits has been told."}
	status := http.StatusOK
	switch {
	case errors.Is(err, policies.ErrNotApprover):
		status, n = http.StatusForbidden, notice{"bad", "Only who asked this can take it back."}
	case errors.Is(err, policies.ErrNotPending):
		status, n = http.StatusConflict, notice{"warn", "It had ended before."}
	case err != nil:
		return err
	default:
		s := ledger.Session{ID: h.SessionID, Target: h.Target.Name}
		if err := c.audit(r.Context(), v.viewer, "hold.withdrawn", s, map[string]any{"hold": h.ID}); err != nil {
			c.log().ErrorContext(r.Context(), "console: withdrawal not audited", "hold", h.ID, "err", err)
		}
	}
	if h, err = c.o.Approvals.Get(r.Context(), h.ID); err != nil {
		return err
	}
	return c.showHold(w, r, v, status, h, n)
}

// coversText says what an approval of h covers, or may.
func coversText(h policies.Hold) string {
	t := h.Terms
	switch h.Covers() {
	case policies.ScopeSession:
		t.Session = true
	case policies.ScopeOnce:
		t.Session, t.Grant = false, 0
	}
	text := "this one operation"
	switch t.Widest() {
	case policies.ScopeTime:
		text = "identical operations for " + span(t.Grant)
	case policies.ScopeSession:
		text = "identical operations in this session"
	}
	if ends := h.GrantEnds(); !ends.IsZero() {
		return text + ", until " + ends.UTC().Format("15:04:05") + " UTC"
	}
	if h.Terms.Widest() == policies.ScopeTime && h.Covers() == "" {
		return "up to " + text
	}
	return text
}

// screenText shows what a terminal showed, line by line; the gate has made each safe, and it is made so
// again, should what is stored have been changed.
func screenText(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n")
}
