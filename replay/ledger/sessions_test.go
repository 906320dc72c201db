package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func start(t testing.TB, l *ledger.Ledger, s ledger.Session) {
	t.Helper()
	if err := l.StartSession(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func diff(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestSessionRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l := open(t, url)
		s := session(1)
		s.OnBehalfOf = &ledger.Identity{Issuer: "https://id.example", Subject: "helper", Name: "Helper", Groups: []string{"dba"},
			OnBehalfOf: &ledger.Identity{Issuer: "https://id.example", Subject: "boss", Name: "Boss", Email: "boss@example.com"}}
		s.Command = "echo " + strings.Repeat("long ", 200)
		start(t, l, s)

		want := s
		want.State = ledger.Live
		got, err := l.Session(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "while live", got, want)

		e := end(1)
		if err := l.EndSession(t.Context(), s.ID, e); err != nil {
			t.Fatal(err)
		}
		want.Ended, want.State, want.ExitStatus, want.EndReason = e.Ended, e.State, e.ExitStatus, e.Reason
		want.BytesOut, want.Masked, want.SealHash = e.BytesOut, e.Masked, e.SealHash
		got, err = l.Session(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "ended", got, want)

		list, _, err := l.Sessions(t.Context(), ledger.SessionFilter{Identity: "boss@example.com"})
		if err != nil || len(list) != 1 {
			t.Fatalf("%d sessions, %v", len(list), err)
		}
		if c := list[0].Command; len(c) > ledger.ListText || !strings.HasSuffix(c, "…") {
			t.Errorf("a listing shows %d bytes of the command: %q", len(c), c)
		}
	})
}

func TestSessionErrors(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		start(t, l, session(1))
		wantErr(t, l.StartSession(ctx, session(1)), ledger.ErrExists)
		_, err := l.Session(ctx, "nosuchsession")
		wantErr(t, err, ledger.ErrNotFound)
		wantErr(t, l.EndSession(ctx, "nosuchsession", end(1)), ledger.ErrNotFound)

		for name, change := range map[string]func(*ledger.Session){
			"no id":         func(s *ledger.Session) { s.ID = "" },
			"NUL in id":     func(s *ledger.Session) { s.ID = "s\x00" },
			"broken target": func(s *ledger.Session) { s.Target = "web\xff" },
			"no start":      func(s *ledger.Session) { s.Started = time.Time{} },
		} {
			s := session(2)
			change(&s)
			t.Run(name, func(t *testing.T) { wantErr(t, l.StartSession(ctx, s), ledger.ErrInvalid) })
		}
		circle := &ledger.Identity{Issuer: "i", Subject: "s"}
		circle.OnBehalfOf = circle
		s := session(2)
		s.OnBehalfOf = circle
		wantErr(t, l.StartSession(ctx, s), ledger.ErrTooLong)
		s = session(2)
		s.Command = strings.Repeat("x", ledger.MaxText+1)
		wantErr(t, l.StartSession(ctx, s), ledger.ErrTooLong)
		_, err = l.Session(ctx, s.ID)
		wantErr(t, err, ledger.ErrNotFound)

		live := end(1)
		live.State = ledger.Live
		wantErr(t, l.EndSession(ctx, session(1).ID, live), ledger.ErrInvalid)
	})
}

// What a client sends as a command is any bytes at all.
func TestSessionHostileText(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l := open(t, url)
		s := session(1)
		s.Command = "echo '\x00\xff\x1b]0;é'; -- DROP TABLE \\x00"
		s.ClientAddr = "\xc3"
		start(t, l, s)
		got, err := l.Session(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		if want := `echo '\x00\xff` + "\x1b]0;é'; -- DROP TABLE \\x00"; got.Command != want {
			t.Errorf("command %q, want %q", got.Command, want)
		}
		if got.ClientAddr != `\xc3` {
			t.Errorf("address %q", got.ClientAddr)
		}
	})
}

func TestEndSessionTwice(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		start(t, l, session(1))
		id := session(1).ID
		if err := l.EndSession(ctx, id, end(1)); err != nil {
			t.Fatal(err)
		}
		if err := l.EndSession(ctx, id, end(1)); err != nil {
			t.Errorf("the same end again: %v", err)
		}
		other := end(1)
		other.State = ledger.Truncated
		wantErr(t, l.EndSession(ctx, id, other), ledger.ErrEnded)
		other = end(1)
		other.SealHash = end(2).SealHash
		wantErr(t, l.EndSession(ctx, id, other), ledger.ErrEnded)
		seals, err := l.Seals(ctx, 0)
		if err != nil || len(seals) != 1 {
			t.Errorf("%d seals, %v", len(seals), err)
		}
	})
}

func TestSweepSessions(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		for n := range 4 {
			s := session(n)
			if n == 3 {
				s.Gate = "gate2"
			}
			start(t, l, s)
		}
		if err := l.EndSession(ctx, session(0).ID, end(0)); err != nil {
			t.Fatal(err)
		}
		ids, err := l.SweepSessions(ctx, "gate1")
		if err != nil || len(ids) != 2 {
			t.Fatalf("swept %q, %v", ids, err)
		}
		live, err := l.LiveSessions(ctx, "")
		if err != nil || len(live) != 1 || live[0].Gate != "gate2" {
			t.Errorf("still live: %v, %v", live, err)
		}
		s, err := l.Session(ctx, session(1).ID)
		if err != nil || s.State != ledger.Lost || !s.Ended.IsZero() || s.EndReason == "" {
			t.Errorf("swept session: %+v, %v", s, err)
		}
		// The archive finds the recording and seals it.
		e := end(1)
		e.State, e.ExitStatus = ledger.Recovered, nil
		if err := l.EndSession(ctx, s.ID, e); err != nil {
			t.Fatal(err)
		}
		if s, err = l.Session(ctx, s.ID); err != nil || s.State != ledger.Recovered || s.ExitStatus != nil {
			t.Errorf("recovered session: %+v, %v", s, err)
		}
		if ids, err := l.SweepSessions(ctx, "gate1"); err != nil || len(ids) != 0 {
			t.Errorf("swept again %q, %v", ids, err)
		}
	})
}

func TestSessionFilters(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		for n := range 12 {
			s := session(n)
			switch n {
			case 5:
				s.Command = `psql -c "SELECT 100%_x\y"`
			case 6:
				s.Gate, s.Command = "gate2", "psql -c SELECT 100xxx"
			case 7:
				s.OnBehalfOf = &ledger.Identity{Issuer: "https://id.example", Subject: "boss", Name: "Boss"}
			}
			start(t, l, s)
		}
		for seq, decision := range []string{"allow", "deny", "hold"} {
			o := operation(session(seq).ID, 1)
			o.Decision = decision
			if err := l.AddOperation(ctx, o); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.EndSession(ctx, session(3).ID, end(3)); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name string
			f    ledger.SessionFilter
			want []int
		}{
			{"all, newest first", ledger.SessionFilter{}, []int{11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}},
			{"text", ledger.SessionFilter{Text: "PSQL"}, []int{6, 5}},
			{"text is no pattern", ledger.SessionFilter{Text: "100%_x"}, []int{5}},
			{"text with a backslash", ledger.SessionFilter{Text: `x\y`}, []int{5}},
			{"text of an address", ledger.SessionFilter{Text: "u1@EXAMPLE", Limit: 2}, []int{10, 7}},
			{"identity by key", ledger.SessionFilter{Identity: "https://id.example#u2"}, []int{11, 8, 5, 2}},
			{"identity by e-mail", ledger.SessionFilter{Identity: "u2@example.com"}, []int{11, 8, 5, 2}},
			{"whom it acts for, by key", ledger.SessionFilter{Identity: "https://id.example#boss"}, []int{7}},
			{"whom it acts for, by name", ledger.SessionFilter{Identity: "Boss"}, []int{7}},
			{"target", ledger.SessionFilter{Target: "web1"}, []int{9, 5, 1}},
			{"gate", ledger.SessionFilter{Gate: "gate2"}, []int{6}},
			{"connection", ledger.SessionFilter{ConnectionID: "c000000002"}, []int{5, 4}},
			{"state", ledger.SessionFilter{State: ledger.Complete}, []int{3}},
			{"allowed", ledger.SessionFilter{Decision: "allow"}, []int{0}},
			{"denied", ledger.SessionFilter{Decision: "deny"}, []int{1}},
			{"held", ledger.SessionFilter{Decision: "hold"}, []int{2}},
			{"time", ledger.SessionFilter{Since: session(4).Started, Until: session(6).Started}, []int{5, 4}},
			{"all together", ledger.SessionFilter{Text: "select", Target: "web1", State: ledger.Live, Gate: "gate1"}, []int{5}},
			{"nothing", ledger.SessionFilter{Text: "nosuchthing"}, nil},
		} {
			t.Run(tt.name, func(t *testing.T) {
				got, _, err := l.Sessions(ctx, tt.f)
				if err != nil {
					t.Fatal(err)
				}
				var ids, want []string
				for _, s := range got {
					ids = append(ids, s.ID)
				}
				for _, n := range tt.want {
					want = append(want, session(n).ID)
				}
				diff(t, "sessions", ids, want)
			})
		}
		for _, f := range []ledger.SessionFilter{
			{Decision: "maybe"}, {Cursor: "!"}, {Cursor: "eA"}, {Text: strings.Repeat("x", 1000)}, {Text: "\xff"}, {Text: "\x00"},
		} {
			_, _, err := l.Sessions(ctx, f)
			wantErr(t, err, ledger.ErrInvalid)
		}
	})
}

// Pages neither repeat nor skip a row, also when many rows share a time and new ones come in between.
func TestSessionPages(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l, ctx := open(t, url), t.Context()
		want := map[string]bool{}
		for n := range 60 {
			s := session(n)
			s.Started = began.Add(time.Duration(n/20) * time.Microsecond)
			start(t, l, s)
			want[s.ID] = true
		}
		f := ledger.SessionFilter{Limit: 7}
		for page := 0; ; page++ {
			got, next, err := l.Sessions(ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range got {
				if !want[s.ID] {
					t.Errorf("page %d: %s is new or was seen before", page, s.ID)
				}
				delete(want, s.ID)
			}
			if next == "" {
				break
			}
			s := session(1000 + page)
			s.Started = began.Add(time.Hour)
			start(t, l, s)
			f.Cursor = next
		}
		if len(want) > 0 {
			t.Errorf("never seen: %v", want)
		}
		all, _, err := l.Sessions(ctx, ledger.SessionFilter{Limit: 1 << 30})
		if err != nil || len(all) < 60 || len(all) > ledger.MaxLimit {
			t.Errorf("%d sessions, %v", len(all), err)
		}
	})
}

// A caller that gives up leaves a ledger that works.
func TestCancel(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l := open(t, url)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		wantErr(t, l.StartSession(gone, session(1)), context.Canceled)
		wantErr(t, l.EndSession(gone, session(1).ID, end(1)), context.Canceled)
		_, _, err := l.Sessions(gone, ledger.SessionFilter{})
		wantErr(t, err, context.Canceled)
		for n := range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			go cancel() // at some moment or other
			_ = l.StartSession(ctx, session(100+n))
			_ = l.AddOperation(ctx, operation(session(100+n).ID, 1))
		}
		start(t, l, session(1))
		s, err := l.Session(t.Context(), session(1).ID)
		if err != nil || s.Operations != 0 {
			t.Errorf("%+v, %v", s, err)
		}
		for n := range 20 {
			s, err := l.Session(t.Context(), session(100+n).ID)
			ops, _, err2 := l.Operations(t.Context(), session(100+n).ID, 0, 0)
			if errors.Is(err, ledger.ErrNotFound) && len(ops) == 0 {
				continue
			}
			if err != nil || err2 != nil || int(s.Operations) != len(ops) {
				t.Error(fmt.Sprintf("session %d counts %d operations and has %d:", n, s.Operations, len(ops)), err, err2)
			}
		}
	})
}
