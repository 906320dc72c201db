package policies_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

func chosen(by policies.Principal, scope string) policies.Answer {
	a := says(by, true)
	var err error
	if a.Scope, a.For, err = policies.ParseScope(scope); err != nil {
		panic(err)
	}
	return a
}

// What an approver may choose is bounded by the policy, and what they chose by the dot.
func TestScopes(t *testing.T) {
	bob := human("bob", "approvers")
	for _, tt := range []struct {
		name           string
		grant          time.Duration
		session        bool
		choice         string
		err            error
		ends           time.Duration // after the approval; 0: not
		same, other    bool          // it covers a retry in the same session, in another
		later          time.Duration // when that is tried
		sessionOfRetry string
	}{
		{name: "no grant, nothing chosen", later: time.Second},
		{name: "no grant, once", choice: "once", later: time.Second},
		{name: "no grant, session", choice: "session", err: policies.ErrScope},
		{name: "no grant, a time", choice: "1m", err: policies.ErrScope},
		{name: "grant, nothing chosen", grant: time.Hour, ends: time.Hour, same: true, other: true, later: time.Hour - time.Second},
		{name: "grant, at its end", grant: time.Hour, ends: time.Hour, later: time.Hour},
		{name: "grant, once", grant: time.Hour, choice: "once", ends: time.Hour, later: time.Second},
		{name: "grant, session", grant: time.Hour, choice: "session", ends: time.Hour, same: true, later: time.Minute},
		{name: "grant, less", grant: time.Hour, choice: "10m", ends: 10 * time.Minute, same: true, other: true, later: 10*time.Minute - time.Second},
		{name: "grant, less, at its end", grant: time.Hour, choice: "10m", ends: 10 * time.Minute, later: 10 * time.Minute},
		{name: "grant, all of it", grant: time.Hour, choice: "1h", ends: time.Hour, same: true, other: true, later: time.Minute},
		{name: "grant, more", grant: time.Hour, choice: "1h1s", err: policies.ErrScope},
		{name: "session, nothing chosen", session: true, same: true, later: 100 * time.Hour},
		{name: "session, once", session: true, choice: "once", later: time.Second},
		{name: "session, a time", session: true, choice: "1m", err: policies.ErrScope},
		{name: "session of at most an hour", session: true, grant: time.Hour, ends: time.Hour, same: true, later: time.Minute},
		{name: "session of at most an hour, after it", session: true, grant: time.Hour, ends: time.Hour, later: time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
				h := request("hold0001")
				h.SessionID, h.Terms.Grant, h.Terms.Session = "session0000000000001", tt.grant, tt.session
				done := ask(t.Context(), d, h)
				_, err := d.Answer(t.Context(), h.ID, chosen(bob, tt.choice), may)
				if !errors.Is(err, tt.err) {
					t.Fatalf("answer: %v, want %v", err, tt.err)
				}
				if tt.err != nil {
					if got := stateOf(t, s, h.ID); got != policies.StatePending {
						t.Errorf("a refused answer made it %s", got)
					}
					return
				}
				got := <-done
				if got.err != nil {
					t.Fatal(got.err)
				}
				if ends := got.hold.GrantEnds(); ends.IsZero() != (tt.ends == 0) || tt.ends > 0 && !ends.Equal(got.hold.ApprovedAt().Add(tt.ends)) {
					t.Errorf("what it let in ends at %v, approved %v, want %v later", ends, got.hold.ApprovedAt(), tt.ends)
				}
				time.Sleep(tt.later)
				for session, want := range map[string]bool{h.SessionID: tt.same, "another0000000000001": tt.other} {
					ctx, leave := context.WithCancel(t.Context())
					retry := h
					retry.ID, retry.SessionID = "again"+session[:6], session
					again := ask(ctx, d, retry)
					select {
					case r := <-again:
						if !want || r.err != nil || r.hold.ID != h.ID {
							t.Errorf("in %s it passed again: %s, %v", session, r.hold.ID, r.err)
						}
					default:
						if want {
							t.Errorf("in %s it is asked about again", session)
						}
						leave()
						<-again
					}
					leave()
				}
			})
		})
	}
}

func TestParseScope(t *testing.T) {
	for _, bad := range []string{"forever", "0", "-5m", "1ms", "10", "once ", "time"} {
		if s, d, err := policies.ParseScope(bad); !errors.Is(err, policies.ErrScope) {
			t.Errorf("ParseScope(%q) = %q, %v, %v", bad, s, d, err)
		}
	}
}

// The narrowest of what several people chose counts.
func TestScopeOfSeveral(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		h := request("hold0001")
		h.Terms.Grant, h.Terms.Quorum = time.Hour, 2
		done := ask(t.Context(), d, h)
		for name, scope := range map[string]string{"bob": "30m", "carol": "10m"} {
			if _, err := d.Answer(t.Context(), h.ID, chosen(human(name, "approvers"), scope), may); err != nil {
				t.Fatal(err)
			}
		}
		got := <-done
		if got.err != nil || !got.hold.GrantEnds().Equal(got.hold.ApprovedAt().Add(10*time.Minute)) {
			t.Errorf("ends %v, approved %v, %v", got.hold.GrantEnds(), got.hold.ApprovedAt(), got.err)
		}
	})
}

// A denial says nothing about what it covers.
func TestScopeOfADenial(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		h := request("hold0001")
		h.Terms.Grant = time.Hour
		done := ask(t.Context(), d, h)
		a := says(human("bob", "approvers"), false)
		a.Scope = policies.ScopeSession
		if _, err := d.Answer(t.Context(), h.ID, a, may); !errors.Is(err, policies.ErrScope) {
			t.Error(err)
		}
		if _, err := d.Answer(t.Context(), h.ID, says(human("bob", "approvers"), false), may); err != nil {
			t.Error(err)
		}
		refused(t, (<-done).err, policies.StateDenied)
	})
}

// The one who waits hears of every approval on the way.
func TestProgress(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		h := request("hold0001")
		h.Terms = policies.Terms{Approvers: []string{"dba", "security"}, Wait: wait, Quorum: 2, Needs: []policies.Need{
			{Groups: []string{"dba"}, Quorum: 2}, {Groups: []string{"security"}, Quorum: 1},
		}}
		told := make(chan string, 10)
		done := make(chan error, 1)
		go func() {
			_, err := d.Ask(t.Context(), h, func(h policies.Hold) {
				given, needed := h.Progress()
				told <- fmt.Sprintf("%d/%d %s", given, needed, h.ProgressText())
			})
			done <- err
		}()
		for i, by := range []policies.Principal{{}, human("bob", "dba"), human("eve", "security"), human("carol", "dba")} {
			if i > 0 {
				if _, err := d.Answer(t.Context(), h.ID, says(by, true), may); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			want := []string{
				"0/3 0 of 2 of dba, 0 of 1 of security", "1/3 1 of 2 of dba, 0 of 1 of security", "2/3 1 of 2 of dba, 1 of 1 of security",
			}
			if i < len(want) {
				if got := <-told; got != want[i] {
					t.Errorf("after %d answers: %q, want %q", i, got, want[i])
				}
			}
		}
		if err := <-done; err != nil || len(told) != 0 {
			t.Errorf("%v, and %d more announcements", err, len(told))
		}
	})
}

func TestEscalation(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		h := request("hold0001")
		h.Terms.Needs = []policies.Need{{Groups: []string{"approvers"}, Quorum: 1, Escalate: []policies.Escalation{
			{After: 2 * time.Minute, Groups: []string{"leads"}}, {After: 5 * time.Minute, Groups: []string{"ciso"}},
		}}}
		told := make(chan []string, 10)
		done := make(chan error, 1)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		go func() {
			_, err := d.Ask(ctx, h, func(h policies.Hold) { told <- h.MayAnswerNow(time.Now()) })
			done <- err
		}()
		synctest.Wait()
		<-told
		lead := human("lena", "leads")
		if _, err := d.Answer(t.Context(), h.ID, says(lead, true), may); !errors.Is(err, policies.ErrNotApprover) {
			t.Errorf("a lead before it was escalated: %v", err)
		}
		if err := d.Eligible(lead, get(t, s, h.ID)); !errors.Is(err, policies.ErrNotApprover) {
			t.Errorf("and is told: %v", err)
		}
		time.Sleep(2*time.Minute - time.Second)
		synctest.Wait()
		if len(told) != 0 {
			t.Errorf("escalated too early: %v", <-told)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := fmt.Sprint(<-told); got != "[approvers leads]" {
			t.Errorf("after two minutes %s may answer", got)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := fmt.Sprint(<-told); got != "[approvers leads ciso]" {
			t.Errorf("after five minutes %s may answer", got)
		}
		if _, err := d.Answer(t.Context(), h.ID, says(lead, true), may); err != nil {
			t.Errorf("a lead after it was escalated: %v", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func get(t *testing.T, s policies.Store, id string) policies.Hold {
	t.Helper()
	h, err := s.Hold(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return h
}
