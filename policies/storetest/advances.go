package storetest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

// Advance returns an approval in advance with something in every field.
func Advance(id string) policies.Advance {
	return policies.Advance{
		ID:  id,
		By:  policies.Principal{Key: "https://idp#bob", Name: "bob", Email: "bob@example.com", Kind: policies.Human, Groups: []string{"approvers"}},
		For: []string{"https://ci#bot", "alice@example.com"}, Target: "web1", Action: "command:run",
		Text: "rm -rf /srv\x00\xff\u202e", From: base, Until: base.Add(time.Hour), Uses: 2, Reason: "tonight's window", Via: "ssh", Made: base,
	}
}

// RunAdvances holds the stores that open makes, each empty, to the contract of approvals in advance.
func RunAdvances(t *testing.T, open func() policies.AdvanceStore) {
	for _, tt := range []struct {
		name string
		run  func(*testing.T, policies.AdvanceStore)
	}{
		{"what is put comes back exactly", advanceComesBack},
		{"uses are counted", advanceUses},
		{"one of many takes the last use", advanceRace},
		{"only in its window", advanceWindow},
		{"taken back", advanceRevoked},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open()) })
	}
}

func putAdvance(t *testing.T, s policies.AdvanceStore, a policies.Advance) {
	t.Helper()
	if err := s.PutAdvance(t.Context(), a); err != nil {
		t.Fatalf("PutAdvance(%s): %v", a.ID, err)
	}
}

func advanceComesBack(t *testing.T, s policies.AdvanceStore) {
	a := Advance("aaaaaa01")
	putAdvance(t, s, a)
	wantErr(t, "the same id again", s.PutAdvance(t.Context(), a), policies.ErrHoldExists)
	got, err := s.Advance(t.Context(), a.ID)
	if err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, a)
	}
	_, err = s.Advance(t.Context(), "aaaaaa99")
	wantErr(t, "what is not there", err, policies.ErrNoAdvance)
	putAdvance(t, s, Advance("aaaaaa02"))
	all, err := s.Advances(t.Context(), base)
	if err != nil || len(all) != 2 || all[0].ID != "aaaaaa02" {
		t.Errorf("newest first: %+v, %v", all, err)
	}
	if all, err = s.Advances(t.Context(), a.Until); err != nil || len(all) != 0 {
		t.Errorf("after their end: %+v, %v", all, err)
	}
}

func advanceUses(t *testing.T, s policies.AdvanceStore) {
	a := Advance("aaaaaa01")
	putAdvance(t, s, a)
	for range a.Uses {
		if err := s.UseAdvance(t.Context(), a.ID, base.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, "a use too many", s.UseAdvance(t.Context(), a.ID, base.Add(time.Minute)), policies.ErrNotOpen)
	got, err := s.Advance(t.Context(), a.ID)
	if err != nil || got.Used != 2 || got.State(base.Add(time.Minute)) != "used up" {
		t.Errorf("%+v, %v", got, err)
	}
	wantErr(t, "of nothing", s.UseAdvance(t.Context(), "aaaaaa99", base), policies.ErrNoAdvance)
	any := Advance("aaaaaa02")
	any.Uses = 0
	putAdvance(t, s, any)
	for i := range 5 {
		if err := s.UseAdvance(t.Context(), any.ID, base.Add(time.Minute)); err != nil {
			t.Fatalf("use %d of any number: %v", i, err)
		}
	}
}

func advanceRace(t *testing.T, s policies.AdvanceStore) {
	a := Advance("aaaaaa01")
	a.Uses = 1
	putAdvance(t, s, a)
	if won := race(t, policies.ErrNotOpen, func(int) error { return s.UseAdvance(t.Context(), a.ID, base) }); won < 0 {
		t.Error("nobody took it")
	}
}

func advanceWindow(t *testing.T, s policies.AdvanceStore) {
	a := Advance("aaaaaa01")
	a.Uses = 0
	putAdvance(t, s, a)
	for at, want := range map[time.Duration]error{
		-time.Microsecond: policies.ErrNotOpen, 0: nil, time.Hour - time.Microsecond: nil, time.Hour: policies.ErrNotOpen,
	} {
		wantErr(t, fmt.Sprintf("use at %v", at), s.UseAdvance(t.Context(), a.ID, base.Add(at)), want)
	}
}

func advanceRevoked(t *testing.T, s policies.AdvanceStore) {
	a := Advance("aaaaaa01")
	putAdvance(t, s, a)
	at := base.Add(time.Minute)
	if err := s.RevokeAdvance(t.Context(), a.ID, "bob", at); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "a use after that", s.UseAdvance(t.Context(), a.ID, at), policies.ErrNotOpen)
	wantErr(t, "taken back again", s.RevokeAdvance(t.Context(), a.ID, "carol", at), policies.ErrNotOpen)
	wantErr(t, "of nothing", s.RevokeAdvance(t.Context(), "aaaaaa99", "bob", at), policies.ErrNoAdvance)
	got, err := s.Advance(t.Context(), a.ID)
	if err != nil || !got.Revoked.Equal(at) || got.RevokedBy != "bob" || got.State(at) != "revoked" {
		t.Errorf("%+v, %v", got, err)
	}
}
