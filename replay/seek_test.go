package replay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// readFrom reads a recording from a byte on.
func readFrom(t *testing.T, h *house, from int64) ([]byte, error) {
	t.Helper()
	r, err := h.OpenAt(t.Context(), id1, from)
	must(t, err)
	defer r.Close()
	return io.ReadAll(r)
}

// From wherever a recording is read, in the spool and in the store, it is the same.
func TestOpenAt(t *testing.T) {
	h := newHouse(t, nil)
	r := h.start(t, id1)
	p := bytes.Repeat([]byte("0123456789abcde\n"), 8192)
	for range 100 { // more than one group of keys
		must(t, r.Output(replay.Stdout, p))
	}
	check := func(where string) {
		t.Helper()
		want := h.read(t, id1)
		for _, from := range []int64{0, 1, 77, 1 << 20, 9_999_999, 10_000_000, 10_000_001, int64(len(want)) - 1, int64(len(want))} {
			got, err := readFrom(t, h, from)
			if err != nil || !bytes.HasPrefix(got, want[from:]) { // a checkpoint may have come meanwhile
				t.Errorf("%s, from %d: %d bytes and %v, want %d", where, from, len(got), err, int64(len(want))-from)
			}
		}
	}
	check("in the spool")
	_, err := r.End(t.Context(), replay.End{Reason: "exit"})
	must(t, err)
	eventually(t, "the spool is empty", func() bool { return len(h.spooled(t)) == 0 })
	check("in the store")
	if _, err := h.OpenAt(t.Context(), "../../etc", 5); !errors.Is(err, replay.ErrSessionID) {
		t.Errorf("a path: %v", err)
	}

	pieces, err := filepath.Glob(filepath.Join(h.dir, "casts", id1, "*"))
	must(t, err)
	if len(pieces) < 3 {
		t.Fatalf("%d pieces", len(pieces))
	}
	must(t, os.Remove(pieces[1]))
	var missing *replay.SegmentError
	if _, err := readFrom(t, h, 1); !errors.As(err, &missing) {
		t.Errorf("with a piece missing: %v", err)
	}
	must(t, os.WriteFile(pieces[2], []byte("not what was stored"), 0o600))
	if got, err := readFrom(t, h, 12_000_000); err == nil && len(got) > 0 && len(pieces) == 3 {
		t.Errorf("a changed piece is read: %d bytes", len(got))
	}
}

// A session of one gate is followed at another, over the store that they share.
func TestFollowAtAnotherGate(t *testing.T) {
	here := newHouse(t, nil)
	there := newHouse(t, func(o *replay.Options) { o.Store, o.Gate = here.o.Store, "gate2" })
	r := here.start(t, id1)
	must(t, r.Output(replay.Stdout, []byte("first\n")))
	eventually(t, "it is shipped", func() bool { return here.Stats().Shipped > 0 && here.Stats().Behind == 0 })
	ctx, cancel := context.WithCancel(t.Context())
	f, err := there.FollowAt(ctx, id1, 0)
	must(t, err)
	defer f.Close()
	rd, err := cast.NewReader(f)
	must(t, err)
	output := func() string {
		for {
			e, err := rd.Next()
			must(t, err)
			if e.Code == 'o' && e.Stream == cast.Stdout {
				return string(e.Data)
			}
		}
	}
	if got := output(); got != "first\n" {
		t.Fatalf("got %q", got)
	}
	must(t, r.Output(replay.Stdout, []byte("second\n")))
	if got := output(); got != "second\n" {
		t.Fatalf("got %q", got)
	}
	_, err = r.End(t.Context(), replay.End{Reason: "exit"})
	must(t, err)
	for {
		e, err := rd.Next()
		must(t, err)
		if e.Kind == "seal" {
			break
		}
	}
	cancel()
	if _, err := rd.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("behind the end: %v", err)
	}
}

// A piece that unpacks to more than its name says is damage, and nobody unpacks it whole to find that out.
func TestBomb(t *testing.T) {
	h := newHouse(t, nil)
	e, err := zstd.NewWriter(nil)
	must(t, err)
	bomb := e.EncodeAll(make([]byte, 512<<20), nil)
	must(t, h.o.Store.Put(t.Context(), "casts/"+id1+"/0000000000000000-0000000000001000.zst", bomb, store.PutOptions{}))
	for name, open := range map[string]func() (io.ReadCloser, error){
		"Open":   func() (io.ReadCloser, error) { return h.Open(t.Context(), id1) },
		"OpenAt": func() (io.ReadCloser, error) { return h.OpenAt(t.Context(), id1, 10) },
	} {
		r, err := open()
		var n int64
		if err == nil {
			n, err = io.Copy(io.Discard, r)
			r.Close()
		}
		var damaged *replay.SegmentError
		if !errors.As(err, &damaged) || n > 1000 {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}
