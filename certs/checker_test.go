package certs

import (
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// conn is the ssh.ConnMetadata of a client at an address.
type conn struct {
	ssh.ConnMetadata
	addr net.Addr
}

func (c conn) RemoteAddr() net.Addr { return c.addr }
func (c conn) User() string         { return "demo" }

func from(ip string) conn { return conn{addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 40000}} }

// forge changes a certificate and signs it again, as somebody with the CA's key in hand could.
func forge(t testing.TB, ca ssh.Signer, cert *ssh.Certificate, f func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	c := *cert
	c.CriticalOptions, c.Extensions = maps.Clone(c.CriticalOptions), maps.Clone(c.Extensions)
	if c.CriticalOptions == nil {
		c.CriticalOptions = map[string]string{}
	}
	f(&c)
	if err := c.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	return reparse(t, &c)
}

func reparse(t testing.TB, c *ssh.Certificate) *ssh.Certificate {
	t.Helper()
	k, err := ssh.ParsePublicKey(c.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	return k.(*ssh.Certificate)
}

func caSigner(t testing.TB, key any) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newChecker(t testing.TB, a *Authority, revoked func(*ssh.Certificate) bool) *UserChecker {
	t.Helper()
	c, err := NewUserChecker(a.UserCA(), revoked)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCheckRefuses is attack class A: certificates made hostile by hand, most of them with the real
// user CA's signature, so that only the check in question can refuse them.
func TestCheckRefuses(t *testing.T) {
	a := newAuthority(t, Options{})
	_, pub := newKey(t)
	good := signUser(t, a, pub, UserOptions{})
	user, target, host := caSigner(t, a.keys.user), caSigner(t, a.keys.target), caSigner(t, a.keys.host)
	stranger, strangerPub := newKey(t)
	with := func(f func(*ssh.Certificate)) *ssh.Certificate { return forge(t, user, good, f) }
	option := func(name, value string) *ssh.Certificate {
		return with(func(c *ssh.Certificate) { c.CriticalOptions[name] = value })
	}
	identity := func(value string) *ssh.Certificate {
		return with(func(c *ssh.Certificate) { c.Extensions[IdentityExtension] = value })
	}
	hostCert, err := a.SignHost(t.Context(), pub, []string{"demo"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	targetCert, err := a.SignTarget(t.Context(), pub, Grant{Login: "demo", KeyID: "k"})
	if err != nil {
		t.Fatal(err)
	}
	tampered := *good
	tampered.KeyId = "root"
	nestedCA := *good
	nestedCA.SignatureKey = good
	nestedKey := *good
	nestedKey.Key = good
	unsigned := *good
	unsigned.Signature = nil
	now := uint64(time.Now().Unix())

	for _, tt := range []struct {
		name string
		key  ssh.PublicKey
		want string
	}{
		{"a plain key", pub, "only certificates"},
		{"the CA's own key", a.UserCA()[0], "only certificates"},
		{"foreign CA", forge(t, stranger, good, func(*ssh.Certificate) {}), "not signed by this gate's user CA"},
		{"signed by itself", forge(t, stranger, good, func(c *ssh.Certificate) { c.Key = strangerPub }), "not signed by this gate's user CA"},
		{"target CA", forge(t, target, good, func(*ssh.Certificate) {}), "not signed by this gate's user CA"},
		{"host CA", forge(t, host, good, func(*ssh.Certificate) {}), "not signed by this gate's user CA"},
		{"a target's certificate", targetCert, "not signed by this gate's user CA"},
		{"the gate's host certificate", hostCert, "not signed by this gate's user CA"},
		{"host as user", with(func(c *ssh.Certificate) { c.CertType = ssh.HostCert }), "not a user certificate"},
		{"of no type", with(func(c *ssh.Certificate) { c.CertType = 0 }), "not a user certificate"},
		{"CA key is a certificate", &nestedCA, "signed by a certificate"},
		{"a certificate for a certificate", &nestedKey, "a certificate for a certificate"},
		{"unsigned", &unsigned, "or by nobody"},
		{"tampered", &tampered, "signature does not verify"},
		{"expired", with(func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = now-600, now-1 }), "expired"},
		{"not yet valid", with(func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = now+60, now+600 }), "not yet valid"},
		{"for ever", with(func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 0, ssh.CertTimeInfinity }), "valid for longer"},
		{"for a year", with(func(c *ssh.Certificate) { c.ValidBefore = now + 365*86400 }), "valid for longer"},
		{"backwards", with(func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = now+60, now-60 }), "for no time at all"},
		{"no principal", with(func(c *ssh.Certificate) { c.ValidPrincipals = nil }), "0 principals"},
		{"two principals", with(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"ada", "root"} }), "2 principals"},
		{"principal with a comma", with(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"ada,root"} }), "comma"},
		{"empty principal", with(func(c *ssh.Certificate) { c.ValidPrincipals = []string{""} }), "principal is empty"},
		{"wildcard principal", with(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"*"} }), "wildcard"},
		{"force-command", option("force-command", "true"), "force-command"},
		{"empty force-command", option("force-command", ""), "force-command"},
		{"verify-required", option("verify-required", ""), "unknown critical option"},
		{"unknown critical option", option("x@example.org", ""), "unknown critical option"},
		{"source elsewhere", option("source-address", "198.51.100.0/24"), "from this address"},
		{"source empty", option("source-address", ""), "neither an address"},
		{"source empty entry", option("source-address", "192.0.2.10,"), "neither an address"},
		{"source negated", option("source-address", "!198.51.100.0/24,192.0.2.10"), "neither an address"},
		{"source a name", option("source-address", "localhost"), "neither an address"},
		{"source a wildcard", option("source-address", "*"), "neither an address"},
		{"source host bits", option("source-address", "192.0.2.10/24"), "beyond its mask"},
		{"no identity", with(func(c *ssh.Certificate) { delete(c.Extensions, IdentityExtension) }), "has no identity@sallyport"},
		{"empty identity", identity(""), "not an identity"},
		{"identity null", identity("null"), "issuer is empty"},
		{"identity of strings", identity(`["root"]`), "not an identity"},
		{"identity with more", identity(`{"iss":"https://i","sub":"1","name":"a","kind":"human","admin":true}`), "not an identity"},
		{"two identities", identity(`{"iss":"https://i","sub":"1","name":"a","kind":"human"}{}`), "more than one value"},
		{"identity without kind", identity(`{"iss":"https://i","sub":"1","name":"a"}`), "kind"},
		{"identity with escape", identity(`{"iss":"https://i","sub":"1","name":"a\u001b[2J","kind":"human"}`), "cannot be shown"},
		{"identity too long", identity(`{"iss":"` + strings.Repeat("x", maxIdentityJSON) + `"}`), "too long"},
		{"delegation three deep", identity(`{"iss":"https://i","sub":"1","name":"a","kind":"agent","on_behalf_of":{"iss":"https://i","sub":"2","name":"b","kind":"agent","on_behalf_of":{"iss":"https://i","sub":"3","name":"c","kind":"human"}}}`), "too long"},
		{"reserved field", with(func(c *ssh.Certificate) { c.Reserved = []byte("x") }), "reserved"},
		{"weak key", with(func(c *ssh.Certificate) { c.Key = weakKey(t) }), "2048"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newChecker(t, a, nil).Check(from("192.0.2.10"), tt.key)
			var ce *CertError
			if p != nil || !errors.As(err, &ce) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check = %v, %v; want a CertError with %q", p, err, tt.want)
			}
		})
	}
}

func TestCheckTakes(t *testing.T) {
	a := newAuthority(t, Options{})
	_, pub := newKey(t)
	good := reparse(t, signUser(t, a, pub, UserOptions{}))
	good = forge(t, caSigner(t, a.keys.user), good, func(c *ssh.Certificate) { c.Extensions["no-touch-required"] = "" })
	p, err := newChecker(t, a, func(*ssh.Certificate) bool { return false }).Check(from("192.0.2.10"), good)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Extensions["no-touch-required"]; ok {
		t.Error("no-touch-required is passed on")
	}
	got, ok := ProvenBy(p)
	if !ok || got.Identity.Key() != ada.Key() || got.Certificate.Serial != good.Serial || got.Expires().Unix() != int64(good.ValidBefore) {
		t.Errorf("ProvenBy = %+v, %v", got, ok)
	}
	for _, p := range []*ssh.Permissions{nil, {}, {Extensions: p.Extensions}} {
		if _, ok := ProvenBy(p); ok {
			t.Errorf("ProvenBy(%+v) proves somebody", p)
		}
	}
}

func TestCheckRevoked(t *testing.T) {
	a := newAuthority(t, Options{})
	_, pub := newKey(t)
	c := signUser(t, a, pub, UserOptions{})
	stranger, _ := newKey(t)
	var asked []uint64
	checker := newChecker(t, a, func(c *ssh.Certificate) bool { asked = append(asked, c.Serial); return true })
	if _, err := checker.Check(from("192.0.2.10"), c); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("Check = %v", err)
	}
	if _, err := checker.Check(from("192.0.2.10"), forge(t, stranger, c, func(*ssh.Certificate) {})); err == nil {
		t.Error("a stranger's certificate is taken")
	}
	if len(asked) != 1 || asked[0] != c.Serial {
		t.Errorf("asked about %x", asked)
	}
}

func TestSourceAddress(t *testing.T) {
	a := newAuthority(t, Options{})
	_, pub := newKey(t)
	for _, tt := range []struct {
		sources []string
		addr    net.Addr
		want    bool
	}{
		{[]string{"192.0.2.0/24"}, from("192.0.2.10").addr, true},
		{[]string{"192.0.2.10"}, from("192.0.2.10").addr, true},
		{[]string{"192.0.2.10"}, from("192.0.2.11").addr, false},
		{[]string{"192.0.2.0/24"}, from("::ffff:192.0.2.10").addr, true},
		{[]string{"::ffff:192.0.2.10"}, from("192.0.2.10").addr, true},
		{[]string{"::ffff:192.0.2.0/120"}, from("192.0.2.10").addr, true},
		{[]string{"::ffff:192.0.2.0/120"}, from("192.0.3.10").addr, false},
		{[]string{"2001:db8::/32"}, from("2001:db8::1").addr, true},
		{[]string{"2001:db8::/32"}, from("2001:db9::1").addr, false},
		{[]string{"2001:db8::/32"}, from("192.0.2.10").addr, false},
		{[]string{"::/0"}, from("192.0.2.10").addr, false},
		{[]string{"0.0.0.0/0"}, from("::1").addr, false},
		{[]string{"198.51.100.1", "192.0.2.0/24"}, from("192.0.2.10").addr, true},
		{[]string{"0.0.0.0/0", "::/0"}, &net.UnixAddr{Name: "/run/gate"}, false},
		{[]string{"0.0.0.0/0", "::/0"}, nil, false},
		{[]string{"0.0.0.0/0", "::/0"}, &net.TCPAddr{}, false},
		{nil, &net.UnixAddr{Name: "/run/gate"}, true},
	} {
		c := signUser(t, a, pub, UserOptions{SourceAddress: tt.sources})
		_, err := newChecker(t, a, nil).Check(conn{addr: tt.addr}, c)
		if (err == nil) != tt.want {
			t.Errorf("source-address %q from %v: %v, want allowed: %v", tt.sources, tt.addr, err, tt.want)
		}
	}
}

// TestHandshake runs real handshakes, because what the callback returns is not yet what is proved.
func TestHandshake(t *testing.T) {
	a := newAuthority(t, Options{})
	signer, pub := newKey(t)
	cert := signUser(t, a, pub, UserOptions{})
	other := ada
	other.Subject, other.Name = "7", "mallory"
	mSigner, mPub := newKey(t)
	mCert, err := a.SignUser(t.Context(), other, mPub, UserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	certSigner := func(c *ssh.Certificate, s ssh.Signer) ssh.Signer {
		cs, err := ssh.NewCertSigner(c, s)
		if err != nil {
			t.Fatal(err)
		}
		return cs
	}
	// borrowed offers ada's certificate and cannot sign for it.
	borrowed := refusing{certSigner(cert, signer)}

	for _, tt := range []struct {
		name    string
		offered []ssh.PublicKey // asked about, and not proved, after the key that is
		key     ssh.Signer
		want    string // key of who is let in, "" for nobody
	}{
		{"ada", nil, certSigner(cert, signer), ada.Key()},
		{"plain key", nil, signer, ""},
		{"borrowed certificate", nil, borrowed, ""},
		{"prove mallory's, offer ada's", []ssh.PublicKey{cert}, certSigner(mCert, mSigner), other.Key()},
		{"prove ada's, offer rubbish", []ssh.PublicKey{pub, mCert}, certSigner(cert, signer), ada.Key()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := handshake(t, newChecker(t, a, nil), tt.key, tt.offered)
			if got != tt.want {
				t.Errorf("let in %q, want %q", got, tt.want)
			}
		})
	}
}

type refusing struct{ ssh.Signer }

func (r refusing) SignWithAlgorithm(_ io.Reader, data []byte, _ string) (*ssh.Signature, error) {
	return &ssh.Signature{Format: ssh.KeyAlgoED25519, Blob: make([]byte, 64)}, nil
}

func (r refusing) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	return &ssh.Signature{Format: ssh.KeyAlgoED25519, Blob: make([]byte, 64)}, nil
}

// handshake gives the key of the identity that a server lets in, or "".
func handshake(t *testing.T, c *UserChecker, key ssh.Signer, offered []ssh.PublicKey) string {
	t.Helper()
	hostKey, _ := newKey(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		defer close(got)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		config := &ssh.ServerConfig{PublicKeyCallback: func(m ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			p, err := c.Check(m, k)
			for _, o := range offered {
				c.Check(m, o)
			}
			return p, err
		}}
		config.AddHostKey(hostKey)
		sc, _, _, err := ssh.NewServerConn(nc, config)
		if err != nil {
			return
		}
		if p, ok := ProvenBy(sc.Permissions); ok {
			got <- p.Identity.Key()
		}
	}()
	auth := []ssh.AuthMethod{ssh.PublicKeys(key)}
	client, err := ssh.Dial("tcp", l.Addr().String(), &ssh.ClientConfig{User: "demo", Auth: auth, HostKeyCallback: ssh.FixedHostKey(hostKey.PublicKey()), Timeout: 10 * time.Second})
	if err == nil {
		defer client.Close()
	}
	return <-got
}

// FuzzIdentity: whatever stands in the extension, it is refused or it is a valid identity that comes
// back the same when written again.
func FuzzIdentity(f *testing.F) {
	good, err := ada.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(`{"iss":"https://i","sub":"1","name":"a","kind":"agent","on_behalf_of":{"iss":"https://i","sub":"2","name":"b","kind":"human"}}`)
	f.Add(`{"iss":"\u202e"}`)
	f.Add("null")
	f.Fuzz(func(t *testing.T, raw string) {
		id, err := parseIdentity(raw)
		if err != nil {
			return
		}
		again, err := id.encode()
		if err != nil {
			t.Fatalf("taken but not encodable: %v", err)
		}
		id2, err := parseIdentity(again)
		if err != nil || id2.Key() != id.Key() || id2.Name != id.Name || len(id2.Groups) != len(id.Groups) {
			t.Fatalf("%q became %q: %v", raw, again, err)
		}
		if p := id.Principal(); checkPrincipal("principal", p) != nil || len(p) > 80 {
			t.Fatalf("principal %q of %q", p, id.Name)
		}
	})
}

// FuzzSource: a list is refused or means the same when written out again.
func FuzzSource(f *testing.F) {
	f.Add("10.0.0.0/8", "10.1.2.3")
	f.Add("::ffff:10.0.0.0/104", "10.1.2.3")
	f.Add("", "::1")
	f.Fuzz(func(t *testing.T, option, addr string) {
		list, err := sourceAddress(strings.Split(option, ","))
		if err != nil {
			if checkSource(from(addr).addr, option) == nil {
				t.Fatalf("%q is broken but lets %q in", option, addr)
			}
			return
		}
		again := strings.Join(texts(list), ",")
		if (checkSource(from(addr).addr, option) == nil) != (checkSource(from(addr).addr, again) == nil) {
			t.Fatalf("%q and %q differ for %q", option, again, addr)
		}
	})
}

// Only what our CA signed is told why it is refused: not what a stranger wrote into a certificate of theirs,
// or of ours.
func TestCheckTellsOnlyOurs(t *testing.T) {
	a := newAuthority(t, Options{})
	_, pub := newKey(t)
	good := signUser(t, a, pub, UserOptions{})
	expire := func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 1000, 2000 }
	tampered := *good
	expire(&tampered)
	stranger, _ := newKey(t)
	for _, tt := range []struct {
		name string
		key  *ssh.Certificate
		want bool
	}{
		{"expired", forge(t, caSigner(t, a.keys.user), good, expire), true},
		{"expired, as written by its holder", &tampered, false},
		{"expired, by a stranger", forge(t, stranger, good, expire), false},
	} {
		_, err := newChecker(t, a, nil).Check(from("192.0.2.10"), tt.key)
		var ce *CertError
		if !errors.As(err, &ce) || ce.Ours != tt.want {
			t.Errorf("%s: %v; told why: %v, want %v", tt.name, err, ce.Ours, tt.want)
		}
	}
}
