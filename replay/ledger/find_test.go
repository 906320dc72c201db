package ledger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// library stores a few sessions with operations and output.
func library(t *testing.T, url string) *ledger.Ledger {
	t.Helper()
	l := open(t, url)
	for n := range 6 {
		s := session(n)
		if n == 4 {
			s.OnBehalfOf = &ledger.Identity{Issuer: "https://id.example", Subject: "boss", Name: "Boss", Email: "boss@example.com", Kind: "human"}
		}
		start(t, l, s)
		for i := range int64(20) {
			o := operation(s.ID, i+1)
			o.Text = fmt.Sprintf("step %d of session %d", i, n)
			switch i {
			case 3:
				o.Text, o.Decision = "rm -rf /srv/old", "deny"
				o.Facts = map[string]any{"classes": []string{"write", "destructive"}}
			case 5:
				o.Text, o.Action = "SELECT * FROM customers", "sql:select"
			case 7:
				o.Text = strings.Repeat("x", 20_000) + " needle at the end " + fmt.Sprint(n)
			}
			if err := l.AddOperation(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		if n < 5 {
			if err := l.EndSession(t.Context(), s.ID, end(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return l
}

func find(t *testing.T, l *ledger.Ledger, f ledger.Find) (texts []string) {
	t.Helper()
	for {
		found, err := l.Find(t.Context(), f)
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		for _, h := range found.Hits {
			if h.Session.ID != h.SessionID || h.SessionID == "" {
				t.Errorf("a hit without its session: %+v", h)
			}
			texts = append(texts, h.Text)
		}
		if found.Next == "" {
			return texts
		}
		if found.Back.IsZero() {
			t.Fatalf("%+v: goes on from nowhere", f)
		}
		f.Cursor = found.Next
	}
}

func TestFind(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l := library(t, url)
		for _, tt := range []struct {
			name string
			f    ledger.Find
			want int
		}{
			{"all", ledger.Find{}, 120},
			{"all, in small pages", ledger.Find{Limit: 7}, 120},
			{"text", ledger.Find{Text: "SESSION 3"}, 17},
			{"text in small pages", ledger.Find{Text: "step", Limit: 5}, 6 * 17},
			{"a short text", ledger.Find{Text: "rm"}, 6},
			{"behind what is indexed", ledger.Find{Text: "needle at the end"}, 6},
			{"absent text", ledger.Find{Text: "no such thing"}, 0},
			{"wildcards are text", ledger.Find{Text: "s%p"}, 0},
			{"decision", ledger.Find{Decision: "deny"}, 6},
			{"class", ledger.Find{Class: "destructive"}, 6},
			{"class and text", ledger.Find{Class: "destructive", Text: "/srv"}, 6},
			{"no such class", ledger.Find{Class: `x" or 1=1 --`}, 0},
			{"action", ledger.Find{Action: "sql:select"}, 6},
			{"family of actions", ledger.Find{Action: "sql:"}, 6},
			{"session", ledger.Find{SessionID: session(2).ID}, 20},
			{"target", ledger.Find{Target: "web0"}, 40},
			{"target and text", ledger.Find{Target: "web0", Text: "customers"}, 2},
			{"identity by key", ledger.Find{Identity: "https://id.example#u1"}, 40},
			{"identity by name", ledger.Find{Identity: "User 1"}, 40},
			{"identity by e-mail", ledger.Find{Identity: "u1@example.com", Text: "rm -rf"}, 2},
			{"nobody", ledger.Find{Identity: "nobody"}, 0},
			{"on whose behalf", ledger.Find{Behalf: "Boss"}, 20},
			{"on whose behalf, by key", ledger.Find{Behalf: "https://id.example#boss", Decision: "deny"}, 1},
			{"of somebody", ledger.Find{Of: "https://id.example#boss"}, 20},
			{"of somebody else", ledger.Find{Of: "https://id.example#u1", Text: "rm -rf"}, 2},
			{"exit 0", ledger.Find{Exit: "0"}, 40},
			{"exit 2", ledger.Find{Exit: "2", Decision: "deny"}, 1},
			{"failed", ledger.Find{Exit: "failed", Text: "rm -rf"}, 3},
			{"since", ledger.Find{Since: began.Add(19 * 150 * time.Millisecond)}, 12},
			{"until", ledger.Find{Until: began.Add(2 * 150 * time.Millisecond)}, 6},
			{"between, and text", ledger.Find{Since: began.Add(150 * time.Millisecond), Until: began.Add(3 * 150 * time.Millisecond), Text: "step 1"}, 6},
			{"after the end of time", ledger.Find{Since: began.Add(time.Hour)}, 0},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if got := find(t, l, tt.f); len(got) != tt.want {
					t.Errorf("%d hits, want %d: %.300q", len(got), tt.want, got)
				}
			})
		}
		for _, f := range []ledger.Find{{Exit: "x"}, {Text: "\x00"}, {Cursor: "nonsense"}, {Text: strings.Repeat("x", 300)}} {
			if _, err := l.Find(t.Context(), f); err == nil {
				t.Errorf("%+v is no error", f)
			}
		}
	})
}

func TestFindShown(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l := library(t, url)
		s := session(2)
		var lines []ledger.ShownLine
		for i := range 500 {
			lines = append(lines, ledger.ShownLine{Offset: time.Duration(i) * time.Second, Text: fmt.Sprintf("row %03d of the output", i)})
		}
		lines[321].Text = "Panic: the disk is on fire"
		if ids, err := l.UnshownSessions(t.Context(), "gate1", time.Time{}); err != nil || len(ids) != 5 {
			t.Fatalf("to be read: %v %v, want the five that ended", ids, err)
		}
		if ids, err := l.UnshownSessions(t.Context(), "gate2", began.Add(62*time.Second)); err != nil || len(ids) != 2 {
			t.Fatalf("of a gate that is gone: %v %v, want the two that ended before", ids, err)
		}
		for range 2 { // the second time in place of the first
			if err := l.BeginShown(t.Context(), s.ID); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(lines); i += 100 {
				if err := l.AddShown(t.Context(), s.ID, s.Started, lines[i:i+100]); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.EndShown(t.Context(), s.ID, ledger.ShownAll); err != nil {
				t.Fatal(err)
			}
		}
		if ids, err := l.UnshownSessions(t.Context(), "gate1", time.Time{}); err != nil || len(ids) != 4 {
			t.Fatalf("to be read: %v %v, want four", ids, err)
		}
		found, err := l.Find(t.Context(), ledger.Find{Shown: true, Text: "panic: the DISK"})
		if err != nil || len(found.Hits) != 1 {
			t.Fatalf("%+v %v, want one hit", found, err)
		}
		h := found.Hits[0]
		if h.Line != lines[321].Text || h.Offset != 321*time.Second || !h.Time.Equal(s.Started.Add(h.Offset)) || !strings.Contains(h.Text, "row 320") {
			t.Errorf("got %+v", h)
		}
		for _, tt := range []struct {
			f    ledger.Find
			want bool
		}{
			{ledger.Find{Text: "on fire", Target: s.Target}, true}, {ledger.Find{Text: "on fire", Target: "web9"}, false},
			{ledger.Find{Text: "on fire", Identity: s.Identity.Name}, true}, {ledger.Find{Text: "on fire", Exit: "2"}, true},
			{ledger.Find{Text: "on fire", Exit: "0"}, false}, {ledger.Find{Text: "fi", SessionID: s.ID}, true},
			{ledger.Find{Text: "on fire", Since: s.Started.Add(2 * time.Hour)}, false}, {ledger.Find{Text: "on fire", Behalf: "Boss"}, false}, {ledger.Find{}, false},
		} {
			tt.f.Shown = true
			if got := len(find(t, l, tt.f)) > 0; got != tt.want {
				t.Errorf("%+v: found is %v", tt.f, got)
			}
		}
		seal := ledger.Seal{SessionID: s.ID, Hash: end(2).SealHash}
		if err := l.MarkPurged(t.Context(), seal, time.Now(), ledger.Event{Kind: "recording.purged", SessionID: s.ID}); err != nil {
			t.Fatal(err)
		}
		if got := find(t, l, ledger.Find{Shown: true, Text: "on fire"}); len(got) != 0 {
			t.Errorf("found after the recording was purged: %q", got)
		}
		if st, err := l.Shown(t.Context(), s.ID); err != nil || st != ledger.ShownMissing {
			t.Errorf("state %v %v", st, err)
		}
	})
}

func TestSavedSearches(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		l := open(t, url)
		save := func(who, name, query string) error {
			return l.SaveSearch(t.Context(), who, ledger.SavedSearch{Name: name, Query: query, At: began})
		}
		for _, s := range [][3]string{{"a#1", "two", "q=2"}, {"a#1", "one", "q=1"}, {"b#2", "one", "q=9"}, {"a#1", "two", "q=22"}} {
			if err := save(s[0], s[1], s[2]); err != nil {
				t.Fatal(err)
			}
		}
		got, err := l.SavedSearches(t.Context(), "a#1")
		if err != nil || len(got) != 2 || got[0].Name != "one" || got[1].Query != "q=22" || !got[1].At.Equal(began) {
			t.Errorf("got %+v %v", got, err)
		}
		if err := l.DropSearch(t.Context(), "a#1", "one"); err != nil {
			t.Fatal(err)
		}
		if got, err = l.SavedSearches(t.Context(), "b#2"); err != nil || len(got) != 1 {
			t.Errorf("another's: %+v %v", got, err)
		}
		for i := range ledger.MaxSearches {
			if err = save("a#1", fmt.Sprint(i), "q"); err != nil {
				break
			}
		}
		if got, _ := l.SavedSearches(t.Context(), "a#1"); err == nil || len(got) != ledger.MaxSearches {
			t.Errorf("%d searches, %v", len(got), err)
		}
		if save("a#1", strings.Repeat("x", 101), "q") == nil || save("", "x", "q") == nil || save("a#1", "", "q") == nil {
			t.Error("what makes no sense is saved")
		}
	})
}
