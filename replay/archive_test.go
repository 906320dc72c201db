package replay_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// authority certifies recording keys in tests, with certificates of the shape that package certs makes.
type authority struct {
	cert  *x509.Certificate
	key   ed25519.PrivateKey
	roots *x509.CertPool
	down  atomic.Bool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return authorityOf(t, key)
}

func authorityOf(t testing.TB, key ed25519.PrivateKey) *authority {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(t, err)
	a := &authority{key: key, roots: x509.NewCertPool()}
	a.cert, err = x509.ParseCertificate(der)
	must(t, err)
	a.roots.AddCert(a.cert)
	return a
}

func (a *authority) NewSessionKey(_ context.Context, id string) (ed25519.PrivateKey, [][]byte, error) {
	if a.down.Load() {
		return nil, nil, errors.New("the authority is down")
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), URIs: []*url.URL{{Scheme: "sallyport", Opaque: "session:" + id}},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 36}},
	}, a.cert, pub, a.key)
	return key, [][]byte{der}, err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for something that a goroutine of the archive will do.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-end:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// house is an archive of a test's own, which can be closed and opened again.
type house struct {
	o      replay.Options
	signer *authority
	dir    string // of the store
	seals  sync.Map
	alarms sync.Map // what -> *atomic.Int64
	*replay.Archive
}

func newHouse(t testing.TB, change func(*replay.Options)) *house {
	t.Helper()
	h := &house{signer: newAuthority(t), dir: filepath.Join(t.TempDir(), "store")}
	d, err := store.OpenDir(h.dir)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	h.o = replay.Options{
		SpoolDir: filepath.Join(t.TempDir(), "spool"), Store: d, Signer: h.signer, Roots: h.signer.roots, Gate: "gate1",
		Checkpoint: 10 * time.Millisecond, ShipAfter: 10 * time.Millisecond,
		OnSeal:  func(_ context.Context, s replay.Seal) error { h.seals.Store(s.Session, s); return nil },
		OnAlarm: func(a replay.Alarm) { h.alarm(a.What).Add(1) },
	}
	if change != nil {
		change(&h.o)
	}
	h.open(t)
	return h
}

func (h *house) alarm(what string) *atomic.Int64 {
	n, _ := h.alarms.LoadOrStore(what, &atomic.Int64{})
	return n.(*atomic.Int64)
}

func (h *house) open(t testing.TB) {
	t.Helper()
	a, err := replay.OpenArchive(h.o)
	must(t, err)
	h.Archive = a
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		a.Close(ctx)
	})
}

func (h *house) start(t testing.TB, id string) *replay.Recording {
	t.Helper()
	r, err := h.Start(t.Context(), meta(id))
	must(t, err)
	return r
}

func meta(id string) replay.Meta {
	return replay.Meta{
		SessionID: id, Identity: replay.Identity{Issuer: "https://idp", Subject: "1", Email: "dev@example.com", Kind: "human"},
		Target: "demo", TargetKind: "shell", Kind: "exec", Command: "cat customers.csv", Guard: "hook", ClientAddr: "192.0.2.1:5",
	}
}

func (h *house) read(t testing.TB, id string) []byte {
	t.Helper()
	r, err := h.Open(t.Context(), id)
	must(t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	must(t, err)
	return b
}

// stdout returns the exact output in a recording.
func stdout(t testing.TB, b []byte) []byte {
	t.Helper()
	r, err := cast.NewReader(bytes.NewReader(b))
	must(t, err)
	r.Lenient = true
	var out []byte
	for {
		e, err := r.Next()
		if err == io.EOF {
			return out
		}
		must(t, err)
		if e.Code == 'o' && e.Stream == cast.Stdout {
			out = append(out, e.Data...)
		}
	}
}

func (h *house) spooled(t testing.TB) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(h.o.SpoolDir)
	must(t, err)
	for _, e := range entries {
		if e.Name() != "quarantine" && e.Name() != ".reserve" {
			names = append(names, e.Name())
		}
	}
	return names
}

func (h *house) verify(t testing.TB, id string, want cast.State) cast.Report {
	t.Helper()
	r, err := h.Verify(t.Context(), id)
	must(t, err)
	if r.State != want || !r.Trusted && want != cast.Tampered {
		t.Fatalf("verifies as %s (trusted %t): %s, want %s", r.State, r.Trusted, r.Why, want)
	}
	return r
}

const id1 = "0k3v9m2x7q1b5n8r4t6w"

func TestSessionIntoTheStore(t *testing.T) {
	h := newHouse(t, nil)
	r := h.start(t, id1)
	must(t, r.Output(replay.Stdout, []byte("hello ")))
	if got := stdout(t, h.read(t, id1)); string(got) != "hello " {
		t.Errorf("a live recording reads %q", got)
	}
	if rep := h.verify(t, id1, cast.Truncated); !rep.Live {
		t.Error("a live recording is not reported as live")
	}
	must(t, r.Note("op", map[string]string{"text": "cat customers.csv"}))
	must(t, r.Output(replay.Stderr, []byte("warning\n")))
	must(t, r.Output(replay.Stdout, []byte("world")))
	r.Masked(3)
	status := 0
	seal, err := r.End(t.Context(), replay.End{Status: &status, Reason: "exit"})
	must(t, err)
	if told, ok := h.seals.Load(id1); !ok || told.(replay.Seal) != seal || seal.State != cast.Complete || seal.Counts.Masked != 3 {
		t.Errorf("seal = %+v, told %+v", seal, told)
	}
	eventually(t, "the spool is empty", func() bool { return len(h.spooled(t)) == 0 && h.Stats().Waiting == 0 })
	rep := h.verify(t, id1, cast.Complete)
	if rep.Live || rep.Seal.Hash != seal.Hash || rep.Counts.Ops != 1 || rep.Counts.Bytes != 19 {
		t.Errorf("report %+v", rep)
	}
	b := h.read(t, id1)
	if got := stdout(t, b); string(got) != "hello world" {
		t.Errorf("stored: %q", got)
	}
	for _, want := range []string{`"title":"dev@example.com on demo"`, `"guard":"hook"`, `"gate":"gate1"`, `"client_addr":"192.0.2.1:5"`, `"\u001b[20h"`, `"x", "0"`} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("the recording lacks %s", want)
		}
	}
	if s := h.Stats(); s.SpoolBytes != 0 || s.Live != 0 || s.Waiting != 0 || s.Failures != 0 || s.Shipped != uint64(len(b)) {
		t.Errorf("stats %+v", s)
	}
	if err := r.Output(replay.Stdout, []byte("x")); !errors.Is(err, cast.ErrClosed) {
		t.Errorf("output after the end: %v", err)
	}
	if _, err := r.End(t.Context(), replay.End{}); !errors.Is(err, cast.ErrClosed) {
		t.Errorf("second end: %v", err)
	}
}

func TestLongSessionShipsWhileItRuns(t *testing.T) {
	h := newHouse(t, nil)
	r := h.start(t, id1)
	var want []byte
	p := bytes.Repeat([]byte("0123456789abcde\n"), 4096)
	for range 40 {
		must(t, r.Output(replay.Stdout, p))
		want = append(want, p...)
	}
	eventually(t, "a live session is shipped up to its last byte", func() bool {
		s := h.Stats()
		return s.Shipped > 2<<20 && s.Behind == 0
	})
	// A gate that never comes back: whoever has the store reads up to the last checkpoint.
	lib := &replay.Library{Store: h.o.Store, Roots: h.o.Roots}
	rep, err := lib.Verify(t.Context(), id1, "")
	must(t, err)
	if rep.State != cast.Truncated || rep.Sealed || rep.Live || rep.SignedUntil != rep.Size || rep.Counts.Bytes != uint64(len(want)) {
		t.Errorf("from the store alone: %+v", rep)
	}
	if _, err := r.End(t.Context(), replay.End{Reason: "exit"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the spool is empty", func() bool { return len(h.spooled(t)) == 0 })
	if got := stdout(t, h.read(t, id1)); !bytes.Equal(got, want) {
		t.Errorf("stored %d bytes, want %d", len(got), len(want))
	}
	h.verify(t, id1, cast.Complete)
}

// TestCheckpointsAreInTime: however long the options say, an unsigned byte does not stay so.
func TestCheckpointsAreInTime(t *testing.T) {
	h := newHouse(t, func(o *replay.Options) { o.Checkpoint, o.ShipAfter = time.Hour, time.Hour })
	r := h.start(t, id1)
	must(t, r.Output(replay.Stdout, []byte("x")))
	eventually(t, "a lone byte is signed", func() bool {
		rep, err := h.Verify(t.Context(), id1)
		return err == nil && rep.SignedUntil == rep.Size
	})
	must(t, r.Output(replay.Stdout, make([]byte, 300<<10)))
	if rep, err := h.Verify(t.Context(), id1); err != nil || rep.SignedUntil != rep.Size {
		t.Errorf("300 KiB are not signed at once: %+v, %v", rep, err)
	}
}

func TestFollow(t *testing.T) {
	h := newHouse(t, nil)
	r := h.start(t, id1)
	f, err := h.Follow(t.Context(), id1)
	must(t, err)
	defer f.Close()
	rd, err := cast.NewReader(f)
	must(t, err)
	for i := range 50 {
		want := fmt.Sprintf("line %d\n", i)
		must(t, r.Output(replay.Stdout, []byte(want)))
		for {
			e, err := rd.Next()
			must(t, err)
			if e.Code == 'o' && e.Stream == cast.Stdout {
				if string(e.Data) != want {
					t.Fatalf("followed %q, want %q", e.Data, want)
				}
				break
			}
		}
	}
	_, err = r.End(t.Context(), replay.End{Reason: "exit"})
	must(t, err)
	last := ""
	for {
		e, err := rd.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		last = e.Kind
	}
	if last != "seal" {
		t.Errorf("the last line followed is %q", last)
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	h := newHouse(t, nil)
	h.start(t, id1)
	ctx, cancel := context.WithCancelCause(t.Context())
	f, err := h.Follow(ctx, id1)
	must(t, err)
	defer f.Close()
	gone := errors.New("the viewer left")
	time.AfterFunc(50*time.Millisecond, func() { cancel(gone) })
	if _, err := io.Copy(io.Discard, f); err != gone {
		t.Errorf("error %v", err)
	}
}

func TestRefusals(t *testing.T) {
	h := newHouse(t, nil)
	for _, id := range []string{"", "short", "../../../etc/passwd", "UPPERCASE", strings.Repeat("a", 41), "abc/defgh", "abcdef.cast", "abcdef\n"} {
		if _, err := h.Start(t.Context(), meta(id)); !errors.Is(err, replay.ErrSessionID) {
			t.Errorf("start %q: %v", id, err)
		}
		if _, err := h.Open(t.Context(), id); !errors.Is(err, replay.ErrSessionID) {
			t.Errorf("open %q: %v", id, err)
		}
	}
	if _, err := h.Open(t.Context(), "abcdef"); !errors.Is(err, replay.ErrNoSession) {
		t.Errorf("open: %v", err)
	}
	if _, err := h.Verify(t.Context(), "abcdef"); !errors.Is(err, replay.ErrNoSession) {
		t.Errorf("verify: %v", err)
	}
	h.start(t, id1)
	if _, err := h.Start(t.Context(), meta(id1)); !errors.Is(err, replay.ErrExists) {
		t.Errorf("second start: %v", err)
	}
	h.signer.down.Store(true)
	if _, err := h.Start(t.Context(), meta("abcdef")); err == nil || !strings.Contains(err.Error(), "authority is down") {
		t.Errorf("start without a key: %v", err)
	}
	if got := h.spooled(t); len(got) != 1 {
		t.Errorf("spool: %v", got)
	}
	if _, err := replay.OpenArchive(h.o); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second archive on the spool: %v", err)
	}
	for path, want := range map[string]os.FileMode{h.o.SpoolDir: 0o700, filepath.Join(h.o.SpoolDir, id1+".cast"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestSpoolLimit(t *testing.T) {
	bad := &faults{}
	h := newHouse(t, func(o *replay.Options) {
		o.SpoolLimit = 100 << 10
		bad.Store = o.Store
		o.Store = bad
	})
	bad.fail(errors.New("store is down"))
	r := h.start(t, id1)
	must(t, r.Output(replay.Stdout, make([]byte, 15<<10))) // each NUL is six bytes on its line
	if _, err := h.Start(t.Context(), meta("abcdef")); !errors.Is(err, replay.ErrSpoolFull) {
		t.Errorf("start with a nearly full spool: %v", err)
	}
	admin := meta("abcdeg")
	admin.Essential = true
	in, err := h.Start(t.Context(), admin)
	must(t, err)
	must(t, in.Output(replay.Stdout, []byte("still in")))
	must(t, r.Output(replay.Stdout, make([]byte, 2<<10)))
	first := r.Output(replay.Stdout, []byte("one too many"))
	if !errors.Is(first, replay.ErrSpoolFull) || r.Output(replay.Stdout, []byte("x")) != first {
		t.Errorf("output into a full spool: %v", first)
	}
	seal, err := r.End(t.Context(), replay.End{Reason: "the recording failed"})
	must(t, err)
	if seal.State != cast.Truncated {
		t.Errorf("sealed as %s", seal.State)
	}
	bad.fail(nil)
	_, err = in.End(t.Context(), replay.End{Reason: "exit"})
	must(t, err)
	eventually(t, "the spool is empty", func() bool { return len(h.spooled(t)) == 0 && h.Stats().SpoolBytes == 0 })
	h.verify(t, id1, cast.Truncated)
	if got := stdout(t, h.read(t, id1)); len(got) != 17<<10 {
		t.Errorf("%d bytes of acknowledged output are kept", len(got))
	}
	must(t, func() error { _, err := h.Start(t.Context(), meta("abcdeh")); return err }())
}

// faults is a store that can be made to fail, before or after it did what it was asked.
type faults struct {
	store.Store
	mu   sync.Mutex
	err  error
	kept bool // it did, and says it did not
	only string
	puts int
}

func (f *faults) fail(err error) { f.set(err, false, "") }

func (f *faults) set(err error, kept bool, only string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.kept, f.only = err, kept, only
}

func (f *faults) Put(ctx context.Context, key string, data []byte, o store.PutOptions) error {
	f.mu.Lock()
	err, kept := f.err, f.kept
	if !strings.Contains(key, f.only) {
		err, kept = nil, false
	}
	f.puts++
	f.mu.Unlock()
	if err == nil || kept {
		if perr := f.Store.Put(ctx, key, data, o); perr != nil {
			return perr
		}
	}
	return err
}

func (f *faults) List(ctx context.Context, prefix string) iter.Seq2[store.Object, error] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil && f.only == "" {
		return func(yield func(store.Object, error) bool) { yield(store.Object{}, f.err) }
	}
	return f.Store.List(ctx, prefix)
}

func newFaulty(t *testing.T) (*house, *faults) {
	bad := &faults{}
	h := newHouse(t, func(o *replay.Options) {
		bad.Store = o.Store
		o.Store = bad
	})
	return h, bad
}

// TestStoreComesBack: while the store fails, sessions go on and end; when it is back everything is in it.
func TestStoreComesBack(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("kept=%t", kept), func(t *testing.T) {
			h, bad := newFaulty(t)
			bad.set(errors.New("503"), kept, "")
			want := map[string][]byte{}
			for i := range 5 {
				id := fmt.Sprintf("abcde%d", i)
				r := h.start(t, id)
				for j := range 20 {
					p := fmt.Appendf(nil, "%s %d\n", id, j)
					must(t, r.Output(replay.Stdout, p))
					want[id] = append(want[id], p...)
				}
				eventually(t, "an attempt to ship", func() bool { bad.mu.Lock(); defer bad.mu.Unlock(); return bad.puts > i })
				must(t, r.Output(replay.Stdout, []byte("more")))
				want[id] = append(want[id], "more"...)
				_, err := r.End(t.Context(), replay.End{Reason: "exit"})
				must(t, err)
			}
			eventually(t, "an alarm", func() bool { return h.alarm("ship").Load() > 0 })
			if len(h.spooled(t)) != 5 {
				t.Errorf("spool: %v", h.spooled(t))
			}
			bad.fail(nil)
			eventually(t, "the spool is empty", func() bool { return len(h.spooled(t)) == 0 })
			for id, want := range want {
				h.verify(t, id, cast.Complete)
				if got := stdout(t, h.read(t, id)); !bytes.Equal(got, want) {
					t.Errorf("%s: stored %d bytes, want %d", id, len(got), len(want))
				}
			}
		})
	}
}

func TestOneThatFailsBlocksNobody(t *testing.T) {
	h, bad := newFaulty(t)
	bad.set(errors.New("403"), false, "abcde0")
	for i := range 20 {
		r := h.start(t, fmt.Sprintf("abcde%c", 'a'+i))
		must(t, r.Output(replay.Stdout, []byte("x")))
		if i == 0 {
			stuck := h.start(t, "abcde0")
			must(t, stuck.Output(replay.Stdout, []byte("x")))
			_, err := stuck.End(t.Context(), replay.End{})
			must(t, err)
		}
		_, err := r.End(t.Context(), replay.End{})
		must(t, err)
	}
	eventually(t, "only the one that fails is in the spool", func() bool { return slices.Equal(h.spooled(t), []string{"abcde0.cast"}) })
}

func TestLedgerComesBack(t *testing.T) {
	var down atomic.Bool
	var told atomic.Int64
	h := newHouse(t, func(o *replay.Options) {
		o.OnSeal = func(_ context.Context, s replay.Seal) error {
			if down.Load() {
				return errors.New("ledger is down")
			}
			told.Add(1)
			return nil
		}
	})
	down.Store(true)
	r := h.start(t, id1)
	if _, err := r.End(t.Context(), replay.End{}); err == nil || !strings.Contains(err.Error(), "ledger is down") {
		t.Errorf("End: %v", err)
	}
	down.Store(false)
	eventually(t, "the seal is told and the spool empty", func() bool { return told.Load() == 1 && len(h.spooled(t)) == 0 })
}

func TestMissingAndChangedSegments(t *testing.T) {
	h := newHouse(t, nil)
	r := h.start(t, id1)
	for i := range 3 {
		must(t, r.Output(replay.Stdout, fmt.Appendf(nil, "part %d\n", i)))
		eventually(t, "it is shipped", func() bool { return h.Stats().Segments > uint64(i) })
	}
	_, err := r.End(t.Context(), replay.End{})
	must(t, err)
	eventually(t, "the spool is empty", func() bool { return len(h.spooled(t)) == 0 })
	h.verify(t, id1, cast.Complete)
	segments, err := filepath.Glob(filepath.Join(h.dir, "casts", id1, "*.zst"))
	must(t, err)
	if len(segments) < 3 {
		t.Fatalf("segments: %v", segments)
	}
	for i, name := range segments {
		b, err := os.ReadFile(name)
		must(t, err)
		must(t, os.Remove(name))
		want := cast.Tampered
		switch i {
		case len(segments) - 1:
			want = cast.Truncated // without the last nothing shows that there was more, but the missing seal
		}
		h.verify(t, id1, want)
		for j := 0; j < len(b); j += 5 {
			bad := bytes.Clone(b)
			bad[j] ^= 1 << (j % 8)
			must(t, os.WriteFile(name, bad, 0o600))
			rep, err := h.Verify(t.Context(), id1)
			must(t, err)
			// Some bits of a zstd frame say nothing about its content.
			if rep.OK() && !bytes.Equal(stdout(t, h.read(t, id1)), []byte("part 0\npart 1\npart 2\n")) {
				t.Fatalf("segment %d, byte %d: not found", i, j)
			}
		}
		must(t, os.WriteFile(name, append(b, b...), 0o600))
		if rep, err := h.Verify(t.Context(), id1); err != nil || rep.OK() {
			t.Errorf("segment %d twice: %+v, %v", i, rep, err)
		}
		must(t, os.WriteFile(name, b, 0o600))
	}
	must(t, os.WriteFile(filepath.Join(h.dir, "casts", id1, "stray.txt"), []byte("x"), 0o600))
	h.verify(t, id1, cast.Complete)
	if got := slices.Collect(func(yield func(string) bool) {
		for id, err := range h.Sessions(t.Context()) {
			must(t, err)
			if !yield(id) {
				return
			}
		}
	}); !slices.Equal(got, []string{id1}) {
		t.Errorf("sessions: %v", got)
	}
}

func TestCloseAndRecover(t *testing.T) {
	h := newHouse(t, nil)
	r := h.start(t, id1)
	must(t, r.Output(replay.Stdout, []byte("before")))
	must(t, h.Close(t.Context()))
	if err := r.Output(replay.Stdout, []byte("x")); err == nil {
		t.Error("a closed archive records")
	}
	if _, err := h.Start(t.Context(), meta("abcdef")); !errors.Is(err, replay.ErrClosed) {
		t.Errorf("start: %v", err)
	}
	h.open(t)
	must(t, h.Recover(t.Context()))
	eventually(t, "the spool is empty", func() bool { return len(h.spooled(t)) == 0 })
	h.verify(t, id1, cast.Recovered)
	if got := stdout(t, h.read(t, id1)); string(got) != "before" {
		t.Errorf("recovered %q", got)
	}
	if s, ok := h.seals.Load(id1); !ok || s.(replay.Seal).State != cast.Recovered {
		t.Errorf("told %+v", s)
	}
}

func TestRecoverSetsAsideWhatIsDamaged(t *testing.T) {
	h := newHouse(t, nil)
	whole := h.start(t, "abcdew")
	must(t, whole.Output(replay.Stdout, []byte("whole")))
	hit := h.start(t, "abcdeh")
	must(t, hit.Output(replay.Stdout, []byte("first\n")))
	eventually(t, "both are shipped", func() bool { s := h.Stats(); return s.Behind == 0 && s.Segments >= 2 })
	must(t, hit.Output(replay.Stdout, []byte("second\n")))
	must(t, h.Close(t.Context()))
	spool := h.o.SpoolDir
	must(t, os.WriteFile(filepath.Join(spool, "abcdee.cast"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(spool, "abcdeg.cast"), []byte("garbage\n"), 0o600))
	must(t, os.Mkdir(filepath.Join(spool, "abcded.cast"), 0o700))
	must(t, os.WriteFile(filepath.Join(spool, "not a recording"), []byte("x"), 0o600))
	name := filepath.Join(spool, "abcdeh.cast")
	b, err := os.ReadFile(name)
	must(t, err)
	must(t, os.WriteFile(name, bytes.Replace(b, []byte("first"), []byte("FIRST"), 1), 0o600))

	h.open(t)
	err = h.Recover(t.Context())
	if !errors.Is(err, replay.ErrQuarantine) {
		t.Errorf("recover: %v", err)
	}
	for _, id := range []string{"abcdee", "abcdeg", "abcdeh"} {
		if err == nil || !strings.Contains(err.Error(), id) {
			t.Errorf("%s is not reported: %v", id, err)
		}
		if _, err := os.Stat(filepath.Join(spool, "quarantine", id+".cast")); err != nil {
			t.Errorf("%s is not set aside: %v", id, err)
		}
	}
	eventually(t, "the rest is shipped", func() bool { _, ok := h.seals.Load("abcdew"); return ok && len(h.spooled(t)) == 2 })
	h.verify(t, "abcdew", cast.Recovered)
	if rep := h.verify(t, "abcdeh", cast.Truncated); rep.Sealed {
		t.Error("a recording whose spool was damaged is sealed")
	}
	if h.alarm("quarantine").Load() != 3 {
		t.Errorf("%d alarms", h.alarm("quarantine").Load())
	}
}

// TestDiskFull: a recording that cannot be written stops at once, and is sealed as truncated with everything
// that was acknowledged.
func TestDiskFull(t *testing.T) {
	h := newHouse(t, nil)
	r := h.start(t, id1)
	must(t, r.Output(replay.Stdout, []byte("acknowledged")))
	restore := limitFileSize(t, int64(len(h.read(t, id1)))+1000)
	var first error
	kept := []byte("acknowledged")
	for first == nil {
		p := []byte("0123456789")
		if first = r.Output(replay.Stdout, p); first == nil {
			kept = append(kept, p...)
		}
	}
	restore()
	if err := r.Marker("x"); err != first {
		t.Errorf("the error does not stick: %v", err)
	}
	seal, err := r.End(t.Context(), replay.End{Reason: "the recording failed"})
	must(t, err)
	if seal.State != cast.Truncated || seal.Reason != "the recording failed" {
		t.Errorf("seal %+v", seal)
	}
	if rep := h.verify(t, id1, cast.Truncated); !rep.Sealed || !strings.Contains(rep.Why, "failed") {
		t.Errorf("report %+v", rep)
	}
	if got := stdout(t, h.read(t, id1)); !bytes.Equal(got, kept) {
		t.Errorf("kept %q, want %q", got, kept)
	}
	if h.alarm("record").Load() != 1 {
		t.Errorf("%d alarms", h.alarm("record").Load())
	}
}

func TestConcurrentUse(t *testing.T) {
	h := newHouse(t, nil)
	r := h.start(t, id1)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				switch i % 4 {
				case 0, 1:
					must(t, r.Output(replay.Stdout, []byte("x")))
				case 2:
					must(t, r.Note("op", i))
				case 3:
					must(t, r.Resize(80, 24))
					r.Masked(1)
				}
			}
		})
	}
	wg.Wait()
	seal, err := r.End(t.Context(), replay.End{})
	must(t, err)
	if seal.Counts.Bytes != 400 || seal.Counts.Ops != 200 || seal.Counts.Masked != 200 {
		t.Errorf("counts %+v", seal.Counts)
	}
	h.verify(t, id1, cast.Complete)
}
