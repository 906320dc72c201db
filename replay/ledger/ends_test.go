package ledger_test

import (
	"testing"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// An auditor on one gate ends a session that runs on another.
func TestEndRequests(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, other, ctx := open(t, url), open(t, url), t.Context()
		for n := range 3 {
			s := session(n)
			if n == 1 {
				s.Gate = "gate2"
			}
			start(t, l, s)
		}
		changes, err := l.EndRequestChanges(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var want []ledger.EndRequest
		for n := range 3 {
			r := ledger.EndRequest{SessionID: session(n).ID, By: "https://id.example#boss", Reason: "looks\x00odd", At: began}
			if err := other.RequestEnd(ctx, r); err != nil {
				t.Fatal(err)
			}
			next(t, changes, "")
			if r.N, r.Reason = int64(n+1), `looks\x00odd`; n != 1 {
				want = append(want, r)
			}
		}
		got, err := l.EndRequests(ctx, "gate1", 0)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "requests", got, want)
		if err := l.EndSession(ctx, session(0).ID, end(0)); err != nil {
			t.Fatal(err)
		}
		if got, err = l.EndRequests(ctx, "gate1", 0); err != nil {
			t.Fatal(err)
		}
		diff(t, "requests of live sessions", got, want[1:])
		if got, err = l.EndRequests(ctx, "gate1", want[1].N); err != nil || len(got) > 0 {
			t.Errorf("after the last: %v, %v", got, err)
		}
		wantErr(t, l.RequestEnd(ctx, ledger.EndRequest{SessionID: session(0).ID, At: began}), ledger.ErrEnded)
		wantErr(t, l.RequestEnd(ctx, ledger.EndRequest{SessionID: "nosuchsession", At: began}), ledger.ErrNotFound)
		wantErr(t, l.RequestEnd(ctx, ledger.EndRequest{SessionID: session(1).ID}), ledger.ErrInvalid)
	})
}
