package console

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// The other rooms' types are what the console asks for, as they are.
var (
	_ Ledger     = (*ledger.Ledger)(nil)
	_ Audit      = (*ledger.Ledger)(nil)
	_ Recordings = (*replay.Archive)(nil)
	_ Reels      = (*reel.Shelf)(nil)
	_ Approvals  = (*policies.Desk)(nil)
	_ Verifier   = (*certs.Verifier)(nil)
)

// signer certifies recording keys under the fixtures' root.
type signer struct{ t testing.TB }

func (s signer) NewSessionKey(_ context.Context, id string) (ed25519.PrivateKey, [][]byte, error) {
	key, chain := recorder(s.t, id)
	return key, chain, nil
}

// A session that is recorded by the real archive is followed, played, verified and downloaded.
func TestArchive(t *testing.T) {
	files, err := store.OpenDir(filepath.Join(t.TempDir(), "recordings"))
	if err != nil {
		t.Fatal(err)
	}
	_, cert := root()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	archive, err := replay.OpenArchive(replay.Options{SpoolDir: filepath.Join(t.TempDir(), "spool"), Store: files, Signer: signer{t}, Roots: roots, Gate: "gate-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { archive.Close(context.Background()) })
	f := newFixture(t, func(o *Options) { o.Recordings = archive })

	const id = "20261124zzzzzzzzzzzz"
	who := f.identity("ada")
	row := ledger.Session{ID: id, Gate: "gate-1", Identity: who, Target: "demo", TargetKind: "shell", Kind: "exec", Command: "make deploy", Guard: "n/a", Started: time.Now()}
	if err := f.ledger.StartSession(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	rec, err := archive.Start(t.Context(), replay.Meta{SessionID: id, Gate: "gate-1", Identity: replay.Identity{Issuer: who.Issuer, Subject: who.Subject, Kind: "human"}, Target: "demo", TargetKind: "shell", Kind: "exec", Command: "make deploy"})
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Output(replay.Stdout, []byte("building\n")); err != nil {
		t.Fatal(err)
	}
	b := f.signIn("grace")
	req, err := http.NewRequest("GET", f.url+"/sessions/"+id+"/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	until := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the stream ended before %q", want)
	}
	until("building")
	if err := rec.Output(replay.Stdout, []byte("deployed\n")); err != nil {
		t.Fatal(err)
	}
	until("deployed")
	zero := 0
	if _, err := rec.End(t.Context(), replay.End{Status: &zero, Reason: "exit"}); err != nil {
		t.Fatal(err)
	}
	until("event: done")
	if err := f.ledger.EndSession(t.Context(), id, ledger.End{Ended: time.Now(), State: ledger.Complete, ExitStatus: &zero, Reason: "exit"}); err != nil {
		t.Fatal(err)
	}
	if got := b.loadSegments(id, "0"); !strings.Contains(got.output, "building") || !strings.Contains(got.output, "deployed") || got.index.How != reel.Whole {
		t.Errorf("play: %q %q", got.index.How, got.output)
	}
	if body := text(b.post("/sessions/"+id+"/verify", url.Values{"token": {b.token()}})); !strings.Contains(body, "nothing is missing or changed") || !strings.Contains(body, "certified by this gate") {
		t.Error("verify does not say that all is well")
	}
	if body := text(b.get("/sessions/" + id + "/recording.cast")); !strings.HasPrefix(body, `{"version":3`) || !strings.Contains(body, `"k":"seal"`) {
		t.Errorf("download: %.200s", body)
	}
}
