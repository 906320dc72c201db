package certs

import (
	"net"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// maxSourcesKept bounds the memory of a sourceLimit. Sources beyond push out those that were quiet
// longest, in two generations.
const maxSourcesKept = 4096

// A sourceLimit is one rate limit for each source of requests: an IPv4 address, or an IPv6 /64, which
// is what one subscriber has.
type sourceLimit struct {
	limit rate.Limit
	burst int

	mu       sync.Mutex
	now, old map[netip.Prefix]*rate.Limiter
}

func (s *sourceLimit) allow(remote string) bool {
	key := sourceKey(remote)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.now[key]
	if l == nil {
		if l = s.old[key]; l == nil {
			l = rate.NewLimiter(s.limit, s.burst)
		}
		if s.now == nil || len(s.now) >= maxSourcesKept {
			s.old, s.now = s.now, map[netip.Prefix]*rate.Limiter{}
		}
		s.now[key] = l
	}
	return l.Allow()
}

// sourceKey groups what cannot be told apart, or read, under one key.
func sourceKey(remote string) netip.Prefix {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
