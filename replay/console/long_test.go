package console

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// longID is the session of BenchmarkLongRecording.
const longID = "20261124s00lon00000g"

// BenchmarkLongRecording records a session of 1 GB (SALLYPORT_LONG: of so many MB) by the real archive, and measures
// in Chromium what somebody feels who looks at it: opening, seeking, and what the browser holds. See long_bench.mjs.
func BenchmarkLongRecording(b *testing.B) {
	megabytes := 1000
	fmt.Sscanf(os.Getenv("SALLYPORT_LONG"), "%d", &megabytes)
	chromium := need(b, "Chromium", os.Getenv("CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
	need(b, "the player", "static/vendor/asciinema-player.js")
	archive, reels := longArchive(b)
	f := newFixture(b, func(o *Options) { o.Recordings, o.Reels = archive, reels })

	since := time.Now()
	size := f.recordLong(archive, megabytes)
	b.Logf("recorded %d MB in %.1f s", size/1e6, time.Since(since).Seconds())
	since = time.Now()
	v, err := reels.View(b.Context(), longID, true, time.Hour)
	if err != nil || v.How != reel.Whole {
		b.Fatalf("%q %s %v", v.How, v.Why, err)
	}
	b.Logf("prepared in %.1f s: %d segments of %s", time.Since(since).Seconds(), len(v.Segments), v.Length.Round(time.Minute))
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), "node", "long_bench.mjs")
		cmd.Env = append(os.Environ(), "CONSOLE_URL="+f.url, "SESSION="+longID, "CHROMIUM="+chromium, "PROFILE="+b.TempDir())
		out, err := cmd.CombinedOutput()
		b.Logf("%s", out)
		if err != nil {
			b.Fatalf("browser: %v\n%s", err, f.log)
		}
	}
}

// longArchive is a real archive with its reels.
func longArchive(b *testing.B) (*replay.Archive, *reel.Shelf) {
	files, err := store.OpenDir(filepath.Join(b.TempDir(), "recordings"))
	if err != nil {
		b.Fatal(err)
	}
	_, cert := root()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	archive, err := replay.OpenArchive(replay.Options{SpoolDir: filepath.Join(b.TempDir(), "spool"), Store: files, Signer: signer{b}, Roots: roots, Gate: "gate-1"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { archive.Close(context.Background()) })
	reels, err := reel.OpenShelf(reel.Options{Dir: filepath.Join(b.TempDir(), "reels"), Open: archive.OpenAt})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { reels.Close() })
	return archive, reels
}

// recordLong records output of so many megabytes, with an operation now and then, and waits until it is in the store.
func (f *fixture) recordLong(archive *replay.Archive, megabytes int) int64 {
	who := f.identity("ada")
	row := ledger.Session{ID: longID, Gate: "gate-1", Identity: who, Target: "web1", TargetKind: "ssh", Kind: "shell", Guard: "hook", Term: "xterm-256color", Cols: 120, Rows: 40, Started: time.Now()}
	if err := f.ledger.StartSession(f.t.Context(), row); err != nil {
		f.t.Fatal(err)
	}
	rec, err := archive.Start(f.t.Context(), replay.Meta{
		SessionID: longID, Gate: "gate-1", Identity: replay.Identity{Issuer: who.Issuer, Subject: who.Subject, Kind: "human"}, Target: "web1", TargetKind: "ssh",
		Kind: "shell", Pty: true, Term: "xterm-256color", Cols: 120, Rows: 40, Started: row.Started,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for total, n := 0, 0; total < megabytes*1e6; n++ {
		line := fmt.Sprintf("\x1b[3%dm%09d\x1b[m  %s %x\r\n", 1+n%6, n, strings.Repeat("work ", r.IntN(20)), r.Uint64())
		if n%200_000 == 1000 {
			if err := rec.Marker(fmt.Sprintf("operation %d", n)); err != nil {
				f.t.Fatal(err)
			}
			o := op(time.Since(row.Started), "allow", fmt.Sprintf("step %d", n), "command-read")
			o.ID, o.SessionID, o.Sequence, o.Time = fmt.Sprintf("oplong%09d", n), longID, int64(n/200_000+1), time.Now()
			if err := f.ledger.AddOperation(f.t.Context(), o); err != nil {
				f.t.Fatal(err)
			}
		}
		if err := rec.Output(replay.Stdout, []byte(line)); err != nil {
			f.t.Fatal(err)
		}
		total += len(line)
	}
	zero := 0
	seal, err := rec.End(f.t.Context(), replay.End{Status: &zero, Reason: "exit"})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.ledger.EndSession(f.t.Context(), longID, ledger.End{Ended: time.Now(), State: ledger.Complete, ExitStatus: &zero, Reason: "exit", BytesOut: seal.Size}); err != nil {
		f.t.Fatal(err)
	}
	for archive.Stats().Waiting > 0 { // until it is in the store, from which it is played
		select {
		case <-f.t.Context().Done():
			f.t.Fatal("it never gets into the store")
		case <-time.After(50 * time.Millisecond):
		}
	}
	return seal.Size
}
