package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func TestOperationRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		start(t, l, session(1))
		o := operation(session(1).ID, 1)
		o.Text = strings.Repeat("SELECT 'é'; ", 50000) // 650 KB, none of it is lost
		o.Facts = map[string]any{
			"opaque": true, "words": int64(1) << 60, "program": "p\xffq\x00", "list": []string{"a", "\xfe", ""}, "empty": []string{},
			"html": "<&>\u2028",
		}
		o.HoldID, o.Decision = "hold0001", "hold"
		if err := l.AddOperation(ctx, o); err != nil {
			t.Fatal(err)
		}
		if err := l.SetOutcome(ctx, o.ID, "approved by Boss, exit 0"); err != nil {
			t.Fatal(err)
		}
		got, next, err := l.Operations(ctx, o.SessionID, 0, 0)
		if err != nil || next != 0 || len(got) != 1 {
			t.Fatalf("%d operations, next %d, %v", len(got), next, err)
		}
		o.Outcome, o.Identity, o.Target = "approved by Boss, exit 0", session(1).Identity.Key(), "web1"
		diff(t, "operation", got[0], o)

		found, _, err := l.SearchOperations(ctx, ledger.OperationFilter{Text: "select 'é'"})
		if err != nil || len(found) != 1 || len(found[0].Text) > ledger.SearchText || !strings.HasSuffix(found[0].Text, "…") {
			t.Errorf("found %d, %v", len(found), err)
		}
	})
}

func TestOperationErrors(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		start(t, l, session(1))
		id := session(1).ID
		add := func(change func(*ledger.Operation)) error {
			o := operation(id, 1)
			change(&o)
			return l.AddOperation(ctx, o)
		}
		wantErr(t, add(func(o *ledger.Operation) { o.SessionID = "nosuchsession" }), ledger.ErrNotFound)
		wantErr(t, add(func(o *ledger.Operation) { o.Decision = "maybe" }), ledger.ErrInvalid)
		wantErr(t, add(func(o *ledger.Operation) { o.Time = time.Time{} }), ledger.ErrInvalid)
		wantErr(t, add(func(o *ledger.Operation) { o.Facts = map[string]any{"c": make(chan int)} }), ledger.ErrInvalid)
		wantErr(t, add(func(o *ledger.Operation) { o.Text = strings.Repeat("x", ledger.MaxText+1) }), ledger.ErrTooLong)
		wantErr(t, add(func(o *ledger.Operation) { o.Facts = map[string]any{"x": strings.Repeat("x", ledger.MaxFacts)} }), ledger.ErrTooLong)
		if err := add(func(*ledger.Operation) {}); err != nil {
			t.Fatal(err)
		}
		wantErr(t, add(func(o *ledger.Operation) { o.Sequence = 2 }), ledger.ErrExists)
		wantErr(t, add(func(o *ledger.Operation) { o.ID = "anotherid" }), ledger.ErrExists)
		wantErr(t, l.SetOutcome(ctx, "nosuchoperation", "ran"), ledger.ErrNotFound)
		wantErr(t, l.SetOutcome(ctx, operation(id, 1).ID, strings.Repeat("x", ledger.MaxNote+1)), ledger.ErrTooLong)
		// What failed was not counted.
		if s, err := l.Session(ctx, id); err != nil || s.Operations != 1 || s.Denied != 0 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// Operations of many sessions at once, and of one session from many goroutines, are all kept and counted.
func TestOperationsConcurrently(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, other := open(t, url), open(t, url)
		for n := range 2 {
			start(t, l, session(n))
		}
		const writers, each = 8, 25
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				into := l
				if w%2 == 1 {
					into = other // another process on the same database
				}
				for i := range each {
					o := operation(session(i%2).ID, int64(w*each+i+1))
					o.Decision = []string{"allow", "deny", "hold", "allow"}[w%4]
					if err := into.AddOperation(t.Context(), o); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		var all, denied, held int64
		for n := range 2 {
			s, err := l.Session(t.Context(), session(n).ID)
			if err != nil {
				t.Fatal(err)
			}
			all, denied, held = all+s.Operations, denied+s.Denied, held+s.Held
			var seen int64
			for after := int64(0); ; {
				page, next, err := other.Operations(t.Context(), s.ID, after, 13)
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range page {
					if o.Sequence <= after {
						t.Errorf("operation %d after %d", o.Sequence, after)
					}
					after = o.Sequence
				}
				if seen += int64(len(page)); next == 0 {
					break
				}
			}
			if seen != s.Operations {
				t.Errorf("session %d has %d operations and counts %d", n, seen, s.Operations)
			}
		}
		if all != writers*each || denied != all/4 || held != all/4 {
			t.Errorf("counted %d operations, %d denied, %d held", all, denied, held)
		}
	})
}

// What is refused, or given up, among operations that are stored together leaves the others as they are.
func TestOperationsTogether(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l := open(t, url)
		start(t, l, session(1))
		var wg sync.WaitGroup
		var stored, exists, missing, gone atomic.Int64
		for i := range int64(200) {
			wg.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				o := operation(session(1).ID, 1+i/2) // each twice
				switch i % 20 {
				case 3:
					o.SessionID = "nosuchsession"
				case 7:
					go cancel() // at some moment or other
				case 8:
					cancel()
				}
				switch err := l.AddOperation(ctx, o); {
				case err == nil:
					stored.Add(1)
				case errors.Is(err, ledger.ErrExists):
					exists.Add(1)
				case errors.Is(err, ledger.ErrNotFound):
					missing.Add(1)
				case errors.Is(err, context.Canceled):
					gone.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		s, err := l.Session(t.Context(), session(1).ID)
		if err != nil {
			t.Fatal(err)
		}
		all, _, err := l.Operations(t.Context(), s.ID, 0, 500)
		if err != nil || int64(len(all)) != s.Operations {
			t.Errorf("%d operations, counted %d, %v", len(all), s.Operations, err)
		}
		// On PostgreSQL one that was given up can be stored all the same.
		if n := s.Operations; n < stored.Load() || n > stored.Load()+gone.Load() || missing.Load() != 10 || gone.Load() < 10 {
			t.Errorf("%d stored, said: %d stored, %d exist, %d without a session, %d given up", n, stored.Load(), exists.Load(), missing.Load(), gone.Load())
		}
	})
}

func TestAddOperations(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		start(t, l, session(1))
		var all []ledger.Operation
		for i := range int64(100) {
			o := operation(session(1).ID, i+1)
			o.Decision = []string{"allow", "deny"}[i%2]
			all = append(all, o)
		}
		for name, tt := range map[string]struct {
			spoil func(*ledger.Operation)
			want  error
		}{
			"a session that is not there": {func(o *ledger.Operation) { o.SessionID = "nosuchsession" }, ledger.ErrNotFound},
			"twice the same":              {func(o *ledger.Operation) { o.ID = all[0].ID }, ledger.ErrExists},
			"one without an action":       {func(o *ledger.Operation) { o.Action = "" }, ledger.ErrInvalid},
		} {
			t.Run(name, func(t *testing.T) {
				bad := slices.Clone(all)
				tt.spoil(&bad[60])
				wantErr(t, l.AddOperations(ctx, bad), tt.want)
			})
		}
		if s, err := l.Session(ctx, session(1).ID); err != nil || s.Operations != 0 {
			t.Errorf("%d stored of lists that were refused, %v", s.Operations, err)
		}
		if err := errors.Join(l.AddOperations(ctx, all), l.AddOperations(ctx, nil)); err != nil {
			t.Fatal(err)
		}
		if s, err := l.Session(ctx, session(1).ID); err != nil || s.Operations != 100 || s.Denied != 50 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// A page of huge statements ends early, and the next goes on where it ended.
func TestOperationsBatch(t *testing.T) {
	l, ctx := open(t, newSQLite(t)), t.Context()
	start(t, l, session(1))
	text := strings.Repeat("x", ledger.MaxText)
	for i := range int64(10) {
		o := operation(session(1).ID, i+1)
		o.Text = text
		if err := l.AddOperation(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	first, next, err := l.Operations(ctx, session(1).ID, 0, 0)
	if err != nil || len(first) != ledger.MaxBatch/ledger.MaxText || next != int64(len(first)) {
		t.Fatalf("%d operations, next %d, %v", len(first), next, err)
	}
	second, next, err := l.Operations(ctx, session(1).ID, next, 0)
	if err != nil || len(first)+len(second) != 10 || next != 0 {
		t.Fatalf("%d operations, next %d, %v", len(second), next, err)
	}
}

func TestSearchOperations(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		for n := range 3 {
			s := session(n)
			if n == 2 {
				s.OnBehalfOf = &ledger.Identity{Issuer: "https://id.example", Subject: "boss"}
			}
			start(t, l, s)
			for i := range int64(10) {
				o := operation(s.ID, i+1)
				o.Time = began.Add(time.Duration(i/4) * time.Second) // many at the same time
				o.Text = fmt.Sprintf("run %d%% of step_%d", n, i)
				if i == 9 {
					o.Decision, o.Action = "deny", "file:remove"
				}
				if err := l.AddOperation(ctx, o); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, tt := range []struct {
			name string
			f    ledger.OperationFilter
			want int
		}{
			{"all", ledger.OperationFilter{}, 30},
			{"text", ledger.OperationFilter{Text: "STEP_3"}, 3},
			{"text is no pattern", ledger.OperationFilter{Text: "run %"}, 0},
			{"session", ledger.OperationFilter{SessionID: session(1).ID}, 10},
			{"identity", ledger.OperationFilter{Identity: session(1).Identity.Key()}, 10},
			{"whom it acts for", ledger.OperationFilter{Identity: "https://id.example#boss"}, 10},
			{"target", ledger.OperationFilter{Target: "web2"}, 10},
			{"action", ledger.OperationFilter{Action: "file:remove"}, 3},
			{"decision", ledger.OperationFilter{Decision: "deny"}, 3},
			{"time", ledger.OperationFilter{Since: began.Add(time.Second), Until: began.Add(2 * time.Second)}, 12},
			{"together", ledger.OperationFilter{Text: "run 1%", Decision: "deny", Target: "web1"}, 1},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tt.f.Limit = 7
				seen := map[string]bool{}
				last := began.Add(time.Hour)
				for {
					page, next, err := l.SearchOperations(ctx, tt.f)
					if err != nil {
						t.Fatal(err)
					}
					for _, o := range page {
						if seen[o.ID] || o.Time.After(last) {
							t.Errorf("%s at %v after %v, seen before: %v", o.ID, o.Time, last, seen[o.ID])
						}
						seen[o.ID], last = true, o.Time
					}
					if tt.f.Cursor = next; next == "" {
						break
					}
				}
				if len(seen) != tt.want {
					t.Errorf("found %d, want %d", len(seen), tt.want)
				}
			})
		}
		_, _, err := l.SearchOperations(ctx, ledger.OperationFilter{Cursor: "eA"})
		wantErr(t, err, ledger.ErrInvalid)
	})
}

// The index of texts finds what looking through every row finds, at the start, the middle and the end of
// what is indexed, in texts too long for it, and for any characters.
func TestSearchText(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		start(t, l, session(1))
		texts := []string{
			`echo "quoted" AND 'single' OR NEAR(x)`, "SELECT * FROM Users WHERE name = 'Zoë'", `C:\dir\file 100% a_b`, "tab\there", "日本語のテキスト",
			strings.Repeat("x", 17000) + "needle", "needle at the start", "ab", "-rf --no-preserve-root", "aXbXcX",
		}
		for i := range int64(200) {
			o := operation(session(1).ID, i+1)
			if o.Text = fmt.Sprintf("step %03d", i); i%20 == 7 {
				o.Text = texts[i/20]
			}
			if err := l.AddOperation(ctx, o); err != nil {
				t.Fatal(err)
			}
		}
		for query, want := range map[string]int{
			`"quoted"`: 1, `AND`: 1, `NEAR(x)`: 1, `or near`: 1, "USERS where": 1, "Zoë": 1, `c:\DIR`: 1, "100%": 1, "a_b": 1, "b\th": 1,
			"語のテ": 1, "日本": 1, "needle": 2, "xxxxneedle": 1, "NEEDLE AT": 1, "ab": 2, "-rf --": 1, "axb": 1, "abc": 0, "step": 190,
			"step 199": 1, "step 000": 1, "step 128": 1, "step 1": 95, `"`: 1, `*`: 1, "'": 2, "needleneedle": 0, "xbx cx": 0,
		} {
			var seen []string
			f := ledger.OperationFilter{Text: query, Limit: 30}
			for {
				page, next, err := l.SearchOperations(ctx, f)
				if err != nil {
					t.Fatalf("%q: %v", query, err)
				}
				for _, o := range page {
					if len(seen) > 0 && o.ID >= seen[len(seen)-1] {
						t.Errorf("%q: %s after %s", query, o.ID, seen[len(seen)-1])
					}
					seen = append(seen, o.ID)
				}
				if f.Cursor = next; next == "" {
					break
				}
			}
			if len(seen) != want {
				t.Errorf("%q: found %d, want %d", query, len(seen), want)
			}
		}
	})
}
