package replay_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// TestGateThatNeverComesBack: another gate seals, over the store they share, what the first one shipped; it is not
// called complete; and should the first one come back, it overwrites nothing and throws nothing away.
func TestGateThatNeverComesBack(t *testing.T) {
	h := newHouse(t, nil)
	acked := said{}
	r := h.start(t, "orphan01")
	acked.say(t, r, "orphan01", 100<<10)
	eventually(t, "all of it is in the store", func() bool {
		rep, err := (&replay.Library{Store: h.o.Store, Roots: h.signer.roots}).Verify(t.Context(), "orphan01", "")
		return err == nil && rep.Counts.Bytes == 100<<10
	})
	unshipped := content("orphan01", 100<<10, 31) // which only the dead gate has, most likely
	must(t, r.Output(replay.Stdout, unshipped))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_ = h.Archive.Close(gone) // its machine is gone

	other := &replay.Library{Store: h.o.Store, Roots: h.signer.roots}
	if _, err := other.Adopt(t.Context(), "orphan01", h.signer, replay.Keep{}); !errors.Is(err, replay.ErrShipping) {
		t.Fatalf("adopted what was shipped a moment ago: %v", err)
	}
	h.age(t, "orphan01")
	seal, err := other.Adopt(t.Context(), "orphan01", h.signer, replay.Keep{})
	must(t, err)
	rep, err := other.Verify(t.Context(), "orphan01", seal.Hash)
	must(t, err)
	if seal.State != cast.Truncated || rep.State != cast.Truncated || !rep.Sealed {
		t.Fatalf("sealed as %s; verifies as %+v", seal.State, rep)
	}
	again, err := other.Adopt(t.Context(), "orphan01", h.signer, replay.Keep{})
	if h.age(t, "orphan01"); err == nil || again.Hash != "" {
		t.Errorf("adopted twice: %v", err)
	}
	if again, err = other.Adopt(t.Context(), "orphan01", h.signer, replay.Keep{}); err != nil || again.Hash != seal.Hash {
		t.Errorf("adopted twice: %+v, %v", again, err)
	}
	// It comes back after all.
	h.open(t)
	if err := h.Recover(t.Context()); !errors.Is(err, replay.ErrQuarantine) || h.alarm("quarantine").Load() != 1 {
		t.Errorf("it comes back: %v, %d alarms", err, h.alarm("quarantine").Load())
	}
	b, err := os.ReadFile(filepath.Join(h.o.SpoolDir, "quarantine", "orphan01.cast"))
	must(t, err)
	if got := stdout(t, b); len(got) != 100<<10+len(unshipped) {
		t.Errorf("its own copy has %d bytes of output", len(got))
	}
	h.countIn(t, tally{Fault: "gate that never comes back", Times: 1, Told: "truncated; its copy kept when it returns"}, acked, cast.Truncated).book(t)
}

// age makes what the store has of a session old.
func (h *house) age(t *testing.T, id string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(h.dir, "casts", id, "*"))
	must(t, err)
	past := time.Now().Add(-time.Hour)
	for _, f := range files {
		must(t, os.Chtimes(f, past, past))
	}
}
