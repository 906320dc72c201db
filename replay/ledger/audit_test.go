package ledger_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func addAudit(t testing.TB, l *ledger.Ledger, e ledger.Event) {
	t.Helper()
	if err := l.AddAudit(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func audit(t testing.TB, l *ledger.Ledger, f ledger.AuditFilter) []ledger.Event {
	t.Helper()
	all, _, err := l.Audit(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAudit(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		e := ledger.Event{
			At: began, Kind: "recording.viewed", Gate: "gate1", Actor: "https://id.example#boss", ActorName: "Boss", Source: "192.0.2.9",
			SessionID: session(1).ID, Target: "web1", Detail: map[string]any{"seconds": int64(7), "why": "<script>\xff"},
		}
		addAudit(t, l, e)
		for n := range 5 {
			addAudit(t, l, ledger.Event{At: began.Add(time.Duration(n) * time.Minute), Kind: "console.signed-in", ActorName: fmt.Sprint("user", n)})
		}
		wantErr(t, l.AddAudit(ctx, ledger.Event{At: began}), ledger.ErrInvalid)
		wantErr(t, l.AddAudit(ctx, ledger.Event{Kind: "x", Detail: map[string]any{"x": strings.Repeat("x", ledger.MaxFacts)}}), ledger.ErrTooLong)

		e.N, e.Count, e.Last = 1, 1, e.At
		diff(t, "event", audit(t, l, ledger.AuditFilter{Kind: "recording.viewed"})[0], e)
		for _, tt := range []struct {
			name string
			f    ledger.AuditFilter
			want int
		}{
			{"all", ledger.AuditFilter{}, 6},
			{"actor", ledger.AuditFilter{Actor: "https://id.example#boss"}, 1},
			{"source", ledger.AuditFilter{Source: "192.0.2.9"}, 1},
			{"session", ledger.AuditFilter{SessionID: session(1).ID}, 1},
			{"target", ledger.AuditFilter{Target: "web1"}, 1},
			{"text", ledger.AuditFilter{Text: "USER3"}, 1},
			{"time", ledger.AuditFilter{Since: began.Add(time.Minute), Until: began.Add(3 * time.Minute)}, 2},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if got := audit(t, l, tt.f); len(got) != tt.want {
					t.Errorf("found %d, want %d", len(got), tt.want)
				}
			})
		}
		page, next, err := l.Audit(ctx, ledger.AuditFilter{Limit: 4})
		if err != nil || len(page) != 4 || next == "" {
			t.Fatal(len(page), next, err)
		}
		rest, next, err := l.Audit(ctx, ledger.AuditFilter{Limit: 4, Cursor: next})
		if err != nil || len(rest) != 2 || next != "" || rest[0].N >= page[3].N {
			t.Fatal(len(rest), next, err)
		}
		_, _, err = l.Audit(ctx, ledger.AuditFilter{Cursor: "nonsense"})
		wantErr(t, err, ledger.ErrInvalid)
	})
}

// A flood by the denied costs rows per minute and source, not per attempt.
func TestAuditFlood(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l := open(t, url)
		for i := range 50 { // one source, ever new ports, names and tales
			addAudit(t, l, ledger.Event{
				At: began.Add(time.Duration(i) * time.Millisecond), Kind: "login.denied", Gate: "gate1", Denied: true,
				Source: fmt.Sprintf("198.51.100.1:%d", 1024+i), ActorName: fmt.Sprint("root", i), Detail: map[string]any{"try": int64(i)},
			})
		}
		rows := audit(t, l, ledger.AuditFilter{Kind: "login.denied"})
		if len(rows) != 1 || rows[0].Count != 50 || rows[0].Source != "198.51.100.1" || !rows[0].Last.Equal(began.Add(49*time.Millisecond)) ||
			rows[0].ActorName != "root0" {
			t.Fatalf("%+v", rows)
		}
		// Somebody with a whole IPv6 network is one source.
		for i := range 10 {
			addAudit(t, l, ledger.Event{At: began, Kind: "login.denied", Gate: "gate1", Denied: true, Source: fmt.Sprintf("[2001:db8:1:2::%x]:22", i+1)})
		}
		if rows := audit(t, l, ledger.AuditFilter{Source: "2001:db8:1:2::/64"}); len(rows) != 1 || rows[0].Count != 10 {
			t.Errorf("%+v", rows)
		}
		// Somebody with very many networks fills one row more than is allowed.
		for i := range 2 * ledger.MaxDeniedSources {
			addAudit(t, l, ledger.Event{At: began, Kind: "login.denied", Gate: "gate1", Denied: true, Source: fmt.Sprintf("203.0.%d.1:22", i)})
		}
		rows = audit(t, l, ledger.AuditFilter{Limit: 500})
		var events int64
		for _, r := range rows {
			events += r.Count
		}
		if len(rows) != ledger.MaxDeniedSources+1 || events != 50+10+2*ledger.MaxDeniedSources {
			t.Errorf("%d rows for %d events", len(rows), events)
		}
		// What is not denied is never merged; another minute, kind or gate has a row of its own.
		for _, e := range []ledger.Event{
			{At: began, Kind: "hold.answered", Source: "198.51.100.1"}, {At: began, Kind: "hold.answered", Source: "198.51.100.1"},
			{At: began.Add(time.Minute), Kind: "login.denied", Gate: "gate1", Denied: true, Source: "198.51.100.1"},
			{At: began, Kind: "session.denied", Gate: "gate1", Denied: true, Source: "198.51.100.1"},
			{At: began, Kind: "login.denied", Gate: "gate2", Denied: true, Source: "198.51.100.1"},
			{At: began, Kind: "login.denied", Gate: "gate2", Denied: true, Source: "::ffff:198.51.100.1"},
		} {
			addAudit(t, l, e)
		}
		if got := audit(t, l, ledger.AuditFilter{Limit: 500}); len(got) != len(rows)+5 {
			t.Errorf("%d rows, want %d", len(got), len(rows)+5)
		}
	})
}

// What an exporter reads has no gaps, and every count is final, though several gates write.
func TestAuditAfter(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		gates := []*ledger.Ledger{open(t, url), open(t, url)}
		ctx := t.Context()
		const writers, each = 6, 20
		var writing sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for i := range each {
					if err := gates[w%2].AddAudit(ctx, ledger.Event{At: began, Kind: "hold.answered", ActorName: fmt.Sprint(w, i)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		seen := map[string]bool{}
		read := func(after int64) int64 {
			page, err := gates[0].AuditAfter(ctx, after, began)
			if err != nil {
				t.Error(err)
			}
			for _, e := range page {
				seen[e.ActorName], after = true, e.N
			}
			return after
		}
		done := make(chan struct{})
		go func() { writing.Wait(); close(done) }()
		var after int64
		for running := true; running; after = read(after) {
			select {
			case <-done:
				running = false
			default:
			}
		}
		if len(seen) != writers*each {
			t.Errorf("exported %d of %d events", len(seen), writers*each)
		}

		addAudit(t, gates[0], ledger.Event{At: began, Kind: "login.denied", Denied: true, Source: "192.0.2.1"})
		addAudit(t, gates[0], ledger.Event{At: began, Kind: "hold.answered"})
		if page, err := gates[0].AuditAfter(ctx, after, began.Add(time.Minute)); err != nil || len(page) != 0 {
			t.Errorf("while the minute of the denied may still grow: %v, %v", page, err)
		}
		addAudit(t, gates[1], ledger.Event{At: began, Kind: "login.denied", Denied: true, Source: "192.0.2.1"})
		page, err := gates[0].AuditAfter(ctx, after, began.Add(2*time.Minute))
		if err != nil || len(page) != 2 || page[0].Count != 2 {
			t.Errorf("once it is over: %v, %v", page, err)
		}
	})
}
