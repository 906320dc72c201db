package sshd

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
)

func TestStartupsLimitOneSource(t *testing.T) {
	s := newStartups(100, 3)
	addr := netip.MustParseAddr("192.0.2.1")
	var places []*startup
	for range 3 {
		p, err := s.begin(addr, func() { t.Error("evicted although places were free") })
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, p)
	}
	if _, err := s.begin(addr, nil); !errors.Is(err, errSourceBusy) {
		t.Errorf("the fourth connection of a source: %v, want errSourceBusy", err)
	}
	if _, err := s.begin(netip.MustParseAddr("192.0.2.2"), nil); err != nil {
		t.Errorf("another source: %v", err)
	}
	s.end(places[0])
	s.end(places[0]) // twice gives one place
	if _, err := s.begin(addr, nil); err != nil {
		t.Errorf("after one ended: %v", err)
	}
	if _, err := s.begin(addr, nil); !errors.Is(err, errSourceBusy) {
		t.Errorf("ending one place twice gave two: %v", err)
	}
}

func TestStartupsFloodPaysForItself(t *testing.T) {
	s := newStartups(50, 20)
	honest := false
	if _, err := s.begin(netip.MustParseAddr("198.51.100.7"), func() { honest = true }); err != nil {
		t.Fatal(err)
	}
	evicted := 0
	for i := range 10_000 {
		addr := netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i%3))
		_, err := s.begin(addr, func() { evicted++ })
		if err != nil && !errors.Is(err, errSourceBusy) {
			t.Fatal(err)
		}
	}
	if honest {
		t.Error("the one honest connection was evicted by a flood of others")
	}
	if len(s.order) > 50 || len(s.sources) > 4 {
		t.Errorf("%d places and %d sources are kept, the limit is 50", len(s.order), len(s.sources))
	}
	if evicted == 0 {
		t.Error("nothing was evicted: the flood did not reach the limit, and this test proves nothing")
	}
}

func TestSourcePrefix(t *testing.T) {
	for _, tt := range []struct{ addr, want string }{
		{"192.0.2.1", "192.0.2.1/32"},
		{"2001:db8:1:2:3::4", "2001:db8:1:2::/64"},
		{"2001:db8:1:2::ffff", "2001:db8:1:2::/64"},
		{"::1", "::/64"},
	} {
		if got := sourcePrefix(netip.MustParseAddr(tt.addr)).String(); got != tt.want {
			t.Errorf("sourcePrefix(%s) = %s, want %s", tt.addr, got, tt.want)
		}
	}
	if sourcePrefix(netip.Addr{}).IsValid() {
		t.Error("a connection without an address has a prefix")
	}
}
