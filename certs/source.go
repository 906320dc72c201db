package certs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

const maxSources = 64

// sourceAddress turns a list of addresses and networks into prefixes as OpenSSH reads them
// (addr_match_cidr_list): no host bits, no names, nothing negated. nil stays nil; an empty list is an
// error, because a certificate that may be used from nowhere is a mistake.
func sourceAddress(list []string) ([]netip.Prefix, error) {
	if list == nil {
		return nil, nil
	}
	if len(list) == 0 || len(list) > maxSources {
		return nil, fmt.Errorf("source-address with %d entries: from 1 to %d are allowed", len(list), maxSources)
	}
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		p, err := parsePrefix(s)
		if err != nil {
			return nil, err
		}
		out[i] = p
	}
	return out, nil
}

// parsePrefix reads one address or network. IPv4 mapped into IPv6 becomes IPv4, so that both ways of
// writing an address match both ways of being connected from it.
func parsePrefix(s string) (netip.Prefix, error) {
	bad := fmt.Errorf("source-address: %q is neither an address nor a network", s)
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, bad
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, bad
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, bad
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("source-address: %q has bits set beyond its mask; did you mean %s?", s, p.Masked())
	}
	return p, nil
}

func texts(list []netip.Prefix) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, p := range list {
		if out[i] = p.String(); p.IsSingleIP() {
			out[i] = p.Addr().String()
		}
	}
	return out
}

var errSource = errors.New("the certificate may not be used from this address")

// checkSource enforces a certificate's source-address. An empty or broken list matches nothing.
func checkSource(remote net.Addr, option string) error {
	list, err := sourceAddress(strings.Split(option, ","))
	if err != nil {
		return err
	}
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return errSource
	}
	ip, ok := netip.AddrFromSlice(tcp.IP)
	if !ok {
		return errSource
	}
	ip = ip.Unmap()
	for _, p := range list {
		if p.Contains(ip) {
			return nil
		}
	}
	return errSource
}
