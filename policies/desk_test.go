package policies_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/policies/storetest"
)

const wait = 10 * time.Minute

func human(name string, groups ...string) policies.Principal {
	return policies.Principal{Key: "https://idp#" + name, Name: name, Email: name + "@example.com", Kind: policies.Human, Groups: groups}
}

func agent(name string, of policies.Principal) policies.Principal {
	return policies.Principal{Key: "https://ci#" + name, Name: name, Kind: policies.Agent, OnBehalfOf: &of}
}

func request(id string) policies.Hold {
	return policies.Hold{
		ID: id, Principal: agent("bot", human("alice", "users")), Target: policies.Target{Name: "web1", Kind: "ssh"},
		Action: "command:run", Text: "rm -rf /srv/old", Facts: map[string]any{"opaque": false, "args": []string{"-rf", "/srv/old"}, "arg_count": int64(2)},
		Terms: policies.Terms{Approvers: []string{"approvers"}, Wait: wait, Quorum: 1},
	}
}

func says(by policies.Principal, approve bool) policies.Answer {
	return policies.Answer{Approver: by, Approve: approve, Via: "ssh"}
}

func may(policies.Hold) error { return nil }

type result struct {
	hold policies.Hold
	err  error
	at   time.Time
}

// ask asks in the background, and returns once the hold is stored or refused.
func ask(ctx context.Context, d *policies.Desk, h policies.Hold) chan result {
	done := make(chan result, 1)
	go func() {
		got, err := d.Ask(ctx, h, nil)
		done <- result{got, err, time.Now()}
	}()
	synctest.Wait()
	return done
}

// refused checks that an operation was refused in a state.
func refused(t *testing.T, err error, want policies.State) *policies.RefusedError {
	t.Helper()
	var refusal *policies.RefusedError
	if !errors.As(err, &refusal) {
		t.Fatalf("got error %v, want a refusal (%s)", err, want)
	}
	if refusal.State != want {
		t.Fatalf("refused as %s (%v), want %s", refusal.State, err, want)
	}
	return refusal
}

func stateOf(t *testing.T, s policies.Store, id string) policies.State {
	t.Helper()
	h, err := s.Hold(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return h.State
}

// bubble runs a test in virtual time with a desk on a fresh store.
func bubble(t *testing.T, run func(t *testing.T, d *policies.Desk, s *policies.Memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := policies.NewMemory()
		run(t, policies.NewDesk(s, "gate-1"), s)
	})
}

func TestApproved(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		announced := 0
		done := make(chan result, 1)
		go func() {
			got, err := d.Ask(t.Context(), request("hold0001"), func(h policies.Hold) {
				announced++
				if stored, err := s.Hold(t.Context(), h.ID); err != nil || stored.State != policies.StatePending || !stored.Expires.Equal(h.Asked.Add(wait)) {
					t.Errorf("announced before it was stored: %+v, %v", stored, err)
				}
				h.Principal.Key, h.Facts["args"] = "changed", "changed"
			})
			done <- result{got, err, time.Now()}
		}()
		synctest.Wait()
		if pending, err := d.Pending(t.Context()); err != nil || len(pending) != 1 || pending[0].Gate != "gate-1" {
			t.Fatalf("pending: %+v, %v", pending, err)
		}
		time.Sleep(time.Minute)
		h, err := d.Answer(t.Context(), "hold0001", says(human("bob", "approvers"), true), may)
		if err != nil || h.State != policies.StateApproved {
			t.Fatalf("Answer: %s, %v", h.State, err)
		}
		r := <-done
		if r.err != nil || r.hold.State != policies.StateConsumed || r.hold.Text != "rm -rf /srv/old" || announced != 1 {
			t.Fatalf("Ask: %+v, %v; announced %d times", r.hold, r.err, announced)
		}
		if !r.hold.ApprovedAt().Equal(time.Now()) || !r.hold.GrantEnds().IsZero() {
			t.Errorf("approved at %v, grant ends %v", r.hold.ApprovedAt(), r.hold.GrantEnds())
		}
		if got := stateOf(t, s, "hold0001"); got != policies.StateConsumed {
			t.Errorf("the store says %s", got)
		}
		_, err = d.Answer(t.Context(), "hold0001", says(human("carol", "approvers"), true), may)
		if !errors.Is(err, policies.ErrNotPending) {
			t.Errorf("a replayed answer: %v", err)
		}
	})
}

func TestDenied(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		done := ask(t.Context(), d, request("hold0001"))
		no := says(human("bob", "approvers"), false)
		no.Reason = "not on a Friday"
		if _, err := d.Answer(t.Context(), "hold0001", no, may); err != nil {
			t.Fatal(err)
		}
		if e := refused(t, (<-done).err, policies.StateDenied); e.Why != "denied by bob: not on a Friday" {
			t.Errorf("why: %q", e.Why)
		}
	})
}

func TestExpiresOnTheDot(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		want  policies.State
	}{
		{"a microsecond before the end", wait - time.Microsecond, policies.StateConsumed},
		{"at the end", wait, policies.StateExpired},
		{"after the end", wait + time.Microsecond, policies.StateExpired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
				start := time.Now()
				done := ask(t.Context(), d, request("hold0001"))
				time.Sleep(tt.after)
				_, err := d.Answer(t.Context(), "hold0001", says(human("bob", "approvers"), true), may)
				if late := tt.want == policies.StateExpired; late != errors.Is(err, policies.ErrNotPending) {
					t.Errorf("Answer: %v", err)
				}
				r := <-done
				if got := stateOf(t, s, "hold0001"); got != tt.want {
					t.Errorf("state %s, want %s", got, tt.want)
				}
				if tt.want == policies.StateConsumed && r.err != nil {
					t.Errorf("Ask: %v", r.err)
				}
				if tt.want == policies.StateExpired {
					refused(t, r.err, policies.StateExpired)
					if r.at.Sub(start) != wait {
						t.Errorf("refused after %s, not %s", r.at.Sub(start), wait)
					}
				}
			})
		})
	}
}

func TestClientLeaves(t *testing.T) {
	for _, grant := range []time.Duration{0, time.Hour} {
		for _, approvedFirst := range []bool{false, true} {
			t.Run(fmt.Sprintf("grant %s, approved first %t", grant, approvedFirst), func(t *testing.T) {
				bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
					faulty := storetest.NewFaulty(s)
					faulty.Fail("Hold", 0, storetest.Dropped) // the waiter never sees the answer
					h := request("hold0001")
					h.Terms.Grant = grant
					ctx, leave := context.WithCancel(t.Context())
					done := ask(ctx, policies.NewDesk(faulty, "gate-1"), h)
					want := policies.StateWithdrawn
					if approvedFirst {
						if _, err := d.Answer(t.Context(), h.ID, says(human("bob", "approvers"), true), may); err != nil {
							t.Fatal(err)
						}
						if grant > 0 {
							want = policies.StateApproved
						}
					}
					leave()
					refused(t, (<-done).err, policies.StateWithdrawn)
					if got := stateOf(t, s, h.ID); got != want {
						t.Errorf("state %s, want %s", got, want)
					}
					if _, err := d.Answer(t.Context(), h.ID, says(human("carol", "approvers"), true), may); !errors.Is(err, policies.ErrNotPending) {
						t.Errorf("answered after that: %v", err)
					}
				})
			})
		}
	}
}

func TestTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		done := ask(t.Context(), d, request("hold0001"))
		if err := d.Withdraw(t.Context(), "hold0001", human("mallory")); !errors.Is(err, policies.ErrNotApprover) {
			t.Errorf("a stranger takes it back: %v", err)
		}
		if err := d.Withdraw(t.Context(), "hold0001", human("alice")); err != nil {
			t.Fatal(err)
		}
		if e := refused(t, (<-done).err, policies.StateWithdrawn); e.Why != "taken back by alice" {
			t.Errorf("why: %q", e.Why)
		}
	})
}

func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		here := ask(t.Context(), d, request("hold0001"))
		elsewhere := policies.NewDesk(s, "gate-2")
		there := ask(t.Context(), elsewhere, request("hold0002"))
		if err := policies.NewDesk(s, "gate-1").Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		refused(t, (<-here).err, policies.StateLost)
		if got := stateOf(t, s, "hold0002"); got != policies.StatePending {
			t.Fatalf("the hold of the other gate is %s", got)
		}
		// Any gate may answer what waits at another.
		if _, err := d.Answer(t.Context(), "hold0002", says(human("bob", "approvers"), true), may); err != nil {
			t.Fatal(err)
		}
		if r := <-there; r.err != nil {
			t.Errorf("Ask at the other gate: %v", r.err)
		}
	})
}

func TestSweepOfADeadGate(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		h := storetest.Hold("hold0001")
		h.Gate, h.Asked, h.Expires = "gate-9", time.Now(), time.Now().Add(wait)
		granted := storetest.Hold("hold0002")
		granted.Asked, granted.Expires = h.Asked, h.Expires
		once := granted
		once.ID, once.Terms.Grant = "hold0003", 0
		for _, h := range []policies.Hold{h, granted, once} {
			if err := s.PutHold(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []string{"hold0002", "hold0003"} {
			if _, err := s.AnswerHold(t.Context(), id, storetest.Answer("bob", true), policies.StateApproved); err != nil {
				t.Fatal(err)
			}
		}
		states := func() string {
			if err := d.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(stateOf(t, s, "hold0001"), " ", stateOf(t, s, "hold0002"), " ", stateOf(t, s, "hold0003"))
		}
		if got, want := states(), "pending approved lost"; got != want {
			t.Errorf("while it may be alive: %s, want %s", got, want)
		}
		time.Sleep(wait + time.Hour)
		if got, want := states(), "expired approved lost"; got != want {
			t.Errorf("long after: %s, want %s", got, want)
		}
		if _, err := d.Answer(t.Context(), "hold0001", says(human("bob", "approvers"), true), may); !errors.Is(err, policies.ErrNotPending) {
			t.Errorf("answered: %v", err)
		}
	})
}

func TestWhoMayAnswer(t *testing.T) {
	alice, bob := human("alice", "users", "approvers"), human("bob", "approvers")
	aliceElsewhere := human("alice", "approvers")
	aliceElsewhere.Key, aliceElsewhere.Email = "https://other#al", "ALICE@example.com"
	sameSubject := human("alice", "approvers")
	sameSubject.Key, sameSubject.Email = "https://other#alice", ""
	bobsAgent := agent("helper", bob)
	bobsAgent.Groups = []string{"approvers"}
	bobBehalf := bob
	bobBehalf.OnBehalfOf = &alice
	gone := errors.New("no longer in approvers")
	for _, tt := range []struct {
		name      string
		requester policies.Principal
		approver  policies.Principal
		may       func(policies.Hold) error
		want      error
	}{
		{"somebody else", alice, bob, may, nil},
		{"somebody else for an agent", agent("bot", alice), bob, may, nil},
		{"oneself", alice, alice, may, policies.ErrOwnRequest},
		{"oneself from another issuer", alice, aliceElsewhere, may, policies.ErrOwnRequest},
		{"the same subject of another issuer", alice, sameSubject, may, policies.ErrOwnRequest},
		{"the same subject, for whom an agent acts", agent("bot", alice), sameSubject, may, policies.ErrOwnRequest},
		{"the subject of an agent", agent("bob", alice), bob, may, nil},
		{"one's agent's", agent("bot", alice), alice, may, policies.ErrOwnRequest},
		{"one's agent's agent's", agent("sub", agent("bot", alice)), alice, may, policies.ErrOwnRequest},
		{"an agent", alice, bobsAgent, may, policies.ErrNotApprover},
		{"the requester's own agent", alice, agent("bot", alice), may, policies.ErrNotApprover},
		{"a human who acts for the requester", alice, bobBehalf, may, policies.ErrNotApprover},
		{"not in the group", alice, human("carol", "users"), may, policies.ErrNotApprover},
		{"nobody", alice, policies.Principal{}, may, policies.ErrNotApprover},
		{"the role was taken away", alice, bob, func(policies.Hold) error { return gone }, gone},
		{"nobody was asked whether they may", alice, bob, nil, policies.ErrNotApprover},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
				h := request("hold0001")
				h.Principal = tt.requester
				done := ask(t.Context(), d, h)
				for _, approve := range []bool{false, true} { // who may not approve may not deny
					if tt.want == nil && !approve {
						continue
					}
					_, err := d.Answer(t.Context(), h.ID, says(tt.approver, approve), tt.may)
					if !errors.Is(err, tt.want) {
						t.Errorf("Answer(%t): %v, want %v", approve, err, tt.want)
					}
				}
				if tt.want == nil {
					if r := <-done; r.err != nil {
						t.Errorf("Ask: %v", r.err)
					}
					return
				}
				if got := stateOf(t, s, h.ID); got != policies.StatePending {
					t.Errorf("state %s", got)
				}
				refused(t, (<-done).err, policies.StateExpired)
			})
		})
	}
}

func TestQuorum(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		h := request("hold0001")
		h.Terms = policies.Terms{Approvers: []string{"dba", "security"}, Wait: wait, Quorum: 2, Reason: true, Needs: []policies.Need{
			{Policy: "a", Groups: []string{"dba"}, Quorum: 2}, {Policy: "b", Groups: []string{"security"}, Quorum: 1}}}
		done := ask(t.Context(), d, h)
		bobElsewhere := human("bob", "dba")
		bobElsewhere.Key = "https://other#bob"
		for i, step := range []struct {
			by     policies.Principal
			reason string
			want   error
			state  policies.State
		}{
			{human("bob", "dba"), " ", policies.ErrReason, policies.StatePending},
			{human("bob", "dba"), strings.Repeat("x", policies.MaxReason+1), policies.ErrReason, policies.StatePending},
			{human("bob", "dba"), "\xff", policies.ErrReason, policies.StatePending},
			{human("bob", "dba"), "ok", nil, policies.StatePending},
			{human("bob", "dba"), "ok", policies.ErrAnswered, policies.StatePending},
			{bobElsewhere, "ok", policies.ErrAnswered, policies.StatePending},
			{human("carol", "dba"), "ok", nil, policies.StatePending},
			{human("dave", "security"), "ok", nil, policies.StateApproved},
		} {
			a := says(step.by, true)
			a.Reason = step.reason
			got, err := d.Answer(t.Context(), h.ID, a, may)
			if !errors.Is(err, step.want) || got.State != step.state {
				t.Fatalf("step %d: %s, %v; want %s, %v", i, got.State, err, step.state, step.want)
			}
		}
		if r := <-done; r.err != nil || len(r.hold.Answers) != 3 {
			t.Errorf("Ask: %v, %d answers", r.err, len(r.hold.Answers))
		}
	})
}

// TestQuorumAtOnce lets two approvers answer such that neither sees the other.
func TestQuorumAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		h := request("hold0001")
		h.Terms.Quorum = 2
		done := ask(t.Context(), d, h)
		meet := make(chan struct{})
		arrived := new(atomic.Int32)
		together := func(policies.Hold) error { // both have read the hold when both are here
			if arrived.Add(1) == 2 {
				close(meet)
			}
			<-meet
			return nil
		}
		errs := make(chan error, 2)
		for _, name := range []string{"bob", "carol"} {
			go func() {
				_, err := d.Answer(t.Context(), h.ID, says(human(name, "approvers"), true), together)
				errs <- err
			}()
		}
		if err := errors.Join(<-errs, <-errs); err != nil {
			t.Fatal(err)
		}
		if r := <-done; r.err != nil || r.at.Sub(r.hold.Asked) != 0 {
			t.Errorf("Ask: %v at %v", r.err, r.at)
		}
	})
}

func TestOneNoEndsIt(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		h := request("hold0001")
		h.Terms.Quorum = 3
		done := ask(t.Context(), d, h)
		if _, err := d.Answer(t.Context(), h.ID, says(human("bob", "approvers"), true), may); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Answer(t.Context(), h.ID, says(human("carol", "approvers"), false), may); err != nil {
			t.Fatal(err)
		}
		refused(t, (<-done).err, policies.StateDenied)
	})
}

func TestLimits(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		ctx, leave := context.WithCancel(t.Context())
		var waiting []chan result
		for i := range policies.MaxHoldsEach {
			waiting = append(waiting, ask(ctx, d, request(fmt.Sprintf("hold%04d", i))))
		}
		if e := refused(t, (<-ask(t.Context(), d, request("hold9999"))).err, policies.StateDenied); !errors.Is(e, policies.ErrTooManyHolds) {
			t.Errorf("one too many: %v", e)
		}
		other := request("hold8888")
		other.Principal = human("zoe")
		theirs := ask(ctx, d, other)
		if got := stateOf(t, s, "hold8888"); got != policies.StatePending {
			t.Errorf("somebody else's is %s", got)
		}
		leave()
		for _, w := range append(waiting, theirs) {
			refused(t, (<-w).err, policies.StateWithdrawn)
		}
		again := ask(t.Context(), d, request("hold9999"))
		if got := stateOf(t, s, "hold9999"); got != policies.StatePending {
			t.Errorf("after the others left it is %s", got)
		}
		<-again
	})
}

func TestWhatCannotBeAsked(t *testing.T) {
	for name, change := range map[string]func(*policies.Hold){
		"no id":                     func(h *policies.Hold) { h.ID = "" },
		"an id that is a path":      func(h *policies.Hold) { h.ID = "../../etc" },
		"too much to read":          func(h *policies.Hold) { h.Text = strings.Repeat("x", policies.MaxText+1) },
		"too much justification":    func(h *policies.Hold) { h.Justification = strings.Repeat("x", policies.MaxJustification+1) },
		"nobody who may approve":    func(h *policies.Hold) { h.Terms.Approvers = nil },
		"a need without a group":    func(h *policies.Hold) { h.Terms.Needs = []policies.Need{{Quorum: 1}} },
		"no time":                   func(h *policies.Hold) { h.Terms.Wait = 0 },
		"no action":                 func(h *policies.Hold) { h.Action = "" },
		"a principal without a key": func(h *policies.Hold) { h.Principal.Key = "" },
		"a principal of no kind":    func(h *policies.Hold) { h.Principal.Kind = "robot" },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
				h := request("hold0001")
				change(&h)
				_, err := d.Ask(t.Context(), h, func(policies.Hold) { t.Error("it was announced") })
				refused(t, err, policies.StateDenied)
				if holds, err := s.Holds(t.Context(), policies.HoldFilter{}); err != nil || len(holds) > 0 {
					t.Errorf("stored: %v, %v", holds, err)
				}
			})
		})
	}
}

// TestGrant follows an approval that covers identical operations for an hour.
func TestGrant(t *testing.T) {
	changes := map[string]func(*policies.Hold){
		"text":           func(h *policies.Hold) { h.Text += " " },
		"target":         func(h *policies.Hold) { h.Target.Name = "web2" },
		"target's kind":  func(h *policies.Hold) { h.Target.Kind = "shell" },
		"action":         func(h *policies.Hold) { h.Action = "file:remove" },
		"agent":          func(h *policies.Hold) { h.Principal.Key += "2" },
		"human behind":   func(h *policies.Hold) { other := human("mallory"); h.Principal.OnBehalfOf = &other },
		"nobody behind":  func(h *policies.Hold) { h.Principal.OnBehalfOf = nil },
		"fact":           func(h *policies.Hold) { h.Facts["cwd"] = "/" },
		"more approvers": func(h *policies.Hold) { h.Terms.Quorum = 2 },
		"other group":    func(h *policies.Hold) { h.Terms.Approvers = []string{"dba"} },
		"reason":         func(h *policies.Hold) { h.Terms.Reason = true },
		"no grant today": func(h *policies.Hold) { h.Terms.Grant = 0 },
	}
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		granted := func(id string) policies.Hold {
			h := request(id)
			h.Terms.Grant = time.Hour
			return h
		}
		done := ask(t.Context(), d, granted("hold0001"))
		if _, err := d.Answer(t.Context(), "hold0001", says(human("bob", "approvers"), true), may); err != nil {
			t.Fatal(err)
		}
		first := <-done
		if first.err != nil || time.Until(first.hold.GrantEnds()) != time.Hour {
			t.Fatalf("Ask: %v, until %v", first.err, first.hold.GrantEnds())
		}
		n := 1000
		for name, change := range changes {
			n++
			h := granted(fmt.Sprintf("hold%d", n))
			change(&h)
			ctx, leave := context.WithCancel(t.Context())
			waiting := ask(ctx, d, h)
			if got := stateOf(t, s, h.ID); got != policies.StatePending {
				t.Errorf("with another %s: %s", name, got)
			}
			leave()
			<-waiting
		}
		time.Sleep(time.Hour - time.Microsecond)
		got, err := d.Ask(t.Context(), granted("hold0002"), func(policies.Hold) { t.Error("a granted operation was announced") })
		if err != nil || got.ID != "hold0001" || !got.GrantEnds().Equal(first.hold.GrantEnds()) {
			t.Fatalf("within the hour: %s until %v, %v", got.ID, got.GrantEnds(), err)
		}
		short := granted("hold0003")
		short.Terms.Grant = time.Minute // policies became stricter: an hour ago is too long ago
		ctx, leave := context.WithCancel(t.Context())
		waiting := ask(ctx, d, short)
		if got := stateOf(t, s, short.ID); got != policies.StatePending {
			t.Errorf("with a shorter grant: %s", got)
		}
		leave()
		<-waiting
		time.Sleep(time.Microsecond)
		refused(t, (<-ask(t.Context(), d, granted("hold0004"))).err, policies.StateExpired)
	})
}

// tampering is a store that gives back something else than was put.
type tampering struct {
	policies.Store
	change func(*policies.Hold)
}

func (s tampering) Hold(ctx context.Context, id string) (policies.Hold, error) {
	h, err := s.Store.Hold(ctx, id)
	s.change(&h)
	return h, err
}

func TestWhatWasApprovedIsWhatRuns(t *testing.T) {
	for name, change := range map[string]func(*policies.Hold){
		"another text":       func(h *policies.Hold) { h.Text = "rm -rf /" },
		"another target":     func(h *policies.Hold) { h.Target.Name = "db1" },
		"another fact":       func(h *policies.Hold) { h.Facts["opaque"] = true },
		"no answers":         func(h *policies.Hold) { h.Answers = nil },
		"an own answer":      func(h *policies.Hold) { h.Answers[0].Approver = human("alice", "approvers") },
		"a late answer":      func(h *policies.Hold) { h.Answers[0].At = h.Expires },
		"an answer of no":    func(h *policies.Hold) { h.Answers[0].Approve = false },
		"not of the group":   func(h *policies.Hold) { h.Answers[0].Approver.Groups = nil },
		"more time":          func(h *policies.Hold) { h.Expires = h.Expires.Add(time.Hour) },
		"on behalf of other": func(h *policies.Hold) { h.Principal.OnBehalfOf.Key = "x" },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
				bad := tampering{s, func(h *policies.Hold) {
					if h.State == policies.StateApproved {
						change(h)
					}
				}}
				done := ask(t.Context(), policies.NewDesk(bad, "gate-1"), request("hold0001"))
				if _, err := d.Answer(t.Context(), "hold0001", says(human("bob", "approvers"), true), may); err != nil {
					t.Fatal(err)
				}
				refused(t, (<-done).err, policies.StateLost)
				if got := stateOf(t, s, "hold0001"); got != policies.StateLost {
					t.Errorf("state %s", got)
				}
			})
		})
	}
}

// greedy is a store in which somebody else takes every approval first.
type greedy struct{ policies.Store }

func (s greedy) AnswerHold(ctx context.Context, id string, a policies.Answer, next policies.State) (policies.Hold, error) {
	h, err := s.Store.AnswerHold(ctx, id, a, next)
	if err == nil && h.State == policies.StateApproved {
		err = s.Store.EndHold(ctx, id, policies.StateApproved, policies.StateConsumed, "")
	}
	return h, err
}

func TestConsumedOnce(t *testing.T) {
	bubble(t, func(t *testing.T, _ *policies.Desk, s *policies.Memory) {
		d := policies.NewDesk(greedy{s}, "gate-1")
		done := ask(t.Context(), d, request("hold0001"))
		twin := ask(t.Context(), policies.NewDesk(s, "gate-2"), request("hold0001"))
		if e := refused(t, (<-twin).err, policies.StateLost); !errors.Is(e, policies.ErrHoldExists) {
			t.Errorf("a second waiter on one id: %v", e)
		}
		if _, err := d.Answer(t.Context(), "hold0001", says(human("bob", "approvers"), true), may); err != nil {
			t.Fatal(err)
		}
		refused(t, (<-done).err, policies.StateConsumed)
	})
}

// snatching is a store in which somebody else consumes an approval just before its waiter does.
type snatching struct{ policies.Store }

func (s snatching) EndHold(ctx context.Context, id string, from, to policies.State, why string) error {
	if to == policies.StateConsumed {
		if err := s.Store.EndHold(ctx, id, from, to, why); err != nil {
			return err
		}
	}
	return s.Store.EndHold(ctx, id, from, to, why)
}

func TestConsumedBySomebodyElse(t *testing.T) {
	bubble(t, func(t *testing.T, _ *policies.Desk, s *policies.Memory) {
		d := policies.NewDesk(snatching{s}, "gate-1")
		done := ask(t.Context(), d, request("hold0001"))
		if _, err := d.Answer(t.Context(), "hold0001", says(human("bob", "approvers"), true), may); err != nil {
			t.Fatal(err)
		}
		refused(t, (<-done).err, policies.StateConsumed)
	})
}

// deaf is a store that reports no change.
type deaf struct {
	policies.Store
	closed bool
}

func (s deaf) HoldChanges(ctx context.Context) (<-chan string, error) {
	ch := make(chan string)
	if s.closed {
		close(ch)
	}
	return ch, nil
}

func TestChangesThatGetLost(t *testing.T) {
	for _, closed := range []bool{false, true} {
		bubble(t, func(t *testing.T, _ *policies.Desk, s *policies.Memory) {
			d := policies.NewDesk(deaf{s, closed}, "gate-1")
			done := ask(t.Context(), d, request("hold0001"))
			time.Sleep(time.Minute + time.Second)
			if _, err := d.Answer(t.Context(), "hold0001", says(human("bob", "approvers"), true), may); err != nil {
				t.Fatal(err)
			}
			answered := time.Now()
			if r := <-done; r.err != nil || r.at.Sub(answered) > 10*time.Second {
				t.Errorf("closed %t: %v after %v", closed, r.err, r.at.Sub(answered))
			}
		})
	}
}

// TestFaults lets every step of a held operation fail, before and after it took effect. Whatever happens: the operation
// runs at most once, only if a human approved it in time, and then the store says consumed; and the client is told
// within the time of the hold.
func TestFaults(t *testing.T) {
	type outcome struct {
		err   error
		state policies.State
	}
	run := func(t *testing.T, prepare func(*storetest.Faulty), approve bool) (steps []string, o outcome) {
		synctest.Test(t, func(t *testing.T) {
			s := policies.NewMemory()
			faulty := storetest.NewFaulty(s)
			prepare(faulty)
			d := policies.NewDesk(faulty, "gate-1")
			start := time.Now()
			h := request("hold0001")
			h.Terms.Grant = time.Minute
			done := ask(t.Context(), d, h)
			for range 3 { // an approver whose answer failed tries again
				if _, err := d.Answer(t.Context(), h.ID, says(human("bob", "approvers"), approve), may); err == nil {
					break
				}
			}
			r := <-done
			if took := r.at.Sub(start); took > wait {
				t.Errorf("the client was told after %s", took)
			}
			o.err = r.err
			if got, err := s.Hold(t.Context(), h.ID); err == nil {
				o.state = got.State
			}
			if err := s.EndHold(t.Context(), h.ID, policies.StateApproved, policies.StateConsumed, ""); err == nil && o.err == nil {
				t.Error("it ran, and its approval could be used again")
			}
			steps = faulty.Steps()
		})
		return steps, o
	}
	for _, approve := range []bool{true, false} {
		steps, clean := run(t, func(*storetest.Faulty) {}, approve)
		if ran := clean.err == nil; ran != approve {
			t.Fatalf("without faults: approve %t, %v", approve, clean.err)
		}
		counts := map[string]int{}
		for _, step := range steps {
			counts[step]++
			for _, how := range []storetest.Fault{storetest.Dropped, storetest.Kept} {
				for _, n := range []int{counts[step], 0} {
					t.Run(fmt.Sprintf("approve %t, %s#%d %s", approve, step, n, how), func(t *testing.T) {
						_, o := run(t, func(f *storetest.Faulty) { f.Fail(step, n, how) }, approve)
						if o.err == nil && (!approve || o.state != policies.StateConsumed) {
							t.Errorf("it ran, and the store says %q", o.state)
						}
						var refusal *policies.RefusedError
						if o.err != nil && !errors.As(o.err, &refusal) {
							t.Errorf("%v is not a refusal", o.err)
						}
					})
				}
			}
		}
	}
}

func TestWaitAndWatch(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		first := ask(t.Context(), d, request("hold0001"))
		ctx, stop := context.WithCancel(t.Context())
		seen, err := d.Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		next := func(id string, state policies.State) {
			t.Helper()
			if h := <-seen; h.ID != id || h.State != state {
				t.Fatalf("saw %s %s, want %s %s", h.ID, h.State, id, state)
			}
		}
		next("hold0001", policies.StatePending)
		second := ask(t.Context(), d, request("hold0002"))
		next("hold0002", policies.StatePending)

		waited := make(chan result, 1)
		go func() {
			h, err := policies.NewDesk(s, "gate-2").Wait(t.Context(), "hold0001")
			waited <- result{h, err, time.Now()}
		}()
		synctest.Wait()
		if _, err := d.Answer(t.Context(), "hold0001", says(human("bob", "approvers"), false), may); err != nil {
			t.Fatal(err)
		}
		next("hold0001", policies.StateDenied)
		if r := <-waited; r.err != nil || r.hold.State != policies.StateDenied {
			t.Errorf("Wait: %s, %v", r.hold.State, r.err)
		}
		<-first
		if h, err := d.Wait(t.Context(), "hold0002"); err != nil || h.State != policies.StateExpired {
			t.Errorf("Wait until it expires: %s, %v", h.State, err)
		}
		<-second
		next("hold0002", policies.StateExpired)
		stop()
		synctest.Wait()
		if _, open := <-seen; open {
			t.Error("the watch did not end")
		}
		if _, err := d.Wait(t.Context(), "nothing1"); !errors.Is(err, policies.ErrNoHold) {
			t.Errorf("Wait for nothing: %v", err)
		}
		if _, err := d.Get(t.Context(), "../x"); !errors.Is(err, policies.ErrNoHold) {
			t.Errorf("Get of a path: %v", err)
		}
	})
}
