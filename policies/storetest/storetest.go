// Package storetest holds every [policies.Store] to its contract, and offers a store that fails at chosen steps.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

// patience is how long a change may take to be reported.
const patience = 10 * time.Second

// Run holds the stores that open makes, each empty, to the contract.
func Run(t *testing.T, open func() policies.Store) {
	for _, tt := range []struct {
		name string
		run  func(*testing.T, policies.Store)
	}{
		{"what is put comes back exactly", putAndGet},
		{"an id is taken once", putTwice},
		{"what is not there", missing},
		{"answers", answers},
		{"answers of a quorum", quorum},
		{"only a pending hold is answered", answerLate},
		{"ending is compare and set", end},
		{"one of many answers wins", answerRace},
		{"one of many consumers wins", consumeRace},
		{"no answer of many is lost", quorumRace},
		{"listing", list},
		{"grants", grants},
		{"grants are for the identical operation", grantsIdentical},
		{"grants of holds that were not approved", grantsNotApproved},
		{"grants of what the approver chose", grantsChosen},
		{"a touch tells and changes nothing", touch},
		{"changes", changes},
		{"changes end with their context", changesEnd},
		{"a context that has ended", contextEnded},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open()) })
	}
}

// base is a time with microseconds, in UTC, as stores must keep it.
var base = time.Date(2026, 11, 24, 9, 30, 0, 123456000, time.UTC)

// Hold returns a pending hold with something in every field.
func Hold(id string) policies.Hold {
	alice := policies.Principal{Key: "https://idp#alice", Name: "Alice", Email: "alice@example.com", Kind: policies.Human, Groups: []string{"users"}}
	return policies.Hold{
		ID: id, SessionID: "session0000000000001", ConnectionID: "connection00000000001", Gate: "gate-1",
		Principal: policies.Principal{Key: "https://ci#bot", Name: "bot", Kind: policies.Agent, Groups: []string{"agents", "ci"}, OnBehalfOf: &alice},
		Target:    policies.Target{Name: "web1", Kind: "ssh", Labels: map[string]string{"env": "prod", "team": "päyments"}},
		Action:    "command:run",
		Text:      "rm -rf /srv\x00\xff\r\n\u202e'\"\\;--$1?",
		Facts: map[string]any{
			"opaque": true, "text": "rm -rf /srv\x00\xff", "classes": []string{"destructive", "write"}, "args": []string{}, "arg_count": int64(2),
		},
		Policy: policies.Ref{ID: "command-destructive", File: "default.cedar", Line: 66, Column: 1},
		Terms: policies.Terms{Approvers: []string{"dba", "approvers"}, Wait: 10 * time.Minute, Grant: 90 * time.Second, Reason: true, Quorum: 2,
			Needs: []policies.Need{{Policy: "a", Groups: []string{"dba"}, Quorum: 2}, {Policy: "b", Groups: []string{"approvers"}, Quorum: 1}}},
		Asked: base, Expires: base.Add(10 * time.Minute),
		Justification: "the disk is full\nünd \u2028", State: policies.StatePending,
	}
}

// Answer returns an answer with something in every field.
func Answer(name string, approve bool) policies.Answer {
	return policies.Answer{
		Approver: policies.Principal{Key: "https://idp#" + name, Name: name, Email: name + "@example.com", Kind: policies.Human, Groups: []string{"approvers", "dba"}},
		Approve:  approve, Reason: "because; 'x'", At: base.Add(time.Minute), Via: "ssh",
	}
}

// put stores holds.
func put(t *testing.T, s policies.Store, holds ...policies.Hold) {
	t.Helper()
	for _, h := range holds {
		if err := s.PutHold(t.Context(), h); err != nil {
			t.Fatalf("PutHold(%s): %v", h.ID, err)
		}
	}
}

func get(t *testing.T, s policies.Store, id string) policies.Hold {
	t.Helper()
	h, err := s.Hold(t.Context(), id)
	if err != nil {
		t.Fatalf("Hold(%s): %v", id, err)
	}
	return h
}

func answer(t *testing.T, s policies.Store, id string, a policies.Answer, next policies.State) policies.Hold {
	t.Helper()
	h, err := s.AnswerHold(t.Context(), id, a, next)
	if err != nil {
		t.Fatalf("AnswerHold(%s, %s): %v", id, next, err)
	}
	return h
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// same compares holds; facts may come back as JSON knows them.
func same(t *testing.T, got, want policies.Hold) {
	t.Helper()
	for _, pair := range [][2]time.Time{{got.Asked, want.Asked}, {got.Expires, want.Expires}} {
		if !pair[0].Equal(pair[1]) {
			t.Errorf("time %v came back as %v", pair[1], pair[0])
		}
	}
	if !policies.SameOperation(got, want) {
		t.Errorf("the operation came back as %+v\nwant %+v", got, want)
	}
	got.Asked, got.Expires, got.Facts, got.Answers, got.Ended = want.Asked, want.Expires, want.Facts, want.Answers, want.Ended
	if !reflect.DeepEqual(got, want) {
		t.Errorf("hold came back as\n%+v\nwant\n%+v", got, want)
	}
}

func putAndGet(t *testing.T, s policies.Store) {
	full := Hold("aaaaaa01")
	bare := policies.Hold{
		ID: "aaaaaa02", Gate: "g", Action: "unmask", State: policies.StatePending, Asked: base, Expires: base.Add(time.Second),
		Principal: policies.Principal{Key: "k", Kind: policies.Human}, Target: policies.Target{Name: "t", Kind: "ssh"},
	}
	put(t, s, full, bare)
	same(t, get(t, s, full.ID), full)
	same(t, get(t, s, bare.ID), bare)
	if h := get(t, s, full.ID); len(h.Answers) != 0 || !h.Ended.IsZero() || h.Why != "" {
		t.Errorf("a new hold has answers %v, ended %v, why %q", h.Answers, h.Ended, h.Why)
	}
}

func putTwice(t *testing.T, s policies.Store) {
	first := Hold("aaaaaa01")
	put(t, s, first)
	second := first
	second.Text = "something else"
	wantErr(t, "PutHold again", s.PutHold(t.Context(), second), policies.ErrHoldExists)
	same(t, get(t, s, first.ID), first)
}

func missing(t *testing.T, s policies.Store) {
	_, err := s.Hold(t.Context(), "nothing1")
	wantErr(t, "Hold", err, policies.ErrNoHold)
	_, err = s.AnswerHold(t.Context(), "nothing1", Answer("bob", true), policies.StateApproved)
	wantErr(t, "AnswerHold", err, policies.ErrNoHold)
	wantErr(t, "EndHold", s.EndHold(t.Context(), "nothing1", policies.StatePending, policies.StateLost, ""), policies.ErrNoHold)
	_, err = s.FindGrant(t.Context(), policies.GrantQuery{Principal: "k", Target: "t", Action: "a", Text: "x", Now: base})
	wantErr(t, "FindGrant", err, policies.ErrNoGrant)
	holds, err := s.Holds(t.Context(), policies.HoldFilter{})
	if err != nil || len(holds) != 0 {
		t.Errorf("Holds of an empty store: %v, %v", holds, err)
	}
}

func checkAnswer(t *testing.T, got, want policies.Answer) {
	t.Helper()
	if !got.At.Equal(want.At) {
		t.Errorf("answer at %v came back at %v", want.At, got.At)
	}
	if got.At = want.At; !reflect.DeepEqual(got, want) {
		t.Errorf("answer came back as %+v, want %+v", got, want)
	}
}

func answers(t *testing.T, s policies.Store) {
	for id, next := range map[string]policies.State{"aaaaaa01": policies.StateApproved, "aaaaaa02": policies.StateDenied} {
		put(t, s, Hold(id))
		a := Answer("bob", next == policies.StateApproved)
		for i, h := range []policies.Hold{answer(t, s, id, a, next), get(t, s, id)} {
			if h.State != next || len(h.Answers) != 1 || !h.Ended.Equal(a.At) {
				t.Fatalf("%s, look %d: state %s, %d answers, ended %v", next, i, h.State, len(h.Answers), h.Ended)
			}
			checkAnswer(t, h.Answers[0], a)
			want := Hold(id)
			want.State = next
			same(t, h, want)
		}
	}
}

func quorum(t *testing.T, s policies.Store) {
	put(t, s, Hold("aaaaaa01"))
	h := answer(t, s, "aaaaaa01", Answer("bob", true), policies.StatePending)
	if h.State != policies.StatePending || !h.Ended.IsZero() || len(h.Answers) != 1 {
		t.Fatalf("after one of two: %s, ended %v, %d answers", h.State, h.Ended, len(h.Answers))
	}
	h = answer(t, s, "aaaaaa01", Answer("carol", true), policies.StateApproved)
	if h.State != policies.StateApproved || len(h.Answers) != 2 {
		t.Fatalf("after two of two: %s, %d answers", h.State, len(h.Answers))
	}
	checkAnswer(t, h.Answers[0], Answer("bob", true))
	checkAnswer(t, h.Answers[1], Answer("carol", true))
}

var ended = []policies.State{
	policies.StateApproved, policies.StateDenied, policies.StateExpired, policies.StateWithdrawn, policies.StateLost, policies.StateConsumed,
}

func answerLate(t *testing.T, s policies.Store) {
	for i, state := range ended {
		id := fmt.Sprintf("aaaaaa%02d", i)
		put(t, s, Hold(id))
		if err := s.EndHold(t.Context(), id, policies.StatePending, state, "over"); err != nil {
			t.Fatal(err)
		}
		_, err := s.AnswerHold(t.Context(), id, Answer("bob", true), policies.StateApproved)
		wantErr(t, "AnswerHold when "+string(state), err, policies.ErrNotPending)
		if h := get(t, s, id); h.State != state || len(h.Answers) != 0 || h.Why != "over" || h.Ended.IsZero() {
			t.Errorf("after a late answer: %s, %d answers, why %q, ended %v", h.State, len(h.Answers), h.Why, h.Ended)
		}
	}
}

func end(t *testing.T, s policies.Store) {
	put(t, s, Hold("aaaaaa01"))
	for _, from := range ended {
		wantErr(t, "EndHold from "+string(from), s.EndHold(t.Context(), "aaaaaa01", from, policies.StateLost, "x"), policies.ErrNotPending)
	}
	answer(t, s, "aaaaaa01", Answer("bob", true), policies.StateApproved)
	wantErr(t, "EndHold pending", s.EndHold(t.Context(), "aaaaaa01", policies.StatePending, policies.StateExpired, ""), policies.ErrNotPending)
	if err := s.EndHold(t.Context(), "aaaaaa01", policies.StateApproved, policies.StateConsumed, ""); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "EndHold twice", s.EndHold(t.Context(), "aaaaaa01", policies.StateApproved, policies.StateConsumed, ""), policies.ErrNotPending)
	if h := get(t, s, "aaaaaa01"); h.State != policies.StateConsumed || len(h.Answers) != 1 || h.Why != "" {
		t.Errorf("consumed: %s, %d answers, why %q", h.State, len(h.Answers), h.Why)
	}
}

// race runs many at once and returns how many succeeded; the others must have failed with want.
func race(t *testing.T, want error, do func(i int) error) int {
	t.Helper()
	const contenders = 8
	errs := make([]error, contenders)
	var wg sync.WaitGroup
	for i := range contenders {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			wantErr(t, "the loser of a race", err, want)
		}
	}
	return won
}

func answerRace(t *testing.T, s policies.Store) {
	put(t, s, Hold("aaaaaa01"))
	won := race(t, policies.ErrNotPending, func(i int) error {
		next := policies.StateApproved
		if i%2 == 0 {
			next = policies.StateDenied
		}
		_, err := s.AnswerHold(t.Context(), "aaaaaa01", Answer(fmt.Sprint("p", i), i%2 == 1), next)
		return err
	})
	h := get(t, s, "aaaaaa01")
	if won != 1 || len(h.Answers) != 1 || h.Answers[0].Approve != (h.State == policies.StateApproved) {
		t.Errorf("%d answers won; the hold is %s with %v", won, h.State, h.Answers)
	}
}

func consumeRace(t *testing.T, s policies.Store) {
	put(t, s, Hold("aaaaaa01"))
	answer(t, s, "aaaaaa01", Answer("bob", true), policies.StateApproved)
	won := race(t, policies.ErrNotPending, func(int) error {
		return s.EndHold(t.Context(), "aaaaaa01", policies.StateApproved, policies.StateConsumed, "")
	})
	if won != 1 {
		t.Errorf("consumed %d times", won)
	}
}

func quorumRace(t *testing.T, s policies.Store) {
	put(t, s, Hold("aaaaaa01"))
	won := race(t, nil, func(i int) error {
		_, err := s.AnswerHold(t.Context(), "aaaaaa01", Answer(fmt.Sprint("p", i), true), policies.StatePending)
		return err
	})
	if h := get(t, s, "aaaaaa01"); won != len(h.Answers) {
		t.Errorf("%d answers were taken, %d are there", won, len(h.Answers))
	}
}

func list(t *testing.T, s policies.Store) {
	for i := range 5 {
		h := Hold(fmt.Sprintf("aaaaaa%02d", i))
		h.Asked = base.Add(time.Duration(i) * time.Minute)
		put(t, s, h)
	}
	if err := s.EndHold(t.Context(), "aaaaaa01", policies.StatePending, policies.StateExpired, ""); err != nil {
		t.Fatal(err)
	}
	answer(t, s, "aaaaaa03", Answer("bob", true), policies.StateApproved)
	for _, tt := range []struct {
		name   string
		filter policies.HoldFilter
		want   []string
	}{
		{"all, newest first", policies.HoldFilter{}, []string{"aaaaaa04", "aaaaaa03", "aaaaaa02", "aaaaaa01", "aaaaaa00"}},
		{"pending", policies.HoldFilter{States: []policies.State{policies.StatePending}}, []string{"aaaaaa04", "aaaaaa02", "aaaaaa00"}},
		{"two states", policies.HoldFilter{States: []policies.State{policies.StateApproved, policies.StateExpired}}, []string{"aaaaaa03", "aaaaaa01"}},
		{"limit", policies.HoldFilter{Limit: 2}, []string{"aaaaaa04", "aaaaaa03"}},
		{"since", policies.HoldFilter{Since: base.Add(3 * time.Minute)}, []string{"aaaaaa04", "aaaaaa03"}},
		{"all three", policies.HoldFilter{States: []policies.State{policies.StatePending}, Since: base.Add(time.Minute), Limit: 1}, []string{"aaaaaa04"}},
		{"none", policies.HoldFilter{States: []policies.State{policies.StateLost}}, nil},
	} {
		holds, err := s.Holds(t.Context(), tt.filter)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var got []string
		for _, h := range holds {
			got = append(got, h.ID)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	holds, err := s.Holds(t.Context(), policies.HoldFilter{States: []policies.State{policies.StateApproved}})
	if err != nil || len(holds) != 1 || len(holds[0].Answers) != 1 {
		t.Fatalf("an answered hold is listed as %+v, %v", holds, err)
	}
}

func find(t *testing.T, s policies.Store, h policies.Hold, at time.Time) (policies.Hold, error) {
	t.Helper()
	return s.FindGrant(t.Context(), policies.GrantQuery{
		Principal: h.Principal.Key, Target: h.Target.Name, Action: h.Action, Text: h.Text, Session: h.SessionID, Now: at,
	})
}

func grants(t *testing.T, s policies.Store) {
	h := Hold("aaaaaa01")
	put(t, s, h)
	a := Answer("bob", true)
	approved := answer(t, s, h.ID, a, policies.StateApproved)
	if want := a.At.Add(h.Terms.Grant); !approved.GrantEnds().Equal(want) {
		t.Fatalf("the grant ends at %v, want %v", approved.GrantEnds(), want)
	}
	last := a.At.Add(h.Terms.Grant - time.Microsecond)
	got, err := find(t, s, h, last)
	if err != nil || got.ID != h.ID || len(got.Answers) != 1 {
		t.Fatalf("while it is approved: %+v, %v", got, err)
	}
	if err := s.EndHold(t.Context(), h.ID, policies.StateApproved, policies.StateConsumed, ""); err != nil {
		t.Fatal(err)
	}
	if got, err = find(t, s, h, last); err != nil || got.ID != h.ID {
		t.Fatalf("after it was consumed: %+v, %v", got, err)
	}
	_, err = find(t, s, h, a.At.Add(h.Terms.Grant))
	wantErr(t, "FindGrant at its end", err, policies.ErrNoGrant)
	newer := Hold("aaaaaa02")
	newer.Asked = base.Add(time.Minute)
	put(t, s, newer)
	answer(t, s, newer.ID, a, policies.StateApproved)
	if got, err = find(t, s, h, last); err != nil || got.ID != newer.ID {
		t.Errorf("of two the newest: %s, %v", got.ID, err)
	}
}

func grantsIdentical(t *testing.T, s policies.Store) {
	h := Hold("aaaaaa01")
	put(t, s, h)
	answer(t, s, h.ID, Answer("bob", true), policies.StateApproved)
	for name, change := range map[string]func(*policies.Hold){
		"principal":         func(h *policies.Hold) { h.Principal.Key += "x" },
		"target":            func(h *policies.Hold) { h.Target.Name = "web2" },
		"action":            func(h *policies.Hold) { h.Action = "file:remove" },
		"text":              func(h *policies.Hold) { h.Text += " " },
		"text, last byte":   func(h *policies.Hold) { h.Text = h.Text[:len(h.Text)-1] },
		"text, case":        func(h *policies.Hold) { h.Text = "RM" + h.Text[2:] },
		"text, other bytes": func(h *policies.Hold) { h.Text = "rm -rf /srv\x00\xfe" + h.Text[13:] },
	} {
		other := Hold("aaaaaa01")
		change(&other)
		_, err := find(t, s, other, base.Add(time.Minute))
		wantErr(t, "another "+name, err, policies.ErrNoGrant)
	}
}

func grantsNotApproved(t *testing.T, s policies.Store) {
	at := base.Add(time.Minute)
	put(t, s, Hold("aaaaaa00"))
	_, err := find(t, s, Hold("aaaaaa00"), at)
	wantErr(t, "pending", err, policies.ErrNoGrant)
	answer(t, s, "aaaaaa00", Answer("bob", true), policies.StatePending)
	_, err = find(t, s, Hold("aaaaaa00"), at)
	wantErr(t, "one of two approvals", err, policies.ErrNoGrant)
	for i, state := range []policies.State{policies.StateExpired, policies.StateWithdrawn, policies.StateLost} {
		id := fmt.Sprintf("aaaaaa1%d", i)
		put(t, s, Hold(id))
		answer(t, s, id, Answer("bob", true), policies.StatePending)
		if err := s.EndHold(t.Context(), id, policies.StatePending, state, ""); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, Hold("aaaaaa21"))
	answer(t, s, "aaaaaa21", Answer("bob", false), policies.StateDenied)
	once := Hold("aaaaaa22")
	once.Terms.Grant = 0
	put(t, s, once)
	answer(t, s, once.ID, Answer("bob", true), policies.StateApproved)
	if got, err := find(t, s, Hold("aaaaaa00"), at); !errors.Is(err, policies.ErrNoGrant) {
		t.Errorf("found %s (%s), %v", got.ID, got.State, err)
	}
}

func grantsChosen(t *testing.T, s policies.Store) {
	at := base.Add(2 * time.Minute)
	for i, tt := range []struct {
		name    string
		session bool // the terms': no wider than the session
		scope   policies.Scope
		length  time.Duration
		same    bool // it covers the same session
		other   bool // and another one
	}{
		{"the policy's", false, "", 0, true, true},
		{"once", false, policies.ScopeOnce, 0, false, false},
		{"the session", false, policies.ScopeSession, 0, true, false},
		{"two minutes", false, policies.ScopeTime, 2 * time.Minute, true, true},
		{"less than has passed", false, policies.ScopeTime, 30 * time.Second, false, false},
		{"the policy's session", true, "", 0, true, false},
		{"once of a session", true, policies.ScopeOnce, 0, false, false},
	} {
		h := Hold(fmt.Sprintf("aaaaaa3%d", i))
		h.Text = tt.name
		if h.Terms.Session = tt.session; tt.session {
			h.Terms.Grant = 0
		}
		put(t, s, h)
		a := Answer("bob", true)
		a.Scope, a.For = tt.scope, tt.length
		answer(t, s, h.ID, a, policies.StateApproved)
		_, err := find(t, s, h, at)
		if got := err == nil; got != tt.same {
			t.Errorf("%s: covers its own session: %v", tt.name, err)
		}
		h.SessionID = "another0000000000001"
		_, err = find(t, s, h, at)
		if got := err == nil; got != tt.other {
			t.Errorf("%s: covers another session: %v", tt.name, err)
		}
	}
}

func touch(t *testing.T, s policies.Store) {
	h := Hold("aaaaaa01")
	put(t, s, h)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := s.HoldChanges(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.TouchHold(t.Context(), h.ID, "escalated"); err != nil {
		t.Fatal(err)
	}
	expect(t, changes, h.ID)
	same(t, get(t, s, h.ID), h)
	wantErr(t, "touching nothing", s.TouchHold(t.Context(), "aaaaaa99", "escalated"), policies.ErrNoHold)
	answer(t, s, h.ID, Answer("bob", false), policies.StateDenied)
	wantErr(t, "touching what ended", s.TouchHold(t.Context(), h.ID, "escalated"), policies.ErrNotPending)
}

// expect waits until id is reported.
func expect(t *testing.T, changes <-chan string, id string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case got, ok := <-changes:
			if !ok {
				t.Fatalf("the channel was closed before %s was reported", id)
			}
			if got == id {
				return
			}
		case <-deadline.C:
			t.Fatalf("the change of %s was not reported", id)
		}
	}
}

func changes(t *testing.T, s policies.Store) {
	one, err := s.HoldChanges(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.HoldChanges(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, Hold("aaaaaa01"))
	expect(t, one, "aaaaaa01")
	expect(t, two, "aaaaaa01")
	answer(t, s, "aaaaaa01", Answer("bob", true), policies.StateApproved)
	expect(t, one, "aaaaaa01")
	expect(t, two, "aaaaaa01")
	if err := s.EndHold(t.Context(), "aaaaaa01", policies.StateApproved, policies.StateConsumed, ""); err != nil {
		t.Fatal(err)
	}
	expect(t, one, "aaaaaa01")
	put(t, s, Hold("aaaaaa02"))
	expect(t, one, "aaaaaa02")
	expect(t, two, "aaaaaa02")
}

func changesEnd(t *testing.T, s policies.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	ended, err := s.HoldChanges(ctx)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.HoldChanges(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for open := true; open; {
		select {
		case _, open = <-ended:
		case <-deadline.C:
			t.Fatal("the channel was not closed")
		}
	}
	put(t, s, Hold("aaaaaa01"))
	expect(t, other, "aaaaaa01")
}

func contextEnded(t *testing.T, s policies.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.PutHold(ctx, Hold("aaaaaa01")); err == nil {
		t.Error("PutHold did not fail")
	}
	if _, err := s.Hold(t.Context(), "aaaaaa01"); !errors.Is(err, policies.ErrNoHold) {
		t.Errorf("the hold is there: %v", err)
	}
	if _, err := s.Holds(ctx, policies.HoldFilter{}); err == nil {
		t.Error("Holds did not fail")
	}
}
