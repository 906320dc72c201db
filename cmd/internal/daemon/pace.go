package daemon

import (
	"context"
	"io"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/reel"
)

const (
	// readShare is which part of the time the gate may spend on reading recordings: one in so many. Sessions that run
	// need the processors more.
	readShare = 5
	// paceLeast is how much reading is rested from at once; less adds up.
	paceLeast = 10 * time.Millisecond
)

// paced makes whoever reads what open opens rest for readShare - 1 times as long as they work, on each reading. What
// is small is over before the first rest.
func paced(open reel.OpenFunc) reel.OpenFunc {
	return func(ctx context.Context, id string, from int64) (io.ReadCloser, error) {
		r, err := open(ctx, id, from)
		if err != nil {
			return nil, err
		}
		return &pacedReader{ReadCloser: r, ctx: ctx, since: time.Now()}, nil
	}
}

// A pacedReader is one recording that is read at leisure.
type pacedReader struct {
	io.ReadCloser
	ctx    context.Context
	since  time.Time // the last Read returned
	worked time.Duration
}

func (r *pacedReader) Read(p []byte) (int, error) {
	if r.worked += time.Since(r.since); r.worked >= paceLeast {
		rest := time.NewTimer(r.worked * (readShare - 1))
		defer rest.Stop()
		r.worked = 0
		select {
		case <-rest.C:
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
	defer func() { r.since = time.Now() }()
	return r.ReadCloser.Read(p)
}
