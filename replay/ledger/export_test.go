package ledger_test

import (
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// TestExportMissesNothing: while many write at once, a reader that goes on from the last number it saw gets every
// operation and every user's certificate, each once.
func TestExportMissesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		const writers, each = 6, 40
		var wg sync.WaitGroup
		for w := range writers {
			start(t, l, session(w+1))
			wg.Go(func() {
				for i := range each {
					if err := l.AddOperation(ctx, operation(session(w+1).ID, int64(i+1))); err != nil {
						t.Error(err)
					}
					addAudit(t, l, ledger.Event{Kind: "x", Gate: "g"})
				}
			})
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		seen, last := map[string]bool{}, int64(0)
		for finished := false; ; {
			page, err := l.OperationsAfter(ctx, last)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page {
				if o.N <= last || seen[o.Operation.ID] || o.Session.Target == "" || o.Session.ID != o.Operation.SessionID {
					t.Fatalf("operation %d %s after %d", o.N, o.Operation.ID, last)
				}
				seen[o.Operation.ID], last = true, o.N
			}
			if finished && len(page) == 0 {
				break
			}
			select {
			case <-done:
				finished = true
			default:
			}
		}
		if len(seen) != writers*each {
			t.Errorf("%d of %d operations", len(seen), writers*each)
		}
	})
}

func TestEventCursors(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		now := began
		take := func(holder string, at time.Time) (ledger.EventCursor, error) {
			return l.TakeEvents(ctx, "siem", holder, at, time.Minute)
		}
		c, err := take("gate1", now)
		if err != nil || c != (ledger.EventCursor{}) {
			t.Fatalf("a new sink is at %+v, %v", c, err)
		}
		want := ledger.EventCursor{Audit: 1, Operations: 2, Seals: 3, Certificates: 4}
		if err := l.EventsTaken(ctx, "siem", "gate1", want); err != nil {
			t.Fatal(err)
		}
		_, err = take("gate2", now.Add(30*time.Second))
		wantErr(t, err, ledger.ErrExists)
		if c, err := take("gate1", now.Add(30*time.Second)); err != nil || c != want {
			t.Errorf("the holder again: %+v, %v", c, err)
		}
		if c, err := take("gate2", now.Add(2*time.Minute)); err != nil || c != want {
			t.Errorf("another after the lease: %+v, %v", c, err)
		}
		wantErr(t, l.EventsTaken(ctx, "siem", "gate1", ledger.EventCursor{Audit: 9}), ledger.ErrExists)
		if c, err := take("gate2", now.Add(2*time.Minute)); err != nil || c != want {
			t.Errorf("after the former holder tried: %+v, %v", c, err)
		}
	})
}
