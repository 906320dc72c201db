package certs

import (
	"fmt"
	"testing"
)

func TestSourceLimit(t *testing.T) {
	for _, tt := range []struct {
		name string
		from []string
		want []bool
	}{
		{"one address", []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3"}, []bool{true, true, false}},
		{"mapped is the same", []string{"192.0.2.1:1", "[::ffff:192.0.2.1]:2", "192.0.2.1:3"}, []bool{true, true, false}},
		{"neighbours are others", []string{"192.0.2.1:1", "192.0.2.1:1", "192.0.2.2:1"}, []bool{true, true, true}},
		{"an IPv6 subscriber is one", []string{"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:0:ffff::3]:1"}, []bool{true, true, false}},
		{"another IPv6 subscriber", []string{"[2001:db8::1]:1", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1"}, []bool{true, true, true}},
		{"zones do not help", []string{"[fe80::1%a]:1", "[fe80::1%b]:1", "[fe80::1%c]:1"}, []bool{true, true, false}},
		{"what cannot be read shares one", []string{"@", "", "pipe"}, []bool{true, true, false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &sourceLimit{limit: 0.0001, burst: 2}
			for i, from := range tt.from {
				if got := s.allow(from); got != tt.want[i] {
					t.Errorf("request %d from %s: %v, want %v", i, from, got, tt.want[i])
				}
			}
		})
	}
}

// TestSourceLimitBounded: many sources neither fill the memory nor free one that stays.
func TestSourceLimitBounded(t *testing.T) {
	s := &sourceLimit{limit: 0.0001, burst: 1}
	if !s.allow("192.0.2.1:1") {
		t.Fatal("the first request is refused")
	}
	for i := range 5 * maxSourcesKept {
		s.allow(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255))
		if i%1000 == 0 && s.allow("192.0.2.1:1") {
			t.Fatalf("after %d others, a source that keeps asking is allowed again", i)
		}
	}
	if n := len(s.now) + len(s.old); n > 2*maxSourcesKept {
		t.Errorf("%d sources kept", n)
	}
}

// FuzzProof: no bytes but the key's own signature over the token pass for a proof.
func FuzzProof(f *testing.F) {
	signer, pub := newKey(f)
	const token = "e30.e30.c2ln"
	good, err := Prove(token, signer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, token)
	f.Add(good, token+"x")
	f.Add("-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----", token)
	f.Fuzz(func(t *testing.T, proof, signed string) {
		if err := checkProof(proof, signed, pub); err == nil && signed != token {
			t.Fatalf("%q proves %q", proof, signed)
		}
	})
}
