package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/integration/real"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// What was on a session's screen is found once it has ended, and leads to its moment.
func TestShownOfEnded(t *testing.T) {
	l, err := ledger.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const id = "20261124s00ada00001a"
	s := ledger.Session{ID: id, Gate: "gate", Identity: ledger.Identity{Issuer: "i", Subject: "s"}, Target: "web1", Started: time.Now()}
	if err := l.StartSession(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	recording := `{"version":3,"term":{"cols":80,"rows":24}}` + "\n" + `[2,"o","\u001b[31mPanic:\u001b[m disk\r\n"]` + "\n" + strings.Repeat(`[1,"o","ok\r\n"]`+"\n", 50)
	away := errors.New("the store is away")
	for _, tt := range []struct {
		err   error
		want  error
		state ledger.ShownState
		hits  int
	}{{away, away, ledger.ShownNone, 0}, {nil, nil, ledger.ShownAll, 1}, {nil, nil, ledger.ShownAll, 1}, {fmt.Errorf("open: %w", replay.ErrNoSession), nil, ledger.ShownMissing, 0}} {
		open := func(context.Context, string, int64) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(recording)), tt.err
		}
		if err := newTranscriber(l, open).end(t.Context(), id); !errors.Is(err, tt.want) {
			t.Errorf("got %v, want %v", err, tt.want)
		}
		found, err := l.Find(t.Context(), ledger.Find{Shown: true, Text: "panic: disk"})
		if state, _ := l.Shown(t.Context(), id); err != nil || len(found.Hits) != tt.hits || state != tt.state {
			t.Errorf("%d hits, state %v, %v; want %d, %v", len(found.Hits), state, err, tt.hits, tt.state)
		}
		if tt.hits == 1 && found.Hits[0].Offset != 2*time.Second {
			t.Errorf("found at %v", found.Hits[0].Offset)
		}
	}
}

// What a session shows is found while it runs, each line once, whatever is read at a time: it is read on from where the
// last reading ended, also in the middle of a line, a character or an escape sequence, and by another process from the
// beginning.
func TestShownOfRunning(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { shownOfRunning(t, "sqlite:"+filepath.Join(t.TempDir(), "ledger.db")) })
	t.Run("postgres", func(t *testing.T) {
		runtime.LockOSThread() // the server ends with the thread that started it
		defer runtime.UnlockOSThread()
		pg, err := real.StartPostgres()
		must(t, err)
		defer pg.Stop()
		shownOfRunning(t, pg.URL("postgres"))
	})
}

func shownOfRunning(t *testing.T, url string) {
	l, err := ledger.Open(t.Context(), url)
	must(t, err)
	defer l.Close()
	const id = "20261124s00ada00002a"
	tr := newTranscriber(l, nil)
	s := ledger.Session{ID: id, Gate: "gate", Identity: ledger.Identity{Issuer: "i", Subject: "s"}, Target: "web1", Started: time.Now()}
	must(t, l.StartSession(t.Context(), s))
	archive, err := replay.OpenArchive(replay.Options{SpoolDir: t.TempDir(), Store: openDir(t), Signer: keys{}})
	must(t, err)
	defer archive.Close(context.Background())
	rec, err := archive.Start(t.Context(), replay.Meta{SessionID: id, Pty: true, Cols: 40, Rows: 6, Started: s.Started})
	must(t, err)
	opened := []int64{}
	open := func(ctx context.Context, id string, from int64) (io.ReadCloser, error) {
		opened = append(opened, from)
		return archive.OpenAt(ctx, id, from)
	}
	tr.open = open
	show := func(text string) { must(t, rec.Output(replay.Stdout, []byte(text))) }
	read := func(tr *transcriber) {
		t.Helper()
		must(t, tr.readOn(t.Context(), id, archive.Growing()[id]))
	}
	found := func(text string, want int) {
		t.Helper()
		f, err := l.Find(t.Context(), ledger.Find{Shown: true, Text: text})
		must(t, err)
		if len(f.Hits) != want {
			t.Errorf("%q found %d times, want %d", text, len(f.Hits), want)
		}
	}
	show("first line\r\nsecond li")
	read(tr)
	show("ne\r\n\x1b[3")
	read(tr) // it goes on: the screen may still change
	found("second line", 0)
	show("1mthird caf\xc3")
	read(tr)
	show("\xa9\x1b[m\r\n$ ")
	read(tr)
	read(tr) // nothing came since
	found("first line", 1)
	found("second line", 1)
	found("third café", 1)
	before := len(opened)
	read(tr)
	if len(opened) != before || tr.screens != 0 {
		t.Errorf("a session that rests was opened %d times, %d screens kept", len(opened)-before, tr.screens)
	}
	for i := range 40 {
		show(fmt.Sprintf("\x1b[3%dmrow %03d\x1b[m of many\r\n", i%8, i))
		if i%7 == 0 {
			read(tr)
		}
	}
	read(tr)
	read(tr)
	found("row 000 of many", 1)
	found("row 039 of many", 1)
	found("first line", 1)
	for i := 1; i < len(opened); i++ {
		if opened[i] < opened[i-1] || i > 4 && opened[i] == 0 {
			t.Errorf("read from %v: cost grows with the session", opened)
			break
		}
	}
	// Another process knows nothing of this and begins anew; so does one whose ledger failed it.
	other := newTranscriber(l, open)
	read(other)
	read(other)
	found("row 020 of many", 1)
	show("the last of it\r\n")
	_, err = rec.End(t.Context(), replay.End{Reason: "exit"})
	must(t, err)
	must(t, other.end(t.Context(), id))
	found("the last of it", 1)
	found("first line", 1)
	if state, err := l.Shown(t.Context(), id); err != nil || state != ledger.ShownAll {
		t.Errorf("state %v, %v", state, err)
	}
	if len(other.running) != 0 || other.screens != 0 {
		t.Errorf("%d transcripts, %d screens left", len(other.running), other.screens)
	}
}

func openDir(t *testing.T) store.Store {
	t.Helper()
	d, err := store.OpenDir(t.TempDir())
	must(t, err)
	return d
}
