package replay

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/sallyport-ssh/sallyport/replay/cast"
)

// Open returns the recording of a session as far as it is written, in whole lines: from the spool, or from
// the store. It is [ErrNoSession] when there is none.
func (a *Archive) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	if r := a.find(id); r != nil {
		f, err := os.Open(a.path(id))
		if err == nil {
			size, _, _ := r.progress(nil)
			return struct {
				io.Reader
				io.Closer
			}{io.LimitReader(f, size), f}, nil
		}
	}
	return a.lib.Open(ctx, id)
}

// Follow is Open for a session that this gate records: reads wait for more, until the end of the recording
// was read or ctx ends.
func (a *Archive) Follow(ctx context.Context, id string) (io.ReadCloser, error) {
	if r := a.find(id); r != nil {
		f, err := os.Open(a.path(id))
		if err == nil {
			return &follower{ctx: ctx, r: r, f: f}, nil
		}
	}
	return a.lib.Open(ctx, id)
}

// follower reads a file that grows.
type follower struct {
	ctx context.Context
	r   *Recording
	f   *os.File
	pos int64
}

// progress returns how much is written and whether that is all. Where it is not and want is given, more
// says when to look again.
func (r *Recording) progress(want *int64) (size int64, done bool, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if want != nil && r.size <= *want && r.f != nil {
		if r.watch == nil {
			r.watch = make(chan struct{})
		}
		more = r.watch
	}
	return r.size, r.f == nil, more
}

func (w *follower) Read(p []byte) (int, error) {
	for {
		if w.ctx.Err() != nil {
			return 0, context.Cause(w.ctx)
		}
		size, done, more := w.r.progress(&w.pos)
		if w.pos < size {
			n, err := w.f.ReadAt(p[:min(int64(len(p)), size-w.pos)], w.pos)
			w.pos += int64(n)
			if n > 0 {
				return n, nil
			}
			return 0, fmt.Errorf("follow recording: %w", err)
		}
		if done {
			return 0, io.EOF
		}
		select {
		case <-more:
		case <-w.ctx.Done():
		}
	}
}

func (w *follower) Close() error { return w.f.Close() }

// Verify checks the recording of a session. An error means that nothing was decided.
func (a *Archive) Verify(ctx context.Context, id string) (cast.Report, error) {
	return a.VerifyAgainst(ctx, id, "")
}

// VerifyAgainst is Verify, also against the hash of the seal that the ledger has.
func (a *Archive) VerifyAgainst(ctx context.Context, id, sealHash string) (cast.Report, error) {
	return a.lib.Verify(ctx, id, sealHash)
}

// Sessions yields the ids of all recordings in the store and in the spool, each once.
func (a *Archive) Sessions(ctx context.Context) iter.Seq2[string, error] { return a.lib.Sessions(ctx) }
