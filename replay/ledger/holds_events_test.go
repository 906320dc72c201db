package ledger_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// What becomes of a hold is there to be read, in order and once, with the change that it is about.
func TestHoldEvents(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		put(t, l, hold("hold0001"))
		after, ok, err := l.LeaseReader(ctx, "ops", "gate-1", time.Now().Add(time.Minute))
		if err != nil || !ok || after == 0 {
			t.Fatalf("a new reader begins after what was before it: %d, %v, %v", after, ok, err)
		}
		put(t, l, hold("hold0002"))
		if err := l.TouchHold(ctx, "hold0002", "escalated"); err != nil {
			t.Fatal(err)
		}
		if _, err := l.AnswerHold(ctx, "hold0002", yes(began), policies.StatePending); err != nil {
			t.Fatal(err)
		}
		if _, err := l.AnswerHold(ctx, "hold0002", yes(began), policies.StateApproved); err != nil {
			t.Fatal(err)
		}
		if err := l.EndHold(ctx, "hold0002", policies.StateApproved, policies.StateConsumed, ""); err != nil {
			t.Fatal(err)
		}
		wantErr(t, l.EndHold(ctx, "hold0002", policies.StatePending, policies.StateExpired, ""), policies.ErrNotPending)
		events, err := l.HoldEvents(ctx, after, 100)
		if err != nil {
			t.Fatal(err)
		}
		var what []string
		last := after
		for _, e := range events {
			if e.Hold != "hold0002" || e.N <= last || e.At.IsZero() {
				t.Errorf("%+v after %d", e, last)
			}
			last = e.N
			what = append(what, e.Event)
		}
		if got := strings.Join(what, " "); got != "pending escalated answered approved consumed" {
			t.Errorf("the events are %s", got)
		}
		if few, err := l.HoldEvents(ctx, after, 2); err != nil || len(few) != 2 {
			t.Errorf("two of them: %v, %v", few, err)
		}
	})
}

// One gate at a time reads for a name, and goes on where the former one was.
func TestHoldReaderLease(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		lease := func(owner string, d time.Duration) (int64, bool) {
			t.Helper()
			n, ok, err := l.LeaseReader(ctx, "ops", owner, time.Now().Add(d))
			if err != nil {
				t.Fatal(err)
			}
			return n, ok
		}
		if _, ok := lease("gate-1", time.Hour); !ok {
			t.Fatal("nobody reads, and the lease is refused")
		}
		if _, ok := lease("gate-2", time.Hour); ok {
			t.Error("two have the lease")
		}
		put(t, l, hold("hold0001"))
		events, err := l.HoldEvents(ctx, 0, 10)
		if err != nil || len(events) != 1 {
			t.Fatalf("%v, %v", events, err)
		}
		if err := l.AdvanceReader(ctx, "ops", "gate-2", events[0].N); !errors.Is(err, ledger.ErrLease) {
			t.Errorf("moved by who does not have the lease: %v", err)
		}
		if err := l.AdvanceReader(ctx, "ops", "gate-1", events[0].N); err != nil {
			t.Error(err)
		}
		if err := l.AdvanceReader(ctx, "ops", "gate-1", events[0].N-1); !errors.Is(err, ledger.ErrLease) {
			t.Errorf("moved back: %v", err)
		}
		if _, ok := lease("gate-1", -time.Second); !ok { // it lets go
			t.Error("its own lease is refused")
		}
		if n, ok := lease("gate-2", time.Hour); !ok || n != events[0].N {
			t.Errorf("the other goes on after %d, %v; want %d", n, ok, events[0].N)
		}
		if err := l.AdvanceReader(ctx, "ops", "gate-1", events[0].N+1); !errors.Is(err, ledger.ErrLease) {
			t.Errorf("moved by who had the lease: %v", err)
		}
		if _, ok := func() (int64, bool) {
			n, ok, err := l.LeaseReader(ctx, "other", "gate-1", time.Now().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			return n, ok
		}(); !ok {
			t.Error("another name is refused")
		}
	})
}

// Of many that ask at once one gets the lease.
func TestHoldReaderRace(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		var mu sync.Mutex
		won := 0
		var wg sync.WaitGroup
		for _, owner := range []string{"gate-1", "gate-2", "gate-3", "gate-4"} {
			wg.Go(func() {
				_, ok, err := l.LeaseReader(ctx, "ops", owner, time.Now().Add(time.Hour))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if ok {
					won++
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Errorf("%d have the lease", won)
		}
	})
}
