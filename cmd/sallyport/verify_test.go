package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// verifyRun runs sallyport verify and returns what it printed and its exit status.
func verifyRun(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var c struct {
		Verify verifyCmd `cmd:""`
	}
	var out bytes.Buffer
	parser, err := kong.New(&c, kong.Writers(&out, &out))
	if err != nil {
		t.Fatal(err)
	}
	k, err := parser.Parse(append([]string{"verify"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	k.BindTo(t.Context(), (*context.Context)(nil))
	var exit *exitError
	switch err := k.Run(); {
	case err == nil:
		return out.String(), 0
	case errors.As(err, &exit):
		if exit.err != nil {
			out.WriteString(exit.err.Error())
		}
		return out.String(), exit.code
	default:
		t.Fatal(err)
		return "", 0
	}
}

// testRecorder is an authority that certifies recording keys, and its root in a file.
type testRecorder struct {
	root *x509.Certificate
	key  ed25519.PrivateKey
	file string
}

func newTestRecorder(t *testing.T) *testRecorder {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	r := &testRecorder{root: root, key: key, file: filepath.Join(t.TempDir(), "root.pem")}
	if err := os.WriteFile(r.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *testRecorder) NewSessionKey(_ context.Context, id string) (ed25519.PrivateKey, [][]byte, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2),
		URIs: []*url.URL{{Scheme: "sallyport", Opaque: "session:" + id}}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 36}}}, r.root, pub, r.key)
	return key, [][]byte{der}, err
}

func (r *testRecorder) record(t *testing.T, id string) []byte {
	t.Helper()
	key, chain, err := r.NewSessionKey(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := cast.NewWriter(&b, cast.WriterOptions{Session: id, Key: key, Chain: chain})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Output(cast.Stdout, []byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(cast.End{Reason: "exit"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestVerifyFile(t *testing.T) {
	r, stranger := newTestRecorder(t), newTestRecorder(t)
	good := r.record(t, "abcdef")
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		b    []byte
		args []string
		code int
		want string
	}{
		{"whole", good, []string{"--offline", r.file}, 0, "complete: 1 events, 6 bytes, 0 operations, 0 masked, sealed "},
		{"whole, authority unknown", good, nil, 2, "cannot tell: agrees with its own signatures"},
		{"whole, another authority", good, []string{"--offline", stranger.file}, 1, "TAMPERED: checkpoint 0: recorder certificate"},
		{"flipped", bytes.Replace(good, []byte("hello"), []byte("jello"), 1), []string{"--offline", r.file}, 1, "TAMPERED: what stands before checkpoint 1 is not what was written; first byte not vouched for: "},
		{"cut", good[:len(good)-10], []string{"--offline", r.file}, 1, "TRUNCATED: ends without a seal"},
		{"no recording", []byte("hello\n"), []string{"--offline", r.file}, 1, "TAMPERED: line 1, byte 0: is no header"},
		{"no authority in the file", good, []string{"--offline", os.DevNull}, 2, "cannot tell: /dev/null holds no certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(tt.name, " ", "_")+".cast")
			if err := os.WriteFile(file, tt.b, 0o600); err != nil {
				t.Fatal(err)
			}
			out, code := verifyRun(t, append(tt.args, file)...)
			if code != tt.code || !strings.HasPrefix(out, file+": "+tt.want) || strings.Count(out, "\n") != 1 {
				t.Errorf("exit %d, %q, want %d and %q", code, out, tt.code, tt.want)
			}
			js, code := verifyRun(t, append(tt.args, "--json", file)...)
			var v verdict
			if err := json.Unmarshal([]byte(js), &v); err != nil || code != tt.code || v.Code != tt.code {
				t.Errorf("--json: exit %d, %s, %v", code, js, err)
			}
		})
	}
}

func TestVerifyUsage(t *testing.T) {
	root := newTestRecorder(t).file
	for _, args := range [][]string{{}, {"--all", "abcdef"}, {"--all", "--offline", root}, {"abcdef"}, {"/nonexistent"}, {"--offline", root, "/nonexistent"}} {
		if out, code := verifyRun(t, args...); code != 2 || out == "" {
			t.Errorf("%v: exit %d, %q", args, code, out)
		}
	}
}

// book is a ledger's chain of seals in memory.
type book struct {
	seals    []ledger.Seal
	problems []ledger.SealProblem
	err      error
}

func (b *book) SealsOf(_ context.Context, id string) (of []ledger.Seal, err error) {
	for _, s := range b.seals {
		if s.SessionID == id {
			of = append(of, s)
		}
	}
	return of, b.err
}

func (b *book) Seals(_ context.Context, after int64) (page []ledger.Seal, err error) {
	for _, s := range b.seals {
		if s.N > after && len(page) < 2 {
			page = append(page, s)
		}
	}
	return page, b.err
}

func (b *book) VerifySeals(context.Context, ...ledger.Head) (ledger.SealReport, error) {
	return ledger.SealReport{Problems: b.problems}, b.err
}

func TestVerifySessions(t *testing.T) {
	r := newTestRecorder(t)
	spool, dir := t.TempDir(), t.TempDir()
	d, err := store.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	roots := x509.NewCertPool()
	roots.AddCert(r.root)
	lib := &replay.Library{Spool: spool, Store: d, Roots: roots}
	b := &book{}
	for i, id := range []string{"aaaaaa", "bbbbbb", "cccccc", "dddddd"} {
		text := r.record(t, id)
		rep, err := cast.Verify(bytes.NewReader(text), cast.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		hash, _ := hex.DecodeString(rep.Seal.Hash)
		b.seals = append(b.seals, ledger.Seal{SessionID: id, Hash: hash, N: int64(i + 1)})
		switch id {
		case "bbbbbb": // exchanged for another recording of the same session
			text = r.record(t, id)
		case "cccccc": // gone
			continue
		}
		if err := os.WriteFile(filepath.Join(spool, id+".cast"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	purged := sha256.Sum256([]byte("gggggg"))
	for i, state := range []ledger.State{ledger.Complete, ledger.Purged} {
		b.seals = append(b.seals, ledger.Seal{SessionID: "gggggg", Hash: purged[:], N: int64(5 + i), State: state, At: time.Unix(1e9, 0)})
	}
	live := r.record(t, "eeeeee")
	if err := os.WriteFile(filepath.Join(spool, "eeeeee.cast"), live[:bytes.LastIndex(live, []byte("#sp"))], 0o600); err != nil {
		t.Fatal(err)
	}
	real := openArchive
	openArchive = func(f placeFlags, _ context.Context) (*archive, error) {
		if filepath.Base(f.Dir) != "D" {
			return nil, errors.New("no such directory")
		}
		return &archive{lib: lib, seals: b, close: func() error { return nil }}, nil
	}
	t.Cleanup(func() { openArchive = real })
	for _, tt := range []struct {
		id   string
		code int
		want string
	}{
		{"aaaaaa", 0, "complete: "},
		{"bbbbbb", 1, "TAMPERED: the seal is not the one in the ledger"},
		{"cccccc", 1, "TAMPERED: the whole recording is gone; the ledger has its seal"},
		{"eeeeee", 0, "live: "},
		{"gggggg", 0, "purged 2001-09-09T01:46:40Z: removed on purpose"},
		{"ffffff", 2, "cannot tell: open recording ffffff: no recording of that session"},
	} {
		if out, code := verifyRun(t, "--dir", "D", tt.id); code != tt.code || !strings.HasPrefix(out, tt.id+": "+tt.want) {
			t.Errorf("%s: exit %d, %q, want %d, %q", tt.id, code, out, tt.code, tt.want)
		}
	}
	out, code := verifyRun(t, "--dir", "D", "--all")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 1 || len(lines) != 7 || lines[0] != "ledger: ok" {
		t.Errorf("--all: exit %d\n%s", code, out)
	}
	b.problems = []ledger.SealProblem{{N: 2, SessionID: "bbbbbb", What: "edited"}}
	if out, _ := verifyRun(t, "--dir", "D", "--all"); !strings.Contains(out, "ledger: DAMAGED: the chain of seals is broken at seal 2 (session bbbbbb): edited") {
		t.Errorf("--all:\n%s", out)
	}
	b.err = errors.New("ledger is down")
	if out, code := verifyRun(t, "--dir", "D", "aaaaaa"); code != 2 || !strings.Contains(out, "ledger is down") {
		t.Errorf("ledger down: exit %d, %q", code, out)
	}
	if out, code := verifyRun(t, "--dir", "E", "aaaaaa"); code != 2 || !strings.Contains(out, "no such directory") {
		t.Errorf("no directory: exit %d, %q", code, out)
	}
}
