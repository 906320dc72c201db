package cast_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// authority certifies recording keys in tests, with certificates of the shape that package certs makes.
type authority struct {
	cert  *x509.Certificate
	key   ed25519.PrivateKey
	roots *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, roots: x509.NewCertPool()}
	a.cert, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.roots.AddCert(a.cert)
	return a
}

func (a *authority) sessionKey(t testing.TB, session string) (ed25519.PrivateKey, [][]byte) {
	t.Helper()
	return a.sessionKeyLike(t, session, func(*x509.Certificate) {})
}

func (a *authority) sessionKeyLike(t testing.TB, session string, change func(*x509.Certificate)) (ed25519.PrivateKey, [][]byte) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "sallyport session " + session},
		URIs:      []*url.URL{{Scheme: "sallyport", Opaque: "session:" + session}},
		NotBefore: epoch.Add(-time.Minute), NotAfter: epoch.Add(24 * time.Hour), BasicConstraintsValid: true,
		KeyUsage:           x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 36}},
	}
	change(tmpl)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return key, [][]byte{der}
}

// epoch is when test recordings begin.
var epoch = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

// clock steps by a fixed odd time at each look, so that rounding would show.
type clock struct {
	t    time.Time
	step time.Duration
}

func (c *clock) now() time.Time {
	c.t = c.t.Add(c.step)
	return c.t
}

const session = "0k3v9m2x7q1b5n8r4t6w"

func newWriter(t testing.TB, w io.Writer, a *authority, id string) *cast.Writer {
	t.Helper()
	key, chain := a.sessionKey(t, id)
	c := &clock{t: epoch, step: 1234567 * time.Nanosecond}
	wr, err := cast.NewWriter(w, cast.WriterOptions{
		Session: id, Key: key, Chain: chain, Now: c.now,
		Header: cast.Header{Cols: 100, Rows: 30, Type: "xterm-256color", Command: "cat \x1b]0;x\x07f", Title: "demo"},
		Meta:   map[string]any{"session": id, "target": "demo"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return wr
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sample writes a recording with every kind of line.
func sample(t testing.TB, a *authority, id string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := newWriter(t, &b, a, id)
	body(t, w)
	status := 3
	must(t, w.Exit(status))
	_, err := w.Close(cast.End{Status: &status, Reason: "exit"})
	must(t, err)
	return b.Bytes()
}

func body(t testing.TB, w *cast.Writer) {
	t.Helper()
	must(t, w.Output(cast.Gate, []byte("\x1b[20h")))
	must(t, w.Output(cast.Stdout, []byte("$ caf\xc3")))
	must(t, w.Output(cast.Stderr, []byte("oops \xff\xfe \xef\xbf\xbd\n")))
	must(t, w.Output(cast.Stdout, []byte("\xa9 \x1b[1mx\x1b[0m\r\n")))
	must(t, w.Checkpoint())
	must(t, w.Note("op", map[string]any{"id": "abc123", "text": "rm -rf /srv"}))
	must(t, w.Input([]byte("ls\r")))
	must(t, w.Resize(120, 40))
	must(t, w.Marker("rm -rf /srv"))
	w.Masked(2)
	must(t, w.Checkpoint())
	must(t, w.Output(cast.Stdout, []byte("end \xf0\x9f")))
}

func verify(t testing.TB, a *authority, b []byte, o cast.VerifyOptions) cast.Report {
	t.Helper()
	o.Roots = a.roots
	r, err := cast.Verify(bytes.NewReader(b), o)
	must(t, err)
	return r
}

func TestSampleVerifies(t *testing.T) {
	a := newAuthority(t)
	b := sample(t, a, session)
	r := verify(t, a, b, cast.VerifyOptions{Session: session})
	if r.State != cast.Complete || !r.OK() || !r.Trusted || r.SignedUntil != int64(len(b)) || r.Seal.Size != int64(len(b)) {
		t.Fatalf("report = %+v\n%s", r, b)
	}
	if want := (cast.Counts{Events: 11, Bytes: 40, Ops: 1, Masked: 2}); r.Counts != want {
		t.Errorf("counts = %+v, want %+v\n%s", r.Counts, want, b)
	}
}

func TestEveryFlipIsFound(t *testing.T) {
	a := newAuthority(t)
	b := sample(t, a, session)
	bad := bytes.Clone(b)
	for i := range b {
		for _, bit := range []int{i % 8, 5} { // 5 changes the case of a letter
			bad[i] = b[i] ^ 1<<bit
			r := verify(t, a, bad, cast.VerifyOptions{Session: session})
			if r.OK() {
				t.Fatalf("flip of bit %d of byte %d is not found", bit, i)
			}
			if r.BadOffset > int64(i) {
				t.Fatalf("flip of byte %d is reported at byte %d", i, r.BadOffset)
			}
		}
		bad[i] = b[i]
	}
}

func TestEveryCutIsFound(t *testing.T) {
	a := newAuthority(t)
	b := sample(t, a, session)
	for n := range b {
		r := verify(t, a, b[:n], cast.VerifyOptions{Session: session})
		if r.State != cast.Truncated && (n > 0 || r.State == cast.Complete) {
			t.Fatalf("cut to %d bytes: %s, %s", n, r.State, r.Why)
		}
		if r.SignedUntil > int64(n) {
			t.Fatalf("cut to %d bytes: signed until %d", n, r.SignedUntil)
		}
	}
}

func TestEveryInsertedByteIsFound(t *testing.T) {
	a := newAuthority(t)
	b := sample(t, a, session)
	for i := 0; i <= len(b); i++ {
		for _, c := range []byte{' ', "\n0#\r"[i%4]} {
			bad := append(append(bytes.Clone(b[:i]), c), b[i:]...)
			if r := verify(t, a, bad, cast.VerifyOptions{}); r.OK() {
				t.Fatalf("%q put in at byte %d is not found", c, i)
			}
		}
	}
}

func TestLineEditsAreFound(t *testing.T) {
	a := newAuthority(t)
	b := sample(t, a, session)
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines = lines[:len(lines)-1]
	edit := func(what string, i int, out [][]byte) {
		t.Helper()
		j := bytes.Join(out, nil)
		if bytes.Equal(j, b) {
			return
		}
		if r := verify(t, a, j, cast.VerifyOptions{Session: session}); r.OK() {
			t.Errorf("%s at line %d is not found", what, i+1)
		}
	}
	for i := range lines {
		del := append(append([][]byte{}, lines[:i]...), lines[i+1:]...)
		edit("deletion", i, del)
		edit("duplication", i, append(append(append([][]byte{}, lines[:i+1]...), lines[i]), lines[i+1:]...))
		for j := range lines {
			swap := append([][]byte{}, lines...)
			swap[i], swap[j] = swap[j], swap[i]
			edit("swap", i, swap)
		}
	}
}

func TestSplicesAreFound(t *testing.T) {
	a := newAuthority(t)
	one, two := sample(t, a, session), sample(t, a, "0k3v9m2x7q1b5n8r4t6x")
	again := sample(t, a, session) // the same session recorded by a second key of the same authority
	if r := verify(t, a, two, cast.VerifyOptions{Session: session}); r.OK() {
		t.Error("a whole recording of another session is taken")
	}
	for _, other := range [][]byte{two, again} {
		l1, l2 := bytes.SplitAfter(one, []byte("\n")), bytes.SplitAfter(other, []byte("\n"))
		for i := range l1 {
			for j := range l2 {
				if i == 0 && j == 0 || i == len(l1)-1 && j == len(l2)-1 {
					continue
				}
				mix := append(bytes.Join(l1[:i], nil), bytes.Join(l2[j:], nil)...)
				// Headers are equal, so a recording that only takes its first line from another is itself.
				if bytes.Equal(mix, one) || bytes.Equal(mix, other) {
					continue
				}
				if r := verify(t, a, mix, cast.VerifyOptions{Session: session}); r.OK() {
					t.Fatalf("lines 1-%d of one recording and %d- of another are taken for one", i, j+1)
				}
			}
		}
	}
}

func TestWhoMaySign(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	for _, tt := range []struct {
		name   string
		signer *authority
		change func(*x509.Certificate)
		want   cast.State
	}{
		{"as certs makes them", a, func(*x509.Certificate) {}, cast.Complete},
		{"another authority", stranger, func(*x509.Certificate) {}, cast.Tampered},
		{"another session", a, func(c *x509.Certificate) { c.URIs[0].Opaque = "session:zzzzzz" }, cast.Tampered},
		{"two sessions", a, func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "sallyport", Opaque: "session:zzzzzz"})
		}, cast.Tampered},
		{"no name", a, func(c *x509.Certificate) { c.URIs = nil }, cast.Tampered},
		{"a TLS certificate", a, func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, cast.Tampered},
		{"expired before the session", a, func(c *x509.Certificate) { c.NotAfter = epoch.Add(-time.Second) }, cast.Tampered},
		{"a CA", a, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }, cast.Tampered},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, chain := tt.signer.sessionKeyLike(t, session, tt.change)
			var b bytes.Buffer
			c := &clock{t: epoch, step: time.Millisecond}
			w, err := cast.NewWriter(&b, cast.WriterOptions{Session: session, Key: key, Chain: chain, Now: c.now})
			must(t, err)
			_, err = w.Close(cast.End{Reason: "exit"})
			must(t, err)
			if r := verify(t, a, b.Bytes(), cast.VerifyOptions{}); r.State != tt.want {
				t.Errorf("state %s, want %s: %s", r.State, tt.want, r.Why)
			}
		})
	}
}

func TestLedgerHash(t *testing.T) {
	a := newAuthority(t)
	one, again := sample(t, a, session), sample(t, a, session)
	hash := verify(t, a, one, cast.VerifyOptions{}).Seal.Hash
	if r := verify(t, a, one, cast.VerifyOptions{Hash: hash}); !r.OK() {
		t.Errorf("the sealed recording does not match its own hash: %s", r.Why)
	}
	if r := verify(t, a, again, cast.VerifyOptions{Hash: hash}); r.OK() {
		t.Error("another recording of the same session matches the hash in the ledger")
	}
}

func TestWithoutRootsNothingIsTrusted(t *testing.T) {
	a := newAuthority(t)
	r, err := cast.Verify(bytes.NewReader(sample(t, a, session)), cast.VerifyOptions{})
	must(t, err)
	if r.State != cast.Complete || r.Trusted {
		t.Errorf("report = %+v", r)
	}
}

// failing is a file that cannot be written any more when on is set.
type failing struct {
	bytes.Buffer
	on     bool
	writes int
}

func (f *failing) Write(p []byte) (int, error) {
	if f.writes++; f.on {
		return 0, io.ErrShortWrite
	}
	return f.Buffer.Write(p)
}

// TestGather keeps lines back until something is written, in order; what is kept is covered by the next checkpoint.
func TestGather(t *testing.T) {
	a := newAuthority(t)
	var out failing
	w := newWriter(t, &out, a, session)
	gather := func(text string) {
		t.Helper()
		must(t, w.Gather(func() error {
			must(t, w.Note("op", map[string]string{"text": text}))
			return w.Output(cast.Stdout, []byte(text+"\r\n"))
		}))
	}
	size, writes := out.Len(), out.writes
	gather("one")
	gather("two")
	if out.Len() != size || w.Size() != int64(size) || w.Counts().Ops != 2 {
		t.Fatalf("%d bytes were written", out.Len()-size)
	}
	must(t, w.Flush())
	if out.writes != writes+1 || int64(out.Len()) != w.Size() || !strings.Contains(out.String(), "two") {
		t.Errorf("%d writes, %d bytes, %d said", out.writes-writes, out.Len(), w.Size())
	}
	must(t, w.Flush())
	if out.writes != writes+1 {
		t.Error("nothing was written")
	}
	gather("three")
	must(t, w.Output(cast.Stdout, []byte("four\r\n")))
	if i, j := strings.Index(out.String(), "three"), strings.Index(out.String(), "four"); i < 0 || j < i {
		t.Errorf("three at %d, four at %d", i, j)
	}
	gather("five")
	must(t, w.Checkpoint())
	if w.Unsigned() != 0 || !strings.Contains(out.String(), "five") {
		t.Errorf("%d bytes are not signed", w.Unsigned())
	}
	for range 10 {
		gather(strings.Repeat("long ", 5_000))
	}
	if w.Unsigned() == 0 {
		t.Error("500,000 bytes are kept in memory")
	}
	if _, err := w.Close(cast.End{}); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, a, out.Bytes(), cast.VerifyOptions{}); !r.OK() || r.Counts.Ops != 14 {
		t.Errorf("%+v", r)
	}

	var full failing
	w = newWriter(t, &full, a, session)
	gather("never")
	full.on = true
	if err := w.Flush(); err == nil {
		t.Error("what was not written was called written")
	}
	if err := w.Note("op", 1); err == nil {
		t.Error("goes on after a failure")
	}
}
