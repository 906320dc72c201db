package policies

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Bounds of what may wait, and of what people write.
const (
	MaxHoldsEach     = 16        // holds of one principal that wait at one gate
	MaxHolds         = 4096      // holds that wait at one gate
	MaxText          = 256 << 10 // bytes of an operation that a human is asked to read
	MaxJustification = 4 << 10
	MaxReason        = 4 << 10
)

const (
	lookAgain    = 5 * time.Second // how often a waiter looks, should a change not have been reported
	storeTimeout = 5 * time.Second // for one step that must be tried although nobody waits for it any more
)

var validHoldID = regexp.MustCompile(`^[0-9a-z]{6,40}$`)

// now is the present as every store keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// Desk leads holds from being asked to being answered. Several desks, on several gates, may share a store. It is safe
// for concurrent use.
//
//	pending ── approved ── consumed       the operation is released, once
//	   ├────── denied                     a human said no
//	   ├────── expired                    nobody said anything in time
//	   ├────── withdrawn                  the client left (also from approved)
//	   └────── lost                       the gate was restarted (also from approved)
//
// Every arrow is one atomic step of the store, so of two who try one wins. Whenever a step's outcome is unknown the
// operation is refused.
type Desk struct {
	store Store
	gate  string

	roster     *Roster
	advances   AdvanceStore
	mayAdvance func(Advance, Hold) error

	mu      sync.Mutex
	waiting map[string]int // by key of the principal
	total   int
}

// NewDesk returns the desk of one gate. Gate names it among those that share s, and stays the same across restarts.
func NewDesk(s Store, gate string) *Desk {
	return &Desk{store: s, gate: gate, waiting: map[string]int{}}
}

// OnCall makes r say who is in which group at the moment they answer. Call it before the desk is used.
func (d *Desk) OnCall(r *Roster) { d.roster = r }

// InAdvance lets people answer before anybody asks. StillMay is asked when such an answer is about to count, and says
// whether its giver may still give it; nil refuses. Call it before the desk is used.
func (d *Desk) InAdvance(s AdvanceStore, stillMay func(Advance, Hold) error) {
	d.advances, d.mayAdvance = s, stillMay
}

// Ask waits until h is approved, and returns it consumed: the caller, and nobody else, may now run exactly h.Text. If
// an earlier approval with a grant covers the identical operation, it returns that at once. In both cases the
// operation must be ended at GrantEnds, unless that is zero.
//
// Announce, if not nil, is called with what was stored, before anybody is waited for, and again whenever the hold has
// come further while it still waits: one of several has approved, or more people may answer. Any error means that the
// operation must not run; it is a [*RefusedError]. When ctx ends the hold is withdrawn.
func (d *Desk) Ask(ctx context.Context, h Hold, announce func(Hold)) (Hold, error) {
	h = h.clone()
	h.Gate, h.State, h.Answers, h.Ended, h.Why = d.gate, StatePending, nil, time.Time{}, ""
	if err := h.check(); err != nil {
		return h, &RefusedError{Hold: h, State: StateDenied, Why: "this cannot be put before a human: " + err.Error()}
	}
	if g, ok := d.granted(ctx, h); ok {
		return g, nil
	}
	release, err := d.reserve(h.Principal.Key)
	if err != nil {
		return h, &RefusedError{Hold: h, State: StateDenied, Why: err.Error(), Err: err}
	}
	defer release()
	watch, stop := context.WithCancel(ctx)
	defer stop()
	changes, err := d.store.HoldChanges(watch) // before it is stored, so that no answer is missed
	if err != nil {
		return h, &RefusedError{Hold: h, State: StateLost, Why: "nobody can be asked at the moment", Err: fmt.Errorf("watch holds: %w", err)}
	}
	h.Asked = now()
	h.Expires = h.Asked.Add(h.Terms.Wait)
	deadline := time.NewTimer(h.Terms.Wait) // a jump of the clock prolongs nothing
	defer deadline.Stop()
	if err := d.store.PutHold(ctx, h); err != nil {
		return h, d.unstored(ctx, h, err)
	}
	cur := d.advanced(ctx, h)
	if announce == nil {
		announce = func(Hold) {}
	}
	if cur.State == StatePending {
		announce(cur.clone())
	} else if got, err, decided := d.look(ctx, h); decided {
		return got, err
	}
	w := &waiter{d: d, h: h, seen: cur, changes: changes, deadline: deadline.C, announce: announce}
	return w.wait(ctx)
}

// check refuses what must not be stored.
func (h *Hold) check() error {
	switch {
	case !validHoldID.MatchString(h.ID):
		return errors.New("its id is malformed")
	case len(h.Text) > MaxText:
		return fmt.Errorf("%d bytes are more than the %d that a person is asked to read", len(h.Text), MaxText)
	case len(h.Justification) > MaxJustification:
		return fmt.Errorf("a justification of more than %d bytes", MaxJustification)
	case h.Action == "" || h.Target.Name == "":
		return errors.New("it names no action or no target")
	case h.Terms.Wait <= 0:
		return errors.New("its terms leave no time to answer")
	}
	for _, n := range h.Terms.needs() {
		if len(n.Groups) == 0 {
			return errors.New("its terms name nobody who may approve")
		}
	}
	return h.Principal.check()
}

// reserve takes one of the places that a principal has to wait in.
func (d *Desk) reserve(key string) (release func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting[key] >= MaxHoldsEach {
		return nil, fmt.Errorf("%w: %d of yours", ErrTooManyHolds, MaxHoldsEach)
	}
	if d.total >= MaxHolds {
		return nil, fmt.Errorf("%w: %d at this gate", ErrTooManyHolds, MaxHolds)
	}
	d.waiting[key]++
	d.total++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.total--
		if d.waiting[key]--; d.waiting[key] == 0 {
			delete(d.waiting, key)
		}
	}, nil
}

// unstored gives up a hold that may or may not have been stored.
func (d *Desk) unstored(ctx context.Context, h Hold, err error) error {
	if !errors.Is(err, ErrHoldExists) {
		d.end(ctx, h, StatePending, StateWithdrawn, "it could not be stored")
	}
	return &RefusedError{Hold: h, State: StateLost, Why: "the request could not be stored, so nobody can be asked", Err: err}
}

// end makes a step for somebody who has already left; if it fails the hold expires by itself.
func (d *Desk) end(ctx context.Context, h Hold, from, to State, why string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	return d.store.EndHold(ctx, h.ID, from, to, why)
}

// A waiter stays with a pending hold until something decides it.
type waiter struct {
	d        *Desk
	h        Hold // as it was asked
	seen     Hold // as it was announced last
	steps    int  // of its escalations, announced
	changes  <-chan string
	deadline <-chan time.Time
	announce func(Hold)
}

func (w *waiter) wait(ctx context.Context) (Hold, error) {
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	step := time.NewTimer(maxWait)
	defer step.Stop()
	for {
		if left, ok := w.h.untilStep(now()); ok {
			step.Reset(left)
		}
		select {
		case <-ctx.Done():
			return w.d.withdrawn(ctx, w.h)
		case <-w.deadline:
			return w.d.expired(ctx, w.h)
		case id, ok := <-w.changes:
			if !ok {
				w.changes = nil // the store lost its connection: look now and then
			}
			if ok && id != w.h.ID {
				continue
			}
		case <-step.C:
			w.escalate(ctx)
		case <-again.C:
		}
		got, err, decided := w.d.look(ctx, w.h)
		if decided {
			return got, err
		}
		w.tell(got)
	}
}

// escalate tells those who watch that more people may answer. Should that fail, they may all the same.
func (w *waiter) escalate(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_ = w.d.store.TouchHold(ctx, w.h.ID, "escalated")
}

// tell announces how far the hold has come, if that is further than before.
func (w *waiter) tell(cur Hold) {
	steps := w.h.escalated(now())
	if len(cur.Answers) <= len(w.seen.Answers) && steps <= w.steps {
		return
	}
	if len(cur.Answers) > len(w.seen.Answers) {
		w.seen = cur
	}
	w.steps = steps
	w.announce(w.seen.clone())
}

// look reads the hold once. An unreachable store decides nothing: the hold will expire.
func (d *Desk) look(ctx context.Context, h Hold) (got Hold, err error, decided bool) {
	short, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	cur, err := d.store.Hold(short, h.ID)
	switch {
	case errors.Is(err, ErrNoHold):
		return h, &RefusedError{Hold: h, State: StateLost, Why: "the request is gone from the store", Err: err}, true
	case err != nil || ctx.Err() != nil:
		return h, nil, false
	case cur.State == StatePending:
		return cur, nil, false
	case cur.State == StateApproved:
		got, err = d.consume(ctx, h, cur)
		return got, err, true
	}
	return cur, refusal(cur), true
}

// refusal says why a hold that ended must not run.
func refusal(h Hold) *RefusedError {
	e := &RefusedError{Hold: h, State: h.State, Why: h.Why}
	switch h.State {
	case StateDenied:
		for _, a := range h.Answers {
			if !a.Approve {
				e.Why = "denied by " + a.Approver.label()
				if a.Reason != "" {
					e.Why += ": " + a.Reason
				}
			}
		}
	case StateExpired:
		e.Why = fmt.Sprintf("nobody answered within %s", h.Terms.Wait)
	case StateConsumed:
		e.Why = "its approval was used already"
	}
	return e
}

// consume takes an approval. What comes back from the store is believed only as far as it is about what was asked and
// meets the terms; and when it is not certain that the step was ours, it was not.
func (d *Desk) consume(ctx context.Context, h, cur Hold) (Hold, error) {
	if err := h.verify(cur); err != nil {
		d.end(ctx, h, StateApproved, StateLost, err.Error())
		return cur, &RefusedError{Hold: cur, State: StateLost, Why: err.Error()}
	}
	short, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := d.store.EndHold(short, h.ID, StateApproved, StateConsumed, "")
	if errors.Is(err, ErrNotPending) {
		if last, again := d.store.Hold(short, h.ID); again == nil {
			return last, refusal(last)
		}
	}
	if err != nil {
		return cur, &RefusedError{Hold: cur, State: StateLost, Why: "it was approved, but the approval could not be taken up; ask again", Err: err}
	}
	cur.State, cur.Ended = StateConsumed, now()
	return cur, nil
}

// verify compares what the store says was approved with what was asked.
func (h Hold) verify(cur Hold) error {
	if !SameOperation(h, cur) || !cur.Expires.Equal(h.Expires) {
		return errors.New("what was approved is not what was asked")
	}
	for _, a := range cur.Answers {
		if !a.Approve || !a.At.Before(h.Expires) || mayNot(a.Approver, h.Principal) != nil {
			return errors.New("an answer to it does not count")
		}
	}
	if !h.Terms.met(cur.Answers, h.Asked) {
		return errors.New("it has fewer approvals than its terms need")
	}
	return nil
}

// expired ends a hold whose time has run out. An answer that came in time still counts.
func (d *Desk) expired(ctx context.Context, h Hold) (Hold, error) {
	err := d.end(ctx, h, StatePending, StateExpired, "")
	if err == nil {
		h.State, h.Ended = StateExpired, now()
		return h, refusal(h)
	}
	if errors.Is(err, ErrNotPending) {
		if got, err, decided := d.look(ctx, h); decided {
			return got, err
		}
	}
	h.State = StateExpired
	e := refusal(h)
	e.Err = err
	return h, e
}

// withdrawn takes a hold back because its client left. An approval that came just before is taken back as well, unless
// it covers later operations too: then a retry may use it.
func (d *Desk) withdrawn(ctx context.Context, h Hold) (Hold, error) {
	why := "the client left"
	err := d.end(ctx, h, StatePending, StateWithdrawn, why)
	if errors.Is(err, ErrNotPending) && !d.outlives(ctx, h) {
		err = d.end(ctx, h, StateApproved, StateWithdrawn, why)
	}
	if errors.Is(err, ErrNotPending) {
		err = nil // somebody ended it first: it does not run here in any case
	}
	h.State, h.Why = StateWithdrawn, why
	return h, &RefusedError{Hold: h, State: StateWithdrawn, Why: why, Err: errors.Join(context.Cause(ctx), err)}
}

// outlives reports whether the approval of h may cover operations that come after its session.
func (d *Desk) outlives(ctx context.Context, h Hold) bool {
	if h.Terms.Widest() != ScopeTime {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	cur, err := d.store.Hold(ctx, h.ID)
	return err != nil || cur.Covers() == ScopeTime
}

// granted looks for an approval that covers h. It must be about the identical operation of the same principal, asked
// for on behalf of the same people with the same facts, and meet what is asked for today.
func (d *Desk) granted(ctx context.Context, h Hold) (Hold, bool) {
	if h.Terms.Widest() == ScopeOnce {
		return Hold{}, false
	}
	at := now()
	g, err := d.store.FindGrant(ctx, GrantQuery{h.Principal.Key, h.Target.Name, h.Action, h.Text, h.SessionID, at})
	if err != nil { // nothing found, or not certain: a human is asked
		return Hold{}, false
	}
	g.Terms.Grant, g.Terms.Session = narrowest(g.Terms, h.Terms)
	if !SameOperation(g, h) || !g.covers(h.SessionID, at) || !h.Terms.met(g.Answers, g.Asked) {
		return Hold{}, false
	}
	return g, true
}

// SameOperation reports whether two holds are about the same: who, for whom, on what, exactly what, and every fact.
func SameOperation(a, b Hold) bool {
	return sameChain(a.Principal, b.Principal) && a.Action == b.Action && a.Text == b.Text &&
		a.Target.Name == b.Target.Name && a.Target.Kind == b.Target.Kind && sameFacts(a.Facts, b.Facts)
}

func sameChain(a, b Principal) bool {
	return slices.EqualFunc(a.chain(), b.chain(), func(p, q *Principal) bool { return p.Key == q.Key && p.Kind == q.Kind })
}

// sameFacts compares facts of which one may have been through a store.
func sameFacts(a, b map[string]any) bool {
	if len(a) == 0 && len(b) == 0 {
		return true
	}
	x, errX := canonical(a)
	y, errY := canonical(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// canonical writes facts in the one form that they keep from then on: names sorted, no types but JSON's, and for bytes
// that are not UTF-8 what JSON makes of them. The text itself is compared byte for byte. When and from where somebody
// asks is no part of what they ask.
func canonical(facts map[string]any) ([]byte, error) {
	facts = maps.Clone(facts)
	delete(facts, "now")
	delete(facts, "source")
	b, err := json.Marshal(facts)
	if err != nil {
		return nil, err
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// met reports whether answers to what was asked at a time meet every need. One person counts once for each need, by
// whichever of their identities.
func (t Terms) met(answers []Answer, asked time.Time) bool {
	for _, n := range t.needs() {
		if len(t.people(n, answers, asked)) < max(n.Quorum, 1) {
			return false
		}
	}
	return true
}

// people returns the different people whose approvals count for n.
func (t Terms) people(n Need, answers []Answer, asked time.Time) []Principal {
	var people []Principal
	for _, a := range answers {
		if !a.Approve || !n.mayAnswer(a.Approver, a.At.Sub(asked)) || t.Reason && strings.TrimSpace(a.Reason) == "" {
			continue
		}
		if !slices.ContainsFunc(people, func(p Principal) bool { return samePerson(p, a.Approver) }) {
			people = append(people, a.Approver)
		}
	}
	return people
}

// samePerson compares by key, by verified e-mail address and, among those of one kind, by subject: one person may come
// from two issuers. Two people who share a subject are taken for one, which only keeps them from answering each other.
func samePerson(a, b Principal) bool {
	if a.Key == b.Key || a.Email != "" && strings.EqualFold(a.Email, b.Email) {
		return true
	}
	subject := a.subject()
	return subject != "" && a.Kind == b.Kind && subject == b.subject()
}

// subject is the part of the key that the issuer calls its holder by.
func (p Principal) subject() string {
	_, subject, _ := strings.Cut(p.Key, "#")
	return subject
}

// mayNot says why somebody can never answer a request of requester: agents do not answer, and nobody answers for
// themselves, for an agent of theirs, or for one whose agent they are.
func mayNot(approver, requester Principal) error {
	if approver.Kind != Human || approver.OnBehalfOf != nil || approver.Key == "" {
		return fmt.Errorf("%w: only people answer", ErrNotApprover)
	}
	for _, p := range approver.chain() {
		for _, q := range requester.chain() {
			if samePerson(*p, *q) {
				return ErrOwnRequest
			}
		}
	}
	return nil
}

// Answer records what a human says to a pending hold, and returns the hold as it is then: still pending if its terms
// need more people. MayApprove is asked at this moment whether a.Approver still may (the policy on approval:give); nil
// refuses. The desk sets a.At.
//
// Errors: ErrNoHold, ErrNotPending (answered, expired, withdrawn), ErrOwnRequest, ErrNotApprover, ErrAnswered,
// ErrReason, or what mayApprove or the store say. An error of the store leaves it open whether the answer counts: look
// again.
func (d *Desk) Answer(ctx context.Context, id string, a Answer, mayApprove func(Hold) error) (Hold, error) {
	h, err := d.Get(ctx, id)
	if err != nil {
		return Hold{}, err
	}
	if a.Advance != "" || !a.Until.IsZero() {
		return h, fmt.Errorf("%w: it says that it was given in advance", ErrNotApprover)
	}
	return d.answer(ctx, h, a, mayApprove, nil)
}

// answer takes one answer to h, as it was read. Before, if not nil, is the last thing to be asked before it is stored.
func (d *Desk) answer(ctx context.Context, h Hold, a Answer, mayApprove func(Hold) error, before func() error) (Hold, error) {
	if a.At = now(); h.State != StatePending || !a.At.Before(h.Expires) {
		return h, fmt.Errorf("%w: it is %s", ErrNotPending, h.stateAt(a.At))
	}
	a.Approver = d.roster.At(a.Approver, a.At)
	if err := h.mayAnswer(a, mayApprove); err != nil {
		return h, err
	}
	next := StateDenied
	if a.Approve {
		next = StatePending
		if h.Terms.met(append(slices.Clone(h.Answers), a), h.Asked) {
			next = StateApproved
		}
	}
	if before != nil {
		if err := before(); err != nil {
			return h, err
		}
	}
	id := h.ID
	h, err := d.store.AnswerHold(ctx, id, a, next)
	if err != nil {
		return h, fmt.Errorf("answer hold %s: %w", id, err)
	}
	if h.State == StatePending && h.Terms.met(h.Answers, h.Asked) {
		// Two answered at once, and neither saw the other.
		return d.complete(ctx, h)
	}
	return h, nil
}

// Eligible says why p could not answer h at this moment; nil if they could, should the policy on approval:give let them.
func (d *Desk) Eligible(p Principal, h Hold) error {
	a := Answer{Approver: d.roster.At(p, now()), At: now()}
	if h.stateAt(a.At) != StatePending {
		return ErrNotPending
	}
	return h.mayAnswer(a, func(Hold) error { return nil })
}

// complete approves a hold whose answers suffice.
func (d *Desk) complete(ctx context.Context, h Hold) (Hold, error) {
	err := d.store.EndHold(ctx, h.ID, StatePending, StateApproved, "")
	if err != nil && !errors.Is(err, ErrNotPending) {
		return h, fmt.Errorf("approve hold %s: %w", h.ID, err)
	}
	return d.store.Hold(ctx, h.ID)
}

// stateAt is the state as it should be told at a time: a hold is expired on the dot, whether or not its gate has said so.
func (h Hold) stateAt(at time.Time) State {
	if h.State == StatePending && !at.Before(h.Expires) {
		return StateExpired
	}
	return h.State
}

// mayAnswer says why a must not be taken.
func (h Hold) mayAnswer(a Answer, mayApprove func(Hold) error) error {
	if err := mayNot(a.Approver, h.Principal); err != nil {
		return err
	}
	if waited := a.At.Sub(h.Asked); !slices.ContainsFunc(h.Terms.needs(), func(n Need) bool { return n.mayAnswer(a.Approver, waited) }) {
		return fmt.Errorf("%w: it is for %s", ErrNotApprover, strings.Join(h.MayAnswerNow(a.At), ", "))
	}
	if err := h.Terms.checkScope(a); err != nil {
		return err
	}
	if mayApprove == nil {
		return fmt.Errorf("%w: nothing says that you may", ErrNotApprover)
	}
	if err := mayApprove(h.clone()); err != nil {
		return fmt.Errorf("%w: %w", ErrNotApprover, err)
	}
	if slices.ContainsFunc(h.Answers, func(b Answer) bool { return samePerson(b.Approver, a.Approver) }) {
		return ErrAnswered
	}
	if len(a.Reason) > MaxReason || !utf8.ValidString(a.Reason) {
		return fmt.Errorf("%w: of up to %d bytes of UTF-8", ErrReason, MaxReason)
	}
	if a.Approve && h.Terms.Reason && strings.TrimSpace(a.Reason) == "" {
		return ErrReason
	}
	return nil
}

// Withdraw takes back a pending hold. Its requester may, and the human its agent acts for; ErrNotApprover for others.
func (d *Desk) Withdraw(ctx context.Context, id string, by Principal) error {
	h, err := d.Get(ctx, id)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(h.Principal.chain(), func(p *Principal) bool { return p.Key == by.Key }) {
		return fmt.Errorf("%w: only who asked can take it back", ErrNotApprover)
	}
	return d.store.EndHold(ctx, id, StatePending, StateWithdrawn, "taken back by "+by.label())
}

// Get returns one hold, or ErrNoHold.
func (d *Desk) Get(ctx context.Context, id string) (Hold, error) {
	if !validHoldID.MatchString(id) {
		return Hold{}, ErrNoHold
	}
	h, err := d.store.Hold(ctx, id)
	if err != nil {
		return Hold{}, fmt.Errorf("hold %s: %w", id, err)
	}
	return h, nil
}

// Pending returns the holds that can be answered now, at any gate, newest first.
func (d *Desk) Pending(ctx context.Context) ([]Hold, error) {
	all, err := d.store.Holds(ctx, HoldFilter{States: []State{StatePending}})
	if err != nil {
		return nil, fmt.Errorf("list holds: %w", err)
	}
	at := now()
	return slices.DeleteFunc(all, func(h Hold) bool { return h.stateAt(at) != StatePending }), nil
}

// Wait returns the hold once it is no longer pending, at whichever gate it waits. It does not release anything.
func (d *Desk) Wait(ctx context.Context, id string) (Hold, error) {
	return d.Follow(ctx, id, func(Hold) {})
}

// Follow is Wait, and tells how far the hold has come: at once, when one of several has approved, and when more people
// may answer.
func (d *Desk) Follow(ctx context.Context, id string, tell func(Hold)) (Hold, error) {
	answers, steps := -1, 0
	watch, stop := context.WithCancel(ctx)
	defer stop()
	changes, err := d.store.HoldChanges(watch)
	if err != nil {
		return Hold{}, fmt.Errorf("watch holds: %w", err)
	}
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		h, err := d.Get(ctx, id)
		if err != nil {
			return h, err
		}
		if h.State = h.stateAt(now()); h.State != StatePending {
			return h, nil
		}
		if n := h.escalated(now()); len(h.Answers) > answers || n > steps {
			answers, steps = len(h.Answers), n
			tell(h.clone())
		}
		if changes, err = d.changed(ctx, h, changes, again.C); err != nil {
			return h, err
		}
	}
}

// changed returns when h may have changed.
func (d *Desk) changed(ctx context.Context, h Hold, changes <-chan string, again <-chan time.Time) (<-chan string, error) {
	expiry := time.NewTimer(time.Until(h.Expires))
	defer expiry.Stop()
	for {
		select {
		case <-ctx.Done():
			return changes, context.Cause(ctx)
		case <-expiry.C:
			return changes, nil
		case <-again:
			return changes, nil
		case id, ok := <-changes:
			if !ok {
				changes = nil
			}
			if !ok || id == h.ID {
				return changes, nil
			}
		}
	}
}

// Watch sends every hold that is pending now, and then each hold as it changes, until ctx ends or the store can no
// longer tell; then the channel is closed. Whoever receives slowly may miss steps in between.
func (d *Desk) Watch(ctx context.Context) (<-chan Hold, error) {
	changes, err := d.store.HoldChanges(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch holds: %w", err)
	}
	pending, err := d.Pending(ctx)
	if err != nil {
		return nil, err
	}
	out := make(chan Hold)
	go func() { // ends with ctx
		defer close(out)
		for _, h := range slices.Backward(pending) {
			if !send(ctx, out, h) {
				return
			}
		}
		for id := range changes {
			h, err := d.store.Hold(ctx, id)
			if err == nil && !send(ctx, out, h) {
				return
			}
		}
	}()
	return out, nil
}

func send(ctx context.Context, out chan<- Hold, h Hold) bool {
	select {
	case out <- h:
		return true
	case <-ctx.Done():
		return false
	}
}

// Sweep is called once, before the gate lets anybody in: what waited at this gate in its former life is lost, and what
// a gate that is gone left pending is expired.
func (d *Desk) Sweep(ctx context.Context) error {
	open, err := d.store.Holds(ctx, HoldFilter{States: []State{StatePending, StateApproved}})
	if err != nil {
		return fmt.Errorf("sweep holds: %w", err)
	}
	var errs []error
	for _, h := range open {
		to, why := d.sweeps(h)
		if to == "" {
			continue
		}
		if err := d.store.EndHold(ctx, h.ID, h.State, to, why); err != nil && !errors.Is(err, ErrNotPending) {
			errs = append(errs, fmt.Errorf("sweep hold %s: %w", h.ID, err))
		}
	}
	return errors.Join(errs...)
}

// sweepAfter is how long after its end another gate's hold is left alone: that gate may still be about to say so.
const sweepAfter = 10 * time.Minute

// sweeps says what becomes of a hold at the start of a gate; "" leaves it as it is.
func (d *Desk) sweeps(h Hold) (to State, why string) {
	switch {
	case h.Gate == d.gate && h.State == StateApproved && h.Covers() == ScopeTime:
		return "", "" // a retry of the identical operation may use it while it lasts
	case h.Gate == d.gate:
		return StateLost, "the gate was restarted"
	case h.State == StatePending && now().Sub(h.Expires) > sweepAfter:
		return StateExpired, "nobody answered, and its gate is gone"
	}
	return "", ""
}
