package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// What was on a session's screen is found once it has ended, and leads to its moment.
func TestReadShown(t *testing.T) {
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
		if err := ReadShown(t.Context(), l, open, id); !errors.Is(err, tt.want) {
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
