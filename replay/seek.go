package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
)

// OpenAt is Open from a byte of the recording on. What it costs does not depend on where that is.
func (a *Archive) OpenAt(ctx context.Context, id string, from int64) (io.ReadCloser, error) {
	if r := a.find(id); r != nil {
		f, err := os.Open(a.path(id))
		if err == nil {
			size, _, _ := r.progress(nil)
			return section(f, from, size), nil
		}
	}
	return a.lib.OpenAt(ctx, id, from)
}

// FollowAt is OpenAt for a live session, wherever it runs: reads wait for more. For a session of this gate that
// is until its end was read; for one of another gate, whose recording comes by the store and is some seconds
// behind, until ctx ends.
func (a *Archive) FollowAt(ctx context.Context, id string, from int64) (io.ReadCloser, error) {
	if r := a.find(id); r != nil {
		f, err := os.Open(a.path(id))
		if err == nil {
			return &follower{ctx: ctx, r: r, f: f, pos: from}, nil
		}
	}
	r, err := a.lib.OpenAt(ctx, id, from)
	if err != nil {
		return nil, err
	}
	return &poller{ctx: ctx, lib: a.lib, id: id, pos: from, r: r}, nil
}

func section(f *os.File, from, size int64) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, from, max(size-from, 0)), f}
}

// OpenAt is Open from a byte of the recording on.
func (l *Library) OpenAt(ctx context.Context, id string, from int64) (io.ReadCloser, error) {
	if from == 0 {
		return l.Open(ctx, id)
	}
	if !sessionID.MatchString(id) {
		return nil, ErrSessionID
	}
	if l.Spool != "" {
		f, err := os.Open(spoolPath(l.Spool, id))
		if err == nil {
			info, err := f.Stat()
			if err != nil {
				f.Close()
				return nil, fmt.Errorf("open recording: %w", err)
			}
			return section(f, from, info.Size()), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open recording: %w", err)
		}
	}
	return &pieces{ctx: ctx, l: l, id: id, pos: from}, nil
}

// pieces reads a recording from the store from somewhere on. Each piece is looked for by its place, so that
// nothing has to be listed but its neighbours.
type pieces struct {
	ctx  context.Context
	l    *Library
	id   string
	pos  int64
	seg  segment
	body io.ReadCloser
	dec  *zstd.Decoder
	err  error
}

// Read gives the recording's bytes, and io.EOF where the store has no more.
func (p *pieces) Read(b []byte) (int, error) {
	for p.err == nil {
		if p.body == nil {
			p.err = p.open()
			continue
		}
		left := p.seg.to - p.pos
		n, err := p.dec.Read(b[:min(int64(len(b)), max(left, 1))])
		switch {
		case int64(n) > left, err == io.EOF && int64(n) < left:
			p.err = p.damaged("holds more or less than its name says")
		case n > 0:
			p.pos += int64(n)
			return n, nil
		case err == io.EOF:
			p.err = p.body.Close()
			p.body = nil
		case err != nil && p.ctx.Err() != nil:
			p.err = context.Cause(p.ctx)
		case err != nil:
			p.err = p.damaged(err.Error())
		}
	}
	return 0, p.err
}

func (p *pieces) damaged(why string) error {
	return &SegmentError{Session: p.id, From: p.seg.from, To: p.seg.to, Why: why}
}

// open goes on to the piece that holds pos.
func (p *pieces) open() error {
	var err error
	if p.seg, err = p.l.segmentAt(p.ctx, p.id, p.pos); err != nil {
		return err
	}
	if p.body, err = p.l.Store.Get(p.ctx, segmentKey(p.id, p.seg.from, p.seg.to)); err != nil {
		return err
	}
	if p.dec == nil {
		p.dec, err = zstd.NewReader(p.body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
	} else {
		err = p.dec.Reset(p.body)
	}
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, p.dec, p.pos-p.seg.from); err != nil {
		return p.damaged(err.Error())
	}
	return nil
}

// Close ends the piece under way.
func (p *pieces) Close() error {
	if p.dec != nil {
		p.dec.Close()
	}
	if p.body != nil {
		return p.body.Close()
	}
	return nil
}

// groupSize is a span of bytes whose segments have keys of one prefix; more than a segment holds.
const groupSize = 10_000_000

// segmentAt finds a segment that holds the byte at pos. It is io.EOF where the store has none, unless there is one
// behind it.
func (l *Library) segmentAt(ctx context.Context, id string, pos int64) (segment, error) {
	missing := false
	for _, group := range []int64{pos / groupSize, pos/groupSize - 1} {
		if group < 0 {
			break
		}
		var best segment
		for o, err := range l.Store.List(ctx, fmt.Sprintf("%s%s/%09d", casts, id, group)) {
			if err != nil {
				return segment{}, err
			}
			_, from, to, ok := parseSegmentKey(o.Key)
			missing = missing || ok && from > pos
			if ok && from <= pos && to > pos && to > best.to {
				best = segment{from, to}
			}
		}
		if best.to > 0 {
			return best, nil
		}
	}
	if missing {
		return segment{}, &SegmentError{Session: id, From: pos, Why: "is missing from the store"}
	}
	return segment{}, io.EOF
}

// lookAgain is how often a recording that another gate writes is looked at for more.
const lookAgain = time.Second

// A poller reads a recording that grows in the store.
type poller struct {
	ctx context.Context
	lib *Library
	id  string
	pos int64
	r   io.ReadCloser
}

// Read waits where there is no more.
func (p *poller) Read(b []byte) (int, error) {
	for {
		n, err := p.r.Read(b)
		p.pos += int64(n)
		if n > 0 || err != io.EOF {
			return n, err
		}
		look := time.NewTimer(lookAgain)
		select {
		case <-p.ctx.Done():
			look.Stop()
			return 0, context.Cause(p.ctx)
		case <-look.C:
		}
		p.r.Close()
		if p.r, err = p.lib.OpenAt(p.ctx, p.id, p.pos); err != nil {
			p.r = io.NopCloser(errReader{err})
		}
	}
}

// Close ends the reading.
func (p *poller) Close() error { return p.r.Close() }

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }
