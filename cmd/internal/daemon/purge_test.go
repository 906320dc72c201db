package daemon

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/integration/real"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// keys certifies recording keys by themselves: nothing here asks whose they are.
type keys struct{}

func (keys) NewSessionKey(context.Context, string) (ed25519.PrivateKey, [][]byte, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	return key, [][]byte{der}, err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shelf is a bucket with recordings in it, and the ledger that has their seals.
type shelf struct {
	t       *testing.T
	ledger  *ledger.Ledger
	archive *replay.Archive
	library *replay.Library
	minio   *real.MinIO
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{t: t, minio: real.StartMinIO(t, false)}
	s.minio.Bucket(t, "locked", minio.MakeBucketOptions{ObjectLocking: true})
	t.Setenv("AWS_ACCESS_KEY_ID", real.User)
	t.Setenv("AWS_SECRET_ACCESS_KEY", real.Password)
	var err error
	s.ledger, err = ledger.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "l.db"))
	must(t, err)
	t.Cleanup(func() { s.ledger.Close() })
	return s
}

// open opens the archive as a gate with this lock does.
func (s *shelf) open(lock *config.ObjectLock) {
	s.t.Helper()
	c := &config.Recordings{S3: &config.S3{Endpoint: s.minio.Addr, Bucket: "locked", InsecurePlaintext: true, ObjectLock: lock}}
	st, err := OpenStore(s.t.Context(), c)
	must(s.t, err)
	d := &Daemon{ledger: s.ledger}
	s.archive, err = replay.OpenArchive(replay.Options{
		SpoolDir: s.t.TempDir(), Store: st, Signer: keys{}, OnSeal: d.sealed, Keep: keep(c), ShipAfter: time.Millisecond,
	})
	must(s.t, err)
	s.library = &replay.Library{Store: st}
}

// record makes recordings of these sessions and waits until they are in the bucket.
func (s *shelf) record(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		must(s.t, s.ledger.StartSession(s.t.Context(), ledger.Session{
			ID: id, Gate: "g", Identity: ledger.Identity{Issuer: "i", Subject: "s"}, Target: "t", Started: time.Now(),
		}))
		r, err := s.archive.Start(s.t.Context(), replay.Meta{SessionID: id})
		must(s.t, err)
		must(s.t, r.Output(replay.Stdout, []byte("said by "+id)))
		_, err = r.End(s.t.Context(), replay.End{Reason: "exit"})
		must(s.t, err)
	}
	must(s.t, s.archive.Close(s.t.Context())) // ships all of it
}

func (s *shelf) purge(change func(*Purge)) (*Purge, map[string]PurgedSession) {
	found := map[string]PurgedSession{}
	p := &Purge{Ledger: s.ledger, Library: s.library, Why: "a year is over", Event: ledger.Event{Gate: "g", Actor: "os:host#0", ActorName: "operator root@host"},
		Each: func(p PurgedSession) { found[p.Session] = p }}
	if change != nil {
		change(p)
	}
	return p, found
}

// gone says whether verifying finds nothing of a session, and what the chain of seals says.
func (s *shelf) gone(id string) (gone bool, last ledger.State) {
	s.t.Helper()
	seals, err := s.ledger.SealsOf(s.t.Context(), id)
	must(s.t, err)
	_, err = s.library.Verify(s.t.Context(), id, hex.EncodeToString(seals[len(seals)-1].Hash))
	return err != nil, seals[len(seals)-1].State
}

// TestPurge: what is old goes, and that it did stands in the chain and among the events; what a lock or a hold
// keeps stays, and nothing says that it went.
func TestPurge(t *testing.T) {
	s := newShelf(t)
	s.open(nil)
	s.record("free01", "free02")
	s.open(&config.ObjectLock{Retain: config.Duration(time.Hour), Mode: "governance"})
	s.record("locked1")
	s.open(&config.ObjectLock{LegalHold: true})
	s.record("held001")

	dry, found := s.purge(func(p *Purge) { p.DryRun = true })
	n, err := dry.Run(t.Context(), time.Now().Add(time.Second))
	must(t, err)
	if n != (PurgeCount{Removed: 2, Kept: 2}) || found["free01"].Removed {
		t.Errorf("dry run: %+v, %+v", n, found)
	}
	if gone, last := s.gone("free01"); gone || last != ledger.Complete {
		t.Fatalf("after a dry run: gone %t, %s", gone, last)
	}
	p, _ := s.purge(nil)
	if n, err := p.Run(t.Context(), time.Now().Add(-time.Hour)); err != nil || n != (PurgeCount{}) {
		t.Errorf("of what is not old: %+v, %v", n, err)
	}
	p, found = s.purge(nil)
	n, err = p.Run(t.Context(), time.Now().Add(time.Second))
	must(t, err)
	if n != (PurgeCount{Removed: 2, Kept: 2}) {
		t.Errorf("%+v, want two removed and two kept: %+v", n, found)
	}
	for id, want := range map[string]string{"locked1": "is locked until 20", "held001": "is under legal hold"} {
		if gone, last := s.gone(id); gone || last != ledger.Complete || !strings.Contains(found[id].Kept, want) {
			t.Errorf("%s: gone %t, %s, kept: %q", id, gone, last, found[id].Kept)
		}
	}
	for _, id := range []string{"free01", "free02"} {
		if gone, last := s.gone(id); !gone || last != ledger.Purged {
			t.Errorf("%s: gone %t, %s", id, gone, last)
		}
	}
	s.writtenDown(t, 2)
	// Nothing is left to do, and doing it again does nothing.
	if n, err := p.Run(t.Context(), time.Now().Add(time.Second)); err != nil || n != (PurgeCount{Kept: 2}) {
		t.Errorf("again: %+v, %v", n, err)
	}
	s.writtenDown(t, 2)
}

func (s *shelf) writtenDown(t *testing.T, want int) {
	t.Helper()
	events, _, err := s.ledger.Audit(t.Context(), ledger.AuditFilter{Kind: "recording.purged"})
	must(t, err)
	if len(events) != want || events[0].ActorName != "operator root@host" || events[0].Detail["why"] != "a year is over" || len(events[0].Detail["seal"].(string)) != 64 {
		t.Errorf("%d events: %+v", len(events), events)
	}
	report, err := s.ledger.VerifySeals(t.Context())
	must(t, err)
	if len(report.Problems) > 0 {
		t.Errorf("the chain: %+v", report.Problems)
	}
}

// TestPurgeIsCompleted: a gate that died between writing a purge down and removing has it completed.
func TestPurgeIsCompleted(t *testing.T) {
	s := newShelf(t)
	s.open(nil)
	s.record("dying01")
	seals, err := s.ledger.SealsOf(t.Context(), "dying01")
	must(t, err)
	must(t, s.ledger.MarkPurged(t.Context(), seals[0], time.Now(), ledger.Event{Kind: "recording.purged", Gate: "g"}))
	if gone, last := s.gone("dying01"); gone || last != ledger.Purged {
		t.Fatalf("gone %t, %s", gone, last)
	}
	p, _ := s.purge(nil)
	if _, err := p.Run(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if gone, _ := s.gone("dying01"); !gone {
		t.Error("what was marked is still there")
	}
}
