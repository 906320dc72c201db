package sshd

import (
	"errors"
	"net/netip"
	"sync"
)

var (
	// errSourceBusy refuses a source that has too many connections waiting to authenticate.
	errSourceBusy = errors.New("too many unauthenticated connections from this source")
	// errGaveWay is why a connection ended that waited while too many others did.
	errGaveWay = errors.New("gave way: too many connections wait to authenticate, most of them from this source")
)

// startups bounds connections that have not authenticated yet, in all and for each source. When all
// places are taken the oldest connection of the busiest source gives way: one that is honest needs
// milliseconds, so what has waited longest is most likely a flood, and the flood pays for itself.
type startups struct {
	max, perSource int

	mu      sync.Mutex
	order   []*startup // oldest first
	sources map[netip.Prefix]int
}

type startup struct {
	source netip.Prefix
	evict  func()
}

func newStartups(limit, perSource int) *startups {
	return &startups{max: limit, perSource: perSource, sources: map[netip.Prefix]int{}}
}

// begin takes a place for a connection from addr; evict closes it, and may be called from another
// goroutine until end returns.
func (s *startups) begin(addr netip.Addr, evict func()) (*startup, error) {
	st := &startup{source: sourcePrefix(addr), evict: evict}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sources[st.source] >= s.perSource {
		return nil, errSourceBusy
	}
	if len(s.order) >= s.max {
		s.giveWay()
	}
	s.order = append(s.order, st)
	s.sources[st.source]++
	return st, nil
}

// end gives the place back; calling it again does nothing.
func (s *startups) end(st *startup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(st)
}

func (s *startups) giveWay() {
	var victim *startup
	for _, st := range s.order {
		if victim == nil || s.sources[st.source] > s.sources[victim.source] {
			victim = st
		}
	}
	s.remove(victim)
	victim.evict()
}

func (s *startups) remove(st *startup) {
	for i, o := range s.order {
		if o != st {
			continue
		}
		s.order = append(s.order[:i], s.order[i+1:]...)
		if s.sources[st.source]--; s.sources[st.source] == 0 {
			delete(s.sources, st.source)
		}
		return
	}
}

// sourcePrefix is what counts as one source: an IPv4 address, or an IPv6 /64, which is what one customer
// gets. The zero Addr is a source too.
func sourcePrefix(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
