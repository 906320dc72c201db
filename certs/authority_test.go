package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

var ada = Identity{Issuer: "https://id.example.org", Subject: "248289", Name: "Ada Lovelace", Email: "ada@example.org", Kind: Human, Groups: []string{"developers", "dba"}}

func newAuthority(t testing.TB, o Options) *Authority {
	t.Helper()
	a, err := OpenAuthority(filepath.Join(t.TempDir(), "ca"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func newKey(t testing.TB) (ssh.Signer, ssh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s, s.PublicKey()
}

func signUser(t testing.TB, a *Authority, key ssh.PublicKey, o UserOptions) *ssh.Certificate {
	t.Helper()
	c, err := a.SignUser(t.Context(), ada, key, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSignUser(t *testing.T) {
	a := newAuthority(t, Options{})
	_, pub := newKey(t)
	before := time.Now()
	c := signUser(t, a, pub, UserOptions{SourceAddress: []string{"10.0.0.0/8", "::ffff:192.0.2.1", "2001:db8::1"}})

	if c.CertType != ssh.UserCert || !bytes.Equal(c.Key.Marshal(), pub.Marshal()) {
		t.Error("not a user certificate over the key")
	}
	if !bytes.Equal(c.SignatureKey.Marshal(), a.UserCA()[0].Marshal()) {
		t.Error("not signed by the user CA")
	}
	if len(c.ValidPrincipals) != 1 || c.ValidPrincipals[0] != "ada-lovelace" {
		t.Errorf("principals %q", c.ValidPrincipals)
	}
	if want := "Ada Lovelace (human, https://id.example.org#248289)"; c.KeyId != want {
		t.Errorf("key id %q, want %q", c.KeyId, want)
	}
	from, to := time.Unix(int64(c.ValidAfter), 0), time.Unix(int64(c.ValidBefore), 0)
	if before.Sub(from) > DefaultBackdate+2*time.Second || to.Sub(before).Round(time.Minute) != DefaultValidity {
		t.Errorf("valid from %v to %v", from, to)
	}
	for _, x := range []string{"permit-agent-forwarding", "permit-X11-forwarding", "permit-user-rc", "no-touch-required"} {
		if _, ok := c.Extensions[x]; ok {
			t.Errorf("has extension %s", x)
		}
	}
	if _, ok := c.Extensions["permit-pty"]; !ok {
		t.Error("no pty")
	}
	if got := c.CriticalOptions["source-address"]; got != "10.0.0.0/8,192.0.2.1,2001:db8::1" || len(c.CriticalOptions) != 1 {
		t.Errorf("critical options %q", c.CriticalOptions)
	}
	id, err := IdentityOf(c)
	if err != nil || id.Key() != ada.Key() || strings.Join(id.Groups, " ") != "developers dba" || id.Email != ada.Email {
		t.Errorf("identity %+v, %v", id, err)
	}
	if d := signUser(t, a, pub, UserOptions{}); d.Serial == c.Serial || bytes.Equal(d.Nonce, c.Nonce) || d.Serial>>32 == 0 && c.Serial>>32 == 0 {
		t.Errorf("serials %x and %x, nonces %x and %x", c.Serial, d.Serial, c.Nonce, d.Nonce)
	}
}

func TestSignUserRefuses(t *testing.T) {
	a := newAuthority(t, Options{MaxValidity: time.Hour})
	_, pub := newKey(t)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sshKey := func(k any) ssh.PublicKey {
		p, err := ssh.NewPublicKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	with := func(f func(*Identity)) Identity { id := ada; f(&id); return id }
	for _, tt := range []struct {
		name string
		id   Identity
		key  ssh.PublicKey
		o    UserOptions
		want string
	}{
		{"nobody", Identity{}, pub, UserOptions{}, "issuer is empty"},
		{"no subject", with(func(i *Identity) { i.Subject = "" }), pub, UserOptions{}, "subject is empty"},
		{"no name", with(func(i *Identity) { i.Name = "" }), pub, UserOptions{}, "name is empty"},
		{"escape in name", with(func(i *Identity) { i.Name = "a\x1b[2J" }), pub, UserOptions{}, "cannot be shown"},
		{"bidi in group", with(func(i *Identity) { i.Groups = []string{"dba\u202e"} }), pub, UserOptions{}, "cannot be shown"},
		{"no kind", with(func(i *Identity) { i.Kind = "" }), pub, UserOptions{}, "neither human nor agent"},
		{"human for human", with(func(i *Identity) { p := ada; i.OnBehalfOf = &p }), pub, UserOptions{}, "only an agent"},
		{"too many groups", with(func(i *Identity) { i.Groups = make([]string, 257) }), pub, UserOptions{}, "more than 256 groups"},
		{"long groups", with(func(i *Identity) {
			for range 200 {
				i.Groups = append(i.Groups, strings.Repeat("g", 200))
			}
		}), pub, UserOptions{}, "too many groups"},
		{"no key", ada, nil, UserOptions{}, "no public key"},
		{"weak key", ada, weakKey(t), UserOptions{}, "2048"},
		{"p521", ada, sshKey(&p521.PublicKey), UserOptions{}, "not taken"},
		{"a certificate", ada, signUser(t, a, pub, UserOptions{}), UserOptions{}, "not taken"},
		{"too long", ada, pub, UserOptions{Validity: 2 * time.Hour}, "not between 1m and 1h"},
		{"negative", ada, pub, UserOptions{Validity: -time.Hour}, "not between"},
		{"from nowhere", ada, pub, UserOptions{SourceAddress: []string{}}, "0 entries"},
		{"source name", ada, pub, UserOptions{SourceAddress: []string{"example.org"}}, "neither an address"},
		{"source negated", ada, pub, UserOptions{SourceAddress: []string{"!10.0.0.1"}}, "neither an address"},
		{"source host bits", ada, pub, UserOptions{SourceAddress: []string{"10.0.0.1/8"}}, "did you mean 10.0.0.0/8"},
		{"source zone", ada, pub, UserOptions{SourceAddress: []string{"fe80::1%eth0"}}, "neither an address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := a.SignUser(t.Context(), tt.id, tt.key, tt.o)
			if err == nil || c != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("SignUser = %v, %v; want an error with %q", c, err, tt.want)
			}
		})
	}
}

func TestOnIssue(t *testing.T) {
	var got []Issued
	full := errors.New("ledger is full")
	var fail error
	a := newAuthority(t, Options{OnIssue: func(_ context.Context, i Issued) error { got = append(got, i); return fail }})
	_, pub := newKey(t)
	c := signUser(t, a, pub, UserOptions{})
	if len(got) != 1 || got[0].Kind != KindUser || got[0].Identity.Key() != ada.Key() || got[0].KeyID != c.KeyId ||
		got[0].Fingerprint != ssh.FingerprintSHA256(pub) || got[0].NotAfter.Unix() != int64(c.ValidBefore) {
		t.Errorf("issued %+v", got)
	}
	fail = full
	if c, err := a.SignUser(t.Context(), ada, pub, UserOptions{}); !errors.Is(err, full) || c != nil {
		t.Errorf("SignUser = %v, %v; want none and the ledger's error", c, err)
	}
	chain, err := a.SignRecorder(t.Context(), make(ed25519.PublicKey, 32), "session1")
	if !errors.Is(err, full) || chain != nil {
		t.Errorf("SignRecorder = %v, %v; want none and the ledger's error", chain, err)
	}
}

func TestSignTarget(t *testing.T) {
	a := newAuthority(t, Options{})
	_, pub := newKey(t)
	command := "printf '%s' \"\xff\xfe\x01\u202e\"\n\t$(true) \\"
	c, err := a.SignTarget(t.Context(), pub, Grant{Login: "deploy", ForceCommand: command, SourceAddress: []string{"192.0.2.7"}, KeyID: "Ada Lovelace session 01hxyz"})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ssh.ParsePublicKey(c.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	c = parsed.(*ssh.Certificate)
	if got := c.CriticalOptions["force-command"]; got != command {
		t.Errorf("force-command %q, want %q", got, command)
	}
	if bytes.Equal(c.SignatureKey.Marshal(), a.UserCA()[0].Marshal()) || !bytes.Equal(c.SignatureKey.Marshal(), a.TargetCA()[0].Marshal()) {
		t.Error("not signed by the target CA")
	}
	if len(c.ValidPrincipals) != 1 || c.ValidPrincipals[0] != "deploy" || len(c.Extensions) != 0 || c.ValidBefore-c.ValidAfter > 91 {
		t.Errorf("principals %q, extensions %q, %d seconds", c.ValidPrincipals, c.Extensions, c.ValidBefore-c.ValidAfter)
	}
	// `ssh -t host top` is a forced command in a terminal.
	c, err = a.SignTarget(t.Context(), pub, Grant{Login: "deploy", ForceCommand: "top", Pty: true, PortForwarding: true, KeyID: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if _, pty := c.Extensions["permit-pty"]; !pty || len(c.Extensions) != 1 {
		t.Errorf("a command in a terminal has extensions %q", c.Extensions)
	}
	for _, tt := range []struct {
		name string
		g    Grant
		want string
	}{
		{"NUL", Grant{Login: "root", KeyID: "k", ForceCommand: "true\x00; rm -rf /"}, "NUL"},
		{"huge", Grant{Login: "root", KeyID: "k", ForceCommand: strings.Repeat("x", 1<<15)}, "longer than"},
		{"no login", Grant{KeyID: "k"}, "login is empty"},
		{"two logins", Grant{Login: "root,deploy", KeyID: "k"}, "comma"},
		{"any login", Grant{Login: "*", KeyID: "k"}, "wildcard"},
		{"no key id", Grant{Login: "root"}, "key id is empty"},
		{"forged log line", Grant{Login: "root", KeyID: "k\nAccepted"}, "cannot be shown"},
		{"an hour", Grant{Login: "root", KeyID: "k", Validity: time.Hour}, "not between"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if c, err := a.SignTarget(t.Context(), pub, tt.g); err == nil || c != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("SignTarget = %v, %v; want an error with %q", c, err, tt.want)
			}
		})
	}
}

func TestSignHost(t *testing.T) {
	a := newAuthority(t, Options{})
	_, pub := newKey(t)
	c, err := a.SignHost(t.Context(), pub, []string{"gate.example.org", "web1", "127.0.0.1"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	cc := ssh.CertChecker{IsHostAuthority: func(k ssh.PublicKey, _ string) bool {
		return bytes.Equal(k.Marshal(), a.HostCA()[0].Marshal())
	}}
	if err := cc.CheckHostKey("web1:22", nil, c); err != nil {
		t.Error(err)
	}
	if err := cc.CheckHostKey("web2:22", nil, c); err == nil {
		t.Error("good for a name it does not have")
	}
	for _, names := range [][]string{nil, {""}, {"a,b"}, {"*"}, {"a", "b\n"}} {
		if _, err := a.SignHost(t.Context(), pub, names, 0); err == nil {
			t.Errorf("signed for %q", names)
		}
	}
}

func TestSignRecorder(t *testing.T) {
	a := newAuthority(t, Options{})
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.SignRecorder(t.Context(), pub, "01hxyzabcdefghjkmnpq")
	if err != nil {
		t.Fatal(err)
	}
	got, err := VerifyRecorder(a.RecordRoot(), chain, "01hxyzabcdefghjkmnpq", time.Now())
	if err != nil || !got.Equal(pub) {
		t.Fatalf("VerifyRecorder = %x, %v", got, err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(a.RecordRoot())
	inter, err := x509.ParseCertificate(chain[1])
	if err != nil {
		t.Fatal(err)
	}
	between.AddCert(inter)
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{use}})
		if err == nil {
			t.Errorf("good for TLS (usage %d)", use)
		}
	}
	other := newAuthority(t, Options{})
	for name, err := range map[string]error{
		"another session": second(VerifyRecorder(a.RecordRoot(), chain, "01hxyzabcdefghjkmnpr", time.Now())),
		"another root":    second(VerifyRecorder(other.RecordRoot(), chain, "01hxyzabcdefghjkmnpq", time.Now())),
		"before":          second(VerifyRecorder(a.RecordRoot(), chain, "01hxyzabcdefghjkmnpq", time.Now().Add(-time.Hour))),
		"after":           second(VerifyRecorder(a.RecordRoot(), chain, "01hxyzabcdefghjkmnpq", time.Now().Add(RecorderValidity+time.Hour))),
		"the CA itself":   second(VerifyRecorder(a.RecordRoot(), chain[1:], "01hxyzabcdefghjkmnpq", time.Now())),
		"no chain":        second(VerifyRecorder(a.RecordRoot(), nil, "01hxyzabcdefghjkmnpq", time.Now())),
		"garbage":         second(VerifyRecorder(a.RecordRoot(), [][]byte{{1, 2}}, "01hxyzabcdefghjkmnpq", time.Now())),
		"a path as id":    second(a.SignRecorder(t.Context(), pub, "../../etc")),
		"a short key":     second(a.SignRecorder(t.Context(), pub[:16], "01hxyzabcdefghjkmnpq")),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestReopen: keys stay; what is lost is not made up; what others may read is refused.
func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "ca")
	open := func() (*Authority, error) { return OpenAuthority(dir, Options{}) }
	first, err := open()
	if err != nil {
		t.Fatal(err)
	}
	again, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.UserCA()[0].Marshal(), again.UserCA()[0].Marshal()) || !again.RecordRoot().Equal(first.RecordRoot()) {
		t.Error("opened again, it has other keys")
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		info, err := os.Stat(n)
		if err != nil {
			t.Fatal(err)
		}
		public := strings.HasSuffix(n, ".pub") || strings.HasSuffix(n, ".crt")
		if !public && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", n, info.Mode())
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	refuses := func(name, want string, do, undo func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if _, err := open(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", name, err, want)
		}
		if err := undo(); err != nil {
			t.Fatal(err)
		}
		if _, err := open(); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
	}
	key, target := filepath.Join(dir, "user_ca"), filepath.Join(dir, "target_ca")
	mode := func(path string, m os.FileMode) func() error { return func() error { return os.Chmod(path, m) } }
	rename := func(a, b string) func() error { return func() error { return os.Rename(a, b) } }
	saved, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) func() error { return func() error { return os.WriteFile(key, b, 0o600) } }
	targetKey, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	refuses("group may read a key", "chmod 0600", mode(key, 0o640), mode(key, 0o600))
	refuses("world may read a key", "chmod 0600", mode(key, 0o604), mode(key, 0o600))
	refuses("others may enter", "chmod 0700", mode(dir, 0o750), mode(dir, 0o700))
	refuses("a key is gone", "user_ca is missing: restore it", rename(key, key+".away"), rename(key+".away", key))
	refuses("a key is cut short", "not a private key", write(saved[:100]), write(saved))
	refuses("a key is empty", "not a private key", write(nil), write(saved))
	refuses("one key twice", "are the same", write(targetKey), write(saved))
	refuses("a link", "too many levels", func() error { return errors.Join(os.Rename(key, key+".away"), os.Symlink(key+".away", key)) },
		rename(key+".away", key))
	inter := filepath.Join(dir, "x509_intermediate")
	refuses("another's certificate", "is not the certificate of",
		func() error {
			o := newAuthority(t, Options{})
			return errors.Join(os.Rename(inter+".crt", inter+".away"), os.WriteFile(inter+".crt", encodeCertificate(o.keys.intermediate), 0o644))
		}, rename(inter+".away", inter+".crt"))
	if err := os.Rename(filepath.Join(dir, "x509_root"), filepath.Join(t.TempDir(), "offline")); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); err != nil {
		t.Errorf("with the root's key offline: %v", err)
	}
}

// TestFirstStartCutShort: whatever files a crash left behind, the next start completes them and keeps
// every key that was already whole.
func TestFirstStartCutShort(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "ca")
	if _, err := OpenAuthority(whole, Options{}); err != nil {
		t.Fatal(err)
	}
	order := []string{"user_ca", "user_ca.pub", "target_ca", "target_ca.pub", "host_ca", "host_ca.pub", "x509_intermediate",
		"x509_intermediate.pub", "x509_root", "x509_root.pub", "x509_root.crt", "x509_intermediate.crt"}
	for n := range len(order) + 1 {
		dir := filepath.Join(t.TempDir(), "ca")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".new-123"), []byte("half a k"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range order[:n] {
			b, err := os.ReadFile(filepath.Join(whole, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		a, err := OpenAuthority(dir, Options{})
		if err != nil {
			t.Fatalf("after %d files: %v", n, err)
		}
		b, err := os.ReadFile(filepath.Join(whole, "user_ca"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.ParsePrivateKey(b)
		if err != nil {
			t.Fatal(err)
		}
		if kept := bytes.Equal(key.PublicKey().Marshal(), a.UserCA()[0].Marshal()); kept != (n > 0) {
			t.Errorf("after %d files: user key kept: %v", n, kept)
		}
		if _, err := OpenAuthority(dir, Options{}); err != nil {
			t.Errorf("after %d files, second start: %v", n, err)
		}
	}
}

func TestTwoFirstStarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	var wg sync.WaitGroup
	keys := make([][]byte, 4)
	for i := range keys {
		wg.Go(func() {
			a, err := OpenAuthority(dir, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = a.UserCA()[0].Marshal()
		})
	}
	wg.Wait()
	for _, k := range keys[1:] {
		if !bytes.Equal(k, keys[0]) {
			t.Error("two processes made two sets of keys")
		}
	}
}

// TestOpenSSHReads lets ssh-keygen be the judge of keys and certificates.
func TestOpenSSHReads(t *testing.T) {
	dir := t.TempDir()
	a, err := OpenAuthority(filepath.Join(dir, "ca"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, pub := newKey(t)
	agent := ada
	agent.Name, agent.Kind, agent.OnBehalfOf = "build bot", Agent, &ada
	c, err := a.SignUser(t.Context(), agent, pub, UserOptions{SourceAddress: []string{"192.0.2.0/24"}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "id-cert.pub")
	if err := os.WriteFile(file, ssh.MarshalAuthorizedKey(c), 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, "ssh-keygen", "-L", "-f", file)
	for _, want := range []string{"user certificate", "build bot for Ada Lovelace (agent, ", "source-address 192.0.2.0/24", "permit-pty", IdentityExtension,
		ssh.FingerprintSHA256(a.UserCA()[0])} {
		if !strings.Contains(out, want) {
			t.Errorf("ssh-keygen -L does not show %q:\n%s", want, out)
		}
	}
	for _, name := range []string{"user_ca", "target_ca", "host_ca"} {
		key := run(t, "ssh-keygen", "-y", "-f", filepath.Join(dir, "ca", name))
		saved, err := os.ReadFile(filepath.Join(dir, "ca", name+".pub"))
		if err != nil || strings.TrimSpace(key) != strings.TrimSpace(string(saved)) {
			t.Errorf("%s: ssh-keygen says %q, the file %q", name, key, saved)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func BenchmarkSignUser(b *testing.B) {
	a := newAuthority(b, Options{})
	_, pub := newKey(b)
	b.ReportAllocs()
	for b.Loop() {
		signUser(b, a, pub, UserOptions{})
	}
}

func BenchmarkSignTarget(b *testing.B) {
	a := newAuthority(b, Options{})
	_, pub := newKey(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.SignTarget(b.Context(), pub, Grant{Login: "deploy", ForceCommand: "uptime", KeyID: "k"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignRecorder(b *testing.B) {
	a := newAuthority(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.SignRecorder(b.Context(), make(ed25519.PublicKey, 32), "session1"); err != nil {
			b.Fatal(err)
		}
	}
}

func weakKey(t testing.TB) ssh.PublicKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ssh.NewPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
