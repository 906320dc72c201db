package certs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// proved is what a handshake with a certificate of id would prove.
func proved(t *testing.T, a *Authority, id Identity, o UserOptions) Proven {
	t.Helper()
	_, pub := newKey(t)
	cert, err := a.SignUser(context.Background(), id, pub, o)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newChecker(t, a, nil).Check(from("192.0.2.1"), reparse(t, cert))
	if err != nil {
		t.Fatal(err)
	}
	got, ok := ProvenBy(p)
	if !ok || got.Delegation != nil {
		t.Fatalf("proven: %v, %+v", ok, got)
	}
	return got
}

var alice = Identity{Issuer: "https://id.example.org", Subject: "7", Name: "alice", Kind: Human, Groups: []string{"users"}}

func TestSignDelegated(t *testing.T) {
	a := newAuthority(t, Options{})
	by := proved(t, a, alice, UserOptions{Validity: 20 * time.Minute, SourceAddress: []string{"192.0.2.0/24"}})
	_, pub := newKey(t)
	cert, err := a.SignDelegated(context.Background(), by, pub, DelegateOptions{
		Name: "fixer", Scope: Delegation{Targets: []string{"web1"}, Actions: []string{"command:run"}}, Validity: 10 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	perms, err := newChecker(t, a, nil).Check(from("192.0.2.7"), reparse(t, cert))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := ProvenBy(perms)
	id := got.Identity
	if id.Kind != Agent || id.Issuer != DelegatedIssuer || id.Name != "fixer" || id.OnBehalfOf == nil || id.OnBehalfOf.Key() != alice.Key() || len(id.Groups) != 0 {
		t.Errorf("identity %+v", id)
	}
	if d := got.Delegation; d == nil || len(d.Targets) != 1 || d.Targets[0] != "web1" || d.Actions[0] != "command:run" {
		t.Errorf("delegation %+v", d)
	}
	if got.Expires().After(by.Expires()) {
		t.Errorf("ends at %v, after the human's %v", got.Expires(), by.Expires())
	}
	if _, err := newChecker(t, a, nil).Check(from("198.51.100.1"), reparse(t, cert)); err == nil {
		t.Error("taken from where the human's own certificate may not be used")
	}

	// The same name of another human is another identity.
	bob := alice
	bob.Subject, bob.Name = "8", "bob"
	_, pub2 := newKey(t)
	other, err := a.SignDelegated(context.Background(), proved(t, a, bob, UserOptions{}), pub2, DelegateOptions{Name: "fixer"})
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := IdentityOf(other); o.Key() == id.Key() {
		t.Errorf("agents of two people have one key %q", o.Key())
	}
}

func TestSignDelegatedRefuses(t *testing.T) {
	a := newAuthority(t, Options{})
	by := proved(t, a, alice, UserOptions{Validity: 20 * time.Minute, SourceAddress: []string{"192.0.2.0/24"}})
	agent := proved(t, a, Identity{Issuer: alice.Issuer, Subject: "bot", Name: "bot", Kind: Agent, OnBehalfOf: &alice}, UserOptions{})
	ending := by
	short := *by.Certificate
	short.ValidBefore = uint64(time.Now().Add(30 * time.Second).Unix())
	ending.Certificate = &short
	_, pub := newKey(t)
	many := make([]string, maxScope+1)
	for i := range many {
		many[i] = "t"
	}
	for _, tt := range []struct {
		name string
		by   Proven
		key  ssh.PublicKey
		o    DelegateOptions
		want string
	}{
		{"an agent", agent, pub, DelegateOptions{Name: "x"}, "only people"},
		{"nobody", Proven{}, pub, DelegateOptions{Name: "x"}, "only people"},
		{"one's own key", by, by.Certificate.Key, DelegateOptions{Name: "x"}, "your own key"},
		{"a weak key", by, weakKey(t), DelegateOptions{Name: "x"}, "2048"},
		{"no name", by, pub, DelegateOptions{}, "name"},
		{"a name that turns around", by, pub, DelegateOptions{Name: "a\u202eb"}, "name"},
		{"longer than one's own", by, pub, DelegateOptions{Name: "x", Validity: time.Hour}, "cannot outlive"},
		{"too short", by, pub, DelegateOptions{Name: "x", Validity: time.Second}, "a minute at least"},
		{"of one that ends", ending, pub, DelegateOptions{Name: "x"}, "within a minute"},
		{"from elsewhere", by, pub, DelegateOptions{Name: "x", SourceAddress: []string{"198.51.100.1"}}, "not within"},
		{"from a wider network", by, pub, DelegateOptions{Name: "x", SourceAddress: []string{"192.0.0.0/16"}}, "not within"},
		{"too many targets", by, pub, DelegateOptions{Name: "x", Scope: Delegation{Targets: many}}, "more than"},
		{"an empty target", by, pub, DelegateOptions{Name: "x", Scope: Delegation{Targets: []string{""}}}, "empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert, err := a.SignDelegated(context.Background(), tt.by, tt.key, tt.o)
			var refused *DelegationError
			if !errors.As(err, &refused) || !strings.Contains(refused.PublicText(), tt.want) {
				t.Errorf("%v, %v; want an error that says %q", cert, err, tt.want)
			}
		})
	}
}

// TestCheckDelegation: with the real CA's key in hand, what narrows a certificate can neither be left away nor be bent.
func TestCheckDelegation(t *testing.T) {
	a := newAuthority(t, Options{})
	_, pub := newKey(t)
	good, err := a.SignDelegated(context.Background(), proved(t, a, alice, UserOptions{}), pub, DelegateOptions{Name: "x", Scope: Delegation{Targets: []string{"web1"}}})
	if err != nil {
		t.Fatal(err)
	}
	_, own := newKey(t)
	plain := signUser(t, a, own, UserOptions{})
	option := func(from *ssh.Certificate, value string) func(*ssh.Certificate) {
		return func(c *ssh.Certificate) { c.CriticalOptions[DelegationOption] = value }
	}
	for _, tt := range []struct {
		name string
		cert *ssh.Certificate
		f    func(*ssh.Certificate)
		want string
	}{
		{"left away", good, func(c *ssh.Certificate) { delete(c.CriticalOptions, DelegationOption) }, "without what narrows it"},
		{"as an extension", good, func(c *ssh.Certificate) {
			c.Extensions[DelegationOption] = c.CriticalOptions[DelegationOption]
			delete(c.CriticalOptions, DelegationOption)
		}, "without what narrows it"},
		{"on a person's own", plain, option(plain, `{"parent":"1"}`), "whom no human vouched for"},
		{"not JSON", good, option(good, `web1`), "not a delegation in JSON"},
		{"two values", good, option(good, `{"parent":"1"}{}`), "more than one value"},
		{"an unknown field", good, option(good, `{"parent":"1","except":["x"]}`), "not a delegation in JSON"},
		{"no parent", good, option(good, `{}`), "no serial number"},
		{"empty", good, option(good, ``), "not a delegation in JSON"},
		{"endless", good, option(good, `{"parent":"1","targets":["`+strings.Repeat("x", maxDelegationJSON)+`"]}`), "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert := forge(t, caSigner(t, a.keys.user), tt.cert, tt.f)
			if _, err := newChecker(t, a, nil).Check(from("192.0.2.1"), cert); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check: %v, want %q", err, tt.want)
			}
		})
	}
}
