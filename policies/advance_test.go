package policies_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

func mayAdvance(policies.Advance) error { return nil }

// inAdvance is an approval by bob of what request asks.
func inAdvance(id string) policies.Advance {
	return policies.Advance{
		ID: id, By: human("bob", "approvers"), For: []string{"https://ci#bot"}, Target: "web1", Action: "command:run",
		Text: "rm -rf /srv/old", Until: time.Now().Add(time.Hour), Uses: 1, Via: "ssh",
	}
}

func askable(id string) policies.Hold {
	h := request(id)
	h.Facts = nil
	h.Terms.Advance = 4 * time.Hour
	return h
}

// passes reports whether h passes without anybody answering now.
func passes(t *testing.T, d *policies.Desk, h policies.Hold) (policies.Hold, bool) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	done := ask(ctx, d, h)
	select {
	case r := <-done:
		return r.hold, r.err == nil
	default:
		leave()
		<-done
		return h, false
	}
}

func TestInAdvance(t *testing.T) {
	for _, tt := range []struct {
		name    string
		advance func(*policies.Advance)
		hold    func(*policies.Hold)
		later   time.Duration
		want    bool
	}{
		{name: "the exact text", want: true},
		{name: "by its e-mail address", hold: func(h *policies.Hold) { h.Principal.Email = "Bot@example.com" }, advance: func(a *policies.Advance) { a.For = []string{"bot@example.com"} }, want: true},
		{name: "whom it acts for", advance: func(a *policies.Advance) { a.For = []string{"https://ci#bot", "https://idp#alice"} }, want: true},
		{name: "acting for somebody else", advance: func(a *policies.Advance) { a.For = []string{"https://ci#bot", "https://idp#mallory"} }},
		{name: "another text", hold: func(h *policies.Hold) { h.Text += " " }},
		{name: "another target", hold: func(h *policies.Hold) { h.Target.Name = "web2" }},
		{name: "another action", hold: func(h *policies.Hold) { h.Action = "file:remove" }},
		{name: "another identity", hold: func(h *policies.Hold) { h.Principal.Key = "https://ci#other" }},
		{name: "the same name at another issuer", hold: func(h *policies.Hold) { h.Principal.Key = "https://evil#bot" }},
		{name: "before its window", advance: func(a *policies.Advance) { a.From = time.Now().Add(time.Minute) }},
		{name: "in its window", advance: func(a *policies.Advance) { a.From = time.Now().Add(time.Minute) }, later: time.Minute, want: true},
		{name: "at the end of its window", later: time.Hour},
		{name: "the policy has no @advance", hold: func(h *policies.Hold) { h.Terms.Advance = 0 }},
		{name: "a window longer than the policy's", hold: func(h *policies.Hold) { h.Terms.Advance = time.Hour - time.Second }},
		{name: "of a group that may not", advance: func(a *policies.Advance) { a.By.Groups = []string{"users"} }},
		{name: "by the human behind the agent", advance: func(a *policies.Advance) { a.By = human("alice", "approvers") }},
		{name: "by a second identity of that human", advance: func(a *policies.Advance) {
			a.By = human("alice2", "approvers")
			a.By.Email = "ALICE@example.com"
		}},
		{name: "without the reason that is required", hold: func(h *policies.Hold) { h.Terms.Reason = true }},
		{name: "with the reason that is required", hold: func(h *policies.Hold) { h.Terms.Reason = true }, advance: func(a *policies.Advance) { a.Reason = "maintenance" }, want: true},
		{name: "one of two", hold: func(h *policies.Hold) { h.Terms.Quorum = 2 }},
		{name: "a condition", advance: func(a *policies.Advance) {
			a.Text, a.When = "", `context.programs == ["rm"] && !context.classes.contains("privilege")`
		}, hold: withFacts, want: true},
		{name: "a condition that is not met", advance: func(a *policies.Advance) { a.Text, a.When = "", `context.programs == ["ls"]` }, hold: withFacts},
		{name: "a condition on what nobody understands", advance: func(a *policies.Advance) { a.Text, a.When = "", `context.programs == ["rm"]` },
			hold: func(h *policies.Hold) {
				withFacts(h)
				h.Facts["opaque"] = true
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
				d.InAdvance(s, func(policies.Advance, policies.Hold) error { return nil })
				a, h := inAdvance("advance1"), askable("hold0001")
				if tt.advance != nil {
					tt.advance(&a)
				}
				if tt.hold != nil {
					tt.hold(&h)
				}
				if _, err := d.Approve(t.Context(), a, mayAdvance); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.later)
				got, ok := passes(t, d, h)
				if ok != tt.want {
					t.Fatalf("passed: %v, want %v", ok, tt.want)
				}
				if ok && (got.State != policies.StateConsumed || got.Answers[0].Advance != a.ID || got.Answers[0].Via != "advance" || !got.GrantEnds().Equal(a.Until.UTC().Truncate(time.Microsecond))) {
					t.Errorf("it came out as %+v", got)
				}
				again := h
				again.ID = "hold0002"
				if _, ok := passes(t, d, again); ok {
					t.Error("it passed twice by an approval for one")
				}
			})
		})
	}
}

func withFacts(h *policies.Hold) {
	h.Facts = map[string]any{
		"text": h.Text, "programs": []string{"rm"}, "args": []string{"-rf"}, "reads": []string{}, "writes": []string{}, "removes": []string{"/srv/old"},
		"hosts": []string{}, "classes": []string{"destructive"}, "opaque": false, "why": []string{},
	}
}

// What counts is what its giver may do at the moment that it is used.
func TestInAdvanceRoleLost(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		lost := false
		d.InAdvance(s, func(a policies.Advance, h policies.Hold) error {
			if lost {
				return errors.New("no longer an approver")
			}
			return nil
		})
		a := inAdvance("advance1")
		a.Uses = 0
		if _, err := d.Approve(t.Context(), a, mayAdvance); err != nil {
			t.Fatal(err)
		}
		if _, ok := passes(t, d, askable("hold0001")); !ok {
			t.Error("it does not count while its giver may answer")
		}
		lost = true
		if _, ok := passes(t, d, askable("hold0002")); ok {
			t.Error("it counts although its giver may not answer any more")
		}
	})
}

func TestInAdvanceTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		d.InAdvance(s, func(policies.Advance, policies.Hold) error { return nil })
		a := inAdvance("advance1")
		if _, err := d.Approve(t.Context(), a, mayAdvance); err != nil {
			t.Fatal(err)
		}
		no := func(policies.Advance) error { return errors.New("no") }
		if _, err := d.Revoke(t.Context(), a.ID, human("mallory", "users"), no); !errors.Is(err, policies.ErrNotAllowed) {
			t.Errorf("taken back by anybody: %v", err)
		}
		if got, err := d.Revoke(t.Context(), a.ID, human("carol", "approvers"), mayAdvance); err != nil || got.RevokedBy != "carol" {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := d.Revoke(t.Context(), a.ID, human("bob"), no); !errors.Is(err, policies.ErrNotOpen) {
			t.Errorf("taken back twice: %v", err)
		}
		if _, ok := passes(t, d, askable("hold0001")); ok {
			t.Error("it counts after it was taken back")
		}
	})
}

func TestWhatCannotBeApprovedInAdvance(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(*policies.Advance)
		want error
	}{
		"for oneself":         {func(a *policies.Advance) { a.For = []string{a.By.Key} }, policies.ErrOwnRequest},
		"for oneself by mail": {func(a *policies.Advance) { a.For = []string{"BOB@example.com"} }, policies.ErrOwnRequest},
		"for one's own agent": {func(a *policies.Advance) { a.For = []string{"https://ci#bot", a.By.Key} }, policies.ErrOwnRequest},
		"by an agent":         {func(a *policies.Advance) { a.By = agent("bot", human("alice")) }, policies.ErrNotApprover},
		"for nobody":          {func(a *policies.Advance) { a.For = nil }, policies.ErrAdvance},
		"of everything":       {func(a *policies.Advance) { a.Text, a.When = "", "true" }, policies.ErrAdvance},
		"of nothing":          {func(a *policies.Advance) { a.Text = "" }, policies.ErrAdvance},
		"text and condition":  {func(a *policies.Advance) { a.When = "!context.opaque" }, policies.ErrAdvance},
		"an unknown fact":     {func(a *policies.Advance) { a.Text, a.When = "", "context.progams.isEmpty()" }, policies.ErrAdvance},
		"a second policy": {func(a *policies.Advance) {
			a.Text, a.When = "", "!context.opaque }; permit(principal, action, resource) when { 1 == 1"
		}, policies.ErrAdvance},
		"a second condition":    {func(a *policies.Advance) { a.Text, a.When = "", "!context.opaque } unless { 1 == 2" }, policies.ErrAdvance},
		"an unknown action":     {func(a *policies.Advance) { a.Action = "command:rum" }, policies.ErrAdvance},
		"a window that is over": {func(a *policies.Advance) { a.Until = time.Now() }, policies.ErrAdvance},
		"a window of a month":   {func(a *policies.Advance) { a.Until = time.Now().Add(31 * 24 * time.Hour) }, policies.ErrAdvance},
		"an id of a path":       {func(a *policies.Advance) { a.ID = "../../etc" }, policies.ErrAdvance},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
				d.InAdvance(s, func(policies.Advance, policies.Hold) error { return nil })
				a := inAdvance("advance1")
				tt.edit(&a)
				if _, err := d.Approve(t.Context(), a, mayAdvance); !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
				if _, err := d.Approve(t.Context(), inAdvance("advance2"), nil); !errors.Is(err, policies.ErrNotApprover) {
					t.Errorf("without anybody who says that they may: %v", err)
				}
			})
		})
	}
}

// Nobody can pass a live answer off as one in advance, which has an end of its own.
func TestAnswersDoNotClaimToBeInAdvance(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		h := request("hold0001")
		ctx, leave := context.WithCancel(t.Context())
		done := ask(ctx, d, h)
		a := says(human("bob", "approvers"), true)
		a.Advance = "advance1"
		if _, err := d.Answer(t.Context(), h.ID, a, may); !errors.Is(err, policies.ErrNotApprover) {
			t.Error(err)
		}
		leave()
		<-done
	})
}

func TestRoster(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	r, err := policies.NewRoster([]policies.Duty{{Group: "on-call", Zone: berlin, Shifts: []policies.Shift{
		{Members: []string{"bob@example.com"}, Days: []time.Weekday{time.Monday, time.Friday}, From: 8 * 60, To: 18 * 60},
		{Members: []string{"https://idp#carol"}, Days: []time.Weekday{time.Friday}, From: 18 * 60, To: 8 * 60},
		{Members: []string{"dora@example.com"}, Start: time.Date(2026, 12, 24, 0, 0, 0, 0, berlin), End: time.Date(2026, 12, 27, 0, 0, 0, 0, berlin)},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	unverified := human("mallory")
	unverified.Email = ""
	unverified.Name = "bob@example.com"
	for _, tt := range []struct {
		who  policies.Principal
		at   string // in Berlin
		want bool
	}{
		{human("bob"), "2026-11-23 08:00", true}, // a Monday
		{human("bob"), "2026-11-23 07:59", false},
		{human("bob"), "2026-11-23 17:59", true},
		{human("bob"), "2026-11-23 18:00", false},
		{human("bob"), "2026-11-24 09:00", false}, // a Tuesday
		{human("carol"), "2026-11-27 18:00", true},
		{human("carol"), "2026-11-28 07:59", true}, // Friday's night goes on into Saturday
		{human("carol"), "2026-11-28 08:00", false},
		{human("carol"), "2026-11-27 07:00", false}, // Thursday's night is nobody's
		{human("dora"), "2026-12-25 03:00", true},
		{human("dora"), "2026-12-27 00:00", false},
		{human("erin", "on-call"), "2026-11-23 09:00", false}, // a token cannot say it
		{unverified, "2026-11-23 09:00", false},
		{policies.Principal{Key: "https://ci#bob", Email: "bob@example.com", Kind: policies.Agent}, "2026-11-23 09:00", false},
	} {
		at, err := time.ParseInLocation("2006-01-02 15:04", tt.at, berlin)
		if err != nil {
			t.Fatal(err)
		}
		got := r.At(tt.who, at.UTC())
		on := false
		for _, g := range got.Groups {
			on = on || g == "on-call"
		}
		if on != tt.want {
			t.Errorf("%s at %s: on call %v, want %v", tt.who.Name, tt.at, on, tt.want)
		}
	}
	if who, known := r.OnDuty("on-call", time.Date(2026, 11, 23, 9, 0, 0, 0, berlin)); !known || len(who) != 1 || who[0] != "bob@example.com" {
		t.Errorf("on duty: %v, %v", who, known)
	}
	for name, duty := range map[string]policies.Duty{
		"no name":         {Shifts: []policies.Shift{{Members: []string{"a"}}}},
		"nobody":          {Group: "g", Shifts: []policies.Shift{{}}},
		"no such time":    {Group: "g", Shifts: []policies.Shift{{Members: []string{"a"}, From: 24 * 60}}},
		"ends too early":  {Group: "g", Shifts: []policies.Shift{{Members: []string{"a"}, Start: time.Unix(2, 0), End: time.Unix(1, 0)}}},
		"an empty member": {Group: "g", Shifts: []policies.Shift{{Members: []string{""}}}},
	} {
		if _, err := policies.NewRoster([]policies.Duty{duty}); !errors.Is(err, policies.ErrRoster) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whoever's duty is over between opening the page and answering does not answer.
func TestOnCallAtTheMomentOfTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, d *policies.Desk, s *policies.Memory) {
		ends := time.Now().Add(5 * time.Minute)
		r, err := policies.NewRoster([]policies.Duty{{Group: "on-call", Shifts: []policies.Shift{{Members: []string{"bob@example.com"}, End: ends}}}})
		if err != nil {
			t.Fatal(err)
		}
		d.OnCall(r)
		h := request("hold0001")
		h.Terms.Approvers, h.Terms.Quorum = []string{"on-call"}, 2
		done := ask(t.Context(), d, h)
		claims := human("mallory", "on-call")
		if _, err := d.Answer(t.Context(), h.ID, says(claims, true), may); !errors.Is(err, policies.ErrNotApprover) {
			t.Errorf("who merely claims to be on call: %v", err)
		}
		bob := human("bob")
		if err := d.Eligible(bob, get(t, s, h.ID)); err != nil {
			t.Errorf("on call, and told: %v", err)
		}
		time.Sleep(5 * time.Minute)
		if _, err := d.Answer(t.Context(), h.ID, says(bob, true), may); !errors.Is(err, policies.ErrNotApprover) {
			t.Errorf("after the shift: %v", err)
		}
		refused(t, (<-done).err, policies.StateExpired)
	})
}
