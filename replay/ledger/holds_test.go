package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/policies/storetest"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func hold(id string) policies.Hold {
	return policies.Hold{
		ID: id, SessionID: "s1", ConnectionID: "c1", Gate: "gate1",
		Principal: policies.Principal{
			Key: "https://id.example#agent", Name: "Agent", Kind: policies.Agent, Groups: []string{"bots"},
			OnBehalfOf: &policies.Principal{Key: "https://id.example#dev", Kind: policies.Human},
		},
		Target: policies.Target{Name: "web1", Kind: "ssh", Labels: map[string]string{"env": "prod"}},
		Action: "command:run", Text: "rm -rf '/srv/\xff\x00'",
		Facts:  map[string]any{"removes": []string{"/srv/\xff\x00"}, "opaque": false, "n": int64(3), "program": "rm"},
		Policy: policies.Ref{ID: "hold-destructive", File: "a.cedar", Line: 3, Column: 1},
		Terms:  policies.Terms{Approvers: []string{"dba"}, Wait: time.Minute, Grant: time.Hour, Reason: true, Quorum: 1},
		Asked:  began, Expires: began.Add(time.Minute), Justification: "ticket 7", State: policies.StatePending,
	}
}

func yes(at time.Time) policies.Answer {
	return policies.Answer{Approver: policies.Principal{Key: "https://id.example#boss", Kind: policies.Human}, Approve: true, Reason: "ok", At: at, Via: "console"}
}

func put(t testing.TB, l *ledger.Ledger, h policies.Hold) {
	t.Helper()
	if err := l.PutHold(t.Context(), h); err != nil {
		t.Fatal(err)
	}
}

func TestHoldRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		h := hold("hold0001")
		put(t, l, h)
		wantErr(t, l.PutHold(ctx, h), policies.ErrHoldExists)
		got, err := l.Hold(ctx, h.ID)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "pending", got, h)

		a := yes(began.Add(10 * time.Second))
		answered, err := l.AnswerHold(ctx, h.ID, a, policies.StateApproved)
		if err != nil {
			t.Fatal(err)
		}
		h.Answers, h.State, h.Ended = []policies.Answer{a}, policies.StateApproved, a.At
		diff(t, "answered", answered, h)
		if got, err = l.Hold(ctx, h.ID); err != nil {
			t.Fatal(err)
		}
		diff(t, "read again", got, h)

		_, err = l.AnswerHold(ctx, h.ID, a, policies.StateDenied)
		wantErr(t, err, policies.ErrNotPending)
		wantErr(t, l.EndHold(ctx, h.ID, policies.StatePending, policies.StateExpired, ""), policies.ErrNotPending)
		_, err = l.AnswerHold(ctx, "nosuch00", a, policies.StateDenied)
		wantErr(t, err, policies.ErrNoHold)
		wantErr(t, l.EndHold(ctx, "nosuch00", policies.StatePending, policies.StateExpired, ""), policies.ErrNoHold)
		_, err = l.Hold(ctx, "nosuch00")
		wantErr(t, err, policies.ErrNoHold)

		big := hold("hold0002")
		big.Text = strings.Repeat("x", ledger.MaxText+1)
		wantErr(t, l.PutHold(ctx, big), ledger.ErrTooLong)
		big.Text, big.State = "x", policies.StateApproved
		wantErr(t, l.PutHold(ctx, big), ledger.ErrInvalid)
	})
}

// However many gates release an approved hold at once, one of them does.
func TestHoldIsConsumedOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		gates := []*ledger.Ledger{open(t, url), open(t, url)}
		for round := range 5 {
			id := fmt.Sprintf("hold%04d", round)
			put(t, gates[0], hold(id))
			var answered, consumed atomic.Int64
			var wg sync.WaitGroup
			for w := range 6 {
				wg.Go(func() {
					next := []policies.State{policies.StateApproved, policies.StateDenied}[w%2]
					if _, err := gates[w%2].AnswerHold(t.Context(), id, yes(began), next); err == nil {
						answered.Add(1)
					} else if !errors.Is(err, policies.ErrNotPending) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for w := range 6 {
				wg.Go(func() {
					if gates[w%2].EndHold(t.Context(), id, policies.StateApproved, policies.StateConsumed, "") == nil {
						consumed.Add(1)
					}
				})
			}
			wg.Wait()
			h, err := gates[1].Hold(t.Context(), id)
			if err != nil || answered.Load() != 1 || len(h.Answers) != 1 {
				t.Errorf("answered %d times: %+v, %v", answered.Load(), h, err)
			}
			if want := map[policies.State]int64{policies.StateConsumed: 1, policies.StateDenied: 0}; consumed.Load() != want[h.State] {
				t.Errorf("%s, consumed %d times", h.State, consumed.Load())
			}
		}
	})
}

func TestFindGrant(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		h := hold("hold0001")
		put(t, l, h)
		find := func(principal, target, action, text string, now time.Time) error {
			_, err := l.FindGrant(ctx, policies.GrantQuery{Principal: principal, Target: target, Action: action, Text: text, Now: now})
			return err
		}
		wantErr(t, find(h.Principal.Key, "web1", h.Action, h.Text, began), policies.ErrNoGrant)
		if _, err := l.AnswerHold(ctx, h.ID, yes(began), policies.StateApproved); err != nil {
			t.Fatal(err)
		}
		if err := l.EndHold(ctx, h.ID, policies.StateApproved, policies.StateConsumed, ""); err != nil {
			t.Fatal(err)
		}
		got, err := l.FindGrant(ctx, policies.GrantQuery{
			Principal: h.Principal.Key, Target: "web1", Action: h.Action, Text: h.Text, Now: began.Add(time.Hour - time.Microsecond),
		})
		if err != nil || got.ID != h.ID {
			t.Errorf("%s, %v", got.ID, err)
		}
		for _, tt := range []struct {
			name, principal, target, action, text string
			now                                   time.Time
		}{
			{"too late", h.Principal.Key, "web1", h.Action, h.Text, began.Add(time.Hour)},
			{"another one", "https://id.example#dev", "web1", h.Action, h.Text, began},
			{"elsewhere", h.Principal.Key, "web2", h.Action, h.Text, began},
			{"another action", h.Principal.Key, "web1", "file:remove", h.Text, began},
			{"one byte more", h.Principal.Key, "web1", h.Action, h.Text + " ", began},
			{"the bytes as they are shown", h.Principal.Key, "web1", h.Action, `rm -rf '/srv/\xff\x00'`, began},
			{"a byte that is shown the same", h.Principal.Key, "web1", h.Action, "rm -rf '/srv/\xfe\x00'", began},
			{"the replacement character", h.Principal.Key, "web1", h.Action, "rm -rf '/srv/\ufffd\x00'", began},
		} {
			t.Run(tt.name, func(t *testing.T) {
				wantErr(t, find(tt.principal, tt.target, tt.action, tt.text, tt.now), policies.ErrNoGrant)
			})
		}
		// An approval that was never released and taken back covers nothing.
		put(t, l, hold("hold0002"))
		if _, err := l.AnswerHold(ctx, "hold0002", yes(began.Add(2*time.Hour)), policies.StateApproved); err != nil {
			t.Fatal(err)
		}
		if err := find(h.Principal.Key, "web1", h.Action, h.Text, began.Add(2*time.Hour)); err != nil {
			t.Error(err)
		}
		if err := l.EndHold(ctx, "hold0002", policies.StateApproved, policies.StateLost, "the gate was restarted"); err != nil {
			t.Fatal(err)
		}
		wantErr(t, find(h.Principal.Key, "web1", h.Action, h.Text, began.Add(2*time.Hour)), policies.ErrNoGrant)
	})
}

func TestHoldFilter(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		for n := range 6 {
			h := hold(fmt.Sprintf("hold%04d", n))
			h.Asked = began.Add(time.Duration(n/2) * time.Second)
			put(t, l, h)
		}
		if err := l.EndHold(ctx, "hold0003", policies.StatePending, policies.StateWithdrawn, "left"); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name string
			f    policies.HoldFilter
			want string
		}{
			{"all", policies.HoldFilter{}, "543210"},
			{"pending", policies.HoldFilter{States: []policies.State{policies.StatePending}}, "54210"},
			{"two states", policies.HoldFilter{States: []policies.State{policies.StateWithdrawn, policies.StateLost}}, "3"},
			{"since", policies.HoldFilter{Since: began.Add(time.Second)}, "5432"},
			{"limit", policies.HoldFilter{Limit: 2}, "54"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				all, err := l.Holds(ctx, tt.f)
				if err != nil {
					t.Fatal(err)
				}
				got := ""
				for _, h := range all {
					got += h.ID[7:]
				}
				diff(t, "holds", got, tt.want)
			})
		}
		h, err := l.Hold(ctx, "hold0003")
		if err != nil || h.Why != "left" || h.Ended.IsZero() {
			t.Errorf("%+v, %v", h, err)
		}
	})
}

// next waits for an id, whatever else comes by.
func next(t testing.TB, c <-chan string, id string) {
	t.Helper()
	for timeout := time.After(20 * time.Second); ; {
		select {
		case got, ok := <-c:
			if !ok {
				t.Fatalf("closed before %q came", id)
			}
			if got == id {
				return
			}
		case <-timeout:
			t.Fatalf("%q never came", id)
		}
	}
}

// Changes arrive whoever made them, and the channel ends with its context.
func TestHoldChanges(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, other := open(t, url), open(t, url)
		ctx, cancel := context.WithCancel(t.Context())
		mine, err := l.HoldChanges(ctx)
		if err != nil {
			t.Fatal(err)
		}
		revocations, err := l.RevocationChanges(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i, by := range []*ledger.Ledger{l, other} {
			id := fmt.Sprintf("hold%04d", i)
			put(t, by, hold(id))
			next(t, mine, id)
			if _, err := by.AnswerHold(t.Context(), id, yes(began), policies.StateApproved); err != nil {
				t.Fatal(err)
			}
			next(t, mine, id)
			if err := by.EndHold(t.Context(), id, policies.StateApproved, policies.StateConsumed, ""); err != nil {
				t.Fatal(err)
			}
			next(t, mine, id)
			if err := by.Revoke(t.Context(), ledger.Revocation{Serial: "7", At: began}); err != nil {
				t.Fatal(err)
			}
			next(t, revocations, "")
		}
		cancel()
		for range mine {
		}
		for range revocations {
		}
		if _, err := l.HoldChanges(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
	})
}

// A receiver that never looks costs nobody anything, and is told once when it does.
func TestHoldChangesSlowReceiver(t *testing.T) {
	l := open(t, newSQLite(t))
	c, err := l.HoldChanges(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, hold("hold0001"))
	for range 20 {
		if _, err := l.AnswerHold(t.Context(), "hold0001", yes(began), policies.StatePending); err != nil {
			t.Fatal(err)
		}
	}
	put(t, l, hold("hold0002"))
	got := []string{<-c}
	for got[len(got)-1] != "hold0002" {
		got = append(got, <-c)
	}
	if len(got) > 3 { // one may have been on its way before the rest was merged
		t.Errorf("told %q", got)
	}
}

func TestCloseEndsSubscriptions(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, err := ledger.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.HoldChanges(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for range c {
		}
		if _, err := l.HoldChanges(t.Context()); err == nil {
			t.Error("a closed ledger takes subscribers")
		}
	})
}

// What happened while the listening connection was gone is told when it is back.
func TestHoldChangesAfterReconnect(t *testing.T) {
	url := newPostgres(t)
	l, other := open(t, url), open(t, url)
	c, err := l.HoldChanges(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		tamper(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND query = 'LISTEN sallyport_ledger'`)
		id := fmt.Sprintf("hold%04d", round)
		put(t, other, hold(id))
		next(t, c, id)
	}
}

// The contract of all stores of holds, as its owner tests it.
func TestHoldStore(t *testing.T) {
	onBoth(t, func(t *testing.T, _ string) {
		fresh := newSQLite
		if strings.HasSuffix(t.Name(), "postgres") {
			fresh = newPostgres
		}
		storetest.Run(t, func() policies.Store { return open(t, fresh(t)) })
	})
}

func TestAdvanceStore(t *testing.T) {
	onBoth(t, func(t *testing.T, _ string) {
		fresh := newSQLite
		if strings.HasSuffix(t.Name(), "postgres") {
			fresh = newPostgres
		}
		storetest.RunAdvances(t, func() policies.AdvanceStore { return open(t, fresh(t)) })
	})
}
